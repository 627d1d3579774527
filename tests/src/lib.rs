//! The kit of the end-to-end tests: real servers, real load, and the oracles that say whether a restored server
//! is the same as its source.
//!
//! It drives reseed as a user does, by its command line, and must never reach into the crates that take or
//! restore a backup: an oracle that shares code with what it judges proves nothing.

mod clock;
pub mod docs;
pub mod faults;
pub mod host;
pub mod layout;
pub mod log;
pub mod mounts;
pub mod oracle;
pub mod pages;
pub mod replication;
pub mod schema;
pub mod server;
pub mod service;
pub mod session;
pub mod sshd;
pub mod table;
mod template;
pub mod tool;
pub mod trip;
pub mod workload;

pub use clock::Clock;
pub use docs::{Document, Stage};
pub use host::Host;
pub use layout::{Family, ServerKind};
pub use schema::Schema;
pub use server::{Builder, Kit, Server};
pub use session::Session;
pub use sshd::Sshd;
pub use template::copy_tree;
pub use tool::{Finished, Reseed};
pub use trip::Trip;
