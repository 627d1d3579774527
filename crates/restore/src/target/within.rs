//! Staged within the datadir, because the datadir itself cannot be renamed: at the end its entries are moved up one
//! by one. The marker lies in the datadir from the first change of a name to the last; it lists what is being moved,
//! so that a killed restore can be undone by the next one.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use reseed_io::{IoError, Op, place, write};

use super::journal::{self, Journal, MARKER};
use super::{ASIDE, Published, Target, entries, free_name, old, remove};
use crate::error::RestoreError;

pub(super) fn is_unfinished(target: &Target) -> bool {
    target.within && fs::symlink_metadata(target.real.join(MARKER)).is_ok()
}

pub(super) fn publish(target: &Target) -> Result<Published, RestoreError> {
    let aside = free_name(target.real.join(format!("{ASIDE}{}", target.stamp)));
    let result = move_all(target, &aside);
    match result {
        Ok(published) => Ok(published),
        Err(error) => match undo(target) {
            Ok(_) => Err(error),
            Err(put_back) => {
                Err(RestoreError::NotPutBack { aside, put_back: Box::new(put_back), source: Box::new(error) })
            }
        },
    }
}

fn move_all(target: &Target, aside: &Path) -> Result<Published, RestoreError> {
    let marker = target.real.join(MARKER);
    let data = target.data();
    let mut journal = Journal::default();
    let mut moved_aside = None;
    if target.occupied {
        journal.aside = aside.file_name().map(OsStr::to_owned);
        journal::write(&marker, &journal)?;
        write::make_dir(aside, target.mode())?;
        for entry in entries(&target.real)? {
            rename(&target.real, aside, &entry)?;
        }
        write::sync_dir(aside)?;
        write::sync_dir(&target.real)?;
        moved_aside = Some(aside.to_owned());
    }
    journal.up = place::names(&data)?;
    // Without its system tablespace no server takes a datadir for whole: it comes last.
    journal.up.sort_by_key(|name| name.to_string_lossy().starts_with("ibdata"));
    journal::write(&marker, &journal)?;
    for entry in &journal.up {
        rename(&data, &target.real, entry)?;
    }
    write::sync_dir(&target.real)?;
    if let Ok(owner) = place::owner(&data) {
        write::set_mode(&target.real, owner.mode)?;
    }
    remove(&marker)?;
    write::sync_dir(&target.real)?;
    Ok(Published { moved_aside })
}

fn rename(from: &Path, to: &Path, name: &OsStr) -> Result<(), RestoreError> {
    let (old, new) = (from.join(name), to.join(name));
    if fs::symlink_metadata(&new).is_ok() {
        return Err(IoError::new(Op::Rename, old, std::io::ErrorKind::AlreadyExists.into()).into());
    }
    reseed_io::failpoint!("restore.move")
        .and_then(|()| fs::rename(&old, &new))
        .map_err(|e| IoError::new(Op::Rename, old, e).into())
}

/// Undoes a restore that did not come to its end while it moved entries: what it had moved up goes, what it had
/// moved aside comes back.
pub(super) fn undo(target: &Target) -> Result<Option<String>, RestoreError> {
    let marker = target.real.join(MARKER);
    if fs::symlink_metadata(&marker).is_err() {
        return Ok(None);
    }
    let Some(journal) = journal::read(&marker)? else {
        return Err(RestoreError::Unfinished { path: target.datadir.clone(), marker });
    };
    for entry in &journal.up {
        let up = target.real.join(entry);
        // What was made of an old datadir is used by the next run.
        if old::holds(&target.work) && target.data().is_dir() {
            if fs::symlink_metadata(&up).is_ok() {
                rename(&target.real, &target.data(), entry)?;
            }
        } else {
            remove(&up)?;
        }
    }
    let aside = journal.aside.as_ref().map(|name| target.real.join(name)).filter(|aside| aside.is_dir());
    if let Some(aside) = &aside {
        for entry in place::names(aside)? {
            rename(aside, &target.real, &entry)?;
        }
        write::sync_dir(&target.real)?;
        fs::remove_dir(aside).map_err(|e| IoError::new(Op::Remove, aside, e))?;
    }
    remove(&marker)?;
    write::sync_dir(&target.real)?;
    let put_back = if aside.is_some() { ", and put back what it had moved aside" } else { "" };
    Ok(Some(format!("undid a restore into {} that did not end{put_back}", target.datadir.display())))
}
