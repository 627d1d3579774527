//! The header of an index page, at offset 38.

use crate::bytes::{be2, be8};
use crate::fil::{self, PageType};

pub const HEADER: usize = 38;
pub const N_DIR_SLOTS: usize = HEADER;
pub const HEAP_TOP: usize = HEADER + 2;
/// Records ever placed, the two borders included; the top bit marks COMPACT and its kin.
pub const N_HEAP: usize = HEADER + 4;
pub const FREE: usize = HEADER + 6;
pub const GARBAGE: usize = HEADER + 8;
pub const LAST_INSERT: usize = HEADER + 10;
/// MariaDB keeps the number of fields before an instant ALTER in the upper bits.
pub const DIRECTION: usize = HEADER + 12;
pub const N_DIRECTION: usize = HEADER + 14;
pub const N_RECS: usize = HEADER + 16;
pub const MAX_TRX_ID: usize = HEADER + 18;
pub const LEVEL: usize = HEADER + 26;
pub const INDEX_ID: usize = HEADER + 28;
/// Where the first record's bytes begin.
pub const DATA: usize = 94;

/// What an index page says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexHeader {
    pub slots: u16,
    pub heap_top: u16,
    pub heap_records: u16,
    pub compact: bool,
    pub records: u16,
    pub level: u16,
    pub index: u64,
}

/// The header, or `None` when the page is no index page.
pub fn header(page: &[u8]) -> Option<IndexHeader> {
    let kind = fil::page_type(page);
    if ![PageType::INDEX, PageType::RTREE, PageType::SDI, PageType::INSTANT].contains(&kind) {
        return None;
    }
    let heap = be2(page, N_HEAP)?;
    Some(IndexHeader {
        slots: be2(page, N_DIR_SLOTS)?,
        heap_top: be2(page, HEAP_TOP)?,
        heap_records: heap & 0x7FFF,
        compact: heap & 0x8000 != 0,
        records: be2(page, N_RECS)?,
        level: be2(page, LEVEL)?,
        index: be8(page, INDEX_ID)?,
    })
}
