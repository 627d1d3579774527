use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Lsn;

/// The three layouts of redo log that reseed reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedoFormat {
    /// MariaDB 10.5 to 10.7: 512-byte blocks in one circular file.
    MariadbBlocks,
    /// MariaDB 10.8 and later: one circular file of mini-transactions without block framing.
    MariadbRing,
    /// MySQL 8.0.30 and later: 512-byte blocks in numbered files.
    MysqlBlocks,
}

impl fmt::Display for RedoFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RedoFormat::MariadbBlocks => "MariaDB redo of 10.5 to 10.7",
            RedoFormat::MariadbRing => "MariaDB redo of 10.8 and later",
            RedoFormat::MysqlBlocks => "MySQL redo of 8.0.30 and later",
        })
    }
}

/// What a captured run of redo holds. The run itself is plain bytes: byte `i` of it has the LSN `first + i`,
/// without wrap and without file headers. Block formats start at a block boundary and keep their block framing;
/// in the ring format the byte that ends each mini-transaction is forced to 1 (it depends on the lap in the ring).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    pub format: RedoFormat,
    /// LSN of the first byte of the run.
    pub first: Lsn,
    /// The checkpoint that the run was started from: changes before it are in the pages.
    pub checkpoint: Lsn,
    /// MariaDB: where the mini-transactions that end with FILE_CHECKPOINT start. MySQL: equal to `checkpoint`.
    pub checkpoint_end: Lsn,
    /// LSN up to which the redo is to be applied: the end of the last mini-transaction of the backup.
    pub end: Lsn,
    /// Length of the run in bytes; at least `end - first` (block formats: rounded up to whole blocks).
    pub bytes: u64,
    /// The creator string in the log's header.
    pub creator: String,
}
