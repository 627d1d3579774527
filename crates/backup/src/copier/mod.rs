//! Copies files with several threads: large reads, every page checked, torn pages read again, long zeros left out.
//! Large files are cut into segments, so that one huge table keeps all threads busy.
//!
//! It must never decide what is copied, nor judge whether a copy still counts: it says what it met.

mod changed;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reseed_innodb::{PageError, PageSize, SpaceFormat, doublewrite_pages, encryption, fil, identify_page0};
use reseed_io::{AlignedBuf, Cancel, DataFile, Progress, Rate, ReadMode};
use reseed_repository::{FileCopy, PackSink, RelPath, RepositoryError, Run, Sink};
use reseed_terms::{Flavour, Lsn, PageNo, SpaceId};

use self::changed::{Changed, is_unchanged};
use crate::base::BaseFile;
use crate::error::{BackupError, Refusal};
use crate::newest::NewestPage;
use crate::page_check::PageRules;
use crate::scan::{Found, FoundKind, Stamp};

/// One read, and one run in the set.
const READ: usize = 2 << 20;
/// What one thread takes of a large file at a time. A multiple of every page size and of `READ`.
const SEGMENT: u64 = 64 << 20;
/// The system tablespace's page that says where the doublewrite pages are.
const TRX_SYS_PAGE: u64 = 5;
/// Pauses before a page that was not whole is read again. The server writes a page in far less than their sum.
const REREADS: [u64; 14] = [0, 1, 1, 2, 4, 8, 16, 32, 64, 100, 100, 100, 100, 100];

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

    /// Checks all pages of `part`, which was read at `offset`; pages that are not whole are read again into it. Gives
    /// the LSN of each; none of a page of zeros.
    fn check_pages(
        &self,
        open: &Open,
        rules: &PageRules,
        offset: u64,
        part: &mut [u8],
        lsns: &mut Vec<Option<Lsn>>,
    ) -> Result<(), BackupError> {
        lsns.clear();
        let size = rules.page_size();
        for (index, page) in part.chunks_exact_mut(size).enumerate() {
            let at = index * size;
            let no = rules.page_at(offset + at as u64);
            let state = match rules.check(page, no) {
                Ok(state) => state,
                Err(error) => {
                    self.read_again(&open.file, rules, offset + at as u64, page, open.space, error)?
                }
            };
            match state {
                Some(lsn) => self.newest.see(lsn, open.file.path(), no, open.space),
                None => page.fill(0),
            }
            lsns.push(state);
        }
        Ok(())
    }

    fn read_again(
        &self,
        file: &DataFile,
        rules: &PageRules,
        offset: u64,
        page: &mut [u8],
        space: SpaceId,
        first: PageError,
    ) -> Result<Option<Lsn>, BackupError> {
        let (mut error, no) = (first, rules.page_at(offset));
        // Direct reads want whole blocks, and small pages share one.
        let start = offset - offset % reseed_io::BLOCK as u64;
        let skip = usize::try_from(offset - start).unwrap_or_default();
        let mut block = AlignedBuf::new(skip + page.len());
        for pause in REREADS {
            self.rules.cancel.sleep(Duration::from_millis(pause))?;
            self.counters.rereads.fetch_add(1, Ordering::Relaxed);
            let got = file.read_at(start, &mut block)?;
            let Some(again) = block.get(skip..skip + page.len()).filter(|_| got >= skip + page.len()) else {
                // Cut off under our hands: what is gone is zeros, and the inventory will know why.
                page.fill(0);
                return Ok(None);
            };
            page.copy_from_slice(again);
            match rules.check(page, no) {
                Ok(state) => return Ok(state),
                Err(again) => error = again,
            }
        }
        Err(BackupError::CorruptPage {
            file: file.path().to_path_buf(),
            page: no.0,
            space,
            tries: u32::try_from(REREADS.len() + 1).unwrap_or(u32::MAX),
            source: error,
        })
    }

    /// Reads what decides how the pages of a file are to be checked. `None`: bytes, not pages.
    fn page_rules(&self, file: &DataFile, job: &Job) -> Result<Option<PageRules>, BackupError> {
        let found = &job.found;
        if !found.is_innodb() {
            return Ok(None);
        }
        let own = match found.kind {
            FoundKind::System { index: 1.. } => None,
            _ => self.identify(file, found)?,
        };
        let Some(format) = own.or(job.format) else { return Ok(None) };
        let mut rules = PageRules { format, first_page: job.first_page, blank: Vec::new() };
        if matches!(found.kind, FoundKind::System { index: 0 }) {
            let mut page = AlignedBuf::new(rules.page_size());
            let offset = TRX_SYS_PAGE * rules.format.physical().as_u64();
            let _ = file.read_at(offset, &mut page)?;
            let no = PageNo(u32::try_from(TRX_SYS_PAGE).unwrap_or_default());
            if let Err(error) = rules.check(&page, no) {
                self.read_again(file, &rules, offset, &mut page, SpaceId(0), error)?;
            }
            rules.blank = doublewrite_pages(&page, rules.format.physical());
        }
        Ok(Some(rules))
    }

    /// The format that page 0 tells; `None` while it is not written.
    fn identify(&self, file: &DataFile, found: &Found) -> Result<Option<SpaceFormat>, BackupError> {
        let mut head = AlignedBuf::new(PageSize::MAX.bytes());
        let mut last = None;
        for pause in REREADS {
            self.rules.cancel.sleep(Duration::from_millis(pause))?;
            let got = file.read_at(0, &mut head)?;
            let bytes = head.get(..got).unwrap_or_default();
            match identify_page0(bytes, self.rules.flavour) {
                Ok(Some(format)) => {
                    if encryption(bytes, &format).is_encrypted() {
                        let names = vec![found.path.display().to_string()];
                        return Err(BackupError::Refused {
                            server: self.rules.flavour.to_string(),
                            refusal: Refusal::EncryptedSpaces { names },
                        });
                    }
                    return Ok(Some(format));
                }
                Ok(None) => return Ok(None),
                // A file that is only just being made.
                Err(PageError::Length { .. }) if got < self.rules.page_size.bytes() => return Ok(None),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(source) => Err(BackupError::BadTablespace { file: found.real.clone(), source }),
            None => Ok(None),
        }
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

/// An open file and how to read it.
struct Open {
    file: DataFile,
    rules: Option<PageRules>,
    space: SpaceId,
    /// What the pages are compared with.
    base: Option<Arc<BaseFile>>,
    /// All of it is in the parent set.
    unchanged: bool,
}

/// One file while its segments are being copied.
struct FileWork {
    job: Job,
    copy: FileCopy,
    size: u64,
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
    fn new(sink: &dyn Sink, job: Job) -> Result<FileWork, BackupError> {
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
    fn open(&self, copier: &Copier<'_>) -> Result<Option<Arc<Open>>, BackupError> {
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

    fn add(&self, runs: Vec<Run>, ended: Option<u64>) {
        let mut state = self.state();
        state.runs.extend(runs);
        state.ended = match (state.ended, ended) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn segment_done(&self) -> Result<(), BackupError> {
        let mut state = self.state();
        state.left = state.left.saturating_sub(1);
        if state.left == 0
            && let Some(open) = state.open.take()
        {
            state.after = Some(Stamp::of(&open.file.metadata()?));
        }
        Ok(())
    }

    fn finish(self) -> Result<Copied, BackupError> {
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

pub(crate) fn set_path(path: &Path) -> Result<RelPath, BackupError> {
    RelPath::from_path(path)
        .map_err(|source| RepositoryError::Path { path: path.to_path_buf(), source }.into())
}

fn permission(found: &Found, error: reseed_io::IoError) -> BackupError {
    match error {
        reseed_io::IoError::Os { source, .. } => BackupError::unreadable(&found.real, source),
        other => other.into(),
    }
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
