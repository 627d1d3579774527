//! Tells what of a file the parent set has already.

use reseed_io::{AlignedBuf, Cancel, DataFile};
use reseed_repository::{FileCopy, FileEntry, FileKind, Hash128, Hasher, MAX_RUN, PackSink, Run};
use reseed_terms::{Lsn, PageNo};

use super::READ;
use crate::base::BaseFile;
use crate::error::BackupError;

/// Bytes of one run of pages, at most. A chain is restored from the newest copies, and a run is read as a whole or not at
/// all: the smaller it is, the sooner newer sets have replaced all of it. Below this each run's own header weighs more.
const PAGES_RUN: usize = 64 << 10;

/// The pages of one read, of a file that the parent set has too.
pub(super) struct Changed<'a> {
    pub base: &'a BaseFile,
    pub page_size: usize,
    /// Of each page; none of a page of zeros.
    pub lsns: &'a [Option<Lsn>],
}

impl Changed<'_> {
    /// Stores those that the parent set does not have as they are.
    pub fn append(
        &self,
        pack: &mut dyn PackSink,
        copy: &FileCopy,
        offset: u64,
        part: &mut [u8],
        runs: &mut Vec<Run>,
    ) -> Result<(), BackupError> {
        let size = self.page_size as u64;
        let mut pages = Vec::new();
        let mut filled = 0;
        for (index, lsn) in self.lsns.iter().enumerate() {
            let at = offset + index as u64 * size;
            if !self.base.differs(at, size, *lsn) {
                continue;
            }
            let from = index * self.page_size;
            part.copy_within(from..from + self.page_size, filled);
            filled += self.page_size;
            pages.push(PageNo(u32::try_from(at / size).unwrap_or(u32::MAX)));
        }
        let bytes = part.get(..filled).unwrap_or_default();
        let each = (PAGES_RUN / self.page_size).max(1);
        for (pages, bytes) in pages.chunks(each).zip(bytes.chunks(each * self.page_size)) {
            runs.push(pack.append_pages(copy, self.stored_page_size(), pages, bytes)?);
        }
        Ok(())
    }
}

impl Changed<'_> {
    fn stored_page_size(&self) -> u32 {
        u32::try_from(self.page_size).unwrap_or(u32::MAX)
    }

    /// Looks whether pages that need not be stored, by their LSNs, are those that the parent set has: the place of a run
    /// that has others. Only runs that are the newest of all their pages, and no page of which is stored now, can be
    /// compared.
    pub fn surprise(&self, offset: u64, part: &[u8]) -> Option<u64> {
        let size = self.page_size as u64;
        let end = offset + part.len() as u64;
        let runs = &self.base.entry.runs;
        // No run is longer than that, so that earlier ones do not reach here.
        let from = runs.partition_point(|run| run.at < offset.saturating_sub(MAX_RUN as u64));
        let rest = runs.get(from..).unwrap_or_default();
        let near = rest.get(..rest.partition_point(|run| run.at < end)).unwrap_or_default();
        let mut newest: Vec<Option<u32>> = vec![None; self.lsns.len()];
        for run in near {
            for page in self.pages(run, offset, size) {
                if let Some(newest) = newest.get_mut(page) {
                    *newest = (*newest).max(Some(run.pack));
                }
            }
        }
        let unchanged = |page: usize| {
            self.lsns.get(page).is_some_and(|lsn| lsn.is_some_and(|lsn| lsn < self.base.checkpoint))
        };
        // A server that is shut down leaves a mark in the first page of the system tablespace without an LSN.
        let marked = |run: &Run| self.base.entry.kind == FileKind::SystemTablespace && run.at < size;
        near.iter()
            .filter(|run| run.at >= offset && run.end(Some(self.stored_page_size())) <= end && !marked(run))
            .find(|run| {
                let is_newest = |page| newest.get(page).is_some_and(|newest| *newest == Some(run.pack));
                self.pages(run, offset, size).all(|page| is_newest(page) && unchanged(page))
                    && self.hash(run, offset, part) != Some(run.hash)
            })
            .map(|run| run.at)
    }

    /// The pages that a run has a part of, as they are numbered in the read at `offset`; those before it are left out.
    fn pages(&self, run: &Run, offset: u64, size: u64) -> impl Iterator<Item = usize> {
        let pieces: Vec<(u64, std::ops::Range<usize>)> = run.pieces(Some(self.stored_page_size())).collect();
        pieces.into_iter().flat_map(move |(at, bytes)| {
            let end = at.saturating_add(bytes.len() as u64).saturating_sub(offset).div_ceil(size);
            let start = at.saturating_sub(offset) / size;
            (start..end).filter_map(|page| usize::try_from(page).ok())
        })
    }

    /// Of the bytes that the file has now where the run's belong.
    fn hash(&self, run: &Run, offset: u64, part: &[u8]) -> Option<Hash128> {
        let mut hasher = Hasher::new();
        for (at, bytes) in run.pieces(Some(self.stored_page_size())) {
            let start = usize::try_from(at.checked_sub(offset)?).ok()?;
            hasher.update(part.get(start..start.checked_add(bytes.len())?)?);
        }
        Some(hasher.hash())
    }
}

/// Whether a file without pages holds the very bytes that the parent set has of it.
pub(super) fn is_unchanged(file: &DataFile, then: &FileEntry, cancel: &Cancel) -> Result<bool, BackupError> {
    if file.len()? != then.size {
        return Ok(false);
    }
    let mut buffer = AlignedBuf::new(READ);
    let mut runs = then.runs.iter().peekable();
    let mut offset = 0;
    while offset < then.size {
        cancel.check()?;
        let got = file.read_at(offset, &mut buffer)?;
        let part = buffer.get(..got).unwrap_or_default();
        if got == 0 || !same(part, offset, &mut runs) {
            return Ok(false);
        }
        offset += got as u64;
    }
    Ok(runs.next().is_none())
}

/// Compares one read with the runs that begin in it; what no run holds must be zeros.
fn same<'r>(part: &[u8], offset: u64, runs: &mut std::iter::Peekable<impl Iterator<Item = &'r Run>>) -> bool {
    let end = offset + part.len() as u64;
    let mut checked = 0;
    while let Some(run) = runs.next_if(|run| run.at < end) {
        let start = run.at.checked_sub(offset).and_then(|start| usize::try_from(start).ok());
        let Some(start) = start.filter(|start| *start >= checked && run.pages.is_none()) else {
            return false;
        };
        let stop = start.saturating_add(run.raw as usize);
        let (Some(gap), Some(bytes)) = (part.get(checked..start), part.get(start..stop)) else {
            return false;
        };
        if gap.iter().any(|byte| *byte != 0) || Hash128::of(bytes) != run.hash {
            return false;
        }
        checked = stop;
    }
    part.get(checked..).is_none_or(|rest| rest.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseed_repository::{FileKind, Hash64, RelPath};

    fn entry(size: u64, runs: &[(u64, &[u8])]) -> FileEntry {
        let runs = runs.iter().map(|(at, bytes)| Run {
            pack: 0,
            offset: 0,
            stored: 1,
            head: 0,
            at: *at,
            raw: bytes.len() as u32,
            hash: Hash128::of(bytes),
            stored_hash: Hash64(0),
            pages: None,
        });
        FileEntry {
            size,
            runs: runs.collect(),
            ..FileEntry::new(RelPath::new("t.MYD").unwrap(), FileKind::Other)
        }
    }

    #[test]
    fn only_the_very_same_bytes_are_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.MYD");
        let mut bytes = vec![0u8; READ + 9000];
        bytes[10] = 1;
        bytes[READ + 8192] = 2;
        std::fs::write(&path, &bytes).unwrap();
        let file = DataFile::open(&path, reseed_io::ReadMode::Once).unwrap();
        let same = |entry: &FileEntry| is_unchanged(&file, entry, &Cancel::new()).unwrap();
        let size = bytes.len() as u64;
        let (one, two) = (&bytes[..4096], &bytes[READ + 8192..]);
        let whole = entry(size, &[(0, one), (READ as u64 + 8192, two)]);
        assert!(same(&whole));
        assert!(!same(&entry(size - 1, &[(0, one), (READ as u64 + 8192, two)])));
        assert!(!same(&entry(size, &[(0, one)])), "what no run holds is not zeros");
        assert!(!same(&entry(size, &[(0, one), (READ as u64, &[0; 9])])), "another's hash");
        let mut other = whole.clone();
        other.runs[1].hash = Hash128(1);
        assert!(!same(&other));
    }
}
