//! The newest page that was copied. No page can be newer than the server itself: one that is has been written by
//! another server, or by nobody, and no server would accept it after a restore.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use reseed_terms::{Lsn, PageNo, SpaceId};

use crate::error::BackupError;

/// Kept by all copying threads together.
#[derive(Debug, Default)]
pub(crate) struct NewestPage {
    /// So that almost every page costs one look at a number.
    lsn: AtomicU64,
    page: Mutex<Option<Found>>,
}

#[derive(Debug)]
struct Found {
    lsn: Lsn,
    file: std::path::PathBuf,
    page: PageNo,
    space: SpaceId,
}

impl NewestPage {
    pub fn see(&self, lsn: Lsn, file: &Path, page: PageNo, space: SpaceId) {
        if lsn.0 <= self.lsn.load(Ordering::Relaxed) {
            return;
        }
        let mut newest = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|newest| newest.lsn < lsn) {
            *newest = Some(Found { lsn, file: file.to_owned(), page, space });
            self.lsn.store(lsn.0, Ordering::Relaxed);
        }
    }

    /// # Errors
    /// When a page is newer than `end`, the LSN that the backup is of.
    pub fn check(&self, end: Lsn) -> Result<(), BackupError> {
        let newest = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.as_ref().filter(|newest| newest.lsn > end) {
            Some(Found { lsn, file, page, space }) => Err(BackupError::PageFromFuture {
                file: file.clone(),
                page: page.0,
                space: *space,
                lsn: *lsn,
                end,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_one_is_named() {
        let newest = NewestPage::default();
        assert!(newest.check(Lsn(0)).is_ok());
        for (lsn, page) in [(5, 1), (9, 2), (7, 3)] {
            newest.see(Lsn(lsn), Path::new("shop/t.ibd"), PageNo(page), SpaceId(4));
        }
        assert!(newest.check(Lsn(9)).is_ok());
        let error = newest.check(Lsn(8)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shop/t.ibd: page 2 of tablespace 4 has LSN 9, and the server itself is at 8 only"
        );
    }
}
