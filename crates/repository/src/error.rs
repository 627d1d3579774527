//! What can go wrong with a repository, a set or a stream.

use std::fmt;
use std::path::PathBuf;

use reseed_io::{Cancelled, Holder, IoError};

use crate::files::EntryError;
use crate::id::{NameError, ServerName, SetId};
use crate::path::{PathError, RelPath};

/// An error of this crate. What a person can do about it is told by the command line, which knows the commands.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    #[error(transparent)]
    Io(IoError),
    #[error(transparent)]
    Cancelled(Cancelled),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("path {path:?} cannot be stored: {source}")]
    Path { path: PathBuf, source: PathError },
    #[error("another run holds the name {name}: {holder}")]
    Busy { name: ServerName, holder: Box<Holder> },
    #[error("there is no repository at {}", path.display())]
    NoRepository { path: PathBuf },
    #[error("the repository has no server named {name}")]
    NoServer { name: ServerName },
    #[error("there is no backup set of {name} that could be used")]
    NoSets { name: ServerName },
    #[error("there is no backup set {id} of {name}")]
    NoSet { name: ServerName, id: SetId },
    #[error("backup set {id} of {name} was never published: its backup did not finish")]
    Unpublished { name: ServerName, id: SetId },
    #[error("{what} has format {found}, this reseed knows formats up to {known}: a newer reseed is needed")]
    NewerFormat { what: String, found: u64, known: u32 },
    #[error("backup set {id} is damaged: {damage}")]
    Damaged { id: SetId, damage: Box<Damage> },
    #[error("backup set {id} needs {parent}, which is not there")]
    ParentMissing { id: SetId, parent: SetId },
    #[error("backup set {id} was taken on another {parent} than the one that is there")]
    ParentAltered { id: SetId, parent: SetId },
    #[error("the stream is no good: {0}")]
    Stream(#[from] StreamError),
    #[error("{id} is being read by another process")]
    InUse { id: SetId },
    #[error("the set cannot be published: {0}")]
    Incomplete(#[from] Incomplete),
    #[error("{text:?} is not a compression: none, zstd or zstd:LEVEL with a level from 1 to 19")]
    BadCompression { text: String },
    #[error("cannot compress: {0}")]
    Compress(#[source] std::io::Error),
}

/// What the caller left out or got wrong before a set could be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    #[error("pack {number} was not finished")]
    Pack { number: u32 },
    #[error("the redo was not finished")]
    Redo,
    #[error("the entry {path} is wrong: {problem}")]
    Entry { path: RelPath, problem: EntryError },
    #[error("a run of {path} lies in no pack")]
    RunNowhere { path: RelPath },
    #[error("{path} is listed twice")]
    Twice { path: RelPath },
    #[error("the page list of {path} does not fit its bytes")]
    Pages { path: RelPath },
    #[error("{captured} bytes of redo were stored where the capture says {expected}")]
    RedoLength { captured: u64, expected: u64 },
}

/// Something in a set is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// File within the set's directory.
    pub file: String,
    /// Where in it, where that is known: first byte and length.
    pub range: Option<(u64, u64)>,
    /// The file of the datadir that is concerned, and the offset in it.
    pub of: Option<(RelPath, u64)>,
    pub problem: Problem,
}

/// How something in a set differs from what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("it is missing")]
    Missing,
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it has {found} bytes where {expected} were written")]
    Size { found: u64, expected: u64 },
    #[error("it ends early")]
    Short,
    #[error("the bytes differ from those that were written (hash mismatch)")]
    Hash,
    #[error("it does not decompress")]
    Decompress,
    #[error("it cannot be understood: {0}")]
    Syntax(String),
    #[error("{0}")]
    Entry(EntryError),
    #[error("{0} is listed twice or out of order")]
    Order(RelPath),
    #[error("it says {found} where {expected} is expected")]
    Contradiction { found: String, expected: String },
}

impl Damage {
    pub fn of_file(file: impl Into<String>, problem: Problem) -> Damage {
        Damage { file: file.into(), range: None, of: None, problem }
    }

    pub(crate) fn in_set(self, id: &SetId) -> RepositoryError {
        RepositoryError::Damaged { id: id.clone(), damage: Box::new(self) }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((start, len)) = self.range {
            write!(f, ", bytes {start} to {}", start.saturating_add(len))?;
        }
        if let Some((path, at)) = &self.of {
            write!(f, " ({path} at offset {at})")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Why a stream is refused. Nothing of a refused stream may be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("it is not a stream of reseed's")]
    NotOurs,
    #[error("it ends early, after {bytes} bytes")]
    Short { bytes: u64 },
    #[error("it was altered near byte {at}")]
    Altered { at: u64 },
    #[error("something follows its end at byte {at}")]
    Trailing { at: u64 },
    #[error("it has an entry that cannot be there, at byte {at}")]
    Unexpected { at: u64 },
    #[error("the other side gave up: {reason}")]
    Aborted { reason: String },
}

impl From<IoError> for RepositoryError {
    fn from(error: IoError) -> RepositoryError {
        match error {
            IoError::Cancelled(cancelled) => RepositoryError::Cancelled(cancelled),
            other => RepositoryError::Io(other),
        }
    }
}

impl From<Cancelled> for RepositoryError {
    fn from(cancelled: Cancelled) -> RepositoryError {
        RepositoryError::Cancelled(cancelled)
    }
}

impl RepositoryError {
    /// The disk is full or a quota exhausted.
    pub fn is_no_space(&self) -> bool {
        matches!(self, RepositoryError::Io(error) if error.is_no_space())
    }

    /// The set or the stream must not be used: damaged, unpublished, or its chain is broken.
    pub fn is_bad_set(&self) -> bool {
        matches!(
            self,
            RepositoryError::Damaged { .. }
                | RepositoryError::Unpublished { .. }
                | RepositoryError::ParentMissing { .. }
                | RepositoryError::ParentAltered { .. }
                | RepositoryError::Stream(_)
        )
    }
}
