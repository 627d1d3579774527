//! What became of the last run, for whoever looks: a status file in JSON, and metrics for Prometheus. The last success
//! comes from the repository and not from the file before, so that a failed run neither hides nor forgets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reseed_backup::Report;
use reseed_io::{IoError, space, write};
use reseed_repository::{Listing, Repository, ServerName, SetInfo, Timestamp};
use serde::Serialize;

use super::metrics;
use crate::args::BackupArgs;
use crate::exit::Outcome;
use crate::failure::Failure;

const MODE: u32 = 0o644;
/// In the directory of the server's sets, unless --status-file names another place.
const FILE: &str = "status.json";

/// The last run, and what is there now.
#[derive(Debug)]
pub struct Status<'a> {
    pub name: &'a ServerName,
    pub begun: Timestamp,
    pub took: Duration,
    pub result: Result<&'a Report, &'a Failure>,
    /// `None` where the repository cannot be read.
    pub listing: Option<Listing>,
    pub free: Option<u64>,
}

impl<'a> Status<'a> {
    pub fn new(
        args: &'a BackupArgs,
        repo: &Path,
        begun: Timestamp,
        took: Duration,
        result: Result<&'a Report, &'a Failure>,
    ) -> Status<'a> {
        Status {
            name: &args.name,
            begun,
            took,
            result,
            listing: Repository::open(repo).and_then(|repository| repository.sets(&args.name)).ok(),
            free: space::free(repo).ok().map(|space| space.available),
        }
    }

    pub fn outcome(&self) -> Outcome {
        self.result.map_or_else(|failure| failure.outcome, |_| Outcome::Done)
    }
}

/// Writes status and metrics, each as a whole or not at all. One that cannot be written is logged: it must not turn a
/// good backup into a failed run.
pub fn write(args: &BackupArgs, begun: Timestamp, took: Duration, result: Result<&Report, &Failure>) {
    let Some(repo) = &args.repo else { return };
    let status = Status::new(args, repo, begun, took, result);
    let warn = |what: &str, written: Result<(), String>| {
        if let Err(error) = written {
            tracing::warn!("the {what} was not written: {error}");
        }
    };
    if let Some(file) = &args.metrics_file {
        let text = metrics::text(&status);
        warn("metrics file", write::write_atomic(file, text.as_bytes(), MODE).map_err(told));
    }
    // Beside the sets it has the trouble that has just ended the run there, and that is told once.
    let same_trouble = status.outcome() == Outcome::RepositoryFull && args.status_file.is_none();
    if let Some(file) = place(args, repo) {
        let text = serde_json::to_vec_pretty(&document(&status)).map_err(|error| error.to_string());
        let written = text.and_then(|text| write::write_atomic(&file, &text, MODE).map_err(told));
        if !same_trouble {
            warn("status file", written);
        }
    }
}

/// With its cause, on one line.
fn told(error: IoError) -> String {
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// No directory is made for a status: a name that never had a backup has none.
fn place(args: &BackupArgs, repo: &Path) -> Option<PathBuf> {
    let usual = || {
        let dir = repo.join(args.name.as_str());
        fs::metadata(&dir).is_ok_and(|meta| meta.is_dir()).then(|| dir.join(FILE))
    };
    args.status_file.clone().or_else(usual)
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    name: &'a str,
    last_run: Run<'a>,
    /// The newest published set; null where there is none.
    last_success: Option<Set<'a>>,
    /// The newest set that can be restored as far as is known.
    newest_restorable: Option<Set<'a>>,
}

#[derive(Debug, Serialize)]
struct Run<'a> {
    command: &'static str,
    start: Timestamp,
    seconds: f64,
    exit_code: u8,
    set: Option<&'a str>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Set<'a> {
    id: &'a str,
    start: Timestamp,
    end: Timestamp,
    /// When it was verified last, and whether it was found good; null where it never was.
    verified: Option<Timestamp>,
    good: Option<bool>,
}

impl<'a> Set<'a> {
    fn of(set: &'a SetInfo) -> Set<'a> {
        Set {
            id: set.id().as_str(),
            start: set.manifest.start,
            end: set.manifest.end,
            verified: set.verified.as_ref().map(|verified| verified.at),
            good: set.verified.as_ref().map(|verified| verified.good),
        }
    }
}

fn document<'a>(status: &'a Status<'_>) -> Document<'a> {
    let listing = status.listing.as_ref();
    Document {
        name: status.name.as_str(),
        last_run: Run {
            command: "backup",
            start: status.begun,
            seconds: status.took.as_secs_f64(),
            exit_code: status.outcome().code(),
            set: status.result.ok().map(|report| report.id.as_str()),
            error: status.result.err().map(|failure| failure.to_string().trim_end().to_owned()),
        },
        last_success: listing.and_then(|listing| listing.sets.last()).map(Set::of),
        newest_restorable: listing.and_then(Listing::newest_good).map(Set::of),
    }
}
