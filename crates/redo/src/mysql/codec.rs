//! Integers of the log: big-endian, or compressed.

use super::error::ApplyError;

/// Reads 2 bytes at `at`; 0 past the end (callers have checked the length).
pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b))
}

/// Reads 4 bytes at `at`; 0 past the end (callers have checked the length).
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b))
}

/// Reads 8 bytes at `at`; 0 past the end (callers have checked the length).
pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_be_bytes(*b))
}

/// Why bytes are not the value that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// They end too early: more of the log may follow.
    Short,
    /// They cannot be right, however many follow.
    Wrong(&'static str),
}

impl From<Bad> for ApplyError {
    fn from(bad: Bad) -> ApplyError {
        match bad {
            Bad::Short => ApplyError::ShortRecord,
            Bad::Wrong(_) => ApplyError::Index,
        }
    }
}

/// Reads values one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, whole: bytes.len() }
    }

    /// Bytes read so far.
    pub fn used(&self) -> usize {
        self.whole - self.rest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Bad> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Bad::Short)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Bad::Short)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub fn u8(&mut self) -> Result<u8, Bad> {
        let (byte, rest) = self.rest.split_first().ok_or(Bad::Short)?;
        self.rest = rest;
        Ok(*byte)
    }

    pub fn u16(&mut self) -> Result<u16, Bad> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Bad> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Bad> {
        self.array().map(u64::from_be_bytes)
    }

    /// A compressed 32-bit number: 1 to 5 bytes, the first says how many. The forms 0xf8 to 0xfe stand for numbers
    /// whose high bits are all set (tablespace numbers of undo logs).
    pub fn compressed(&mut self) -> Result<u32, Bad> {
        let first = u32::from(self.u8()?);
        let mut low = |bytes: u32| -> Result<u32, Bad> {
            (0..bytes).try_fold(0, |value, _| Ok(value << 8 | u32::from(self.u8()?)))
        };
        Ok(match first {
            0x00..=0x7f => first,
            0x80..=0xbf => (first & 0x3f) << 8 | low(1)?,
            0xc0..=0xdf => (first & 0x1f) << 16 | low(2)?,
            0xe0..=0xef => (first & 0x0f) << 24 | low(3)?,
            0xf0 => low(4)?,
            0xf8..=0xfb => 0xffff_fc00 | (first & 0x03) << 8 | low(1)?,
            0xfc..=0xfd => 0xfffe_0000 | (first & 0x01) << 16 | low(2)?,
            0xfe => 0xff00_0000 | low(3)?,
            _ => return Err(Bad::Wrong("impossible compressed number")),
        })
    }

    /// Compressed high half, plain low half.
    pub fn compressed64(&mut self) -> Result<u64, Bad> {
        Ok(u64::from(self.compressed()?) << 32 | u64::from(self.u32()?))
    }

    /// One compressed number below 2^32; above, the mark 0xff and two of them.
    pub fn much_compressed64(&mut self) -> Result<u64, Bad> {
        if self.rest.first() == Some(&0xff) {
            self.u8()?;
            Ok(u64::from(self.compressed()?) << 32 | u64::from(self.compressed()?))
        } else {
            self.compressed().map(u64::from)
        }
    }
}

/// Appends the compressed form of `value`, of the lengths that the server writes.
pub(super) fn put_compressed(to: &mut Vec<u8>, value: u32) {
    let [a, b, c, d] = value.to_be_bytes();
    match value {
        0..=0x7f => to.push(d),
        0x80..=0x3fff => to.extend([c | 0x80, d]),
        0x4000..=0x1f_ffff => to.extend([b | 0xc0, c, d]),
        0x20_0000..=0x0fff_ffff => to.extend([a | 0xe0, b, c, d]),
        0xffff_fc00.. => to.extend([0xf8 | c & 0x03, d]),
        0xfffe_0000..=0xffff_fbff => to.extend([0xfc | b & 0x01, c, d]),
        0xff00_0000..=0xfffd_ffff => to.extend([0xfe, b, c, d]),
        _ => to.extend([0xf0, a, b, c, d]),
    }
}

/// Appends the form that [`Reader::much_compressed64`] reads.
pub(super) fn put_much_compressed64(to: &mut Vec<u8>, value: u64) {
    if let Ok(low) = u32::try_from(value) {
        put_compressed(to, low);
    } else {
        to.push(0xff);
        put_compressed(to, (value >> 32) as u32);
        put_compressed(to, (value & u64::from(u32::MAX)) as u32);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_length_of_a_compressed_number() {
        for (value, len) in [
            (0, 1),
            (0x7f, 1),
            (0x80, 2),
            (0x3fff, 2),
            (0x4000, 3),
            (0x1f_ffff, 3),
            (0x20_0000, 4),
            (0x0fff_ffff, 4),
            (0x1000_0000, 5),
            (0xfeff_ffff, 5),
            (0xff00_0000, 4),
            (0xfffd_ffff, 4),
            (0xfffe_0000, 3),
            (0xffff_fbff, 3),
            (0xffff_fc00, 2),
            (0xffff_ffff, 2),
        ] {
            let mut bytes = Vec::new();
            put_compressed(&mut bytes, value);
            assert_eq!(bytes.len(), len, "{value:#x}");
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.compressed(), Ok(value));
            assert!(reader.is_empty());
            assert_eq!(Reader::new(&bytes[..len - 1]).compressed(), Err(Bad::Short));
        }
        for first in [0xf1, 0xf7, 0xff] {
            assert!(matches!(Reader::new(&[first, 0, 0, 0, 0]).compressed(), Err(Bad::Wrong(_))));
        }
    }

    proptest! {
        #[test]
        fn long_numbers_come_back(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_much_compressed64(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.much_compressed64(), Ok(value));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let _ = Reader::new(&bytes).compressed();
            let _ = Reader::new(&bytes).compressed64();
            let _ = Reader::new(&bytes).much_compressed64();
        }
    }
}
