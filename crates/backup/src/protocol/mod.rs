//! How the server is held still for one instant: which locks, in which order, and what is done under each. One
//! module per flavour; both use the same steps.

mod mariadb;
mod mysql;

use reseed_redo::Lsn;
use reseed_server::{LockOptions, LockSession, Server};
use reseed_terms::{Coordinates, LockTimes};

use crate::error::{BackupError, Refusal};
use crate::options::{BackupOptions, LockChoice};
use crate::work::Work;

pub(crate) use mariadb::MariadbLocks;
pub(crate) use mysql::MysqlLocks;

/// What was found at the instant to which the backup belongs.
pub(crate) struct Instant {
    pub coordinates: Coordinates,
    /// Where the redo must be applied to.
    pub end: Lsn,
    /// What the inventory knows ends here.
    pub inventory: Lsn,
    pub locks: Vec<LockTimes>,
    /// Seconds that commits had to wait, where they had to.
    pub commits_held: Option<f64>,
}

/// The locks of one flavour, taken and given back around one backup.
pub(crate) trait Protocol {
    /// Before the first page is read, and before the redo's checkpoint is looked for.
    fn begin(&mut self) -> Result<(), BackupError>;

    /// Everything from the end of the first copy to the release of the locks.
    fn finish(self: Box<Self>, work: &mut Work<'_, '_>) -> Result<Instant, BackupError>;
}

pub(crate) fn lock_options(options: &BackupOptions) -> LockOptions {
    LockOptions { wait: options.lock_wait, kill: options.kill.clone() }
}

/// The protocol that fits the server and the user's wish.
pub(crate) fn choose(options: &BackupOptions, server: &Server) -> Result<Box<dyn Protocol>, BackupError> {
    use reseed_terms::Flavour;
    let global = options.lock == LockChoice::Ftwrl;
    Ok(match server.flavour() {
        Flavour::MariaDb => Box::new(MariadbLocks::new(server.lock_session(lock_options(options))?, global)),
        Flavour::MySql if options.lock == LockChoice::Stage => {
            return Err(BackupError::Refused {
                server: server.version().to_string(),
                refusal: Refusal::Lock { lock: "BACKUP STAGE" },
            });
        }
        Flavour::MySql => Box::new(MysqlLocks::new(server.lock_session(lock_options(options))?, global)),
    })
}

/// A lock that was lost before it was given back has protected nothing.
pub(crate) fn release(locks: LockSession, lock: &'static str) -> Result<Vec<LockTimes>, BackupError> {
    locks.release().map_err(|source| BackupError::LockLost { lock, source: Box::new(source) })
}
