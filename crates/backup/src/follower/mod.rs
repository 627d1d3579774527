//! Follows the live redo log from before the first page is read until the backup's last LSN: writes what the log
//! says into the set, and keeps account of what it says about tablespaces.
//!
//! One thread. Where the log lies and how it is laid out is a [`RedoSource`]'s business; this module knows only
//! bytes in LSN order.

mod consumer;
mod mariadb;
mod mysql;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reseed_io::Cancel;
use reseed_redo::{Capture, LogParser, Lsn, RedoError, RedoFormat};
use reseed_repository::RedoSink;
use reseed_server::Server;

use crate::error::BackupError;
use crate::failures::Failures;
use crate::space_log::SpaceLog;
use crate::work::failpoint;

pub(crate) use consumer::{ConsumerEnd, ConsumerKeeper};
pub(crate) use mariadb::MariadbRedo;
pub(crate) use mysql::{MysqlRedo, Positions};

/// Pause between looks at a log that had nothing new.
const IDLE: Duration = Duration::from_millis(20);

/// A live redo log of one format.
pub(crate) trait RedoSource: Send {
    /// What the capture starts with; its end is not known yet.
    fn capture(&self) -> Capture;

    /// Appends new bytes of the log to `bytes`, and says how the server stands.
    fn poll(&mut self, bytes: &mut Vec<u8>) -> Result<Polled, BackupError>;

    /// Block formats: the last block, while it is not full.
    fn partial(&self) -> Option<&[u8]>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Polled {
    /// The server's own LSN, as last heard.
    pub server: Lsn,
    /// There is more to read at once.
    pub more: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Where the last mini-transactions ended. The follower may have read on by the time it is told where to stop.
#[derive(Default)]
struct Ends(VecDeque<Lsn>);

impl Ends {
    /// More than what a server can write between the reading of an LSN and its being told here.
    const KEPT: usize = 1 << 18;

    fn push(&mut self, end: Lsn) {
        if self.0.len() == Ends::KEPT {
            self.0.pop_front();
        }
        self.0.push_back(end);
    }

    /// The first end that is not before `goal`.
    fn at_or_after(&self, goal: Lsn) -> Option<Lsn> {
        self.0.get(self.0.partition_point(|end| *end < goal)).copied()
    }
}

struct State {
    format: RedoFormat,
    reached: Lsn,
    spaces: SpaceLog,
    ends: Ends,
    /// Where to stop.
    goal: Option<Lsn>,
    ended: bool,
}

/// A log that was opened at its newest checkpoint, and the first of it.
pub(crate) struct Begun {
    pub source: Box<dyn RedoSource>,
    read: Vec<u8>,
}

/// Opens a log by `open` and reads up to where the server is. A small log under load may be overwritten between the
/// look for its checkpoint and the first read: then the next checkpoint is as good, for no page has been read yet.
pub(crate) fn begin(
    mut open: impl FnMut() -> Result<Box<dyn RedoSource>, BackupError>,
) -> Result<Begun, BackupError> {
    const TRIES: u32 = 10;
    let mut tries = 0;
    loop {
        tries += 1;
        let mut source = open()?;
        let mut read = Vec::new();
        match source.poll(&mut read) {
            Ok(_) => return Ok(Begun { source, read }),
            Err(error @ BackupError::RedoOverrun { .. }) if tries < TRIES => {
                tracing::info!(%error, tries, "beginning again at the newest checkpoint");
            }
            Err(error) => return Err(error),
        }
    }
}

/// The finished capture, and where it was written.
type Caught = (Capture, Box<dyn RedoSink>);

/// The running follower.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    cancel: Cancel,
    thread: Option<JoinHandle<Option<Caught>>>,
}

/// What the follower leaves when it has reached its goal.
pub(crate) struct Followed {
    pub capture: Capture,
    pub writer: Box<dyn RedoSink>,
    pub spaces: SpaceLog,
}

impl Follower {
    /// Starts following with what was opened and read before. A failure is told to `failures`, which stops everybody
    /// else.
    pub fn start(
        begun: Begun,
        writer: Box<dyn RedoSink>,
        failures: &Failures,
        lag: Arc<AtomicU64>,
    ) -> Result<Follower, BackupError> {
        let Begun { mut source, read } = begun;
        let capture = source.capture();
        let state = State {
            format: capture.format,
            reached: capture.first,
            spaces: SpaceLog::default(),
            ends: Ends::default(),
            goal: None,
            ended: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let cancel = failures.cancel().clone();
        let thread = std::thread::Builder::new().name("redo follower".to_owned()).spawn({
            let (shared, failures) = (Arc::clone(&shared), failures.clone());
            move || {
                let following = Following { source: source.as_mut(), writer, shared: &shared, lag: &lag };
                let result = following.run(read, failures.cancel());
                shared.lock().ended = true;
                shared.changed.notify_all();
                result.map_err(|error| failures.fail(error)).ok()
            }
        });
        let thread = thread.map_err(|source| BackupError::unreadable("redo follower".as_ref(), source))?;
        Ok(Follower { shared, cancel, thread: Some(thread) })
    }

    /// Waits until everything before `lsn` has been read and understood.
    pub fn wait_for(&self, lsn: Lsn, limit: Duration) -> Result<(), BackupError> {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            self.cancel.check()?;
            if state.has_reached(lsn) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return Err(BackupError::RedoBehind { wanted: lsn, reached: state.reached, waited: limit });
            }
            state = self.shared.wait(state, left.min(Duration::from_millis(100)));
        }
    }

    /// What the log has said about tablespaces so far.
    pub fn spaces(&self) -> SpaceLog {
        self.shared.lock().spaces.clone()
    }

    /// Reads on to `end` and stops there.
    pub fn finish(mut self, end: Lsn, limit: Duration) -> Result<Followed, BackupError> {
        {
            let mut state = self.shared.lock();
            state.goal = Some(end);
            self.shared.changed.notify_all();
        }
        let deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        while !state.ended {
            self.cancel.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(BackupError::RedoBehind { wanted: end, reached: state.reached, waited: limit });
            }
            state = self.shared.wait(state, left.min(Duration::from_millis(100)));
        }
        drop(state);
        let Some(thread) = self.thread.take() else {
            return Err(BackupError::Thread { thread: "redo follower" });
        };
        let (capture, writer) = match thread.join() {
            Ok(Some(done)) => done,
            // Why it failed has been told already, and is what the caller will report.
            Ok(None) => {
                self.cancel.check()?;
                return Err(BackupError::Thread { thread: "redo follower" });
            }
            Err(_) => return Err(BackupError::Thread { thread: "redo follower" }),
        };
        let spaces = std::mem::take(&mut self.shared.lock().spaces);
        Ok(Followed { capture, writer, spaces })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.cancel.cancel("the backup is over");
            self.shared.changed.notify_all();
            let _ = thread.join();
        }
    }
}

impl State {
    fn has_reached(&self, target: Lsn) -> bool {
        payload(self.format, self.reached) >= payload(self.format, target)
    }
}

/// Payload bytes before an LSN. In block formats the end of one block's payload and the begin of the next one's are
/// the same place, with two numbers.
fn payload(format: RedoFormat, lsn: Lsn) -> u64 {
    match format {
        RedoFormat::MariadbRing => lsn.0,
        RedoFormat::MariadbBlocks | RedoFormat::MysqlBlocks => {
            (lsn.0 / 512) * 496 + (lsn.0 % 512).saturating_sub(12).min(496)
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }
}

struct Following<'a> {
    source: &'a mut dyn RedoSource,
    writer: Box<dyn RedoSink>,
    shared: &'a Shared,
    lag: &'a AtomicU64,
}

impl Following<'_> {
    fn run(mut self, mut bytes: Vec<u8>, cancel: &Cancel) -> Result<Caught, BackupError> {
        let mut capture = self.source.capture();
        let mut parser = LogParser::new(&capture).map_err(|error| redo(capture.first, error))?;
        let mut partial: Vec<u8> = Vec::new();
        loop {
            cancel.check()?;
            failpoint("backup.redo")?;
            let polled = self.source.poll(&mut bytes)?;
            if !bytes.is_empty() {
                self.writer.write(&bytes)?;
                capture.bytes += bytes.len() as u64;
                self.read(&mut parser, &bytes)?;
                bytes.clear();
            }
            let last = self.source.partial().unwrap_or_default();
            if last != partial {
                partial.clear();
                partial.extend_from_slice(last);
                self.read(&mut parser, &partial)?;
            }
            // Not what was read, which may end within a mini-transaction.
            let reached = parser.position();
            self.lag.store(polled.server.since(reached), Ordering::Relaxed);
            let (goal, there) = {
                let mut state = self.shared.lock();
                state.reached = reached;
                (state.goal, state.goal.filter(|goal| state.has_reached(*goal)))
            };
            self.shared.changed.notify_all();
            if let Some(goal) = there {
                if capture.first.0 + capture.bytes < goal.0 {
                    self.writer.write(&partial)?;
                    capture.bytes += partial.len() as u64;
                }
                capture.end = self.shared.lock().ends.at_or_after(goal).unwrap_or(goal);
                return Ok((capture, self.writer));
            }
            if !polled.more {
                let state = self.shared.lock();
                if state.goal == goal {
                    drop(self.shared.wait(state, IDLE));
                }
            }
        }
    }

    fn read(&self, parser: &mut LogParser, bytes: &[u8]) -> Result<(), BackupError> {
        if bytes.is_empty() {
            return Ok(());
        }
        parser.push(bytes).map_err(|error| redo(parser.position(), error))?;
        let mut state = self.shared.lock();
        let State { spaces, ends, .. } = &mut *state;
        while let Some(span) = parser.next_mtr(spaces).map_err(|error| redo(parser.position(), error))? {
            ends.push(span.0.end);
        }
        Ok(())
    }
}

/// The newest checkpoint in the log's files must lie between the server's own checkpoint, as it was before, and its
/// LSN, as it was after: else the files are another server's.
fn check_owner(
    server: &Server,
    dir: &Path,
    checkpoint_before: Lsn,
    found: Lsn,
    current_after: Lsn,
) -> Result<(), BackupError> {
    if (checkpoint_before..=current_after).contains(&found) {
        return Ok(());
    }
    Err(BackupError::NotThisServer {
        server: server.options().target.to_string(),
        datadir: dir.to_path_buf(),
        reason: format!(
            "the redo log there has its newest checkpoint at LSN {found}, the server's checkpoint is at LSN \
             {checkpoint_before} and the server itself at LSN {current_after}"
        ),
    })
}

/// A size of the redo log with which the reader would not have been overrun at this moment, with room for the next.
pub(crate) fn sufficient(capacity: u64, needed: Lsn, written: Lsn) -> u64 {
    const STEP: u64 = 1 << 20;
    let lag = written.since(needed).max(capacity);
    (lag.saturating_add(lag / 2) / STEP + 1).saturating_mul(STEP)
}

pub(crate) fn redo(at: Lsn, source: RedoError) -> BackupError {
    BackupError::Redo { at, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_within_a_mini_transaction_is_its_end() {
        let mut ends = Ends::default();
        for end in [100, 200, 300] {
            ends.push(Lsn(end));
        }
        assert_eq!(ends.at_or_after(Lsn(200)), Some(Lsn(200)));
        assert_eq!(ends.at_or_after(Lsn(201)), Some(Lsn(300)));
        assert_eq!(ends.at_or_after(Lsn(301)), None);
    }

    #[test]
    fn the_end_of_a_block_is_the_begin_of_the_next() {
        let blocks = |lsn| payload(RedoFormat::MysqlBlocks, Lsn(lsn));
        assert_eq!(blocks(1024), blocks(1024 + 12));
        assert_eq!(blocks(1024 - 4), blocks(1024));
        assert!(blocks(1024 + 13) > blocks(1024 + 12));
        assert_eq!(payload(RedoFormat::MariadbRing, Lsn(77)), 77);
    }
}
