//! MariaDB: `BACKUP STAGE START` before the copy, then FLUSH, BLOCK_DDL, BLOCK_COMMIT after it; or one global read
//! lock.
//!
//! | stage | what stands still | what is done |
//! |---|---|---|
//! | START | nothing; Aria keeps its logs | the long copy |
//! | FLUSH | new writes to non-transactional tables | |
//! | BLOCK_DDL | DDL; tables that are not transactional are written out and closed | inventory, other engines' files |
//! | BLOCK_COMMIT | commits, the binary log, the server's own tables | the rest of those, Aria's log, coordinates |

use std::ffi::OsStr;
use std::time::Instant as Clock;

use reseed_server::{LockSession, Stage};

use super::{Instant, Protocol, check, release};
use crate::engines::Strictness;
use crate::error::BackupError;
use crate::scan::{Found, FoundKind};
use crate::work::{Work, failpoint, seconds_since, settle_aria};

pub(crate) struct MariadbLocks {
    session: LockSession,
    /// FLUSH TABLES WITH READ LOCK instead of stages.
    global: bool,
}

impl MariadbLocks {
    pub fn new(session: LockSession, global: bool) -> MariadbLocks {
        MariadbLocks { session, global }
    }
}

impl Protocol for MariadbLocks {
    fn begin(&mut self) -> Result<(), BackupError> {
        if !self.global {
            self.session.stage(Stage::Start)?;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), BackupError> {
        check(&mut self.session, "BACKUP STAGE START")
    }

    fn finish(mut self: Box<Self>, work: &mut Work<'_, '_>) -> Result<Instant, BackupError> {
        work.catch_up()?;
        work.steps.begin("lock", None);
        failpoint("backup.lock")?;
        work.copier.hurry();
        let (inventory, commits) = if self.global {
            self.session.flush_tables_with_read_lock()?;
            let held = Clock::now();
            (work.final_inventory()?, held)
        } else {
            self.session.stage(Stage::Flush)?;
            self.session.stage(Stage::BlockDdl)?;
            let inventory = work.final_inventory()?;
            work.settle(|file| !is_late(file), Strictness::Still)?;
            // It is written on, but what is copied of it now need not be under the next lock.
            work.settle(|file| file.kind == FoundKind::AriaLog, Strictness::Tolerant)?;
            self.session.stage(Stage::BlockCommit)?;
            (inventory, Clock::now())
        };
        let global = self.global;
        let bytes = settle_aria(work, |file| is_table(file) && (global || is_late(file)))?;
        tracing::info!(bytes, "copied while commits were held");
        failpoint("backup.coordinates")?;
        let (coordinates, end) = work.server.coordinates_with_lsn()?;
        let lock = if global { "FLUSH TABLES WITH READ LOCK" } else { "BACKUP STAGE BLOCK_COMMIT" };
        let locks = release(self.session, lock)?;
        let commits_held = Some(seconds_since(commits));
        failpoint("backup.release")?;
        work.server.flush_engine_logs()?;
        Ok(Instant { coordinates, end, inventory, locks, commits_held })
    }
}

fn is_table(file: &Found) -> bool {
    file.kind == FoundKind::Plain
}

/// What may still be written under BLOCK_DDL: the server's own tables (statistics, logs, grants), and Aria's, whose
/// pages a checkpoint may write out at any time.
fn is_late(file: &Found) -> bool {
    let extension = file.path.extension().unwrap_or_default();
    let aria = matches!(file.kind, FoundKind::AriaControl | FoundKind::AriaLog)
        || ["MAD", "MAI"].iter().any(|known| extension == OsStr::new(known));
    let own = file.path.starts_with("mysql")
        && ["MYD", "MYI", "CSV", "CSM"].iter().any(|known| extension == OsStr::new(known));
    aria || own
}
