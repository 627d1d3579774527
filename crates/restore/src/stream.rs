//! A restore from a stream: pages are written as they come, into files that are known by number until the stream's
//! end tells their names; then the redo, which came along, is applied to those pages that it touches. Nothing is
//! believed before the stream's last mark was read.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use reseed_innodb::bytes::be4;
use reseed_innodb::{Flavour, SpaceFormat, fsp};
use reseed_io::{Cancel, DataFile, IoError, Op, OutFile, Progress, ReadMode, write};
use reseed_redo::SpaceId;
use reseed_repository::{
    FileEntry, Item, RunDecoder, SetKind, StoredRun, StreamEnd, StreamReader, StreamServer,
};

use crate::error::RestoreError;
use crate::old::{Old, adopt, known_space, space_at};
use crate::options::Options;
use crate::pages::blocks::{Written, clear_between, write_changed, write_sparse};
use crate::pages::held::{Held, Room};
use crate::pages::scene::Scene;
use crate::pages::second::{incoming, second_pass};
use crate::plan::{Plan, PlannedFile};
use crate::redo::Redo;
use crate::report::Report;
use crate::run::{Job, failpoint, told_of_old};
use crate::spool::Spool;

const INCOMING: &str = "incoming";
const SPOOL: &str = "redo.incoming";
/// Runs that wait for a worker.
const AHEAD: usize = 4;
/// Files that are kept open at once.
const OPEN: usize = 256;
/// An expectation made of less than this is a guess.
const MEASURED_FOR: Duration = Duration::from_secs(1);

/// Brings a set back that arrives as a stream.
///
/// # Errors
/// Whatever went wrong; the datadir is then as it was before.
pub fn restore_stream(
    from: impl Read,
    options: &Options,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Report, RestoreError> {
    let job = Job::new(options, progress, cancel)?;
    let old = job.target.fate_of_old();
    run_job(job, from).map_err(|error| told_of_old(error, old()))
}

fn run_job(mut job: Job<'_>, from: impl Read) -> Result<Report, RestoreError> {
    let progress = job.progress;
    let options = job.options;
    let mut stream = StreamReader::open(from).map_err(|error| job.unless_cancelled(error))?;
    if stream.head().kind == SetKind::Incremental {
        return Err(RestoreError::Unsupported {
            what: "restoring an incremental set from a stream".to_owned(),
        });
    }
    let server = stream.head().server.clone();
    if let Some(server) = &server {
        job.check_server(&server.version, server.server_id)?;
        job.warn_of_server(&server.version);
    }
    job.steps.done("resolve");
    let directory = job.target.scratch(INCOMING);
    write::make_dir(&directory, 0o700)?;
    let mut spool = Spool::new(job.target.scratch(SPOOL), job.memory() / 4);
    // A part is left for the redo, which is grouped by page while both are there.
    let room = Arc::new(Room::new(job.memory() / 2));
    progress.start("receive", server.as_ref().map(|server| server.bytes));
    let mut retention = Retention::of(server.as_ref().filter(|_| options.hand_over.is_some()));
    let (end, received) = receive(&mut stream, &directory, &mut spool, &job, &room, &mut retention)?;
    job.notes.extend(retention.warning);
    progress.finish();
    job.steps.done("receive");
    let StreamEnd { manifest, files, .. } = *end;
    job.check_manifest(&manifest)?;
    if server.is_none() {
        job.warn_of_server(&manifest.server.version);
    }

    let budget = job.budget(spool.in_memory() + room.used());
    let mut redo = Redo::load(&job, &manifest, &budget, || spool.reader())?;
    job.steps.done("redo");
    let created = redo.created(&manifest, &files);
    let plan = redo.plan(&job, &manifest, &files, &created)?;
    let redo = redo.for_pass();
    let paths = job.lay_out(&plan)?;
    give_names(&plan, &paths, &directory, &received.reused)?;
    let held = held(&plan, &received.reused)?;
    write::remove_tree(&directory)?;
    progress.start("pages", None);
    let mut done = second_pass(&Scene { held, ..redo.scene(&job, &manifest, &plan, paths)? })?;
    progress.finish();
    done.written += received.written;
    done.staged = spool.in_file();
    job.steps.done("pages");
    redo.write_log(&job, &manifest, || spool.reader())?;
    job.conclude(&manifest, &plan, &redo, done)
}

/// Copies that were made of files of the old datadir, with what is not written to them yet.
type Reused = HashMap<u32, Arc<Held>>;

/// What went into files.
struct Received {
    written: Written,
    reused: Reused,
}

/// Takes the whole stream: runs into files, redo into the spool.
fn receive<R: Read>(
    stream: &mut StreamReader<R>,
    directory: &Path,
    spool: &mut Spool,
    job: &Job<'_>,
    room: &Arc<Room>,
    retention: &mut Retention,
) -> Result<(Box<StreamEnd>, Received), RestoreError> {
    let copies = Copies {
        directory: directory.to_owned(),
        old: job.target.reusable(),
        owner: job.owner,
        room: Arc::clone(room),
        files: Mutex::default(),
        written: Mutex::default(),
    };
    let failed: Mutex<Option<RestoreError>> = Mutex::new(None);
    let (sender, receiver) = bounded::<StoredRun>(AHEAD);
    let (back, returned) = bounded::<StoredRun>(AHEAD + job.threads);
    let stopped = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        for _ in 0..job.threads.max(1) {
            let mut decoder = stream.decoder()?;
            let (receiver, back) = (receiver.clone(), back.clone());
            let (copies, failed, stopped) = (&copies, &failed, &stopped);
            scope.spawn(move || {
                if let Err(error) = store(&receiver, &back, &mut decoder, copies, job) {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    stopped.store(true, Ordering::Release);
                }
            });
        }
        // The workers' own: when all of them are gone, nothing can be sent.
        drop(receiver);
        let result = take(stream, &sender, &returned, spool, job, &stopped, retention);
        drop(sender);
        result
    });
    // What a worker met came before what the reader met because of it.
    let result = match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => result,
    };
    let written = copies.written.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Files { reused, .. } = copies.files.into_inner().unwrap_or_else(PoisonError::into_inner);
    match result {
        Ok(end) => Ok((end, Received { written, reused })),
        Err(error) => {
            // The next run goes on from what there is. What cannot be written now has to come once more.
            for (copy, held) in reused {
                let _ = OutFile::open(&incoming(directory, copy)).map(|file| held.flush(&file));
            }
            Err(error)
        }
    }
}

fn take<R: Read>(
    stream: &mut StreamReader<R>,
    sender: &Sender<StoredRun>,
    returned: &Receiver<StoredRun>,
    spool: &mut Spool,
    job: &Job<'_>,
    stopped: &AtomicBool,
    retention: &mut Retention,
) -> Result<Box<StreamEnd>, RestoreError> {
    loop {
        job.cancel.check()?;
        if stopped.load(Ordering::Acquire) {
            return Err(RestoreError::Stopped);
        }
        while let Ok(run) = returned.try_recv() {
            stream.give_back(run);
        }
        match stream.next_item().map_err(|error| job.unless_cancelled(error))? {
            Item::Run(run) => {
                // The source has begun to send: an old datadir is not used up for less.
                job.target.give_up_old()?;
                if let Some(warning) = retention.received(run.run.raw.into()) {
                    job.progress.note(&warning);
                }
                sender.send(run).map_err(|_| RestoreError::Stopped)?;
            }
            Item::Redo(bytes) => spool.push(bytes)?,
            Item::End(end) => return Ok(end),
        }
    }
}

/// Compares the time that the copy will take with the time for which the source keeps its binary logs: a replica that
/// is restored later than that has lost its place before it began.
struct Retention {
    keeps: Option<Duration>,
    total: u64,
    since: Instant,
    bytes: u64,
    warning: Option<String>,
}

impl Retention {
    fn of(server: Option<&StreamServer>) -> Retention {
        Retention {
            keeps: server.and_then(|server| server.keeps_binlogs).map(Duration::from_secs),
            total: server.map_or(0, |server| server.bytes),
            since: Instant::now(),
            bytes: 0,
            warning: None,
        }
    }

    /// Counts what arrived; the warning, the first time that there is reason for one.
    fn received(&mut self, bytes: u64) -> Option<String> {
        self.bytes += bytes;
        let (keeps, spent) = (self.keeps?, self.since.elapsed());
        // Applying, starting and catching up come on top: half of the time is as much as a copy should take.
        let expected = spent.as_secs_f64() * self.total as f64 / self.bytes.max(1) as f64;
        if self.warning.is_some() || spent < MEASURED_FOR || expected < keeps.as_secs_f64() / 2.0 {
            return None;
        }
        let (expected, keeps) = (expected.ceil(), keeps.as_secs());
        self.warning = Some(format!(
            "the copy takes about {expected} s, and the source removes binary logs after {keeps} s: raise \
             binlog_expire_logs_seconds (expire_logs_days) there, until the replica has caught up"
        ));
        self.warning.clone()
    }
}

/// A worker: decodes runs and writes them.
fn store(
    receiver: &Receiver<StoredRun>,
    back: &Sender<StoredRun>,
    decoder: &mut RunDecoder,
    copies: &Copies,
    job: &Job<'_>,
) -> Result<(), RestoreError> {
    let mut bytes = Vec::new();
    for stored in receiver {
        job.cancel.check()?;
        failpoint("restore.receive", &copies.directory)?;
        decoder.decode(&stored, &mut bytes)?;
        let run = &stored.run;
        if run.pages.is_some() {
            let what = "a stream that holds single pages".to_owned();
            return Err(RestoreError::Unsupported { what });
        }
        let copy = copies.get(&stored, &bytes)?;
        if run.at == 0 && is_page_compressed(&bytes) {
            copy.sparse.store(true, Ordering::Relaxed);
        }
        let sparse = copy.sparse.load(Ordering::Relaxed);
        let written = if let Some(held) = &copy.held {
            // The redo changes pages only.
            let held = space(run.at, &bytes).map(|_| held.as_ref());
            write_changed(&copy.file, run.at, &bytes, sparse, held)?
        } else {
            if sparse {
                write_sparse(&copy.file, run.at, &bytes)?;
            } else {
                copy.file.write_all_at(run.at, &bytes)?;
            }
            Written::all(&bytes)
        };
        if written.bytes > 0 {
            copy.file.start_writeback(run.at, bytes.len() as u64);
        }
        *copies.written.lock().unwrap_or_else(PoisonError::into_inner) += written;
        job.progress.advance(bytes.len() as u64);
        // Full when the reader is behind: then the memory is just freed.
        let _ = back.try_send(stored);
    }
    Ok(())
}

/// Is this the beginning of a tablespace whose pages leave holes (MariaDB's `page_compressed`)?
fn is_page_compressed(bytes: &[u8]) -> bool {
    let same_id = be4(bytes, fsp::SPACE).is_some_and(|id| be4(bytes, 34) == Some(id));
    let flags = be4(bytes, fsp::FLAGS).filter(|_| same_id && be4(bytes, 4) == Some(0));
    let format = flags.and_then(|flags| SpaceFormat::from_flags(flags, Flavour::MariaDb).ok());
    format.is_some_and(|format| format.may_be_page_compressed())
}

/// The files being filled.
struct Copies<'o> {
    directory: PathBuf,
    old: Option<&'o Old>,
    owner: Option<(u32, u32)>,
    room: Arc<Room>,
    files: Mutex<Files>,
    written: Mutex<Written>,
}

/// By number of the copy.
#[derive(Default)]
struct Files {
    open: HashMap<u32, Arc<Copy>>,
    reused: Reused,
}

struct Copy {
    file: OutFile,
    sparse: AtomicBool,
    /// Of a file of the old datadir.
    held: Option<Arc<Held>>,
}

impl Copies<'_> {
    /// The file that the run, whose content is `bytes`, goes into.
    fn get(&self, stored: &StoredRun, bytes: &[u8]) -> Result<Arc<Copy>, RestoreError> {
        let copy = stored.run.pack;
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.open.get(&copy) {
            return Ok(Arc::clone(file));
        }
        if files.open.len() >= OPEN {
            // Those still being written are opened again when their next run comes.
            files.open.clear();
        }
        let path = incoming(&self.directory, copy);
        let (file, sparse) = if fs::symlink_metadata(&path).is_ok() {
            let file = OutFile::open(&path)?;
            let mut head = vec![0; fsp::FLAGS + 4];
            file.read_at(0, &mut head)?;
            if let Some(held) = files.reused.get(&copy) {
                held.overlay(0, &mut head);
            }
            (file, is_page_compressed(&head))
        } else if let Some(file) = self.adopt(stored, bytes, &path)? {
            files.reused.insert(copy, Arc::new(Held::new(Arc::clone(&self.room))));
            (file, false)
        } else {
            (OutFile::create_new(&path, 0o600)?, false)
        };
        let held = files.reused.get(&copy).cloned();
        let opened = Arc::new(Copy { file, sparse: sparse.into(), held });
        files.open.insert(copy, Arc::clone(&opened));
        Ok(opened)
    }

    fn adopt(&self, stored: &StoredRun, bytes: &[u8], path: &Path) -> Result<Option<OutFile>, RestoreError> {
        match self.old.and_then(|old| old.take(space(stored.run.at, bytes), stored.path.as_path())) {
            Some(old) => adopt(&old, path, self.owner),
            None => Ok(None),
        }
    }
}

/// The tablespace of which a run's bytes are pages, if they are.
fn space(at: u64, bytes: &[u8]) -> Option<SpaceId> {
    match at {
        0 => known_space(bytes),
        at => space_at(at, bytes),
    }
}

/// By file of the plan: what is not written to it yet.
fn held(plan: &Plan<'_>, reused: &Reused) -> Result<Vec<Option<Arc<Held>>>, RestoreError> {
    let held = |file: &PlannedFile<'_>| Ok(copy_of(file.entry)?.and_then(|copy| reused.get(&copy).cloned()));
    plan.files.iter().map(held).collect()
}

/// Gives each copy that the set's list names the name of its file.
fn give_names(
    plan: &Plan<'_>,
    paths: &[PathBuf],
    directory: &Path,
    reused: &Reused,
) -> Result<(), RestoreError> {
    for (file, path) in plan.files.iter().zip(paths) {
        match (&file.content, copy_of(file.entry)?) {
            (Some(content), _) => OutFile::create_new(path, 0o600)?.write_all_at(0, content)?,
            (None, None) => drop(OutFile::create_new(path, 0o600)?),
            (None, Some(copy)) => {
                let incoming = incoming(directory, copy);
                if reused.contains_key(&copy) {
                    let runs = file.entry.runs.iter().map(|run| run.at..run.at + u64::from(run.raw));
                    clear_between(&OutFile::open(&incoming)?, runs)?;
                }
                rename(&incoming, path)?;
            }
        }
    }
    Ok(())
}

fn copy_of(entry: &FileEntry) -> Result<Option<u32>, RestoreError> {
    let Some(first) = entry.runs.first() else { return Ok(None) };
    if entry.runs.iter().any(|run| run.pack != first.pack) {
        return Err(RestoreError::SetInconsistent {
            path: entry.path.to_string(),
            reason: "its runs belong to different copies".to_owned(),
        });
    }
    Ok(Some(first.pack))
}

fn rename(from: &Path, to: &Path) -> Result<(), RestoreError> {
    match fs::rename(from, to) {
        Ok(()) => Ok(()),
        // A file that goes outside the datadir, onto another file system.
        Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => {
            let source = DataFile::open(from, ReadMode::Once)?;
            let target = OutFile::create_new(to, 0o600)?;
            let mut piece = vec![0; 1 << 20];
            for segment in source.segments()? {
                let mut at = segment.offset;
                while at < segment.offset + segment.len {
                    let want = usize::try_from((segment.offset + segment.len - at).min(1 << 20)).unwrap_or(0);
                    let buffer = piece.get_mut(..want).unwrap_or_default();
                    let read = source.read_at(at, buffer)?;
                    let Some(read) = buffer.get(..read).filter(|read| !read.is_empty()) else { break };
                    target.write_all_at(at, read)?;
                    at += read.len() as u64;
                }
            }
            fs::remove_file(from).map_err(|e| IoError::new(Op::Remove, from, e).into())
        }
        Err(e) => Err(IoError::new(Op::Rename, from, e).into()),
    }
}
