//! Numbers of one to five bytes. The count of leading one bits of the first byte is the count of bytes that follow;
//! each length starts counting where the shorter one ends.
//!
//! | first byte | bytes | values |
//! |---|---|---|
//! | 0xxxxxxx | 1 | 0 … 127 |
//! | 10xxxxxx | 2 | 128 … 16 511 |
//! | 110xxxxx | 3 | 16 512 … 2 113 663 |
//! | 1110xxxx | 4 | 2 113 664 … 270 549 119 |
//! | 11110000 | 5 | 270 549 120 … 2³²−1 |

const BASE: [u32; 5] = [0, 0x80, 0x4080, 0x20_4080, 0x1020_4080];

/// The number at the start of `bytes` and its length. `None`: no such number, or cut short.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((u32::from(first), 1));
    }
    let more = length(first)? - 1;
    let rest = bytes.get(1..=more)?;
    let top = u32::from(first) & (0x7F >> more);
    let value = rest.iter().fold(top, |value, byte| value << 8 | u32::from(*byte));
    Some((value.checked_add(*BASE.get(more)?)?, more + 1))
}

/// The length in bytes that the first byte announces; `None` for one that begins no number.
#[inline]
pub(super) fn length(first: u8) -> Option<usize> {
    match first.leading_ones() {
        ones @ 0..=3 => Some(ones as usize + 1),
        4 if first == 0xF0 => Some(5),
        _ => None,
    }
}

/// The bytes of `value`, appended to `out`.
pub(super) fn encode(value: u32, out: &mut Vec<u8>) {
    let more = BASE.iter().rposition(|base| *base <= value).unwrap_or(0);
    let rest = value - BASE.get(more).copied().unwrap_or(0);
    if more == 4 {
        out.push(0xF0);
        out.extend_from_slice(&rest.to_be_bytes());
        return;
    }
    let prefix = !(0xFF_u32 >> more) & 0xFF;
    out.push((prefix | rest >> (8 * more)) as u8);
    out.extend((0..more).rev().map(|shift| (rest >> (8 * shift)) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn borders_of_each_length() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0]),
            (16_511, &[0xBF, 0xFF]),
            (16_512, &[0xC0, 0, 0]),
            (2_113_663, &[0xDF, 0xFF, 0xFF]),
            (2_113_664, &[0xE0, 0, 0, 0]),
            (270_549_119, &[0xEF, 0xFF, 0xFF, 0xFF]),
            (270_549_120, &[0xF0, 0, 0, 0, 0]),
            (u32::MAX, &[0xF0, 0xEF, 0xDF, 0xBF, 0x7F]),
        ] {
            assert_eq!(decode(bytes), Some((value, bytes.len())), "{value}");
            let mut out = Vec::new();
            encode(value, &mut out);
            assert_eq!(out, bytes, "{value}");
        }
    }

    #[test]
    fn what_is_no_number() {
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[0x80]), None, "cut short");
        assert_eq!(decode(&[0xF1, 0, 0, 0, 0]), None);
        assert_eq!(decode(&[0xF8, 0, 0, 0, 0]), None);
        assert_eq!(decode(&[0xF0, 0xEF, 0xDF, 0xBF, 0x80]), None, "more than 32 bits");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn round_trip(value: u32, tail: Vec<u8>) {
            let mut out = Vec::new();
            encode(value, &mut out);
            let length = out.len();
            prop_assert_eq!(super::length(out[0]), Some(length));
            out.extend(tail);
            prop_assert_eq!(decode(&out), Some((value, length)));
        }
    }
}
