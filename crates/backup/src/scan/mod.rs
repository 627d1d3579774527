//! Lists what there is to copy: a look at directories and at the first bytes of tablespace files, at one moment.
//!
//! The server may create, rename and drop files meanwhile; what vanishes during the look is not an error. It must
//! never read data beyond those first bytes.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reseed_terms::{Flavour, SpaceId};

use crate::error::BackupError;
use crate::layout::{self, Class, Layout};

/// Which file this is, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
    /// Inode numbers are used again; the time of birth tells the users apart where the file system keeps it.
    pub born: Option<SystemTime>,
}

/// What changes when a file's content does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    pub identity: Identity,
    pub size: u64,
    pub modified: (i64, i64),
    pub changed: (i64, i64),
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            identity: Identity {
                device: metadata.dev(),
                inode: metadata.ino(),
                born: metadata.created().ok(),
            },
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The later of the two times.
    pub fn last_touched(&self) -> SystemTime {
        let (seconds, nanos) = self.modified.max(self.changed);
        let whole = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let part = Duration::from_nanos(u64::try_from(nanos).unwrap_or_default());
        SystemTime::UNIX_EPOCH.checked_add(whole + part).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// What a backup treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FoundKind {
    /// File number `index` of the system tablespace.
    System {
        index: usize,
    },
    Undo,
    Space,
    AriaControl,
    AriaLog,
    /// Any file that is copied as it is.
    Plain,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the set calls it.
    pub path: PathBuf,
    /// Where to open it.
    pub real: PathBuf,
    /// `Some(real)` when it lies outside the datadir.
    pub outside: Option<PathBuf>,
    /// A symbolic link in the datadir leads to it.
    pub through_link: bool,
    pub kind: FoundKind,
    pub stamp: Stamp,
    pub mode: u32,
    /// The first bytes of a tablespace: nothing where page 0 is not written yet.
    pub head: Option<Head>,
}

impl Found {
    pub fn is_innodb(&self) -> bool {
        matches!(self.kind, FoundKind::System { .. } | FoundKind::Undo | FoundKind::Space)
    }
}

/// What page 0 says of a tablespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub space: SpaceId,
    pub flags: u32,
}

/// A directory of the datadir that holds a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDir {
    pub path: PathBuf,
    pub real: PathBuf,
    pub mode: u32,
}

/// All of it, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    pub files: Vec<Found>,
    pub directories: Vec<FoundDir>,
    /// Files in database directories that no known engine made; not copied.
    pub unknown: Vec<PathBuf>,
    /// `.isl` files whose target is not there.
    pub broken_links: Vec<PathBuf>,
}

impl Scan {
    /// Looks at everything. Heads already known from `before` are not read again where the file is the same one.
    pub fn take(layout: &Layout, before: Option<&Scan>) -> Result<Scan, BackupError> {
        let mut scanner =
            Scanner { layout, known: Known::of(before), seen: HashSet::new(), scan: Scan::default() };
        scanner.system()?;
        scanner.undo()?;
        scanner.top()?;
        scanner.aria_logs()?;
        scanner.named_spaces()?;
        Ok(scanner.scan)
    }
}

impl Scan {
    /// Looks at Aria's files again, whose logs come and go.
    pub fn refresh_aria(&mut self, layout: &Layout) -> Result<(), BackupError> {
        let mut scanner =
            Scanner { layout, known: Known::default(), seen: HashSet::new(), scan: Scan::default() };
        scanner.aria_logs()?;
        self.files.retain(|file| !matches!(file.kind, FoundKind::AriaControl | FoundKind::AriaLog));
        self.files.append(&mut scanner.scan.files);
        Ok(())
    }
}

/// Heads of the scan before, by identity.
#[derive(Default)]
struct Known(HashMap<(u64, u64), (Option<SystemTime>, Head)>);

impl Known {
    fn of(scan: Option<&Scan>) -> Known {
        let files = scan.into_iter().flat_map(|scan| &scan.files);
        Known(
            files
                .filter_map(|file| {
                    let identity = &file.stamp.identity;
                    // Without a time of birth a dropped file's number may already be another's.
                    let born = Some(identity.born?);
                    Some(((identity.device, identity.inode), (born, file.head?)))
                })
                .collect(),
        )
    }

    fn get(&self, identity: &Identity) -> Option<Head> {
        let (born, head) = self.0.get(&(identity.device, identity.inode))?;
        (*born == identity.born).then_some(*head)
    }
}

struct Scanner<'a> {
    layout: &'a Layout,
    known: Known,
    /// Where the tablespaces found so far really lie.
    seen: HashSet<PathBuf>,
    scan: Scan,
}

impl Scanner<'_> {
    fn system(&mut self) -> Result<(), BackupError> {
        for (index, path) in self.layout.system.iter().enumerate() {
            let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
            self.add(path.clone(), FoundKind::System { index }, false, &metadata)?;
        }
        Ok(())
    }

    fn undo(&mut self) -> Result<(), BackupError> {
        for (name, path) in list(&self.layout.undo_dir)? {
            if layout::is_undo_name(self.layout.flavour, &name) {
                self.add_path(path, FoundKind::Undo, false)?;
            }
        }
        Ok(())
    }

    fn top(&mut self) -> Result<(), BackupError> {
        for (name, path) in list(&self.layout.datadir)? {
            let Some(metadata) = present(&path, fs::metadata(&path))? else { continue };
            if metadata.is_dir() {
                if layout::is_database(&name) {
                    self.database(&name, path, &metadata)?;
                }
                continue;
            }
            match layout::class_at_top(self.layout.flavour, &name) {
                Class::Space => self.add(path, FoundKind::Space, false, &metadata)?,
                Class::Undo if !self.has(&path) => self.add(path, FoundKind::Undo, false, &metadata)?,
                Class::Engine => self.add(path, FoundKind::Plain, false, &metadata)?,
                // The system's files and the Aria logs have passes of their own: they may lie elsewhere.
                _ => {}
            }
        }
        Ok(())
    }

    fn database(&mut self, name: &OsStr, dir: PathBuf, metadata: &Metadata) -> Result<(), BackupError> {
        let Some(entries) = present(&dir, list_raw(&dir))? else { return Ok(()) };
        if self.layout.flavour == Flavour::MariaDb && name == "lost+found" {
            return Ok(());
        }
        self.scan.directories.push(FoundDir {
            path: PathBuf::from(name),
            real: dir.clone(),
            mode: metadata.mode() & 0o7777,
        });
        for (name, path) in entries {
            match layout::class_in_database(self.layout.flavour, &name) {
                Class::Space => self.add_path(path, FoundKind::Space, true)?,
                Class::SpaceLink => self.space_link(path)?,
                Class::Engine => self.add_path(path, FoundKind::Plain, true)?,
                Class::Unknown if !path.is_dir() => {
                    self.scan.unknown.push(self.layout.path_in_set(&path, true))
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// An `.isl` file holds the path of the tablespace file: the link itself is copied, and so is its target.
    fn space_link(&mut self, link: PathBuf) -> Result<(), BackupError> {
        let Some(text) = present(&link, fs::read(&link))? else { return Ok(()) };
        let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r' | 0)).unwrap_or(text.len());
        let text = text.get(..end).unwrap_or(&text);
        let target = layout::clean(&self.layout.datadir.join(OsStr::from_bytes(text.trim_ascii())));
        match fs::metadata(&target) {
            Ok(metadata) => {
                let path = link.with_extension("ibd");
                let path = self.layout.path_in_set(&path, true);
                self.push(path, target, false, FoundKind::Space, &metadata)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let link = self.layout.path_in_set(&link, true);
                self.scan.broken_links.push(link);
            }
            Err(source) => return Err(unreadable(&target, source)),
        }
        self.add_path(link, FoundKind::Plain, true)
    }

    fn aria_logs(&mut self) -> Result<(), BackupError> {
        if self.layout.flavour != Flavour::MariaDb {
            return Ok(());
        }
        for (name, path) in list(&self.layout.aria_log_dir)? {
            match layout::class_at_top(Flavour::MariaDb, &name) {
                Class::AriaControl => self.add_path(path, FoundKind::AriaControl, false)?,
                Class::AriaLog => self.add_path(path, FoundKind::AriaLog, false)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Tablespaces that the server names and no directory showed: general ones and DATA DIRECTORY (MySQL).
    fn named_spaces(&mut self) -> Result<(), BackupError> {
        let databases: HashSet<OsString> =
            self.scan.directories.iter().map(|dir| dir.path.clone().into_os_string()).collect();
        for real in &self.layout.named_spaces {
            if self.has(real) {
                continue;
            }
            let Some(metadata) = present(real, fs::metadata(real))? else { continue };
            let undo = layout::is_undo_name(self.layout.flavour, real.file_name().unwrap_or_default());
            let kind = if undo { FoundKind::Undo } else { FoundKind::Space };
            let in_database =
                real.parent().and_then(Path::file_name).is_some_and(|name| databases.contains(name));
            self.add(real.clone(), kind, in_database, &metadata)?;
        }
        Ok(())
    }

    fn has(&self, real: &Path) -> bool {
        self.seen.contains(real)
    }

    fn add_path(&mut self, path: PathBuf, kind: FoundKind, in_database: bool) -> Result<(), BackupError> {
        match present(&path, fs::metadata(&path))? {
            Some(metadata) => self.add(path, kind, in_database, &metadata),
            None => Ok(()),
        }
    }

    fn add(
        &mut self,
        place: PathBuf,
        kind: FoundKind,
        in_database: bool,
        metadata: &Metadata,
    ) -> Result<(), BackupError> {
        let path = self.layout.path_in_set(&place, in_database);
        let is_link = fs::symlink_metadata(&place).is_ok_and(|own| own.file_type().is_symlink());
        let real = if is_link { fs::canonicalize(&place).unwrap_or(place) } else { place };
        self.push(path, real, is_link, kind, metadata)
    }

    fn push(
        &mut self,
        path: PathBuf,
        real: PathBuf,
        through_link: bool,
        kind: FoundKind,
        metadata: &Metadata,
    ) -> Result<(), BackupError> {
        if !metadata.is_file() {
            return Ok(());
        }
        let stamp = Stamp::of(metadata);
        let outside = self.layout.outside(&real);
        let mode = metadata.mode() & 0o7777;
        let mut found = Found { path, real, outside, through_link, kind, stamp, mode, head: None };
        // Only the first file of the system tablespace has a header of its own.
        if found.is_innodb() && !matches!(kind, FoundKind::System { index: 1.. }) {
            found.head = match self.known.get(&found.stamp.identity) {
                Some(head) => Some(head),
                None => match present(&found.real, read_head(&found.real))? {
                    Some(head) => head,
                    None => return Ok(()),
                },
            };
        }
        if found.is_innodb() {
            self.seen.insert(found.real.clone());
        }
        self.scan.files.push(found);
        Ok(())
    }
}

/// Space id and flags as page 0 has them; `None` while it is not written.
fn read_head(path: &Path) -> io::Result<Option<Head>> {
    let mut bytes = [0u8; 64];
    let file = fs::File::open(path)?;
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, u64::try_from(filled).unwrap_or_default())? {
            0 => return Ok(None),
            count => filled += count,
        }
    }
    Ok(head_of(&bytes))
}

fn head_of(page: &[u8]) -> Option<Head> {
    let be4 = |at: usize| page.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    if page.iter().all(|byte| *byte == 0) {
        return None;
    }
    // At 34 in the page header, and again at the start of the tablespace header.
    let (space, flags) = (be4(38)?, be4(54)?);
    (be4(34)? == space).then_some(Head { space: SpaceId(space), flags })
}

fn list(dir: &Path) -> Result<Vec<(OsString, PathBuf)>, BackupError> {
    list_raw(dir).map_err(|source| unreadable(dir, source))
}

fn list_raw(dir: &Path) -> io::Result<Vec<(OsString, PathBuf)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        entries.push((entry.file_name(), entry.path()));
    }
    // The order of a directory is nobody's promise; a set's file list should not depend on it.
    entries.sort();
    Ok(entries)
}

/// `None` for a file that is no longer there.
fn present<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>, BackupError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(unreadable(path, source)),
    }
}

fn unreadable(path: &Path, source: io::Error) -> BackupError {
    BackupError::unreadable(path, source)
}

#[cfg(test)]
mod tests;
