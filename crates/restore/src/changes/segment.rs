//! One stretch of the log in memory: records as they came, and an index that is sorted by page once the stretch is
//! complete.

use std::ops::Range;

use reseed_redo::{Change, ChangeKind, Lsn};

use super::Key;

/// How a change lies in memory and in the spill file.
///
/// | offset | size | field |
/// |-------:|-----:|-------|
/// | 0 | 8 | start LSN |
/// | 8 | 8 | end LSN |
/// | 16 | 4 | length of the bytes, shifted left by 2, and the kind in the low bits |
/// | 20 | n | the bytes |
pub(super) const HEADER: usize = 20;

pub(super) fn encode(into: &mut Vec<u8>, change: &Change<'_>) {
    let kind = match change.kind {
        ChangeKind::Delta => 0u32,
        ChangeKind::Init => 1,
        ChangeKind::Free => 2,
    };
    // A mini-transaction is far below 2^30 bytes in every format, so the length fits.
    let length = (change.bytes.len() as u32) << 2 | kind;
    into.extend_from_slice(&change.start.0.to_ne_bytes());
    into.extend_from_slice(&change.end.0.to_ne_bytes());
    into.extend_from_slice(&length.to_ne_bytes());
    into.extend_from_slice(change.bytes);
}

fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    bytes.split_first_chunk::<N>().map_or(([0; N], &[]), |(head, rest)| (*head, rest))
}

/// Reads the change that begins at the front of `record`. What was written by [`encode`] reads back as it was;
/// anything shorter reads as an empty change rather than as a panic.
pub(super) fn decode(record: &[u8]) -> Change<'_> {
    let (start, rest) = split::<8>(record);
    let (end, rest) = split::<8>(rest);
    let (length, rest) = split::<4>(rest);
    let length = u32::from_ne_bytes(length);
    let kind = match length & 3 {
        1 => ChangeKind::Init,
        2 => ChangeKind::Free,
        _ => ChangeKind::Delta,
    };
    let bytes = rest.get(..(length >> 2) as usize).unwrap_or_default();
    Change { start: Lsn(u64::from_ne_bytes(start)), end: Lsn(u64::from_ne_bytes(end)), kind, bytes }
}

/// A segment while it is filled.
#[derive(Debug, Default)]
pub(super) struct Filling {
    entries: Vec<Entry>,
    data: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: Key,
    /// Position in `data`: grows with the log, so that sorting by (key, at) keeps the log's order.
    at: u32,
}

/// A segment's data is addressed by 32 bits.
pub(super) const SEGMENT_MAX: usize = 1 << 30;

impl Filling {
    pub(super) fn with_capacity(bytes: usize) -> Filling {
        Filling { entries: Vec::new(), data: Vec::with_capacity(bytes) }
    }

    pub(super) fn push(&mut self, key: Key, change: &Change<'_>) {
        let at = self.data.len() as u32;
        encode(&mut self.data, change);
        self.entries.push(Entry { key, at });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.data.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Sorts by page and drops what a later change of this segment voids.
    pub(super) fn finish(self) -> Segment {
        let Filling { mut entries, mut data } = self;
        entries.sort_unstable();
        let mut kept = 0;
        let mut page_start = 0;
        let mut page = None;
        for at in 0..entries.len() {
            let Some(entry) = entries.get(at).copied() else { break };
            if page != Some(entry.key) {
                page = Some(entry.key);
                page_start = kept;
            }
            let record = data.get(entry.at as usize..).unwrap_or_default();
            if decode(record).kind != ChangeKind::Delta {
                kept = page_start;
            }
            if let Some(slot) = entries.get_mut(kept) {
                *slot = entry;
                kept += 1;
            }
        }
        entries.truncate(kept);
        entries.shrink_to_fit();
        data.shrink_to_fit();
        Segment { entries, data }
    }
}

/// A complete segment.
#[derive(Debug)]
pub(super) struct Segment {
    entries: Vec<Entry>,
    data: Vec<u8>,
}

impl Segment {
    pub(super) fn bytes(&self) -> usize {
        self.data.len() + self.entries.len() * size_of::<Entry>()
    }

    fn span(&self, range: &Range<Key>) -> &[Entry] {
        let from = self.entries.partition_point(|entry| entry.key < range.start);
        let rest = self.entries.get(from..).unwrap_or_default();
        let length = rest.partition_point(|entry| entry.key < range.end);
        rest.get(..length).unwrap_or_default()
    }

    pub(super) fn count(&self, range: &Range<Key>) -> usize {
        self.span(range).len()
    }

    /// Records of the range, in page order, each as bytes from its header on.
    pub(super) fn entries<'s>(
        &'s self,
        range: &Range<Key>,
    ) -> impl Iterator<Item = (Key, &'s [u8])> + use<'s> {
        self.span(range)
            .iter()
            .map(|entry| (entry.key, self.data.get(entry.at as usize..).unwrap_or_default()))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Key, Change<'_>)> {
        self.entries
            .iter()
            .map(|entry| (entry.key, decode(self.data.get(entry.at as usize..).unwrap_or_default())))
    }
}
