//! The tablespace header in page 0, at offset 38, and what page 0 says of encryption.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 38 | 4 | tablespace |
//! | 46 | 4 | size in pages |
//! | 50 | 4 | free limit: pages from here on were never initialised |
//! | 54 | 4 | flags |
//! | 150 | … | extent descriptors, one for each extent of the first page-size pages |

use reseed_terms::{Flavour, PageNo, SpaceId};

use crate::bytes::{array, be4};
use crate::{PageSize, SpaceFormat};

pub const SPACE: usize = 38;
pub const SIZE: usize = 46;
pub const FREE_LIMIT: usize = 50;
pub const FLAGS: usize = 54;
pub const DESCRIPTORS: usize = 150;

/// Fields of page 0; each is 0 where the page is too short to have it.
pub fn space_id(page0: &[u8]) -> SpaceId {
    SpaceId(be4(page0, SPACE).unwrap_or(0))
}

/// The tablespace's size in pages.
pub fn size(page0: &[u8]) -> u32 {
    be4(page0, SIZE).unwrap_or(0)
}

pub fn free_limit(page0: &[u8]) -> PageNo {
    PageNo(be4(page0, FREE_LIMIT).unwrap_or(0))
}

pub fn flags(page0: &[u8]) -> u32 {
    be4(page0, FLAGS).unwrap_or(0)
}

/// Pages of one extent, by the server's page size (`innodb_page_size`).
pub fn extent_pages(logical: PageSize) -> u32 {
    match logical.bytes() {
        // 1 MiB up to 16 KiB pages; 2 and 4 MiB above.
        size if size <= 16384 => (1 << 20) / size as u32,
        _ => 64,
    }
}

/// Whether a tablespace's pages are, or may be, encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    None,
    /// MariaDB: `key` is the key's number, `version` the oldest key version in use.
    MariaDb {
        key: u32,
        version: u32,
    },
    /// MySQL: the tablespace's own key, wrapped by the master key, lies in page 0.
    MySql,
}

impl Encryption {
    pub fn is_encrypted(self) -> bool {
        self != Encryption::None
    }
}

const MARIADB_MAGIC: [u8; 6] = [0x73, 0x0E, 0x0C, 0x52, 0x45, 0x74];
const MYSQL_ENCRYPTION_FLAG: u32 = 1 << 13;

/// Where the encryption information lies in page 0: behind the extent descriptors.
pub fn encryption_offset(format: &SpaceFormat) -> usize {
    let extent = extent_pages(format.logical()) as usize;
    let descriptor = 24 + extent / 4;
    DESCRIPTORS + descriptor * (format.physical().bytes() / extent).max(1) + mariadb_gap(format.flavour())
}

/// MariaDB counts from the header's begin (38) plus 150, which leaves 38 bytes more than MySQL does.
fn mariadb_gap(flavour: Flavour) -> usize {
    match flavour {
        Flavour::MariaDb => 38,
        Flavour::MySql => 0,
    }
}

/// What page 0 says of the tablespace's encryption.
///
/// MariaDB keeps the information also for tablespaces that are excluded from encryption: only a scheme other than 0
/// or a key version means that a page can be encrypted.
pub fn encryption(page0: &[u8], format: &SpaceFormat) -> Encryption {
    if format.flavour() == Flavour::MySql {
        let encrypted = format.flags() & MYSQL_ENCRYPTION_FLAG != 0;
        return if encrypted { Encryption::MySql } else { Encryption::None };
    }
    let at = encryption_offset(format);
    if array(page0, at) != Some(MARIADB_MAGIC) {
        return Encryption::None;
    }
    let scheme = page0.get(at + 6).copied().unwrap_or(0);
    let iv = usize::from(page0.get(at + 7).copied().unwrap_or(0));
    let version = be4(page0, at + 8 + iv).unwrap_or(0);
    let key = be4(page0, at + 12 + iv).unwrap_or(0);
    if scheme == 0 && version == 0 { Encryption::None } else { Encryption::MariaDb { key, version } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::put;

    #[test]
    fn encryption_of_mariadb_counts_only_when_it_is_in_force() {
        for flags in [0x15, 0, 0x29, 0x13] {
            let format = SpaceFormat::from_flags(flags, Flavour::MariaDb).unwrap();
            let mut page = vec![0; format.physical().bytes()];
            assert_eq!(encryption(&page, &format), Encryption::None);
            let at = encryption_offset(&format);
            // A tablespace made with ENCRYPTED=NO: no scheme, no version, key 1.
            assert!(put(&mut page, at, &MARIADB_MAGIC) && put(&mut page, at + 6, &[0, 16]));
            assert!(put(&mut page, at + 28, &[0, 0, 0, 1]));
            assert_eq!(encryption(&page, &format), Encryption::None, "{flags:#x}");
            assert!(put(&mut page, at + 6, &[1]) && put(&mut page, at + 24, &[0, 0, 0, 3]));
            assert_eq!(encryption(&page, &format), Encryption::MariaDb { key: 1, version: 3 });
        }
    }

    #[test]
    fn encryption_of_mysql_is_a_flag() {
        for (flags, expected) in [(0x4021, Encryption::None), (0x6021, Encryption::MySql)] {
            let format = SpaceFormat::from_flags(flags, Flavour::MySql).unwrap();
            assert_eq!(encryption(&[], &format), expected);
        }
    }
}
