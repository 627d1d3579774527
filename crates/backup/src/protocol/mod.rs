//! How the server is held still for one instant: which locks, in which order, and what is done under each. One
//! module per flavour; both use the same steps.

mod mariadb;
mod mysql;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use reseed_redo::Lsn;
use reseed_server::{LockOptions, LockSession, Server, ServerFacts};
use reseed_terms::{Coordinates, LockTimes};

use crate::error::{BackupError, Refusal};
use crate::failures::Failures;
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
pub(crate) trait Protocol: Send {
    /// Before the first page is read, and before the redo's checkpoint is looked for.
    fn begin(&mut self) -> Result<(), BackupError>;

    /// Asks the session that holds the lock of `begin` whether it is still there.
    fn check(&mut self) -> Result<(), BackupError>;

    /// Everything from the end of the first copy to the release of the locks.
    fn finish(self: Box<Self>, work: &mut Work<'_, '_>) -> Result<Instant, BackupError>;
}

pub(crate) fn lock_options(options: &BackupOptions) -> LockOptions {
    LockOptions { wait: options.lock_wait, kill: options.kill.clone() }
}

/// The protocol that fits the server and the user's wish.
pub(crate) fn choose(
    options: &BackupOptions,
    server: &Server,
    facts: &ServerFacts,
) -> Result<Box<dyn Protocol>, BackupError> {
    use reseed_terms::Flavour;
    // A replica that goes by file and position must stand still for its coordinates to mean something.
    let global = options.lock == LockChoice::Ftwrl || (!options.safe && facts.needs_read_lock_for_channels());
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

/// How often it is asked during the copy whether the lock is still held.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Runs `work` while the lock of `begin` is looked after: a copy whose lock is lost is for nothing, and may take hours.
pub(crate) fn watched<T>(protocol: &mut dyn Protocol, failures: &Failures, work: impl FnOnce() -> T) -> T {
    let (done, ended) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(CHECK_EVERY) {
                if let Err(error) = protocol.check() {
                    return failures.fail(error);
                }
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// The lock's session is asked; what it says when it is gone.
pub(crate) fn check(locks: &mut LockSession, lock: &'static str) -> Result<(), BackupError> {
    match locks.check() {
        Err(source @ reseed_server::ServerError::Stopped { .. }) => Err(source.into()),
        result => result.map_err(|source| BackupError::LockLost { lock, source: Box::new(source) }),
    }
}

/// A lock that was lost before it was given back has protected nothing.
pub(crate) fn release(locks: LockSession, lock: &'static str) -> Result<Vec<LockTimes>, BackupError> {
    locks.release().map_err(|source| BackupError::LockLost { lock, source: Box::new(source) })
}
