//! The field description that a compressed page's stream begins with. It is made from the index that redo describes,
//! and it is all that is known of the index when the page is loaded.
//!
//! One value a column, runs of fixed NOT NULL columns merged: variable 0 or 1 (NOT NULL), 126 or 127 when it may
//! exceed 255 bytes, fixed: length * 2 (+ 1 when NOT NULL). From 126 on fixed lengths take two bytes, 0x80 set. The
//! last value: leaf: where the column is that begins with the transaction number, 0 = not clustered; node page: count
//! of nullable columns.

use super::super::super::error::ApplyError;
use super::super::super::index::{Field, Index};
use super::super::bytes::Result;
use super::Kind;

const MAX_FIXED: u16 = 768;
const BIG: u8 = 0x7e;

fn put_fixed(to: &mut Vec<u8>, value: u16) {
    if value >= 126 {
        let [high, low] = value.to_be_bytes();
        to.extend([0x80 | high, low]);
    } else {
        to.push(value as u8);
    }
}

pub(super) fn encode(index: &Index, kind: Kind, to: &mut Vec<u8>) {
    let trx_id = match kind {
        Kind::Node => None,
        Kind::ClusteredLeaf => Some(index.trx_id()),
        Kind::SecondaryLeaf => Some(0),
    };
    let count = if kind == Kind::Node { index.n_uniq } else { index.fields.len() };
    let (mut column, mut trx_column, mut sum) = (0usize, 0, 0u16);
    let flush = |to: &mut Vec<u8>, column: &mut usize, sum: &mut u16| {
        if *sum > 0 {
            put_fixed(to, *sum << 1 | 1);
            *sum = 0;
            *column += 1;
        }
    };
    for (n, field) in index.fields.iter().take(count).enumerate() {
        let not_null = u8::from(!field.nullable);
        if field.fixed == 0 {
            flush(to, &mut column, &mut sum);
            to.push(if field.big { BIG | not_null } else { not_null });
            column += 1;
        } else if field.nullable {
            flush(to, &mut column, &mut sum);
            put_fixed(to, field.fixed << 1);
            column += 1;
        } else {
            if sum > 0 && sum + field.fixed > MAX_FIXED {
                flush(to, &mut column, &mut sum);
            }
            if n > 0 && Some(n) == trx_id {
                flush(to, &mut column, &mut sum);
                trx_column = column;
                sum = field.fixed;
            } else {
                sum += field.fixed;
            }
        }
    }
    flush(to, &mut column, &mut sum);
    let last = if trx_id.is_some() { trx_column } else { index.nullable };
    if last >= 128 {
        to.extend([0x80 | (last >> 7) as u8, last as u8]);
    } else {
        to.push(last as u8);
    }
}

/// The index that a description tells of, and the position of the transaction number (clustered leaves).
pub(super) fn decode(mut bytes: &[u8], leaf: bool) -> Result<(Index, Kind)> {
    const WRONG: ApplyError = ApplyError::CompressedPage("field description");
    let mut fields = Vec::new();
    loop {
        let (value, rest) = match bytes {
            [high, low, rest @ ..] if high & 0x80 != 0 => (u16::from_be_bytes([high & 0x7f, *low]), rest),
            [value, rest @ ..] if value & 0x80 == 0 => (u16::from(*value), rest),
            _ => return Err(WRONG),
        };
        if rest.is_empty() {
            break;
        }
        let wide = bytes.len() - rest.len() == 2;
        let big = !wide && value >= u16::from(BIG);
        fields.push(Field {
            fixed: if big { 0 } else { value >> 1 },
            big,
            nullable: value & 1 == 0,
            ..Field::default()
        });
        bytes = rest;
    }
    let last = match bytes {
        [value] => usize::from(*value),
        [high, low] => usize::from(high & 0x7f) << 7 | usize::from(*low),
        _ => return Err(WRONG),
    };
    let count = fields.len();
    if !leaf {
        return Ok((Index::plain(fields, count, Some(last), false), Kind::Node));
    }
    if last == 0 {
        return Ok((Index::plain(fields, count, None, false), Kind::SecondaryLeaf));
    }
    // The column holds both hidden ones, and whatever fixed ones follow.
    if fields.get(last).is_none_or(|field| usize::from(field.fixed) < super::SYSTEM || field.nullable) {
        return Err(WRONG);
    }
    Ok((Index::plain(fields, last, None, true), Kind::ClusteredLeaf))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fixed(len: u16) -> Field {
        Field { fixed: len, ..Field::default() }
    }

    #[test]
    fn runs_are_merged_up_to_the_transaction_number() {
        let variable = Field { big: true, nullable: true, ..Field::default() };
        let index =
            Index::plain(vec![fixed(4), fixed(8), fixed(6), fixed(7), variable, fixed(300)], 2, None, true);
        let mut bytes = Vec::new();
        encode(&index, Kind::ClusteredLeaf, &mut bytes);
        assert_eq!(bytes, [25, 27, 126, 0x82, 89, 1]);
        let (back, kind) = decode(&bytes, true).unwrap();
        assert_eq!((kind, back.trx_id(), back.fields.len()), (Kind::ClusteredLeaf, 1, 4));
        assert_eq!((back.fields[0].fixed, back.fields[1].fixed, back.fields[3].fixed), (12, 13, 300));
        assert!(back.fields[2].big && back.fields[2].nullable);
    }

    #[test]
    fn node_pages_count_nullable_columns() {
        let nullable = Field { nullable: true, ..Field::default() };
        let index = Index::plain(vec![nullable, fixed(4), nullable], 2, None, false);
        let mut bytes = Vec::new();
        encode(&index, Kind::Node, &mut bytes);
        assert_eq!(bytes, [0, 9, 2]);
        let (back, kind) = decode(&bytes, false).unwrap();
        assert_eq!((kind, back.n_uniq, back.nullable), (Kind::Node, 2, 2));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..40), leaf: bool) {
            let _ = decode(&bytes, leaf);
        }
    }
}
