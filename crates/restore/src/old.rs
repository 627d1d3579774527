//! The files of an old datadir that a restore may use again (`--delta`): which of them becomes which file of the new
//! one. Tablespaces are known by their number, as a table that was renamed is still the same; other files, and
//! tablespaces whose first page is damaged, by their path.
//!
//! What is chosen only decides how much has to be written: every byte is compared with what it is to be.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use reseed_innodb::bytes::array;
use reseed_innodb::{PageSize, PageType, SpaceFormat, fil, fsp};
use reseed_io::{IoError, Op, OutFile, place};
use reseed_redo::SpaceId;
use reseed_repository::{FileEntry, Manifest};
use reseed_terms::Flavour;

use crate::error::RestoreError;

/// How deep a datadir's files lie: database and table, or `#innodb_redo` and file, and room for more.
const DEPTH: usize = 8;
/// Enough of a file to know a tablespace by.
pub const HEAD: usize = fsp::FLAGS + 4;

/// Each file is given away once.
#[derive(Debug, Default)]
pub struct Old {
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    by_path: HashMap<PathBuf, Found>,
    by_space: HashMap<SpaceId, PathBuf>,
}

#[derive(Debug)]
struct Found {
    /// Where it lies once the old datadir has been taken.
    lies: PathBuf,
    space: Option<SpaceId>,
    /// Bytes on the disk.
    allocated: u64,
}

impl Old {
    /// Adds the files of `dir` under the names `top`, which will lie under `later` when they are asked for. Symbolic links are not
    /// followed, nor are other file systems entered. What is known of the same path or tablespace already stays.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn add(&self, dir: &Path, top: Vec<OsString>, later: &Path) -> Result<(), RestoreError> {
        let device = fs::symlink_metadata(dir).map_err(|e| IoError::new(Op::Stat, dir, e))?.dev();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut paths: Vec<PathBuf> = top.into_iter().map(PathBuf::from).collect();
        while let Some(path) = paths.pop() {
            let full = dir.join(&path);
            let Ok(meta) = fs::symlink_metadata(&full) else { continue };
            if meta.dev() != device {
                continue;
            }
            if meta.is_dir() && path.components().count() < DEPTH {
                paths.extend(place::names(&full)?.into_iter().map(|name| path.join(name)));
            } else if is_usable(&meta) {
                files.add(path, later, space_of(&full), meta.blocks() * 512);
            }
        }
        Ok(())
    }

    /// The file that becomes the tablespace `space`, or has the path `path`.
    pub fn take(&self, space: Option<SpaceId>, path: &Path) -> Option<PathBuf> {
        self.take_space(space).or_else(|| self.take_path(path))
    }

    pub fn take_space(&self, space: Option<SpaceId>) -> Option<PathBuf> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let path = files.by_space.remove(&space?)?;
        files.by_path.remove(&path).map(|found| found.lies)
    }

    pub fn take_path(&self, path: &Path) -> Option<PathBuf> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let found = files.by_path.remove(path)?;
        if let Some(space) = found.space {
            files.by_space.remove(&space);
        }
        Some(found.lies)
    }

    /// Bytes on the disk of files that the set has too.
    pub fn allocated(&self, set: &[FileEntry]) -> u64 {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let found = set.iter().filter_map(|entry| {
            let path = entry.space_id.and_then(|space| files.by_space.get(&space));
            files.by_path.get(path.map_or(entry.path.as_path(), PathBuf::as_path))
        });
        found.map(|found| found.allocated).fold(0, u64::saturating_add)
    }

    /// Refuses what cannot be an old state of the set's server.
    ///
    /// # Errors
    /// [`RestoreError::OtherServer`] when the datadir is of another flavour or page size.
    pub fn check(&self, datadir: &Path, real: &Path, manifest: &Manifest) -> Result<(), RestoreError> {
        let flavour = manifest.server.version.flavour;
        let has = |name: &str| fs::symlink_metadata(real.join(name)).is_ok_and(|meta| meta.is_file());
        let own = match (has("mysql.ibd"), has("aria_log_control")) {
            (true, false) => Flavour::MySql,
            (false, true) => Flavour::MariaDb,
            _ => flavour,
        };
        let refuse =
            |old: String, set: String| Err(RestoreError::OtherServer { path: datadir.to_owned(), old, set });
        if own != flavour {
            return refuse(own.to_string(), flavour.to_string());
        }
        let head = fs::File::open(real.join("ibdata1")).and_then(|mut file| {
            let mut head = [0; HEAD];
            file.read_exact(&mut head).map(|()| head)
        });
        // A first page that makes no sense is what a broken replica may have.
        let size = head.ok().filter(|head| known_space(head).is_some());
        let size = size.and_then(|head| SpaceFormat::from_page0(&head, flavour).ok());
        let wanted = PageSize::new(u64::from(manifest.server.page_size)).ok();
        match (size.map(|format| format.physical()), wanted) {
            (Some(old), Some(set)) if old != set => {
                refuse(format!("pages of {} bytes", old.bytes()), format!("pages of {} bytes", set.bytes()))
            }
            _ => Ok(()),
        }
    }

    /// Is there no tablespace at all?
    pub fn has_no_tablespace(&self) -> bool {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).by_space.is_empty()
    }
}

impl Files {
    fn add(&mut self, path: PathBuf, later: &Path, space: Option<SpaceId>, allocated: u64) {
        let space = space.filter(|space| !self.by_space.contains_key(space));
        if self.by_path.contains_key(&path) {
            return;
        }
        if let Some(space) = space {
            self.by_space.insert(space, path.clone());
        }
        let lies = later.join(&path);
        self.by_path.insert(path, Found { lies, space, allocated });
    }
}

/// A file that has another name as well may belong to something outside of the datadir.
fn is_usable(meta: &fs::Metadata) -> bool {
    meta.is_file() && meta.len() > 0 && meta.nlink() == 1
}

fn space_of(path: &Path) -> Option<SpaceId> {
    let mut head = [0; HEAD];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).ok()?;
    known_space(&head)
}

/// The tablespace whose first page begins like this, if it is one.
pub fn known_space(head: &[u8]) -> Option<SpaceId> {
    let no: [u8; 4] = array(head, fil::PAGE_NO)?;
    let own: [u8; 4] = array(head, fsp::SPACE)?;
    let is_first = fil::page_type(head) == PageType::FSP_HDR && no == [0; 4];
    let space = fil::space_id(head);
    (is_first && own == space.0.to_be_bytes()).then_some(space)
}

/// The tablespace of a page that lies `at` bytes behind its first one, going by the page's number.
pub fn space_at(at: u64, page: &[u8]) -> Option<SpaceId> {
    let no = u64::from(fil::page_no(page).0);
    let size = at.checked_div(no).filter(|size| size * no == at)?;
    PageSize::new(size).is_ok().then(|| fil::space_id(page))
}

/// Makes the old file `from` the new file `to`. `None`: it is not fit for that, and stays where it is.
///
/// # Errors
/// When it cannot be renamed.
pub fn adopt(from: &Path, to: &Path, owner: Option<(u32, u32)>) -> Result<Option<OutFile>, RestoreError> {
    let Ok(meta) = fs::symlink_metadata(from) else { return Ok(None) };
    // Without the right to give files away it must be ours already.
    let ours = owner.is_some() || meta.uid() == place::effective_user();
    if !is_usable(&meta) || !ours || OutFile::open(from).is_err() {
        return Ok(None);
    }
    reseed_io::failpoint!("restore.adopt").map_err(|e| IoError::new(Op::Rename, from, e))?;
    // Durable with the whole file system at the end: until then the file is found under either name.
    fs::rename(from, to).map_err(|e| IoError::new(Op::Rename, from, e))?;
    Ok(Some(OutFile::open(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tablespace(space: u32) -> Vec<u8> {
        let mut page = vec![0; 16384];
        page[24..26].copy_from_slice(&8_u16.to_be_bytes());
        page[34..38].copy_from_slice(&space.to_be_bytes());
        page[38..42].copy_from_slice(&space.to_be_bytes());
        page
    }

    #[test]
    fn tablespaces_are_known_by_number_and_others_by_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("shop")).unwrap();
        fs::write(dir.path().join("shop/new.ibd"), tablespace(7)).unwrap();
        fs::write(dir.path().join("shop/other.ibd"), tablespace(8)).unwrap();
        fs::write(dir.path().join("shop/zeroed.ibd"), vec![0; 16384]).unwrap();
        fs::write(dir.path().join("empty"), "").unwrap();
        let old = Old::default();
        old.add(dir.path(), place::names(dir.path()).unwrap(), Path::new("/later")).unwrap();
        let later = |path: &str| Some(PathBuf::from(format!("/later/{path}")));
        let take = |space: u32, path: &str| old.take(Some(SpaceId(space)), Path::new(path));
        assert_eq!(take(7, "shop/old.ibd"), later("shop/new.ibd"));
        assert_eq!(take(7, "shop/new.ibd"), None, "given away");
        assert_eq!(take(9, "shop/zeroed.ibd"), later("shop/zeroed.ibd"));
        assert_eq!(old.take(None, Path::new("shop/other.ibd")), later("shop/other.ibd"));
        assert_eq!(take(8, "shop/x.ibd"), None, "given away by its path");
        let mut behind = tablespace(7);
        behind[4..8].copy_from_slice(&64_u32.to_be_bytes());
        assert_eq!(space_at(1 << 20, &behind), Some(SpaceId(7)));
        assert_eq!(space_at(1 << 30, &behind), None);
        assert_eq!(space_at(1 << 20, &[0; 64]), None);
        assert_eq!(old.take(None, Path::new("empty")), None);
    }

    #[test]
    fn links_are_not_followed_and_files_with_two_names_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, data) = (dir.path().join("outside"), dir.path().join("data"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir(&data).unwrap();
        fs::write(outside.join("a.ibd"), tablespace(1)).unwrap();
        fs::write(outside.join("b.ibd"), tablespace(2)).unwrap();
        std::os::unix::fs::symlink(&outside, data.join("db")).unwrap();
        std::os::unix::fs::symlink(outside.join("a.ibd"), data.join("a.ibd")).unwrap();
        fs::hard_link(outside.join("b.ibd"), data.join("b.ibd")).unwrap();
        let old = Old::default();
        old.add(&data, place::names(&data).unwrap(), &data).unwrap();
        assert!(old.has_no_tablespace());
        for path in ["db/a.ibd", "a.ibd", "b.ibd"] {
            assert_eq!(old.take(None, Path::new(path)), None, "{path}");
        }
        // Also when it became one of these in the meantime.
        for path in ["a.ibd", "b.ibd"] {
            assert!(adopt(&data.join(path), &dir.path().join("x"), Some((0, 0))).unwrap().is_none());
        }
    }
}
