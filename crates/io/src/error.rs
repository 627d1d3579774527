//! What can go wrong at the door to the operating system.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::cancel::Cancelled;
use crate::lock::Holder;

/// What was being done when the operating system refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Open,
    Create,
    Read,
    Write,
    Sync,
    Rename,
    Remove,
    Resize,
    Stat,
    List,
    Lock,
    Chmod,
    Chown,
    MakeDir,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Open => "open",
            Op::Create => "create",
            Op::Read => "read",
            Op::Write => "write",
            Op::Sync => "make durable",
            Op::Rename => "rename",
            Op::Remove => "remove",
            Op::Resize => "resize",
            Op::Stat => "look at",
            Op::List => "list",
            Op::Lock => "lock",
            Op::Chmod => "set the mode of",
            Op::Chown => "set the owner of",
            Op::MakeDir => "make the directory",
        })
    }
}

/// An error of this crate. Every one names the path, and the offset where there is one.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    #[error("cannot {op} {}{}", path.display(), At(*offset))]
    Os { op: Op, path: PathBuf, offset: Option<u64>, source: io::Error },
    #[error("{} is held by {holder}", path.display())]
    Busy { path: PathBuf, holder: Box<Holder> },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " at offset {offset}"),
            None => Ok(()),
        }
    }
}

impl IoError {
    pub fn new(op: Op, path: impl AsRef<Path>, source: io::Error) -> IoError {
        IoError::Os { op, path: path.as_ref().to_owned(), offset: None, source }
    }

    pub fn at(op: Op, path: impl AsRef<Path>, offset: u64, source: io::Error) -> IoError {
        IoError::Os { op, path: path.as_ref().to_owned(), offset: Some(offset), source }
    }

    /// The kind of the operating system's error, where there is one.
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            IoError::Os { source, .. } => Some(source.kind()),
            IoError::Busy { .. } | IoError::Cancelled(_) => None,
        }
    }

    /// No space left: a full disk or an exhausted quota.
    pub fn is_no_space(&self) -> bool {
        matches!(self.kind(), Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    pub fn is_not_found(&self) -> bool {
        self.kind() == Some(io::ErrorKind::NotFound)
    }

    pub fn is_permission(&self) -> bool {
        self.kind() == Some(io::ErrorKind::PermissionDenied) || self.is_read_only()
    }

    /// The file system may not be written by anybody.
    pub fn is_read_only(&self) -> bool {
        self.kind() == Some(io::ErrorKind::ReadOnlyFilesystem)
    }
}
