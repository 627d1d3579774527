//! Takes one backup: plan, follow the redo, copy, lock, inventory, coordinates, publish.
//!
//! Read it from [`run`]: it names the steps in their order. [`protocol`] holds the server still, [`follower`] reads
//! the redo, [`copier`] the files; [`scan`] and [`inventory`] decide which files, [`spaces`] and [`engines`] keep
//! account of what has been copied.
//!
//! This crate must never know how a set is restored.

mod base;
mod copier;
mod engines;
mod error;
mod failures;
mod follower;
mod inventory;
mod layout;
mod look;
mod newest;
mod options;
mod page_check;
mod protocol;
mod report;
mod run;
mod scan;
mod space_log;
mod spaces;
mod work;

pub use base::{Base, WhyFull};
pub use error::{BackupError, Refusal};
pub use options::{BackupOptions, LockChoice};
pub use report::{Report, Step};
pub use run::{Begun, run};
