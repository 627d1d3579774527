//! Is this page, as read from a file, whole and where it belongs?

use reseed_terms::{Flavour, Lsn, PageNo};

use crate::bytes::{all_zero, be4};
use crate::compression::{self, Stored};
use crate::{ChecksumForm, PageError, PageType, SpaceFormat, checksum, fil, fsp};

/// A page that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// Nothing but zeros: allocated in the file, never written.
    Zero,
    Valid {
        lsn: Lsn,
    },
}

/// Checks one page as it lies in the file: checksum (present algorithms and those that a server accepts for old
/// files), both halves of the LSN, page number. The tablespace number is not compared, since files may be swapped.
///
/// # Errors
/// What is wrong with the page. A page of a live server may be torn: read it again before believing it.
pub fn check_page(page: &[u8], format: &SpaceFormat, no: PageNo) -> Result<PageState, PageError> {
    let size = format.physical().bytes();
    if page.len() != size {
        return Err(PageError::Length { expected: size, got: page.len() });
    }
    if all_zero(page) {
        return Ok(PageState::Zero);
    }
    match compression::stored_as(page, format, no)? {
        Stored::Plain => check_plain(page, format, no)?,
        // The checksum is over the compressed image.
        Stored::FullCrc32 { length, .. } => check_full_crc32(page, length, no)?,
        // The checksum is inside.
        Stored::MariaDb { .. } | Stored::MySql { .. } => {
            let mut expanded = Vec::new();
            compression::expand_page(page, format, no, &mut expanded)?;
            check_plain(&expanded, format, no)?;
        }
    }
    let found = fil::page_no(page);
    if found != no {
        return Err(PageError::Number { expected: no, found });
    }
    Ok(PageState::Valid { lsn: fil::lsn(page) })
}

/// Reads the format from the first bytes of a file (a whole page or more) and checks page 0 by it. `None`: page 0 is
/// all zero, the file was created and not yet flushed.
///
/// # Errors
/// When the flags make no sense or the page they describe fails its checks.
pub fn identify_page0(head: &[u8], flavour: Flavour) -> Result<Option<SpaceFormat>, PageError> {
    // The smallest page that can be: anything in it decides.
    if head.len() >= 1024 && all_zero(head.get(..1024).unwrap_or(&[])) {
        return Ok(None);
    }
    let format = SpaceFormat::from_page0(head, flavour)?;
    let size = format.physical().bytes();
    let page = head.get(..size).ok_or(PageError::Length { expected: size, got: head.len() })?;
    check_page(page, &format, PageNo(0))?;
    let (fil, fsp) = (fil::space_id(page).0, fsp::space_id(page).0);
    if fil != fsp {
        return Err(PageError::TwoIds { fil, fsp });
    }
    Ok(Some(format))
}

fn check_plain(page: &[u8], format: &SpaceFormat, no: PageNo) -> Result<(), PageError> {
    match format.checksum() {
        ChecksumForm::FullCrc32 => {
            check_full_crc32(page, page.len(), no)?;
            // An encrypted page has ciphertext at its end.
            if fil::checksum(page) == 0 { check_ends(page, no, fil::TRAILER) } else { Ok(()) }
        }
        ChecksumForm::TwoFields => {
            let kind = fil::page_type(page);
            if format.flavour() == Flavour::MySql
                && [PageType::MYSQL_ENCRYPTED, PageType::MYSQL_ENCRYPTED_RTREE].contains(&kind)
            {
                return Err(PageError::Encrypted { page: no });
            }
            check_ends(page, no, 4)?;
            check_two_fields(page, format.flavour(), no)
        }
        ChecksumForm::Zip => check_zip(page, format.flavour(), no),
    }
}

fn check_full_crc32(page: &[u8], length: usize, no: PageNo) -> Result<(), PageError> {
    let limit = page.len();
    let stored = length.checked_sub(4).and_then(|at| be4(page, at)).ok_or(PageError::StoredSize {
        page: no,
        size: length,
        limit,
    })?;
    let computed = checksum::full_crc32(page, length);
    if stored == computed { Ok(()) } else { Err(PageError::Checksum { page: no, stored, computed }) }
}

/// Compares the low half of the LSN with its copy, `from_end` bytes before the page's end.
fn check_ends(page: &[u8], no: PageNo, from_end: usize) -> Result<(), PageError> {
    let header = be4(page, fil::LSN + 4).unwrap_or(0);
    let trailer = page.len().checked_sub(from_end).and_then(|at| be4(page, at)).unwrap_or(0);
    if header == trailer { Ok(()) } else { Err(PageError::Torn { page: no, header, trailer }) }
}

fn check_two_fields(page: &[u8], flavour: Flavour, no: PageNo) -> Result<(), PageError> {
    let first = fil::checksum(page);
    let second = page.len().checked_sub(fil::TRAILER).and_then(|at| be4(page, at)).unwrap_or(0);
    let computed = checksum::crc32(page);
    if (first, second) == (computed, computed) || (first, second) == (checksum::NONE, checksum::NONE) {
        return Ok(());
    }
    // Very old servers left the upper half of the LSN in the second field, and nothing in the first.
    let second_fits = second == checksum::innodb_second(page) || Some(second) == be4(page, fil::LSN);
    if second_fits && (first == 0 || first == checksum::innodb_first(page)) {
        return Ok(());
    }
    if flavour == Flavour::MySql && first == second && first == checksum::legacy_crc32(page) {
        return Ok(());
    }
    let stored = if first == computed { second } else { first };
    Err(PageError::Checksum { page: no, stored, computed })
}

fn check_zip(page: &[u8], flavour: Flavour, no: PageNo) -> Result<(), PageError> {
    let stored = fil::checksum(page);
    let computed = checksum::zip_crc32(page);
    let fits = stored == computed
        || stored == checksum::NONE
        || stored == checksum::zip_innodb(page)
        || (flavour == Flavour::MySql && stored == checksum::legacy_zip_crc32(page));
    if fits {
        return Ok(());
    }
    if flavour == Flavour::MySql
        && [PageType::MYSQL_ENCRYPTED, PageType::MYSQL_ENCRYPTED_RTREE].contains(&fil::page_type(page))
    {
        return Err(PageError::Encrypted { page: no });
    }
    Err(PageError::Checksum { page: no, stored, computed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::put;
    use crate::{PageId, expand_page, seal_page};

    const MARIADB: [u32; 4] = [0x15, 0, 0x29, 0x13];
    const MYSQL: [u32; 3] = [0x4021, 0x4029, 0x40C1];

    fn formats() -> Vec<SpaceFormat> {
        let of = |flavour| move |flags: &u32| SpaceFormat::from_flags(*flags, flavour).unwrap();
        let mariadb = MARIADB.iter().map(of(Flavour::MariaDb));
        mariadb.chain(MYSQL.iter().map(of(Flavour::MySql))).collect()
    }

    fn sealed(format: &SpaceFormat, no: u32) -> Vec<u8> {
        let size = format.physical().bytes();
        let mut page: Vec<u8> = (0..size).map(|at| (at / 3) as u8).collect();
        assert!(put(&mut page, fil::PAGE_NO, &no.to_be_bytes()) && put(&mut page, fil::TYPE, &[0x45, 0xBF]));
        seal_page(&mut page, format, PageId::new(7, no), Lsn(0x1_2345_6789)).unwrap();
        page
    }

    #[test]
    fn a_sealed_page_is_valid_and_any_flipped_bit_is_seen() {
        for format in formats() {
            let page = sealed(&format, 3);
            let valid = PageState::Valid { lsn: Lsn(0x1_2345_6789) };
            assert_eq!(check_page(&page, &format, PageNo(3)), Ok(valid), "{format:?}");
            let unsummed = match format.checksum() {
                ChecksumForm::FullCrc32 => vec![],
                // The upper half of the LSN is covered, bytes 26 to 37 are not.
                ChecksumForm::TwoFields => (26..38).collect(),
                ChecksumForm::Zip => (16..24).chain(26..34).collect::<Vec<_>>(),
            };
            for at in (0..60).chain([1000, page.len() - 9, page.len() - 8, page.len() - 1]) {
                let mut torn = page.clone();
                torn[at] ^= 0x10;
                let seen = check_page(&torn, &format, PageNo(3));
                assert_eq!(seen.is_err(), !unsummed.contains(&at), "{format:?} byte {at}: {seen:?}");
            }
        }
    }

    #[test]
    fn zero_pages_wrong_numbers_and_lengths() {
        for format in formats() {
            let size = format.physical().bytes();
            assert_eq!(check_page(&vec![0; size], &format, PageNo(9)), Ok(PageState::Zero));
            let other = PageError::Number { expected: PageNo(4), found: PageNo(3) };
            assert_eq!(check_page(&sealed(&format, 3), &format, PageNo(4)), Err(other));
            let short = PageError::Length { expected: size, got: 5 };
            assert_eq!(check_page(&[1; 5], &format, PageNo(0)), Err(short));
        }
    }

    #[test]
    fn checksums_of_old_servers() {
        let mysql = SpaceFormat::from_flags(0x4021, Flavour::MySql).unwrap();
        let mariadb = SpaceFormat::from_flags(0, Flavour::MariaDb).unwrap();
        let end = mysql.physical().bytes() - 8;
        let with = |first: u32, second: fn(&[u8]) -> u32| {
            let mut page = sealed(&mysql, 3);
            assert!(put(&mut page, 0, &first.to_be_bytes()));
            let second = second(&page);
            assert!(put(&mut page, end, &second.to_be_bytes()));
            page
        };
        let page = sealed(&mysql, 3);
        let none = with(checksum::NONE, |_| checksum::NONE);
        let innodb = with(checksum::innodb_first(&page), checksum::innodb_second);
        let legacy = with(checksum::legacy_crc32(&page), checksum::legacy_crc32);
        for page in [&none, &innodb] {
            assert!(check_page(page, &mysql, PageNo(3)).is_ok());
            assert!(check_page(page, &mariadb, PageNo(3)).is_ok());
        }
        assert!(check_page(&legacy, &mysql, PageNo(3)).is_ok());
        assert!(check_page(&legacy, &mariadb, PageNo(3)).is_err());
    }

    #[test]
    fn page_0_tells_its_format() {
        for format in formats() {
            let mut page = vec![0; format.physical().bytes()];
            assert_eq!(identify_page0(&page, format.flavour()), Ok(None));
            let ok = put(&mut page, fsp::FLAGS, &format.flags().to_be_bytes())
                && put(&mut page, fil::SPACE, &[0, 0, 0, 9])
                && put(&mut page, fsp::SPACE, &[0, 0, 0, 9]);
            assert!(ok);
            seal_page(&mut page, &format, PageId::new(9, 0), Lsn(77)).unwrap();
            page.resize(1 << 16, 0xFF);
            assert_eq!(identify_page0(&page, format.flavour()), Ok(Some(format)));
            page[fsp::SPACE + 3] = 8;
            page.truncate(format.physical().bytes());
            seal_page(&mut page, &format, PageId::new(9, 0), Lsn(77)).unwrap();
            let ids = PageError::TwoIds { fil: 9, fsp: 8 };
            assert_eq!(identify_page0(&page, format.flavour()), Err(ids));
        }
    }

    #[test]
    fn encrypted_pages_of_mysql_are_said_to_be_so() {
        let format = SpaceFormat::from_flags(0x6021, Flavour::MySql).unwrap();
        for kind in 15..=17_u16 {
            let mut page = sealed(&format, 3);
            assert!(put(&mut page, fil::TYPE, &kind.to_be_bytes()));
            assert_eq!(
                check_page(&page, &format, PageNo(3)),
                Err(PageError::Encrypted { page: PageNo(3) }),
                "type {kind}"
            );
        }
    }

    #[test]
    fn noise_is_an_error_and_never_a_panic() {
        let mut state = 1_u32;
        for format in formats().into_iter().chain(
            [0x35, 0x55, 0x1_0021].map(|flags| SpaceFormat::from_flags(flags, Flavour::MariaDb).unwrap()),
        ) {
            for kind in [0x8001_u16, 0xFFFF, 0x8000, 34354, 37401, 14, 16, 17855] {
                let mut page: Vec<u8> = (0..format.physical().bytes())
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 24) as u8
                    })
                    .collect();
                assert!(put(&mut page, fil::TYPE, &kind.to_be_bytes()));
                assert!(check_page(&page, &format, PageNo(3)).is_err());
                let mut out = Vec::new();
                let _ = expand_page(&page, &format, PageNo(3), &mut out);
            }
        }
    }
}
