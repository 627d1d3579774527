//! Locks for a backup: MariaDB's stages, MySQL's instance lock, the global read lock. Each is held by a session of
//! its own, each wait has a limit, and past it nothing of ours is left waiting in the server, for a waiting lock
//! holds up every statement that comes after it. Waits and holds are measured.
//!
//! A lost session is a lost lock: it is an error at the next step and never replaced by a new one.

pub(crate) mod blockers;
mod watch;

use std::time::{Duration, Instant};

use reseed_terms::{Flavour, LockTimes};

use crate::error::ServerError;
use crate::quote;
use crate::row::Row;
use crate::server::Server;
use crate::session::{Session, Stop};

pub use blockers::{Blocker, KillPolicy, QueryKind};

/// How long the server may take to forget a session that was given up.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// MariaDB's `BACKUP STAGE`s in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Start,
    Flush,
    BlockDdl,
    BlockCommit,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Stage::Start => "START",
            Stage::Flush => "FLUSH",
            Stage::BlockDdl => "BLOCK_DDL",
            Stage::BlockCommit => "BLOCK_COMMIT",
        }
    }
}

/// How locks are to be waited for.
#[derive(Debug, Clone)]
pub struct LockOptions {
    /// Limit of each single wait.
    pub wait: Duration,
    pub kill: KillPolicy,
}

impl Default for LockOptions {
    fn default() -> LockOptions {
        LockOptions { wait: Duration::from_secs(60), kill: KillPolicy::Never }
    }
}

#[derive(Debug)]
struct Held {
    lock: String,
    waited: Duration,
    since: Instant,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stage,
    Table,
    GlobalRead,
    Tables,
    Instance,
}

/// A session that holds locks. Dropped, it gives all of them up.
#[derive(Debug)]
pub struct LockSession {
    session: Session,
    options: LockOptions,
    held: Vec<Held>,
    done: Vec<LockTimes>,
    killed: Vec<Blocker>,
    /// For sessions that look at ours from outside.
    outside: watch::Outside,
}

impl LockSession {
    pub(crate) fn open(server: &Server, options: LockOptions) -> Result<LockSession, ServerError> {
        let session = server.open_session()?;
        Ok(LockSession {
            outside: watch::Outside {
                options: server.options().clone(),
                version: server.version().clone(),
                stop: Stop::never(),
            },
            session,
            options,
            held: Vec::new(),
            done: Vec::new(),
            killed: Vec::new(),
        })
    }

    /// The connection's number in the server.
    pub fn id(&self) -> u32 {
        self.session.id()
    }

    /// MariaDB: goes on to `stage`. The stages must be taken in their order; the server lets none be left out
    /// silently, it passes through them.
    ///
    /// # Errors
    /// `LockWait` past the limit; everything that this session held is then released.
    pub fn stage(&mut self, stage: Stage) -> Result<(), ServerError> {
        let lock = format!("BACKUP STAGE {}", stage.word());
        self.acquire(Kind::Stage, lock.clone(), &lock)
    }

    /// MariaDB: leaves the stages.
    ///
    /// # Errors
    /// When the session was lost.
    pub fn end_stages(&mut self) -> Result<(), ServerError> {
        self.release_kind(Kind::Stage, "BACKUP STAGE END")
    }

    /// MariaDB: `BACKUP LOCK`, which keeps DDL off one table. Not in a session that is in a stage.
    ///
    /// # Errors
    /// As `stage`; 1146 when the table is gone.
    pub fn lock_table(&mut self, schema: &str, table: &str) -> Result<(), ServerError> {
        let sql = format!("BACKUP LOCK {}.{}", quote::name(schema), quote::name(table));
        self.acquire(Kind::Table, sql.clone(), &sql)
    }

    /// MariaDB: `BACKUP UNLOCK`.
    ///
    /// # Errors
    /// When the session was lost.
    pub fn unlock_table(&mut self) -> Result<(), ServerError> {
        // Thousands of tables would fill the manifest: their times are not kept.
        self.held.retain(|held| held.kind != Kind::Table);
        self.session.execute("BACKUP UNLOCK")
    }

    /// The global read lock. Closing the tables first, without a lock, makes the wait under it short.
    ///
    /// On MySQL it must be asked for by the session that holds no `LOCK INSTANCE FOR BACKUP` only when no DDL is
    /// waiting for that lock, and by the one that holds it at the price of that DDL: see docs/locks.md.
    ///
    /// # Errors
    /// As `stage`.
    pub fn flush_tables_with_read_lock(&mut self) -> Result<(), ServerError> {
        let lock = "FLUSH TABLES WITH READ LOCK";
        let started = Instant::now();
        self.wait_for("FLUSH TABLES", "FLUSH NO_WRITE_TO_BINLOG TABLES")?;
        let spent = started.elapsed();
        if spent > self.options.wait {
            return Err(self.give_up(lock.to_owned(), Vec::new()));
        }
        self.acquire(Kind::GlobalRead, lock.to_owned(), lock)
    }

    /// `FLUSH TABLES a, b WITH READ LOCK`: writes to these tables wait, and what the server had in memory of them is
    /// in their files. On MySQL it is for the session that holds `LOCK INSTANCE FOR BACKUP`: from any other it would
    /// wait for that lock. Unlike the global read lock it does not meet a DDL that waits for the instance lock.
    ///
    /// # Errors
    /// As `stage`; 1146 when a table is gone.
    pub fn flush_tables_read_lock(&mut self, tables: &[(String, String)]) -> Result<(), ServerError> {
        if tables.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = tables
            .iter()
            .map(|(schema, table)| format!("{}.{}", quote::name(schema), quote::name(table)))
            .collect();
        let lock = format!("FLUSH {} TABLES WITH READ LOCK", tables.len());
        self.acquire(Kind::Tables, lock, &format!("FLUSH TABLES {} WITH READ LOCK", list.join(", ")))
    }

    /// `UNLOCK TABLES`: ends the global read lock and locks of single tables. After `flush_tables_read_lock` MySQL
    /// gives up this session's instance lock along with them, so there it is the last thing to do.
    ///
    /// # Errors
    /// When the session was lost.
    pub fn unlock_tables(&mut self) -> Result<(), ServerError> {
        let result = self.session.execute("UNLOCK TABLES");
        let instance_too = self.held.iter().any(|held| held.kind == Kind::Tables);
        self.note_released(|kind| match kind {
            Kind::GlobalRead | Kind::Tables => true,
            Kind::Instance => instance_too,
            Kind::Stage | Kind::Table => false,
        });
        result
    }

    /// MySQL: `LOCK INSTANCE FOR BACKUP`, which keeps DDL out and lets everything else run.
    ///
    /// # Errors
    /// As `stage`.
    pub fn lock_instance(&mut self) -> Result<(), ServerError> {
        let lock = "LOCK INSTANCE FOR BACKUP";
        self.acquire(Kind::Instance, lock.to_owned(), lock)
    }

    /// MySQL: `UNLOCK INSTANCE`.
    ///
    /// # Errors
    /// When the session was lost.
    pub fn unlock_instance(&mut self) -> Result<(), ServerError> {
        self.release_kind(Kind::Instance, "UNLOCK INSTANCE")
    }

    /// Asks whether the session, and with it every lock, is still there.
    ///
    /// # Errors
    /// `ConnectionLost` when it is not.
    pub fn check(&mut self) -> Result<(), ServerError> {
        self.session.ping()
    }

    /// Any statement in the session that holds the locks.
    ///
    /// # Errors
    /// When the server refuses it or the session was lost.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>, ServerError> {
        self.session.query(sql)
    }

    /// The locks so far; those still held as if they were released now.
    pub fn times(&self) -> Vec<LockTimes> {
        let mut times = self.done.clone();
        times.extend(self.held.iter().filter(|held| held.kind != Kind::Table).map(Held::times));
        times
    }

    /// What was killed to get the locks.
    pub fn killed(&self) -> &[Blocker] {
        &self.killed
    }

    /// Releases everything and closes the session.
    ///
    /// # Errors
    /// When the session was lost before: then the locks were not held to the end.
    pub fn release(mut self) -> Result<Vec<LockTimes>, ServerError> {
        let mut result = self.session.ping();
        if result.is_ok() && self.held.iter().any(|held| matches!(held.kind, Kind::GlobalRead | Kind::Tables))
        {
            result = self.unlock_tables();
        }
        for (kind, sql) in [
            (Kind::Table, "BACKUP UNLOCK"),
            (Kind::Stage, "BACKUP STAGE END"),
            (Kind::Instance, "UNLOCK INSTANCE"),
        ] {
            if result.is_ok() && self.held.iter().any(|held| held.kind == kind) {
                result = self.release_kind(kind, sql);
            }
        }
        self.session.close();
        result?;
        Ok(self.times())
    }

    fn release_kind(&mut self, kind: Kind, sql: &str) -> Result<(), ServerError> {
        let result = self.session.execute(sql);
        self.note_released(|held| held == kind);
        result
    }

    fn note_released(&mut self, which: impl Fn(Kind) -> bool) {
        let (gone, kept): (Vec<Held>, Vec<Held>) = self.held.drain(..).partition(|held| which(held.kind));
        self.held = kept;
        self.done.extend(gone.iter().map(Held::times));
    }

    fn acquire(&mut self, kind: Kind, lock: String, sql: &str) -> Result<(), ServerError> {
        let waited = self.wait_for(&lock, sql)?;
        self.held.push(Held { lock, waited, since: Instant::now(), kind });
        Ok(())
    }

    /// Runs a statement that waits for a lock, with the limit kept by the server and, since it does not keep it for
    /// every kind of wait, by us.
    fn wait_for(&mut self, lock: &str, sql: &str) -> Result<Duration, ServerError> {
        let limit = self.options.wait;
        let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
        self.session.execute(&format!("SET SESSION lock_wait_timeout = {}", seconds.clamp(1, 31_536_000)))?;
        let started = Instant::now();
        let (result, watched) =
            watch::while_waiting(&self.outside, self.session.id(), limit, &self.options.kill, || {
                self.session.query_within(sql, limit)
            });
        self.killed.extend(watched.killed);
        match result {
            Ok(_) => Ok(started.elapsed()),
            // 1205 lock wait timeout, 1317 and 1969 interrupted.
            Err(
                ServerError::Timeout { .. } | ServerError::Statement { code: 1205 | 1317 | 1969 | 3024, .. },
            ) => {
                // On a machine too busy to have looked in time, whoever was in the way still is.
                let blockers = if watched.blockers.is_empty() {
                    watch::look(&self.outside, self.session.id())
                } else {
                    watched.blockers
                };
                Err(self.give_up(lock.to_owned(), blockers))
            }
            Err(error @ ServerError::Stopped { .. }) => {
                self.give_up(lock.to_owned(), Vec::new());
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the session with all that it holds or waits for, and waits until the server has forgotten it.
    fn give_up(&mut self, lock: String, blockers: Vec<Blocker>) -> ServerError {
        self.session.close();
        self.note_released(|_| true);
        watch::until_gone(&self.outside, self.session.id(), GONE_WITHIN);
        ServerError::LockWait { lock, limit: self.options.wait, blockers }
    }
}

impl Held {
    fn times(&self) -> LockTimes {
        LockTimes {
            lock: self.lock.clone(),
            waited: self.waited.as_secs_f64(),
            held: self.since.elapsed().as_secs_f64(),
        }
    }
}

/// Whether the stages are to be had: MariaDB has them since 10.4.
pub fn has_stages(flavour: Flavour) -> bool {
    flavour == Flavour::MariaDb
}
