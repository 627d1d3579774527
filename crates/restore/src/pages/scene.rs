//! What the passes share: the plan, the redo, and the rules for a tablespace's first page and final size.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reseed_innodb::{PageSize, SpaceFormat, fsp, set_flush_lsn};
use reseed_io::{Cancel, Progress};
use reseed_redo::{Lsn, PageId, RedoFormat, SpaceId};
use reseed_terms::Flavour;

use super::blocks::Written;
use super::held::Held;
use super::patch::{Counts, Patcher};
use super::writer::Writer;
use crate::changes::Changes;
use crate::error::RestoreError;
use crate::plan::{Plan, PlannedFile};

/// Everything that the workers of a pass share.
#[allow(missing_debug_implementations)]
pub struct Scene<'s> {
    pub plan: &'s Plan<'s>,
    /// By file of the plan: where it is written.
    pub paths: Vec<PathBuf>,
    /// By file of the plan: the file of the old datadir that becomes it.
    pub old: Vec<Option<PathBuf>>,
    /// By file of the plan: what of it came in a stream and is not written yet.
    pub held: Vec<Option<Arc<Held>>>,
    pub changes: &'s Changes,
    pub redo: RedoFormat,
    pub server_page: PageSize,
    pub flavour: Flavour,
    /// No page may be newer than this.
    pub end: Lsn,
    /// To be stamped on the system tablespace.
    pub flush_lsn: Option<Lsn>,
    pub owner: Option<(u32, u32)>,
    pub threads: usize,
    pub progress: &'s dyn Progress,
    pub cancel: &'s Cancel,
}

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    pub counts: Counts,
    pub written: Written,
    /// Bytes of redo that lay in the staging directory as they were received.
    pub staged: u64,
    pub notes: Vec<String>,
}

impl Done {
    pub fn add(&mut self, mut other: Done) {
        self.counts.add(other.counts);
        self.written += other.written;
        self.staged += other.staged;
        self.notes.append(&mut other.notes);
    }
}

/// A tablespace, or a file without pages.
pub(super) struct Unit {
    pub files: Vec<usize>,
    pub space: Option<SpaceId>,
    pub opened: OnceLock<Opened>,
}

/// What the first page told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    /// `None`: the file has no first page, and no redo.
    pub format: Option<SpaceFormat>,
    /// The tablespace's size in pages, after the redo.
    pub pages: u32,
}

impl Scene<'_> {
    /// Largest first.
    pub(super) fn units(&self) -> Vec<Unit> {
        let plain = self.plan.files.iter().enumerate().filter(|(_, file)| file.space.is_none());
        let plain = plain.map(|(at, _)| Unit { files: vec![at], space: None, opened: OnceLock::new() });
        let spaces = self.plan.spaces.iter();
        let spaces = spaces.map(|space| Unit {
            files: space.files.clone(),
            space: Some(space.id),
            opened: OnceLock::new(),
        });
        let mut units: Vec<Unit> = spaces.chain(plain).collect();
        let raw = |unit: &Unit| -> u64 {
            let files = unit.files.iter().filter_map(|at| self.plan.files.get(*at));
            files.map(|file| file.entry.raw_bytes()).sum()
        };
        units.sort_by_cached_key(|unit| std::cmp::Reverse(raw(unit)));
        units
    }

    pub(super) fn patcher(&self) -> Patcher<'_> {
        Patcher::new(self.changes, self.redo, self.server_page, self.flavour, self.end)
    }

    pub(super) fn path(&self, file: usize) -> PathBuf {
        self.paths.get(file).cloned().unwrap_or_default()
    }

    pub(super) fn writers(&self) -> Vec<Writer> {
        let olds = self.old.iter().cloned().chain(std::iter::repeat(None));
        let files = self.plan.files.iter().zip(&self.paths).zip(olds);
        let writer = |((file, path), old): ((&PlannedFile<'_>, &PathBuf), _)| {
            Writer::new(path.clone(), old, file.entry.mode & 0o777, self.owner, file.segments.len())
        };
        files.map(writer).collect()
    }

    /// The first page, in `bytes`, is as it will be: what it says of the tablespace; and the flush LSN into the
    /// system tablespace.
    pub(super) fn open(
        &self,
        space: SpaceId,
        path: &str,
        format: Option<SpaceFormat>,
        bytes: &mut [u8],
    ) -> Result<Opened, RestoreError> {
        let Some(format) = format else {
            let alive = self.changes.seen(space).is_some_and(|seen| seen.is_alive(self.changes.voids()));
            return if alive {
                Err(RestoreError::NoFirstPage { path: path.to_owned() })
            } else {
                Ok(Opened { format: None, pages: 0 })
            };
        };
        if let (0, Some(lsn)) = (space.0, self.flush_lsn) {
            let page = bytes.get_mut(..format.physical().bytes()).unwrap_or_default();
            let fail = |source| RestoreError::Page { path: path.to_owned(), page: PageId::new(0, 0), source };
            set_flush_lsn(page, &format, lsn).map_err(fail)?;
        }
        Ok(Opened { format: Some(format), pages: fsp::size(bytes) })
    }

    /// The size that a file of the unit is to have; `written` is where the last byte written ends.
    pub(super) fn final_size(&self, unit: &Unit, at: usize, file: &PlannedFile<'_>, written: u64) -> u64 {
        let copied = file.entry.size;
        if let Some(content) = &file.content {
            return content.len() as u64;
        }
        let opened = unit.opened.get().copied();
        let (Some(space), Some(Opened { format: Some(format), pages })) = (unit.space, opened) else {
            return copied;
        };
        if unit.files.last() != Some(&at) {
            return copied;
        }
        let own = u64::from(pages).saturating_sub(u64::from(file.entry.first_page));
        let wanted = own * format.physical().as_u64();
        if self.changes.voids().is_trimmed(space) {
            return wanted;
        }
        let extended = self.changes.seen(space).map_or(0, |seen| seen.extended_to);
        let grown = match self.flavour {
            // The server extends files by whole blocks only.
            Flavour::MariaDb => wanted - wanted % 4096,
            Flavour::MySql => wanted.max(extended),
        };
        copied.max(grown).max(written)
    }

    /// Runs `work` on all threads; the first that fails decides, and `stop` tells the others.
    pub(super) fn on_threads(
        &self,
        stop: impl Fn() + Sync,
        work: impl Fn(&mut Done) -> Result<(), RestoreError> + Sync,
    ) -> Result<Done, RestoreError> {
        let failed: Mutex<Option<RestoreError>> = Mutex::new(None);
        let all = Mutex::new(Done::default());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    let mut done = Done::default();
                    if let Err(error) = work(&mut done) {
                        stop();
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                    all.lock().unwrap_or_else(PoisonError::into_inner).add(done);
                });
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}
