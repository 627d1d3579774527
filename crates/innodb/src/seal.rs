//! Finishing a changed page: LSN and checksums exactly as the server of that flavour writes them.

use reseed_terms::{Flavour, Lsn, PageId};

use crate::bytes::put;
use crate::{ChecksumForm, PageError, SpaceFormat, checksum, fil};

/// Stamps the LSN and the checksums on an expanded page that is about to be written.
///
/// MariaDB's two-field and compressed forms clear bytes 26 to 33 of every page but the first of a file and page 5 of
/// the system tablespace (yes, also the split number of spatial indexes, as the server does); MySQL leaves them.
///
/// # Errors
/// When `page` is not of the format's physical size.
pub fn seal_page(page: &mut [u8], format: &SpaceFormat, id: PageId, lsn: Lsn) -> Result<(), PageError> {
    let size = format.physical().bytes();
    if page.len() != size {
        return Err(PageError::Length { expected: size, got: page.len() });
    }
    let mut ok = put(page, fil::LSN, &lsn.0.to_be_bytes());
    let clears = format.flavour() == Flavour::MariaDb
        && format.checksum() != ChecksumForm::FullCrc32
        && id.page.0 != 0
        && !(id.space.0 == 0 && id.page.0 == 5);
    if clears {
        ok &= put(page, fil::FLUSH_LSN, &[0; 8]);
    }
    if format.checksum() != ChecksumForm::Zip {
        ok &= put(page, size - fil::TRAILER, &lsn.0.to_be_bytes());
    }
    if format.checksum() == ChecksumForm::FullCrc32 {
        ok &= put(page, fil::CHECKSUM, &[0; 4]);
        ok &= put(page, size - fil::TRAILER, &(lsn.0 as u32).to_be_bytes());
    }
    ok &= put_checksum(page, format);
    if ok { Ok(()) } else { Err(PageError::Length { expected: size, got: page.len() }) }
}

fn put_checksum(page: &mut [u8], format: &SpaceFormat) -> bool {
    let size = page.len();
    match format.checksum() {
        ChecksumForm::FullCrc32 => {
            let sum = checksum::full_crc32(page, size);
            put(page, size.saturating_sub(4), &sum.to_be_bytes())
        }
        ChecksumForm::TwoFields => {
            let sum = checksum::crc32(page).to_be_bytes();
            put(page, fil::CHECKSUM, &sum) && put(page, size.saturating_sub(fil::TRAILER), &sum)
        }
        ChecksumForm::Zip => {
            let sum = checksum::zip_crc32(page).to_be_bytes();
            put(page, fil::CHECKSUM, &sum)
        }
    }
}

/// Writes the flush LSN into page 0 of the system tablespace, from which a server without redo log starts counting.
/// The page's own LSN stays.
///
/// # Errors
/// When `page0` is not of the format's physical size.
pub fn set_flush_lsn(page0: &mut [u8], format: &SpaceFormat, lsn: Lsn) -> Result<(), PageError> {
    let size = format.physical().bytes();
    if page0.len() != size || !put(page0, fil::FLUSH_LSN, &lsn.0.to_be_bytes()) {
        return Err(PageError::Length { expected: size, got: page0.len() });
    }
    // The field is outside the two-field checksums; recomputing those would turn an old algorithm's into crc32.
    if format.checksum() == ChecksumForm::FullCrc32 && !put_checksum(page0, format) {
        return Err(PageError::Length { expected: size, got: page0.len() });
    }
    Ok(())
}
