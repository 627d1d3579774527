//! A set of a repository, with all that it builds on, as a [`Source`].

use std::io::Read;

use reseed_repository::{Chain, ChainRuns, FileEntry, Manifest, Repository, Run, SetReader};

use crate::error::RestoreError;
use crate::source::{ReadRun, Source};

#[derive(Debug)]
pub struct SetSource {
    chain: Chain,
    files: Vec<FileEntry>,
}

impl SetSource {
    /// Opens all that the set builds on and reads their lists of files, checked against their hashes; that every part
    /// of them is there with its size is checked too.
    ///
    /// # Errors
    /// When a set of the chain is missing or damaged.
    pub fn new(repository: &Repository, set: &SetReader) -> Result<SetSource, RestoreError> {
        let chain = repository.chain(set)?;
        let files = chain.load_files()?;
        Ok(SetSource { chain, files })
    }
}

impl Source for SetSource {
    fn manifest(&self) -> &Manifest {
        self.chain.newest().manifest()
    }

    fn files(&self) -> &[FileEntry] {
        &self.files
    }

    fn reader(&self) -> Result<Box<dyn ReadRun + '_>, RestoreError> {
        Ok(Box::new(SetRuns { runs: self.chain.runs()? }))
    }

    fn redo(&self) -> Result<Box<dyn Read + Send + '_>, RestoreError> {
        Ok(Box::new(self.chain.newest().redo()?))
    }
}

struct SetRuns {
    runs: ChainRuns,
}

impl ReadRun for SetRuns {
    fn read(&mut self, file: &FileEntry, run: &Run, into: &mut Vec<u8>) -> Result<(), RestoreError> {
        Ok(self.runs.read(&file.path, run, into)?)
    }

    fn expect(&mut self, runs: &[Run]) {
        self.runs.expect(runs);
    }
}
