use serde::{Deserialize, Serialize};

/// A position in a server's binary log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinlogPosition {
    pub file: String,
    pub position: u64,
}

/// Where a backup stands in the replication streams, all read at the one instant to which its pages belong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinates {
    /// The server's own binary log; `None` when it writes none.
    pub binlog: Option<BinlogPosition>,
    /// MySQL: `gtid_executed`. MariaDB: `gtid_binlog_pos` (GTID position of `binlog`). Empty when there is none.
    #[serde(default)]
    pub gtid: String,
    /// MariaDB: `gtid_current_pos`.
    #[serde(default)]
    pub gtid_current: String,
    /// MariaDB: `gtid_slave_pos`, what this server as a replica has applied.
    #[serde(default)]
    pub gtid_slave: String,
    /// MariaDB: `gtid_domain_id`, `gtid_strict_mode` and the like are not coordinates and are not kept here.
    /// MySQL: `gtid_mode` is ON.
    #[serde(default)]
    pub gtid_mode: bool,
    /// The sources that this server itself replicates from, by channel (MySQL) or connection (MariaDB).
    #[serde(default)]
    pub channels: Vec<ReplicaChannel>,
}

/// One replication channel (MySQL) or connection (MariaDB) of the server that was backed up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaChannel {
    /// Empty for the default one.
    pub name: String,
    pub source_host: String,
    pub source_port: u16,
    pub source_user: String,
    /// File and position in the source's binary log up to which this server has applied events.
    pub applied: Option<BinlogPosition>,
    /// The channel positions itself by GTID (MySQL auto-position; MariaDB Using_Gtid other than `No`).
    pub by_gtid: bool,
    /// MariaDB: `Current_Pos` or `Slave_Pos`; else empty.
    #[serde(default)]
    pub using_gtid: String,
    #[serde(default)]
    pub delay: DelayedBy,
    /// Replication filters as the server shows them, name and value, only those that are set.
    #[serde(default)]
    pub filters: Vec<(String, String)>,
}

/// Seconds that a delayed replica stays behind on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DelayedBy(pub u32);

/// One lock that a backup took in the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockTimes {
    /// As the server names it, e.g. `BACKUP STAGE BLOCK_COMMIT` or `LOCK INSTANCE FOR BACKUP`.
    pub lock: String,
    /// Seconds from asking to having it.
    pub waited: f64,
    /// Seconds from having it to its release.
    pub held: f64,
}
