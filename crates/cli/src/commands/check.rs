//! `reseed check`: one line, findings below it, and one of four exit codes, as monitoring systems want it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use reseed_repository::{Repository, RepositoryError, ServerName, SetId, Timestamp};
use reseed_server::findings::{Finding, Verdict};
use reseed_server::{Server, ServerError, Stop};
use serde::Serialize;

use super::{Session, connect};
use crate::args::CheckArgs;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::out;
use crate::units::Time;

/// From good to bad: what is known to be bad counts for more than what is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Ok,
    Warning,
    Unknown,
    Critical,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Warning => "WARNING",
            Status::Critical => "CRITICAL",
            Status::Unknown => "UNKNOWN",
        }
    }

    fn code(self) -> u8 {
        match self {
            Status::Ok => 0,
            Status::Warning => 1,
            Status::Critical => 2,
            Status::Unknown => 3,
        }
    }
}

pub fn run(args: &CheckArgs, session: &Session) -> Result<ExitCode, Failure> {
    let mut parts = Vec::new();
    if let Some(age) = args.age {
        let (Some(repo), Some(name)) = (&args.repo, &args.name) else {
            return Err(usage("--age is about a server's sets: give --repo and --name"));
        };
        parts.push(backups(repo, name, age, args.warn_age));
    }
    if args.server {
        parts.push(server(args, session));
    }
    if parts.is_empty() {
        return Err(usage("there is nothing to check: give --age, --server or both"));
    }
    let status = parts.iter().map(|part| part.status).max().unwrap_or(Status::Unknown);
    if args.json {
        out::json(&Document { status: status.word(), checks: &parts })?;
    } else {
        out::text(told(status, &parts))?;
    }
    Ok(ExitCode::from(status.code()))
}

fn usage(message: &str) -> Failure {
    Failure::new(Outcome::Usage, message).hint("`reseed check --help` has examples.")
}

/// One thing that was checked, and what was found in particular.
#[derive(Debug, Serialize)]
struct Part {
    #[serde(serialize_with = "as_word")]
    status: Status,
    text: String,
    /// In the plugins' convention.
    #[serde(skip)]
    numbers: String,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Document<'a> {
    status: &'a str,
    checks: &'a [Part],
}

fn as_word<S: serde::Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.word())
}

fn told(status: Status, parts: &[Part]) -> String {
    let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
    let numbers: Vec<&str> =
        parts.iter().map(|part| part.numbers.as_str()).filter(|numbers| !numbers.is_empty()).collect();
    let mut text = format!("RESEED {} - {}", status.word(), texts.join("; "));
    if !numbers.is_empty() {
        text.push_str(&format!(" | {}", numbers.join(" ")));
    }
    text.push('\n');
    for finding in parts.iter().flat_map(|part| &part.findings) {
        let word = match finding.verdict {
            Verdict::Fine => "ok",
            Verdict::Slow => "slow",
            Verdict::Blocks => "BLOCKS",
        };
        text.push_str(&format!("{word:<7} {:<18} {}\n", finding.name, finding.found));
        if finding.verdict != Verdict::Fine {
            text.push_str(&format!("{:26} {}\n{:26} see: {}\n", "", finding.means, "", finding.query));
        }
    }
    text
}

fn backups(repo: &Path, name: &ServerName, age: Duration, warn_age: Option<Duration>) -> Part {
    let listing = Repository::open(repo).and_then(|repository| repository.sets(name));
    let (status, text, numbers) = match listing {
        Ok(listing) => {
            let newest = listing.newest_good().map(|set| (set.id(), set.manifest.end));
            judge(newest, Timestamp::now(), age, warn_age)
        }
        Err(error @ (RepositoryError::NoServer { .. } | RepositoryError::NoSets { .. })) => {
            (Status::Critical, error.to_string(), String::new())
        }
        Err(error) => (Status::Unknown, error.to_string(), String::new()),
    };
    Part { status, text: format!("{name}: {text}"), numbers, findings: Vec::new() }
}

fn server(args: &CheckArgs, session: &Session) -> Part {
    let cancel = session.cancel.clone();
    let stop = Stop::when(move || cancel.is_cancelled());
    let looked =
        connect::options(&args.connection).map_err(|failure| failure.to_string()).and_then(|options| {
            let look = || {
                let server = Server::connect(options, stop)?;
                let facts = server.facts()?;
                Ok((facts.version.to_string(), server.findings(&facts)?))
            };
            look().map_err(|error: ServerError| error.to_string())
        });
    match looked {
        Ok((version, findings)) => {
            let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Fine);
            let counted = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
            let (status, text) = match worst {
                Verdict::Fine => (Status::Ok, "nothing in the way".to_owned()),
                Verdict::Slow => (Status::Warning, format!("{} to look at", counted(Verdict::Slow))),
                Verdict::Blocks => (Status::Critical, format!("{} that block", counted(Verdict::Blocks))),
            };
            Part { status, text: format!("{version}: {text}"), numbers: String::new(), findings }
        }
        Err(text) => {
            let text = text.trim_end().to_owned();
            Part { status: Status::Unknown, text, numbers: String::new(), findings: Vec::new() }
        }
    }
}

fn judge(
    newest: Option<(&SetId, Timestamp)>,
    now: Timestamp,
    critical: Duration,
    warning: Option<Duration>,
) -> (Status, String, String) {
    let Some((id, end)) = newest else {
        return (Status::Critical, "there is no restorable set".to_owned(), String::new());
    };
    let seconds = now.duration_since(end).as_secs_f64();
    if seconds < -60.0 {
        let text = format!("the newest restorable set {id} is of the future: look at the clocks");
        return (Status::Unknown, text, String::new());
    }
    let age = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    let status = if age > critical {
        Status::Critical
    } else if warning.is_some_and(|warning| age > warning) {
        Status::Warning
    } else {
        Status::Ok
    };
    let limit = |limit: Option<Duration>| limit.map(|limit| limit.as_secs().to_string()).unwrap_or_default();
    let text = format!("the newest restorable set {id} is {} old", Time(age));
    let numbers = format!("age={:.0}s;{};{}", seconds.max(0.0), limit(warning), limit(Some(critical)));
    (status, text, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_judged() {
        let id: SetId = "20261120T060000Z-full".parse().unwrap();
        let end: Timestamp = "2026-11-20T06:00:10Z".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let hour = Duration::from_secs(3600);
        let judged = |now: &str| judge(Some((&id, end)), at(now), 3 * hour, Some(hour));
        let (status, text, numbers) = judged("2026-11-20T06:30:10Z");
        assert_eq!(status, Status::Ok);
        assert_eq!(text, "the newest restorable set 20261120T060000Z-full is 30 min 00 s old");
        assert_eq!(numbers, "age=1800s;3600;10800");
        assert_eq!(judged("2026-11-20T08:00:00Z").0, Status::Warning);
        assert_eq!(judged("2026-11-20T10:00:00Z").0, Status::Critical);
        assert_eq!(judged("2026-11-19T06:00:00Z").0, Status::Unknown);
        assert_eq!(judge(None, end, hour, None).0, Status::Critical);
    }
}
