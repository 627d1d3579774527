//! The header and trailer that every page has.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | checksum (MariaDB full_crc32: key version) |
//! | 4 | 4 | page number |
//! | 8, 12 | 4, 4 | previous and next page of the level |
//! | 16 | 8 | LSN: end of the last mini-transaction that changed the page |
//! | 24 | 2 | type |
//! | 26 | 8 | several uses, see `docs/formats/pages.md` |
//! | 34 | 4 | tablespace |
//! | size-8 | 8 | a second checksum and half of the LSN, in an order that depends on the checksum form |

use reseed_terms::{Lsn, PageNo, SpaceId};

use crate::bytes::{be2, be4, be8};

pub const CHECKSUM: usize = 0;
pub const PAGE_NO: usize = 4;
pub const PREV: usize = 8;
pub const NEXT: usize = 12;
pub const LSN: usize = 16;
pub const TYPE: usize = 24;
pub const FLUSH_LSN: usize = 26;
pub const SPACE: usize = 34;
/// Where the page's own content begins.
pub const DATA: usize = 38;
/// Bytes of the trailer.
pub const TRAILER: usize = 8;

/// The number in the page's type field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageType(pub u16);

impl PageType {
    pub const ALLOCATED: PageType = PageType(0);
    pub const UNDO: PageType = PageType(2);
    pub const INODE: PageType = PageType(3);
    pub const IBUF_BITMAP: PageType = PageType(5);
    pub const SYS: PageType = PageType(6);
    pub const TRX_SYS: PageType = PageType(7);
    pub const FSP_HDR: PageType = PageType(8);
    pub const XDES: PageType = PageType(9);
    /// MySQL: transparent page compression.
    pub const MYSQL_COMPRESSED: PageType = PageType(14);
    pub const MYSQL_ENCRYPTED: PageType = PageType(15);
    pub const MYSQL_COMPRESSED_ENCRYPTED: PageType = PageType(16);
    pub const MYSQL_ENCRYPTED_RTREE: PageType = PageType(17);
    pub const SDI: PageType = PageType(17853);
    pub const RTREE: PageType = PageType(17854);
    pub const INDEX: PageType = PageType(17855);
    /// MariaDB: the root page of a clustered index after instant ALTER TABLE.
    pub const INSTANT: PageType = PageType(18);
    /// MariaDB, files that are not full_crc32: page_compressed, and the same encrypted.
    pub const MARIADB_COMPRESSED: PageType = PageType(34354);
    pub const MARIADB_COMPRESSED_ENCRYPTED: PageType = PageType(37401);
}

/// Fields of the header; each is 0 where the page is too short to have it.
pub fn checksum(page: &[u8]) -> u32 {
    be4(page, CHECKSUM).unwrap_or(0)
}

pub fn page_no(page: &[u8]) -> PageNo {
    PageNo(be4(page, PAGE_NO).unwrap_or(0))
}

pub fn lsn(page: &[u8]) -> Lsn {
    Lsn(be8(page, LSN).unwrap_or(0))
}

pub fn page_type(page: &[u8]) -> PageType {
    PageType(be2(page, TYPE).unwrap_or(0))
}

pub fn space_id(page: &[u8]) -> SpaceId {
    SpaceId(be4(page, SPACE).unwrap_or(0))
}

/// Page 0 of the system tablespace: the LSN of the last clean stop.
pub fn flush_lsn(page: &[u8]) -> Lsn {
    Lsn(be8(page, FLUSH_LSN).unwrap_or(0))
}
