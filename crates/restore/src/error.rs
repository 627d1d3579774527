//! Everything that ends a restore, told apart as far as a script or a hint must tell it apart.

use std::path::PathBuf;

use reseed_innodb::PageError;
use reseed_io::{Cancelled, IoError};
use reseed_redo::{Lsn, PageId, SpaceId};
use reseed_repository::RepositoryError;

/// What ended a restore, an export or a verification.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Cancelled(#[from] Cancelled),

    #[error(transparent)]
    Repository(#[from] RepositoryError),

    #[error(transparent)]
    Io(IoError),

    /// The target holds files and nothing was said about what to do with them.
    #[error("{} is not empty (it holds {example:?}{})", path.display(), others(*entries))]
    NotEmpty { path: PathBuf, entries: usize, example: String },

    /// The target exists and is no directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory { path: PathBuf },

    /// A server runs on the target.
    #[error("a running server uses {}: {evidence}", path.display())]
    InUse { path: PathBuf, pid: Option<u32>, evidence: String },

    /// Another restore works on the same target.
    #[error("another restore works on {}: {holder}", path.display())]
    Busy { path: PathBuf, holder: String },

    /// A restore that was killed left the target half-filled; it is told from a whole datadir by this file.
    #[error("{} holds an unfinished restore (marker {})", path.display(), marker.display())]
    Unfinished { path: PathBuf, marker: PathBuf },

    /// The target was to be used up and is not what can be.
    #[error("{} is not empty, and there is no tablespace in it that could be used again", path.display())]
    NothingToUse { path: PathBuf },

    /// The same, and it is of something else than the set.
    #[error("{} is of another server than the set: it has {old}, the set {set}", path.display())]
    OtherServer { path: PathBuf, old: String, set: String },

    #[error("{} has {free} bytes free, and the restore needs {needed}", path.display())]
    NoSpace { path: PathBuf, needed: u64, free: u64 },

    /// The set names a file that cannot be put where it says.
    #[error("the set's file {path:?} cannot be restored: {reason}")]
    BadPath { path: String, reason: &'static str },

    /// A file outside the datadir would land on one that exists.
    #[error("{} exists already; it would be overwritten by the set's {path:?}", target.display())]
    OutsideExists { path: String, target: PathBuf },

    /// The set contradicts itself in a way that its checksums do not show.
    #[error("the set is damaged: {path}: {reason}")]
    SetInconsistent { path: String, reason: String },

    /// What the set needs is something this version does not do.
    #[error("not supported: {what}")]
    Unsupported { what: String },

    #[error("the redo cannot be read at LSN {lsn}: {source}")]
    Redo { lsn: Lsn, source: reseed_redo::RedoError },

    /// The redo ends before the instant that the set promises.
    #[error("the set's redo ends at LSN {found}, and its pages need it up to {needed}")]
    RedoShort { found: Lsn, needed: Lsn },

    /// Page changes of a tablespace that has no file.
    #[error(
        "the redo changes tablespace {space}{} up to LSN {last}, and the set has no file for it",
        named(name)
    )]
    NoFile { space: SpaceId, name: Option<String>, last: Lsn },

    #[error("{path}: {page}: {source}")]
    Page { path: String, page: PageId, source: PageError },

    #[error("{path}: {page}: {source}")]
    Apply { path: String, page: PageId, source: reseed_redo::RedoError },

    /// A page is newer than the redo: a server that starts from this redo's end would take it for damage.
    #[error("{path}: {page} has LSN {lsn}, and the set's redo ends at {end}")]
    PageFromFuture { path: String, page: PageId, lsn: Lsn, end: Lsn },

    /// A tablespace that was created during the backup, and whose first page the redo does not hold.
    #[error("{path}: the first page is empty and the redo does not create it")]
    NoFirstPage { path: String },

    #[error(transparent)]
    Handover(#[from] reseed_server::handover::HandoverError),

    /// The server that is to run on the datadir cannot.
    #[error(transparent)]
    Misfit(#[from] reseed_server::upgrade::Misfit),

    /// Two servers of one replication topology with one `server_id`.
    #[error("the source and the server that will run here both have server_id {id}")]
    SameServerId { id: u32 },

    /// Given up because another worker failed first; never the error that is reported.
    #[error("stopped because another part of the restore failed")]
    Stopped,

    #[error("{what} ended without saying why")]
    Worker { what: &'static str },

    /// The restore failed after it had begun to use the old datadir up.
    #[error("{source}; the old datadir was in use for the new one: what there is of both lies in {}", work.display())]
    UsedUp {
        work: PathBuf,
        #[source]
        source: Box<RestoreError>,
    },

    /// The restore failed, and on top of that the old datadir could not be put back.
    #[error("{source}; and the old datadir could not be put back from {}: {put_back}", aside.display())]
    NotPutBack {
        aside: PathBuf,
        put_back: Box<RestoreError>,
        #[source]
        source: Box<RestoreError>,
    },
}

impl RestoreError {
    /// What went wrong, whatever became of the old datadir.
    pub fn cause(&self) -> &RestoreError {
        match self {
            RestoreError::UsedUp { source, .. } | RestoreError::NotPutBack { source, .. } => source.cause(),
            error => error,
        }
    }
}

fn others(entries: usize) -> String {
    match entries {
        0 | 1 => String::new(),
        more => format!(" and {} more", more - 1),
    }
}

fn named(name: &Option<String>) -> String {
    name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default()
}

impl From<IoError> for RestoreError {
    fn from(error: IoError) -> RestoreError {
        match error {
            IoError::Cancelled(cancelled) => RestoreError::Cancelled(cancelled),
            error => RestoreError::Io(error),
        }
    }
}
