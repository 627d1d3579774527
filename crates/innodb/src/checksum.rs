//! The page checksums, present and past. Each function takes a whole page; a page too short for a range is summed as
//! far as it goes, and then simply does not match.

use crate::fil;

/// What a page holds in place of a checksum where checksums are switched off (and in page_compressed pages).
pub const NONE: u32 = 0xDEAD_BEEF;

fn span(page: &[u8], from: usize, to: usize) -> &[u8] {
    page.get(from..to.min(page.len())).unwrap_or(&[])
}

fn before_trailer(page: &[u8]) -> usize {
    page.len().saturating_sub(fil::TRAILER)
}

/// MariaDB full_crc32: over everything but the checksum itself.
pub fn full_crc32(page: &[u8], length: usize) -> u32 {
    crc32c::crc32c(span(page, 0, length.saturating_sub(4)))
}

/// The usual one of two-field pages. Leaves out the checksum fields and bytes 26 to 37.
pub fn crc32(page: &[u8]) -> u32 {
    crc32c::crc32c(span(page, 4, 26)) ^ crc32c::crc32c(span(page, fil::DATA, before_trailer(page)))
}

/// The usual one of ROW_FORMAT=COMPRESSED pages. Leaves out the LSN too.
pub fn zip_crc32(page: &[u8]) -> u32 {
    crc32c::crc32c(span(page, 4, 16))
        ^ crc32c::crc32c(span(page, 24, 26))
        ^ crc32c::crc32c(span(page, 34, page.len()))
}

/// `crc32` as some old servers computed it: each aligned group of 8 bytes taken in reverse.
pub fn legacy_crc32(page: &[u8]) -> u32 {
    legacy_span(page, 4, 26) ^ legacy_span(page, fil::DATA, before_trailer(page))
}

/// `zip_crc32` as some old servers computed it.
pub fn legacy_zip_crc32(page: &[u8]) -> u32 {
    legacy_span(page, 4, 16) ^ legacy_span(page, 24, 26) ^ legacy_span(page, 34, page.len())
}

fn legacy_span(page: &[u8], from: usize, to: usize) -> u32 {
    let aligned = from.next_multiple_of(8).min(to);
    let head = crc32c::crc32c(span(page, from, aligned));
    let groups = span(page, aligned, to).chunks_exact(8);
    let rest = groups.remainder();
    let sum = groups.fold(head, |sum, group| {
        let mut reversed = [0; 8];
        for (to, from) in reversed.iter_mut().zip(group.iter().rev()) {
            *to = *from;
        }
        crc32c::crc32c_append(sum, &reversed)
    });
    crc32c::crc32c_append(sum, rest)
}

/// `innodb_checksum_algorithm=innodb`, first field.
pub fn innodb_first(page: &[u8]) -> u32 {
    fold(span(page, 4, 26)).wrapping_add(fold(span(page, fil::DATA, before_trailer(page))))
}

/// `innodb_checksum_algorithm=innodb`, second field: over the begin of the page, first field included.
pub fn innodb_second(page: &[u8]) -> u32 {
    fold(span(page, 0, 26))
}

fn fold(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum: u32, byte| {
        let byte = u32::from(*byte);
        let mixed = ((sum ^ byte ^ 1_653_893_711) << 8).wrapping_add(sum) ^ 1_463_735_687;
        mixed.wrapping_add(byte)
    })
}

/// `innodb_checksum_algorithm=innodb` of ROW_FORMAT=COMPRESSED pages: Adler-32 over the same ranges, chained.
pub fn zip_innodb(page: &[u8]) -> u32 {
    let sum = adler32(0, span(page, 4, 16));
    let sum = adler32(sum, span(page, 24, 26));
    adler32(sum, span(page, 34, page.len()))
}

/// Continues an Adler-32 sum; the servers start it from 0, not from 1.
fn adler32(sum: u32, bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    let (mut low, mut high) = (sum & 0xFFFF, sum >> 16);
    // 5552 is the longest run whose sums stay below 2^32.
    for piece in bytes.chunks(5552) {
        for byte in piece {
            low += u32::from(*byte);
            high += low;
        }
        low %= MODULUS;
        high %= MODULUS;
    }
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are from an independent computation, bit by bit, of the sums as the servers describe them.
    #[test]
    fn every_algorithm_on_one_page() {
        let page: Vec<u8> = (0..4096_u32).map(|at| (at * 7 + (at >> 8)) as u8).collect();
        assert_eq!(crc32(&page), 0x5D95_4CCA);
        assert_eq!(full_crc32(&page, 4096), 0xE484_3DCE);
        assert_eq!(zip_crc32(&page), 0x7499_9180);
        assert_eq!(legacy_crc32(&page), 0xB476_58FC);
        assert_eq!(legacy_zip_crc32(&page), 0x891C_8C25);
        assert_eq!(innodb_first(&page), 0x1031_501C);
        assert_eq!(innodb_second(&page), 0x9F08_B8CB);
        assert_eq!(zip_innodb(&page), 0xE394_ED87);
    }

    #[test]
    fn a_slice_of_any_length_can_be_summed() {
        for length in 0..64 {
            let page = vec![1; length];
            let _ = (crc32(&page), full_crc32(&page, length), zip_crc32(&page), legacy_crc32(&page));
            let _ = (legacy_zip_crc32(&page), innodb_first(&page), innodb_second(&page), zip_innodb(&page));
        }
    }
}
