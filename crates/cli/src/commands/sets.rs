//! `reseed list` and `reseed show`, and the way to one set for the commands that use it.

use std::fmt::Write as _;
use std::path::Path;

use reseed_repository::{
    DamagedSet, Leftover, Level, Listing, Manifest, Pin, Repository, ServerName, SetInfo, SetReader,
    Timestamp, Verified,
};
use reseed_restore::SetSource;
use serde::Serialize;

use super::summary::{self, line};
use crate::args::{ListArgs, PinArgs, SetArgs, ShowArgs, UnpinArgs};
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;
use crate::units::{Size, Time};

/// # Errors
/// When there is no such set, or it must not be used.
pub fn open(args: &SetArgs) -> Result<SetReader, Failure> {
    Repository::open(&args.repo)
        .and_then(|repository| repository.resolve(&args.name, &args.which))
        .map_err(|error| failure::repository(&error))
}

/// The set with all that it builds on, as a restore reads it.
///
/// # Errors
/// As [`open`].
pub fn source(args: &SetArgs) -> Result<SetSource, Failure> {
    let set = open(args)?;
    let repository = Repository::open(&args.repo).map_err(|error| failure::repository(&error))?;
    SetSource::new(&repository, &set).map_err(|error| failure::restore(&error))
}

pub fn list(args: &ListArgs) -> Result<Outcome, Failure> {
    let failed = |error| failure::repository(&error);
    let repository = Repository::open(&args.repo).map_err(failed)?;
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => repository.names().map_err(failed)?,
    };
    let mut servers = Vec::new();
    for name in names {
        let listing = repository.sets(&name).map_err(failed)?;
        servers.push((name, listing));
    }
    if args.json {
        out::json(&ListDocument {
            repository: &args.repo,
            servers: servers.iter().map(|(name, listing)| ServerDocument::of(name, listing)).collect(),
        })?;
    } else {
        out::text(table(&servers, Timestamp::now()))?;
    }
    Ok(Outcome::Done)
}

pub fn show(args: &ShowArgs) -> Result<Outcome, Failure> {
    let failed = |error| failure::repository(&error);
    let repository = Repository::open(&args.set.repo).map_err(failed)?;
    let set = repository.resolve(&args.set.name, &args.set.which).map_err(failed)?;
    let listing = repository.sets(&args.set.name).map_err(failed)?;
    let info = listing
        .get(set.id())
        .ok_or_else(|| Failure::new(Outcome::SetDamaged, "the set has just been removed"))?;
    if args.json {
        out::json(&ShowDocument {
            path: &info.dir,
            restorable: info.is_good(),
            pinned: info.pinned.as_ref(),
            verified: info.verified.as_ref(),
            chain: listing.chain(info).map(|chain| chain.into_iter().map(|set| set.id().as_str()).collect()),
            manifest: &info.manifest,
        })?;
    } else {
        out::text(described(info, &listing, Timestamp::now()))?;
    }
    Ok(Outcome::Done)
}

pub fn pin(args: &PinArgs) -> Result<Outcome, Failure> {
    open(&args.set)?.pin(&args.reason, Timestamp::now()).map_err(|error| failure::repository(&error))?;
    Ok(Outcome::Done)
}

pub fn unpin(args: &UnpinArgs) -> Result<Outcome, Failure> {
    let set = open(&args.set)?;
    match set.unpin().map_err(|error| failure::repository(&error))? {
        true => Ok(Outcome::Done),
        false => Err(Failure::new(Outcome::Failed, format!("{} is not pinned", set.id()))),
    }
}

const HEAD: [&str; 8] = ["SERVER", "SET", "AGE", "TOOK", "DATA", "STORED", "VERSION", "STATE"];

fn table(servers: &[(ServerName, Listing)], now: Timestamp) -> String {
    let mut rows: Vec<[String; 8]> = Vec::new();
    for (name, listing) in servers {
        rows.extend(listing.sets.iter().map(|set| set_row(name, set, now)));
        rows.extend(listing.damaged.iter().map(|set| damaged_row(name, set)));
        rows.extend(listing.leftovers.iter().map(|leftover| leftover_row(name, leftover)));
    }
    if rows.is_empty() {
        return "no backup sets\n".to_owned();
    }
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut put = |cells: &[String; 8]| {
        let mut row = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            let _ = write!(row, "{cell:<width$}  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    };
    put(&HEAD.map(str::to_owned));
    for row in &rows {
        put(row);
    }
    text
}

fn set_row(name: &ServerName, set: &SetInfo, now: Timestamp) -> [String; 8] {
    let manifest = &set.manifest;
    [
        name.to_string(),
        manifest.id.to_string(),
        age(manifest.end, now),
        Time::seconds(manifest.seconds()).to_string(),
        Size(manifest.totals.bytes).to_string(),
        Size(manifest.totals.stored).to_string(),
        manifest.server.version.to_string(),
        state(set, now),
    ]
}

fn state(set: &SetInfo, now: Timestamp) -> String {
    let mut parts = Vec::new();
    match &set.verified {
        Some(verified) if !verified.good => parts.push("DAMAGED".to_owned()),
        _ if !set.chain_complete => parts.push("CHAIN BROKEN".to_owned()),
        Some(verified) => parts.push(format!("verified {} ago", age(verified.at, now))),
        None => parts.push("not verified".to_owned()),
    }
    if set.pinned.is_some() {
        parts.push("pinned".to_owned());
    }
    parts.join(", ")
}

fn damaged_row(name: &ServerName, set: &DamagedSet) -> [String; 8] {
    let blank = String::new;
    [
        name.to_string(),
        set.id.to_string(),
        blank(),
        blank(),
        blank(),
        blank(),
        blank(),
        format!("DAMAGED: {}", set.error),
    ]
}

fn leftover_row(name: &ServerName, leftover: &Leftover) -> [String; 8] {
    let blank = String::new;
    let stored = Size(leftover.bytes).to_string();
    [
        name.to_string(),
        leftover.name.clone(),
        blank(),
        blank(),
        blank(),
        stored,
        blank(),
        "unfinished".to_owned(),
    ]
}

/// How long ago, as one number: `5 min`, `3 h`, `12 d`.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    match seconds {
        // A clock that went back must not make a set look young.
        ..0 => "in the future".to_owned(),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn described(set: &SetInfo, listing: &Listing, now: Timestamp) -> String {
    let manifest = &set.manifest;
    let server = &manifest.server;
    let second = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let mut lines = vec![
        line("set", format_args!("{} of {} ({})", manifest.id, manifest.name, manifest.kind)),
        line("where", set.dir.display()),
        line("state", state(set, now)),
        line(
            "server",
            format_args!("{} ({}), server_id {}", server.version, server.version.as_str(), server.server_id),
        ),
        line("datadir", format_args!("{}, pages of {}", server.datadir, Size(u64::from(server.page_size)))),
        line(
            "taken",
            format_args!(
                "{}, {} ago, in {}",
                second(manifest.start),
                age(manifest.end, now),
                Time::seconds(manifest.seconds())
            ),
        ),
        line(
            "size",
            format_args!(
                "{} in {}, {} stored ({})",
                Size(manifest.totals.bytes),
                summary::count(manifest.totals.files, "file"),
                Size(manifest.totals.stored),
                manifest.compression
            ),
        ),
        line(
            "redo",
            format_args!(
                "{}, LSN {} to {}",
                Size(manifest.capture.bytes),
                manifest.capture.checkpoint,
                manifest.capture.end
            ),
        ),
    ];
    if let Some(parent) = &manifest.parent {
        lines.push(line("parent", &parent.id));
        if let Some(chain) = listing.chain(set) {
            let stored = chain.iter().map(|set| set.manifest.totals.stored).sum();
            let full = chain.first().map(|set| set.id().as_str()).unwrap_or_default();
            let above = summary::count(chain.len().saturating_sub(1) as u64, "incremental set");
            lines.push(line("chain", format_args!("{full} and {above}, {} stored in all", Size(stored))));
        }
    }
    lines.extend(manifest.locks.iter().map(|lock| {
        line(
            "lock",
            format_args!(
                "{}: waited {}, held {}",
                lock.lock,
                Time::seconds(lock.waited),
                Time::seconds(lock.held)
            ),
        )
    }));
    lines.extend(summary::coordinates(&manifest.coordinates, server.version.flavour));
    if let Some(pin) = &set.pinned {
        lines.push(line("pinned", format_args!("{} {}", second(pin.at), pin.reason)));
    }
    if let Some(verified) = &set.verified {
        let found = if verified.good { "nothing wrong" } else { "damage" };
        lines.push(line(
            "verified",
            format_args!("{} ({}): {found}", second(verified.at), level(verified.level)),
        ));
        lines.extend(verified.findings.iter().map(|finding| line("", finding)));
    }
    lines.extend(manifest.notes.iter().map(|note| line("note", note)));
    lines.join("\n") + "\n"
}

pub fn level(level: Level) -> &'static str {
    match level {
        Level::Quick => "quick",
        Level::Full => "every byte",
        Level::Pages => "every page",
        Level::RestoreTest => "restored and started",
    }
}

#[derive(Serialize)]
struct ListDocument<'a> {
    repository: &'a Path,
    servers: Vec<ServerDocument<'a>>,
}

#[derive(Serialize)]
struct ServerDocument<'a> {
    name: &'a str,
    sets: Vec<SetDocument<'a>>,
    damaged: Vec<DamagedDocument<'a>>,
    unfinished: Vec<LeftoverDocument<'a>>,
}

#[derive(Serialize)]
struct SetDocument<'a> {
    id: &'a str,
    kind: String,
    path: &'a Path,
    start: Timestamp,
    end: Timestamp,
    seconds: f64,
    server_version: &'a str,
    bytes: u64,
    stored: u64,
    parent: Option<&'a str>,
    /// Whole as far as is known: its chain is there, and no verification found damage.
    restorable: bool,
    pinned: Option<&'a Pin>,
    verified: Option<&'a Verified>,
}

#[derive(Serialize)]
struct DamagedDocument<'a> {
    id: &'a str,
    path: &'a Path,
    error: String,
}

#[derive(Serialize)]
struct LeftoverDocument<'a> {
    name: &'a str,
    bytes: u64,
}

#[derive(Serialize)]
struct ShowDocument<'a> {
    path: &'a Path,
    restorable: bool,
    pinned: Option<&'a Pin>,
    verified: Option<&'a Verified>,
    /// The full set and all up to this one; none where one is missing.
    chain: Option<Vec<&'a str>>,
    manifest: &'a Manifest,
}

impl ServerDocument<'_> {
    fn of<'a>(name: &'a ServerName, listing: &'a Listing) -> ServerDocument<'a> {
        let sets = listing.sets.iter().map(|set| SetDocument {
            id: set.id().as_str(),
            kind: set.manifest.kind.to_string(),
            path: &set.dir,
            start: set.manifest.start,
            end: set.manifest.end,
            seconds: set.manifest.seconds(),
            server_version: set.manifest.server.version.as_str(),
            bytes: set.manifest.totals.bytes,
            stored: set.manifest.totals.stored,
            parent: set.manifest.parent.as_ref().map(|parent| parent.id.as_str()),
            restorable: set.is_good(),
            pinned: set.pinned.as_ref(),
            verified: set.verified.as_ref(),
        });
        let damaged = listing.damaged.iter().map(|set| DamagedDocument {
            id: set.id.as_str(),
            path: &set.dir,
            error: set.error.to_string(),
        });
        let unfinished =
            listing.leftovers.iter().map(|left| LeftoverDocument { name: &left.name, bytes: left.bytes });
        ServerDocument {
            name: name.as_str(),
            sets: sets.collect(),
            damaged: damaged.collect(),
            unfinished: unfinished.collect(),
        }
    }
}
