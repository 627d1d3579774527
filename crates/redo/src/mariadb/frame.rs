//! Where a mini-transaction ends. Only the lengths of its records are looked at.

use super::varint;

/// A mini-transaction is shorter than this.
pub(super) const MAX_MTR: usize = 1 << 20;

/// What stands at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// Records of that many bytes, then the byte that ends them.
    Whole { records: usize },
    /// The bytes end before the mini-transaction does.
    Short,
    /// A terminator at the start: no mini-transaction here.
    Empty,
    /// Lengths that cannot be.
    Bad,
}

/// Walks the records at the start of `bytes`.
#[inline]
pub(super) fn scan(bytes: &[u8]) -> Frame {
    let mut at = 0;
    loop {
        let Some(first) = bytes.get(at).copied() else { return Frame::Short };
        if first <= 1 {
            return if at == 0 { Frame::Empty } else { Frame::Whole { records: at } };
        }
        let length = match usize::from(first & 15) {
            0 => match varint_at(bytes, at + 1) {
                Next::Value(value) => value + 16,
                Next::Short => return Frame::Short,
                Next::Bad => return Frame::Bad,
            },
            nibble => nibble + 1,
        };
        at += length;
        if at >= MAX_MTR {
            return Frame::Bad;
        }
    }
}

enum Next {
    Value(usize),
    Short,
    Bad,
}

#[inline]
fn varint_at(bytes: &[u8], at: usize) -> Next {
    let rest = bytes.get(at..).unwrap_or(&[]);
    let Some(first) = rest.first() else { return Next::Short };
    match varint::length(*first) {
        // Four bytes and more announce what is longer than any mini-transaction.
        Some(length @ 1..=3) => match varint::decode(rest) {
            Some((value, _)) => Next::Value(value as usize),
            None if rest.len() < length => Next::Short,
            None => Next::Bad,
        },
        _ => Next::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_records() {
        assert_eq!(scan(&[]), Frame::Short);
        assert_eq!(scan(&[0, 1, 2]), Frame::Empty);
        assert_eq!(scan(&[1]), Frame::Empty);
        assert_eq!(scan(&[0x02, 0, 0, 1]), Frame::Whole { records: 3 });
        assert_eq!(scan(&[0x02, 0, 0]), Frame::Short);
        // FILE_CHECKPOINT(0x10), as every log holds it.
        assert_eq!(scan(&[0xFA, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 1]), Frame::Whole { records: 11 });
        // The varint's own byte is one of the v + 15.
        let mut long = vec![0x30, 5];
        long.resize(1 + 20, 7);
        assert_eq!(scan(&long), Frame::Short);
        long.push(0);
        assert_eq!(scan(&long), Frame::Whole { records: 21 });
        assert_eq!(scan(&[0x30]), Frame::Short);
        assert_eq!(scan(&[0x30, 0x80]), Frame::Short);
        assert_eq!(scan(&[0x30, 0xF8]), Frame::Bad);
        assert_eq!(scan(&[0x30, 0xE0, 0, 0, 0]), Frame::Bad);
        assert_eq!(scan(&[0x30, 0xDF, 0xFF, 0xFF]), Frame::Bad, "over 1 MiB");
    }
}
