//! A set together with all that it builds on, read as if it were one set: for every stretch of a file the newest copy.
//!
//! The packs of a chain are numbered through, the full set's first: of two runs that hold the same bytes the one in
//! the higher pack is the newer one.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Damage, Problem, RepositoryError};
use crate::files::{FileEntry, Run};
use crate::manifest::INDEX;
use crate::path::RelPath;
use crate::reader::{RunReader, SetReader};
use crate::window::Window;

/// What one thread's readers of all sets read ahead together: a chain may be long.
const READ_AHEAD: usize = 16 << 20;

/// A whole chain; of one set when that is a full one.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The full set first.
    sets: Vec<SetReader>,
    /// By set: how many packs the sets before it have.
    before: Vec<u32>,
}

impl Chain {
    /// `sets` is what [`crate::Repository::chain`] gives.
    pub(crate) fn new(sets: Vec<SetReader>) -> Chain {
        let mut packs = 0u32;
        let before = sets.iter().map(|set| {
            let first = packs;
            packs = packs.saturating_add(u32::try_from(set.manifest().packs.len()).unwrap_or(u32::MAX));
            first
        });
        Chain { before: before.collect(), sets }
    }

    /// The set that is meant: its redo and coordinates are those of the chain.
    pub fn newest(&self) -> &SetReader {
        // A chain is never empty: `Repository::chain` begins with the set itself.
        #[allow(clippy::indexing_slicing)]
        &self.sets[self.sets.len() - 1]
    }

    pub fn sets(&self) -> &[SetReader] {
        &self.sets
    }

    /// The newest set's files. Their runs may overlap where the chain has several copies of a page, and are in order
    /// of place and age; runs that newer ones have replaced as a whole are left out.
    ///
    /// # Errors
    /// When an index cannot be read, is not as it was written, or names a file that its parent does not have.
    pub fn load_files(&self) -> Result<Vec<FileEntry>, RepositoryError> {
        let mut files: Vec<FileEntry> = Vec::new();
        for (set, before) in self.sets.iter().zip(&self.before) {
            let older: HashMap<RelPath, FileEntry> =
                files.into_iter().map(|file| (file.path.clone(), file)).collect();
            files = Vec::new();
            for entry in set.files()? {
                let mut entry = entry?;
                for run in &mut entry.runs {
                    // Numbered through, it would be found in another set's packs.
                    if set.manifest().packs.get(run.pack as usize).is_none() {
                        return Err(set.no_such_pack(run.pack));
                    }
                    run.pack = run.pack.saturating_add(*before);
                }
                if let Some(parent) = entry.parent.take() {
                    let below =
                        older.get(&parent).ok_or_else(|| contradiction(set, &entry, &parent, "none"))?;
                    if below.kind != entry.kind || below.page_size != entry.page_size {
                        return Err(contradiction(set, &entry, &parent, "one of another kind"));
                    }
                    lay_over(&mut entry, below);
                }
                files.push(entry);
            }
        }
        Ok(files)
    }

    /// A reader of the runs that [`Chain::load_files`] names; every thread takes its own.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn runs(&self) -> Result<ChainRuns, RepositoryError> {
        let ahead = READ_AHEAD / self.sets.len().max(1);
        let readers = self.sets.iter().map(|set| set.runs_with(Window::new().reads_ahead(ahead)));
        let readers = readers.collect::<Result<_, _>>()?;
        Ok(ChainRuns { readers, before: self.before.clone() })
    }
}

fn contradiction(set: &SetReader, entry: &FileEntry, parent: &RelPath, found: &str) -> RepositoryError {
    let problem = Problem::Contradiction {
        found: format!("{} on {found}", entry.path),
        expected: format!("a file {parent} in the set before"),
    };
    set.damaged(Damage::of_file(INDEX, problem))
}

/// Gives a file what its parent has and it has not itself. A run is left out when newer ones hold all of it together.
fn lay_over(entry: &mut FileEntry, below: &FileEntry) {
    let mut newer = Covered::by(entry);
    let mut older: Vec<&Run> = below.runs.iter().filter(|run| run.at < entry.size).collect();
    older.sort_by_key(|run| std::cmp::Reverse(run.pack));
    for run in older {
        if run.pieces(entry.page_size).any(|(at, part)| !newer.holds(at, part.len() as u64)) {
            newer.add(run, entry.page_size);
            entry.runs.push(run.clone());
        }
    }
    entry.runs.sort_by_key(|run| (run.at, run.pack));
}

/// The stretches of a file that some run holds.
#[derive(Debug, Clone, Default)]
pub struct Covered {
    /// By their starts; none touches another.
    ends: BTreeMap<u64, u64>,
}

impl Covered {
    pub fn by(entry: &FileEntry) -> Covered {
        let mut covered = Covered::default();
        for run in &entry.runs {
            covered.add(run, entry.page_size);
        }
        covered
    }

    fn add(&mut self, run: &Run, page_size: Option<u32>) {
        for (at, part) in run.pieces(page_size) {
            let (mut start, mut end) = (at, at.saturating_add(part.len() as u64));
            while let Some((&from, &to)) = self.ends.range(..=end).next_back().filter(|(_, to)| **to >= start)
            {
                self.ends.remove(&from);
                (start, end) = (start.min(from), end.max(to));
            }
            self.ends.insert(start, end);
        }
    }

    /// All of it.
    pub fn holds(&self, at: u64, len: u64) -> bool {
        let last = self.ends.range(..=at).next_back();
        last.is_some_and(|(_, end)| *end >= at.saturating_add(len))
    }

    /// Any byte of it.
    pub fn touches(&self, at: u64, len: u64) -> bool {
        let last = self.ends.range(..at.saturating_add(len)).next_back();
        last.is_some_and(|(_, end)| *end > at)
    }
}

/// Reads the runs of a chain.
#[derive(Debug)]
pub struct ChainRuns {
    readers: Vec<RunReader>,
    before: Vec<u32>,
}

impl ChainRuns {
    /// As [`RunReader::read`].
    ///
    /// # Errors
    /// When it cannot be read, or is not as it was written.
    pub fn read(&mut self, path: &RelPath, run: &Run, out: &mut Vec<u8>) -> Result<(), RepositoryError> {
        let (reader, own) = self.own(run);
        reader.read(path, &own, out)
    }

    /// As [`RunReader::expect`].
    pub fn expect(&mut self, runs: &[Run]) {
        let mut by_set: Vec<Vec<Run>> = vec![Vec::new(); self.readers.len()];
        for run in runs {
            let (set, own) = self.numbered(run);
            if let Some(of_set) = by_set.get_mut(set) {
                of_set.push(own);
            }
        }
        for (reader, runs) in self.readers.iter_mut().zip(&by_set) {
            reader.expect(runs.iter());
        }
    }

    /// The reader of the run's set, and the run as that set numbers it.
    fn own(&mut self, run: &Run) -> (&mut RunReader, Run) {
        let (set, own) = self.numbered(run);
        #[allow(clippy::indexing_slicing)]
        (&mut self.readers[set], own)
    }

    /// Which set has the run, and the run as that one numbers it.
    fn numbered(&self, run: &Run) -> (usize, Run) {
        let set = self.before.partition_point(|before| *before <= run.pack).saturating_sub(1);
        let before = self.before.get(set).copied().unwrap_or(0);
        (set.min(self.readers.len() - 1), Run { pack: run.pack - before, ..run.clone() })
    }
}
