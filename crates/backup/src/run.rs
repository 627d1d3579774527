use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reseed_innodb::PageSize;
use reseed_io::{Cancel, Progress, Rate};
use reseed_repository::{Parent, Published, Reused, SetFacts, Sink, Timestamp};
use reseed_server::{PausedApplier, Server, Stop};
use reseed_terms::{Flavour, LockTimes};

use crate::base::Base;
use crate::copier::{Copier, CopyRules};
use crate::engines::PlainFiles;
use crate::error::BackupError;
use crate::failures::Failures;
use crate::follower::{
    self, ConsumerEnd, ConsumerKeeper, Followed, Follower, MariadbRedo, MysqlRedo, Positions,
};
use crate::look::{Looked, look, owner, stored_facts};
use crate::options::BackupOptions;
use crate::protocol::{self, Instant};
use crate::report::{Report, Steps};
use crate::scan::{Scan, Stamp};
use crate::spaces::{SpaceRules, Spaces};
use crate::work::{Work, failpoint};

/// How an incremental set says that it found the changed pages.
const SCAN: &str = "page LSNs";
/// Copying threads when the user does not say.
const MOST_THREADS: usize = 4;

/// What is known when the place for the backup is asked for.
#[derive(Debug)]
pub struct Begun<'a> {
    pub server: &'a reseed_server::ServerFacts,
    /// About how many bytes will be copied.
    pub bytes: u64,
    /// The set that this one will build on; none: it will be a full one.
    pub parent: Option<Parent>,
}

/// Takes one backup of the server that `options` connect to. `open` makes the place it goes to, once it is known
/// that the server can be backed up.
///
/// # Errors
/// Whatever keeps the backup from being whole. Nothing is published then, and no lock of ours is left in the server.
pub fn run(
    options: &BackupOptions,
    open: impl FnOnce(Begun<'_>) -> Result<Box<dyn Sink>, reseed_repository::RepositoryError>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Report, BackupError> {
    let failures = Failures::new(cancel);
    let mut steps = Steps::new(progress);
    steps.begin("look", None);
    failpoint("backup.connect")?;
    let looked = look(options, stop(failures.cancel()))?;
    let (base, why_full) = settle_base(options, &looked)?;
    steps.begin("make the set", None);
    let sink = open(Begun {
        server: &looked.facts,
        bytes: looked.layout.about_bytes(),
        parent: base.as_ref().map(|base| base.parent()),
    })?;
    let bases = Bases { base, why_full };
    let result = taken(options, &looked, bases, sink.as_ref(), &mut steps, progress, &failures);
    let taken = match failures.settle(result) {
        Ok(done) => done,
        Err(error) => {
            return Err(match sink.abort(&error.to_string(), error.rest()) {
                Some(left) => BackupError::Unfinished { error: Box::new(error), left },
                None => error,
            });
        }
    };
    publish(sink, &looked, taken, steps)
}

fn stop(cancel: &Cancel) -> Stop {
    let cancel = cancel.clone();
    Stop::when(move || cancel.is_cancelled())
}

/// What the backup builds on, or why on nothing.
struct Bases {
    base: Option<Arc<Base>>,
    why_full: Option<String>,
}

/// Whether the server still goes on from the set that the backup is to build on.
fn settle_base(
    options: &BackupOptions,
    looked: &Looked,
) -> Result<(Option<Arc<Base>>, Option<String>), BackupError> {
    let Some(base) = &options.base else { return Ok((None, None)) };
    let now = looked.server.redo_position()?.current;
    let system = looked.layout.system.first().and_then(|path| std::fs::metadata(path).ok());
    let system = system.map(|metadata| Stamp::of(&metadata).identity);
    let Some(why) = base.misfit(&stored_facts(&looked.facts)?, now, system.as_ref()) else {
        return Ok((Some(Arc::clone(base)), None));
    };
    let parent = base.parent().id.to_string();
    if options.base_required {
        return Err(BackupError::Parent { parent, why });
    }
    Ok((None, Some(format!("a full set was taken, since {parent} cannot be built on: {why}"))))
}

/// Everything that the set will consist of.
struct Taken {
    facts: SetFacts,
    entries: Vec<reseed_repository::FileEntry>,
    bytes_read: u64,
    bytes_reused: u64,
    pages_reread: u64,
    commits_held: Option<f64>,
}

fn taken(
    options: &BackupOptions,
    looked: &Looked,
    Bases { base, why_full }: Bases,
    sink: &dyn Sink,
    steps: &mut Steps<'_>,
    progress: &dyn Progress,
    failures: &Failures,
) -> Result<Taken, BackupError> {
    let Looked { server, facts, layout } = looked;
    let cancel = failures.cancel();
    let page_size =
        PageSize::new(u64::from(facts.innodb.page_size)).map_err(|error| BackupError::Refused {
            server: facts.version.to_string(),
            refusal: crate::error::Refusal::Version { reason: error.to_string() },
        })?;
    let mut protocol = protocol::choose(options, server, facts)?;
    let mut notes: Vec<String> = options.notes.iter().cloned().chain(why_full).collect();
    notes.extend(note_of_another_server(options, &stored_facts(facts)?));
    let mut paused = match server.flavour() {
        Flavour::MariaDb => None,
        // MySQL stops no applier while the instance is locked, so there it stands still for the whole copy.
        Flavour::MySql => pause(options, looked, steps, &mut notes)?,
    };
    protocol.begin()?;
    steps.begin("follow the redo", None);
    failpoint("backup.follower")?;
    let lag = Arc::new(AtomicU64::new(0));
    let other = Server::connect(options.connect.clone(), stop(cancel))?;
    let dir = &layout.redo_dir;
    let (begun, consumer) = match server.flavour() {
        Flavour::MariaDb => {
            let other = Arc::new(other);
            let open = || Ok(Box::new(MariadbRedo::open(dir, Arc::clone(&other), cancel.clone())?) as _);
            (follower::begin(open)?, None)
        }
        Flavour::MySql => {
            let positions = Arc::new(Positions::default());
            let capacity = facts.innodb.redo_capacity;
            // The consumer is to be there before the checkpoint is looked for: it keeps what comes after it.
            let keeper = ConsumerKeeper::start(
                other,
                Arc::clone(&positions),
                capacity,
                options.stall_budget,
                failures,
            )?;
            let open = || Ok(Box::new(MysqlRedo::open(dir, capacity, Arc::clone(&positions), server)?) as _);
            (follower::begin(open)?, Some(keeper))
        }
    };
    let redo = begun.source.capture().format;
    let follower = Follower::start(begun, sink.redo()?, failures, Arc::clone(&lag))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rules = CopyRules {
        flavour: server.flavour(),
        page_size,
        threads: options.threads.unwrap_or(cores.min(MOST_THREADS)),
        rate: Rate::per_second(options.bytes_per_second),
        cancel: cancel.clone(),
        lag,
    };
    let copier = Copier::new(rules, sink, progress)?;
    let mut work = Work {
        options,
        server,
        facts,
        layout,
        follower,
        copier: &copier,
        sink,
        spaces: Spaces::new(SpaceRules { flavour: server.flavour(), page_size, redo }, base.clone()),
        plain: PlainFiles::new(base.clone()),
        scan: Scan::default(),
        notes,
        steps,
    };
    protocol::watched(protocol.as_mut(), failures, || work.first_copy())?;
    if paused.is_none() {
        paused = pause(options, looked, work.steps, &mut work.notes)?;
    }
    if paused.is_none() {
        let risks = note_of_risks(looked)?;
        work.notes.extend(risks);
    }
    let instant = protocol.finish(&mut work)?;
    if let Some(paused) = paused {
        paused.resume()?;
    }
    work.note_left_out();
    work.steps.begin("redo to the end", None);
    let Work { follower, mut spaces, plain, scan, mut notes, steps, .. } = work;
    let followed = follower.finish(instant.end, options.redo_wait)?;
    if let Some(keeper) = consumer {
        notes.extend(note_of(&keeper.finish()));
    }
    check_after(server, &mut spaces, &followed, &instant)?;
    if spaces.repeated > 0 {
        notes.push(format!("{} tablespaces were copied again because of DDL", spaces.repeated));
    }
    notes.extend(note_of_policy(facts));
    steps.begin("finish", None);
    followed.writer.finish()?;
    copier.newest.check(followed.capture.end)?;
    let counters = copier.finish()?;
    let entries = Work::entries(spaces, plain, &scan)?;
    let reused = sink.reused(&entries);
    notes.extend(reused.as_ref().map(|Reused { name, raw }| {
        format!("{raw} bytes of the copied files had been stored by a run that did not finish ({name}), and were used again")
    }));
    let facts = SetFacts {
        server: stored_facts(facts)?,
        capture: followed.capture,
        coordinates: instant.coordinates,
        end: Timestamp::now(),
        locks: instant.locks,
        notes,
        owner: owner(&layout.datadir),
        scan: base.map(|_| SCAN.to_owned()).unwrap_or_default(),
    };
    // The last moment at which an interrupted run can still be one that did nothing.
    cancel.check()?;
    Ok(Taken {
        facts,
        entries,
        bytes_read: counters.bytes_read.load(Ordering::Relaxed),
        bytes_reused: reused.map_or(0, |reused| reused.raw),
        pages_reread: counters.rereads.load(Ordering::Relaxed),
        commits_held: instant.commits_held,
    })
}

/// `--safe` on a replica: its applier stands still from here on.
fn pause(
    options: &BackupOptions,
    looked: &Looked,
    steps: &mut Steps<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<PausedApplier>, BackupError> {
    if !options.safe || looked.facts.replicas.as_ref().is_none_or(Vec::is_empty) {
        return Ok(None);
    }
    steps.begin("stop the applier", None);
    let paused = looked.server.pause_applier(options.lock_wait)?;
    for name in paused.idle() {
        let named = if name.is_empty() { String::new() } else { format!(" of channel {name}") };
        notes.push(format!(
            "the applier{named} was stopped when the backup began, and stays so: a backup --safe that is killed leaves it so"
        ));
    }
    failpoint("backup.applier")?;
    Ok(Some(paused))
}

/// What `--safe` would have helped against.
fn note_of_risks(looked: &Looked) -> Result<Vec<String>, BackupError> {
    let facts = &looked.facts;
    let mut notes = Vec::new();
    if facts.replicas.as_ref().is_none_or(Vec::is_empty) {
        return Ok(notes);
    }
    let open = looked.server.open_temporary_tables()?;
    if open > 0 {
        notes.push(format!(
            "replicated statements had {open} temporary tables open: a replica made from this set stops at the next \
             statement that uses one; --safe waits until they are closed"
        ));
    }
    let workers: Option<u32> = facts.variables.number("replica_parallel_workers");
    if facts.needs_read_lock_for_channels() && workers.is_some_and(|workers| workers > 1) {
        notes.push(
            "a parallel applier that goes by file and position may name a place before what the data contains, so that \
             a replica of the same source meets rows twice: --safe makes the place exact"
                .to_owned(),
        );
    }
    Ok(notes)
}

/// What the redo between the inventory and the end says: drops in the background are struck off; anything new, while
/// DDL was locked out, would be missing from the set.
fn check_after(
    server: &Server,
    spaces: &mut Spaces,
    followed: &Followed,
    instant: &Instant,
) -> Result<(), BackupError> {
    // The follower has read on while it was told where to stop; what came after the end is another backup's.
    let changes = followed.spaces.changes(instant.inventory, followed.capture.end);
    let struck = spaces.strike(&changes.deleted);
    if struck > 0 {
        tracing::info!(struck, "tablespaces were dropped after the inventory");
    }
    for space in changes.created.into_iter().filter(|space| !spaces.holds(*space)) {
        let path = followed.spaces.get(space).map(|history| history.path.as_slice()).unwrap_or_default();
        let path = String::from_utf8_lossy(path).into_owned();
        match server.flavour() {
            // MariaDB lets an ALTER TABLE that copies go on, which makes its new table meanwhile. That is whole in the
            // redo, and restore makes it from there.
            Flavour::MariaDb => tracing::info!(%space, path, "made after the inventory"),
            Flavour::MySql => return Err(BackupError::MadeUnderLock { space, path }),
        }
    }
    if server.flavour() == Flavour::MySql && !server.facts()?.innodb.redo_enabled {
        return Err(BackupError::RedoDisabled);
    }
    Ok(())
}

fn note_of(end: &ConsumerEnd) -> Option<String> {
    Some(match end {
        ConsumerEnd::Kept { stalled } if stalled.is_zero() => return None,
        ConsumerEnd::Kept { stalled } => {
            format!(
                "the server waited for the backup for {:.1} s in all (redo log consumer)",
                stalled.as_secs_f64()
            )
        }
        ConsumerEnd::Never(reason) => format!("no redo log consumer: {reason}"),
        ConsumerEnd::GivenUp { stalled } => format!(
            "the redo log consumer was given up after the server had waited for {:.1} s",
            stalled.as_secs_f64()
        ),
        ConsumerEnd::Lost(reason) => format!("the redo log consumer was lost: {reason}"),
    })
}

/// Sets of two servers under one name: neither is built on the other, but they are counted together.
fn note_of_another_server(options: &BackupOptions, now: &reseed_repository::ServerFacts) -> Option<String> {
    let (id, then) = options.newest.as_ref()?;
    let pairs = match now.version.flavour {
        Flavour::MySql => vec![("UUID", then.uuid.clone(), now.uuid.clone())],
        // Its server_uid changes with the host's address and the port.
        Flavour::MariaDb => vec![
            ("datadir", then.datadir.to_string(), now.datadir.to_string()),
            ("server_id", then.server_id.to_string(), now.server_id.to_string()),
        ],
    };
    pairs.into_iter().find(|(_, was, is)| was != is).map(|(what, was, is)| {
        format!(
            "{id}, the newest set of this name until now, is of another server, or of this one before it was made anew \
             ({what} {was}, now {is}): one name is for one server, since retention counts its sets together"
        )
    })
}

/// What is left out on purpose, where that changes how a restored server behaves.
fn note_of_policy(facts: &reseed_server::ServerFacts) -> Option<String> {
    (facts.flavour() == Flavour::MySql && facts.datadir.join("mysqld-auto.cnf").exists()).then(|| {
        "mysqld-auto.cnf (SET PERSIST) is not part of the set: its settings may not fit another host"
            .to_owned()
    })
}

fn publish(
    sink: Box<dyn Sink>,
    looked: &Looked,
    taken: Taken,
    mut steps: Steps<'_>,
) -> Result<Report, BackupError> {
    steps.begin("publish", None);
    failpoint("backup.publish")?;
    let locks: Vec<LockTimes> = taken.facts.locks.clone();
    let Published { manifest, path, removed } = sink.finish(taken.facts, taken.entries)?;
    let mut notes = manifest.notes.clone();
    notes.extend(removed.iter().map(|left| {
        format!("{} bytes that a run that did not finish had left ({}) were removed", left.bytes, left.name)
    }));
    let (steps, whole) = steps.finish();
    Ok(Report {
        id: manifest.id,
        kind: manifest.kind,
        parent: manifest.parent.map(|parent| parent.id),
        path,
        server: looked.facts.version.clone(),
        files: manifest.totals.files,
        bytes_read: taken.bytes_read,
        bytes_reused: taken.bytes_reused,
        bytes_stored: manifest.totals.stored,
        redo_bytes: manifest.capture.bytes,
        pages_reread: taken.pages_reread,
        seconds: whole.as_secs_f64(),
        steps,
        locks,
        commits_held: taken.commits_held,
        capture: manifest.capture,
        coordinates: manifest.coordinates,
        notes,
    })
}
