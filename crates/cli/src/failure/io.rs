//! What errors of the operating system's door mean to a script.

use reseed_io::{IoError, Op};

use super::Failure;
use crate::exit::Outcome;

pub fn outcome(error: &IoError) -> Outcome {
    match error {
        IoError::Os { .. } if is_broken_pipe(error) => Outcome::Failed,
        IoError::Os { op, .. } => match op {
            Op::Create
            | Op::Write
            | Op::Sync
            | Op::Rename
            | Op::Remove
            | Op::Resize
            | Op::Lock
            | Op::Chmod
            | Op::Chown
            | Op::MakeDir => Outcome::RepositoryFull,
            Op::Open | Op::Read | Op::Stat | Op::List => Outcome::Failed,
        },
        IoError::Busy { .. } => Outcome::NameBusy,
        IoError::Cancelled(_) => Outcome::Interrupted,
    }
}

pub fn io(error: &IoError) -> Failure {
    let failure = Failure::of(outcome(error), error);
    if is_broken_pipe(error) {
        failure.hint("Whoever was to read the stream has gone away. Look at what it said.")
    } else if error.is_no_space() {
        failure.hint("Make room there and run it again. What was there before has not been touched.")
    } else if error.is_read_only() {
        failure.hint("The file system is mounted read-only: mount it to be written, or name another place.")
    } else if error.is_permission() {
        failure.hint("Run reseed as a user who may do that: root, or one in the server's group.")
    } else {
        failure
    }
}

fn is_broken_pipe(error: &IoError) -> bool {
    error.kind() == Some(std::io::ErrorKind::BrokenPipe)
}
