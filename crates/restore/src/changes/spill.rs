//! What does not fit into memory: segments written to one file, each as a run sorted by page, with an index of every
//! sixteenth kilobyte or so kept in memory.
//!
//! The file lives for one restore and is read by the process that wrote it: it has no version and is not durable.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use reseed_io::{IoError, Op, OutFile};

use super::Key;
use super::segment::{self, HEADER, Segment};
use crate::error::RestoreError;

/// A record in the file: its page's key (8 bytes), then the record as in memory.
const KEY: usize = 8;
/// Distance of index entries.
const STEP: u64 = 16 << 10;
const WRITE: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct SpillFile {
    file: Arc<OutFile>,
    end: u64,
}

impl SpillFile {
    pub(super) fn create(path: &Path) -> Result<SpillFile, RestoreError> {
        Ok(SpillFile { file: Arc::new(OutFile::create_new(path, 0o600)?), end: 0 })
    }

    pub(super) fn write(&mut self, segment: &Segment) -> Result<SpilledSegment, RestoreError> {
        let start = self.end;
        let mut index: Vec<(Key, u64)> = Vec::new();
        let mut buffer = Vec::with_capacity(WRITE + (64 << 10));
        for (key, change) in segment.all() {
            let at = self.end + buffer.len() as u64;
            if index.last().is_none_or(|(_, last)| at - last >= STEP) {
                index.push((key, at));
            }
            buffer.extend_from_slice(&key.to_ne_bytes());
            segment::encode(&mut buffer, &change);
            if buffer.len() >= WRITE {
                self.flush(&mut buffer)?;
            }
        }
        self.flush(&mut buffer)?;
        Ok(SpilledSegment { file: Arc::clone(&self.file), index, start, end: self.end })
    }

    fn flush(&mut self, buffer: &mut Vec<u8>) -> Result<(), RestoreError> {
        self.file.write_all_at(self.end, buffer)?;
        self.file.start_writeback(self.end, buffer.len() as u64);
        self.end += buffer.len() as u64;
        buffer.clear();
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct SpilledSegment {
    file: Arc<OutFile>,
    /// Key of the first record that begins at or behind each offset.
    index: Vec<(Key, u64)>,
    start: u64,
    end: u64,
}

impl SpilledSegment {
    pub(super) fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// The part of the file that holds the range, and at most a step more at each end.
    fn span(&self, range: &Range<Key>) -> Range<u64> {
        // Records of one key may lie in several steps: the last step that begins with a smaller key may end with it.
        let first = self.index.partition_point(|(key, _)| *key < range.start).saturating_sub(1);
        let last = self.index.partition_point(|(key, _)| *key < range.end);
        if last == 0 {
            return self.start..self.start;
        }
        let at = |position: usize| self.index.get(position).map_or(self.end, |(_, offset)| *offset);
        at(first)..at(last)
    }

    pub(super) fn estimate(&self, range: &Range<Key>) -> usize {
        let span = self.span(range);
        usize::try_from(span.end - span.start).unwrap_or(usize::MAX)
    }

    /// Appends the range's bytes to `into` and tells for each record its key and where its header begins in `into`.
    pub(super) fn read(
        &self,
        range: &Range<Key>,
        into: &mut Vec<u8>,
        mut found: impl FnMut(Key, usize),
    ) -> Result<(), RestoreError> {
        let span = self.span(range);
        let length = self.estimate(range);
        if length == 0 {
            return Ok(());
        }
        let base = into.len();
        into.resize(base + length, 0);
        let buffer = into.get_mut(base..).unwrap_or_default();
        let short = |at| {
            let source = std::io::ErrorKind::UnexpectedEof.into();
            RestoreError::Io(IoError::at(Op::Read, self.file.path(), at, source))
        };
        if self.file.read_at(span.start, buffer)? != length {
            return Err(short(span.start));
        }
        let mut at = base;
        while at < into.len() {
            let record = into.get(at..).unwrap_or_default();
            let Some((key, record)) = record.split_first_chunk::<KEY>() else {
                return Err(short(span.start + (at - base) as u64));
            };
            let key = Key::from_ne_bytes(*key);
            if key >= range.end {
                break;
            }
            let size = HEADER + segment::decode(record).bytes.len();
            if record.len() < size {
                return Err(short(span.start + (at - base) as u64));
            }
            if key >= range.start {
                found(key, at + KEY);
            }
            at += KEY + size;
        }
        Ok(())
    }
}
