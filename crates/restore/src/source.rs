//! Where the bytes of a restore come from. The passes below ask for files and runs and do not care whether those lie
//! in a repository's set, in a test's memory, or elsewhere.

use std::io::Read;

use reseed_repository::{FileEntry, Manifest, Run};

use crate::error::RestoreError;

/// A set that is there as a whole: any run can be asked for at any time, from any thread.
pub trait Source: Sync {
    fn manifest(&self) -> &Manifest;

    fn files(&self) -> &[FileEntry];

    /// A reader of runs; each thread takes one of its own.
    ///
    /// # Errors
    /// When there is no memory for it.
    fn reader(&self) -> Result<Box<dyn ReadRun + '_>, RestoreError>;

    /// The captured redo, checked as it is read: an error, or else the whole of it.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn redo(&self) -> Result<Box<dyn Read + Send + '_>, RestoreError>;
}

pub trait ReadRun {
    /// Puts the raw bytes of a run into `into`, replacing what was there, and checks them against their hash.
    ///
    /// # Errors
    /// When they cannot be read or are not what was written.
    fn read(&mut self, file: &FileEntry, run: &Run, into: &mut Vec<u8>) -> Result<(), RestoreError>;

    /// Says which runs will be asked for next, instead of those of the last time: they may then be read ahead.
    fn expect(&mut self, _runs: &[Run]) {}
}
