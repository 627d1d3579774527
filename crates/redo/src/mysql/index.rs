//! What a record says about the index that it changes: enough to find the fields of a row.
//!
//! `u8 version = 1 | u8 flags | …`; the flags 1 (COMPACT), 2 (VERSIONED: instant columns since 8.0.29) and 4 (INSTANT:
//! those of 8.0.12 to 8.0.28) say what follows. A plain redundant index has nothing more: its rows describe
//! themselves.

use std::collections::HashMap;
use std::sync::Arc;

use super::codec::{Bad, Reader};

const COMPACT: u8 = 1;
const VERSIONED: u8 = 2;
const INSTANT: u8 = 4;
const NOT_NULL: u16 = 0x8000;
/// Longer ones are variable and may exceed 255 bytes; the server writes 0x7fff for those.
const MAX_FIXED: u16 = 768;
const HAS_ADDED: u16 = 0x8000;
const HAS_DROPPED: u16 = 0x4000;

/// One column of an index, at its physical position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Field {
    /// Length in bytes; 0 = variable.
    pub fixed: u16,
    /// Variable and may be longer than 255 bytes.
    pub big: bool,
    pub nullable: bool,
    /// Row version that added it; 0 = there from the start.
    pub added: u8,
    /// Row version that dropped it; 0 = still there.
    pub dropped: u8,
}

impl Field {
    /// Rows of `version` store it.
    pub fn in_version(&self, version: u8) -> bool {
        self.added <= version && (self.dropped == 0 || self.dropped > version)
    }
}

/// An index as a record describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Index {
    pub compact: bool,
    pub versioned: bool,
    pub instant: bool,
    /// Columns that tell rows apart in the tree; in node pages, those of a node pointer.
    pub n_uniq: usize,
    /// In physical order. Empty for plain redundant indexes.
    pub fields: Vec<Field>,
    /// Physical position of each logical one; empty when they are the same.
    physical: Vec<u16>,
    /// Columns stored in rows from before the first instant ADD of the older kind.
    pub inst_fields: usize,
    /// Nullable columns of the whole index.
    pub nullable: usize,
    /// Nullable columns among the first `inst_fields`.
    pub nullable_before_instant: usize,
    /// Nullable columns by row version.
    nullable_by_version: Vec<u16>,
    /// The log says that it is clustered.
    pub clustered: bool,
}

impl Index {
    /// Physical position of logical field `n`.
    pub fn physical(&self, n: usize) -> Option<usize> {
        if self.physical.is_empty() { Some(n) } else { self.physical.get(n).map(|p| usize::from(*p)) }
    }

    /// Nullable columns in a row of `version`.
    pub fn nullable_in(&self, version: u8) -> usize {
        let last = self.nullable_by_version.len().saturating_sub(1);
        self.nullable_by_version
            .get(usize::from(version).min(last))
            .map_or(self.nullable, |count| usize::from(*count))
    }

    /// Physical position of the hidden transaction number; meaningful when clustered.
    pub fn trx_id(&self) -> usize {
        self.physical(self.n_uniq).unwrap_or(self.n_uniq)
    }

    /// An index without any instant change, as compressed pages describe it themselves.
    pub fn plain(fields: Vec<Field>, n_uniq: usize, nullable: Option<usize>, clustered: bool) -> Index {
        let nullable = nullable.unwrap_or_else(|| fields.iter().filter(|f| f.nullable).count());
        Index { compact: true, n_uniq, fields, nullable, clustered, ..Index::default() }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Index, Bad> {
        let flags = head(reader)?;
        let mut index = Index {
            compact: flags & COMPACT != 0,
            versioned: flags & VERSIONED != 0,
            instant: flags & INSTANT != 0,
            ..Index::default()
        };
        if !index.compact && !index.versioned {
            return Ok(index);
        }
        let n = usize::from(reader.u16()?);
        if index.compact {
            if index.instant {
                index.inst_fields = reader.u16()?.into();
            }
            index.n_uniq = reader.u16()?.into();
            if index.n_uniq > n || index.inst_fields > n {
                return Err(Bad::Wrong("index has fewer fields than its key"));
            }
        }
        let mut logical = vec![Field::default(); n];
        if index.compact {
            for field in &mut logical {
                *field = field_of(reader.u16()?);
            }
        }
        if index.versioned {
            index.read_versions(reader, logical)?;
        } else {
            index.fields = logical;
        }
        index.derive(n);
        Ok(index)
    }

    /// Reads which fields instant ALTERs added, dropped or moved, and puts all into physical order.
    fn read_versions(&mut self, reader: &mut Reader<'_>, mut logical: Vec<Field>) -> Result<(), Bad> {
        const WRONG: Bad = Bad::Wrong("impossible field positions of an index");
        let mut physical: Vec<Option<u16>> = vec![None; logical.len()];
        let mut used = vec![false; logical.len()];
        for _ in 0..reader.u16()? {
            let at = usize::from(reader.u16()?);
            let position = reader.u16()?;
            let field = logical.get_mut(at).ok_or(WRONG)?;
            if position & HAS_ADDED != 0 {
                field.added = reader.u8()?;
            }
            if position & HAS_DROPPED != 0 {
                field.dropped = reader.u8()?;
            }
            let position = position & !(HAS_ADDED | HAS_DROPPED);
            let taken = used.get_mut(usize::from(position)).ok_or(WRONG)?;
            if std::mem::replace(taken, true) {
                return Err(WRONG);
            }
            *physical.get_mut(at).ok_or(WRONG)? = Some(position);
        }
        // Fields that are not listed follow in logical order, where no listed one sits.
        let mut shift = 0usize;
        for (at, (field, position)) in logical.iter().zip(&mut physical).enumerate() {
            if position.is_some() {
                if field.added != 0 && field.dropped == 0 {
                    shift += 1;
                }
                continue;
            }
            let mut free = at.checked_sub(shift).ok_or(WRONG)?;
            while *used.get(free).ok_or(WRONG)? {
                free += 1;
            }
            *used.get_mut(free).ok_or(WRONG)? = true;
            *position = Some(u16::try_from(free).map_err(|_| WRONG)?);
        }
        self.fields = vec![Field::default(); logical.len()];
        for (field, position) in logical.into_iter().zip(physical) {
            let position = position.ok_or(WRONG)?;
            *self.fields.get_mut(usize::from(position)).ok_or(WRONG)? = field;
            self.physical.push(position);
        }
        Ok(())
    }

    fn derive(&mut self, n: usize) {
        self.nullable = self.fields.iter().filter(|f| f.nullable).count();
        self.nullable_before_instant = self.nullable_among_first(self.inst_fields);
        if self.versioned {
            let last = self.fields.iter().map(|f| f.added.max(f.dropped)).max().unwrap_or(0);
            self.nullable_by_version = (0..=last)
                .map(|version| {
                    self.fields.iter().filter(|f| f.nullable && f.in_version(version)).count() as u16
                })
                .collect();
        }
        self.clustered = self.instant || self.versioned || (self.compact && self.n_uniq != n);
    }

    /// Nullable columns among the first `count`, without those that came with a row version.
    pub fn nullable_among_first(&self, count: usize) -> usize {
        self.fields.iter().take(count).filter(|f| f.nullable && f.added == 0).count()
    }
}

fn head(reader: &mut Reader<'_>) -> Result<u8, Bad> {
    if reader.u8()? != 1 {
        return Err(Bad::Wrong("unknown version of an index description"));
    }
    let flags = reader.u8()?;
    if flags & !(COMPACT | VERSIONED | INSTANT) != 0 {
        return Err(Bad::Wrong("unknown flags of an index description"));
    }
    Ok(flags)
}

fn field_of(word: u16) -> Field {
    let len = word & !NOT_NULL;
    let big = len > MAX_FIXED;
    Field { fixed: if big { 0 } else { len }, big, nullable: word & NOT_NULL == 0, ..Field::default() }
}

/// Reads over an index description.
pub(super) fn skip(reader: &mut Reader<'_>) -> Result<(), Bad> {
    let flags = head(reader)?;
    if flags & (COMPACT | VERSIONED) == 0 {
        return Ok(());
    }
    let n = usize::from(reader.u16()?);
    if flags & COMPACT != 0 {
        let counts = if flags & INSTANT != 0 { 4 } else { 2 };
        reader.take(counts + 2 * n)?;
    }
    if flags & VERSIONED != 0 {
        for _ in 0..reader.u16()? {
            reader.u16()?;
            let position = reader.u16()?;
            if position & HAS_ADDED != 0 {
                reader.u8()?;
            }
            if position & HAS_DROPPED != 0 {
                reader.u8()?;
            }
        }
    }
    Ok(())
}

/// Decoded indexes by their raw bytes: a workload has a few hundred, each in thousands of records.
#[derive(Debug, Default)]
pub(super) struct IndexCache {
    known: HashMap<Arc<[u8]>, Arc<Index>>,
    last: Option<(Arc<[u8]>, Arc<Index>)>,
}

impl IndexCache {
    const MOST: usize = 4096;

    /// The index that `reader` stands at. It is read over.
    pub fn get(&mut self, reader: &mut Reader<'_>, body: &[u8]) -> Result<Arc<Index>, Bad> {
        let start = reader.used();
        skip(reader)?;
        let raw = body.get(start..reader.used()).ok_or(Bad::Short)?;
        if let Some((last, index)) = &self.last
            && **last == *raw
        {
            return Ok(Arc::clone(index));
        }
        let (raw, index) = match self.known.get_key_value(raw) {
            Some((raw, index)) => (Arc::clone(raw), Arc::clone(index)),
            None => {
                let index = Arc::new(Index::read(&mut Reader::new(raw))?);
                if self.known.len() >= Self::MOST {
                    self.known.clear();
                }
                let raw: Arc<[u8]> = raw.into();
                self.known.insert(Arc::clone(&raw), Arc::clone(&index));
                (raw, index)
            }
        };
        self.last = Some((raw, Arc::clone(&index)));
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Index, Bad> {
        let mut reader = Reader::new(bytes);
        skip(&mut reader)?;
        assert_eq!(reader.used(), bytes.len());
        Index::read(&mut Reader::new(bytes))
    }

    #[test]
    fn plain_redundant_is_two_bytes() {
        let index = read(&[1, 0]).unwrap();
        assert!(!index.compact && !index.clustered && index.fields.is_empty());
        assert_eq!(read(&[0, 0]), Err(Bad::Wrong("unknown version of an index description")));
        assert_eq!(read(&[1, 8]), Err(Bad::Wrong("unknown flags of an index description")));
    }

    #[test]
    fn fields_of_a_compact_index() {
        // 4 fields, 1 unique: INT NOT NULL, 6 and 7 bytes, a nullable blob.
        let index = read(&[1, 1, 0, 4, 0, 1, 0x80, 4, 0x80, 6, 0x80, 7, 0x7f, 0xff]).unwrap();
        assert!(index.compact && index.clustered);
        assert_eq!((index.n_uniq, index.nullable, index.trx_id()), (1, 1, 1));
        assert_eq!(index.fields[0], Field { fixed: 4, ..Field::default() });
        assert_eq!(index.fields[3], Field { big: true, nullable: true, ..Field::default() });
        assert_eq!(index.physical(3), Some(3));
    }

    #[test]
    fn physical_positions_of_instant_columns() {
        // Logical: pk, trx, roll, new (added in 1, physical 4), a (physical 3).
        let bytes = [1, 3, 0, 5, 0, 1, 0x80, 4, 0x80, 6, 0x80, 7, 0, 4, 0, 4, 0, 1, 0, 3, 0x80, 4, 1];
        let index = read(&bytes).unwrap();
        assert_eq!((0..5).filter_map(|n| index.physical(n)).collect::<Vec<_>>(), [0, 1, 2, 4, 3]);
        assert_eq!(index.fields[4].added, 1);
        assert_eq!((index.nullable_in(0), index.nullable_in(1), index.nullable_in(9)), (1, 2, 2));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(flags in 0u8..8, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&[1, flags], bytes.as_slice()].concat();
            let mut cache = IndexCache::default();
            for _ in 0..2 {
                let _ = cache.get(&mut Reader::new(&bytes), &bytes);
            }
        }

        #[test]
        fn small_versioned_indexes_do_no_harm(
            n in 0u16..6, listed in prop::collection::vec((0u16..7, 0u16..7, 0u16..4, any::<u8>(), any::<u8>()), 0..6),
        ) {
            let mut bytes = vec![1, 2];
            bytes.extend(n.to_be_bytes());
            bytes.extend((listed.len() as u16).to_be_bytes());
            for (at, position, marks, added, dropped) in listed {
                bytes.extend(at.to_be_bytes());
                bytes.extend((position | marks << 14).to_be_bytes());
                if marks & 2 != 0 {
                    bytes.push(added);
                }
                if marks & 1 != 0 {
                    bytes.push(dropped);
                }
            }
            let _ = read(&bytes);
        }
    }
}
