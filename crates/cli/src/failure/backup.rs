//! What the failures of a backup mean to a script, and what to do about them.

use reseed_backup::{BackupError, Refusal};
use reseed_repository::Leftover;

use super::Failure;
use super::io::io;
use super::repository::repository;
use super::server::{missing_privileges, server};
use crate::exit::Outcome;
use crate::units::Size;

pub fn backup(error: &BackupError) -> Failure {
    match error {
        BackupError::MissingPrivileges { user, missing } => return missing_privileges(user, missing),
        BackupError::Server(below) => return server(below),
        BackupError::Io(below) => return io(below),
        BackupError::Repository(below) => return repository(below),
        BackupError::Unfinished { error, left } => return backup(error).also(&stays(left)),
        _ => {}
    }
    let failure = Failure::of(outcome(error), error);
    match hint(error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn stays(left: &Leftover) -> String {
    format!(
        "No set was published. What was copied stays ({} in {}): the next backup uses of it what is still the same. reseed expire removes it.",
        Size(left.bytes),
        left.name
    )
}

fn outcome(error: &BackupError) -> Outcome {
    match error {
        BackupError::Unfinished { error, .. } => outcome(error),
        BackupError::MissingPrivileges { .. } => Outcome::MissingPrivilege,
        BackupError::Parent { .. } | BackupError::NotAsBefore { .. } => Outcome::Usage,
        BackupError::Refused { .. } | BackupError::RedoDisabled => Outcome::Unsupported,
        BackupError::Redo { .. } => Outcome::Failed,
        BackupError::RedoOverrun { .. } => Outcome::RedoOverrun,
        BackupError::CorruptPage { .. }
        | BackupError::BadTablespace { .. }
        | BackupError::PageFromFuture { .. } => Outcome::CorruptPage,
        BackupError::Cancelled(_) => Outcome::Interrupted,
        BackupError::Server(_)
        | BackupError::Io(_)
        | BackupError::Repository(_)
        | BackupError::NotThisServer { .. }
        | BackupError::Unreadable { .. }
        | BackupError::RedoRestarted { .. }
        | BackupError::RedoBehind { .. }
        | BackupError::Shrunk { .. }
        | BackupError::Restless { .. }
        | BackupError::LockLost { .. }
        | BackupError::MadeUnderLock { .. }
        | BackupError::Thread { .. }
        | BackupError::Failpoint { .. } => Outcome::Failed,
    }
}

fn hint(error: &BackupError) -> Option<String> {
    let text = match error {
        BackupError::RedoOverrun { sufficient, .. } => {
            return Some(format!(
                "A redo log of {} would have sufficed: innodb_log_file_size (MariaDB), innodb_redo_log_capacity \
                 (MySQL). Or run the backup when less is written. See docs/runbooks/redo-overrun.md.",
                Size(*sufficient)
            ));
        }
        BackupError::Refused { refusal, .. } => refused(refusal)?,
        BackupError::NotThisServer { .. } => {
            "Run reseed on the server's own host, in the same mount namespace, and connect to the server that you mean."
        }
        BackupError::Unreadable { .. } => {
            "Run reseed as root, or as a user in the group that owns the datadir."
        }
        BackupError::CorruptPage { .. } | BackupError::BadTablespace { .. } => {
            "The data on the server's disk is damaged. Keep the older sets, and see docs/runbooks/corrupt-page.md."
        }
        BackupError::PageFromFuture { .. } => {
            "The page comes from another server, or the redo log was once removed: rebuild the table (ALTER TABLE ... \
             ENGINE=InnoDB), and keep the older sets."
        }
        BackupError::RedoRestarted { .. } => {
            "Run the backup again; the server must not be restarted during it."
        }
        BackupError::RedoDisabled => "ALTER INSTANCE ENABLE INNODB REDO_LOG, then run the backup again.",
        BackupError::LockLost { .. } => {
            "Look into the server's error log: was it stopped, or the session killed?"
        }
        BackupError::MadeUnderLock { .. } => "Run the backup again when no DDL runs.",
        BackupError::Restless { .. } | BackupError::Shrunk { .. } => {
            "Is something other than the server writing into the datadir? Run the backup again."
        }
        BackupError::RedoBehind { .. } => {
            "Run the backup again; if it stays so, the disk of the redo log is too slow."
        }
        BackupError::Parent { .. } | BackupError::NotAsBefore { .. } => {
            "Leave --parent out: --type incremental builds on the newest good set, or else takes a full one."
        }
        BackupError::MissingPrivileges { .. }
        | BackupError::Server(_)
        | BackupError::Io(_)
        | BackupError::Repository(_)
        | BackupError::Redo { .. }
        | BackupError::Cancelled(_)
        | BackupError::Thread { .. }
        | BackupError::Failpoint { .. }
        | BackupError::Unfinished { .. } => return None,
    };
    Some(text.to_owned())
}

fn refused(refusal: &Refusal) -> Option<&'static str> {
    Some(match refusal {
        Refusal::EncryptedRedo => {
            "Only with the redo log's encryption switched off can reseed back this server up."
        }
        Refusal::EncryptedSpaces { .. } => {
            "Only a server without encrypted tablespaces can be backed up by reseed."
        }
        Refusal::RedoArchive => "SET GLOBAL innodb_log_archive = OFF, then run the backup again.",
        Refusal::RedoUnchecked => "SET GLOBAL innodb_log_checksums = ON, then run the backup again.",
        Refusal::RedoDisabled => "ALTER INSTANCE ENABLE INNODB REDO_LOG, then run the backup again.",
        Refusal::Version { .. } | Refusal::RedoFormat { .. } => {
            "reseed works with MariaDB 10.5 to 11.8 and MySQL 8.0.30 to 9.7. A newer server needs a newer reseed."
        }
        Refusal::Lock { .. } => "Leave --lock at auto.",
        Refusal::Engine { .. } | Refusal::NoInnodb => return None,
    })
}
