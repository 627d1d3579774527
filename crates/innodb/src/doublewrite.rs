//! Which pages of the system tablespace are the old doublewrite buffer.
//!
//! They hold copies of other tablespaces' pages: their numbers and checksums are not their own. A hot copy must
//! neither check nor use them.
//!
//! In page 5 of space 0, 200 bytes before its end, both flavours keep: a segment header (10 bytes), the magic number,
//! the first page of each of two blocks of one extent, and the three numbers once more. MySQL 8.0.20 and later keep
//! the buffer in files of their own and still reserve these pages: in a datadir that was made by such a version they
//! are ordinary pages, in an upgraded one they hold what the older version left there.

use std::ops::Range;

use reseed_terms::PageNo;

use crate::bytes::be4;
use crate::{PageSize, fsp};

const FROM_END: usize = 200;
const MAGIC_AT: usize = 10;
const MAGIC: u32 = 536_853_855;

/// The ranges of doublewrite pages that page 5 of the system tablespace names; empty when there are none.
pub fn doublewrite_pages(page5: &[u8], size: PageSize) -> Vec<Range<PageNo>> {
    let Some(base) = size.bytes().checked_sub(FROM_END - MAGIC_AT) else { return Vec::new() };
    if be4(page5, base) != Some(MAGIC) {
        return Vec::new();
    }
    let extent = fsp::extent_pages(size);
    [base + 4, base + 8]
        .into_iter()
        .filter_map(|at| be4(page5, at))
        .filter(|first| *first != 0)
        .map(|first| PageNo(first)..PageNo(first.saturating_add(extent)))
        .collect()
}
