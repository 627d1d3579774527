//! The words that every other crate of reseed uses the same way: log sequence numbers, page addresses,
//! flavours and versions of servers, coordinates. Plain data, no behaviour beyond display and arithmetic.
//!
//! This crate must never do I/O, speak SQL or know a byte layout.

mod coordinates;
mod ids;
mod redo_log;
mod version;

pub use coordinates::{BinlogPosition, Coordinates, DelayedBy, LockTimes, ReplicaChannel};
pub use ids::{Lsn, PageId, PageNo, SpaceId};
pub use redo_log::{Capture, RedoFormat};
pub use version::{Flavour, ServerVersion, VersionError};
