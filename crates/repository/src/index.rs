//! `files.jsonl.zst`: one line of JSON for each file, in order of path. A file with very many runs goes on in lines
//! that begin with `{"more":`, so that no line is long.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::error::{Incomplete, Problem, RepositoryError};
use crate::files::{FileEntry, Run};
use crate::manifest::Totals;
use crate::path::RelPath;

/// Runs and page stretches that one line holds at most.
const LINE_WEIGHT: usize = 16 << 10;
/// No line that was written comes near this.
const MAX_LINE: usize = 16 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct More {
    more: RelPath,
    runs: Vec<Run>,
}

fn weight(run: &Run) -> usize {
    1 + run.pages.as_ref().map_or(0, |pages| pages.stretches().len())
}

/// How many of the runs go into one line.
fn fitting(runs: &[Run]) -> usize {
    let mut sum = 0;
    let fits = runs.iter().take_while(|run| {
        sum += weight(run);
        sum <= LINE_WEIGHT
    });
    fits.count().max(1).min(runs.len())
}

/// Puts the entries in order and checks them; `stored_in` says whether a run lies in a pack.
pub(crate) fn check(
    files: &mut [FileEntry],
    mut stored_in: impl FnMut(&Run) -> bool,
) -> Result<Totals, Incomplete> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut totals = Totals::default();
    let mut last: Option<&RelPath> = None;
    for file in &*files {
        let entry = |problem| Incomplete::Entry { path: file.path.clone(), problem };
        file.check().map_err(entry)?;
        if last == Some(&file.path) {
            return Err(Incomplete::Twice { path: file.path.clone() });
        }
        if !file.runs.iter().all(&mut stored_in) {
            return Err(Incomplete::RunNowhere { path: file.path.clone() });
        }
        totals.files += 1;
        totals.runs += file.runs.len() as u64;
        totals.bytes = totals.bytes.saturating_add(file.size);
        totals.raw += file.raw_bytes();
        last = Some(&file.path);
    }
    Ok(totals)
}

/// Writes the lines, not compressed.
pub(crate) fn write(files: Vec<FileEntry>, out: &mut impl Write) -> io::Result<()> {
    for mut file in files {
        let mut rest = file.runs.split_off(fitting(&file.runs));
        serde_json::to_writer(&mut *out, &file)?;
        out.write_all(b"\n")?;
        while !rest.is_empty() {
            let later = rest.split_off(fitting(&rest));
            serde_json::to_writer(&mut *out, &More { more: file.path.clone(), runs: rest })?;
            out.write_all(b"\n")?;
            rest = later;
        }
    }
    Ok(())
}

/// Reads the lines one entry at a time; everything about an entry that can be checked alone is checked, and its
/// place in the order. Ends with an error unless there were as many entries and runs as the manifest says.
pub(crate) struct Reader<R> {
    input: R,
    totals: Totals,
    seen: Totals,
    last: Option<RelPath>,
    waiting: Option<Vec<u8>>,
    done: bool,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R, totals: Totals) -> Reader<R> {
        Reader { input, totals, seen: Totals::default(), last: None, waiting: None, done: false }
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        if let Some(line) = self.waiting.take() {
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let mut limited = io::Read::take(&mut self.input, MAX_LINE as u64);
        limited.read_until(b'\n', &mut line).map_err(|e| Problem::Unreadable(e.to_string()))?;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) => Err(Problem::Short),
        }
    }

    fn entry(&mut self) -> Result<Option<FileEntry>, Problem> {
        let syntax = |e: serde_json::Error| Problem::Syntax(e.to_string());
        let Some(line) = self.line()? else {
            let found = (self.seen.files, self.seen.runs);
            let expected = (self.totals.files, self.totals.runs);
            if found == expected {
                return Ok(None);
            }
            let words = |(files, runs)| format!("{files} entries and {runs} runs");
            return Err(Problem::Contradiction { found: words(found), expected: words(expected) });
        };
        let mut file: FileEntry = serde_json::from_slice(&line).map_err(syntax)?;
        self.count(1, file.runs.len())?;
        while let Some(line) = self.line()? {
            if !line.starts_with(b"{\"more\"") {
                self.waiting = Some(line);
                break;
            }
            let More { more, runs } = serde_json::from_slice(&line).map_err(syntax)?;
            if more != file.path {
                return Err(Problem::Order(more));
            }
            self.count(0, runs.len())?;
            file.runs.extend(runs);
        }
        file.check().map_err(Problem::Entry)?;
        if self.last.as_ref().is_some_and(|last| *last >= file.path) {
            return Err(Problem::Order(file.path));
        }
        self.last = Some(file.path.clone());
        Ok(Some(file))
    }

    /// Counts as it goes: an index never makes its reader keep more than the manifest announces.
    fn count(&mut self, files: u64, runs: usize) -> Result<(), Problem> {
        self.seen.files += files;
        self.seen.runs += runs as u64;
        if self.seen.files > self.totals.files || self.seen.runs > self.totals.runs {
            return Err(Problem::Contradiction {
                found: "more entries or runs".into(),
                expected: format!("{} and {}", self.totals.files, self.totals.runs),
            });
        }
        Ok(())
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<FileEntry, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let entry = self.entry().transpose();
        self.done = !matches!(entry, Some(Ok(_)));
        entry
    }
}

/// Compresses the lines into `out`, which is given back.
pub(crate) fn write_compressed<W: Write>(files: Vec<FileEntry>, out: W) -> Result<W, RepositoryError> {
    let run = || -> io::Result<W> {
        let mut zstd = zstd::stream::write::Encoder::new(out, 3)?;
        zstd.include_checksum(true)?;
        let mut buffered = io::BufWriter::with_capacity(256 << 10, zstd);
        write(files, &mut buffered)?;
        buffered.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    };
    run().map_err(unwrap_io)
}

/// An error that has travelled through `std::io` comes out as what it was.
pub(crate) fn unwrap_io(error: io::Error) -> RepositoryError {
    match error.downcast::<reseed_io::IoError>() {
        Ok(inner) => inner.into(),
        Err(other) => RepositoryError::Compress(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FileKind;
    use crate::hash::{Hash64, Hash128};
    use proptest::prelude::*;

    fn entries() -> Vec<FileEntry> {
        let run = |at: u64| Run {
            pack: 1,
            offset: at,
            stored: 200,
            head: 100,
            at,
            raw: 4096,
            hash: Hash128(u128::from(at)),
            stored_hash: Hash64(at),
            pages: None,
        };
        let runs = 3 * LINE_WEIGHT as u64 + 5;
        let mut big = FileEntry::new(RelPath::new("b/big.ibd").unwrap(), FileKind::Tablespace);
        big.size = 4096 * runs;
        big.runs = (0..runs).map(|i| run(i * 4096)).collect();
        let small = FileEntry::new(RelPath::new("a/small.frm").unwrap(), FileKind::Other);
        vec![big, small]
    }

    fn text() -> (Vec<u8>, Totals) {
        let mut files = entries();
        let totals = check(&mut files, |_| true).unwrap();
        let mut out = Vec::new();
        write(files, &mut out).unwrap();
        (out, totals)
    }

    #[test]
    fn entries_come_back_in_order_from_short_lines() {
        let (text, totals) = text();
        assert!(text.split(|&b| b == b'\n').all(|line| line.len() < MAX_LINE / 2));
        assert_eq!(text.iter().filter(|&&b| b == b'\n').count(), 5);
        let read: Vec<FileEntry> = Reader::new(&text[..], totals).collect::<Result<_, _>>().unwrap();
        let mut expected = entries();
        expected.reverse();
        assert_eq!(read, expected);
    }

    proptest! {
        /// Whatever an index says, what comes out of it is bounded and leads nowhere outside.
        #[test]
        fn a_hostile_index_is_refused_or_harmless(
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            line in prop::sample::select(vec![
                r#"{"path":"a","kind":"other","size":9,"mode":1,"runs":[{"pack":0,"offset":1,"stored":9,"head":1,"at":0,"raw":9,"hash":"00000000000000000000000000000001","stored_hash":"0000000000000001"}]}"#,
                r#"{"path":"a/..b","kind":"tablespace","page_size":4096,"size":99999999,"mode":1,"runs":[{"pack":0,"offset":1,"stored":9,"head":1,"at":4096,"raw":8192,"hash":"00000000000000000000000000000001","stored_hash":"0000000000000001","pages":[[1,1],[7,1]]}]}"#,
            ]),
        ) {
            let mut bytes = line.as_bytes().to_vec();
            bytes.push(b'\n');
            for (at, value) in cuts {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let totals = Totals { files: 3, runs: 3, ..Totals::default() };
            for file in Reader::new(&bytes[..], totals).flatten() {
                prop_assert!(file.check().is_ok());
                prop_assert!(file.path.as_path().components().all(|c| matches!(c, std::path::Component::Normal(_))));
                prop_assert!(file.runs.len() <= 3);
                prop_assert!(file.runs.iter().all(|run| run.raw as usize <= crate::files::MAX_RUN));
            }
        }
    }

    #[test]
    fn what_is_not_an_index_is_refused() {
        let (text, totals) = text();
        let read = |bytes: &[u8], totals| Reader::new(bytes, totals).collect::<Result<Vec<_>, _>>();
        assert_eq!(read(&text[..text.len() - 1], totals), Err(Problem::Short));
        let cut = text.iter().position(|&b| b == b'\n').unwrap() + 1;
        assert!(matches!(read(&text[..cut], totals), Err(Problem::Contradiction { .. })));
        assert!(matches!(read(&text[cut..], totals), Err(Problem::Contradiction { .. })));
        let twice = [&text[..cut], &text[..cut]].concat();
        let two = Totals { files: 2, runs: 0, ..totals };
        assert!(matches!(read(&twice, two), Err(Problem::Order(_))));
        let fewer = Totals { runs: 5, ..totals };
        assert!(matches!(read(&text, fewer), Err(Problem::Contradiction { .. })));
        assert!(matches!(read(b"{}\n", totals), Err(Problem::Syntax(_))));
        let endless = vec![b' '; MAX_LINE + 5];
        assert_eq!(read(&endless, totals), Err(Problem::Short));
        let mut twice = vec![entries()[1].clone(), entries()[1].clone()];
        assert!(matches!(check(&mut twice, |_| true), Err(Incomplete::Twice { .. })));
        assert!(matches!(check(&mut entries(), |_| false), Err(Incomplete::RunNowhere { .. })));
    }
}
