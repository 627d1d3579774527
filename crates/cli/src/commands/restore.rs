//! `reseed restore`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use nix::unistd::{Group, User};
use reseed_io::Pipe;
use reseed_repository::Manifest;
use reseed_restore::{Apply, Occupied, Options, Outside, Report, Source as _};
use serde::Serialize;

use super::{Session, attach, hand_over, new_server, sets, summary};
use crate::args::{ApplyArg, OutsideArg, RestoreArgs, SourceArgs, TargetArgs};
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;

pub fn run(args: &RestoreArgs, session: &Session) -> Result<Outcome, Failure> {
    let options = options(&args.target, &args.source)?;
    let (drawer, cancel) = (&session.drawer, &session.cancel);
    let result = match args.set() {
        Some(set) => {
            let set = sets::source(&set)?;
            if let Some(wanted) = &options.hand_over {
                attach::refuse_lost_place(set.manifest(), wanted, session)?;
            }
            reseed_restore::run(&set, &options, drawer, cancel)
        }
        None => reseed_restore::restore_stream(Pipe::new(stdin()?, cancel.clone()), &options, drawer, cancel),
    };
    let report = result.map_err(|error| failure::restore(&error))?;
    tell(&report, false, args.json, session)?;
    Ok(Outcome::Done)
}

/// The result on standard output, the summary on stderr.
///
/// # Errors
/// When standard output cannot be written.
pub fn tell(report: &Report, cloned: bool, as_json: bool, session: &Session) -> Result<(), Failure> {
    if as_json {
        out::json(&Document::of(report))?;
    } else if let Some(statements) = &report.statements {
        out::text(statements)?;
    }
    for line in summary::restore(report, cloned) {
        session.drawer.say(&line);
    }
    Ok(())
}

/// Standard input as a file: the handle of the standard library copies everything once more.
fn stdin() -> Result<File, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::new(Outcome::Usage, "a stream is not read from a terminal")
            .hint("Pipe the output of `reseed backup --to -` into it."));
    }
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    stdin
        .map(File::from)
        .map_err(|error| Failure::new(Outcome::Failed, format!("cannot read standard input: {error}")))
}

/// # Errors
/// When the owner is not known here, or the source's password file cannot be used.
pub fn options(args: &TargetArgs, source: &SourceArgs) -> Result<Options, Failure> {
    let hand_over = if hand_over::wanted(source) { Some(hand_over::options(source)?) } else { None };
    Ok(Options {
        datadir: args.datadir.clone(),
        occupied: match (args.move_aside, args.delta) {
            (true, _) => Occupied::MoveAside,
            (false, true) => Occupied::UseUp,
            (false, false) => Occupied::Refuse,
        },
        keep: args.keep.clone(),
        apply: match args.apply {
            ApplyArg::Native => Apply::Native,
            ApplyArg::Server => Apply::Server,
        },
        outside: match args.outside {
            OutsideArg::Inside => Outside::Inside,
            OutsideArg::Keep => Outside::Keep,
        },
        maps: args.map.iter().map(|map| (map.old.clone(), map.new.clone())).collect(),
        owner: args.owner.as_deref().map(owner).transpose()?,
        threads: args.threads.map_or(0, usize::from),
        memory: args.memory.0,
        hand_over,
        new_server: new_server::of_host(args.server_binary.as_deref())?,
        now: super::now(),
    })
}

/// USER[:GROUP], each a name or a number. Without a group it is the user's own.
pub fn owner(text: &str) -> Result<(u32, u32), Failure> {
    let unknown = |what: &str, name: &str| {
        Failure::new(Outcome::Usage, format!("this system knows no {what} {name:?}"))
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let account = match user.parse::<u32>() {
        Ok(uid) => User::from_uid(uid.into()),
        Err(_) => User::from_name(user),
    };
    let account = account.ok().flatten();
    let uid = account
        .as_ref()
        .map(|account| account.uid.as_raw())
        .or_else(|| user.parse().ok())
        .ok_or_else(|| unknown("user", user))?;
    let gid = match group {
        Some(group) => match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => Group::from_name(group)
                .ok()
                .flatten()
                .map(|group| group.gid.as_raw())
                .ok_or_else(|| unknown("group", group))?,
        },
        None => account.map(|account| account.gid.as_raw()).ok_or_else(|| unknown("user", user))?,
    };
    Ok((uid, gid))
}

/// The JSON document of a restore.
#[derive(Serialize)]
pub struct Document<'a> {
    datadir: &'a std::path::Path,
    set: &'a str,
    name: &'a str,
    server_version: &'a str,
    files: u64,
    bytes_written: u64,
    bytes_equal: Option<u64>,
    redo_bytes: u64,
    redo_records: u64,
    redo_spilled: u64,
    redo_staged: u64,
    seconds: f64,
    steps: Vec<Step>,
    moved_aside: Option<&'a std::path::Path>,
    kept: &'a [std::path::PathBuf],
    hand_over_file: Option<&'a std::path::Path>,
    hand_over: Option<&'a str>,
    /// Those that the backup took in its server.
    locks: &'a [reseed_terms::LockTimes],
    coordinates: &'a reseed_terms::Coordinates,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Step {
    name: &'static str,
    seconds: f64,
}

impl Document<'_> {
    pub fn of(report: &Report) -> Document<'_> {
        let manifest: &Manifest = &report.manifest;
        let steps: Vec<Step> = report
            .steps
            .iter()
            .map(|step| Step { name: step.name, seconds: step.took.as_secs_f64() })
            .collect();
        Document {
            datadir: &report.datadir,
            set: manifest.id.as_str(),
            name: manifest.name.as_str(),
            server_version: manifest.server.version.as_str(),
            files: report.files,
            bytes_written: report.bytes,
            bytes_equal: report.equal,
            redo_bytes: report.redo_bytes,
            redo_records: report.records,
            redo_spilled: report.spilled,
            redo_staged: report.staged,
            seconds: steps.iter().map(|step| step.seconds).sum(),
            steps,
            moved_aside: report.moved_aside.as_deref(),
            kept: &report.kept,
            hand_over_file: report.hand_over.as_deref(),
            hand_over: report.statements.as_deref(),
            locks: &manifest.locks,
            coordinates: &manifest.coordinates,
            notes: &report.notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_names_or_numbers() {
        assert_eq!(owner("root").unwrap(), (0, 0));
        assert_eq!(owner("root:0").unwrap(), (0, 0));
        assert_eq!(owner("4242:4243").unwrap(), (4242, 4243));
        assert!(owner("no such user").is_err());
        assert!(owner("root:no such group").is_err());
        // A number without an account has no group of its own.
        assert!(owner("4000000001").is_err());
    }
}
