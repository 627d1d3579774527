//! Pages that a server stores compressed though the tablespace's pages have full size: MariaDB's `page_compressed`
//! and MySQL's `COMPRESSION=`. (ROW_FORMAT=COMPRESSED is another thing: its pages stay as they are.)
//!
//! Three layouts:
//!
//! | | known by | sizes | data | becomes |
//! |---|---|---|---|---|
//! | MariaDB full_crc32 | bit 15 of the type | (type & 0x7FFF)·256 bytes in all | from 26, CRC in the last 4 | the whole page |
//! | MariaDB before | type 34354 | algorithm 8 bytes at 26, length 2 bytes at 38 | from 40 | the whole page |
//! | MySQL | type 14 | algorithm at 27, type at 28, length at 30, stored length at 32 | from 38 | bytes from 38 on |

use reseed_terms::{Flavour, PageNo};

use crate::bytes::{be2, be8, put};
use crate::{ChecksumForm, PageError, PageType, SpaceFormat, checksum, fil};

/// An algorithm that reseed can undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    Zlib,
    Lz4,
}

impl Compression {
    pub fn name(self) -> &'static str {
        match self {
            Compression::Zlib => "zlib",
            Compression::Lz4 => "lz4",
        }
    }

    /// By MariaDB's number (`innodb_compression_algorithm`); `None` for 0, no compression.
    ///
    /// # Errors
    /// For algorithms that reseed has no decoder for, by name.
    pub fn from_mariadb(number: u64) -> Result<Option<Compression>, PageError> {
        let algorithm = match number {
            0 => return Ok(None),
            1 => return Ok(Some(Compression::Zlib)),
            2 => return Ok(Some(Compression::Lz4)),
            3 => "lzo",
            4 => "lzma",
            5 => "bzip2",
            6 => "snappy",
            number => return Err(PageError::CompressionUnknown { number }),
        };
        Err(PageError::CompressionUnsupported { algorithm })
    }

    fn from_mysql(number: u8) -> Result<Compression, PageError> {
        match number {
            1 => Ok(Compression::Zlib),
            2 => Ok(Compression::Lz4),
            number => Err(PageError::CompressionUnknown { number: u64::from(number) }),
        }
    }
}

/// What `expand_page` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expanded {
    /// The page was stored as it is.
    Plain,
    Compressed(Compression),
}

/// How a page lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Plain,
    /// `length` bytes count, the checksum included.
    FullCrc32 {
        length: usize,
    },
    MariaDb {
        length: usize,
    },
    MySql {
        length: usize,
    },
}

const FULL_CRC32_DATA: usize = 26;
const MARIADB_DATA: usize = 40;
const MYSQL_DATA: usize = 38;

pub(crate) fn stored_as(page: &[u8], format: &SpaceFormat, no: PageNo) -> Result<Stored, PageError> {
    if !format.may_be_page_compressed() {
        return Ok(Stored::Plain);
    }
    let limit = page.len();
    let fits = |data: usize, length: usize| {
        if length > data && length <= limit {
            Ok(length)
        } else {
            Err(PageError::StoredSize { page: no, size: length, limit })
        }
    };
    let kind = fil::page_type(page);
    let word = |at| usize::from(be2(page, at).unwrap_or(0));
    match (format.flavour(), format.checksum()) {
        (Flavour::MariaDb, ChecksumForm::FullCrc32) if kind.0 & 0x8000 != 0 => {
            let length = usize::from(kind.0 & 0x7FFF) * 256;
            Ok(Stored::FullCrc32 { length: fits(FULL_CRC32_DATA + 5, length)? })
        }
        (Flavour::MariaDb, ChecksumForm::TwoFields) if kind == PageType::MARIADB_COMPRESSED_ENCRYPTED => {
            Err(PageError::Encrypted { page: no })
        }
        (Flavour::MariaDb, ChecksumForm::TwoFields) if kind == PageType::MARIADB_COMPRESSED => {
            Ok(Stored::MariaDb { length: fits(MARIADB_DATA, MARIADB_DATA + word(38))? })
        }
        (Flavour::MySql, _) if kind == PageType::MYSQL_COMPRESSED_ENCRYPTED => {
            Err(PageError::Encrypted { page: no })
        }
        (Flavour::MySql, _) if kind == PageType::MYSQL_COMPRESSED => {
            Ok(Stored::MySql { length: fits(MYSQL_DATA, MYSQL_DATA + word(32))? })
        }
        _ => Ok(Stored::Plain),
    }
}

/// Puts the page as the server has it in memory into `out`, which is given the physical page size: a copy for a page
/// stored plain, the decompressed page otherwise. The latter need not have the checksum of a plain page: seal it
/// before writing it.
///
/// # Errors
/// When the page is encrypted, its algorithm has no decoder here, or its data does not decompress.
pub fn expand_page(
    page: &[u8],
    format: &SpaceFormat,
    no: PageNo,
    out: &mut Vec<u8>,
) -> Result<Expanded, PageError> {
    let size = format.physical().bytes();
    if page.len() != size {
        return Err(PageError::Length { expected: size, got: page.len() });
    }
    let stored = stored_as(page, format, no)?;
    out.clear();
    let (algorithm, data) = match stored {
        Stored::Plain => {
            out.extend_from_slice(page);
            return Ok(Expanded::Plain);
        }
        Stored::FullCrc32 { length } => full_crc32_data(page, format, length)?,
        Stored::MariaDb { length } => {
            let stored = fil::checksum(page);
            if stored != checksum::NONE {
                return Err(PageError::Checksum { page: no, stored, computed: checksum::NONE });
            }
            let number = be8(page, FULL_CRC32_DATA).unwrap_or(0);
            let algorithm =
                Compression::from_mariadb(number)?.ok_or(PageError::CompressionUnknown { number })?;
            (algorithm, page.get(MARIADB_DATA..length).unwrap_or(&[]))
        }
        Stored::MySql { length } => {
            let algorithm = Compression::from_mysql(page.get(27).copied().unwrap_or(0))?;
            (algorithm, page.get(MYSQL_DATA..length).unwrap_or(&[]))
        }
    };
    let failed = || PageError::Decompress { page: no, algorithm: algorithm.name() };
    let kept = if matches!(stored, Stored::MySql { .. }) { MYSQL_DATA } else { 0 };
    out.resize(size, 0);
    let place = out.get_mut(kept..).ok_or_else(failed)?;
    if decompress(algorithm, data, place) != Some(size - kept) {
        return Err(failed());
    }
    if kept > 0 {
        // The header stayed outside; its type moved into the field that the sizes took.
        let original = be2(page, 28).unwrap_or(0).to_be_bytes();
        let header = page.get(..kept).unwrap_or(&[]);
        if !(put(out, 0, header) && put(out, fil::TYPE, &original) && put(out, fil::FLUSH_LSN, &[0; 8])) {
            return Err(failed());
        }
    }
    Ok(Expanded::Compressed(algorithm))
}

fn full_crc32_data<'a>(
    page: &'a [u8],
    format: &SpaceFormat,
    length: usize,
) -> Result<(Compression, &'a [u8]), PageError> {
    let number = u64::from(format.flags() >> 5);
    let algorithm = Compression::from_mariadb(number)?.ok_or(PageError::CompressionUnknown { number })?;
    // A zlib stream ends itself. An lz4 block does not: the low byte of its exact length plus 5 stands before the
    // checksum, the rest follows from the length in units of 256.
    let end = match algorithm {
        Compression::Zlib => length - 4,
        Compression::Lz4 => match usize::from(page.get(length - 5).copied().unwrap_or(0)) {
            0 => length - 5,
            low => (length - 256 + low).saturating_sub(5),
        },
    };
    Ok((algorithm, page.get(FULL_CRC32_DATA..end).unwrap_or(&[])))
}

/// The number of bytes put into `out`, or `None` when `data` is no such stream.
fn decompress(algorithm: Compression, data: &[u8], out: &mut [u8]) -> Option<usize> {
    match algorithm {
        Compression::Zlib => {
            let mut inflate = flate2::Decompress::new(true);
            let status = inflate.decompress(data, out, flate2::FlushDecompress::Finish).ok()?;
            if status != flate2::Status::StreamEnd {
                return None;
            }
            usize::try_from(inflate.total_out()).ok()
        }
        Compression::Lz4 => lz4_flex::block::decompress_into(data, out).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lsn, PageId, PageState, check_page, seal_page};
    use std::io::Write;

    const NO: PageNo = PageNo(5);

    fn plain(format: &SpaceFormat) -> Vec<u8> {
        let mut page: Vec<u8> = (0..format.physical().bytes()).map(|at| (at / 100) as u8).collect();
        assert!(
            put(&mut page, fil::PAGE_NO, &NO.0.to_be_bytes()) && put(&mut page, fil::TYPE, &[0x45, 0xBF])
        );
        seal_page(&mut page, format, PageId::new(7, NO.0), Lsn(4242)).unwrap();
        page
    }

    fn deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn store(page: &[u8], parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut stored = vec![0; page.len()];
        assert!(put(&mut stored, 0, &page[..24]));
        for (at, bytes) in parts {
            assert!(put(&mut stored, *at, bytes));
        }
        stored
    }

    #[test]
    fn mariadb_full_crc32() {
        for (flags, lz4) in [(0x35, false), (0x55, true)] {
            let format = SpaceFormat::from_flags(flags, Flavour::MariaDb).unwrap();
            let page = plain(&format);
            let data = if lz4 { lz4_flex::block::compress(&page) } else { deflate(&page) };
            let exact = FULL_CRC32_DATA + data.len() + 4 + usize::from(lz4);
            let length = exact.next_multiple_of(256);
            let kind = (0x8000 | (length / 256)) as u16;
            let mut stored = store(&page, &[(24, &kind.to_be_bytes()), (FULL_CRC32_DATA, &data)]);
            if lz4 {
                stored[length - 5] = exact as u8;
            }
            let sum = checksum::full_crc32(&stored, length);
            assert!(put(&mut stored, length - 4, &sum.to_be_bytes()));
            assert_eq!(
                check_page(&stored, &format, NO),
                Ok(PageState::Valid { lsn: Lsn(4242) }),
                "{flags:#x}"
            );
            let mut out = Vec::new();
            assert!(matches!(expand_page(&stored, &format, NO, &mut out), Ok(Expanded::Compressed(_))));
            assert_eq!(out, page);
            stored[100] ^= 1;
            assert!(check_page(&stored, &format, NO).is_err());
        }
    }

    #[test]
    fn mariadb_before_full_crc32() {
        let format = SpaceFormat::from_flags(0x1_0021, Flavour::MariaDb).unwrap();
        let page = plain(&format);
        for (number, data) in [(1_u64, deflate(&page)), (2, lz4_flex::block::compress(&page))] {
            let length = (data.len() as u16).to_be_bytes();
            let kind = PageType::MARIADB_COMPRESSED.0.to_be_bytes();
            let none = checksum::NONE.to_be_bytes();
            let number = number.to_be_bytes();
            let parts: [(usize, &[u8]); 5] =
                [(0, &none), (24, &kind), (26, &number), (38, &length), (MARIADB_DATA, &data)];
            let mut stored = store(&page, &parts);
            assert_eq!(check_page(&stored, &format, NO), Ok(PageState::Valid { lsn: Lsn(4242) }));
            let mut out = Vec::new();
            expand_page(&stored, &format, NO, &mut out).unwrap();
            assert_eq!(out, page);
            stored[33] = 6;
            let refused = PageError::CompressionUnsupported { algorithm: "snappy" };
            assert_eq!(check_page(&stored, &format, NO), Err(refused));
        }
    }

    #[test]
    fn mysql() {
        let format = SpaceFormat::from_flags(0x4021, Flavour::MySql).unwrap();
        let mut page = plain(&format);
        // These bytes are outside the checksum, and what is stored has no place for them.
        page[26..34].fill(0);
        for (algorithm, data) in [(1, deflate(&page[38..])), (2, lz4_flex::block::compress(&page[38..]))] {
            let control = [2, algorithm, 0x45, 0xBF];
            let (whole, length) = ((page.len() - 38) as u16, data.len() as u16);
            let mut stored = store(&page, &[(24, &[0, 14]), (26, &control), (34, &page[34..38])]);
            assert!(
                put(&mut stored, 30, &whole.to_be_bytes()) && put(&mut stored, 32, &length.to_be_bytes())
            );
            assert!(put(&mut stored, MYSQL_DATA, &data));
            assert_eq!(check_page(&stored, &format, NO), Ok(PageState::Valid { lsn: Lsn(4242) }));
            let mut out = Vec::new();
            expand_page(&stored, &format, NO, &mut out).unwrap();
            assert_eq!(out, page);
            stored[27] = 3;
            assert_eq!(check_page(&stored, &format, NO), Err(PageError::CompressionUnknown { number: 3 }));
        }
    }
}
