//! A set of a repository as a [`Source`].

use std::io::Read;

use reseed_repository::{FileEntry, Manifest, Run, RunReader, SetKind, SetReader};

use crate::error::RestoreError;
use crate::source::{ReadRun, Source};

#[derive(Debug)]
pub struct SetSource {
    set: SetReader,
    files: Vec<FileEntry>,
}

impl SetSource {
    /// Reads the list of files, checked against its hash. That every part of the set is there with its size was
    /// checked when it was opened.
    ///
    /// # Errors
    /// When the list is damaged, or the set is an incremental one.
    pub fn new(set: SetReader) -> Result<SetSource, RestoreError> {
        if set.manifest().kind == SetKind::Incremental {
            return Err(RestoreError::Unsupported {
                what: format!("restoring the incremental set {}", set.id()),
            });
        }
        let files = set.load_files()?;
        Ok(SetSource { set, files })
    }
}

impl Source for SetSource {
    fn manifest(&self) -> &Manifest {
        self.set.manifest()
    }

    fn files(&self) -> &[FileEntry] {
        &self.files
    }

    fn reader(&self) -> Result<Box<dyn ReadRun + '_>, RestoreError> {
        Ok(Box::new(SetRuns { runs: self.set.runs()? }))
    }

    fn redo(&self) -> Result<Box<dyn Read + Send + '_>, RestoreError> {
        Ok(Box::new(self.set.redo()?))
    }
}

struct SetRuns {
    runs: RunReader,
}

impl ReadRun for SetRuns {
    fn read(&mut self, file: &FileEntry, run: &Run, into: &mut Vec<u8>) -> Result<(), RestoreError> {
        Ok(self.runs.read(&file.path, run, into)?)
    }

    fn prefetch(&mut self, run: &Run) -> Result<(), RestoreError> {
        Ok(self.runs.prefetch(run)?)
    }
}
