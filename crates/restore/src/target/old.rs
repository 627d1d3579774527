//! The old datadir as material (`--delta`). It is taken into the staging directory as a whole; from then on it is
//! given up: its files become files of the new datadir one by one, and a restore that fails leaves what there is for
//! the next one.
//!
//! | in the staging directory | |
//! |---|---|
//! | `remains/old/` | the old datadir, less what has been used |
//! | `remains/given-up` | written when all of it lies there, before the first file is used; without it, it is put back |
//! | `remains/1/`, … | what earlier runs had made |

use std::fs;
use std::path::{Path, PathBuf};

use reseed_io::{IoError, Op, place, write};

use super::{ASIDE, DATA, DIR_MODE, Target, beside_name, entries, free_name, remove};
use crate::error::RestoreError;
use crate::old::Old;
use crate::options::Occupied;

pub(super) const REMAINS: &str = "remains";
const OLD: &str = "old";
const GIVEN_UP: &str = "given-up";
const GIVEN_UP_TEXT: &str = "This is no datadir. It is what is left of one that `reseed restore --delta` uses up; the same command, given again, \
     goes on from here.\n";
/// What earlier runs leave that may hold pages.
const MADE: [&str; 2] = [DATA, "incoming"];

/// Does the staging directory hold an old datadir?
pub(super) fn holds(work: &Path) -> bool {
    fs::symlink_metadata(work.join(REMAINS)).is_ok()
}

fn is_given_up(work: &Path) -> bool {
    fs::symlink_metadata(work.join(REMAINS).join(GIVEN_UP)).is_ok()
}

pub(super) fn old(target: &Target) -> PathBuf {
    target.work.join(REMAINS).join(OLD)
}

/// Looks at what a killed or failed restore left of an old datadir. True: this one goes on from there.
pub(super) fn resume(target: &mut Target, occupied: Occupied) -> Result<bool, RestoreError> {
    if !holds(&target.work) {
        return Ok(false);
    }
    if !is_given_up(&target.work) {
        put_back(target)?;
        let datadir = target.datadir.display();
        target.notes.push(format!("put back {datadir}: the restore that was about to use it did not begin"));
        return Ok(false);
    }
    let has_entries = !entries(&target.real)?.is_empty();
    let was_published = has_entries && fs::symlink_metadata(target.data()).is_err();
    if was_published || occupied == Occupied::MoveAside {
        if let Some(aside) = keep(target, "-rest")? {
            target.notes.push(format!("what is left of an old datadir lies in {}", aside.display()));
        }
        return Ok(false);
    }
    if has_entries || occupied == Occupied::Refuse {
        let marker = target.work.join(REMAINS).join(GIVEN_UP);
        return Err(RestoreError::Unfinished { path: target.datadir.clone(), marker });
    }
    let remains = target.work.join(REMAINS);
    for made in MADE.iter().map(|name| target.work.join(name)).filter(|made| made.is_dir()) {
        let free = (1_u32..).map(|number| remains.join(number.to_string()));
        if let Some(place) = free.into_iter().find(|place| fs::symlink_metadata(place).is_err()) {
            write::rename_new(&made, &place)?;
        }
    }
    let work = target.work.display();
    target.notes.push(format!("went on from what a restore that did not end left in {work}"));
    Ok(true)
}

/// What can be used again: the old datadir where it lies now, or what earlier runs left.
pub(super) fn files(target: &Target, resumed: bool) -> Result<Old, RestoreError> {
    let found = Old::default();
    if !resumed {
        found.add(&target.real, entries(&target.real)?, &old(target))?;
        return Ok(found);
    }
    let remains = target.work.join(REMAINS);
    let mut made: Vec<PathBuf> = place::names(&remains)?.into_iter().map(|name| remains.join(name)).collect();
    made.retain(|path| path.is_dir());
    // The latest first: it is nearest to the end. The name of the old datadir itself is no number.
    made.sort_by_key(|path| {
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        std::cmp::Reverse(number.unwrap_or(0))
    });
    for dir in made {
        found.add(&dir, place::names(&dir)?, &dir)?;
    }
    Ok(found)
}

/// Takes the old datadir. Until the last step of this it is put back when anything fails.
pub(super) fn take(target: &Target) -> Result<(), RestoreError> {
    let take = || -> Result<(), RestoreError> {
        write::make_dir(&target.work.join(REMAINS), DIR_MODE)?;
        let old = old(target);
        if target.within {
            write::make_dir(&old, target.mode())?;
            move_entries(&target.real, &old)?;
        } else {
            write::rename_new(&target.datadir, &old)?;
        }
        reseed_io::failpoint!("restore.take").map_err(|e| IoError::new(Op::Rename, &target.datadir, e))?;
        let marker = target.work.join(REMAINS).join(GIVEN_UP);
        Ok(write::write_atomic(&marker, GIVEN_UP_TEXT.as_bytes(), 0o600)?)
    };
    take().map_err(|error| match put_back(target) {
        Ok(()) => error,
        Err(put_back) => RestoreError::NotPutBack {
            aside: old(target),
            put_back: Box::new(put_back),
            source: Box::new(error),
        },
    })
}

fn put_back(target: &Target) -> Result<(), RestoreError> {
    let old = old(target);
    if old.is_dir() {
        if target.within {
            move_entries(&old, &target.real)?;
        } else {
            write::rename_new(&old, &target.datadir)?;
        }
    }
    remove(&target.work.join(REMAINS)).map(|_| ())
}

fn move_entries(from: &Path, to: &Path) -> Result<(), RestoreError> {
    for name in entries(from)? {
        write::rename_new(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// Puts what is left of the old datadir beside the new one, and removes what earlier runs had made. `None`: nothing
/// is left of it.
pub(super) fn keep(target: &Target, suffix: &str) -> Result<Option<PathBuf>, RestoreError> {
    let old = old(target);
    let name = format!("{ASIDE}{}{suffix}", target.stamp);
    let aside = if target.within { target.real.join(name) } else { beside_name(&target.datadir, &name) };
    let kept = if has_files(&old) {
        let aside = free_name(aside);
        write::rename_new(&old, &aside)?;
        Some(aside)
    } else {
        None
    };
    // The mark goes last: without it what is left here would be taken for a whole datadir.
    let remains = target.work.join(REMAINS);
    for name in place::names(&remains)?.iter().filter(|name| name.as_os_str() != GIVEN_UP) {
        remove(&remains.join(name))?;
    }
    remove(&remains)?;
    Ok(kept)
}

/// Is there anything but directories? One that cannot be looked into may hold files.
fn has_files(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return fs::symlink_metadata(dir).is_ok() };
    entries.flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => has_files(&entry.path()),
        _ => true,
    })
}
