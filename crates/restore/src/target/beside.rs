//! Staged beside the datadir: the end is one rename, or two when an old datadir is moved aside.

use std::path::PathBuf;

use reseed_io::write;

use super::journal::{self, Journal};
use super::{ASIDE, Published, Target, beside_name, free_name, remove};
use crate::error::RestoreError;

const JOURNAL: &str = "moved-aside";

pub(super) fn publish(target: &Target) -> Result<Published, RestoreError> {
    if !target.occupied {
        // Replaces an empty directory, in one step.
        write::rename_durable(&target.data(), &target.datadir)?;
        return Ok(Published { moved_aside: None });
    }
    let aside = free_name(beside_name(&target.datadir, &format!("{ASIDE}{}", target.stamp)));
    let journal = target.scratch(JOURNAL);
    let name = aside.file_name().unwrap_or_default().to_owned();
    journal::write(&journal, &Journal { aside: Some(name), up: Vec::new() })?;
    write::rename_new(&target.datadir, &aside)?;
    if let Err(error) = write::rename_new(&target.data(), &target.datadir) {
        return match write::rename_new(&aside, &target.datadir) {
            Ok(()) => Err(error.into()),
            Err(put_back) => Err(RestoreError::NotPutBack {
                aside,
                put_back: Box::new(put_back.into()),
                source: Box::new(error.into()),
            }),
        };
    }
    Ok(Published { moved_aside: Some(aside) })
}

/// A restore that was killed between its two renames left no datadir: the old one is put back.
pub(super) fn undo(target: &Target) -> Result<Option<String>, RestoreError> {
    let path = target.scratch(JOURNAL);
    let Some(Journal { aside: Some(aside), .. }) = journal::read(&path)? else { return Ok(None) };
    let aside: PathBuf = target.datadir.with_file_name(aside);
    let mut note = None;
    if aside.is_dir() && std::fs::symlink_metadata(&target.datadir).is_err() {
        write::rename_new(&aside, &target.datadir)?;
        note = Some(format!(
            "put back {} as {}: the restore that had moved it aside did not end",
            aside.display(),
            target.datadir.display()
        ));
    }
    remove(&path)?;
    Ok(note)
}
