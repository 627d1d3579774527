//! Where a row's parts lie: the bytes before its origin (`extra`), its data, its fields.
//!
//! Compact rows (COMPACT, DYNAMIC, COMPRESSED), downward from the origin: next (2), heap number and status (2), info
//! bits and owned count (1), then a row version or a field count when the info bits say so, NULL bits, lengths of the
//! variable fields. Redundant rows: next (2), heap number, field count and offset width (3), info bits (1), a row
//! version, the end offsets of all fields.

use super::super::error::ApplyError;
use super::super::index::{Field, Index};
use super::bytes::{Result, minus, r8, r16};

pub(super) const COMPACT_EXTRA: usize = 5;
const REDUNDANT_EXTRA: usize = 6;
const VERSIONED: u8 = 0x40;
const INSTANT: u8 = 0x80;
pub(super) const STATUS: u8 = 0x07;
const NODE_POINTER: u8 = 1;
const INFIMUM: u8 = 2;
pub(super) const CHILD: usize = 4;

/// Sizes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub extra: usize,
    pub data: usize,
}

impl Shape {
    pub fn size(self) -> usize {
        self.extra + self.data
    }
}

/// One field that a row stores; offsets count from the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FieldAt {
    /// Physical position in the index.
    pub position: usize,
    pub start: usize,
    pub end: usize,
    pub null: bool,
    /// Its last 20 bytes point to where the rest is.
    pub external: bool,
}

/// Which of the index's fields a row stores.
#[derive(Debug, Clone, Copy)]
enum Stored {
    All,
    Version(u8),
    /// The first few, without those of row versions.
    First(usize),
}

impl Stored {
    fn has(self, position: usize, field: &Field) -> bool {
        match self {
            Stored::All => true,
            Stored::Version(version) => field.in_version(version),
            Stored::First(count) => position < count && field.added == 0,
        }
    }
}

/// Sizes of the row at `rec`.
pub(super) fn measure(page: &[u8], rec: usize, index: &Index) -> Result<Shape> {
    walk(page, rec, index, |_| {})
}

/// Sizes of the row at `rec`, and its fields into `fields`.
pub(super) fn fields(page: &[u8], rec: usize, index: &Index, fields: &mut Vec<FieldAt>) -> Result<Shape> {
    fields.clear();
    walk(page, rec, index, |field| fields.push(field))
}

fn walk(page: &[u8], rec: usize, index: &Index, sink: impl FnMut(FieldAt)) -> Result<Shape> {
    let shape = if index.compact {
        let below = |n: usize| r8(page, minus(rec, COMPACT_EXTRA + 1 + n)?);
        let info = r8(page, minus(rec, COMPACT_EXTRA)?)?;
        let status = r8(page, minus(rec, 3)?)? & STATUS;
        compact(below, info, status, index, sink)?
    } else {
        redundant(page, rec, index, sink)?
    };
    if shape.extra > rec || rec + shape.data > page.len() {
        return Err(ApplyError::Row(rec));
    }
    Ok(shape)
}

/// Walks a compact row whose bytes before the five fixed ones are given by `below` (0 is nearest to the origin).
pub(super) fn compact(
    below: impl Fn(usize) -> Result<u8>,
    info: u8,
    status: u8,
    index: &Index,
    mut sink: impl FnMut(FieldAt),
) -> Result<Shape> {
    if status >= INFIMUM {
        return Ok(Shape { extra: COMPACT_EXTRA, data: 8 });
    }
    let node = status == NODE_POINTER;
    let mut nulls = 0;
    let (stored, nullable) = if node {
        let nullable = match index {
            Index { instant: true, .. } => index.nullable_before_instant,
            Index { versioned: true, .. } => index.nullable_in(0),
            _ => index.nullable,
        };
        (Stored::First(index.n_uniq), nullable)
    } else if index.versioned && info & VERSIONED != 0 {
        nulls = 1;
        let version = below(0)?;
        (Stored::Version(version), index.nullable_in(version))
    } else if index.instant && info & INSTANT != 0 {
        nulls = 1;
        let mut count = usize::from(below(0)?);
        if count & 0x80 != 0 {
            nulls = 2;
            count = (count & 0x7f) << 8 | usize::from(below(1)?);
        }
        (Stored::First(count), index.nullable_among_first(count))
    } else if index.instant {
        (Stored::First(index.inst_fields), index.nullable_before_instant)
    } else if index.versioned {
        (Stored::Version(0), index.nullable_in(0))
    } else {
        (Stored::All, index.nullable)
    };
    let mut lengths = nulls + nullable.div_ceil(8);
    let (mut data, mut bit) = (0, 0);
    for (position, field) in index.fields.iter().enumerate() {
        if !stored.has(position, field) {
            continue;
        }
        let mut at = FieldAt { position, start: data, end: data, null: false, external: false };
        if field.nullable {
            at.null = below(nulls + bit / 8)? >> (bit % 8) & 1 != 0;
            bit += 1;
        }
        if !at.null {
            at.end += if field.fixed > 0 {
                usize::from(field.fixed)
            } else {
                let first = below(lengths)?;
                lengths += 1;
                if field.big && first & 0x80 != 0 {
                    let second = below(lengths)?;
                    lengths += 1;
                    at.external = first & 0x40 != 0;
                    usize::from(first & 0x3f) << 8 | usize::from(second)
                } else {
                    usize::from(first)
                }
            };
        }
        data = at.end;
        sink(at);
    }
    if node {
        let end = data + CHILD;
        sink(FieldAt { position: index.n_uniq, start: data, end, null: false, external: false });
        data = end;
    }
    Ok(Shape { extra: COMPACT_EXTRA + lengths, data })
}

const NULL_SHORT: usize = 0x80;
const NULL_LONG: usize = 0x8000;
const EXTERNAL: usize = 0x4000;

/// The parts of a redundant row's header that say where its field ends are.
#[derive(Debug, Clone, Copy)]
struct Ends {
    count: usize,
    width: usize,
    /// Bytes between the origin and the first end offset.
    before: usize,
    version: Option<u8>,
}

fn ends(page: &[u8], rec: usize, index: &Index) -> Result<Ends> {
    let count = r16(page, minus(rec, 4)?)? >> 1 & 0x3ff;
    let width = if r8(page, minus(rec, 3)?)? & 1 != 0 { 1 } else { 2 };
    let info = r8(page, minus(rec, REDUNDANT_EXTRA)?)?;
    if index.versioned && info & VERSIONED != 0 {
        let version = r8(page, minus(rec, REDUNDANT_EXTRA + 1)?)?;
        return Ok(Ends { count, width, before: REDUNDANT_EXTRA + 1, version: Some(version) });
    }
    Ok(Ends { count, width, before: REDUNDANT_EXTRA, version: None })
}

impl Ends {
    /// Where the end offset of stored field `n` stands.
    fn place(&self, rec: usize, n: usize) -> Result<usize> {
        minus(rec, self.before + (n + 1) * self.width)
    }

    fn read(&self, page: &[u8], rec: usize, n: usize) -> Result<(usize, bool, bool)> {
        let at = self.place(rec, n)?;
        Ok(if self.width == 1 {
            let end = usize::from(r8(page, at)?);
            (end & !NULL_SHORT, end & NULL_SHORT != 0, false)
        } else {
            let end = r16(page, at)?;
            (end & !(NULL_LONG | EXTERNAL), end & NULL_LONG != 0, end & EXTERNAL != 0)
        })
    }
}

fn redundant(page: &[u8], rec: usize, index: &Index, mut sink: impl FnMut(FieldAt)) -> Result<Shape> {
    let ends = ends(page, rec, index)?;
    let stored = Stored::Version(ends.version.unwrap_or(0));
    let mut positions = index.fields.iter().enumerate().filter(|(n, field)| stored.has(*n, field));
    let mut start = 0;
    for n in 0..ends.count {
        let (end, null, external) = ends.read(page, rec, n)?;
        if end < start {
            return Err(ApplyError::Row(rec));
        }
        // Without row versions, or behind what the index lists (a node's child), the order is the stored one.
        let position = positions.next().map_or(n, |(position, _)| position);
        sink(FieldAt { position, start, end, null, external });
        start = end;
    }
    Ok(Shape { extra: ends.before + ends.count * ends.width, data: start })
}

/// Sets or clears the NULL bit of the `n`th stored field of a redundant row.
pub(super) fn set_null(page: &mut [u8], rec: usize, index: &Index, n: usize, null: bool) -> Result<()> {
    let ends = ends(page, rec, index)?;
    // Both widths keep the bit at the top of the first byte.
    let byte = page.get_mut(ends.place(rec, n)?).ok_or(ApplyError::Row(rec))?;
    if null {
        *byte |= NULL_SHORT as u8;
    } else {
        *byte &= !(NULL_SHORT as u8);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::codec::Reader;
    use super::super::super::index::IndexCache;
    use super::*;

    fn index(raw: &[u8]) -> std::sync::Arc<Index> {
        IndexCache::default().get(&mut Reader::new(raw), raw).unwrap()
    }

    /// A row whose bytes before the five fixed ones are `below`, nearest to the origin first.
    fn shape(index: &Index, info: u8, below: &[u8]) -> (Shape, Vec<(usize, usize, bool)>) {
        let mut fields = Vec::new();
        let at = |n: usize| below.get(n).copied().ok_or(ApplyError::Row(n));
        let shape = compact(at, info, 0, index, |field| {
            fields.push((field.position, field.end - field.start, field.null))
        });
        (shape.unwrap(), fields)
    }

    /// pk, the hidden columns, a nullable INT, a nullable VARCHAR; the last two were added by the older instant ADD.
    const OLD_INSTANT: &[u8] = &[1, 5, 0, 6, 0, 4, 0, 1, 0x80, 4, 0x80, 6, 0x80, 7, 0, 4, 0, 4, 0, 0];

    #[test]
    fn rows_from_before_the_older_instant_add() {
        let index = index(OLD_INSTANT);
        assert_eq!((index.inst_fields, index.nullable, index.nullable_before_instant), (4, 3, 1));
        let (shape, fields) = shape(&index, 0, &[0]);
        assert_eq!(shape, Shape { extra: 6, data: 21 });
        assert_eq!(fields, [(0, 4, false), (1, 6, false), (2, 7, false), (3, 4, false)]);
    }

    #[test]
    fn rows_from_after_the_older_instant_add() {
        let index = index(OLD_INSTANT);
        // Count of fields, NULL bits, length of the VARCHAR.
        let (row, fields) = shape(&index, INSTANT, &[6, 0b001, 9]);
        assert_eq!(row, Shape { extra: 8, data: 17 + 4 + 9 });
        assert_eq!(fields[3..], [(3, 0, true), (4, 4, false), (5, 9, false)]);
        // One column of two was there when the row was written; its count in the long form.
        let (row, fields) = shape(&index, INSTANT, &[0x80, 5, 0]);
        assert_eq!(row, Shape { extra: 8, data: 25 });
        assert_eq!(fields.len(), 5);
    }

    #[test]
    fn rows_of_versions() {
        // pk, hidden columns, a (dropped in 2), b (added in 1); all listed where they are.
        let raw = [
            1, 3, 0, 5, 0, 1, 0x80, 4, 0x80, 6, 0x80, 7, 0, 4, 0x80, 2, 0, 2, 0, 3, 0x40, 3, 2, 0, 4, 0x80,
            4, 1,
        ];
        let index = index(&raw);
        let positions = |(_, fields): (Shape, Vec<(usize, usize, bool)>)| {
            fields.into_iter().map(|(position, ..)| position).collect::<Vec<_>>()
        };
        assert_eq!(positions(shape(&index, 0, &[0])), [0, 1, 2, 3]);
        assert_eq!(positions(shape(&index, VERSIONED, &[1, 0])), [0, 1, 2, 3, 4]);
        assert_eq!(positions(shape(&index, VERSIONED, &[2])), [0, 1, 2, 4]);
        assert_eq!(shape(&index, VERSIONED, &[1, 1]).0, Shape { extra: 7, data: 19 });
        assert_eq!(shape(&index, VERSIONED, &[2]).0, Shape { extra: 6, data: 19 });
    }

    #[test]
    fn lengths_of_one_and_two_bytes() {
        // pk, hidden columns, a column that may be long.
        let index = index(&[1, 1, 0, 4, 0, 1, 0x80, 4, 0x80, 6, 0x80, 7, 0x7f, 0xff]);
        for (below, extra, data) in [
            (&[0, 0x7f][..], 7, 17 + 127),
            (&[0, 0x81, 0x00], 8, 17 + 256),
            (&[0, 0xc3, 0x14], 8, 17 + 788),
            (&[1], 6, 17),
        ] {
            assert_eq!(shape(&index, 0, below).0, Shape { extra, data });
        }
        let mut external = None;
        let below = [0, 0xc3, 0x14];
        compact(|n| Ok(below[n]), 0, 0, &index, |field| external = Some(field.external)).unwrap();
        assert_eq!(external, Some(true));
    }

    #[test]
    fn redundant_rows_tell_their_ends() {
        let index = index(&[1, 0]);
        let mut page = vec![0; 100];
        // Ends 4, 10 (NULL) and 12 in one byte each, three fields, heap number 2.
        page[50 - 9..50].copy_from_slice(&[12, 0x80 | 10, 4, 0, 0, 16, 3 << 1 | 1, 0, 0]);
        let mut found = Vec::new();
        assert_eq!(fields(&page, 50, &index, &mut found).unwrap(), Shape { extra: 9, data: 12 });
        assert!(found[1].null && !found[2].null);
        set_null(&mut page, 50, &index, 1, false).unwrap();
        set_null(&mut page, 50, &index, 2, true).unwrap();
        assert_eq!(page[41..44], [0x80 | 12, 10, 4]);
    }
}
