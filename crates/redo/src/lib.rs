//! Bytes to meaning of InnoDB redo logs, one module per family, and the apply of records to one page image.
//!
//! Pure: `&[u8]` in, values or a changed page out. Knows nothing of files, threads or SQL, and panics on no input.

mod apply;
mod error;
pub mod mariadb;
pub mod mysql;
mod parser;
pub mod visit;

pub use apply::Applier;
pub use error::{RedoError, UnsupportedLog};
pub use parser::LogParser;
pub use reseed_terms::{Capture, Lsn, PageId, PageNo, RedoFormat, SpaceId};
pub use visit::{Applied, Change, ChangeKind, LogVisitor, MtrSpan, PageChange, SpaceEvent};
