//! MySQL: `LOCK INSTANCE FOR BACKUP` from before the copy to the end keeps DDL out and lets everything else run. User
//! tables that InnoDB does not keep are flushed and locked for reading, each by name and in the same session, from the
//! end of the copy until the coordinates are read. (Another session would wait for the first one's lock.)
//!
//! Not with one global read lock: a DDL statement that waits for the instance lock holds what the global lock would
//! have to wait for, and where both locks are one session's, the server ends that DDL with a deadlock error.

use std::time::Instant as Clock;

use reseed_server::{LockSession, ServerError};
use reseed_terms::{Coordinates, LockTimes, Lsn};

use super::{Instant, Protocol, check, lock_options, release};
use crate::engines::Strictness;
use crate::error::BackupError;
use crate::scan::Found;
use crate::work::{Work, failpoint, seconds_since};

/// How often an instant without XA statements is looked for: each look takes about as long as one of them.
const XA_TRIES: u32 = 300;
/// Engines whose tables have rows in files. The files of a MERGE table only name others.
const ENGINES: [&str; 3] = ["MyISAM", "CSV", "ARCHIVE"];
const INSTANCE: &str = "LOCK INSTANCE FOR BACKUP";

pub(crate) struct MysqlLocks {
    instance: LockSession,
    /// A global read lock is needed for the instant of the coordinates, or was asked for.
    global: bool,
}

impl MysqlLocks {
    pub fn new(instance: LockSession, global: bool) -> MysqlLocks {
        MysqlLocks { instance, global }
    }
}

impl Protocol for MysqlLocks {
    fn begin(&mut self) -> Result<(), BackupError> {
        Ok(self.instance.lock_instance()?)
    }

    fn check(&mut self) -> Result<(), BackupError> {
        check(&mut self.instance, INSTANCE)
    }

    fn finish(mut self: Box<Self>, work: &mut Work<'_, '_>) -> Result<Instant, BackupError> {
        work.steps.begin("lock", None);
        failpoint("backup.lock")?;
        work.copier.hurry();
        let tables: Vec<(String, String)> = work
            .server
            .other_tables()?
            .into_iter()
            .filter(|table| {
                !table.system && ENGINES.iter().any(|known| table.engine.eq_ignore_ascii_case(known))
            })
            .map(|table| (table.schema, table.name))
            .collect();
        let mut global = None;
        if self.global {
            global = Some(GlobalLock::take(work)?);
        } else if !tables.is_empty() {
            match self.instance.flush_tables_read_lock(&tables) {
                Ok(()) => {}
                // A table that does not open, since it is damaged, keeps the others from being locked.
                Err(ServerError::Statement { message, .. }) => {
                    work.notes.push(format!("tables of other engines were locked all together: {message}"));
                    global = Some(GlobalLock::take(work)?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let inventory = work.final_inventory()?;
        work.settle(|file| !is_own(file), Strictness::Still)?;
        work.settle(is_own, Strictness::Tolerant)?;
        if work.facts.binlog.is_some() {
            // What a point-in-time recovery adds to this backup then begins in a file of its own.
            work.server.flush_binary_logs()?;
        }
        failpoint("backup.coordinates")?;
        let (coordinates, end) = match between_xa(work) {
            Ok(Some(found)) => found,
            // Its XA statements follow each other without a gap.
            Ok(None) if global.is_none() => {
                global = Some(GlobalLock::take(work)?);
                work.server.coordinates_with_lsn()?
            }
            Ok(None) => work.server.coordinates_with_lsn()?,
            Err(error) => return Err(error.into()),
        };
        let (mut locks, commits_held) = match global {
            Some(global) => global.release()?,
            None => (Vec::new(), None),
        };
        // Both at once, for the end of the tables' lock takes the instance's with it.
        locks.extend(release(self.instance, INSTANCE)?);
        failpoint("backup.release")?;
        work.server.flush_engine_logs()?;
        Ok(Instant { coordinates, end, inventory, locks, commits_held })
    }
}

/// Coordinates of an instant at which no XA statement was under way; `None` when there was no such instant.
///
/// `log_status` waits for ordinary transactions. XA statements write the binary log, change the engine, and count as
/// executed, one after the other, and it shows what lies between.
fn between_xa(work: &Work<'_, '_>) -> Result<Option<(Coordinates, Lsn)>, ServerError> {
    for _ in 0..XA_TRIES {
        let before = xa_statements(work)?;
        let running = work
            .server
            .query("SELECT 1 FROM performance_schema.threads WHERE processlist_info LIKE 'XA %' LIMIT 1")?;
        let found = work.server.coordinates_with_lsn()?;
        if running.is_empty() && xa_statements(work)? == before {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// How many XA statements were begun so far.
fn xa_statements(work: &Work<'_, '_>) -> Result<Vec<Option<String>>, ServerError> {
    let rows = work.server.query(
        "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_xa_prepare', 'Com_xa_commit', 'Com_xa_rollback')",
    )?;
    Ok(rows.iter().map(|row| row.text(1)).collect())
}

/// A global read lock in a session of its own.
struct GlobalLock {
    session: LockSession,
    since: Clock,
}

impl GlobalLock {
    fn take(work: &Work<'_, '_>) -> Result<GlobalLock, BackupError> {
        let mut session = work.server.lock_session(lock_options(work.options))?;
        session.flush_tables_with_read_lock()?;
        Ok(GlobalLock { session, since: Clock::now() })
    }

    fn release(self) -> Result<(Vec<LockTimes>, Option<f64>), BackupError> {
        let locks = release(self.session, "FLUSH TABLES WITH READ LOCK")?;
        Ok((locks, Some(seconds_since(self.since))))
    }
}

/// The server's own tables, which are written whenever it has something to log.
fn is_own(file: &Found) -> bool {
    file.path.starts_with("mysql")
}
