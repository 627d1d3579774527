//! The only door of reseed to the operating system: reads that do not wash out the page cache, durable writes
//! (file and parent), renames, kernel locks, free space, a rate limit, cancellation, progress, named failpoints.
//!
//! This crate must never know what the bytes mean: no pages, no manifests, no SQL.

mod aligned;
pub mod cancel;
pub mod error;
pub mod failpoint;
pub mod lock;
pub mod pipe;
pub mod place;
pub mod priority;
pub mod process;
pub mod progress;
pub mod rate;
pub mod read;
pub mod space;
pub mod write;

pub use aligned::{AlignedBuf, BLOCK};
pub use cancel::{Cancel, Cancelled};
pub use error::{IoError, Op};
pub use lock::{FileLock, Holder};
pub use pipe::Pipe;
pub use progress::{Progress, Silent};
pub use rate::Rate;
pub use read::{DataFile, Identity, Inode, ReadMode, Segment};
pub use write::OutFile;
