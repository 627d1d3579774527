//! Brings one backup back: the redo is grouped by page, and one pass reads every page of the set, applies what the
//! redo has for it, and writes it once. Nothing lies under the datadir's real name before all of it is whole.
//!
//! Read from [`run()`] down: steps, then `plan` (what goes where), `changes` (the redo by page), `pages` (the pass),
//! `target` (the datadir and its staging directory).
//!
//! This crate must never know how a backup is taken, nor speak to a server.

pub mod changes;
mod error;
mod export;
mod keep;
mod layout;
mod load;
mod log;
mod occupied;
mod old;
mod options;
pub mod pages;
mod plan;
mod redo;
mod report;
mod run;
mod set;
mod source;
mod spool;
mod stream;
mod target;
mod verify;

pub use error::RestoreError;
pub use export::{ExportReport, export_raw};
pub use keep::{KeepPattern, KeepPatternError};
pub use layout::Place;
pub use occupied::refuse_live_server;
pub use options::{Apply, NewServer, Occupied, Options, Outside};
pub use pages::patch::Counts;
pub use report::{Report, Step};
pub use run::run;
pub use set::SetSource;
pub use source::{ReadRun, Source};
pub use stream::restore_stream;
pub use verify::{BadPage, VerifiedPages, verify_pages};
