//! Write load on a real server: several sessions of DML and one of DDL, until told to stop.
//!
//! Every statement is safe for replication (row format, nothing that a replica would do otherwise), so that a
//! replica that differs or breaks is the fault of what is tested, never of the load. The choices come from a
//! seed; how the sessions interleave does not.

mod ddl;
mod dml;
mod random;
mod tables;
mod xa;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::server::Server;
use crate::session::{Session, error_code};

pub(crate) use random::Random;
pub use tables::Table;

/// What the load is made of.
#[derive(Debug, Clone)]
pub struct Shape {
    pub seed: u64,
    /// Sessions of DML.
    pub sessions: u32,
    /// A session that creates, changes and drops.
    pub ddl: bool,
    /// A session of XA transactions.
    pub xa: bool,
    /// Tables of engines other than InnoDB.
    pub other_engines: bool,
    /// Size of the data that `prepare` loads.
    pub mib: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { seed: 1, sessions: 3, ddl: true, xa: true, other_engines: true, mib: 24 }
    }
}

impl Shape {
    /// The seed of a test; a soak sets another one by RESEED_TEST_SEED.
    pub fn seeded(seed: u64) -> Shape {
        Shape { seed: from_environment("RESEED_TEST_SEED", seed), ..Shape::default() }
    }
}

/// A number that a soak may set.
pub fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What the sessions share.
#[derive(Debug)]
struct Common {
    socket: PathBuf,
    mariadb: bool,
    page_size: u32,
    shape: Shape,
    tables: Vec<Table>,
    stop: AtomicBool,
    statements: AtomicU64,
}

/// Prepared tables, ready for load.
#[derive(Debug, Clone)]
pub struct Workload {
    common: Arc<Common>,
}

/// What a load did. The tolerated errors are those that concurrency causes: they are counted by number.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub statements: u64,
    pub tolerated: BTreeMap<u16, u64>,
    pub ddl: BTreeMap<&'static str, u64>,
}

impl Workload {
    /// Creates the tables and loads the first rows.
    pub fn prepare(server: &Server, shape: Shape) -> Result<Workload> {
        let mariadb = server.kind().is_mariadb();
        let common = Common {
            socket: server.socket(),
            mariadb,
            page_size: server.page_size(),
            tables: tables::all(mariadb, server.page_size(), shape.other_engines),
            shape,
            stop: AtomicBool::new(false),
            statements: AtomicU64::new(0),
        };
        let mut session = server.session()?;
        tables::create(&mut session, &common)?;
        dml::load(&mut session, &common)?;
        Ok(Workload { common: Arc::new(common) })
    }

    /// Starts the sessions.
    pub fn start(&self) -> Result<Running> {
        self.common.stop.store(false, Ordering::Relaxed);
        let mut threads = Vec::new();
        for number in 0..self.common.shape.sessions {
            threads.push(self.spawn(&format!("dml-{number}"), u64::from(number) + 1, dml::run)?);
        }
        if self.common.shape.ddl {
            threads.push(self.spawn("ddl", 1001, ddl::run)?);
        }
        if self.common.shape.xa {
            threads.push(self.spawn("xa", 2001, xa::run)?);
        }
        Ok(Running { common: Arc::clone(&self.common), threads })
    }

    fn spawn(
        &self,
        name: &str,
        stream: u64,
        run: fn(&mut Worker) -> Result<()>,
    ) -> Result<JoinHandle<Result<Counts>>> {
        let common = Arc::clone(&self.common);
        let called = name.to_owned();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let session = Session::open(&common.socket)?;
                let random = Random::new(common.shape.seed, stream);
                let mut worker = Worker { session, random, counts: Counts::default(), stream, common };
                worker.plain("SET NAMES utf8mb4")?;
                let done = run(&mut worker);
                // Others must not go on as if all were well.
                if done.is_err() {
                    worker.common.stop.store(true, Ordering::Relaxed);
                }
                done.with_context(|| format!("the load's session {called} failed"))?;
                Ok(worker.counts)
            })
            .context("cannot start a thread")
    }

    /// XA transactions that stay prepared, as a crashed application leaves them. Their names.
    pub fn leave_prepared(&self, server: &Server, count: u32) -> Result<Vec<String>> {
        xa::leave_prepared(server, count)
    }
}

/// A load that runs.
#[derive(Debug)]
pub struct Running {
    common: Arc<Common>,
    threads: Vec<JoinHandle<Result<Counts>>>,
}

impl Running {
    /// Waits until so many more statements were done, so that "under load" is a fact and not a hope.
    pub fn wait_for_statements(&self, more: u64) -> Result<()> {
        let goal = self.common.statements.load(Ordering::Relaxed) + more;
        let since = Instant::now();
        while self.common.statements.load(Ordering::Relaxed) < goal {
            if self.common.stop.load(Ordering::Relaxed) {
                // Its reason comes with `stop`.
                return Ok(());
            }
            if since.elapsed() > Duration::from_secs(300) {
                bail!("the load stands still");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn statements(&self) -> u64 {
        self.common.statements.load(Ordering::Relaxed)
    }

    /// Ends the load; fails when a session met an error that is not of the tolerated kinds.
    pub fn stop(mut self) -> Result<Counts> {
        self.common.stop.store(true, Ordering::Relaxed);
        let mut all = Counts::default();
        let mut first_error = None;
        for thread in std::mem::take(&mut self.threads) {
            match thread.join() {
                Ok(Ok(counts)) => all.add(&counts),
                Ok(Err(error)) => first_error = first_error.or(Some(error)),
                Err(_) => {
                    first_error = first_error.or_else(|| Some(anyhow::anyhow!("a session's thread panicked")))
                }
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(all),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.common.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
    }
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.statements += other.statements;
        for (code, count) in &other.tolerated {
            *self.tolerated.entry(*code).or_default() += count;
        }
        for (name, count) in &other.ddl {
            *self.ddl.entry(name).or_default() += count;
        }
    }
}

/// Errors that sessions cause one another, and no others.
const TOLERATED: &[(u16, &str)] = &[
    (1020, "record has changed since last read (MariaDB's snapshot isolation)"),
    (1062, "duplicate key"),
    (1146, "no such table: dropped by the DDL session"),
    (1205, "lock wait timeout"),
    (1213, "deadlock"),
    (1412, "table definition has changed"),
    (1451, "parent row is referenced"),
    (1452, "no parent row"),
    (1859, "duplicate entry: now and then of MySQL 9.7's online ADD KEY, though the index is not unique"),
];

/// Whether a statement was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// A tolerated error. The transaction may be gone: roll back and go on.
    Refused,
}

/// One session of the load.
#[derive(Debug)]
struct Worker {
    session: Session,
    random: Random,
    counts: Counts,
    stream: u64,
    common: Arc<Common>,
}

impl Worker {
    fn stopped(&self) -> bool {
        self.common.stop.load(Ordering::Relaxed)
    }

    /// A statement that must succeed.
    fn plain(&mut self, sql: &str) -> Result<()> {
        self.session.exec(sql)?;
        self.counted();
        Ok(())
    }

    /// A statement that other sessions may spoil.
    fn attempt(&mut self, sql: &str) -> Result<Outcome> {
        match self.session.run(sql) {
            Ok(()) => {
                self.counted();
                Ok(Outcome::Done)
            }
            Err(error) => {
                let code = error_code(&error);
                if !TOLERATED.iter().any(|(known, _)| *known == code) {
                    return Err(error).with_context(|| format!("failed: {}", crate::session::shorten(sql)));
                }
                *self.counts.tolerated.entry(code).or_default() += 1;
                Ok(Outcome::Refused)
            }
        }
    }

    fn counted(&mut self) {
        self.counts.statements += 1;
        self.common.statements.fetch_add(1, Ordering::Relaxed);
    }
}
