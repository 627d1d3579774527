//! The records of one mini-transaction.
//!
//! | bits of the first byte | meaning |
//! |---|---|
//! | 7 | before the first page record: a file record; afterwards: same page as the record before |
//! | 6..4 | kind |
//! | 3..0 | bytes that follow; 0: a varint `v` follows, and `v + 15` bytes in all, its own included |
//!
//! A page record that is not of the same page continues with the tablespace and the page number, as varints.

use reseed_terms::PageId;

use super::varint;

pub(super) const FREE_PAGE: u8 = 0;
pub(super) const INIT_PAGE: u8 = 1;
pub(super) const EXTENDED: u8 = 2;
pub(super) const WRITE: u8 = 3;
pub(super) const MEMSET: u8 = 4;
pub(super) const MEMMOVE: u8 = 5;
pub(super) const RESERVED: u8 = 6;
pub(super) const OPTION: u8 = 7;

/// EXTENDED's subtype that shortens a tablespace.
pub(super) const TRIM_PAGES: u8 = 10;

/// One record, cut into its parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    /// The first byte.
    pub head: u8,
    /// What follows the first byte and the length.
    pub body: &'a [u8],
    /// Length of the whole record.
    pub length: usize,
}

impl Raw<'_> {
    pub fn top_bit(&self) -> bool {
        self.head & 0x80 != 0
    }

    pub fn kind(&self) -> u8 {
        self.head >> 4 & 7
    }
}

/// The record at the start of `bytes`; `None` when it does not fit.
#[inline]
pub(super) fn next(bytes: &[u8]) -> Option<Raw<'_>> {
    let head = *bytes.first()?;
    let (begin, length) = match usize::from(head & 15) {
        0 => {
            let (value, size) = varint::decode(bytes.get(1..)?)?;
            (1 + size, usize::try_from(value).ok()?.checked_add(16)?)
        }
        nibble => (1, nibble + 1),
    };
    Some(Raw { head, body: bytes.get(begin..length)?, length })
}

/// The page address at the start of a record's body, and what follows it.
#[inline]
pub(super) fn page_id(body: &[u8]) -> Option<(PageId, &[u8])> {
    let (space, first) = varint::decode(body)?;
    let rest = body.get(first..)?;
    let (page, second) = varint::decode(rest)?;
    Some((PageId::new(space, page), rest.get(second..)?))
}
