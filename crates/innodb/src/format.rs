//! A tablespace's format, as its flags tell it. The flags lie at a fixed place in page 0, which is never compressed
//! and never encrypted, so they can be read before anything else is known.

use reseed_terms::Flavour;

use crate::bytes::be4;
use crate::{Compression, PageError, PageSize, fsp};

/// How a file's pages are checksummed. It was fixed when the file was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumForm {
    /// MariaDB 10.4 and later: one CRC-32C over the whole page, at its very end.
    FullCrc32,
    /// A checksum at each end of the page, over all but the fields that change late.
    TwoFields,
    /// ROW_FORMAT=COMPRESSED: one checksum at the start.
    Zip,
}

/// Everything that decides how a page of this tablespace is to be read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpaceFormat {
    flavour: Flavour,
    flags: u32,
    logical: PageSize,
    physical: PageSize,
    checksum: ChecksumForm,
}

const MARIADB_FULL_CRC32: u32 = 1 << 4;
const MARIADB_PAGE_COMPRESSED: u32 = 1 << 16;

impl SpaceFormat {
    /// # Errors
    /// When the flags are none that this flavour writes.
    pub fn from_flags(flags: u32, flavour: Flavour) -> Result<SpaceFormat, PageError> {
        let bad = || PageError::Flags { flavour, flags };
        if flavour == Flavour::MariaDb && flags & MARIADB_FULL_CRC32 != 0 && flags & !0xFF == 0 {
            // In the old form bit 4 is the top bit of the zip size, which is at most 5.
            let logical = page_size_of(flags & 0xF).ok_or_else(bad)?;
            if flags >> 5 > 6 {
                return Err(bad());
            }
            let checksum = ChecksumForm::FullCrc32;
            return Ok(SpaceFormat { flavour, flags, logical, physical: logical, checksum });
        }
        let logical = match (flags >> 6) & 0xF {
            0 => PageSize::K16,
            code => page_size_of(code).ok_or_else(bad)?,
        };
        let (physical, checksum) = match (flags >> 1) & 0xF {
            0 => (logical, ChecksumForm::TwoFields),
            code @ 1..=5 => (PageSize::new(512 << code).map_err(|_| bad())?, ChecksumForm::Zip),
            _ => return Err(bad()),
        };
        let known = match flavour {
            // Bits 10 to 15 are reserved, and 10 was written by some versions; 17 to 21 are kept in memory only.
            Flavour::MariaDb => 0x1_07FF,
            Flavour::MySql => 0x7FFF,
        };
        if flags & !known != 0 || physical > logical || (checksum == ChecksumForm::Zip && flags & 1 == 0) {
            return Err(bad());
        }
        Ok(SpaceFormat { flavour, flags, logical, physical, checksum })
    }

    /// Reads the flags of page 0; only its first 58 bytes are needed.
    ///
    /// # Errors
    /// When the bytes are too few or the flags are none that this flavour writes.
    pub fn from_page0(page0: &[u8], flavour: Flavour) -> Result<SpaceFormat, PageError> {
        let flags = be4(page0, fsp::FLAGS).ok_or(PageError::Length { expected: 58, got: page0.len() })?;
        SpaceFormat::from_flags(flags, flavour)
    }

    /// The format to assume for a tablespace whose page 0 is yet to be made by the redo: enough to apply that page.
    pub fn unknown(flavour: Flavour, server_page: PageSize) -> SpaceFormat {
        let checksum = ChecksumForm::TwoFields;
        SpaceFormat { flavour, flags: 0, logical: server_page, physical: server_page, checksum }
    }

    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// The size of a page in the server's memory (`innodb_page_size`).
    pub fn logical(&self) -> PageSize {
        self.logical
    }

    /// The size of a page in the file: smaller than `logical` for ROW_FORMAT=COMPRESSED.
    pub fn physical(&self) -> PageSize {
        self.physical
    }

    pub fn checksum(&self) -> ChecksumForm {
        self.checksum
    }

    /// ROW_FORMAT=COMPRESSED.
    pub fn is_zip(&self) -> bool {
        self.checksum == ChecksumForm::Zip
    }

    /// MariaDB: pages may be stored compressed (`page_compressed=1`). MySQL has no such flag: any page of any
    /// tablespace may be.
    pub fn may_be_page_compressed(&self) -> bool {
        match (self.flavour, self.checksum) {
            (_, ChecksumForm::Zip) => false,
            (Flavour::MySql, _) => true,
            (Flavour::MariaDb, ChecksumForm::FullCrc32) => self.flags >> 5 != 0,
            (Flavour::MariaDb, _) => self.flags & MARIADB_PAGE_COMPRESSED != 0,
        }
    }

    /// The algorithm that the flags name (MariaDB full_crc32). Elsewhere each page names its own.
    pub fn compression(&self) -> Option<Compression> {
        match self.checksum {
            ChecksumForm::FullCrc32 => Compression::from_mariadb(u64::from(self.flags >> 5)).ok().flatten(),
            _ => None,
        }
    }
}

fn page_size_of(code: u32) -> Option<PageSize> {
    match code {
        3..=7 => PageSize::new(512 << code).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsp::encryption_offset;

    fn of(flags: u32, flavour: Flavour) -> (usize, usize, ChecksumForm, bool) {
        let format = SpaceFormat::from_flags(flags, flavour).unwrap();
        let compressed = format.may_be_page_compressed();
        (format.logical().bytes(), format.physical().bytes(), format.checksum(), compressed)
    }

    #[test]
    fn flags_of_mariadb() {
        use ChecksumForm::{FullCrc32, TwoFields, Zip};
        let of = |flags| of(flags, Flavour::MariaDb);
        assert_eq!(of(0x15), (16384, 16384, FullCrc32, false));
        assert_eq!(of(0x13), (4096, 4096, FullCrc32, false));
        assert_eq!(of(0x17), (65536, 65536, FullCrc32, false));
        assert_eq!(of(0x35), (16384, 16384, FullCrc32, true));
        assert_eq!(of(0), (16384, 16384, TwoFields, false));
        assert_eq!(of(0x21), (16384, 16384, TwoFields, false));
        assert_eq!(of(0x29), (16384, 8192, Zip, false));
        assert_eq!(of(0x27), (16384, 4096, Zip, false));
        assert_eq!(of(0x0E1), (4096, 4096, TwoFields, false));
        assert_eq!(of(0x1_0021), (16384, 16384, TwoFields, true));
    }

    #[test]
    fn flags_of_mysql() {
        use ChecksumForm::{TwoFields, Zip};
        let of = |flags| of(flags, Flavour::MySql);
        assert_eq!(of(0x4021), (16384, 16384, TwoFields, true));
        assert_eq!(of(0x4029), (16384, 8192, Zip, false));
        // KEY_BLOCK_SIZE as large as the page.
        assert_eq!(of(0x402B), (16384, 16384, Zip, false));
        assert_eq!(of(0x6021), (16384, 16384, TwoFields, true));
    }

    #[test]
    fn what_is_no_flags() {
        for (flags, flavour) in [
            (0x12, Flavour::MariaDb),
            (0xF5, Flavour::MariaDb),
            (0x0C, Flavour::MariaDb),
            (0x8000_0021, Flavour::MariaDb),
            (0x2B | 4 << 6, Flavour::MariaDb),
            (0x1_0021, Flavour::MySql),
            (0x0221, Flavour::MySql),
            (0x28, Flavour::MySql),
        ] {
            let error = SpaceFormat::from_flags(flags, flavour).unwrap_err();
            assert_eq!(error, PageError::Flags { flavour, flags });
        }
    }

    #[test]
    fn where_the_encryption_information_lies() {
        let place = |flags, flavour| encryption_offset(&SpaceFormat::from_flags(flags, flavour).unwrap());
        assert_eq!(place(0x15, Flavour::MariaDb), 10428);
        assert_eq!(place(0x4021, Flavour::MySql), 10390);
        assert_eq!(place(0x4029, Flavour::MySql), 5270);
    }
}
