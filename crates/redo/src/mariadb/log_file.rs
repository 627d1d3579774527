//! The one redo file of a MariaDB server (`ib_logfile0`): its header, its checkpoints, and which LSN lies where.
//!
//! Ring (10.8 and later): everything from 12288 on is mini-transactions; checkpoints at 4096 and 8192.
//! Blocks (10.5 to 10.7): everything from 2048 on is 512-byte blocks; checkpoints at 512 and 1536.

use reseed_innodb::bytes::{all_zero, be4, be8};
use reseed_terms::{Lsn, RedoFormat};

use crate::{RedoError, UnsupportedLog};

pub(super) const BLOCK: u64 = 512;

const FORMAT_BLOCKS: u32 = 0x5048_5953;
const FORMAT_RING: u32 = 0x5068_7973;
const FORMAT_ENCRYPTED_RING: u32 = 0xF09F_979D;
const ENCRYPTED_BIT: u32 = 0x8000_0000;
/// The newest of the formats before 10.5 (that of 10.4).
const NEWEST_OLD_FORMAT: u32 = 104;

const CREATOR: std::ops::Range<usize> = 16..48;
const RING_KEY_ID: usize = 48;

/// A promise of the server: all page changes before `lsn` are in the data files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub lsn: Lsn,
    /// Where the mini-transactions that name the changed tablespaces and end with FILE_CHECKPOINT(`lsn`) start.
    pub end: Lsn,
    /// Blocks: where `lsn` lies in the file. Ring: 0, since the header fixes that.
    pub offset: u64,
}

/// Some bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSpan {
    pub offset: u64,
    pub len: usize,
}

/// A redo file as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    pub format: RedoFormat,
    pub creator: String,
    /// The newest checkpoint when the header was read.
    pub checkpoint: Checkpoint,
    /// Bytes of redo that fit into the file: its size without the header.
    pub capacity: u64,
    /// An LSN and its place in the file; all others follow from it.
    anchor: (Lsn, u64),
}

impl LogFile {
    /// Bytes from the file's begin that [`parse`](Self::parse) wants to see; a shorter file is given whole.
    pub const HEAD: usize = 12288;

    /// Understands the begin of a redo file of `size` bytes.
    ///
    /// # Errors
    /// When the format is one that reseed does not read (said by name), when the header is damaged, or when no
    /// checkpoint is valid. The latter two can be a torn read of a live file: read again before believing it.
    pub fn parse(head: &[u8], size: u64) -> Result<LogFile, RedoError> {
        if size == 0 {
            return Err(UnsupportedLog::Empty.into());
        }
        let format = be4(head, 0).ok_or(RedoError::Header { what: "it is cut short" })?;
        let format = match format {
            FORMAT_BLOCKS => RedoFormat::MariadbBlocks,
            FORMAT_RING => RedoFormat::MariadbRing,
            FORMAT_ENCRYPTED_RING => return Err(UnsupportedLog::Encrypted.into()),
            other if other & ENCRYPTED_BIT != 0 => match other & !ENCRYPTED_BIT {
                FORMAT_BLOCKS | 0..=NEWEST_OLD_FORMAT => return Err(UnsupportedLog::Encrypted.into()),
                _ => return Err(UnsupportedLog::Unknown { format: other }.into()),
            },
            old @ 0..=NEWEST_OLD_FORMAT => return Err(UnsupportedLog::TooOld { format: old }.into()),
            unknown => return Err(UnsupportedLog::Unknown { format: unknown }.into()),
        };
        if !block_sum_fits(head, 0) {
            return Err(RedoError::Header { what: "its checksum does not fit" });
        }
        let creator = head.get(CREATOR).unwrap_or(&[]);
        let creator = creator.split(|byte| *byte == 0).next().unwrap_or(&[]);
        let creator = String::from_utf8_lossy(creator).into_owned();
        let start = start_offset(format);
        let capacity = size.checked_sub(start).filter(|capacity| *capacity >= 16);
        let capacity = capacity.ok_or(RedoError::Header { what: "the file is too small to hold redo" })?;
        if format == RedoFormat::MariadbBlocks {
            // The server itself refuses other sizes; a part of a block at the end would shift the mapping.
            if capacity % BLOCK != 0 {
                return Err(RedoError::Header { what: "the file's size is no multiple of 512" });
            }
            let checkpoint = blocks_checkpoint(head, capacity)?;
            let anchor = (checkpoint.lsn, checkpoint.offset);
            return Ok(LogFile { format, creator, checkpoint, capacity, anchor });
        }
        if be4(head, RING_KEY_ID) != Some(0) {
            return Err(UnsupportedLog::Encrypted.into());
        }
        if be4(head, 4) != Some(0) {
            return Err(RedoError::Header { what: "bytes 4 to 7 are not 0" });
        }
        let first = be8(head, 8).filter(|first| *first >= start);
        let first = Lsn(first.ok_or(RedoError::Header { what: "its first LSN is too small" })?);
        let checkpoint = ring_checkpoint(head, first)?;
        Ok(LogFile { format, creator, checkpoint, capacity, anchor: (first, start) })
    }

    /// The newest checkpoint in a fresh copy of this file's begin.
    ///
    /// # Errors
    /// When none is valid, which can be a torn read.
    pub fn newest_checkpoint(&self, head: &[u8]) -> Result<Checkpoint, RedoError> {
        match self.format {
            RedoFormat::MariadbRing => ring_checkpoint(head, self.anchor.0),
            _ => blocks_checkpoint(head, self.capacity),
        }
    }

    /// The smallest LSN that this file can hold. Blocks: of the block in which the checkpoint lies.
    pub fn first(&self) -> Lsn {
        match self.format {
            RedoFormat::MariadbRing => self.anchor.0,
            _ => Lsn(self.anchor.0.0 / BLOCK * BLOCK),
        }
    }

    /// Where `lsn` lies in the file. LSNs before the anchor are mapped backwards (blocks only have such).
    pub fn offset(&self, lsn: Lsn) -> u64 {
        let start = start_offset(self.format);
        let (anchor, at) = self.anchor;
        let capacity = i128::from(self.capacity.max(1));
        let distance = i128::from(lsn.0) - i128::from(anchor.0) + i128::from(at) - i128::from(start);
        start + u64::try_from(distance.rem_euclid(capacity)).unwrap_or(0)
    }

    /// The two parts of the file, the second often empty, that hold up to `len` bytes from `lsn` on; never more than
    /// the capacity. They are to be read in this order and joined.
    pub fn spans(&self, lsn: Lsn, len: usize) -> [FileSpan; 2] {
        let len = u64::try_from(len).unwrap_or(u64::MAX).min(self.capacity);
        let start = start_offset(self.format);
        let offset = self.offset(lsn);
        let first = len.min((start + self.capacity).saturating_sub(offset));
        let as_len = |len: u64| usize::try_from(len).unwrap_or(usize::MAX);
        [FileSpan { offset, len: as_len(first) }, FileSpan { offset: start, len: as_len(len - first) }]
    }

    /// Ring: what the byte that ends a mini-transaction must be when it lies at `lsn`: 1 in the first lap, then 0
    /// and 1 in turn.
    pub(super) fn lap_byte(&self, lsn: Lsn) -> u8 {
        u8::from((lsn.since(self.anchor.0) / self.capacity.max(1)).is_multiple_of(2))
    }
}

pub(super) fn start_offset(format: RedoFormat) -> u64 {
    match format {
        RedoFormat::MariadbRing => 12288,
        _ => 2048,
    }
}

fn block_sum_fits(head: &[u8], at: usize) -> bool {
    let Some(block) = head.get(at..at + 512) else { return false };
    be4(block, 508) == block.get(..508).map(crc32c::crc32c)
}

fn ring_checkpoint(head: &[u8], first: Lsn) -> Result<Checkpoint, RedoError> {
    let slot = |at: usize| {
        let block = head.get(at..at + 64)?;
        let (lsn, end) = (Lsn(be8(block, 0)?), Lsn(be8(block, 8)?));
        let whole = be4(block, 60) == block.get(..60).map(crc32c::crc32c);
        let fits = whole && all_zero(block.get(16..60)?) && lsn >= first && end >= lsn;
        fits.then_some(Checkpoint { lsn, end, offset: 0 })
    };
    // The later of two equal ones is the second.
    [slot(4096), slot(8192)]
        .into_iter()
        .flatten()
        .max_by_key(|found| found.lsn)
        .ok_or(RedoError::NoCheckpoint)
}

fn blocks_checkpoint(head: &[u8], capacity: u64) -> Result<Checkpoint, RedoError> {
    let slot = |at: usize| {
        let block = block_sum_fits(head, at).then(|| head.get(at..at + 512)).flatten()?;
        let (number, lsn, offset) = (be8(block, 0)?, Lsn(be8(block, 8)?), be8(block, 16)?);
        let end = match be8(block, 496)? {
            0 => lsn,
            end => Lsn(end),
        };
        let start = start_offset(RedoFormat::MariadbBlocks);
        let inside = offset >= start && offset < start + capacity;
        // Both count the framing, so they agree on the place within a block.
        let fits = inside && offset % BLOCK == lsn.0 % BLOCK && end >= lsn;
        fits.then_some((number, Checkpoint { lsn, end, offset }))
    };
    let newest = [slot(512), slot(1536)].into_iter().flatten().max_by_key(|(number, _)| *number);
    newest.map(|(_, checkpoint)| checkpoint).ok_or(RedoError::NoCheckpoint)
}
