//! The datadir that is to be filled, and the staging directory in which that happens. Until [`Target::publish`]
//! everything lies in the staging directory, and dropping the target removes it again.
//!
//! | datadir | staged in | at the end |
//! |---|---|---|
//! | missing, or a plain directory | `DATADIR.reseed-partial/` | one rename |
//! | a mount point or symbolic link, or in a directory that we may not change | `DATADIR/.reseed-partial/` | its entries are moved up, under a marker |
//!
//! An old datadir that is to be used up (`--delta`) is taken into the staging directory too: see `old`.
//!
//! A staging directory is locked by the process that fills it. One without a living owner is the leftover of a
//! killed restore: the next one undoes what that one had begun, and removes it.

mod beside;
mod journal;
mod old;
mod within;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reseed_io::place::{self, Owner};
use reseed_io::{Cancel, FileLock, IoError, Op, write};
use reseed_repository::Manifest;

use crate::error::RestoreError;
use crate::occupied::refuse_live_server;
use crate::old::Old;
use crate::options::{Occupied, Options};

const BESIDE_SUFFIX: &str = ".reseed-partial";
const WITHIN_NAME: &str = ".reseed-partial";
/// What is moved aside, within a datadir or behind its name; the stamp follows.
const ASIDE: &str = ".reseed-aside-";
const DATA: &str = "data";
const LOCK: &str = "lock";
const DIR_MODE: u32 = 0o700;

/// A datadir that was found fit to be restored into, and is locked against other restores.
#[derive(Debug)]
pub struct Target {
    /// As the user knows it, made absolute.
    datadir: PathBuf,
    /// The directory itself, symbolic links resolved.
    real: PathBuf,
    within: bool,
    work: PathBuf,
    /// Owner and mode of the datadir that was there.
    previous: Option<Owner>,
    /// What is there must be moved aside at the end.
    occupied: bool,
    /// What of the old datadir can be used again.
    reusable: Option<Old>,
    /// Nothing is put back any more: the old datadir is being used up.
    given_up: Arc<AtomicBool>,
    stamp: String,
    outside: Vec<OutsideFile>,
    notes: Vec<String>,
    published: bool,
    _lock: FileLock,
}

/// A file outside the datadir, written under a name of its own until the end.
#[derive(Debug)]
struct OutsideFile {
    partial: PathBuf,
    target: PathBuf,
    in_place: bool,
}

/// What publishing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub moved_aside: Option<PathBuf>,
}

impl Target {
    /// Looks at the datadir, undoes what a killed restore left, and makes the staging directory.
    ///
    /// # Errors
    /// When a server or another restore uses the datadir, when it is not empty and must not be moved aside, or when
    /// the staging directory cannot be made.
    pub fn open(options: &Options, cancel: &Cancel) -> Result<Target, RestoreError> {
        let datadir =
            std::path::absolute(&options.datadir).map_err(|e| IoError::new(Op::Stat, &options.datadir, e))?;
        let (real, mut within) = look_at(&datadir)?;
        refuse_live_server(&real)?;
        let mut work = if within { real.join(WITHIN_NAME) } else { beside_name(&datadir, BESIDE_SUFFIX) };
        match write::make_dir(&work, DIR_MODE) {
            Ok(()) => {}
            Err(e) if e.kind() == Some(std::io::ErrorKind::AlreadyExists) => {}
            Err(e) if e.is_permission() && !within && real.is_dir() => {
                // We may fill the datadir, but not the directory that it lies in.
                within = true;
                work = real.join(WITHIN_NAME);
                if !work.is_dir() {
                    write::make_dir(&work, DIR_MODE)?;
                }
            }
            Err(e) => return Err(e.into()),
        }
        let lock = lock(&datadir, &work, &options.now, cancel)?;
        let mut target = Target {
            previous: None,
            occupied: false,
            reusable: None,
            given_up: Arc::default(),
            stamp: options.now.chars().filter(|c| !['-', ':'].contains(c)).collect(),
            outside: Vec::new(),
            notes: Vec::new(),
            published: false,
            _lock: lock,
            datadir,
            real,
            within,
            work,
        };
        let resumed = target.clear_leftovers(options.occupied)?;
        target.previous = place::owner(&target.real).ok();
        if resumed {
            target.previous = target.previous.or_else(|| place::owner(&old::old(&target)).ok());
            target.reusable = Some(old::files(&target, resumed)?);
            target.given_up.store(true, Ordering::Release);
        } else {
            target.check_empty(options.occupied)?;
        }
        let data = target.data();
        write::make_dir(&data, target.previous.map_or(DIR_MODE, |owner| owner.mode))?;
        Ok(target)
    }

    /// What a killed restore left: undone where it had begun to change the datadir, else just removed.
    /// True: what is left of an old datadir is used further.
    fn clear_leftovers(&mut self, occupied: Occupied) -> Result<bool, RestoreError> {
        let undone = if self.within { within::undo(self)? } else { beside::undo(self)? };
        self.notes.extend(undone);
        let resumed = old::resume(self, occupied)?;
        let mut bytes = 0;
        let mut found = false;
        let kept = |name: &&OsString| name.as_os_str() != LOCK && name.as_os_str() != old::REMAINS;
        for name in place::names(&self.work)?.iter().filter(kept) {
            found = true;
            bytes += remove(&self.work.join(name))?;
        }
        if found {
            let work = self.work.display();
            self.notes
                .push(format!("removed the leftover of a restore that did not end: {work}, {bytes} bytes"));
        }
        Ok(resumed)
    }

    fn check_empty(&mut self, occupied: Occupied) -> Result<(), RestoreError> {
        let entries = entries(&self.real)?;
        let Some(example) = entries.first() else { return Ok(()) };
        match occupied {
            Occupied::Refuse => Err(RestoreError::NotEmpty {
                path: self.datadir.clone(),
                entries: entries.len(),
                example: example.to_string_lossy().into_owned(),
            }),
            Occupied::MoveAside => {
                self.occupied = true;
                Ok(())
            }
            Occupied::UseUp => {
                let old = old::files(self, false)?;
                if old.has_no_tablespace() {
                    return Err(RestoreError::NothingToUse { path: self.datadir.clone() });
                }
                self.reusable = Some(old);
                Ok(())
            }
        }
    }

    pub fn datadir(&self) -> &Path {
        &self.datadir
    }

    /// The directory that becomes the datadir.
    pub fn data(&self) -> PathBuf {
        self.work.join(DATA)
    }

    /// A place for a file that is needed during the restore only.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Owner and mode of the datadir that was there, or else the owner of the directory that it will lie in.
    pub fn inherited(&self) -> Option<Owner> {
        self.previous.or_else(|| place::owner(write::parent(&self.datadir)).ok())
    }

    /// The mode that the datadir is to have.
    pub fn mode(&self) -> u32 {
        self.previous.map_or(DIR_MODE, |owner| owner.mode)
    }

    /// What of the old datadir can be used again, when that is wanted and there is one.
    pub fn reusable(&self) -> Option<&Old> {
        self.reusable.as_ref()
    }

    /// Where the old datadir lies now, and what is in it; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn old_datadir(&self) -> Result<Option<(PathBuf, Vec<OsString>)>, RestoreError> {
        let old = if self.is_given_up() { old::old(self) } else { self.real.clone() };
        let entries = entries(&old)?;
        Ok((!entries.is_empty()).then_some((old, entries)))
    }

    /// Refuses an old datadir that is of another server than the set.
    ///
    /// # Errors
    /// As said.
    pub fn check_old(&self, manifest: &Manifest) -> Result<(), RestoreError> {
        match &self.reusable {
            Some(old) if !self.is_given_up() => old.check(&self.datadir, &self.real, manifest),
            _ => Ok(()),
        }
    }

    /// Takes the old datadir, if it is to be used up; from here on it is not put back.
    ///
    /// # Errors
    /// When it cannot be taken; it is then where it was.
    pub fn give_up_old(&self) -> Result<(), RestoreError> {
        if self.reusable.is_none() || self.is_given_up() {
            return Ok(());
        }
        refuse_live_server(&self.real)?;
        old::take(self)?;
        self.given_up.store(true, Ordering::Release);
        Ok(())
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// Tells, also after the target is gone, whether an old datadir is used up, and where the rest of it lies.
    pub fn fate_of_old(&self) -> impl Fn() -> Option<PathBuf> + use<> {
        let (given_up, work) = (Arc::clone(&self.given_up), self.work.clone());
        move || given_up.load(Ordering::Acquire).then(|| work.clone())
    }

    /// What the user should know.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The name under which to write a file that belongs at `target`, outside the datadir.
    ///
    /// # Errors
    /// When something is there already, or its directory cannot be made.
    pub fn outside(&mut self, path: &str, target: &Path) -> Result<PathBuf, RestoreError> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(RestoreError::OutsideExists { path: path.to_owned(), target: target.to_owned() });
        }
        write::make_dirs(write::parent(target), DIR_MODE)?;
        let partial = beside_name(target, BESIDE_SUFFIX);
        remove(&partial)?;
        self.outside.push(OutsideFile {
            partial: partial.clone(),
            target: target.to_owned(),
            in_place: false,
        });
        Ok(partial)
    }

    /// Directories of files outside the datadir.
    pub fn outside_directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> =
            self.outside.iter().map(|file| write::parent(&file.target).to_owned()).collect();
        directories.sort();
        directories.dedup();
        directories
    }

    /// Gives everything its real name. Nothing of it may be cancelled half-way, so nothing here asks.
    ///
    /// # Errors
    /// When a name cannot be given; what was there before is then put back.
    pub fn publish(mut self) -> Result<Published, RestoreError> {
        refuse_live_server(&self.real)?;
        let result = self
            .place_outside()
            .and_then(|()| if self.within { within::publish(&self) } else { beside::publish(&self) });
        match result {
            Ok(mut published) => {
                self.published = true;
                self.given_up.store(false, Ordering::Release);
                if old::holds(&self.work) {
                    match old::keep(&self, "") {
                        Ok(aside) => published.moved_aside = aside,
                        // The datadir is in place. The next restore puts the rest aside.
                        Err(_) => {
                            published.moved_aside = Some(old::old(&self));
                            return Ok(published);
                        }
                    }
                }
                // What is left is the lock; a failure to remove it changes nothing.
                let _ = fs::remove_file(self.work.join(LOCK));
                let _ = write::remove_tree(&self.work);
                Ok(published)
            }
            Err(error) => Err(error),
        }
    }

    fn place_outside(&mut self) -> Result<(), RestoreError> {
        for file in &mut self.outside {
            write::rename_new(&file.partial, &file.target)?;
            file.in_place = true;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        for file in &self.outside {
            let name = if file.in_place { &file.target } else { &file.partial };
            let _ = fs::remove_file(name);
        }
        if within::is_unfinished(self) || old::holds(&self.work) {
            // Putting back failed, or an old datadir is used up: the next run needs what is here.
            return;
        }
        let _ = write::remove_tree(&self.work);
    }
}

/// The datadir itself, and whether only its inside may be changed.
fn look_at(datadir: &Path) -> Result<(PathBuf, bool), RestoreError> {
    let meta = match fs::symlink_metadata(datadir) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((datadir.to_owned(), false)),
        Err(e) => return Err(IoError::new(Op::Stat, datadir, e).into()),
    };
    let real = fs::canonicalize(datadir).map_err(|e| IoError::new(Op::Stat, datadir, e))?;
    if !real.is_dir() {
        return Err(RestoreError::NotADirectory { path: datadir.to_owned() });
    }
    let within = meta.is_symlink() || place::is_mount_point(&real)?;
    Ok((if within { real } else { datadir.to_owned() }, within))
}

fn lock(datadir: &Path, work: &Path, now: &str, cancel: &Cancel) -> Result<FileLock, RestoreError> {
    let doing = format!("restore into {}", datadir.display());
    match FileLock::acquire(&work.join(LOCK), now, &doing, Duration::ZERO, cancel) {
        Err(IoError::Busy { holder, .. }) => {
            Err(RestoreError::Busy { path: datadir.to_owned(), holder: holder.to_string() })
        }
        result => Ok(result?),
    }
}

/// What counts as content of a datadir: not what a file system puts at its root, nor what restores keep there.
fn entries(real: &Path) -> Result<Vec<OsString>, RestoreError> {
    let ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        name == "lost+found" || name == WITHIN_NAME || name == journal::MARKER || name.starts_with(ASIDE)
    };
    match place::names(real) {
        Ok(names) => Ok(names.into_iter().filter(|name| !ours(name)).collect()),
        Err(e) if e.is_not_found() => Ok(Vec::new()),
        Err(e) => Err(e.into()),
    }
}

/// Stamps are of whole seconds: where another restore has taken the name, a number follows it. Only the holder of the
/// datadir's lock takes such a name.
fn free_name(wanted: PathBuf) -> PathBuf {
    let mut number = 1_u32;
    let mut name = wanted.clone();
    while fs::symlink_metadata(&name).is_ok() {
        number = number.saturating_add(1);
        name = beside_name(&wanted, &format!("-{number}"));
    }
    name
}

fn beside_name(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Removes a file or a tree; one that is not there is fine. Gives its bytes.
fn remove(path: &Path) -> Result<u64, RestoreError> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Ok(meta) if meta.is_dir() => Ok(write::remove_tree(path)?),
        Ok(meta) => {
            fs::remove_file(path).map_err(|e| IoError::new(Op::Remove, path, e))?;
            Ok(meta.len())
        }
        Err(e) => Err(IoError::new(Op::Stat, path, e).into()),
    }
}
