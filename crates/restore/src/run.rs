//! A restore as steps.

use std::path::{Path, PathBuf};

use reseed_io::{Cancel, IoError, Op, Progress, place, space, write};
use reseed_redo::RedoFormat;
use reseed_repository::{FileEntry, FileKind, Manifest, RepositoryError};
use reseed_server::{handover, upgrade};
use reseed_terms::{Flavour, ServerVersion};

use crate::changes::Budget;
use crate::error::RestoreError;
use crate::keep::{Kept, keep};
use crate::layout::{Layout, Place};
use crate::options::{Apply, Options};
use crate::pages::pass::pass;
use crate::pages::scene::Done;
use crate::pages::writer::make_directory;
use crate::plan::{Plan, PlannedFile};
use crate::redo::{Redo, page_size};
use crate::report::{Report, Steps};
use crate::source::Source;
use crate::target::Target;

/// Memory that one worker takes beside the redo: a run, the same joined, what is read from the packs, changes.
const PER_THREAD: u64 = 32 << 20;
const MIN_REDO_MEMORY: u64 = 8 << 20;

/// Brings a set back into a datadir.
///
/// # Errors
/// Whatever went wrong; the datadir is then as it was before.
pub fn run(
    source: &dyn Source,
    options: &Options,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Report, RestoreError> {
    let job = Job::new(options, progress, cancel)?;
    let old = job.target.fate_of_old();
    run_job(job, source).map_err(|error| told_of_old(error, old()))
}

/// A failure, with what became of the old datadir.
pub(crate) fn told_of_old(error: RestoreError, used_up: Option<PathBuf>) -> RestoreError {
    match used_up {
        Some(work) => RestoreError::UsedUp { work, source: Box::new(error) },
        None => error,
    }
}

fn run_job(mut job: Job<'_>, source: &dyn Source) -> Result<Report, RestoreError> {
    let manifest = source.manifest();
    job.check_manifest(manifest)?;
    job.warn_of_server(&manifest.server.version);
    job.target.check_old(manifest)?;
    job.check_space(source.files())?;
    job.steps.done("resolve");
    let mut redo = Redo::load(&job, manifest, &job.budget(0), || source.redo())?;
    job.steps.done("redo");
    let created = redo.created(manifest, source.files());
    let plan = redo.plan(&job, manifest, source.files(), &created)?;
    let redo = redo.for_pass();
    let paths = job.lay_out(&plan)?;
    // Whatever may be refused was refused.
    job.target.give_up_old()?;
    job.progress.start("pages", Some(plan.raw));
    let done = pass(&redo.scene(&job, manifest, &plan, paths)?, source)?;
    job.progress.finish();
    job.steps.done("pages");
    redo.write_log(&job, manifest, || source.redo())?;
    job.conclude(manifest, &plan, &redo, done)
}

/// One restore under way.
#[allow(missing_debug_implementations)]
pub(crate) struct Job<'o> {
    pub options: &'o Options,
    pub progress: &'o dyn Progress,
    pub cancel: &'o Cancel,
    pub target: Target,
    pub owner: Option<(u32, u32)>,
    pub threads: usize,
    pub steps: Steps,
    pub notes: Vec<String>,
}

pub(crate) fn failpoint(name: &str, what: &Path) -> Result<(), RestoreError> {
    reseed_io::failpoint!(name).map_err(|e| IoError::new(Op::Open, what, e).into())
}

impl<'o> Job<'o> {
    /// The datadir is looked at first: nothing is read for one that is refused.
    pub(crate) fn new(
        options: &'o Options,
        progress: &'o dyn Progress,
        cancel: &'o Cancel,
    ) -> Result<Job<'o>, RestoreError> {
        let steps = Steps::new();
        failpoint("restore.resolve", &options.datadir)?;
        let mut target = Target::open(options, cancel)?;
        let notes = target.take_notes();
        let owner = owner(options, &target);
        Ok(Job { options, progress, cancel, owner, threads: threads(options), steps, notes, target })
    }

    /// What can be told from the manifest alone is told before anything is written.
    pub(crate) fn check_manifest(&self, manifest: &Manifest) -> Result<(), RestoreError> {
        page_size(manifest)?;
        self.check_server(&manifest.server.version, manifest.server.server_id)?;
        self.hand_over(manifest).map(|_| ())
    }

    /// A read that was given up because of the cancellation is no failure of its own.
    pub(crate) fn unless_cancelled(&self, error: RepositoryError) -> RestoreError {
        self.cancel.check().map_or_else(RestoreError::from, |()| error.into())
    }

    /// Whether the server that is to run here can, and can replicate from the one that was backed up.
    pub(crate) fn check_server(&self, data: &ServerVersion, server_id: u32) -> Result<(), RestoreError> {
        let new = &self.options.new_server;
        if let Some(version) = &new.version {
            upgrade::may_use(version, data)?;
        }
        if self.options.hand_over.is_some() && new.server_id == Some(server_id) {
            return Err(RestoreError::SameServerId { id: server_id });
        }
        Ok(())
    }

    /// Whoever has a server here probably means it, and may as well restore for another host.
    pub(crate) fn warn_of_server(&mut self, data: &ServerVersion) {
        let Some(found) = &self.options.new_server.found else { return };
        if let Err(misfit) = upgrade::may_use(found, data) {
            let note = format!(
                "the server that this host has does not fit: {misfit}; --server-binary names the one that will run here"
            );
            self.progress.note(&note);
            self.notes.push(note);
        }
    }

    fn hand_over(&self, manifest: &Manifest) -> Result<Option<String>, RestoreError> {
        let Some(wanted) = &self.options.hand_over else { return Ok(None) };
        let written = handover::statements(&manifest.coordinates, &manifest.server.version, wanted);
        Ok(Some(written?.to_string()))
    }

    pub(crate) fn layout(&self) -> Layout<'o> {
        Layout::new(self.options.outside, &self.options.maps)
    }

    pub(crate) fn check_space(&self, files: &[FileEntry]) -> Result<(), RestoreError> {
        let layout = self.layout();
        let inside = |file: &&FileEntry| {
            file.kind != FileKind::Directory
                && matches!(layout.place(&file.path, file.outside.as_ref()), Place::Inside(_))
        };
        let needed: u64 = files.iter().filter(inside).map(FileEntry::raw_bytes).sum();
        let reused = self.target.reusable().map_or(0, |old| old.allocated(files));
        let free = space::free(&self.target.data())?.available.saturating_add(reused);
        if free < needed {
            return Err(RestoreError::NoSpace { path: self.target.datadir().to_owned(), needed, free });
        }
        Ok(())
    }

    /// Bytes that are there for the redo, and for what a stream has to keep until it ends.
    pub(crate) fn memory(&self) -> usize {
        let buffers = PER_THREAD * self.threads as u64;
        let memory = self.options.memory.saturating_sub(buffers).max(MIN_REDO_MEMORY);
        usize::try_from(memory).unwrap_or(usize::MAX)
    }

    /// What the redo may take of it, beside what is `taken`.
    pub(crate) fn budget(&self, taken: usize) -> Budget {
        Budget { memory: self.memory().saturating_sub(taken), spill: self.target.scratch("redo.spill") }
    }

    /// Makes the directories, and tells where each file is written.
    pub(crate) fn lay_out(&mut self, plan: &Plan<'_>) -> Result<Vec<PathBuf>, RestoreError> {
        let data = self.target.data();
        for (path, mode) in &plan.directories {
            make_directory(&data.join(path), *mode, self.owner)?;
        }
        let mut path_of = |file: &PlannedFile<'_>| match &file.place {
            Place::Inside(path) => Ok(data.join(path)),
            Place::Outside(path) => self.target.outside(&file.entry.path.to_string(), path),
        };
        plan.files.iter().map(&mut path_of).collect()
    }

    /// Links, the datadir's own owner and mode, everything on disk; then the real name.
    pub(crate) fn conclude(
        mut self,
        manifest: &Manifest,
        plan: &Plan<'_>,
        redo: &Redo,
        done: Done,
    ) -> Result<Report, RestoreError> {
        let kept = self.keep(manifest)?;
        self.finish_tree(plan)?;
        self.steps.done("log");
        self.cancel.check()?;
        failpoint("restore.rename", self.target.datadir())?;
        let datadir = self.target.datadir().to_owned();
        let statements = self.hand_over(manifest)?;
        let equal = self.target.reusable().map(|_| done.written.equal);
        let published = self.target.publish()?;
        self.steps.done("rename");
        let mut notes = self.notes;
        // The datadir is in place: a file beside it that cannot be written does not undo that, and the statements are
        // in the report too.
        let hand_over = match statements.as_ref().map(|text| write_hand_over(&datadir, text)) {
            Some(Ok(path)) => Some(path),
            Some(Err(error)) => {
                notes.push(format!("the hand-over was not written beside the datadir: {error}"));
                None
            }
            None => None,
        };
        notes.extend(kept.notes);
        notes.extend(plan.notes.iter().cloned());
        notes.extend(done.notes);
        notes.extend(start_notes(manifest, self.options));
        Ok(Report {
            datadir,
            manifest: Box::new(manifest.clone()),
            files: plan.files.len() as u64,
            bytes: done.written.bytes,
            equal,
            counts: done.counts,
            records: redo.changes.records,
            redo_bytes: manifest.capture.bytes,
            spilled: redo.changes.spilled,
            staged: done.staged,
            steps: self.steps.finish(),
            moved_aside: published.moved_aside,
            kept: kept.files,
            hand_over,
            statements,
            notes,
        })
    }

    fn keep(&self, manifest: &Manifest) -> Result<Kept, RestoreError> {
        let patterns = &self.options.keep;
        if patterns.is_empty() {
            return Ok(Kept::default());
        }
        let Some((old, top)) = self.target.old_datadir()? else { return Ok(Kept::default()) };
        keep(&old, top, &self.target.data(), patterns, &manifest.server.uuid)
    }

    pub(crate) fn finish_tree(&self, plan: &Plan<'_>) -> Result<(), RestoreError> {
        let data = self.target.data();
        for (link, to) in &plan.links {
            let link = data.join(link);
            std::os::unix::fs::symlink(to, &link).map_err(|e| IoError::new(Op::Create, &link, e))?;
        }
        if let Some((uid, gid)) = self.owner {
            write::set_owner(&data, uid, gid)?;
        }
        write::set_mode(&data, self.target.mode())?;
        place::sync_filesystem(&data)?;
        for directory in self.target.outside_directories() {
            place::sync_filesystem(&directory)?;
        }
        Ok(())
    }
}

fn write_hand_over(datadir: &Path, text: &str) -> Result<PathBuf, RestoreError> {
    let mut name = datadir.file_name().unwrap_or_default().to_owned();
    name.push(".hand-over.sql");
    let path = datadir.with_file_name(name);
    write::write_atomic(&path, text.as_bytes(), 0o600)?;
    Ok(path)
}

/// As told; or, when we may give files away, the owner of what was there before.
fn owner(options: &Options, target: &Target) -> Option<(u32, u32)> {
    options.owner.or_else(|| {
        let inherited = target.inherited().filter(|_| place::effective_user() == 0)?;
        Some((inherited.uid, inherited.gid))
    })
}

fn threads(options: &Options) -> usize {
    if options.threads > 0 {
        return options.threads;
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Twice the cores: while one waits for the disk another computes. Fewer when memory is short.
    let affordable = usize::try_from(options.memory / 2 / PER_THREAD).unwrap_or(usize::MAX);
    (2 * cores).clamp(4, 16).min(affordable).max(1)
}

fn start_notes(manifest: &Manifest, options: &Options) -> Vec<String> {
    let version = &manifest.server.version;
    let skip = match version.flavour {
        Flavour::MariaDb => "--skip-slave-start",
        Flavour::MySql => "--skip-replica-start",
    };
    let mut notes = vec![format!(
        "start {version} or a later release of its series on it, the first time with {skip}: replication that came \
         along inside the data must not start by itself"
    )];
    if options.apply == Apply::Server {
        notes.push("the server applies the redo itself at its first start; that can take a while".to_owned());
        if manifest.capture.format == RedoFormat::MariadbBlocks {
            // The server measures the log by the setting, not by the file.
            let megabytes = (manifest.capture.bytes / 3 * 4) / (1 << 20) + 1;
            notes.push(format!("for that start, innodb_log_file_size must be at least {megabytes}M"));
        }
    }
    notes.push(
        "prepared XA transactions, if there are any, are still prepared: XA RECOVER lists them after the start"
            .to_owned(),
    );
    notes
}
