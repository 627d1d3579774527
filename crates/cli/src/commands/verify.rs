//! `reseed verify`.

use reseed_repository::{
    Damage, DamagedSet, Level, Problem, Repository, RepositoryError, SetId, SetReader, Timestamp, Verified,
    VerifyReport, verify,
};
use reseed_restore::{SetSource, verify_pages};
use serde::Serialize;
use std::time::Duration;

use super::{Session, restore_test, sets};
use crate::args::{VerifyArgs, VerifyWhich};
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;
use crate::units::{Size, Time};

const MOST_THREADS: usize = 8;

pub fn run(args: &VerifyArgs, session: &Session) -> Result<Outcome, Failure> {
    let failed = |error| failure::repository(&error);
    let repository = Repository::open(&args.repo).map_err(failed)?;
    let level = match (args.quick, args.pages, args.restore_test) {
        (_, _, true) => Level::RestoreTest,
        (true, ..) => Level::Quick,
        (false, false, _) => Level::Full,
        (false, true, _) => Level::Pages,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores.min(MOST_THREADS), usize::from);
    let mut results = Vec::new();
    let before = repository.sets(&args.name).map_err(failed)?;
    let mut damaged = Vec::new();
    let mut not_kept = None;
    for Chosen { set, level } in chosen(args, &repository, level)? {
        if let Ok(set) = &set
            && let Some(known) = before.get(set.id()).and_then(|known| known.verified.as_ref())
            && args.since.is_some_and(|since| is_fresh(known, level, since))
        {
            let result = SetResult::skipped(known, set.id().as_str());
            if !args.json {
                let ago = sets::age(known.at, Timestamp::now());
                let line = format!("{}: verified {ago} ago ({})", result.id, sets::level(known.level));
                session.drawer.say(&line);
            }
            results.push(result);
            continue;
        }
        let began = std::time::Instant::now();
        let result = match set {
            Ok(set) => {
                let mut report =
                    verify(&set, level, threads, &session.drawer, &session.cancel).map_err(failed)?;
                report.findings.extend(below(&repository, &set, &damaged));
                if level >= Level::Pages && report.is_good() {
                    pages(&repository, &set, threads, &mut report, session)?;
                }
                if level == Level::RestoreTest && report.is_good() {
                    let complaints = restore_test::run(&repository, &set, args, session)?;
                    let damage = |text| Damage::of_file("the restored server", Problem::Syntax(text));
                    report.findings.extend(complaints.into_iter().map(damage));
                }
                // What was found is told in any case.
                if let Err(error) = set.keep_result(&report, Timestamp::now()) {
                    let why = failure::repository(&error).to_line();
                    match error {
                        // As it is wanted where a repository is mounted read-only: told once, at the end.
                        RepositoryError::Io(error) if error.is_permission() => not_kept = Some(why),
                        _ => tracing::warn!("what was found of {} is not kept: {why}", set.id()),
                    }
                }
                if !report.is_good() {
                    damaged.push(set.id().clone());
                }
                SetResult::of(&set, &report, began.elapsed().as_secs_f64())
            }
            Err(damaged) => SetResult {
                id: damaged.id.to_string(),
                level,
                skipped: false,
                good: false,
                bytes: 0,
                seconds: 0.0,
                findings: vec![damaged.error.to_string()],
            },
        };
        if !args.json {
            tell(&result, session)?;
        }
        results.push(result);
    }
    let good = results.iter().all(|result| result.good);
    if let Some(why) = not_kept {
        let note = format!("note: what was found is not kept beside the sets: {why}");
        // That a set is damaged will not be known to anybody else.
        if good { session.drawer.say(&note) } else { session.drawer.tell(&note) }
    }
    if args.json {
        out::json(&Document { name: args.name.as_str(), good, sets: results })?;
    }
    Ok(if good { Outcome::Done } else { Outcome::SetDamaged })
}

/// Every page of a set whose bytes are as they were written.
fn pages(
    repository: &Repository,
    set: &SetReader,
    threads: usize,
    report: &mut VerifyReport,
    session: &Session,
) -> Result<(), Failure> {
    let found = SetSource::new(repository, set)
        .and_then(|source| verify_pages(&source, threads, &session.drawer, &session.cancel))
        .map_err(|error| failure::restore(&error))?;
    report.findings.extend(found.bad.iter().map(|bad| {
        Damage::of_file(bad.path.clone(), Problem::Syntax(format!("{}: {}", bad.page, bad.problem)))
    }));
    let more = found.bad_count.saturating_sub(found.bad.len() as u64);
    if more > 0 {
        report.findings.push(Damage::of_file("more", Problem::Syntax(format!("{more} further pages"))));
    }
    Ok(())
}

/// A set is worth as much as what it builds on: what is wrong with that. `damaged` are those of this run, which looks
/// at older sets first.
fn below(repository: &Repository, set: &SetReader, damaged: &[SetId]) -> Option<Damage> {
    let problem = match repository.chain(set) {
        Err(error) => error.to_string(),
        Ok(chain) => {
            let bad = chain.sets().iter().map(SetReader::id).find(|id| damaged.contains(id))?;
            format!("it builds on {bad}, which is damaged")
        }
    };
    Some(Damage::of_file("the chain", Problem::Syntax(problem)))
}

struct Chosen {
    set: Result<SetReader, DamagedSet>,
    level: Level,
}

/// What is read, older sets first: with a set all that it builds on, for a restore reads that too. Pages and the
/// restored server are looked at through the whole chain, so that there the bytes are enough.
fn chosen(args: &VerifyArgs, repository: &Repository, level: Level) -> Result<Vec<Chosen>, Failure> {
    let failed = |error| failure::repository(&error);
    match &args.which {
        VerifyWhich::One(which) => {
            let set = repository.resolve(&args.name, which).map_err(failed)?;
            let mut chosen = Vec::new();
            // A chain that cannot be opened is told of the set itself.
            if let Ok(chain) = repository.chain(&set) {
                let ancestors = chain.sets().iter().filter(|below| below.id() != set.id()).cloned();
                chosen.extend(ancestors.map(|set| Chosen { set: Ok(set), level: level.min(Level::Full) }));
            }
            chosen.push(Chosen { set: Ok(set), level });
            Ok(chosen)
        }
        VerifyWhich::All => {
            let listing = repository.sets(&args.name).map_err(failed)?;
            let mut chosen = Vec::new();
            for set in &listing.sets {
                let opened = repository.open_set(&args.name, set.id());
                let set = opened.map_err(|error| DamagedSet {
                    id: set.id().clone(),
                    dir: set.dir.clone(),
                    error,
                    claimed: Some(set.manifest.sequence),
                });
                chosen.push(Chosen { set, level });
            }
            chosen.extend(listing.damaged.into_iter().map(|set| Chosen { set: Err(set), level }));
            Ok(chosen)
        }
    }
}

/// A good set is a line unless the user wants quiet; damage is told always, as the result that it is.
fn tell(result: &SetResult, session: &Session) -> Result<(), Failure> {
    if result.good {
        session.drawer.say(&format!(
            "{}: nothing wrong ({}, {} read in {})",
            result.id,
            sets::level(result.level),
            Size(result.bytes),
            Time::seconds(result.seconds)
        ));
        return Ok(());
    }
    let mut text = format!("{}: DAMAGED\n", result.id);
    for finding in &result.findings {
        text.push_str(&format!("  {finding}\n"));
    }
    session.drawer.hidden(|| out::text(text))
}

#[derive(Serialize)]
struct Document<'a> {
    name: &'a str,
    good: bool,
    sets: Vec<SetResult>,
}

#[derive(Serialize)]
struct SetResult {
    id: String,
    level: Level,
    /// It was verified before; the rest is what was found then.
    skipped: bool,
    good: bool,
    /// Stored bytes that were read.
    bytes: u64,
    seconds: f64,
    findings: Vec<String>,
}

/// Whether it is known already what a verification at this level would tell.
fn is_fresh(known: &Verified, level: Level, since: Duration) -> bool {
    let age = Timestamp::now().duration_since(known.at);
    // A result of the future counts for nothing: the clock went back.
    known.good && known.level >= level && !age.is_negative() && age.unsigned_abs() <= since
}

impl SetResult {
    fn skipped(known: &Verified, id: &str) -> SetResult {
        SetResult {
            id: id.to_owned(),
            level: known.level,
            skipped: true,
            good: known.good,
            bytes: 0,
            seconds: 0.0,
            findings: Vec::new(),
        }
    }

    fn of(set: &SetReader, report: &VerifyReport, seconds: f64) -> SetResult {
        SetResult {
            id: set.id().to_string(),
            level: report.level,
            skipped: false,
            good: report.is_good(),
            bytes: report.bytes,
            seconds,
            findings: report.findings.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_fresh_when_it_is_good_young_and_as_close() {
        let ago = |seconds: i64| Timestamp::from_second(Timestamp::now().as_second() - seconds).unwrap();
        let known = |level, seconds, good| Verified {
            level,
            at: ago(seconds),
            tool: String::new(),
            good,
            findings: Vec::new(),
            manifest_hash: serde_json::from_str("\"00000000000000000000000000000000\"").unwrap(),
        };
        let hour = Duration::from_secs(3600);
        assert!(is_fresh(&known(Level::Pages, 60, true), Level::Full, hour));
        assert!(!is_fresh(&known(Level::Quick, 60, true), Level::Full, hour));
        assert!(!is_fresh(&known(Level::Pages, 3700, true), Level::Full, hour));
        assert!(!is_fresh(&known(Level::Pages, 60, false), Level::Full, hour));
        assert!(!is_fresh(&known(Level::Pages, -600, true), Level::Full, hour));
    }
}
