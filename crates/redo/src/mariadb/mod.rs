//! MariaDB's redo: the blocks of 10.5 to 10.7 and the ring of 10.8 and later. The records are the same in both.
//!
//! Read from the top: [`LogFile`] understands the file's header, [`Cursor`] follows a live file, [`RingParser`] and
//! [`BlockParser`] read what was captured, [`MariadbApplier`] changes a page, [`clean_log`] makes the log that a
//! restored server starts from. The layouts are described in `docs/formats/redo-mariadb.md`.

mod apply;
pub mod blocks;
mod clean;
mod cursor;
mod deletions;
mod frame;
mod log_file;
mod parser;
mod record;
pub mod ring;
mod varint;

pub use apply::MariadbApplier;
pub use blocks::{BlockCursor, cut_last_block};
pub use clean::{CleanLog, clean_log, server_log_head};
pub use cursor::{Accepted, Cursor, Stop};
pub use deletions::append_deletions;
pub use log_file::{Checkpoint, FileSpan, LogFile};
pub use parser::{BlockParser, RingParser};
pub use ring::RingCursor;
