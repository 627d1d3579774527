//! One file while its segments are being copied: opened by whoever comes first, closed by who ends the last segment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use reseed_innodb::{SpaceFormat, fil};
use reseed_io::{DataFile, ReadMode};
use reseed_repository::{FileCopy, RelPath, Run, Sink};
use reseed_terms::SpaceId;

use super::changed::is_unchanged;
use super::{Copied, Copier, Job, Outcome, SEGMENT, set_path};
use crate::base::BaseFile;
use crate::error::BackupError;
use crate::page_check::PageRules;
use crate::scan::{Found, Stamp};

/// An open file and how to read it.
pub(super) struct Open {
    pub file: DataFile,
    pub rules: Option<PageRules>,
    pub space: SpaceId,
    /// What the pages are compared with.
    pub base: Option<Arc<BaseFile>>,
    /// All of it is in the parent set.
    pub unchanged: bool,
}

/// One file while its segments are being copied.
pub(super) struct FileWork {
    pub job: Job,
    pub copy: FileCopy,
    pub size: u64,
    state: Mutex<State>,
}

struct State {
    open: Option<Arc<Open>>,
    tried: bool,
    left: u64,
    runs: Vec<Run>,
    ended: Option<u64>,
    format: Option<SpaceFormat>,
    before: Option<(Stamp, SystemTime)>,
    after: Option<Stamp>,
    parent: Option<RelPath>,
}

impl FileWork {
    pub fn new(sink: &dyn Sink, job: Job) -> Result<FileWork, BackupError> {
        let copy = sink.copy(&set_path(&job.found.path)?);
        let size = job.found.stamp.size;
        let state = State {
            open: None,
            tried: false,
            left: size.div_ceil(SEGMENT).max(1),
            runs: Vec::new(),
            ended: None,
            format: job.format,
            before: None,
            after: None,
            parent: None,
        };
        Ok(FileWork { job, copy, size, state: Mutex::new(state) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it at the first call; `None` when it is not there any more.
    pub fn open(&self, copier: &Copier<'_>) -> Result<Option<Arc<Open>>, BackupError> {
        let mut state = self.state();
        if state.tried {
            return Ok(state.open.clone());
        }
        state.tried = true;
        let found = &self.job.found;
        let mode = if found.is_innodb() { ReadMode::Sparing } else { ReadMode::Once };
        let opened = SystemTime::now();
        let file = match DataFile::open(&found.real, mode) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) if error.is_permission() => return Err(permission(found, error)),
            Err(error) => return Err(error.into()),
        };
        let stamp = Stamp::of(&file.metadata()?);
        if stamp.identity != found.stamp.identity {
            return Ok(None);
        }
        let rules = copier.page_rules(&file, &self.job)?;
        state.format = rules.as_ref().map(|rules| rules.format);
        state.before = Some((stamp, opened));
        let space = found.head.map_or_else(|| self.space_of_page(&file), |head| head.space);
        let base = self.job.base.as_ref().filter(|base| {
            let size = rules.as_ref().and_then(|rules| u32::try_from(rules.page_size()).ok());
            let flags = rules.as_ref().map(|rules| rules.format.flags());
            // What has become smaller was cut and begun anew.
            base.entry.page_size == size && base.entry.flags == flags && base.entry.size <= self.size
        });
        let unchanged = match base {
            Some(base) if !found.is_innodb() => is_unchanged(&file, &base.entry, copier.cancel())?,
            _ => false,
        };
        let base = base.filter(|_| unchanged || (found.is_innodb() && rules.is_some())).cloned();
        state.parent = base.as_ref().map(|base| base.entry.path.clone());
        let open = Arc::new(Open { file, rules, space, base, unchanged });
        state.open = Some(Arc::clone(&open));
        Ok(Some(open))
    }

    /// For error texts about files whose first page was not written when they were found.
    fn space_of_page(&self, file: &DataFile) -> SpaceId {
        let mut head = [0u8; 64];
        let _ = file.read_at(0, &mut head);
        fil::space_id(&head)
    }

    pub fn add(&self, runs: Vec<Run>, ended: Option<u64>) {
        let mut state = self.state();
        state.runs.extend(runs);
        state.ended = match (state.ended, ended) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    pub fn segment_done(&self) -> Result<(), BackupError> {
        let mut state = self.state();
        state.left = state.left.saturating_sub(1);
        if state.left == 0
            && let Some(open) = state.open.take()
        {
            state.after = Some(Stamp::of(&open.file.metadata()?));
        }
        Ok(())
    }

    pub fn finish(self) -> Result<Copied, BackupError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Job { found, first_page, kept, .. } = self.job;
        let mut runs = state.runs;
        runs.extend(kept.into_iter().flat_map(|kept| kept.runs));
        runs.sort_by_key(|run| run.at);
        let (outcome, before, after, opened) = match (state.before, state.after) {
            (Some((before, opened)), Some(after)) => {
                let outcome = state.ended.map_or(Outcome::Whole, |got| Outcome::Short { got });
                (outcome, before, after, opened)
            }
            _ => (Outcome::Vanished, found.stamp.clone(), found.stamp.clone(), SystemTime::UNIX_EPOCH),
        };
        let parent = state.parent;
        Ok(Copied { found, runs, format: state.format, first_page, parent, outcome, before, after, opened })
    }
}

fn permission(found: &Found, error: reseed_io::IoError) -> BackupError {
    match error {
        reseed_io::IoError::Os { source, .. } => BackupError::unreadable(&found.real, source),
        other => other.into(),
    }
}
