//! Everything that can be wrong with a MySQL redo log or with the page that it is applied to.

use reseed_terms::{Lsn, PageId};

use super::block::BlockError;

/// What went wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MysqlError {
    #[error("redo log file header is {found} bytes long, {needed} are needed")]
    HeaderTooShort { found: usize, needed: usize },
    #[error("redo log file header has a wrong checksum: stored {stored:#010x}, computed {computed:#010x}")]
    HeaderChecksum { stored: u32, computed: u32 },
    /// `servers` names who writes that format.
    #[error(
        "redo log format {format} ({servers}) is not supported: only format 6 of MySQL 8.0.30 and later is"
    )]
    UnsupportedFormat { format: u32, servers: &'static str },
    #[error("redo log file starts at LSN {start}, which is no block boundary")]
    HeaderStart { start: Lsn },
    #[error("the redo log is encrypted, which reseed does not support yet")]
    Encrypted,
    #[error("redo logging is disabled in the server (ALTER INSTANCE DISABLE INNODB REDO_LOG)")]
    LoggingDisabled,
    #[error("the server crashed while redo logging was disabled: its data cannot be recovered by redo")]
    CrashUnsafe,
    #[error("the redo log was being created when its server stopped")]
    NotInitialized,
    #[error("no redo log file holds a checkpoint")]
    NoCheckpoint,
    #[error("redo block at LSN {lsn}: {source}")]
    Block { lsn: Lsn, source: BlockError },
    #[error("the captured redo ends at LSN {found}, before LSN {needed} to which it must be applied")]
    EndMissing { found: Lsn, needed: Lsn },
    #[error("the captured redo starts at LSN {first}, after the checkpoint LSN {checkpoint}")]
    StartMissing { first: Lsn, checkpoint: Lsn },
    #[error("unknown redo record type {number} at LSN {lsn} (log written by {creator:?})")]
    UnknownRecord { number: u8, lsn: Lsn, creator: String },
    #[error("damaged redo record of type {number} at LSN {lsn}: {what}")]
    DamagedRecord { number: u8, lsn: Lsn, what: &'static str },
    #[error("the mini-transaction at LSN {lsn} is longer than {limit} bytes")]
    EndlessMtr { lsn: Lsn, limit: u64 },
    #[error("{page}: cannot apply redo record of type {number} ({name}) at LSN {lsn}: {source}")]
    Apply { page: PageId, number: u8, name: &'static str, lsn: Lsn, source: ApplyError },
    #[error("{page}: cannot read the page before redo is applied to it: {source}")]
    Load { page: PageId, source: ApplyError },
    #[error("table metadata does not fit a redo record")]
    Metadata,
    #[error("the aggregated metadata needs a redo file of {bytes} bytes, more than {limit}")]
    CleanLogTooLarge { bytes: u64, limit: u64 },
}

/// Why a record does not fit the page that it is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("offset {offset} (+{len}) lies outside the page")]
    OutsidePage { offset: usize, len: usize },
    #[error("the record is cut short")]
    ShortRecord,
    #[error("the record is longer than its content")]
    TrailingBytes,
    #[error("record list of the page does not end")]
    EndlessList,
    #[error("page directory is damaged")]
    Directory,
    #[error("the record's index description is damaged")]
    Index,
    #[error("field {0} does not exist in the row")]
    NoSuchField(u32),
    #[error("the row at offset {0} is damaged")]
    Row(usize),
    #[error("new value is {new} bytes, the old one {old}")]
    FieldLength { old: usize, new: usize },
    #[error("record type is not allowed in the log")]
    Type,
    #[error("record needs a compressed page, this one is not")]
    NotCompressed,
    #[error("compressed page is damaged: {0}")]
    CompressedPage(&'static str),
    #[error("the page does not fit its compressed size")]
    DoesNotFit,
    #[error("page buffer is {found} bytes, {needed} were expected")]
    BufferSize { found: usize, needed: usize },
    #[error("page is empty and its first redo record does not create it")]
    EmptyPage,
}
