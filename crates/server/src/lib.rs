//! One live server: option files, connection, flavour and capabilities, locks, coordinates, replica state,
//! pre-flight checks, replication statements.
//!
//! Callers are plain threads: the asynchronous client is inside, and every call has a limit and can be stopped.
//! This crate must never know what lies in the files of a datadir, draw anything, or read the process's environment.

pub mod account;
pub mod attach;
mod connect;
mod consumer;
mod coordinates;
mod error;
mod facts;
pub mod findings;
pub mod handover;
pub mod locks;
pub mod options;
mod pause;
pub mod preflight;
pub mod quote;
mod replica;
pub mod restored;
mod row;
mod server;
mod session;
pub mod upgrade;

pub use consumer::RedoConsumer;
pub use coordinates::LogStatus;
pub use error::ServerError;
pub use facts::{BinlogFacts, InnodbFacts, Managed, ServerFacts, Variables};
pub use locks::{Blocker, KillPolicy, LockOptions, LockSession, QueryKind, Stage};
pub use options::{
    ConnectArgs, ConnectOptions, DefaultsChoice, Environment, OptionFiles, OptionsError, Password, Target,
};
pub use pause::PausedApplier;
pub use preflight::{Missing, Purpose};
pub use replica::{ReplicaState, ThreadError, ThreadState};
pub use row::Row;
pub use server::{OtherTable, RedoPosition, Server, TablespaceFile};
pub use session::{Session, Stop};
