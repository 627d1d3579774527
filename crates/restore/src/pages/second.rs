//! The second pass of a restore from a stream: the files lie in the staging directory as they were copied, and only
//! pages that the redo touches are read, changed and written again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reseed_innodb::PageSize;
use reseed_innodb::bytes::all_zero;
use reseed_innodb::fil;
use reseed_io::{IoError, Op, OutFile};
use reseed_redo::{Lsn, PageNo};

use super::blocks::Written;
use super::held::Held;
use super::patch::{PagePlace, Patcher, Stretch};
use super::scene::{Done, Opened, Scene, Unit};
use super::writer::finish;
use crate::error::RestoreError;

/// Pages that one worker takes at a time.
const RANGE: u64 = 16384;

/// # Errors
/// The first thing that failed.
pub fn second_pass(scene: &Scene<'_>) -> Result<Done, RestoreError> {
    let units = scene.units();
    let mut done = each(scene, units.len(), |at, patcher, done| match units.get(at) {
        Some(unit) => open(scene, unit, patcher, done),
        None => Ok(()),
    })?;
    let ranges: Vec<(usize, u64)> =
        units.iter().enumerate().flat_map(|(at, unit)| ranges(scene, at, unit)).collect();
    done.add(each(scene, ranges.len(), |at, patcher, done| match ranges.get(at) {
        Some(&(unit, from)) => match units.get(unit) {
            Some(unit) => touch(scene, unit, from, patcher, done),
            None => Ok(()),
        },
        None => Ok(()),
    })?);
    let files: Vec<(&Unit, usize)> =
        units.iter().flat_map(|unit| unit.files.iter().map(move |file| (unit, *file))).collect();
    done.add(each(scene, files.len(), |at, _, done| match files.get(at) {
        Some((unit, file)) => close(scene, unit, *file, done),
        None => Ok(()),
    })?);
    Ok(done)
}

/// Does `count` things on all threads.
fn each(
    scene: &Scene<'_>,
    count: usize,
    thing: impl Fn(usize, &mut Patcher<'_>, &mut Done) -> Result<(), RestoreError> + Sync,
) -> Result<Done, RestoreError> {
    let next = AtomicUsize::new(0);
    scene.on_threads(
        || next.store(count, Ordering::Relaxed),
        |done| {
            let mut patcher = scene.patcher();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    done.counts.add(patcher.counts);
                    return Ok(());
                }
                scene.cancel.check()?;
                reseed_io::failpoint!("restore.pages")
                    .map_err(|e| IoError::new(Op::Write, "the datadir", e))?;
                thing(at, &mut patcher, done)?;
            }
        },
    )
}

/// The first page of a tablespace.
fn open(
    scene: &Scene<'_>,
    unit: &Unit,
    patcher: &mut Patcher<'_>,
    done: &mut Done,
) -> Result<(), RestoreError> {
    let (Some(space), Some(&first)) = (unit.space, unit.files.first()) else { return Ok(()) };
    let Some(planned) = scene.plan.files.get(first) else { return Ok(()) };
    let path = planned.entry.path.to_string();
    let file = Paged::open(scene, first)?;
    let mut bytes = vec![0; PageSize::MAX.bytes()];
    let read = file.read(0, &mut bytes)?;
    bytes.truncate(read);
    let before = bytes.clone();
    let format = patcher.first_page(&path, Stretch { space, first: 0, bytes: &mut bytes })?;
    let opened = scene.open(space, &path, format, &mut bytes)?;
    if format.is_none() {
        done.notes.push(format!("{path} has no first page and no redo: it was written as it was"));
    }
    let _ = unit.opened.set(opened);
    if let Some(format) = format
        && bytes != before
    {
        let page = bytes.get(..format.physical().bytes()).unwrap_or_default();
        done.written += file.write(0, page)?;
    }
    Ok(())
}

fn ranges(scene: &Scene<'_>, at: usize, unit: &Unit) -> Vec<(usize, u64)> {
    let seen = unit.space.and_then(|space| scene.changes.seen(space)).filter(|seen| seen.changes > 0);
    let Some(seen) = seen else { return Vec::new() };
    (0..=u64::from(seen.last_page.0)).step_by(RANGE as usize).map(|from| (at, from)).collect()
}

fn touch(
    scene: &Scene<'_>,
    unit: &Unit,
    from: u64,
    patcher: &mut Patcher<'_>,
    done: &mut Done,
) -> Result<(), RestoreError> {
    let (Some(space), Some(Opened { format: Some(format), .. })) = (unit.space, unit.opened.get()) else {
        return Ok(());
    };
    let mut files =
        Files { scene, unit, size: format.physical().as_u64(), open: None, written: Written::default() };
    let path = unit.files.first().and_then(|file| scene.plan.files.get(*file));
    let path = path.map(|file| file.entry.path.to_string()).unwrap_or_default();
    patcher.touch(&path, format, space, from..from + RANGE, &mut files)?;
    done.written += files.written;
    Ok(())
}

/// A file as it is to be so far: what lies on the disk, and over it what is held back.
struct Paged {
    file: OutFile,
    held: Option<Arc<Held>>,
}

impl Paged {
    fn open(scene: &Scene<'_>, at: usize) -> Result<Paged, RestoreError> {
        Ok(Paged { file: OutFile::open(&scene.path(at))?, held: scene.held.get(at).cloned().flatten() })
    }

    /// Fills `bytes`, behind the end with zeros, and tells where the end is.
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<usize, RestoreError> {
        let read = self.file.read_at(at, bytes)?;
        if let Some(rest) = bytes.get_mut(read..) {
            rest.fill(0);
        }
        let held = self.held.as_ref().map_or(0, |held| held.overlay(at, bytes));
        Ok(read.max(held))
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<Written, RestoreError> {
        match &self.held {
            Some(held) => held.put(&self.file, at, bytes),
            None => {
                self.file.write_all_at(at, bytes)?;
                Ok(Written::all(bytes))
            }
        }
    }
}

/// A tablespace's files as a place of pages.
struct Files<'s> {
    scene: &'s Scene<'s>,
    unit: &'s Unit,
    size: u64,
    open: Option<(usize, Paged)>,
    written: Written,
}

impl Files<'_> {
    /// The file that holds the page, and where in it.
    fn find(&mut self, number: u64) -> Result<(&Paged, u64), RestoreError> {
        let missing = RestoreError::Worker { what: "the plan of the pass" };
        let first_page =
            |at: &usize| self.scene.plan.files.get(*at).map_or(0, |file| u64::from(file.entry.first_page));
        let holding = self.unit.files.iter().rev().find(|at| first_page(at) <= number);
        let Some(&at) = holding else { return Err(missing) };
        let offset = (number - first_page(&at)) * self.size;
        if self.open.as_ref().is_none_or(|(open, _)| *open != at) {
            self.open = Some((at, Paged::open(self.scene, at)?));
        }
        match &self.open {
            Some((_, file)) => Ok((file, offset)),
            None => Err(missing),
        }
    }
}

impl PagePlace for Files<'_> {
    fn read(&mut self, number: u64, page: &mut [u8]) -> Result<bool, RestoreError> {
        let (file, offset) = self.find(number)?;
        file.read(offset, page)?;
        Ok(!all_zero(page))
    }

    fn write(&mut self, number: u64, page: &[u8]) -> Result<(), RestoreError> {
        let (file, offset) = self.find(number)?;
        let written = file.write(offset, page)?;
        self.written += written;
        Ok(())
    }
}

fn close(scene: &Scene<'_>, unit: &Unit, at: usize, done: &mut Done) -> Result<(), RestoreError> {
    let Some(planned) = scene.plan.files.get(at) else { return Ok(()) };
    let Paged { file, held } = Paged::open(scene, at)?;
    if let Some(held) = held {
        done.written += held.flush(&file)?;
    }
    if let (Some(space), Some(Opened { format: Some(format), .. })) = (unit.space, unit.opened.get())
        && scene.changes.voids().is_trimmed(space)
    {
        clear_trimmed(scene, space, &file, planned.entry.first_page, format.physical())?;
    }
    let size = scene.final_size(unit, at, planned, file.len()?);
    finish(&file, size, planned.entry.mode & 0o777, scene.owner)
}

/// A tablespace was truncated during the backup: what was copied before that from behind the new end is nothing.
fn clear_trimmed(
    scene: &Scene<'_>,
    space: reseed_redo::SpaceId,
    file: &OutFile,
    first_page: u32,
    page_size: PageSize,
) -> Result<(), RestoreError> {
    let mut page = vec![0; page_size.bytes()];
    let mut at = 0;
    let mut number = first_page;
    while file.read_at(at, &mut page)? == page.len() {
        let trimmed = scene.changes.voids().trimmed(space, PageNo(number));
        if trimmed > Lsn::ZERO && fil::lsn(&page) <= trimmed {
            file.punch_hole(at, page_size.as_u64())?;
        }
        at += page_size.as_u64();
        number = number.saturating_add(1);
    }
    Ok(())
}

/// Where a copy of a file lies until its real name is known.
pub fn incoming(directory: &Path, copy: u32) -> PathBuf {
    directory.join(copy.to_string())
}
