//! A light write load of a fixed pace, so that each backup has redo and each restore something to apply, and all
//! tools the same of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reseed_tests::{Server, Session};

use crate::data;

/// How long a server may take to write out what it has changed.
const SETTLE: Duration = Duration::from_secs(300);

/// Ends with the handle.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Load {
    /// `pace` transactions a second, from the one with the number `first` on; none at all for 0.
    pub fn start(server: &Server, pace: u32, rows: u64, first: u64) -> Result<Load> {
        let stop = Arc::new(AtomicBool::new(false));
        if pace == 0 {
            return Ok(Load { stop, thread: None });
        }
        let (stopped, socket) = (Arc::clone(&stop), server.socket());
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || run(&socket, pace, rows, first, &stopped))
            .context("cannot start a thread")?;
        Ok(Load { stop, thread: Some(thread) })
    }

    /// How many transactions there were.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(0),
            Some(Ok(done)) => done,
            Some(Err(_)) => bail!("the load's thread panicked"),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// So many transactions, from the one with the number `first` on, as quickly as they go.
pub fn change(server: &Server, rows: u64, first: u64, count: u64) -> Result<()> {
    let mut session = server.session()?;
    (first..first + count).try_for_each(|number| transaction(&mut session, rows, number))
}

/// Hours that go by: the server writes out what it has changed in memory, and its checkpoint follows.
pub fn settle(server: &Server) -> Result<()> {
    let limit = server.value("SELECT @@innodb_max_dirty_pages_pct")?;
    server.sql(&["SET GLOBAL innodb_max_dirty_pages_pct = 0"])?;
    let written = || Ok(status(server, "Innodb_buffer_pool_pages_dirty")? == 0);
    wait_for(written).context("changed pages are not written out")?;
    // MySQL writes its checkpoint by a clock of its own, and only then counts what was written.
    if !server.kind().is_mariadb() {
        let lsn = status(server, "Innodb_redo_log_current_lsn")?;
        let passed = || Ok(status(server, "Innodb_redo_log_checkpoint_lsn")? >= lsn);
        wait_for(passed).context("the checkpoint does not follow")?;
    }
    server.sql(&[&format!("SET GLOBAL innodb_max_dirty_pages_pct = {limit}")])
}

fn wait_for(reached: impl Fn() -> Result<bool>) -> Result<()> {
    let since = Instant::now();
    while !reached()? {
        if since.elapsed() > SETTLE {
            bail!("after {} s", SETTLE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// One of the server's counters.
fn status(server: &Server, name: &str) -> Result<u64> {
    let rows = server.rows(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))?;
    let value = rows.first().and_then(|row| row.get(1)).with_context(|| format!("no {name}"))?;
    Ok(value.parse()?)
}

fn run(socket: &Path, pace: u32, rows: u64, first: u64, stop: &AtomicBool) -> Result<u64> {
    let mut session = Session::open(socket)?;
    let step = Duration::from_secs_f64(1.0 / f64::from(pace));
    let mut next = Instant::now();
    let mut done: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        transaction(&mut session, rows, first + done)?;
        done += 1;
        next += step;
        let now = Instant::now();
        match next.checked_duration_since(now) {
            Some(early) => std::thread::sleep(early),
            // A tool that held the server up gets the same pace afterwards, not the missed ones at once.
            None => next = now,
        }
    }
    Ok(done)
}

/// What sysbench calls a write-only transaction. Its number tells which rows it changes: multiplying by large odd
/// numbers spreads them over all pages of all tables.
fn transaction(session: &mut Session, rows: u64, number: u64) -> Result<()> {
    let table = number % data::TABLES + 1;
    let id = number.wrapping_mul(2_654_435_761) % rows + 1;
    let other = number.wrapping_mul(40_503) % rows + 1;
    session.exec("BEGIN")?;
    session.exec(&format!("UPDATE bench.sbtest{table} SET k = k + 1 WHERE id = {id}"))?;
    session.exec(&format!("UPDATE bench.sbtest{table} SET c = {} WHERE id = {other}", data::digits(10)))?;
    session.exec(&format!("DELETE FROM bench.sbtest{table} WHERE id = {id}"))?;
    session.exec(&format!(
        "INSERT INTO bench.sbtest{table} VALUES ({id}, {other}, {}, {})",
        data::digits(10),
        data::digits(5)
    ))?;
    session.exec("COMMIT")
}
