//! A file cut into pieces that are written by one worker each: a run (or several that share a page, or that a chain
//! has of the same pages) and the pages up to the next one.

use std::ops::Range;

use reseed_repository::{FileEntry, MAX_RUN, Run};

use crate::error::RestoreError;

/// Files that are not InnoDB's are cut as if they had pages of this size.
const PLAIN: u64 = 1;

/// Runs that overlap lie within stretches far shorter than this: no index makes us take more memory.
const LONGEST: u64 = 8 * MAX_RUN as u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Positions in the entry's runs; may be empty.
    pub runs: Range<usize>,
    /// Bytes of the file that the runs cover, widened to whole pages.
    pub bytes: Range<u64>,
    /// Page numbers within the tablespace for whose redo this segment is responsible.
    pub pages: Range<u64>,
}

impl Segment {
    /// Puts a run's bytes where they belong in `bytes`, which are the segment's.
    pub fn put(&self, entry: &FileEntry, run: &Run, raw: &[u8], bytes: &mut [u8]) {
        for (at, part) in run.pieces(entry.page_size) {
            let start = at.checked_sub(self.bytes.start).and_then(|at| usize::try_from(at).ok());
            let place = start.and_then(|start| bytes.get_mut(start..start.checked_add(part.len())?));
            if let (Some(place), Some(part)) = (place, raw.get(part)) {
                place.copy_from_slice(part);
            }
        }
    }

    /// The segment's runs in the order in which they were written, which is that of the packs of a chain: what comes
    /// later replaces what came before.
    pub fn runs_by_age<'e>(&self, entry: &'e FileEntry) -> Vec<&'e Run> {
        let mut runs: Vec<&Run> = entry.runs.get(self.runs.clone()).unwrap_or_default().iter().collect();
        runs.sort_by_key(|run| run.pack);
        runs
    }
}

/// Cuts a file. `end`: for a file with pages, the page number within the tablespace at which the next file begins.
///
/// # Errors
/// When the entry has pages but no page size, though it has bytes.
pub fn segments(entry: &FileEntry, end: Option<u64>) -> Result<Vec<Segment>, RestoreError> {
    let page = match (end, entry.page_size) {
        (None, _) => PLAIN,
        (Some(_), Some(size)) => u64::from(size),
        // A file that was never flushed: the redo makes it, from its first page on.
        (Some(_), None) if entry.runs.is_empty() => PLAIN,
        (Some(_), None) => {
            return Err(RestoreError::SetInconsistent {
                path: entry.path.to_string(),
                reason: "it has pages and no page size".to_owned(),
            });
        }
    };
    let first_page = u64::from(entry.first_page);
    let mut cut: Vec<Segment> = Vec::new();
    for (at, run) in entry.runs.iter().enumerate() {
        let bytes = run.at - run.at % page..run.end(entry.page_size).next_multiple_of(page);
        match cut.last_mut() {
            Some(last) if last.bytes.end > bytes.start => {
                last.bytes.end = last.bytes.end.max(bytes.end);
                last.runs.end = at + 1;
                if last.bytes.end - last.bytes.start > LONGEST {
                    return Err(RestoreError::SetInconsistent {
                        path: entry.path.to_string(),
                        reason: format!("too many runs overlap at {}", run.at),
                    });
                }
            }
            _ => cut.push(Segment { runs: at..at + 1, bytes, pages: 0..0 }),
        }
    }
    let Some(end) = end else { return Ok(cut) };
    if cut.first().is_none_or(|first| first.bytes.start > 0) {
        cut.insert(0, Segment { runs: 0..0, bytes: 0..0, pages: 0..0 });
    }
    let mut next = end;
    for segment in cut.iter_mut().rev() {
        let start = first_page + segment.bytes.start / page;
        segment.pages = start..next;
        next = start;
    }
    Ok(cut)
}

#[cfg(test)]
mod tests {
    use reseed_repository::{FileKind, Hash64, Hash128, PageList, RelPath};

    use super::*;

    fn entry(page_size: Option<u32>, first_page: u32, runs: &[(u64, u32)]) -> FileEntry {
        let runs = runs.iter().map(|&(at, raw)| Run {
            pack: 0,
            offset: 0,
            stored: 1,
            head: 0,
            at,
            raw,
            hash: Hash128(0),
            stored_hash: Hash64(0),
            pages: None,
        });
        FileEntry {
            page_size,
            first_page,
            runs: runs.collect(),
            ..FileEntry::new(RelPath::new("a").unwrap(), FileKind::Tablespace)
        }
    }

    fn cut(entry: &FileEntry, end: Option<u64>) -> Vec<(Range<usize>, Range<u64>, Range<u64>)> {
        let segments = segments(entry, end).unwrap();
        segments.into_iter().map(|segment| (segment.runs, segment.bytes, segment.pages)).collect()
    }

    #[test]
    fn every_page_has_one_segment() {
        let k = 1024;
        let file = entry(Some(4096), 0, &[(0, 8 * 1024), (40 * k, 4 * 1024)]);
        assert_eq!(cut(&file, Some(100)), [(0..1, 0..8 * k, 0..10), (1..2, 40 * k..44 * k, 10..100)]);
        // The front of the file is a hole.
        let file = entry(Some(4096), 0, &[(8 * k, 4096)]);
        assert_eq!(cut(&file, Some(100)), [(0..0, 0..0, 0..2), (0..1, 8 * k..12 * k, 2..100)]);
        // A later file of the system tablespace.
        let file = entry(Some(4096), 50, &[(0, 4096)]);
        assert_eq!(cut(&file, Some(1 << 32)), [(0..1, 0..4 * k, 50..1 << 32)]);
        assert_eq!(cut(&entry(None, 0, &[]), Some(1 << 32)), [(0..0, 0..0, 0..1 << 32)]);
        assert!(segments(&entry(None, 0, &[(0, 9)]), Some(1)).is_err());
    }

    #[test]
    fn runs_that_share_a_page_are_one_segment() {
        let k = 1024;
        let file = entry(Some(16384), 0, &[(0, 20 * 1024), (28 * k, 4096), (32 * k, 16384)]);
        assert_eq!(cut(&file, Some(9)), [(0..2, 0..32 * k, 0..2), (2..3, 32 * k..48 * k, 2..9)]);
    }

    #[test]
    fn newer_copies_of_pages_replace_older_ones() {
        const PAGE: usize = 4096;
        let mut file = entry(Some(4096), 0, &[(0, 8 * 4096), (4096, 2 * 4096), (8 * 4096, 4096)]);
        let [_, newer, _] = &mut file.runs[..] else { panic!() };
        (newer.pack, newer.pages) = (3, PageList::from_numbers([1, 5]));
        let segments = segments(&file, Some(100)).unwrap();
        assert_eq!(segments.len(), 2);
        let first = &segments[0];
        assert_eq!((first.runs.clone(), first.bytes.clone()), (0..2, 0..8 * 4096));
        let mut bytes = vec![0; 8 * PAGE];
        for run in first.runs_by_age(&file) {
            let raw = if run.pack == 3 { [[7; PAGE], [9; PAGE]].concat() } else { vec![1; 8 * PAGE] };
            first.put(&file, run, &raw, &mut bytes);
        }
        let pages: Vec<u8> = bytes.chunks(PAGE).map(|page| page[0]).collect();
        assert_eq!(pages, [1, 7, 1, 1, 1, 9, 1, 1]);
    }

    #[test]
    fn files_without_pages_are_cut_into_their_runs() {
        let file = entry(None, 0, &[(0, 5), (5, 3), (100, 1)]);
        assert_eq!(cut(&file, None), [(0..1, 0..5, 0..0), (1..2, 5..8, 0..0), (2..3, 100..101, 0..0)]);
    }
}
