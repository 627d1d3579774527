//! Where backup sets live and how they look: manifest, index, packs, the order in which they become durable, the
//! catalog, retention, and the same set as a stream. The layout stands in `docs/formats/backup-set.md`.
//!
//! This crate must never know what an InnoDB page or a redo record is, nor speak SQL. Sets are immutable once
//! published; what is read from one is checked against its hashes, always.

mod adopt;
mod beside;
mod catalog;
mod chain;
mod codec;
mod error;
mod expire;
pub mod files;
mod hash;
mod id;
mod index;
mod manifest;
mod path;
mod reader;
mod redo;
mod retention;
mod salvage;
mod sink;
mod stored;
mod stream;
mod tar;
mod verify;
mod window;
mod writer;

pub use beside::{Pin, Verified};
pub use catalog::{DamagedSet, Leftover, Listing, NameLock, Repository, SetInfo, Which};
pub use chain::{Chain, ChainRuns, Covered};
pub use error::{Damage, Incomplete, Problem, RepositoryError, StreamError};
pub use expire::Expiry;
pub use files::{EntryError, FileEntry, FileKind, MAX_RUN, Origin, PageList, Run, RunProblem};
pub use hash::{Hash64, Hash128, Hasher};
pub use id::{NameError, ServerName, SetId, SetKind};
pub use jiff::Timestamp;
pub use manifest::{
    Compression, FORMAT, MANIFEST, Manifest, Owner, Parent, RedoFile, ServerFacts, SetFacts, StoredFile,
    Totals,
};
pub use path::{AbsPath, PathError, RelPath};
pub use reader::{Files, RunReader, SetReader};
pub use redo::RedoReader;
pub use retention::{Candidate, Reason, Rules, Verdict};
pub use sink::{FileCopy, PackSink, Published, RedoSink, Removed, Rest, Reused, Sink};
pub use stream::{
    Item, RunDecoder, STREAM_FORMAT, StoredRun, StreamEnd, StreamHead, StreamReader, StreamServer,
    StreamWriter,
};
pub use verify::{Level, VerifyReport, verify};
pub use writer::{NewSet, SetWriter};
