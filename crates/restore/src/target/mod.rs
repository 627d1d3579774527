//! The datadir that is to be filled, and the staging directory in which that happens. Until [`Target::publish`]
//! everything lies in the staging directory, and dropping the target removes it again.
//!
//! | datadir | staged in | at the end |
//! |---|---|---|
//! | missing, or a plain directory | `DATADIR.reseed-partial/` | one rename |
//! | a mount point or symbolic link, or in a directory that we may not change | `DATADIR/.reseed-partial/` | its entries are moved up, under a marker |
//!
//! A staging directory is locked by the process that fills it. One without a living owner is the leftover of a
//! killed restore: the next one undoes what that one had begun, and removes it.

mod beside;
mod journal;
mod within;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reseed_io::place::{self, Owner};
use reseed_io::{Cancel, FileLock, IoError, Op, write};

use crate::error::RestoreError;
use crate::occupied::refuse_live_server;
use crate::options::{Occupied, Options};

const BESIDE_SUFFIX: &str = ".reseed-partial";
const WITHIN_NAME: &str = ".reseed-partial";
/// What is moved aside within a datadir; the stamp follows. Beside: the same without the dot in front.
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
    occupied: bool,
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
        target.clear_leftovers()?;
        target.previous = place::owner(&target.real).ok();
        target.check_empty(options.occupied)?;
        let data = target.data();
        write::make_dir(&data, target.previous.map_or(DIR_MODE, |owner| owner.mode))?;
        Ok(target)
    }

    /// What a killed restore left: undone where it had begun to change the datadir, else just removed.
    fn clear_leftovers(&mut self) -> Result<(), RestoreError> {
        let undone = if self.within { within::undo(self)? } else { beside::undo(self)? };
        self.notes.extend(undone);
        let mut bytes = 0;
        let mut found = false;
        for name in place::names(&self.work)?.iter().filter(|name| name.as_os_str() != LOCK) {
            found = true;
            bytes += remove(&self.work.join(name))?;
        }
        if found {
            let work = self.work.display();
            self.notes
                .push(format!("removed the leftover of a restore that did not end: {work}, {bytes} bytes"));
        }
        Ok(())
    }

    fn check_empty(&mut self, occupied: Occupied) -> Result<(), RestoreError> {
        let entries = entries(&self.real)?;
        let Some(example) = entries.first() else { return Ok(()) };
        if occupied == Occupied::Refuse {
            return Err(RestoreError::NotEmpty {
                path: self.datadir.clone(),
                entries: entries.len(),
                example: example.to_string_lossy().into_owned(),
            });
        }
        self.occupied = true;
        Ok(())
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
            Ok(published) => {
                self.published = true;
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
        if within::is_unfinished(self) {
            // Putting back failed: the staging directory holds what the next run needs.
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
