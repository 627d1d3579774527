//! One 512-byte block of the log.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | block number: 1 + (lsn / 512) mod 2^30; the top bit is not part of it |
//! | 4 | 2 | bytes used, header included; 512 = full; bit 15 = encrypted |
//! | 6 | 2 | where the first mini-transaction that starts here starts; 0 = none |
//! | 8 | 4 | epoch: 1 + (lsn / 512) / 2^30 |
//! | 12 | 496 | payload |
//! | 508 | 4 | CRC-32C of all before |

use reseed_terms::Lsn;

use super::codec::{be16, be32};
use super::lsn::{BLOCK, BLOCK_HEADER, BLOCK_TRAILER};

pub const SIZE: usize = BLOCK as usize;
const HEADER: usize = BLOCK_HEADER as usize;
const CHECKSUM: usize = SIZE - BLOCK_TRAILER as usize;
const NUMBERS: u64 = 0x4000_0000;
const ENCRYPTED: u16 = 0x8000;
/// Written instead of a checksum with `innodb_log_checksums=OFF`.
const NO_CHECKSUM: u32 = 0xdead_beef;

/// Why 512 bytes are not the block that belongs at an LSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("{found} bytes instead of 512")]
    Short { found: usize },
    #[error("block number is {found}, {expected} belongs here")]
    Number { found: u32, expected: u32 },
    #[error("epoch is {found}, {expected} belongs here")]
    Epoch { found: u32, expected: u32 },
    #[error("wrong checksum: stored {stored:#010x}, computed {computed:#010x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("no checksum: the server runs with innodb_log_checksums=OFF")]
    NoChecksum,
    #[error("block is encrypted")]
    Encrypted,
    #[error("impossible length {0}")]
    Length(u16),
    #[error("impossible offset {0} of the first mini-transaction")]
    FirstMtr(u16),
    #[error("block follows one that is not full")]
    AfterPartial,
}

/// A block whose checks have all passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// Bytes used, header included: 12 to 508, or 512 for a full block.
    pub length: u16,
    /// Where in the block the first mini-transaction starts that starts in it.
    pub first_mtr: Option<u16>,
    pub payload: &'a [u8],
}

impl<'a> Block<'a> {
    /// Reads the block that starts at `lsn`.
    ///
    /// # Errors
    /// When it is anything else than that block, whole and plain.
    pub fn check(bytes: &'a [u8], lsn: Lsn) -> Result<Block<'a>, BlockError> {
        let bytes = bytes.get(..SIZE).ok_or(BlockError::Short { found: bytes.len() })?;
        let (number, epoch) = numbers(lsn);
        let found = be32(bytes, 0) & (u32::MAX >> 1);
        if found != number {
            return Err(BlockError::Number { found, expected: number });
        }
        let stored = be32(bytes, CHECKSUM);
        let computed = crc32c::crc32c(bytes.get(..CHECKSUM).unwrap_or_default());
        let length = be16(bytes, 4);
        if stored != computed {
            return Err(match stored {
                _ if length & ENCRYPTED != 0 => BlockError::Encrypted,
                NO_CHECKSUM => BlockError::NoChecksum,
                _ => BlockError::Checksum { stored, computed },
            });
        }
        if length & ENCRYPTED != 0 {
            return Err(BlockError::Encrypted);
        }
        let found = be32(bytes, 8);
        if found != epoch {
            return Err(BlockError::Epoch { found, expected: epoch });
        }
        let used = match usize::from(length) {
            SIZE => CHECKSUM,
            used @ HEADER..CHECKSUM => used,
            // A block whose payload is full has the length 512, not 508.
            _ => return Err(BlockError::Length(length)),
        };
        let first_mtr = match be16(bytes, 6) {
            0 => None,
            at if usize::from(at) >= HEADER && usize::from(at) <= used => Some(at),
            at => return Err(BlockError::FirstMtr(at)),
        };
        Ok(Block { length, first_mtr, payload: bytes.get(HEADER..used).unwrap_or_default() })
    }

    pub fn is_full(&self) -> bool {
        usize::from(self.length) == SIZE
    }
}

/// Number and epoch of the block at `lsn`.
pub(super) fn numbers(lsn: Lsn) -> (u32, u32) {
    let block = lsn.0 / BLOCK;
    // Both fit: the remainder is below 2^30, and 2^64 / 512 / 2^30 is below 2^25.
    ((block % NUMBERS) as u32 + 1, (block / NUMBERS) as u32 + 1)
}

/// Builds the block at `lsn` around `payload` (at most 496 bytes). `first_mtr` is an offset within the block.
pub fn build(lsn: Lsn, payload: &[u8], first_mtr: u16) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let (number, epoch) = numbers(lsn);
    let used = payload.len().min(CHECKSUM - HEADER);
    let length = if used == CHECKSUM - HEADER { SIZE } else { HEADER + used };
    let (header, rest) = bytes.split_at_mut(HEADER);
    for (to, from) in header.iter_mut().zip(
        number
            .to_be_bytes()
            .into_iter()
            .chain((length as u16).to_be_bytes())
            .chain(first_mtr.to_be_bytes())
            .chain(epoch.to_be_bytes()),
    ) {
        *to = from;
    }
    for (to, from) in rest.iter_mut().zip(payload.iter().take(used)) {
        *to = *from;
    }
    seal(&mut bytes);
    bytes
}

/// Writes the checksum of a 512-byte block or header.
pub(super) fn seal(bytes: &mut [u8; SIZE]) {
    let (content, checksum) = bytes.split_at_mut(CHECKSUM);
    checksum.copy_from_slice(&crc32c::crc32c(content).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_built_is_read() {
        for (len, length) in [(0, 12), (1, 13), (495, 507), (496, 512)] {
            let payload = vec![7; len];
            let bytes = build(Lsn(8192), &payload, 12);
            let block = Block::check(&bytes, Lsn(8192)).unwrap();
            assert_eq!(
                (block.length, block.first_mtr, block.payload),
                (length, Some(12), payload.as_slice())
            );
            assert_eq!(block.is_full(), len == 496);
        }
    }

    #[test]
    fn epoch_starts_over_with_the_numbers() {
        assert_eq!(numbers(Lsn(0)), (1, 1));
        assert_eq!(numbers(Lsn(512 * 0x3fff_ffff)), (0x4000_0000, 1));
        assert_eq!(numbers(Lsn(512 * 0x4000_0000)), (1, 2));
        assert_eq!(numbers(Lsn(u64::MAX)), (0x4000_0000, 1 << 25));
    }

    #[test]
    fn every_check_has_its_error() {
        let good = build(Lsn(8192), b"abc", 0);
        let changed = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            bytes
        };
        let sealed = |at: usize, value: u8| {
            let mut bytes = changed(at, value);
            seal(&mut bytes);
            bytes
        };
        let check = |bytes: &[u8]| Block::check(bytes, Lsn(8192)).unwrap_err();
        assert_eq!(check(&good[..511]), BlockError::Short { found: 511 });
        assert_eq!(check(&changed(3, 9)), BlockError::Number { found: 9, expected: 17 });
        assert!(matches!(check(&changed(12, b'x')), BlockError::Checksum { .. }));
        assert_eq!(check(&sealed(11, 2)), BlockError::Epoch { found: 2, expected: 1 });
        assert_eq!(check(&sealed(5, 11)), BlockError::Length(11));
        assert_eq!(check(&sealed(4, 3)), BlockError::Length(0x30f));
        assert_eq!(check(&sealed(7, 16)), BlockError::FirstMtr(16));
        assert_eq!(check(&sealed(4, 0x80)), BlockError::Encrypted);
        assert_eq!(check(&changed(4, 0x80)), BlockError::Encrypted);
        let mut none = good;
        none[508..].copy_from_slice(&NO_CHECKSUM.to_be_bytes());
        assert_eq!(check(&none), BlockError::NoChecksum);
        // The former flush bit is no part of the number.
        assert!(Block::check(&sealed(0, 0x80), Lsn(8192)).is_ok());
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), lsn: u64) {
            let _ = Block::check(&bytes, Lsn(lsn));
        }
    }
}
