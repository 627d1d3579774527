use reseed_terms::{Lsn, PageId, RedoFormat};

use crate::mysql::MysqlError;

/// What keeps a redo log from being read or applied.
#[derive(Debug, thiserror::Error)]
pub enum RedoError {
    #[error("the redo log cannot be used: {0}")]
    Unsupported(#[from] UnsupportedLog),
    #[error("the redo log's header is damaged: {what}")]
    Header { what: &'static str },
    #[error("the redo log has no valid checkpoint")]
    NoCheckpoint,
    #[error("the redo is damaged at LSN {lsn}: {what}")]
    Corrupt { lsn: Lsn, what: &'static str },
    #[error("the redo holds a record of a kind that is not known, {record:#04x}, at LSN {lsn}")]
    UnknownRecord { lsn: Lsn, record: u8 },
    #[error("the redo ends at LSN {reached}, before LSN {end} where it should")]
    Truncated { reached: Lsn, end: Lsn },
    #[error(
        "the server overwrote redo before it was read: at LSN {position}, while the server is at {written} \
         and its log holds {capacity} bytes"
    )]
    Overrun { position: Lsn, written: Lsn, capacity: u64 },
    #[error("the new redo log begins at LSN {first}, behind LSN {position} where reading stands")]
    Gap { position: Lsn, first: Lsn },
    #[error("{page} cannot take the change of LSN {lsn}: {what}")]
    Apply { page: PageId, lsn: Lsn, what: &'static str },
    #[error("{format} was given to the reader of another format")]
    WrongFormat { format: RedoFormat },
    #[error(transparent)]
    Mysql(#[from] MysqlError),
}

/// Redo logs that reseed knows and does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedLog {
    #[error("it is encrypted (innodb_encrypt_log)")]
    Encrypted,
    #[error("it is of a server before MariaDB 10.5 (format {format})")]
    TooOld { format: u32 },
    #[error("its format {format:#010x} is not known")]
    Unknown { format: u32 },
    #[error("it is written as an archive (innodb_log_archive)")]
    Archive,
    #[error("it is empty")]
    Empty,
}
