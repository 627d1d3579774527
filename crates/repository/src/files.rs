//! What a set says about each file: the lines of `files.jsonl.zst`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use reseed_terms::SpaceId;

use crate::hash::{Hash64, Hash128};
use crate::path::{AbsPath, RelPath};

/// The most raw bytes that one run holds.
pub const MAX_RUN: usize = 4 << 20;
/// The most bytes that one run can take in a pack: tar header and zstd's bound for data that does not compress.
pub const MAX_STORED: u32 = (MAX_RUN + MAX_RUN / 128 + (16 << 10)) as u32;
/// Pages of this size and its doublings are known.
const MIN_PAGE: u32 = 1 << 10;
const MAX_PAGE: u32 = 1 << 16;

/// What restore must treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A file of InnoDB's system tablespace (`ibdata1`, ...), or MySQL's `mysql.ibd` is [`FileKind::Tablespace`].
    SystemTablespace,
    UndoTablespace,
    /// Every other InnoDB tablespace.
    Tablespace,
    /// Aria's log and its control file: only of use together.
    AriaLog,
    /// Copied as it was under the lock: .frm, MyISAM, Aria tables, CSV, ARCHIVE, triggers, db.opt, ...
    Other,
    /// A directory, listed because it may be empty.
    Directory,
}

impl FileKind {
    /// InnoDB pages, to which redo is applied.
    pub fn has_pages(self) -> bool {
        matches!(self, FileKind::SystemTablespace | FileKind::UndoTablespace | FileKind::Tablespace)
    }
}

/// One file of the datadir (or that belongs to it) as it is to be after restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where it lies, relative to the datadir. Files from outside have the path that they are restored to unless
    /// their old place is wanted.
    pub path: RelPath,
    pub kind: FileKind,
    /// Where it really lay, when that was outside the datadir.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<AbsPath>,
    /// It was reached through this symbolic link's target. Recorded, never followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<AbsPath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space_id: Option<SpaceId>,
    /// The FSP flags of its first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<u32>,
    /// Physical page size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
    /// Number of its first page within the tablespace: not 0 for later files of the system tablespace.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_page: u32,
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Which file it was: another one by the same name is not what an incremental set may build on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Incremental sets: the path, in the parent set, of the entry from which everything comes that no run here
    /// holds. Without it, what no run holds is zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RelPath>,
    /// In order of `file_offset`, without overlap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What tells a file from every other one of its file system, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970, where the file system knows: numbers are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
}

/// A stretch of a file's bytes, stored in one place. The hash is over the raw bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Number of the pack. In a stream: number of the copy of the file that the run belongs to.
    pub pack: u32,
    /// Where the run's tar header starts in the pack. In a stream: the run's number, counted from 0.
    pub offset: u64,
    /// Stored bytes: tar header, data, padding.
    pub stored: u32,
    /// How many of the stored bytes are the tar header.
    pub head: u32,
    /// Where the bytes belong in the file; with `pages`, where the first page belongs.
    pub at: u64,
    /// Raw bytes.
    pub raw: u32,
    pub hash: Hash128,
    /// Over the stored bytes that `hash` does not cover. zstd: all of them, so that nothing reaches the decompressor
    /// that was not written by the compressor. Not compressed: the tar header and the padding.
    pub stored_hash: Hash64,
    /// The pages whose images follow each other in the run; absent where the run is one stretch of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<PageList>,
}

/// Page numbers (within the file, from 0) in ascending order, as pairs of first number and count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageList(Vec<(u32, u32)>);

/// Why an entry of an index is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("page size {0} is none of InnoDB's")]
    PageSize(u32),
    #[error("a directory has no bytes")]
    Directory,
    #[error("run at {at}: {problem}")]
    Run { at: u64, problem: RunProblem },
}

/// What is wrong with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RunProblem {
    #[error("it holds nothing, or more than a run may")]
    Length,
    #[error("its stored length cannot be")]
    Stored,
    #[error("it reaches past the end of the file")]
    PastEnd,
    #[error("it overlaps the one before it, or comes before it")]
    Order,
    #[error("its page list does not fit")]
    Pages,
}

impl Run {
    /// Where its bytes belong: offsets in the file, each with the part of the run's raw bytes.
    pub fn pieces(&self, page_size: Option<u32>) -> impl Iterator<Item = (u64, Range<usize>)> + '_ {
        let size = u64::from(page_size.unwrap_or(0));
        let whole = self.pages.is_none().then_some((self.at, 0..self.raw as usize));
        let stretches = self.pages.as_ref().map_or(&[][..], PageList::stretches);
        let mut taken = 0usize;
        let parts = stretches.iter().map(move |&(first, count)| {
            let start = taken;
            taken = taken.saturating_add(usize::try_from(u64::from(count) * size).unwrap_or(usize::MAX));
            (u64::from(first) * size, start..taken)
        });
        whole.into_iter().chain(parts)
    }

    /// Where the last of its bytes ends.
    pub fn end(&self, page_size: Option<u32>) -> u64 {
        self.pieces(page_size).last().map_or(self.at, |(at, part)| at.saturating_add(part.len() as u64))
    }
}

impl PageList {
    /// From ascending page numbers. `None` when they are not ascending.
    pub fn from_numbers(pages: impl IntoIterator<Item = u32>) -> Option<PageList> {
        let mut list: Vec<(u32, u32)> = Vec::new();
        let mut least = 0_u64;
        for page in pages {
            if u64::from(page) < least {
                return None;
            }
            match list.last_mut() {
                Some((_, count)) if least == u64::from(page) => *count += 1,
                _ => list.push((page, 1)),
            }
            least = u64::from(page) + 1;
        }
        Some(PageList(list))
    }

    /// All numbers, in order. Bounded by [`FileEntry::check`] for lists that were read.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|&(first, count)| (0..count).map(move |i| first.saturating_add(i)))
    }

    /// How many pages.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&(_, count)| u64::from(count)).sum()
    }

    /// Pairs of first number and count.
    pub fn stretches(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Ascending, without overlap or empty pair; gives first number and one past the last.
    fn bounds(&self) -> Option<(u32, u64)> {
        let first = self.0.first()?.0;
        let mut end = u64::from(first);
        for &(start, count) in &self.0 {
            if count == 0 || u64::from(start) < end {
                return None;
            }
            end = u64::from(start) + u64::from(count);
        }
        Some((first, end))
    }
}

impl FileEntry {
    /// An entry with nothing but its name and kind.
    pub fn new(path: RelPath, kind: FileKind) -> FileEntry {
        FileEntry {
            path,
            kind,
            outside: None,
            link: None,
            space_id: None,
            flags: None,
            page_size: None,
            first_page: 0,
            size: 0,
            mode: 0o640,
            origin: None,
            parent: None,
            runs: Vec::new(),
        }
    }

    /// Checks everything that the types do not: nobody need trust an entry that was read and checked.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self) -> Result<(), EntryError> {
        if let Some(size) = self.page_size
            && !(size.is_power_of_two() && (MIN_PAGE..=MAX_PAGE).contains(&size))
        {
            return Err(EntryError::PageSize(size));
        }
        if self.kind == FileKind::Directory && (self.size != 0 || !self.runs.is_empty()) {
            return Err(EntryError::Directory);
        }
        let mut free_from = 0;
        for run in &self.runs {
            let problem = |problem| EntryError::Run { at: run.at, problem };
            free_from = self.check_run(run, free_from).map_err(problem)?;
        }
        Ok(())
    }

    /// Gives the file offset at which the run ends.
    fn check_run(&self, run: &Run, free_from: u64) -> Result<u64, RunProblem> {
        if run.raw == 0 || run.raw as usize > MAX_RUN {
            return Err(RunProblem::Length);
        }
        if run.stored > MAX_STORED || run.head >= run.stored {
            return Err(RunProblem::Stored);
        }
        if run.at < free_from {
            return Err(RunProblem::Order);
        }
        let end = match &run.pages {
            None => run.at.checked_add(u64::from(run.raw)),
            Some(pages) => {
                let size = u64::from(self.page_size.ok_or(RunProblem::Pages)?);
                let (first, end) = pages.bounds().ok_or(RunProblem::Pages)?;
                let span = (end - u64::from(first)).saturating_mul(size);
                if u64::from(first) * size != run.at
                    || pages.count() * size != u64::from(run.raw)
                    || span > MAX_RUN as u64
                {
                    return Err(RunProblem::Pages);
                }
                end.checked_mul(size)
            }
        };
        end.filter(|end| *end <= self.size).ok_or(RunProblem::PastEnd)
    }

    /// Raw bytes in its runs.
    pub fn raw_bytes(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.raw)).sum()
    }

    /// Stored bytes of its runs.
    pub fn stored_bytes(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.stored)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(at: u64, raw: u32) -> Run {
        Run {
            pack: 0,
            offset: 0,
            stored: 100,
            head: 50,
            at,
            raw,
            hash: Hash128(1),
            stored_hash: Hash64(2),
            pages: None,
        }
    }

    fn entry(size: u64, runs: Vec<Run>) -> FileEntry {
        let path = RelPath::new("a/b.ibd").unwrap();
        FileEntry { size, runs, page_size: Some(16384), ..FileEntry::new(path, FileKind::Tablespace) }
    }

    #[test]
    fn runs_are_checked() {
        let check = |size, runs| match entry(size, runs).check() {
            Ok(()) => None,
            Err(EntryError::Run { problem, .. }) => Some(problem),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(check(100, vec![run(0, 50), run(60, 40)]), None);
        assert_eq!(check(100, vec![run(0, 50), run(40, 40)]), Some(RunProblem::Order));
        assert_eq!(check(100, vec![run(50, 10), run(0, 10)]), Some(RunProblem::Order));
        assert_eq!(check(100, vec![run(60, 41)]), Some(RunProblem::PastEnd));
        assert_eq!(check(100, vec![run(u64::MAX, 2)]), Some(RunProblem::PastEnd));
        assert_eq!(check(100, vec![run(0, 0)]), Some(RunProblem::Length));
        assert_eq!(check(u64::MAX, vec![run(0, u32::MAX)]), Some(RunProblem::Length));
        assert_eq!(check(100, vec![Run { stored: u32::MAX, ..run(0, 9) }]), Some(RunProblem::Stored));
        assert_eq!(check(100, vec![Run { head: 100, ..run(0, 9) }]), Some(RunProblem::Stored));
        let pages = |list: Vec<(u32, u32)>, at, raw| Run { pages: Some(PageList(list)), ..run(at, raw) };
        let size = 100 * 16384;
        assert_eq!(check(size, vec![pages(vec![(3, 2), (90, 1)], 3 * 16384, 3 * 16384)]), None);
        assert_eq!(check(size, vec![pages(vec![(3, 2)], 0, 2 * 16384)]), Some(RunProblem::Pages));
        assert_eq!(check(size, vec![pages(vec![(3, 2)], 3 * 16384, 16384)]), Some(RunProblem::Pages));
        assert_eq!(
            check(size, vec![pages(vec![(3, 2), (4, 1)], 3 * 16384, 3 * 16384)]),
            Some(RunProblem::Pages)
        );
        assert_eq!(check(size, vec![pages(vec![], 0, 16384)]), Some(RunProblem::Pages));
        assert_eq!(check(size, vec![pages(vec![(u32::MAX, u32::MAX)], 0, 16384)]), Some(RunProblem::Pages));
        assert_eq!(check(size, vec![pages(vec![(100, 1)], size, 16384)]), Some(RunProblem::PastEnd));
        let odd = FileEntry { page_size: Some(5000), ..entry(1, vec![]) };
        assert_eq!(odd.check(), Err(EntryError::PageSize(5000)));
    }

    #[test]
    fn page_lists() {
        let list = PageList::from_numbers([1, 2, 3, 7, 9, 10]).unwrap();
        assert_eq!(list.stretches(), [(1, 3), (7, 1), (9, 2)]);
        assert_eq!(list.iter().collect::<Vec<_>>(), [1, 2, 3, 7, 9, 10]);
        assert_eq!(list.count(), 6);
        assert_eq!(PageList::from_numbers([2, 2]), None);
        assert_eq!(PageList::from_numbers([2, 1]), None);
        assert_eq!(PageList::from_numbers([u32::MAX]).unwrap().iter().collect::<Vec<_>>(), [u32::MAX]);
    }

    #[test]
    fn a_line_is_small_and_strict() {
        let entry = entry(16384, vec![run(0, 16384)]);
        let line = serde_json::to_string(&entry).unwrap();
        assert!(!line.contains("null") && !line.contains('\n'), "{line}");
        assert_eq!(serde_json::from_str::<FileEntry>(&line).unwrap(), entry);
        assert!(serde_json::from_str::<FileEntry>(&line.replace("\"mode\"", "\"mood\"")).is_err());
        assert!(serde_json::from_str::<FileEntry>(&line.replace("a/b.ibd", "../b.ibd")).is_err());
    }
}
