//! MySQL's redo log consumer, kept by a thread of its own: tells the server how far the log has been read, and gives
//! the registration up as soon as the server has waited for us longer than it is allowed to.
//!
//! Its own thread, since the follower may be held up by a slow disk just when the server must be let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reseed_io::Cancel;
use reseed_redo::Lsn;
use reseed_server::{RedoConsumer, RedoPosition, Server, ServerError};

use super::mysql::Positions;
use crate::error::BackupError;
use crate::failures::Failures;

/// How often the server is asked and told.
const EVERY: Duration = Duration::from_millis(50);
/// The server is told no oftener than once for so many bytes.
const STEP: u64 = 256 << 10;
/// The share of the log's capacity from which on the server is taken to wait for us, in eighths, whatever else is to
/// be seen. It holds writes back before the log is full.
const WAITING_EIGHTHS: u64 = 6;
/// The share from which on a server whose LSN stands still is taken to wait for us. How much of the log it keeps in
/// reserve depends on its size and on the number of threads: with the smallest one, 9.7.4 stood still at 5.4 eighths.
const STILL_EIGHTHS: u64 = 2;

/// How the registration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConsumerEnd {
    /// There was none: why.
    Never(String),
    /// Kept to the end.
    Kept { stalled: Duration },
    /// Given up after the server had waited as long as it was allowed to.
    GivenUp { stalled: Duration },
    /// The session was lost, and with it the registration.
    Lost(String),
}

pub(crate) struct ConsumerKeeper {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<ConsumerEnd>>,
}

impl ConsumerKeeper {
    /// Registers, unless the server refuses, and keeps the server's LSN up to date for the follower in any case.
    pub fn start(
        server: Server,
        positions: Arc<Positions>,
        capacity: u64,
        budget: Duration,
        failures: &Failures,
    ) -> Result<ConsumerKeeper, BackupError> {
        let first = server.redo_position()?;
        positions.server.store(first.current.0, Ordering::Release);
        let consumer = if budget.is_zero() {
            Err("it was not wanted".to_owned())
        } else {
            match server.redo_consumer() {
                Ok(consumer) => Ok(consumer),
                Err(error) if error.is_connect() => return Err(error.into()),
                Err(error) => Err(error.to_string()),
            }
        };
        let done = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("redo consumer".to_owned()).spawn({
            let (done, failures) = (Arc::clone(&done), failures.clone());
            move || {
                let keeping =
                    Keeping { server, positions, capacity, budget, done: &done, stalled: Duration::ZERO };
                match keeping.run(consumer, failures.cancel()) {
                    Ok(end) => end,
                    Err(error) => {
                        let text = error.to_string();
                        failures.fail(error);
                        ConsumerEnd::Lost(text)
                    }
                }
            }
        });
        let thread = thread.map_err(|source| BackupError::unreadable("redo consumer".as_ref(), source))?;
        Ok(ConsumerKeeper { done, thread: Some(thread) })
    }

    /// Unregisters and says how it went.
    pub fn finish(mut self) -> ConsumerEnd {
        self.done.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(end)) => end,
            _ => ConsumerEnd::Lost("its thread ended unexpectedly".to_owned()),
        }
    }
}

impl Drop for ConsumerKeeper {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Keeping<'a> {
    server: Server,
    positions: Arc<Positions>,
    capacity: u64,
    budget: Duration,
    done: &'a AtomicBool,
    stalled: Duration,
}

impl Keeping<'_> {
    fn run(
        mut self,
        consumer: Result<RedoConsumer, String>,
        cancel: &Cancel,
    ) -> Result<ConsumerEnd, BackupError> {
        let (mut consumer, mut end) = match consumer {
            Ok(consumer) => (Some(consumer), None),
            Err(reason) => (None, Some(ConsumerEnd::Never(reason))),
        };
        let first = self.server.redo_position()?;
        let mut told = first.checkpoint.0;
        let mut before = first.current;
        let mut last = Instant::now();
        while !self.done.load(Ordering::Acquire) && !cancel.is_cancelled() {
            let position = self.server.redo_position()?;
            self.positions.server.store(position.current.0, Ordering::Release);
            let read = self.positions.read.load(Ordering::Acquire);
            let since = last.elapsed();
            last = Instant::now();
            if let Some(registered) = consumer.as_mut() {
                if self.is_waiting(&position, Lsn(told), position.current == before) {
                    self.stalled += since;
                }
                if read >= told + STEP {
                    // A position that was not accepted keeps the server back more than need be, no more.
                    match registered.advance(Lsn(read)) {
                        Ok(()) | Err(ServerError::Answer { .. }) => told = read,
                        Err(error) => {
                            tracing::warn!(%error, "the redo log consumer was lost");
                            end = Some(ConsumerEnd::Lost(error.to_string()));
                            consumer = None;
                        }
                    }
                }
                if self.stalled > self.budget
                    && let Some(registered) = consumer.take()
                {
                    let stalled = self.stalled;
                    tracing::warn!(
                        ?stalled,
                        "the server waited for the backup too long: redo consumer given up"
                    );
                    let _ = registered.unregister();
                    end = Some(ConsumerEnd::GivenUp { stalled });
                }
            }
            before = position.current;
            if cancel.sleep(EVERY).is_err() {
                break;
            }
        }
        if let Some(registered) = consumer {
            let _ = registered.unregister();
        }
        Ok(end.unwrap_or(ConsumerEnd::Kept { stalled: self.stalled }))
    }

    /// The log is nearly full, and nobody but us is to blame: the checkpoint is further on. `still`: the server has
    /// written nothing since the last look. An idle server looks the same; letting it go costs nothing, since it
    /// overwrites nothing either.
    fn is_waiting(&self, server: &RedoPosition, told: Lsn, still: bool) -> bool {
        let eighths = if still { STILL_EIGHTHS } else { WAITING_EIGHTHS };
        told < server.checkpoint && server.current.since(told) >= self.capacity / 8 * eighths
    }
}
