use std::path::PathBuf;
use std::time::{Duration, Instant};

use reseed_io::Progress;
use reseed_repository::{SetId, SetKind};
use reseed_terms::{Capture, Coordinates, LockTimes, ServerVersion};
use serde::Serialize;

/// One part of a backup and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub seconds: f64,
}

/// What a backup was like.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub id: SetId,
    pub kind: SetKind,
    /// The set that it builds on.
    pub parent: Option<SetId>,
    /// The set's directory; `None` for a stream.
    pub path: Option<PathBuf>,
    pub server: ServerVersion,
    pub files: u64,
    /// Bytes read from the server's files.
    pub bytes_read: u64,
    /// Bytes of those that a run that did not finish had stored already.
    pub bytes_reused: u64,
    /// Bytes that the set takes.
    pub bytes_stored: u64,
    pub redo_bytes: u64,
    /// Pages that were torn by a concurrent write and read again.
    pub pages_reread: u64,
    pub seconds: f64,
    pub steps: Vec<Step>,
    pub locks: Vec<LockTimes>,
    /// How long commits had to wait, where they had to.
    pub commits_held: Option<f64>,
    pub capture: Capture,
    pub coordinates: Coordinates,
    /// What somebody should know about this backup.
    pub notes: Vec<String>,
}

/// Measures the steps of a backup, and tells whoever watches.
pub(crate) struct Steps<'a> {
    progress: &'a dyn Progress,
    done: Vec<Step>,
    current: Option<(&'static str, Instant)>,
    began: Instant,
}

impl<'a> Steps<'a> {
    pub fn new(progress: &'a dyn Progress) -> Steps<'a> {
        Steps { progress, done: Vec::new(), current: None, began: Instant::now() }
    }

    /// Ends the step before and begins the next.
    pub fn begin(&mut self, name: &'static str, bytes: Option<u64>) {
        self.end();
        tracing::info!(step = name, bytes, "begin");
        self.progress.start(name, bytes);
        self.current = Some((name, Instant::now()));
    }

    pub fn end(&mut self) {
        if let Some((name, began)) = self.current.take() {
            self.progress.finish();
            let seconds = began.elapsed().as_secs_f64();
            tracing::info!(step = name, seconds, "end");
            self.done.push(Step { name, seconds });
        }
    }

    pub fn finish(mut self) -> (Vec<Step>, Duration) {
        self.end();
        (std::mem::take(&mut self.done), self.began.elapsed())
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        if self.current.take().is_some() {
            self.progress.finish();
        }
    }
}
