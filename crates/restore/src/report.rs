//! What a restore did, for the command line to tell.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reseed_repository::Manifest;

use crate::pages::patch::Counts;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub name: &'static str,
    pub took: Duration,
}

#[derive(Debug)]
pub struct Report {
    pub datadir: PathBuf,
    pub manifest: Box<Manifest>,
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Bytes that did not have to be written, as the old datadir had them; `None` when none was used.
    pub equal: Option<u64>,
    /// What the redo did to pages; all zero when the server is to apply it.
    pub counts: Counts,
    /// Changes that the redo holds.
    pub records: u64,
    pub redo_bytes: u64,
    /// Bytes of grouped redo that did not fit into memory.
    pub spilled: u64,
    /// Bytes of a stream's redo that did not, as they were received.
    pub staged: u64,
    pub steps: Vec<Step>,
    /// The old datadir, or what was left of one that was used up.
    pub moved_aside: Option<PathBuf>,
    /// Files of the old datadir that were carried over, below the datadir.
    pub kept: Vec<PathBuf>,
    /// The file beside the datadir with the statements that make it a replica.
    pub hand_over: Option<PathBuf>,
    /// The statements themselves.
    pub statements: Option<String>,
    /// What the user should know, in the order in which it came up.
    pub notes: Vec<String>,
}

/// Measures steps one after the other.
#[derive(Debug)]
pub(crate) struct Steps {
    done: Vec<Step>,
    since: Instant,
}

impl Steps {
    pub(crate) fn new() -> Steps {
        Steps { done: Vec::new(), since: Instant::now() }
    }

    pub(crate) fn done(&mut self, name: &'static str) {
        let now = Instant::now();
        self.done.push(Step { name, took: now - self.since });
        self.since = now;
    }

    pub(crate) fn finish(self) -> Vec<Step> {
        self.done
    }
}
