//! Takes a redo log's changes as the parser finds them, and makes [`Changes`] of them within a memory budget.

use std::path::PathBuf;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use reseed_redo::mysql::TableMetadata;
use reseed_redo::{LogVisitor, Lsn, MtrSpan, PageChange, SpaceEvent};

use super::segment::{Filling, SEGMENT_MAX};
use super::spill::SpillFile;
use super::{Census, Changes, Stored, key};
use crate::error::RestoreError;

/// How much of the redo may stay in memory, and where the rest goes.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Bytes for changes, all segments together.
    pub memory: usize,
    /// The file that takes what does not fit; created when first needed.
    pub spill: PathBuf,
}

/// Segments in flight while gathering: one filled, one waiting, one being sorted.
const IN_FLIGHT: usize = 3;

impl Budget {
    /// Small enough for those in flight to be a third of the budget.
    fn segment(&self) -> usize {
        (self.memory / (3 * IN_FLIGHT)).clamp(64 << 10, 128 << 20).min(SEGMENT_MAX)
    }
}

/// A [`LogVisitor`] that groups by page. Errors of the spill file surface at [`Collector::check`] and
/// [`Collector::finish`], since a visitor cannot fail.
#[derive(Debug)]
pub struct Collector {
    census: Census,
    filling: Filling,
    segment: usize,
    sender: Option<Sender<Filling>>,
    sorter: Option<JoinHandle<Result<Sorted, RestoreError>>>,
}

#[derive(Debug)]
struct Sorted {
    segments: Vec<Stored>,
    spilled: u64,
}

impl Collector {
    /// Changes that start before `from` (the checkpoint) are in the pages already and are left out.
    pub fn new(budget: &Budget, from: Lsn) -> Collector {
        let (sender, receiver) = bounded(1);
        let own = budget.clone();
        Collector {
            census: Census::new(from),
            filling: Filling::default(),
            segment: budget.segment(),
            sender: Some(sender),
            sorter: Some(std::thread::spawn(move || sort(&own, &receiver))),
        }
    }

    /// Fails as soon as the sorting thread has failed.
    ///
    /// # Errors
    /// What the spill file met, or metadata that could not be understood.
    pub fn check(&mut self) -> Result<(), RestoreError> {
        self.census.check()?;
        match &self.sorter {
            Some(sorter) if sorter.is_finished() => self.join().map(|_| ()),
            _ => Ok(()),
        }
    }

    fn join(&mut self) -> Result<Sorted, RestoreError> {
        drop(self.sender.take());
        match self.sorter.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(RestoreError::Worker { what: "the redo sorting thread" }),
        }
    }

    /// # Errors
    /// As [`Collector::check`].
    pub fn finish(mut self) -> Result<(Changes, TableMetadata), RestoreError> {
        self.check()?;
        self.hand_over();
        let Sorted { segments, spilled } = self.join()?;
        let mut census = std::mem::take(&mut self.census);
        let changes = Changes {
            segments,
            spaces: census.take_spaces(),
            voids: census.voids,
            records: census.records,
            spilled,
        };
        Ok((changes, census.metadata))
    }

    fn hand_over(&mut self) {
        if self.filling.is_empty() {
            return;
        }
        let full = std::mem::replace(&mut self.filling, Filling::with_capacity(self.segment));
        if let Some(sender) = &self.sender {
            // Fails only when the sorter has ended, and then `check` or `finish` says why.
            let _ = sender.send(full);
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(sorter) = self.sorter.take() {
            // Given up: only its end matters, so that nothing writes the spill file afterwards.
            let _ = sorter.join();
        }
    }
}

impl LogVisitor for Collector {
    fn page(&mut self, change: PageChange<'_>) {
        if !self.census.counts(change.start) {
            return;
        }
        self.census.page(change);
        self.filling.push(key(change.id.space, change.id.page.0), &change.change());
        if self.filling.bytes() >= self.segment {
            self.hand_over();
        }
    }

    fn space(&mut self, span: &MtrSpan, event: SpaceEvent<'_>) {
        self.census.space(span, event);
    }
}

fn sort(budget: &Budget, receiver: &Receiver<Filling>) -> Result<Sorted, RestoreError> {
    // What is in flight beside the finished segments counts against the budget too.
    let keep = budget.memory.saturating_sub(IN_FLIGHT * budget.segment());
    let mut sorted = Sorted { segments: Vec::new(), spilled: 0 };
    let mut in_memory = 0;
    let mut file: Option<SpillFile> = None;
    for filling in receiver {
        let segment = filling.finish();
        if in_memory + segment.bytes() <= keep {
            in_memory += segment.bytes();
            sorted.segments.push(Stored::Memory(segment));
            continue;
        }
        let spill = match &mut file {
            Some(file) => file,
            None => file.insert(SpillFile::create(&budget.spill)?),
        };
        let spilled = spill.write(&segment)?;
        sorted.spilled += spilled.bytes();
        sorted.segments.push(Stored::Spilled(spilled));
    }
    Ok(sorted)
}
