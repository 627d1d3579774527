//! `reseed backup`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use reseed_backup::{BackupOptions, LockChoice, Report};
use reseed_io::{IoError, Op};
use reseed_repository::{NewSet, Repository, RepositoryError, Sink, StreamWriter, Timestamp};
use reseed_server::{KillPolicy, QueryKind};

use super::{Session, connect, metrics, summary};
use crate::args::{BackupArgs, KillArg, LockArg, LockArgs};
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;

/// What the holder of a name is said to be doing, to a run that is refused.
const DOING: &str = "backup";

pub fn run(args: &BackupArgs, session: &Session) -> Result<Outcome, Failure> {
    let result = take(args, session);
    if let (Some(file), Some(repo)) = (&args.metrics_file, &args.repo) {
        let outcome = result.as_ref().map_or_else(|failure| failure.outcome, |_| Outcome::Done);
        metrics::write(file, repo, &args.name, outcome, result.as_ref().ok());
    }
    let report = result?;
    if args.json {
        out::json(&report)?;
    }
    for line in summary::backup(&report, args.name.as_str()) {
        session.drawer.say(&line);
    }
    Ok(Outcome::Done)
}

fn take(args: &BackupArgs, session: &Session) -> Result<Report, Failure> {
    if args.to.is_some() && io::stdout().is_terminal() {
        return Err(Failure::new(Outcome::Usage, "a backup is not sent to a terminal")
            .hint("Pipe it into a program or a file, or give --repo instead of --to."));
    }
    let options = BackupOptions {
        threads: args.threads.map(usize::from),
        bytes_per_second: args.rate.map_or(0, |rate| rate.0),
        lock: match args.locks.lock {
            LockArg::Auto => LockChoice::Auto,
            LockArg::Stage => LockChoice::Stage,
            LockArg::Ftwrl => LockChoice::Ftwrl,
        },
        lock_wait: args.locks.lock_wait,
        kill: kill(&args.locks),
        stall_budget: args.locks.stall_budget,
        ..BackupOptions::new(connect::options(&args.connection)?)
    };
    let new = NewSet {
        compression: args.compress,
        read_back: !args.no_read_back,
        ..NewSet::full(Timestamp::now())
    };
    reseed_backup::run(&options, |_begun| open(args, new, session), &session.drawer, &session.cancel)
        .map_err(|error| failure::backup(&error))
}

/// The place that the backup goes to.
fn open(args: &BackupArgs, new: NewSet, session: &Session) -> Result<Box<dyn Sink>, RepositoryError> {
    let Some(repo) = &args.repo else {
        // Not the handle of the standard library: that one looks for line ends in the stream.
        let stdout = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| IoError::new(Op::Open, "standard output", error))?;
        return Ok(Box::new(StreamWriter::new(Box::new(File::from(stdout)), &args.name, new)?));
    };
    let repository = Repository::create(repo)?;
    let lock = repository.lock(&args.name, DOING, args.wait_lock, &session.cancel)?;
    Ok(Box::new(repository.begin(&lock, new)?))
}

fn kill(args: &LockArgs) -> KillPolicy {
    match args.kill_blockers_after {
        None => KillPolicy::Never,
        Some(after) => KillPolicy::Queries {
            after,
            kind: match args.kill_blockers {
                KillArg::Select => QueryKind::Select,
                KillArg::All => QueryKind::All,
            },
        },
    }
}
