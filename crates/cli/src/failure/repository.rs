//! What errors of a repository mean to a script, and what to do about them.

use reseed_repository::RepositoryError;

use super::{Failure, io};
use crate::exit::Outcome;

pub fn repository(error: &RepositoryError) -> Failure {
    if let RepositoryError::Io(below) = error {
        return io::io(below);
    }
    let failure = Failure::of(outcome(error), error);
    match hint(error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn outcome(error: &RepositoryError) -> Outcome {
    match error {
        RepositoryError::Io(below) => io::outcome(below),
        RepositoryError::Cancelled(_) => Outcome::Interrupted,
        RepositoryError::Name(_) | RepositoryError::BadCompression { .. } => Outcome::Usage,
        RepositoryError::Busy { .. } | RepositoryError::InUse { .. } => Outcome::NameBusy,
        RepositoryError::NoRepository { .. }
        | RepositoryError::NoServer { .. }
        | RepositoryError::NoSets { .. }
        | RepositoryError::NoSet { .. }
        | RepositoryError::Unpublished { .. }
        | RepositoryError::Damaged { .. }
        | RepositoryError::ParentMissing { .. }
        | RepositoryError::ParentAltered { .. }
        | RepositoryError::Stream(_) => Outcome::SetDamaged,
        RepositoryError::NewerFormat { .. } => Outcome::Unsupported,
        RepositoryError::Path { .. } | RepositoryError::Incomplete(_) | RepositoryError::Compress(_) => {
            Outcome::Failed
        }
    }
}

fn hint(error: &RepositoryError) -> Option<&'static str> {
    Some(match error {
        RepositoryError::Busy { .. } => {
            "Wait for that run. Its lock ends with its process, however that ends."
        }
        RepositoryError::InUse { .. } => "Run it again when that process is done.",
        RepositoryError::NoRepository { .. } => {
            "A repository is the directory given as --repo to `reseed backup`; is its file system mounted?"
        }
        RepositoryError::NoServer { .. } | RepositoryError::NoSets { .. } | RepositoryError::NoSet { .. } => {
            "`reseed list --repo DIR` shows what is there."
        }
        RepositoryError::Unpublished { .. } => {
            "Use another set; the next backup of this name removes what is left of it."
        }
        RepositoryError::Damaged { .. } | RepositoryError::ParentAltered { .. } => {
            "Do not use this set. `reseed verify ... all` says which sets are whole; take a new backup."
        }
        RepositoryError::ParentMissing { .. } => "Use a set whose chain is whole, or take a new full backup.",
        RepositoryError::Stream(_) => {
            "Nothing of it was used. Look at what the sending side said, and run it again."
        }
        RepositoryError::NewerFormat { .. } => "Use the reseed that wrote it, or a newer one.",
        RepositoryError::Io(_)
        | RepositoryError::Cancelled(_)
        | RepositoryError::Name(_)
        | RepositoryError::BadCompression { .. }
        | RepositoryError::Path { .. }
        | RepositoryError::Incomplete(_)
        | RepositoryError::Compress(_) => return None,
    })
}
