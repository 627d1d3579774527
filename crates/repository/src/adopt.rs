//! Packs of a run that did not finish, taken over by the next one.
//!
//! The next run reads the server's files all the same. What it is about to store is compared, by name and hash, with what
//! these packs hold, and what is there already is neither compressed nor written again. So nothing of the interrupted run
//! is relied on but bytes that are equal. They are read back before (`salvage`), and synced: what a crash of the host has
//! taken is not found. Failpoint: `repository.adopt`, before anything is changed.
//!
//! A pack is taken only as it is stored: the manifest names one compression for all packs of a set, and by it they are
//! read. The level is no matter of that: no reader knows it, and an unpublished set does not say it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use reseed_io::{Cancel, DataFile, IoError, Op, OutFile, Progress, ReadMode, write};

use crate::codec::{Decoder, Encoder};
use crate::error::{Damage, RepositoryError};
use crate::files::{FileEntry, PageList, Run};
use crate::hash::Hash128;
use crate::id::SetId;
use crate::manifest::{Compression, StoredFile, pack_name};
use crate::salvage::{FoundRun, Salvaged, salvage};
use crate::sink::Removed;
use crate::stored::StoredWriter;
use crate::window::Window;
use crate::writer::pass;

/// More runs than this are not kept in mind.
const MOST_RUNS: usize = 1 << 20;
/// Threads that read packs back, each with a buffer of its own.
const MOST_THREADS: usize = 4;

/// What became of that which dead runs had left.
#[derive(Debug)]
pub(crate) struct TakenOver {
    pub adopted: Option<Adopted>,
    pub removed: Vec<Removed>,
}

/// Packs that were taken over, the first ones of the new set, and the runs in them that nobody has claimed yet.
#[derive(Debug)]
pub(crate) struct Adopted {
    /// Directory of the run that wrote them.
    pub from: String,
    pub packs: Vec<StoredFile>,
    /// Bytes of that directory that were thrown away.
    pub removed: u64,
    /// By the hash of the name: the newest run of each name, and its pack.
    runs: Mutex<HashMap<Hash128, (u32, FoundRun)>>,
}

/// Takes over the packs in a leftover directory, which holds nothing else afterwards. `None`, and nothing was changed,
/// where there is none of use.
///
/// # Errors
/// When the work was told to stop, or what is not needed cannot be removed.
pub(crate) fn adopt(
    dir: &Path,
    compression: Compression,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Option<Adopted>, RepositoryError> {
    let found = not_overtaken(read_back(dir, compression, progress, cancel)?);
    if found.is_empty() {
        return Ok(None);
    }
    pass("repository.adopt", dir)?;
    let before = write::tree_size(dir);
    let names: HashSet<String> = found.iter().map(|(number, _)| pack_name(*number, compression)).collect();
    remove_all_but(dir, |name| names.contains(name))?;
    let mut packs = Vec::new();
    let mut runs = HashMap::new();
    for (number, Salvaged { runs: in_pack, len, hasher }) in found {
        let name = pack_name(number, compression);
        let salvaged = Salvaged { runs: Vec::new(), len, hasher };
        // One that cannot be made whole is of no use, whatever is wrong with it.
        let Ok(pack) = complete(dir, &name, compression, salvaged) else {
            remove_file(&dir.join(&name))?;
            continue;
        };
        let place = packs.len() as u32;
        packs.push(renamed(dir, pack, place, compression)?);
        runs.extend(in_pack.into_iter().map(|run| (run.name, (place, run))));
    }
    let kept: u64 = packs.iter().map(|pack| pack.size).sum();
    let from = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let removed = before.saturating_sub(kept);
    Ok((!packs.is_empty()).then(|| Adopted { from, packs, removed, runs: Mutex::new(runs) }))
}

/// The packs in a directory, by number, as far as they are whole and hold anything.
fn read_back(
    dir: &Path,
    compression: Compression,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<(u32, Salvaged)>, RepositoryError> {
    let numbers = pack_numbers(dir, compression)?;
    let most = MOST_RUNS / numbers.len().max(1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = dir.join(pack_name(*number, compression));
            if let Ok(pack) = salvage(&path, compression, most, progress, cancel)
                && !pack.runs.is_empty()
            {
                found.lock().unwrap_or_else(PoisonError::into_inner).push((*number, pack));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..cores.min(MOST_THREADS).min(numbers.len()) {
            // Without it the work is done all the same.
            let _ = std::thread::Builder::new().name("salvage".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    cancel.check()?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(number, _)| *number);
    Ok(found)
}

/// Plain files that are called like packs. One with another name elsewhere is not changed: it is not ours alone.
fn pack_numbers(dir: &Path, compression: Compression) -> Result<Vec<u32>, RepositoryError> {
    let fail = |e| RepositoryError::from(IoError::new(Op::List, dir, e));
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let digits = |name: &str| name.strip_prefix("data-")?.split('.').next()?.parse().ok();
        let number =
            name.to_str().and_then(digits).filter(|number| *name == *pack_name(*number, compression));
        let alone = entry.metadata().is_ok_and(|meta| meta.is_file() && meta.nlink() == 1);
        numbers.extend(number.filter(|_| alone));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Without the packs of which the greater part lies in later ones too. Runs that are interrupted again and again thus
/// never leave more than about twice what one of them does.
fn not_overtaken(mut packs: Vec<(u32, Salvaged)>) -> Vec<(u32, Salvaged)> {
    let mut seen = HashSet::new();
    packs.reverse();
    packs.retain(|(_, pack)| {
        let fresh = pack.runs.iter().filter(|run| !seen.contains(&run.name));
        let fresh: u64 = fresh.map(|run| u64::from(run.stored)).sum();
        let keep = fresh * 2 >= pack.len;
        if keep {
            seen.extend(pack.runs.iter().map(|run| run.name));
        }
        keep
    });
    packs.reverse();
    packs
}

/// Cuts off what is not whole, and ends the archive there.
fn complete(
    dir: &Path,
    name: &str,
    compression: Compression,
    salvaged: Salvaged,
) -> Result<StoredFile, RepositoryError> {
    let Salvaged { len, mut hasher, .. } = salvaged;
    let mut encoder = Encoder::new(compression)?;
    let end = encoder.end()?;
    let out = OutFile::open(&dir.join(name))?;
    out.set_len(len)?;
    out.write_all_at(len, end)?;
    hasher.update(end);
    out.sync()?;
    out.drop_cache(0, 0);
    Ok(StoredFile { name: name.to_owned(), size: len + end.len() as u64, hash: hasher.hash() })
}

/// Gives a pack the name of its place, which is its own or that of one that is gone.
fn renamed(
    dir: &Path,
    pack: StoredFile,
    place: u32,
    compression: Compression,
) -> Result<StoredFile, RepositoryError> {
    let name = pack_name(place, compression);
    if name != pack.name {
        write::rename_new(&dir.join(&pack.name), &dir.join(&name))?;
    }
    Ok(StoredFile { name, ..pack })
}

fn remove_file(path: &Path) -> Result<(), RepositoryError> {
    Ok(fs::remove_file(path).map_err(|e| IoError::new(Op::Remove, path, e))?)
}

/// Removes what lies in a directory but for some of its files.
pub(crate) fn remove_all_but(dir: &Path, keep: impl Fn(&str) -> bool) -> Result<(), RepositoryError> {
    let fail = |e| RepositoryError::from(IoError::new(Op::List, dir, e));
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir {
            write::remove_tree(&path)?;
        } else if !entry.file_name().to_str().is_some_and(&keep) {
            remove_file(&path)?;
        }
    }
    Ok(())
}

impl Adopted {
    /// The run that holds these bytes under this name already. Each is given out once, so that no two entries of an index
    /// ever share one.
    pub(crate) fn claim(&self, name: &[u8], at: u64, raw: &[u8], pages: Option<&PageList>) -> Option<Run> {
        let name = Hash128::of(name);
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, found) = runs.get(&name)?;
        let (hash, len) = (found.hash, found.raw);
        drop(runs);
        if len as usize != raw.len() || hash != Hash128::of(raw) {
            return None;
        }
        runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let (pack, found) = runs.remove(&name)?;
        Some(Run {
            pack,
            offset: found.offset,
            stored: found.stored,
            head: found.head,
            at,
            raw: found.raw,
            hash: found.hash,
            stored_hash: found.stored_hash,
            pages: pages.cloned(),
        })
    }

    fn holds(&self, run: &Run) -> bool {
        (run.pack as usize) < self.packs.len()
    }

    /// Raw bytes that a set with these entries has from the packs that were taken over.
    pub(crate) fn used(&self, files: &[FileEntry]) -> u64 {
        let runs = files.iter().flat_map(|file| &file.runs);
        runs.filter(|run| self.holds(run)).map(|run| u64::from(run.raw)).sum()
    }

    /// Leaves out what a set with these entries does not use: packs without a run of its, and where less than half of a
    /// pack is its, the rest of that one. Packs are numbered by place, so the others move up. Gives the bytes that went.
    pub(crate) fn settle(
        &self,
        dir: &Path,
        id: &SetId,
        compression: Compression,
        packs: Vec<StoredFile>,
        files: &mut [FileEntry],
    ) -> Result<(Vec<StoredFile>, u64), RepositoryError> {
        let mut used = vec![0; self.packs.len()];
        for run in files.iter().flat_map(|file| &file.runs) {
            if let Some(used) = used.get_mut(run.pack as usize) {
                *used += u64::from(run.stored);
            }
        }
        let mut removed = 0;
        let mut kept = Vec::new();
        let mut places = HashMap::new();
        for (number, pack) in (0u32..).zip(packs) {
            let size = pack.size;
            let pack = match used.get(number as usize) {
                Some(0) => {
                    remove_file(&dir.join(&pack.name))?;
                    removed += size;
                    continue;
                }
                Some(used) if used * 2 < size => shrunk(dir, id, compression, number, pack, files)?,
                _ => pack,
            };
            removed += size - pack.size.min(size);
            let place = kept.len() as u32;
            kept.push(renamed(dir, pack, place, compression)?);
            places.insert(number, place);
        }
        for run in files.iter_mut().flat_map(|file| &mut file.runs) {
            // One that lies nowhere is found out by whoever checks the entries.
            run.pack = places.get(&run.pack).copied().unwrap_or(u32::MAX);
        }
        Ok((kept, removed))
    }
}

/// Writes a pack anew with nothing in it but the runs of these entries. A disk that has no room for both leaves the old one.
fn shrunk(
    dir: &Path,
    id: &SetId,
    compression: Compression,
    number: u32,
    pack: StoredFile,
    files: &mut [FileEntry],
) -> Result<StoredFile, RepositoryError> {
    let mut runs: Vec<&mut Run> =
        files.iter_mut().flat_map(|file| &mut file.runs).filter(|run| run.pack == number).collect();
    runs.sort_by_key(|run| run.offset);
    let path = dir.join(&pack.name);
    let beside = format!("{}.smaller", pack.name);
    let copied = copied(dir, id, compression, &pack, &beside, &runs);
    match copied {
        Ok((new, offsets)) => {
            write::rename_durable(&dir.join(&beside), &path)?;
            for (run, offset) in runs.iter_mut().zip(offsets) {
                run.offset = offset;
            }
            Ok(StoredFile { name: pack.name, ..new })
        }
        Err(error) if error.is_no_space() => {
            remove_file(&dir.join(&beside))?;
            Ok(pack)
        }
        Err(error) => Err(error),
    }
}

/// Copies runs as they are stored, every hash checked, into another pack. Gives it and where they lie in it.
fn copied(
    dir: &Path,
    id: &SetId,
    compression: Compression,
    pack: &StoredFile,
    to: &str,
    runs: &[&mut Run],
) -> Result<(StoredFile, Vec<u64>), RepositoryError> {
    let from = DataFile::open(&dir.join(&pack.name), ReadMode::Sparing)?;
    let mut out = StoredWriter::create(dir, to)?;
    let (mut window, mut decoder, mut raw) = (Window::new(), Decoder::new(compression)?, Vec::new());
    let mut offsets = Vec::with_capacity(runs.len());
    for run in runs {
        let stored = window.read(&from, run.pack, run.offset, run.stored as usize)?.unwrap_or_default();
        decoder.decode(run, stored, &mut raw).map_err(|problem| {
            let range = Some((run.offset, u64::from(run.stored)));
            Damage { range, ..Damage::of_file(pack.name.clone(), problem) }.in_set(id)
        })?;
        offsets.push(out.len());
        out.append(stored)?;
    }
    out.append(Encoder::new(compression)?.end()?)?;
    Ok((out.finish()?, offsets))
}
