//! Reads a set to its last byte without writing one: every run against its hash, every page against its checksum
//! and number, and its LSN against the end of the redo; and the redo itself, mini-transaction by mini-transaction.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use reseed_innodb::{PageError, PageState, SpaceFormat, check_page, doublewrite_pages};
use reseed_io::{Cancel, Progress};
use reseed_redo::{PageId, PageNo, SpaceId};
use reseed_repository::{FileEntry, FileKind};
use reseed_terms::Flavour;

use crate::changes::Census;
use crate::error::RestoreError;
use crate::load::read_through;
use crate::pages::segments::{Segment, segments};
use crate::source::{ReadRun, Source};

/// A page that is not as it should be.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {page}: {problem}")]
pub struct BadPage {
    pub path: String,
    pub page: PageId,
    pub problem: PageError,
}

/// What was read.
#[derive(Debug, Default)]
pub struct VerifiedPages {
    pub files: u64,
    pub bytes: u64,
    pub pages: u64,
    /// Page changes in the redo.
    pub redo_records: u64,
    /// The first of them, up to a limit, in no order.
    pub bad: Vec<BadPage>,
    pub bad_count: u64,
}

/// Bad pages that are listed one by one.
const LISTED: usize = 100;

/// Reads everything. A bad page is counted and the reading goes on; anything else ends it.
///
/// # Errors
/// A run or the redo that is not as it was written, or cannot be read.
pub fn verify_pages(
    source: &dyn Source,
    threads: usize,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<VerifiedPages, RestoreError> {
    let manifest = source.manifest();
    let mut census = Census::new(manifest.capture.checkpoint);
    progress.start("redo", Some(manifest.capture.bytes));
    let check = Census::check;
    read_through(
        source.redo()?,
        &manifest.capture,
        Path::new("the redo"),
        progress,
        cancel,
        &mut census,
        check,
    )?;
    progress.finish();
    let files = source.files();
    progress.start("pages", Some(files.iter().map(FileEntry::raw_bytes).sum()));
    let next = AtomicUsize::new(0);
    let all: Mutex<Result<VerifiedPages, RestoreError>> = Mutex::new(Ok(VerifiedPages::default()));
    let job = Job { source, progress, cancel, formats: formats(files, manifest.server.version.flavour) };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let result = job.work(&next);
                if result.is_err() {
                    next.store(files.len(), Ordering::Relaxed);
                }
                let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match (&mut *all, result) {
                    (Ok(sum), Ok(part)) => sum.add(part),
                    (Ok(_), Err(error)) => *all = Err(error),
                    (Err(_), _) => {}
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)?;
    progress.finish();
    all.redo_records = census.records();
    Ok(all)
}

impl VerifiedPages {
    fn add(&mut self, mut other: VerifiedPages) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.pages += other.pages;
        self.bad_count += other.bad_count;
        self.bad.append(&mut other.bad);
        self.bad.truncate(LISTED);
    }
}

/// By tablespace, as the list of files says: the first page of a later file of the system tablespace says nothing.
fn formats(files: &[FileEntry], flavour: Flavour) -> HashMap<SpaceId, SpaceFormat> {
    let known = files.iter().filter_map(|file| {
        let format = SpaceFormat::from_flags(file.flags?, flavour).ok()?;
        (file.first_page == 0).then_some((file.space_id?, format))
    });
    known.collect()
}

struct Job<'s> {
    source: &'s dyn Source,
    progress: &'s dyn Progress,
    cancel: &'s Cancel,
    formats: HashMap<SpaceId, SpaceFormat>,
}

impl Job<'_> {
    fn work(&self, next: &AtomicUsize) -> Result<VerifiedPages, RestoreError> {
        let mut sum = VerifiedPages::default();
        let mut reader = self.source.reader()?;
        let mut run = Vec::new();
        let mut bytes = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = self.source.files().get(at) else { return Ok(sum) };
            sum.files += u64::from(file.kind != FileKind::Directory);
            let format =
                file.space_id.and_then(|space| self.formats.get(&space)).filter(|_| file.kind.has_pages());
            let mut skipped = Vec::new();
            for segment in segments(file, format.map(|_| 1 << 32))? {
                self.cancel.check()?;
                let read = self.read(file, &segment, reader.as_mut(), &mut run, &mut bytes)?;
                sum.bytes += read;
                self.progress.advance(read);
                if let (Some(format), Some(space)) = (format, file.space_id) {
                    skipped.extend(doublewrite(space, &segment, &bytes, format));
                    self.pages(file, space, format, &segment, &bytes, &skipped, &mut sum)?;
                }
            }
        }
    }

    fn read(
        &self,
        file: &FileEntry,
        segment: &Segment,
        reader: &mut dyn ReadRun,
        run: &mut Vec<u8>,
        bytes: &mut Vec<u8>,
    ) -> Result<u64, RestoreError> {
        bytes.clear();
        bytes.resize(usize::try_from(segment.bytes.end - segment.bytes.start).unwrap_or(0), 0);
        let mut read = 0;
        for of in segment.runs_by_age(file) {
            reader.read(file, of, run)?;
            read += run.len() as u64;
            segment.put(file, of, run, bytes);
        }
        Ok(read)
    }

    #[allow(clippy::too_many_arguments)]
    fn pages(
        &self,
        file: &FileEntry,
        space: SpaceId,
        format: &SpaceFormat,
        segment: &Segment,
        bytes: &[u8],
        skipped: &[std::ops::Range<PageNo>],
        sum: &mut VerifiedPages,
    ) -> Result<(), RestoreError> {
        let end = self.source.manifest().capture.end;
        for (number, page) in (segment.pages.start..).zip(bytes.chunks(format.physical().bytes())) {
            let number = PageNo(u32::try_from(number).unwrap_or(u32::MAX));
            if skipped.iter().any(|range| range.contains(&number)) {
                continue;
            }
            sum.pages += 1;
            let id = PageId { space, page: number };
            match check_page(page, format, number) {
                Ok(PageState::Valid { lsn }) if lsn > end => {
                    let path = file.path.to_string();
                    return Err(RestoreError::PageFromFuture { path, page: id, lsn, end });
                }
                Ok(_) => {}
                Err(problem) => {
                    sum.bad_count += 1;
                    if sum.bad.len() < LISTED {
                        sum.bad.push(BadPage { path: file.path.to_string(), page: id, problem });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Pages of the system tablespace that hold copies of other pages; page 5 names them.
fn doublewrite(
    space: SpaceId,
    segment: &Segment,
    bytes: &[u8],
    format: &SpaceFormat,
) -> Vec<std::ops::Range<PageNo>> {
    let size = format.physical().bytes();
    if space.0 != 0 || segment.pages.start != 0 {
        return Vec::new();
    }
    match bytes.get(5 * size..6 * size) {
        Some(page5) => doublewrite_pages(page5, format.physical()),
        None => Vec::new(),
    }
}
