//! Following the 512-byte blocks of 10.5 to 10.7, and the arithmetic of their LSNs.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | number: 1 + block's LSN / 512, 30 bits; bit 31 marks the first of a write |
//! | 4 | 2 | bytes used, header included; 512: full |
//! | 6 | 2 | where the first mini-transaction that starts here starts; 0: none |
//! | 8 | 4 | low half of the next checkpoint's number |
//! | 12 | 496 | redo |
//! | 508 | 4 | CRC-32C of the 508 bytes before |

use reseed_innodb::bytes::{be2, be4, put};
use reseed_terms::Lsn;

use super::log_file::BLOCK;
use super::{Accepted, LogFile, Stop};
use crate::RedoError;

pub(super) const SIZE: usize = 512;
pub(super) const HEADER: usize = 12;
pub(super) const TRAILER: usize = 4;
const PAYLOAD: u64 = 496;

/// The LSN that lies `bytes` of redo after `lsn`. An LSN never points into a header or trailer.
pub(super) fn advance(lsn: Lsn, bytes: u64) -> Option<Lsn> {
    let before = (lsn.0 % BLOCK).saturating_sub(HEADER as u64);
    let framing = bytes.checked_add(before)? / PAYLOAD * (BLOCK - PAYLOAD);
    lsn.checked_add(bytes)?.checked_add(framing)
}

/// The LSN of the block that holds `lsn`.
pub(super) fn block_of(lsn: Lsn) -> Lsn {
    Lsn(lsn.0 / BLOCK * BLOCK)
}

/// What a block that should be the one at `lsn` turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Full,
    /// So many bytes of it are used.
    Partial(usize),
    WrongNumber,
    BadChecksum,
    BadLength,
}

pub(super) fn look(block: &[u8], lsn: Lsn) -> Seen {
    let number = be4(block, 0).unwrap_or(0) & 0x7FFF_FFFF;
    if u64::from(number) != ((lsn.0 / BLOCK) & 0x3FFF_FFFF) + 1 {
        return Seen::WrongNumber;
    }
    if be4(block, 508) != block.get(..508).map(crc32c::crc32c) {
        return Seen::BadChecksum;
    }
    match be2(block, 4).map_or(0, usize::from) {
        SIZE => Seen::Full,
        used @ HEADER..=508 => Seen::Partial(used),
        _ => Seen::BadLength,
    }
}

/// Ends the block that starts at `lsn` at `end`, which lies in it: whoever reads it finds no redo behind that.
/// A block that ends before is left as it is.
///
/// # Errors
/// When `block` is not 512 bytes long or `end` lies in another block.
pub fn cut_last_block(block: &mut [u8], lsn: Lsn, end: Lsn) -> Result<(), RedoError> {
    let other = || RedoError::Corrupt { lsn: end, what: "the redo's end does not lie in its last block" };
    let used = end.0.checked_sub(lsn.0).and_then(|used| usize::try_from(used).ok()).ok_or_else(other)?;
    if block.len() != SIZE || !(HEADER..=SIZE).contains(&used) {
        return Err(other());
    }
    let payload_end = SIZE - TRAILER;
    if used >= payload_end || be2(block, 4).is_some_and(|has| usize::from(has) <= used) {
        return Ok(());
    }
    block.get_mut(used..payload_end).ok_or_else(other)?.fill(0);
    let mut ok = put(block, 4, &(used as u16).to_be_bytes());
    if be2(block, 6).is_some_and(|first| usize::from(first) >= used) {
        ok &= put(block, 6, &[0, 0]);
    }
    let sum = crc32c::crc32c(block.get(..payload_end).unwrap_or(&[]));
    ok &= put(block, payload_end, &sum.to_be_bytes());
    if ok { Ok(()) } else { Err(other()) }
}

/// See [`Cursor`](super::Cursor).
#[derive(Debug)]
pub struct BlockCursor {
    log: LogFile,
    first: Lsn,
    /// Start of the first block that is not in the capture.
    position: Lsn,
    partial: Vec<u8>,
    reached: Lsn,
}

impl BlockCursor {
    /// Starts at the block that holds the checkpoint that `log` was parsed with.
    pub fn new(log: LogFile) -> BlockCursor {
        let first = block_of(log.checkpoint.lsn);
        BlockCursor { log, first, position: first, partial: Vec::new(), reached: first }
    }

    pub fn first(&self) -> Lsn {
        self.first
    }

    pub fn position(&self) -> Lsn {
        self.position
    }

    pub fn reached(&self) -> Lsn {
        self.reached
    }

    pub fn log(&self) -> &LogFile {
        &self.log
    }

    pub fn partial(&self) -> Option<&[u8]> {
        (!self.partial.is_empty()).then_some(&self.partial)
    }

    /// Appends the full blocks at the start of `window` that start before `limit`, and keeps the partial one that
    /// follows.
    pub fn accept(&mut self, window: &[u8], limit: Lsn, capture: &mut Vec<u8>) -> Accepted {
        let mut bytes = 0;
        for block in window.chunks(SIZE) {
            // The first byte of redo in a block lies behind its header.
            if self.position.0.saturating_add(HEADER as u64) >= limit.0 {
                return Accepted { bytes, stop: Stop::Limit };
            }
            if block.len() < SIZE {
                break;
            }
            let stop = match look(block, self.position) {
                Seen::Full => {
                    let Some(next) = self.position.checked_add(BLOCK) else { break };
                    capture.extend_from_slice(block);
                    bytes += SIZE;
                    self.position = next;
                    self.partial.clear();
                    self.reached = Lsn(next.0.saturating_add(HEADER as u64));
                    continue;
                }
                Seen::Partial(used) => {
                    self.partial.clear();
                    self.partial.extend_from_slice(block);
                    self.reached =
                        advance(Lsn(self.position.0 + 12), (used - HEADER) as u64).unwrap_or(self.reached);
                    if self.reached >= limit { Stop::Limit } else { Stop::Partial }
                }
                Seen::WrongNumber => Stop::WrongNumber,
                Seen::BadChecksum => Stop::BadChecksum,
                Seen::BadLength => Stop::BadLength,
            };
            return Accepted { bytes, stop };
        }
        let stop = if self.reached >= limit { Stop::Limit } else { Stop::WindowEnd };
        Accepted { bytes, stop }
    }
}
