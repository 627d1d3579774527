//! What takes a backup's bytes, be it a set being written or a stream: the taker of the backup does not care.

use reseed_terms::PageNo;

use crate::catalog::Leftover;
use crate::codec::stretches;
use crate::error::{Incomplete, RepositoryError};
use crate::files::{FileEntry, MAX_RUN, PageList, Run};
use crate::id::SetId;
use crate::manifest::{Manifest, SetFacts};
use crate::path::RelPath;

/// One attempt at copying one file. A file that is copied again gets another one: what the index does not name of
/// the first is then as if it had never been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCopy {
    pub(crate) number: u32,
    pub(crate) path: RelPath,
}

impl FileCopy {
    pub fn path(&self) -> &RelPath {
        &self.path
    }
}

/// Takes one backup. Shared by threads.
pub trait Sink: Send + Sync {
    fn id(&self) -> &SetId;

    /// What dead runs had left and was removed before this one began.
    fn removed(&self) -> &[Removed];

    /// What a set with these entries has from the packs of a run that did not finish.
    fn reused(&self, files: &[FileEntry]) -> Option<Reused>;

    /// Begins a copy of a file under the name that it has now.
    fn copy(&self, path: &RelPath) -> FileCopy;

    /// A pack of its own for each copying thread.
    ///
    /// # Errors
    /// When it cannot be made.
    fn pack(&self) -> Result<Box<dyn PackSink>, RepositoryError>;

    /// Takes the redo; once for each set.
    ///
    /// # Errors
    /// When it cannot be made.
    fn redo(&self) -> Result<Box<dyn RedoSink>, RepositoryError>;

    /// Makes everything durable, checks what can be checked, and publishes the set, or ends the stream. All packs
    /// and the redo must have been finished. On error nothing is published.
    ///
    /// # Errors
    /// When the set is not complete, or anything fails.
    fn finish(self: Box<Self>, facts: SetFacts, files: Vec<FileEntry>) -> Result<Published, RepositoryError>;

    /// Gives up: tells a receiver why, as far as there is one. What was stored is removed, or else stays for the next run
    /// as far as that can use it. A set that is dropped stays unpublished anyway.
    fn abort(self: Box<Self>, reason: &str, rest: Rest) -> Option<Leftover>;
}

/// Takes the bytes of files.
pub trait PackSink: Send {
    /// Stores one run as it is: the bytes of the file from `at` on, or images of `pages`, the first of which lies at
    /// `at`. At most [`MAX_RUN`] bytes.
    ///
    /// # Errors
    /// When it cannot be stored.
    fn store(
        &mut self,
        copy: &FileCopy,
        at: u64,
        raw: &[u8],
        pages: Option<PageList>,
    ) -> Result<Run, RepositoryError>;

    /// Stores a stretch of a file and adds its runs (none where all is zeros). Stretches of zeros are left out.
    /// A run holds at most [`MAX_RUN`] bytes; up to that, a buffer becomes one run.
    ///
    /// # Errors
    /// When it cannot be stored.
    fn append(
        &mut self,
        copy: &FileCopy,
        at: u64,
        bytes: &[u8],
        runs: &mut Vec<Run>,
    ) -> Result<(), RepositoryError> {
        for (start, raw) in run_bounds(bytes) {
            runs.push(self.store(copy, at.saturating_add(start as u64), raw, None)?);
        }
        Ok(())
    }

    /// Stores images of the pages `pages` (numbers within the file, ascending), which follow each other in `bytes`.
    /// At most [`MAX_RUN`] bytes; zeros are stored like everything else.
    ///
    /// # Errors
    /// When it cannot be stored, or list and bytes do not fit.
    fn append_pages(
        &mut self,
        copy: &FileCopy,
        page_size: u32,
        pages: &[PageNo],
        bytes: &[u8],
    ) -> Result<Run, RepositoryError> {
        let (list, first) = page_list(copy, page_size, pages, bytes)?;
        self.store(copy, u64::from(first) * u64::from(page_size), bytes, Some(list))
    }

    /// Ends the pack and makes it durable.
    ///
    /// # Errors
    /// When that fails.
    fn finish(self: Box<Self>) -> Result<(), RepositoryError>;
}

/// The stretches of a buffer that become runs: no zeros, none longer than a run may be.
fn run_bounds(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    stretches(bytes).into_iter().flat_map(move |(start, end)| {
        let stretch = bytes.get(start..end).unwrap_or_default();
        (start..).step_by(MAX_RUN).zip(stretch.chunks(MAX_RUN))
    })
}

/// Checks that the bytes are whole pages, as many as the list has.
fn page_list(
    copy: &FileCopy,
    page_size: u32,
    pages: &[PageNo],
    bytes: &[u8],
) -> Result<(PageList, u32), Incomplete> {
    let misfit = || Incomplete::Pages { path: copy.path.clone() };
    let list = PageList::from_numbers(pages.iter().map(|page| page.0)).ok_or_else(misfit)?;
    let first = pages.first().ok_or_else(misfit)?.0;
    let expected = pages.len() as u64 * u64::from(page_size);
    if bytes.len() as u64 != expected || bytes.len() > MAX_RUN { Err(misfit()) } else { Ok((list, first)) }
}

/// Takes the redo, in order.
pub trait RedoSink: Send {
    /// # Errors
    /// When it cannot be stored.
    fn write(&mut self, bytes: &[u8]) -> Result<(), RepositoryError>;

    /// Ends the redo and makes it durable.
    ///
    /// # Errors
    /// When that fails.
    fn finish(self: Box<Self>) -> Result<(), RepositoryError>;
}

/// What becomes of the bytes of a run that gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Somebody else may need the room, or they are no good.
    Removed,
    /// The next run may need them.
    Kept,
}

/// Bytes that did not have to be stored again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reused {
    /// Directory of the run that had stored them.
    pub name: String,
    pub raw: u64,
}

/// Leftovers of a dead run that were removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Name of the directory.
    pub name: String,
    pub bytes: u64,
}

/// A set that is there, or a stream that was sent to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    pub manifest: Manifest,
    /// The set's directory; `None` for a stream.
    pub path: Option<std::path::PathBuf>,
    /// What dead runs had left and was removed.
    pub removed: Vec<Removed>,
}
