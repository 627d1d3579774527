//! What the failures of a restore mean to a script, and what to do about them.

use reseed_restore::RestoreError;

use super::Failure;
use super::io::io;
use super::repository::repository;
use super::server::handover;
use crate::exit::Outcome;

pub fn restore(error: &RestoreError) -> Failure {
    match error {
        RestoreError::Io(below) => return io(below),
        RestoreError::Repository(below) => return repository(below),
        RestoreError::Handover(below) => return handover(below),
        _ => {}
    }
    let failure = Failure::of(outcome(error), error);
    match hint(error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn outcome(error: &RestoreError) -> Outcome {
    match error {
        RestoreError::Cancelled(_) => Outcome::Interrupted,
        RestoreError::NotEmpty { .. }
        | RestoreError::NotADirectory { .. }
        | RestoreError::InUse { .. }
        | RestoreError::Busy { .. }
        | RestoreError::Unfinished { .. }
        | RestoreError::NothingToUse { .. }
        | RestoreError::OtherServer { .. }
        | RestoreError::OutsideExists { .. } => Outcome::DatadirInUse,
        RestoreError::NoSpace { .. } => Outcome::RepositoryFull,
        RestoreError::BadPath { .. }
        | RestoreError::SetInconsistent { .. }
        | RestoreError::RedoShort { .. }
        | RestoreError::NoFile { .. }
        | RestoreError::Redo { .. }
        | RestoreError::Page { .. }
        | RestoreError::Apply { .. }
        | RestoreError::PageFromFuture { .. }
        | RestoreError::NoFirstPage { .. } => Outcome::SetDamaged,
        RestoreError::Unsupported { .. } | RestoreError::Misfit(_) => Outcome::Unsupported,
        RestoreError::SameServerId { .. } => Outcome::ReplicationBroken,
        RestoreError::NotPutBack { source, .. } | RestoreError::UsedUp { source, .. } => {
            restore(source).outcome
        }
        RestoreError::Io(_)
        | RestoreError::Repository(_)
        | RestoreError::Handover(_)
        | RestoreError::Stopped
        | RestoreError::Worker { .. } => Outcome::Failed,
    }
}

fn hint(error: &RestoreError) -> Option<String> {
    let text = match error {
        RestoreError::NotEmpty { .. } => {
            "Give --move-aside to rename what is there beside the new datadir, --delta to make the new one out of it, or \
             name another directory."
        }
        RestoreError::Unfinished { .. } => {
            "Give --delta to go on from what a restore with --delta has left, --move-aside to rename it, or remove it \
             when you know that nothing in it is wanted."
        }
        RestoreError::InUse { .. } => "Stop that server first, or name another directory.",
        RestoreError::Busy { .. } => "Wait for that run, or name another directory.",
        RestoreError::NoSpace { .. } => "Make room there, or name a directory on another file system.",
        RestoreError::OutsideExists { .. } => {
            "That file may belong to a living server. Say where files from outside the datadir go: --map OLD=NEW, or \
             --outside inside."
        }
        RestoreError::Apply { .. } | RestoreError::Redo { .. } | RestoreError::Unsupported { .. } => {
            "With --apply server the redo is laid down in the server's own format, and the server applies it at its \
             start."
        }
        RestoreError::BadPath { .. }
        | RestoreError::SetInconsistent { .. }
        | RestoreError::RedoShort { .. }
        | RestoreError::NoFile { .. }
        | RestoreError::Page { .. }
        | RestoreError::PageFromFuture { .. }
        | RestoreError::NoFirstPage { .. } => {
            "Nothing was put under the datadir's name. `reseed verify` says whether the set is as it was written; use \
             an older set."
        }
        RestoreError::NothingToUse { .. } | RestoreError::OtherServer { .. } => {
            "Nothing was changed. Give --move-aside to rename what is there, or name another directory."
        }
        RestoreError::UsedUp { .. } => {
            "The same command, given again, goes on from there. With --move-aside instead of --delta the rest of the \
             old datadir is renamed first."
        }
        RestoreError::NotPutBack { aside, .. } => {
            return Some(format!("The old datadir is whole, under the name {}.", aside.display()));
        }
        RestoreError::Misfit(_) => {
            "Nothing was changed here. Install a server that fits, or name the one that will run on the datadir with \
             --server-binary."
        }
        RestoreError::SameServerId { .. } => {
            "Nothing was changed here. Give this host's server a server_id of its own in its option file."
        }
        RestoreError::NotADirectory { .. }
        | RestoreError::Cancelled(_)
        | RestoreError::Io(_)
        | RestoreError::Repository(_)
        | RestoreError::Handover(_)
        | RestoreError::Stopped
        | RestoreError::Worker { .. } => return None,
    };
    Some(text.to_owned())
}
