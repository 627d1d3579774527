use std::sync::Arc;
use std::time::Duration;

use reseed_repository::{ServerFacts, SetId};
use reseed_server::{ConnectOptions, KillPolicy};

use crate::base::Base;

/// Which lock holds the server still for the instant of the coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockChoice {
    /// The one that disturbs least on this server.
    #[default]
    Auto,
    /// MariaDB's `BACKUP STAGE`.
    Stage,
    /// `FLUSH TABLES WITH READ LOCK`.
    Ftwrl,
}

/// What a backup is to be like.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    pub connect: ConnectOptions,
    /// Copying threads; `None`: one for each processor, at most 4.
    pub threads: Option<usize>,
    /// Bytes read in a second; 0: no limit.
    pub bytes_per_second: u64,
    pub lock: LockChoice,
    /// Limit of each single wait for a lock.
    pub lock_wait: Duration,
    pub kill: KillPolicy,
    /// On a replica: the applier stands still, with no temporary table open, while the coordinates are taken.
    pub safe: bool,
    /// MySQL: how long, in all, the server may be made to wait for us by the redo log consumer. 0: no consumer.
    pub stall_budget: Duration,
    /// The set to build on; without it the backup is a full one.
    pub base: Option<Arc<Base>>,
    /// The backup fails when the server does not fit to that set; else it is a full one then, and says why.
    pub base_required: bool,
    /// The newest set of the name, and the server that it is of.
    pub newest: Option<(SetId, ServerFacts)>,
    /// What the set is to say of how it came about.
    pub notes: Vec<String>,
    /// How long the redo may take to reach the LSN that was read under the lock.
    pub redo_wait: Duration,
}

impl BackupOptions {
    /// Everything at its default.
    pub fn new(connect: ConnectOptions) -> BackupOptions {
        BackupOptions {
            connect,
            threads: None,
            bytes_per_second: 0,
            lock: LockChoice::Auto,
            lock_wait: Duration::from_secs(60),
            kill: KillPolicy::Never,
            safe: false,
            stall_budget: Duration::from_secs(1),
            base: None,
            base_required: false,
            newest: None,
            notes: Vec::new(),
            redo_wait: Duration::from_secs(60),
        }
    }
}
