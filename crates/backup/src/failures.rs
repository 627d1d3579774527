//! The first failure of a backup's threads. Whoever fails tells it here, and with that stops all the others, whose
//! own "stopped" is then not what the user is told.

use std::sync::{Arc, Mutex, PoisonError};

use reseed_io::Cancel;

use crate::error::BackupError;

#[derive(Debug, Clone)]
pub(crate) struct Failures {
    first: Arc<Mutex<Option<BackupError>>>,
    cancel: Cancel,
}

impl Failures {
    /// A failure stops what watches [`Failures::cancel`], and not the caller, who may do it again in another way.
    pub fn new(cancel: &Cancel) -> Failures {
        Failures { first: Arc::default(), cancel: cancel.child() }
    }

    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    pub fn fail(&self, error: BackupError) {
        if !error.is_cancelled() {
            let reason = error.to_string();
            self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.cancel.cancel(reason);
        }
    }

    /// The failure that came first, where `result` is only its consequence.
    pub fn settle<T>(&self, result: Result<T, BackupError>) -> Result<T, BackupError> {
        match result {
            Err(error) if error.is_cancelled() => {
                Err(self.first.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(error))
            }
            other => other,
        }
    }
}
