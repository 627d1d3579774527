//! Copies files with several threads: large reads, every page checked, torn pages read again, long zeros left out.
//! Large files are cut into segments, so that one huge table keeps all threads busy.
//!
//! It must never decide what is copied, nor judge whether a copy still counts: it says what it met.

mod changed;
mod file;
mod pages;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use reseed_innodb::{PageSize, SpaceFormat};
use reseed_io::{AlignedBuf, Cancel, Progress, Rate};
use reseed_repository::{PackSink, RelPath, RepositoryError, Run, Sink};
use reseed_terms::Flavour;

use self::changed::Changed;
use self::file::FileWork;
use crate::base::BaseFile;
use crate::error::BackupError;
use crate::newest::NewestPage;
use crate::scan::{Found, FoundKind, Stamp};

/// One read, and one run in the set.
const READ: usize = 2 << 20;
/// What one thread takes of a large file at a time. A multiple of every page size and of `READ`.
const SEGMENT: u64 = 64 << 20;

/// A file to copy.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub found: Found,
    /// The format of a tablespace that its own first page does not tell: later files of the system tablespace, and
    /// files whose first page is not written yet.
    pub format: Option<SpaceFormat>,
    /// Number of the file's first page.
    pub first_page: u32,
    /// A stretch that an earlier copy has, and the runs that it has it in.
    pub kept: Option<Kept>,
    /// The same file in the set that this one builds on.
    pub base: Option<Arc<BaseFile>>,
}

/// What of an earlier copy still holds: whole reads only.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub range: Range<u64>,
    pub runs: Vec<Run>,
}

impl Kept {
    /// The part of `range` that consists of whole reads, with its runs.
    pub fn of(range: Range<u64>, runs: &[Run]) -> Option<Kept> {
        let step = READ as u64;
        let range = range.start.next_multiple_of(step)..range.end / step * step;
        let runs = runs.iter().filter(|run| range.contains(&run.at)).cloned().collect();
        (range.start < range.end).then_some(Kept { range, runs })
    }
}

/// What copying one file met.
#[derive(Debug)]
pub(crate) struct Copied {
    pub found: Found,
    /// In file order.
    pub runs: Vec<Run>,
    pub format: Option<SpaceFormat>,
    pub first_page: u32,
    /// Where in the parent set everything comes from that no run holds.
    pub parent: Option<RelPath>,
    pub outcome: Outcome,
    /// The file as it was when opened and when its last byte was read.
    pub before: Stamp,
    pub after: Stamp,
    pub opened: SystemTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Whole,
    /// Not there any more, or another file by that name.
    Vanished,
    /// Ended before the size it had.
    Short {
        got: u64,
    },
}

/// Counts over all copies of a backup.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub bytes_read: AtomicU64,
    pub rereads: AtomicU64,
}

/// How files are to be copied.
#[derive(Debug)]
pub(crate) struct CopyRules {
    pub flavour: Flavour,
    /// The server's.
    pub page_size: PageSize,
    pub threads: usize,
    pub rate: Rate,
    pub cancel: Cancel,
    /// How far the redo follower is behind the server, for whoever watches.
    pub lag: Arc<AtomicU64>,
}

/// The threads' common tools.
pub(crate) struct Copier<'a> {
    rules: CopyRules,
    packs: Vec<Mutex<Box<dyn PackSink>>>,
    progress: &'a dyn Progress,
    /// Somebody waits for a lock that we hold: the rate's limit is off.
    hurry: AtomicBool,
    pub counters: Counters,
    pub newest: NewestPage,
}

impl<'a> Copier<'a> {
    pub fn new(
        rules: CopyRules,
        sink: &dyn Sink,
        progress: &'a dyn Progress,
    ) -> Result<Copier<'a>, BackupError> {
        let packs = (0..rules.threads.max(1))
            .map(|_| Ok(Mutex::new(sink.pack()?)))
            .collect::<Result<_, BackupError>>()?;
        Ok(Copier {
            rules,
            packs,
            progress,
            hurry: AtomicBool::new(false),
            counters: Counters::default(),
            newest: NewestPage::default(),
        })
    }

    /// Closes the packs.
    pub fn finish(self) -> Result<Counters, BackupError> {
        for pack in self.packs {
            pack.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?;
        }
        Ok(self.counters)
    }

    /// From now on copies run as fast as they can: a lock is held.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    pub fn cancel(&self) -> &Cancel {
        &self.rules.cancel
    }

    /// Copies all of them, the largest first, and returns them in the order given.
    pub fn copy(&self, sink: &dyn Sink, jobs: Vec<Job>) -> Result<Vec<Copied>, BackupError> {
        let files: Vec<FileWork> =
            jobs.into_iter().map(|job| FileWork::new(sink, job)).collect::<Result<_, _>>()?;
        let segments = segments(&files);
        let next = AtomicUsize::new(0);
        let threads = self.packs.len().min(segments.len());
        std::thread::scope(|scope| {
            let workers: Vec<_> = self
                .packs
                .iter()
                .take(threads)
                .map(|pack| {
                    let (files, segments, next) = (&files, &segments, &next);
                    std::thread::Builder::new().name("copier".to_owned()).spawn_scoped(scope, move || {
                        let result = self.work(pack, files, segments, next);
                        if result.is_err() {
                            // The others need not finish what will not be published.
                            next.store(usize::MAX / 2, Ordering::Relaxed);
                        }
                        result
                    })
                })
                .collect();
            let mut first = Ok(());
            for worker in workers {
                let result = match worker {
                    Ok(handle) => handle.join().unwrap_or(Err(BackupError::Thread { thread: "copier" })),
                    Err(source) => Err(BackupError::unreadable("thread".as_ref(), source)),
                };
                if first.is_ok() {
                    first = result;
                }
            }
            first
        })?;
        files.into_iter().map(FileWork::finish).collect()
    }

    fn work(
        &self,
        pack: &Mutex<Box<dyn PackSink>>,
        files: &[FileWork],
        segments: &[Segment],
        next: &AtomicUsize,
    ) -> Result<(), BackupError> {
        let mut pack = pack.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = AlignedBuf::new(READ);
        while let Some(segment) = segments.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.rules.cancel.check()?;
            let Some(work) = files.get(segment.file) else { continue };
            self.segment(pack.as_mut(), &mut buffer, work, segment)?;
        }
        Ok(())
    }

    fn segment(
        &self,
        pack: &mut dyn PackSink,
        buffer: &mut AlignedBuf,
        work: &FileWork,
        segment: &Segment,
    ) -> Result<(), BackupError> {
        if let Some(open) = work.open(self)?.filter(|open| !open.unchanged) {
            let mut runs = Vec::new();
            let mut lsns = Vec::new();
            let mut offset = segment.start;
            let mut ended = None;
            while offset < segment.end {
                let want = usize::try_from(segment.end - offset).unwrap_or(READ).min(READ);
                if work.job.kept.as_ref().is_some_and(|kept| kept.range.contains(&offset)) {
                    offset += want as u64;
                    continue;
                }
                if self.hurry.load(Ordering::Relaxed) {
                    self.rules.cancel.check()?;
                } else {
                    self.rules.rate.take(want as u64, &self.rules.cancel)?;
                }
                let Some(part) = buffer.get_mut(..want) else { break };
                let got = open.file.read_at(offset, part)?;
                self.counters.bytes_read.fetch_add(got as u64, Ordering::Relaxed);
                let whole = match &open.rules {
                    Some(rules) => got - got % rules.page_size(),
                    None => got,
                };
                let Some(part) = part.get_mut(..whole) else { break };
                if let Some(rules) = &open.rules {
                    self.check_pages(&open, rules, offset, part, &mut lsns)?;
                }
                match (&open.base, &open.rules) {
                    (Some(base), Some(rules)) => {
                        let changed = Changed { base, page_size: rules.page_size(), lsns: &lsns };
                        if let Some(at) = changed.surprise(offset, part) {
                            return Err(BackupError::NotAsBefore {
                                file: open.file.path().to_path_buf(),
                                page: rules.page_at(at).0,
                                space: open.space,
                            });
                        }
                        changed.append(pack, &work.copy, offset, part, &mut runs)?;
                    }
                    _ => pack.append(&work.copy, offset, part, &mut runs)?,
                }
                self.progress.advance(want as u64);
                self.progress.gauge("redo lag", self.rules.lag.load(Ordering::Relaxed));
                if got < want {
                    ended = Some(offset + got as u64);
                    break;
                }
                offset += want as u64;
            }
            work.add(runs, ended);
        }
        work.segment_done()
    }
}

/// Part of a file, taken by one thread.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    file: usize,
    start: u64,
    end: u64,
}

/// The largest file first, so that the last one to end is a small one; a file's segments in their order.
fn segments(files: &[FileWork]) -> Vec<Segment> {
    let mut order: Vec<usize> = (0..files.len()).collect();
    let size = |index: &usize| files.get(*index).map_or(0, |work| work.size);
    order.sort_by_key(|index| std::cmp::Reverse(size(index)));
    let mut segments = Vec::new();
    for file in order {
        let size = size(&file);
        let mut start = 0;
        loop {
            let end = (start + SEGMENT).min(size);
            segments.push(Segment { file, start, end });
            start = end;
            if start >= size {
                break;
            }
        }
    }
    segments
}

pub(crate) fn set_path(path: &Path) -> Result<RelPath, BackupError> {
    RelPath::from_path(path)
        .map_err(|source| RepositoryError::Path { path: path.to_path_buf(), source }.into())
}

/// Number of the first page of each file of the system tablespace, by the sizes of the files before it.
pub(crate) fn first_pages(files: &[Found], page: PageSize) -> HashMap<usize, u32> {
    let mut system: Vec<(usize, u64)> = files
        .iter()
        .filter_map(|file| match file.kind {
            FoundKind::System { index } => Some((index, file.stamp.size)),
            _ => None,
        })
        .collect();
    system.sort_unstable();
    let mut first = 0u64;
    let mut pages = HashMap::new();
    for (index, size) in system {
        pages.insert(index, u32::try_from(first).unwrap_or(u32::MAX));
        first += size / page.as_u64();
    }
    pages
}

#[cfg(test)]
mod tests;
