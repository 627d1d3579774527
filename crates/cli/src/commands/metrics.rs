//! The status of a name as metrics, for Prometheus' textfile collector.

use std::fmt::Write as _;

use reseed_repository::{SetInfo, Timestamp};

use super::status::Status;

/// Name, what it is, value.
type Metric = (&'static str, &'static str, f64);

pub fn text(status: &Status<'_>) -> String {
    let mut text = String::new();
    for (metric, help, value) in gather(status) {
        let _ = writeln!(text, "# HELP reseed_{metric} {help}\n# TYPE reseed_{metric} gauge");
        let _ = writeln!(text, "reseed_{metric}{{name=\"{}\"}} {value}", status.name);
    }
    text
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn gather(status: &Status<'_>) -> Vec<Metric> {
    let took = status.took.as_secs_f64();
    let mut metrics: Vec<Metric> = vec![
        ("last_run_timestamp_seconds", "When the last run ended.", seconds(status.begun) + took),
        (
            "last_run_exit_code",
            "Exit code of the last run, 0 for success.",
            f64::from(status.outcome().code()),
        ),
        ("last_run_duration_seconds", "How long it took.", took),
    ];
    if let Ok(report) = status.result {
        let longest =
            |of: fn(&reseed_terms::LockTimes) -> f64| report.locks.iter().map(of).fold(0.0, f64::max);
        metrics.extend([
            ("last_run_read_bytes", "Bytes read from the server's files.", report.bytes_read as f64),
            ("last_run_stored_bytes", "Bytes that the set takes.", report.bytes_stored as f64),
            ("last_run_redo_bytes", "Bytes of redo captured.", report.redo_bytes as f64),
            (
                "last_run_commits_held_seconds",
                "How long commits were held.",
                report.commits_held.unwrap_or(0.0),
            ),
            ("last_run_lock_wait_seconds", "The longest wait for a lock.", longest(|lock| lock.waited)),
            (
                "last_run_lock_held_seconds",
                "The longest time that a lock was held.",
                longest(|lock| lock.held),
            ),
        ]);
    }
    if let Some(listing) = &status.listing {
        let bad = |set: &&SetInfo| set.verified.as_ref().is_some_and(|verified| !verified.good);
        let damaged = listing.damaged.len() + listing.sets.iter().filter(bad).count();
        metrics.push(("sets", "Published sets.", listing.sets.len() as f64));
        metrics.push(("damaged_sets", "Sets that are known to be damaged.", damaged as f64));
        if let Some(newest) = listing.sets.last() {
            let end = seconds(newest.manifest.end);
            metrics.push(("last_success_timestamp_seconds", "End of the newest published set.", end));
        }
        if let Some(newest) = listing.newest_good() {
            let end = seconds(newest.manifest.end);
            metrics.push(("newest_restorable_timestamp_seconds", "End of the newest restorable set.", end));
        }
        let good =
            listing.sets.iter().filter_map(|set| set.verified.as_ref()).filter(|verified| verified.good);
        if let Some(last) = good.map(|verified| verified.at).max() {
            let help = "When a set was last verified and found good.";
            metrics.push(("last_good_verification_timestamp_seconds", help, seconds(last)));
        }
    }
    if let Some(free) = status.free {
        metrics.push(("repository_free_bytes", "Free space of the repository.", free as f64));
    }
    metrics
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exit::Outcome;
    use crate::failure::Failure;

    #[test]
    fn a_failed_run_is_told_in_the_format_of_prometheus() {
        let failure = Failure::new(Outcome::LockWaitLimit, "no lock");
        let status = Status {
            name: &"db1".parse().unwrap(),
            begun: "2026-11-20T06:00:00Z".parse().unwrap(),
            took: Duration::from_secs(61),
            result: Err(&failure),
            listing: None,
            free: Some(7),
        };
        insta::assert_snapshot!(text(&status));
    }
}
