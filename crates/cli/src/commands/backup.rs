//! `reseed backup`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::Instant;

use reseed_backup::{BackupError, BackupOptions, Begun, LockChoice, Report};
use reseed_io::{IoError, Op};
use reseed_repository::{
    NameLock, NewSet, Repository, RepositoryError, Sink, StreamServer, StreamWriter, Timestamp,
};
use reseed_server::{KillPolicy, QueryKind};

use super::hooks::Hooks;
use super::parent::{self, Choice};
use super::{Session, connect, status, summary};
use crate::args::{BackupArgs, KillArg, LockArg, LockArgs};
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;

/// What the holder of a name is said to be doing, to a run that is refused.
const DOING: &str = "backup";

pub fn run(args: &BackupArgs, session: &Session) -> Result<Outcome, Failure> {
    let (begun, since) = (Timestamp::now(), Instant::now());
    if let Some(hours) = args.hours.as_ref().filter(|hours| !hours.hold(hour(begun))) {
        let message = format!("backups of {} may begin in the hours {hours} (UTC) only", args.name);
        return Err(Failure::new(Outcome::NotNow, message));
    }
    let hooks = Hooks::new(args);
    let result = hooks.before(&session.cancel).and_then(|()| take(args, session));
    // A run that is refused is none: the one that works on the name tells what becomes of it.
    if !result.as_ref().is_err_and(|failure| failure.outcome == Outcome::NameBusy) {
        status::write(args, begun, since.elapsed(), result.as_ref());
    }
    hooks.after(since.elapsed().as_secs_f64(), result.as_ref());
    let report = result?;
    if args.json {
        out::json(&report)?;
    }
    for line in summary::backup(&report, args.name.as_str()) {
        session.drawer.say(&line);
    }
    Ok(Outcome::Done)
}

/// Of the day, in UTC.
fn hour(at: Timestamp) -> u8 {
    u8::try_from(at.as_second().rem_euclid(86_400) / 3600).unwrap_or(0)
}

fn take(args: &BackupArgs, session: &Session) -> Result<Report, Failure> {
    if args.to.is_some() && io::stdout().is_terminal() {
        return Err(Failure::new(Outcome::Usage, "a backup is not sent to a terminal")
            .hint("Pipe it into a program or a file, or give --repo instead of --to."));
    }
    let mut options = BackupOptions {
        threads: args.threads.map(usize::from),
        bytes_per_second: args.rate.map_or(0, |rate| rate.0),
        lock: match args.locks.lock {
            LockArg::Auto => LockChoice::Auto,
            LockArg::Stage => LockChoice::Stage,
            LockArg::Ftwrl => LockChoice::Ftwrl,
        },
        lock_wait: args.locks.lock_wait,
        kill: kill(&args.locks),
        safe: args.locks.safe,
        stall_budget: args.locks.stall_budget,
        ..BackupOptions::new(connect::options(&args.connection)?)
    };
    let new = NewSet {
        compression: args.compress,
        read_back: !args.no_read_back,
        ..NewSet::full(Timestamp::now())
    };
    let lock = early_lock(args, session).map_err(|error| failure::repository(&error))?;
    let Choice { base, required, why_full, newest } = match (&args.repo, &lock) {
        (Some(repo), Some(lock)) => Repository::open(repo)
            .and_then(|repository| parent::choose(&args.kind, &repository, lock, new.start))
            .map_err(|error| failure::repository(&error))?,
        (Some(_), None) if args.kind.parent.is_some() => {
            let error = RepositoryError::NoServer { name: args.name.clone() };
            return Err(failure::repository(&error));
        }
        _ => parent::of_a_new_name(&args.kind),
    };
    (options.base, options.base_required, options.newest) = (base, required, newest);
    options.notes.extend(why_full);
    let attempt = |options: &BackupOptions| {
        let open = |begun: Begun<'_>| {
            let new = NewSet { parent: begun.parent.clone(), ..new.clone() };
            open(args, new, &begun, lock.clone(), session)
        };
        reseed_backup::run(options, open, &session.drawer, &session.cancel)
    };
    let mut result = attempt(&options);
    if let (Err(error @ BackupError::NotAsBefore { .. }), Some(base), false) =
        (&result, &options.base, options.base_required)
    {
        // What is known of one file is known of none: nothing of the set that was to be built on counts any more.
        let parent = base.parent().id;
        let note = format!("a full set was taken, since {parent} cannot be built on: {error}");
        session.drawer.say(&note);
        options.notes.push(note);
        options.base = None;
        result = attempt(&options);
    }
    result.map_err(|error| failure::backup(&error))
}

/// A name that is there is owned before the server is asked for anything: runs that pile up shall not take its
/// connections. A new name is made only when it is known that the server can be backed up.
fn early_lock(args: &BackupArgs, session: &Session) -> Result<Option<NameLock>, RepositoryError> {
    let Some(repo) = &args.repo else { return Ok(None) };
    // What is wrong with a place that cannot be opened is told when the set is to be made there.
    let Ok(repository) = Repository::open(repo) else { return Ok(None) };
    if !repository.names()?.contains(&args.name) {
        return Ok(None);
    }
    repository.lock(&args.name, DOING, args.wait_lock, &session.cancel).map(Some)
}

/// The place that the backup goes to.
fn open(
    args: &BackupArgs,
    new: NewSet,
    begun: &Begun<'_>,
    lock: Option<NameLock>,
    session: &Session,
) -> Result<Box<dyn Sink>, RepositoryError> {
    let Some(repo) = &args.repo else {
        // Not the handle of the standard library: that one looks for line ends in the stream.
        let stdout = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| IoError::new(Op::Open, "standard output", error))?;
        let server = StreamServer {
            version: begun.server.version.clone(),
            server_id: begun.server.server_id,
            bytes: begun.bytes,
            keeps_binlogs: begun.server.binlog.as_ref().and_then(|binlog| binlog.expire_seconds),
        };
        let new = NewSet { server: Some(server), ..new };
        return Ok(Box::new(StreamWriter::new(Box::new(File::from(stdout)), &args.name, new)?));
    };
    let repository = Repository::create(repo)?;
    let lock = match lock {
        Some(lock) => lock,
        None => repository.lock(&args.name, DOING, args.wait_lock, &session.cancel)?,
    };
    Ok(Box::new(repository.begin(&lock, new, &session.drawer, &session.cancel)?))
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
