use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reseed_innodb::PageError;
use reseed_io::{Cancelled, IoError};
use reseed_redo::{Lsn, SpaceId};
use reseed_repository::{Leftover, Rest};
use reseed_server::{Missing, ServerError};

use crate::base::WhyFull;

/// Why a backup was not taken. Whatever the reason, no lock is left in the server and nothing is published.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Server(#[from] ServerError),

    /// All that is missing, at once.
    #[error("{user} lacks {}", missing_list(.missing))]
    MissingPrivileges { user: String, missing: Vec<Missing> },

    #[error("{server} cannot be backed up: {refusal}")]
    Refused { server: String, refusal: Refusal },

    /// The datadir that the server named is not here, or is another server's.
    #[error("{} is not the data of {server}: {reason}", datadir.display())]
    NotThisServer { server: String, datadir: PathBuf, reason: String },

    #[error("{} cannot be read by user {user}", path.display())]
    Unreadable { path: PathBuf, user: String, source: io::Error },

    #[error(transparent)]
    Io(#[from] IoError),

    #[error(transparent)]
    Repository(#[from] reseed_repository::RepositoryError),

    #[error("the redo log is not understood at LSN {at}: {source}")]
    Redo { at: Lsn, source: Box<reseed_redo::RedoError> },

    /// The server has written over redo that was not read yet.
    #[error(
        "the server overwrote its redo log before it was read: LSN {needed} was needed, {written} is written, and the \
         log holds {capacity} bytes"
    )]
    RedoOverrun {
        needed: Lsn,
        written: Lsn,
        capacity: u64,
        /// A size of the redo log with which this backup would not have failed here.
        sufficient: u64,
    },

    /// The redo log was begun anew: the server was restarted.
    #[error("the redo log was made anew during the backup: {reason}")]
    RedoRestarted { reason: String },

    #[error("redo logging was switched off during the backup")]
    RedoDisabled,

    #[error("the redo log was followed to LSN {reached}, and LSN {wanted} did not come within {}", seconds(.waited))]
    RedoBehind { wanted: Lsn, reached: Lsn, waited: Duration },

    #[error("page {page} of {} (space {space}) stays corrupt after {tries} reads: {source}", file.display())]
    CorruptPage { file: PathBuf, page: u32, space: SpaceId, tries: u32, source: PageError },

    #[error("{}: page {page} of tablespace {space} has LSN {lsn}, and the server itself is at {end} only", file.display())]
    PageFromFuture { file: PathBuf, page: u32, space: SpaceId, lsn: Lsn, end: Lsn },

    #[error("{} is no tablespace of this server: {source}", file.display())]
    BadTablespace { file: PathBuf, source: PageError },

    /// A file ended early, and nothing that the server logged explains it.
    #[error("{} ended after {got} bytes, {expected} were expected", file.display())]
    Shrunk { file: PathBuf, expected: u64, got: u64 },

    /// The set that was named does not fit to the server.
    #[error("backup set {parent} cannot be built on: {why}")]
    Parent { parent: String, why: WhyFull },

    /// The parent set's copy of a page that has not been written since is another: the file was changed by something
    /// that leaves no LSN, such as a volume that was set back to a snapshot.
    #[error(
        "{} holds other pages from page {page} on (space {space}) than the set that is built on, though none was written \
         since by its LSN: was the volume set back, or the file changed by something else than the server?", file.display()
    )]
    NotAsBefore { file: PathBuf, page: u32, space: SpaceId },

    /// A file that should stand still under the lock does not.
    #[error("{} kept changing while it was copied ({tries} times)", file.display())]
    Restless { file: PathBuf, tries: u32 },

    /// Data cannot be matched with the lock that should have protected it.
    #[error("the session that held {lock} was lost: {source}")]
    LockLost { lock: &'static str, source: Box<ServerError> },

    #[error("tablespace {space} ({path}) was made while DDL was locked out")]
    MadeUnderLock { space: SpaceId, path: String },

    #[error(transparent)]
    Cancelled(#[from] Cancelled),

    /// A thread of the backup itself died.
    #[error("the {thread} thread ended unexpectedly")]
    Thread { thread: &'static str },

    #[error("failpoint {name}")]
    Failpoint { name: &'static str, source: io::Error },

    /// What was copied stays for the next run, which may use it again.
    #[error("{error}")]
    Unfinished { error: Box<BackupError>, left: Leftover },
}

/// What reseed does not back up, and knows beforehand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("its redo log is encrypted")]
    EncryptedRedo,
    #[error("it has encrypted tablespaces: {}", some_of(.names))]
    EncryptedSpaces { names: Vec<String> },
    #[error("innodb_log_archive is on, a layout of the redo log that is not supported")]
    RedoArchive,
    #[error("its redo logging is switched off, so that a copy of the running server cannot be made whole")]
    RedoDisabled,
    #[error("innodb_log_checksums is OFF, so that nothing tells a good block of its redo log from a bad one")]
    RedoUnchecked,
    #[error("its redo log is not one that is read: {reason}")]
    RedoFormat { reason: String },
    #[error("it has data of the engine {engine}, which is not supported")]
    Engine { engine: String },
    #[error("its version is not supported: {reason}")]
    Version { reason: String },
    #[error("InnoDB is not running in it")]
    NoInnodb,
    #[error("{lock} is not to be had on this version")]
    Lock { lock: &'static str },
}

impl BackupError {
    pub(crate) fn unreadable(path: &Path, source: io::Error) -> BackupError {
        if source.kind() == io::ErrorKind::PermissionDenied {
            BackupError::Unreadable { path: path.to_path_buf(), user: whoami(), source }
        } else {
            IoError::new(reseed_io::Op::Read, path, source).into()
        }
    }

    /// What is to become of the bytes that were stored. They stay where another try is likely to need them; where room is
    /// short, or something is wrong with the data or with this program, they go.
    pub(crate) fn rest(&self) -> Rest {
        match self {
            _ if self.is_cancelled() => Rest::Kept,
            BackupError::RedoOverrun { .. }
            | BackupError::RedoRestarted { .. }
            | BackupError::RedoBehind { .. }
            | BackupError::LockLost { .. }
            | BackupError::MadeUnderLock { .. } => Rest::Kept,
            BackupError::Server(error) => match error {
                ServerError::Connect { .. }
                | ServerError::ConnectionLost { .. }
                | ServerError::Timeout { .. }
                | ServerError::LockWait { .. }
                | ServerError::TemporaryTables { .. }
                | ServerError::Stopped { .. } => Rest::Kept,
                ServerError::Login { .. }
                | ServerError::AuthPlugin { .. }
                | ServerError::Tls { .. }
                | ServerError::NoSocket { .. }
                | ServerError::Privileges { .. }
                | ServerError::Statement { .. }
                | ServerError::Answer { .. }
                | ServerError::Unsupported { .. }
                | ServerError::Runtime(_) => Rest::Removed,
            },
            BackupError::MissingPrivileges { .. }
            | BackupError::Refused { .. }
            | BackupError::NotThisServer { .. }
            | BackupError::Unreadable { .. }
            | BackupError::Io(_)
            | BackupError::Repository(_)
            | BackupError::Redo { .. }
            | BackupError::RedoDisabled
            | BackupError::CorruptPage { .. }
            | BackupError::PageFromFuture { .. }
            | BackupError::BadTablespace { .. }
            | BackupError::Shrunk { .. }
            | BackupError::Parent { .. }
            | BackupError::NotAsBefore { .. }
            | BackupError::Restless { .. }
            | BackupError::Cancelled(_)
            | BackupError::Thread { .. }
            | BackupError::Failpoint { .. }
            | BackupError::Unfinished { .. } => Rest::Removed,
        }
    }

    /// True where the caller asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            BackupError::Cancelled(_)
                | BackupError::Io(IoError::Cancelled(_))
                | BackupError::Server(ServerError::Stopped { .. })
                | BackupError::Repository(reseed_repository::RepositoryError::Cancelled(_))
        ) || matches!(self, BackupError::Unfinished { error, .. } if error.is_cancelled())
    }
}

/// The user that this process reads files as, by name where the system knows one.
pub(crate) fn whoami() -> String {
    use std::os::unix::fs::MetadataExt;
    let Ok(own) = std::fs::metadata("/proc/self") else { return "this user".to_owned() };
    let id = own.uid();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("number {id}"))
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs())
}

fn some_of(names: &[String]) -> String {
    let mut text = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 5 {
        text.push_str(&format!(" and {} more", names.len() - 5));
    }
    text
}

fn missing_list(missing: &[Missing]) -> String {
    let one = |missing: &Missing| format!("{} on {} ({})", missing.privilege, missing.on, missing.why);
    missing.iter().map(one).collect::<Vec<_>>().join("; ")
}
