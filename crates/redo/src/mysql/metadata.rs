//! What only the redo carries: AUTO_INCREMENT counters and corrupt-index marks between two checkpoints.
//!
//! Aggregated as the server does: a record of a higher version of its table replaces, one of the same version is
//! merged (larger counter, union of marks), one of a lower version is ignored. The version must be kept: the server
//! ignores what comes with too low a one.

use std::collections::{BTreeMap, BTreeSet};

use super::codec::{Reader, put_much_compressed64};
use super::error::MysqlError;
use super::record::SINGLE;
use super::record_type::RecordType;

const CORRUPT_INDEX: u8 = 1;
const AUTO_INCREMENT: u8 = 2;
/// Marks that one record can count.
const MOST_MARKS: usize = 255;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    version: u64,
    /// Next value to use.
    counter: Option<u64>,
    /// Tablespace and index.
    corrupt: BTreeSet<(u32, u64)>,
}

/// The metadata of all tables, by table number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableMetadata {
    tables: BTreeMap<u64, Table>,
}

impl TableMetadata {
    /// Takes in one record, as `SpaceEvent::TableMetadata` shows it.
    ///
    /// # Errors
    /// When its payload is not of its kind.
    pub fn add(&mut self, table: u64, version: u64, kind: u8, payload: &[u8]) -> Result<(), MysqlError> {
        let entry = self.tables.entry(table).or_insert_with(|| Table { version, ..Table::default() });
        let mut new = Table { version, ..Table::default() };
        read(kind, payload, &mut new).ok_or(MysqlError::Metadata)?;
        match entry.version.cmp(&version) {
            std::cmp::Ordering::Less => *entry = new,
            std::cmp::Ordering::Equal => {
                entry.counter = entry.counter.max(new.counter);
                entry.corrupt.append(&mut new.corrupt);
            }
            std::cmp::Ordering::Greater => {}
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The next AUTO_INCREMENT value of a table, where the redo had one.
    pub fn counter(&self, table: u64) -> Option<u64> {
        self.tables.get(&table).and_then(|table| table.counter)
    }

    /// Redo records for all of it, each a mini-transaction of its own.
    pub(super) fn records(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        for (number, table) in &self.tables {
            let record = |kind: u8| {
                let mut bytes = vec![RecordType::TABLE_DYNAMIC_META as u8 | SINGLE];
                put_much_compressed64(&mut bytes, *number);
                put_much_compressed64(&mut bytes, table.version);
                bytes.push(kind);
                bytes
            };
            let marks: Vec<_> = table.corrupt.iter().collect();
            for some in marks.chunks(MOST_MARKS) {
                let mut bytes = record(CORRUPT_INDEX);
                bytes.push(some.len() as u8);
                for (space, index) in some {
                    bytes.extend(space.to_be_bytes());
                    bytes.extend(index.to_be_bytes());
                }
                records.push(bytes);
            }
            if let Some(counter) = table.counter {
                let mut bytes = record(AUTO_INCREMENT);
                put_much_compressed64(&mut bytes, counter);
                records.push(bytes);
            }
        }
        records
    }
}

fn read(kind: u8, payload: &[u8], table: &mut Table) -> Option<()> {
    let mut reader = Reader::new(payload);
    match kind {
        CORRUPT_INDEX => {
            for _ in 0..reader.u8().ok()? {
                table.corrupt.insert((reader.u32().ok()?, reader.u64().ok()?));
            }
        }
        AUTO_INCREMENT => table.counter = Some(reader.much_compressed64().ok()?),
        _ => return None,
    }
    reader.is_empty().then_some(())
}

/// Payload of an AUTO_INCREMENT record.
#[cfg(test)]
pub(super) fn counter_payload(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_much_compressed64(&mut bytes, value);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(space: u32, index: u64) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend(space.to_be_bytes());
        bytes.extend(index.to_be_bytes());
        bytes
    }

    #[test]
    fn versions_and_maxima() {
        let mut all = TableMetadata::default();
        for (version, value) in [(1, 5), (1, 3), (0, 100), (2, 4), (1, 200)] {
            all.add(7, version, 2, &counter_payload(value)).unwrap();
        }
        assert_eq!(all.counter(7), Some(4), "a higher version replaces even a larger counter");
        all.add(7, 2, 1, &mark(1, 2)).unwrap();
        all.add(7, 2, 1, &mark(1, 3)).unwrap();
        all.add(7, 2, 2, &counter_payload(1 << 40)).unwrap();
        let records = all.records();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0][..5], [62 | 0x80, 7, 2, 1, 2]);
        assert_eq!(records[1][..4], [62 | 0x80, 7, 2, 2]);
        assert_eq!(all.counter(8), None);
    }

    #[test]
    fn what_is_not_metadata_is_refused() {
        let mut all = TableMetadata::default();
        assert_eq!(all.add(1, 0, 3, &[]), Err(MysqlError::Metadata));
        assert_eq!(all.add(1, 0, 2, &[]), Err(MysqlError::Metadata));
        assert_eq!(all.add(1, 0, 2, &[5, 5]), Err(MysqlError::Metadata));
        assert_eq!(all.add(1, 0, 1, &[1, 2]), Err(MysqlError::Metadata));
    }
}
