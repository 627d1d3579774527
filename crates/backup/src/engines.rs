//! The files that are not InnoDB's: copied early without a lock, and again, those that changed since, under it.
//!
//! A copy counts when the file is the same before and after it, and was not written just before it: clocks of file
//! systems are coarse.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reseed_repository::{FileEntry, Sink};

use crate::base::Base;
use crate::copier::{Copied, Copier, Job, Kept, Outcome, set_path};
use crate::error::BackupError;
use crate::scan::{Found, FoundKind, Scan, Stamp};
use crate::spaces::entry;

/// A change less than this before the copy began may not show in the file's times.
const COARSE: Duration = Duration::from_secs(1);
/// How often a file that changes while it is copied is copied again.
const TRIES: u32 = 6;

const ARIA_PAGE: u64 = 8192;
/// The end of Aria's log that may still be written anew; one page would do.
const ARIA_TAIL: u64 = 16 * ARIA_PAGE;

struct Plain {
    entry: FileEntry,
    stamp: Stamp,
    /// Written while it was copied, or shortly before.
    doubtful: bool,
}

/// What may still change under which lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Nothing may change any more: what does, is an error in the end.
    Still,
    /// The server's own logs may be written all the time: the last copy is taken as it is.
    Tolerant,
}

/// All copies that count at present.
#[derive(Default)]
pub(crate) struct PlainFiles {
    copied: HashMap<PathBuf, Plain>,
    base: Option<Arc<Base>>,
}

impl PlainFiles {
    pub fn new(base: Option<Arc<Base>>) -> PlainFiles {
        PlainFiles { copied: HashMap::new(), base }
    }

    /// The early copy. What is missing or changes under it is left for later.
    pub fn copy_early(
        &mut self,
        copier: &Copier<'_>,
        sink: &dyn Sink,
        scan: &Scan,
    ) -> Result<(), BackupError> {
        let jobs = scan.files.iter().filter(|file| file.kind == FoundKind::Plain);
        let jobs = jobs.map(|file| self.job(file)).collect::<Result<_, _>>()?;
        for copied in copier.copy(sink, jobs)? {
            self.take(copied)?;
        }
        Ok(())
    }

    /// Brings the copies of the files chosen up to date; to be called while they cannot change.
    pub fn settle<'f>(
        &mut self,
        copier: &Copier<'_>,
        sink: &dyn Sink,
        files: impl IntoIterator<Item = &'f Found>,
        strictness: Strictness,
    ) -> Result<u64, BackupError> {
        let mut left: Vec<Found> = files.into_iter().filter(|file| !self.holds(file)).cloned().collect();
        let mut bytes = 0;
        for round in 1.. {
            if left.is_empty() {
                break;
            }
            bytes += left.iter().map(|file| file.stamp.size).sum::<u64>();
            let jobs = left.iter().map(|found| self.job_again(found)).collect::<Result<_, _>>()?;
            let mut again = Vec::new();
            for copied in copier.copy(sink, jobs)? {
                let whole = copied.outcome == Outcome::Whole && copied.before == copied.after;
                // Found with an older size: what was copied is not all.
                let whole = whole && copied.before == copied.found.stamp;
                let found = copied.found.clone();
                if copied.outcome != Outcome::Vanished {
                    self.take(copied)?;
                }
                if whole {
                    if let Some(held) = self.copied.get_mut(&found.path) {
                        // Nobody can have written: the lock is held.
                        held.doubtful = false;
                    }
                } else {
                    again.push(found);
                }
            }
            left = again.into_iter().filter_map(|file| restat(file).transpose()).collect::<Result<_, _>>()?;
            if round >= TRIES && strictness == Strictness::Tolerant {
                break;
            }
            if let Some(file) = left.first().filter(|_| round >= TRIES) {
                return Err(BackupError::Restless { file: file.real.clone(), tries: round });
            }
        }
        Ok(bytes)
    }

    /// Forgets files that are not there any more.
    pub fn retain(&mut self, scan: &Scan) {
        let present: std::collections::HashSet<&Path> =
            scan.files.iter().map(|file| file.path.as_path()).collect();
        self.copied.retain(|path, _| present.contains(path.as_path()));
    }

    /// Of Aria's log only what is new is read again: pages are added at its end, and of those that are there only the
    /// first and the last are ever written anew.
    fn job_again(&self, found: &Found) -> Result<Job, BackupError> {
        let mut again = self.job(found)?;
        if let Some(held) = self.copied.get(&found.path)
            && found.kind == FoundKind::AriaLog
            && held.stamp.identity == found.stamp.identity
            && held.entry.size <= found.stamp.size
        {
            let settled = held.entry.size.saturating_sub(ARIA_TAIL);
            again.kept = Kept::of(ARIA_PAGE..settled, &held.entry.runs);
        }
        Ok(again)
    }

    fn job(&self, found: &Found) -> Result<Job, BackupError> {
        let base = match &self.base {
            Some(base) if found.kind == FoundKind::Plain => base.other(&set_path(&found.path)?),
            _ => None,
        };
        Ok(Job { found: found.clone(), format: None, first_page: 0, kept: None, base })
    }

    /// True when the copy is that of the file as it is now.
    fn holds(&self, file: &Found) -> bool {
        self.copied.get(&file.path).is_some_and(|held| !held.doubtful && held.stamp == file.stamp)
    }

    fn take(&mut self, copied: Copied) -> Result<(), BackupError> {
        if copied.outcome == Outcome::Vanished {
            return Ok(());
        }
        let stamp = copied.after.clone();
        let settled_by = copied.opened.checked_sub(COARSE).unwrap_or(SystemTime::UNIX_EPOCH);
        let doubtful = copied.before != copied.after
            || copied.before != copied.found.stamp
            || copied.outcome != Outcome::Whole
            || copied.before.last_touched() > settled_by;
        let path = copied.found.path.clone();
        self.copied.insert(path, Plain { entry: entry(copied, None)?, stamp, doubtful });
        Ok(())
    }

    pub fn into_entries(self) -> Vec<FileEntry> {
        self.copied.into_values().map(|held| held.entry).collect()
    }
}

/// The file as it is now; `None` when it is gone.
pub(crate) fn restat(mut file: Found) -> Result<Option<Found>, BackupError> {
    match std::fs::metadata(&file.real) {
        Ok(metadata) => {
            file.stamp = Stamp::of(&metadata);
            Ok(Some(file))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BackupError::unreadable(&file.real, source)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use reseed_innodb::PageSize;
    use reseed_io::{Cancel, Rate, Silent};
    use reseed_repository::{Compression, NewSet, Repository, SetWriter, Timestamp};
    use reseed_terms::Flavour;

    use super::*;
    use crate::copier::CopyRules;

    struct Bench {
        dir: tempfile::TempDir,
        set: SetWriter,
    }

    impl Bench {
        fn new() -> Bench {
            let dir = tempfile::tempdir().unwrap();
            let repository = Repository::create(dir.path().join("repo")).unwrap();
            let name = "test".parse().unwrap();
            let lock = repository.lock(&name, "test", Duration::ZERO, &Cancel::new()).unwrap();
            let new = NewSet { compression: Compression::None, ..NewSet::full(Timestamp::UNIX_EPOCH) };
            let set = repository.begin(&lock, new, &Silent, &Cancel::new()).unwrap();
            Bench { dir, set }
        }

        fn copier(&self) -> Copier<'static> {
            let rules = CopyRules {
                flavour: Flavour::MariaDb,
                page_size: PageSize::K16,
                threads: 1,
                rate: Rate::unlimited(),
                cancel: Cancel::new(),
                lag: Arc::default(),
            };
            Copier::new(rules, &self.set, &Silent).unwrap()
        }

        /// Writes a file and finds it.
        fn made(&self, name: &str, bytes: &[u8]) -> Found {
            let real = self.dir.path().join(name);
            fs::write(&real, bytes).unwrap();
            Found {
                path: name.into(),
                stamp: Stamp::of(&fs::metadata(&real).unwrap()),
                real,
                outside: None,
                through_link: false,
                kind: FoundKind::Plain,
                mode: 0o660,
                head: None,
            }
        }
    }

    fn scan(files: &[Found]) -> Scan {
        Scan { files: files.to_vec(), ..Scan::default() }
    }

    fn runs(plain: &PlainFiles, path: &str) -> u64 {
        plain.copied.get(Path::new(path)).unwrap().entry.runs.iter().map(|run| u64::from(run.raw)).sum()
    }

    #[test]
    fn what_was_written_a_moment_before_is_doubted() {
        let bench = Bench::new();
        let copier = bench.copier();
        let file = bench.made("t.MYD", b"rows");
        let mut plain = PlainFiles::default();
        plain.copy_early(&copier, &bench.set, &scan(std::slice::from_ref(&file))).unwrap();
        assert!(!plain.holds(&file), "its times cannot tell whether it was written during the copy");
        let bytes = plain.settle(&copier, &bench.set, [&file], Strictness::Still).unwrap();
        assert_eq!(bytes, 4);
        assert!(plain.holds(&file));
        assert_eq!(plain.settle(&copier, &bench.set, [&file], Strictness::Still).unwrap(), 0);
    }

    #[test]
    fn what_has_grown_is_copied_again() {
        let bench = Bench::new();
        let copier = bench.copier();
        let file = bench.made("t.MYD", b"rows");
        let mut plain = PlainFiles::default();
        plain.settle(&copier, &bench.set, [&file], Strictness::Still).unwrap();
        fs::write(&file.real, b"more rows").unwrap();
        let now = restat(file).unwrap().unwrap();
        plain.settle(&copier, &bench.set, [&now], Strictness::Still).unwrap();
        assert_eq!(runs(&plain, "t.MYD"), 9);
    }

    #[test]
    fn a_stale_look_at_a_file_is_put_right() {
        let bench = Bench::new();
        let copier = bench.copier();
        let file = bench.made("t.MYD", b"rows");
        fs::write(&file.real, b"more rows").unwrap();
        let mut plain = PlainFiles::default();
        plain.settle(&copier, &bench.set, [&file], Strictness::Still).unwrap();
        assert_eq!(runs(&plain, "t.MYD"), 9);
    }

    #[test]
    fn files_that_are_gone_are_forgotten() {
        let bench = Bench::new();
        let copier = bench.copier();
        let (kept, gone) = (bench.made("a.frm", b"a"), bench.made("b.frm", b"b"));
        let mut plain = PlainFiles::default();
        plain.settle(&copier, &bench.set, [&kept, &gone], Strictness::Still).unwrap();
        plain.retain(&scan(&[kept]));
        let entries = plain.into_entries();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].path.to_string(), "a.frm");
    }
}
