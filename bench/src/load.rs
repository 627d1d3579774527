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

/// Ends with the handle.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Load {
    /// `pace` transactions a second; none at all for 0.
    pub fn start(server: &Server, pace: u32, rows: u64) -> Result<Load> {
        let stop = Arc::new(AtomicBool::new(false));
        if pace == 0 {
            return Ok(Load { stop, thread: None });
        }
        let (stopped, socket) = (Arc::clone(&stop), server.socket());
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || run(&socket, pace, rows, &stopped))
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

fn run(socket: &Path, pace: u32, rows: u64, stop: &AtomicBool) -> Result<u64> {
    let mut session = Session::open(socket)?;
    let step = Duration::from_secs_f64(1.0 / f64::from(pace));
    let mut next = Instant::now();
    let mut done: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        // Multiplying by large odd numbers spreads the rows over all pages of all tables.
        let table = done % data::TABLES + 1;
        let id = done.wrapping_mul(2_654_435_761) % rows + 1;
        let other = done.wrapping_mul(40_503) % rows + 1;
        transaction(&mut session, table, id, other)?;
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

/// What sysbench calls a write-only transaction.
fn transaction(session: &mut Session, table: u64, id: u64, other: u64) -> Result<()> {
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
