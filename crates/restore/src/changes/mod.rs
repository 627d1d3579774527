//! The redo of one set, grouped by page: what the workers ask for "everything that happens to these pages".
//!
//! Changes arrive in log order and are gathered into segments of bounded size. A finished segment is sorted by page
//! and kept in memory while the budget lasts, else written to a spill file as one sorted run with a sparse index.
//! Segments cover consecutive stretches of the log, so that "in log order" for one page is "segment after segment".
//!
//! This module must never know what a change means: it sees kinds and bytes, and drops what a later change voids.

mod census;
mod collect;
mod segment;
mod spill;
#[cfg(test)]
mod tests;
mod voids;

use std::ops::Range;

use reseed_redo::{Change, ChangeKind, PageNo, SpaceId};

pub use census::{Census, SeenSpace};
pub use collect::{Budget, Collector};
pub use voids::Voids;

use crate::error::RestoreError;
use segment::Segment;
use spill::SpilledSegment;

/// Address of a page in sorting order: tablespace, then page.
pub(crate) type Key = u64;

pub(crate) fn key(space: SpaceId, page: u32) -> Key {
    u64::from(space.0) << 32 | u64::from(page)
}

#[derive(Debug)]
enum Stored {
    Memory(Segment),
    Spilled(SpilledSegment),
}

/// All changes of a set, ready to be asked from several threads.
#[derive(Debug)]
pub struct Changes {
    segments: Vec<Stored>,
    voids: Voids,
    spaces: Vec<SeenSpace>,
    /// Changes that were gathered (also those that a later one voids).
    pub records: u64,
    /// Bytes that went to the spill file.
    pub spilled: u64,
}

/// How many bytes of changes [`Changes::gather`] may hold at once; more than that is cut at a page boundary.
const GATHER_LIMIT: usize = 48 << 20;

impl Changes {
    /// No redo at all.
    pub fn none() -> Changes {
        Changes::of_census(Census::default())
    }

    /// What a census found, without the changes themselves.
    pub fn of_census(mut census: Census) -> Changes {
        let spaces = census.take_spaces();
        Changes { segments: Vec::new(), voids: census.voids, spaces, records: census.records, spilled: 0 }
    }

    /// Of all this only how far files must reach: for a server that applies the redo itself, and expects files to be
    /// as long as they were when it wrote it.
    pub fn into_sizes(mut self) -> Changes {
        self.segments.clear();
        self.voids = Voids::default();
        for seen in &mut self.spaces {
            seen.changes = 0;
        }
        self
    }

    /// The tablespaces that the redo speaks of, by number.
    pub fn spaces(&self) -> &[SeenSpace] {
        &self.spaces
    }

    pub fn seen(&self, space: SpaceId) -> Option<&SeenSpace> {
        self.spaces.binary_search_by_key(&space, |seen| seen.space).ok().and_then(|at| self.spaces.get(at))
    }

    pub fn voids(&self) -> &Voids {
        &self.voids
    }

    /// Gathers the changes of `pages` of `space` into `into`, as many pages of the front of the range as fit; returns
    /// the page at which to go on (`pages.end` when all are in). One page is always taken whole.
    pub fn gather<'s>(
        &'s self,
        space: SpaceId,
        pages: Range<u64>,
        into: &mut Gathered<'s>,
    ) -> Result<u64, RestoreError> {
        into.clear();
        let behind_last = self.seen(space).map_or(0, |seen| u64::from(seen.last_page.0) + 1);
        let mut end = pages.end.min(behind_last);
        let all_in = end;
        while pages.start < end {
            let range = bounds(space, pages.start, end);
            let estimate: usize = self.segments.iter().map(|segment| segment.estimate(&range)).sum();
            if estimate > GATHER_LIMIT && end - pages.start > 1 {
                end = pages.start + (end - pages.start) / 2;
                continue;
            }
            for segment in &self.segments {
                match segment {
                    Stored::Memory(segment) => into.take_memory(segment, &range),
                    Stored::Spilled(segment) => into.take_spilled(segment, &range)?,
                }
            }
            into.finish(&self.voids, space);
            break;
        }
        Ok(if end == all_in { pages.end } else { end })
    }
}

fn bounds(space: SpaceId, start: u64, end: u64) -> Range<Key> {
    let base = u64::from(space.0) << 32;
    let limit = 1u64 << 32;
    // The very last page of the very last space cannot be the end of a half-open range of u64 keys; no such page
    // exists (0xFFFFFFFF means "no page").
    base + start.min(limit - 1)..base + end.min(limit - 1)
}

impl Stored {
    fn estimate(&self, range: &Range<Key>) -> usize {
        match self {
            // Memory is not copied, only referred to.
            Stored::Memory(segment) => segment.count(range) * size_of::<Reference<'_>>(),
            Stored::Spilled(segment) => segment.estimate(range),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Bytes<'s> {
    Memory(&'s [u8]),
    /// Position in `Gathered::loaded`.
    Loaded(usize),
}

#[derive(Debug, Clone, Copy)]
struct Reference<'s> {
    key: Key,
    record: Bytes<'s>,
}

/// The changes of a few pages, in page order and for each page in log order. Reused from batch to batch.
#[derive(Debug, Default)]
pub struct Gathered<'s> {
    loaded: Vec<u8>,
    references: Vec<Reference<'s>>,
}

impl<'s> Gathered<'s> {
    pub fn new() -> Gathered<'s> {
        Gathered::default()
    }

    fn clear(&mut self) {
        self.loaded.clear();
        self.references.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.references.is_empty()
    }

    fn take_memory(&mut self, segment: &'s Segment, range: &Range<Key>) {
        self.references.extend(
            segment.entries(range).map(|(key, record)| Reference { key, record: Bytes::Memory(record) }),
        );
    }

    fn take_spilled(&mut self, segment: &SpilledSegment, range: &Range<Key>) -> Result<(), RestoreError> {
        let references = &mut self.references;
        segment.read(range, &mut self.loaded, |key, at| {
            references.push(Reference { key, record: Bytes::Loaded(at) });
        })
    }

    /// Brings the references into page order (log order within a page is kept: the sort is stable and segments were
    /// taken in log order), and drops what is void.
    fn finish(&mut self, voids: &Voids, space: SpaceId) {
        if !self.references.is_sorted_by_key(|reference| reference.key) {
            self.references.sort_by_key(|reference| reference.key);
        }
        let mut kept = 0;
        let mut page_start = 0;
        let mut page_key = None;
        for at in 0..self.references.len() {
            let Some(reference) = self.references.get(at).copied() else { break };
            if page_key != Some(reference.key) {
                page_key = Some(reference.key);
                page_start = kept;
            }
            let change = decode(self.loaded.as_slice(), reference.record);
            if change.start < voids.of(space, PageNo(reference.key as u32)) {
                continue;
            }
            if change.kind != ChangeKind::Delta {
                kept = page_start;
            }
            if let Some(slot) = self.references.get_mut(kept) {
                *slot = reference;
                kept += 1;
            }
        }
        self.references.truncate(kept);
    }

    /// The pages that have changes, each with its changes.
    pub fn pages(&self) -> impl Iterator<Item = (PageNo, impl Iterator<Item = Change<'_>> + Clone)> {
        self.references.chunk_by(|a, b| a.key == b.key).filter_map(|chunk| {
            let first = chunk.first()?;
            let changes = chunk.iter().map(|reference| decode(self.loaded.as_slice(), reference.record));
            Some((PageNo(first.key as u32), changes))
        })
    }
}

fn decode<'a>(loaded: &'a [u8], record: Bytes<'a>) -> Change<'a> {
    match record {
        Bytes::Memory(record) => segment::decode(record),
        Bytes::Loaded(at) => segment::decode(loaded.get(at..).unwrap_or_default()),
    }
}
