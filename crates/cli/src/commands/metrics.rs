//! The result of a run for Prometheus' textfile collector. The last success comes from the repository and not from
//! the file before, so that a failed run neither hides nor forgets it.

use std::fmt::Write as _;
use std::path::Path;

use reseed_backup::Report;
use reseed_io::{space, write};
use reseed_repository::{Repository, ServerName, Timestamp};

use crate::exit::Outcome;

const MODE: u32 = 0o644;

/// Writes the file as a whole or not at all. A file that cannot be written is logged: it must not turn a good backup
/// into a failed run.
pub fn write(file: &Path, repo: &Path, name: &ServerName, outcome: Outcome, report: Option<&Report>) {
    let text = text(&gather(repo, name, outcome, report));
    if let Err(error) = write::write_atomic(file, text.as_bytes(), MODE) {
        tracing::warn!("the metrics were not written: {error}");
    }
}

/// One value: name, what it is, value.
type Metric = (&'static str, &'static str, f64);

fn gather(
    repo: &Path,
    name: &ServerName,
    outcome: Outcome,
    report: Option<&Report>,
) -> (String, Vec<Metric>) {
    let mut metrics: Vec<Metric> = vec![
        (
            "last_run_timestamp_seconds",
            "When the last run ended.",
            Timestamp::now().as_millisecond() as f64 / 1000.0,
        ),
        ("last_run_exit_code", "Exit code of the last run, 0 for success.", f64::from(outcome.code())),
    ];
    if let Some(report) = report {
        let longest = report.locks.iter().map(|lock| lock.waited).fold(0.0, f64::max);
        metrics.extend([
            ("last_run_duration_seconds", "How long it took.", report.seconds),
            ("last_run_read_bytes", "Bytes read from the server's files.", report.bytes_read as f64),
            ("last_run_stored_bytes", "Bytes that the set takes.", report.bytes_stored as f64),
            ("last_run_redo_bytes", "Bytes of redo captured.", report.redo_bytes as f64),
            (
                "last_run_commits_held_seconds",
                "How long commits were held.",
                report.commits_held.unwrap_or(0.0),
            ),
            ("last_run_lock_wait_seconds", "The longest wait for a lock.", longest),
        ]);
    }
    let listing = Repository::open(repo).and_then(|repository| repository.sets(name));
    if let Ok(listing) = listing {
        metrics.push(("sets", "Published sets.", listing.sets.len() as f64));
        metrics.push(("damaged_sets", "Sets that cannot be read.", listing.damaged.len() as f64));
        if let Some(newest) = listing.newest_good() {
            let end = newest.manifest.end.as_millisecond() as f64 / 1000.0;
            metrics.push(("newest_restorable_timestamp_seconds", "End of the newest restorable set.", end));
        }
    }
    if let Ok(space) = space::free(repo) {
        metrics.push(("repository_free_bytes", "Free space of the repository.", space.available as f64));
    }
    (name.to_string(), metrics)
}

fn text((name, metrics): &(String, Vec<Metric>)) -> String {
    let mut text = String::new();
    for (metric, help, value) in metrics {
        let _ = writeln!(text, "# HELP reseed_{metric} {help}\n# TYPE reseed_{metric} gauge");
        let _ = writeln!(text, "reseed_{metric}{{name=\"{name}\"}} {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("reseed.prom");
        write(&file, &dir.path().join("none"), &"db1".parse().unwrap(), Outcome::LockWaitLimit, None);
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("\nreseed_last_run_exit_code{name=\"db1\"} 6\n"), "{text}");
        assert!(!text.contains("newest_restorable"), "{text}");
    }

    #[test]
    fn the_format_is_prometheus() {
        let all = ("db1".to_owned(), vec![("sets", "Published sets.", 3.0)]);
        assert_eq!(
            text(&all),
            "# HELP reseed_sets Published sets.\n# TYPE reseed_sets gauge\nreseed_sets{name=\"db1\"} 3\n"
        );
    }
}
