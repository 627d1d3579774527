//! Writes that last: a file is durable when it is synced and so is the directory that names it.
//!
//! Failpoints on the way of every write: `io.create`, `io.write`, `io.sync`, `io.rename`.

// `renameat2`, `sync_file_range` and `fallocate` have no safe wrapper on every C library that reseed is built for.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;

use crate::error::{IoError, Op};
use crate::failpoint;

/// A file being written. Shared between threads: every write names its offset.
#[derive(Debug)]
pub struct OutFile {
    file: File,
    path: PathBuf,
}

impl OutFile {
    /// Creates a file that must not be there yet (nor a symbolic link in its place).
    ///
    /// # Errors
    /// When it is there or cannot be made.
    pub fn create_new(path: &Path, mode: u32) -> Result<OutFile, IoError> {
        let create = || {
            failpoint::hit("io.create")?;
            OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
        };
        let file = create().map_err(|e| IoError::new(Op::Create, path, e))?;
        Ok(OutFile { file, path: path.to_owned() })
    }

    /// Opens a file that is there for changing it. A symbolic link is refused.
    ///
    /// # Errors
    /// When it is not there or must not be written.
    pub fn open(path: &Path) -> Result<OutFile, IoError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|e| IoError::new(Op::Open, path, e))?;
        Ok(OutFile { file, path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// # Errors
    /// When the disk is full or fails; the offset is named.
    pub fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        let write = || {
            failpoint::hit("io.write")?;
            match bytes.get(..failpoint::room("io.write", bytes.len())) {
                Some(fits) if fits.len() < bytes.len() => {
                    self.file.write_all_at(fits, offset)?;
                    Err(io::Error::from_raw_os_error(libc::ENOSPC))
                }
                _ => self.file.write_all_at(bytes, offset),
            }
        };
        write().map_err(|e| IoError::at(Op::Write, &self.path, offset, e))
    }

    /// Reads until the buffer is full or the file ends.
    ///
    /// # Errors
    /// When the disk fails; the offset is named.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(done as u64);
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(IoError::at(Op::Read, &self.path, at, e)),
            }
        }
        Ok(done)
    }

    /// # Errors
    /// When the operating system does not say.
    pub fn len(&self) -> Result<u64, IoError> {
        Ok(self.file.metadata().map_err(|e| IoError::new(Op::Stat, &self.path, e))?.len())
    }

    /// # Errors
    /// As [`OutFile::len`].
    pub fn is_empty(&self) -> Result<bool, IoError> {
        Ok(self.len()? == 0)
    }

    /// Grows (with a hole) or cuts the file.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn set_len(&self, len: u64) -> Result<(), IoError> {
        self.file.set_len(len).map_err(|e| IoError::at(Op::Resize, &self.path, len, e))
    }

    /// Makes the range read as zeros, giving its space back where the file system can.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<(), IoError> {
        if len == 0 {
            return Ok(());
        }
        if let (Ok(start), Ok(size)) = (i64::try_from(offset), i64::try_from(len)) {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            // SAFETY: a call with plain numbers on a descriptor that we own.
            if unsafe { libc::fallocate(self.file.as_raw_fd(), mode, start, size) } == 0 {
                return Ok(());
            }
        }
        let zeros = vec![0; 1 << 16];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(zeros.len() as u64);
            self.write_all_at(offset + done, zeros.get(..n as usize).unwrap_or_default())?;
            done += n;
        }
        Ok(())
    }

    /// Starts writing the range to the disk, so that the sync at the end finds little to do. A hint.
    pub fn start_writeback(&self, offset: u64, len: u64) {
        if let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) {
            // SAFETY: a call with plain numbers on a descriptor that we own.
            unsafe { libc::sync_file_range(self.file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
        }
    }

    /// Lets the page cache forget the range as far as it is written back. A hint.
    pub fn drop_cache(&self, offset: u64, len: u64) {
        if let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) {
            let _ = posix_fadvise(&self.file, offset, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
    }

    /// Makes content and size durable. The name is durable only when its directory is synced too.
    ///
    /// # Errors
    /// When the disk fails: nothing of the file may then be trusted.
    pub fn sync(&self) -> Result<(), IoError> {
        failpoint::hit("io.sync")
            .and_then(|()| self.file.sync_all())
            .map_err(|e| IoError::new(Op::Sync, &self.path, e))
    }

    /// # Errors
    /// When the file system refuses.
    pub fn set_mode(&self, mode: u32) -> Result<(), IoError> {
        self.file
            .set_permissions(Permissions::from_mode(mode & 0o7777))
            .map_err(|e| IoError::new(Op::Chmod, &self.path, e))
    }

    /// # Errors
    /// When this user may not give the file away.
    pub fn set_owner(&self, uid: u32, gid: u32) -> Result<(), IoError> {
        std::os::unix::fs::fchown(&self.file, Some(uid), Some(gid))
            .map_err(|e| IoError::new(Op::Chown, &self.path, e))
    }
}

/// Writes a whole file so that after a crash either the old or the new one is there, never a part.
///
/// # Errors
/// When it cannot be written; the old one then stays.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IoError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || {
        let out = OutFile::create_new(&beside, mode)?;
        out.write_all_at(0, bytes)?;
        out.sync()?;
        rename_durable(&beside, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// Renames, replacing what has the new name, and makes both directories durable.
///
/// # Errors
/// When it cannot be done.
pub fn rename_durable(from: &Path, to: &Path) -> Result<(), IoError> {
    failpoint::hit("io.rename")
        .and_then(|()| fs::rename(from, to))
        .map_err(|e| IoError::new(Op::Rename, from, e))?;
    sync_parents(from, to)
}

/// As [`rename_durable`], but never replaces: what already has the new name is an error.
///
/// # Errors
/// When the new name is taken or it cannot be done.
pub fn rename_new(from: &Path, to: &Path) -> Result<(), IoError> {
    failpoint::hit("io.rename")
        .and_then(|()| rename_noreplace(from, to))
        .map_err(|e| IoError::new(Op::Rename, from, e))?;
    sync_parents(from, to)
}

fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    let old = CString::new(from.as_os_str().as_bytes())?;
    let new = CString::new(to.as_os_str().as_bytes())?;
    // SAFETY: both are strings that end with NUL and live through the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            old.as_ptr(),
            libc::AT_FDCWD,
            new.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // NFS and others do not know the flag: look first, which is all that can be had there.
        Some(libc::EINVAL | libc::ENOSYS) => match fs::symlink_metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        },
        _ => Err(error),
    }
}

fn sync_parents(from: &Path, to: &Path) -> Result<(), IoError> {
    let (old, new) = (parent(from), parent(to));
    sync_dir(new)?;
    if old == new { Ok(()) } else { sync_dir(old) }
}

/// The directory that names `path`.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// When the disk fails.
pub fn sync_dir(dir: &Path) -> Result<(), IoError> {
    failpoint::hit("io.sync")
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(|e| IoError::new(Op::Sync, dir, e))
}

/// Makes a directory and every missing one above it, durably. One that is there is fine.
///
/// # Errors
/// When one cannot be made.
pub fn make_dirs(dir: &Path, mode: u32) -> Result<(), IoError> {
    match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => return Err(IoError::new(Op::MakeDir, dir, io::ErrorKind::NotADirectory.into())),
        Err(_) => {}
    }
    let above = parent(dir);
    if above != dir {
        make_dirs(above, mode)?;
    }
    match make_dir(dir, mode) {
        Err(e) if e.kind() == Some(io::ErrorKind::AlreadyExists) => Ok(()),
        result => result,
    }
}

/// Makes one directory that must not be there yet, durably.
///
/// # Errors
/// When it is there or cannot be made.
pub fn make_dir(dir: &Path, mode: u32) -> Result<(), IoError> {
    failpoint::hit("io.create")
        .and_then(|()| fs::DirBuilder::new().mode(mode).create(dir))
        .map_err(|e| IoError::new(Op::MakeDir, dir, e))?;
    sync_dir(parent(dir))
}

/// Removes a directory with everything in it (symbolic links as such) and makes that durable. Gives the bytes that
/// lay in it. One that is not there is fine.
///
/// # Errors
/// When something cannot be removed.
pub fn remove_tree(dir: &Path) -> Result<u64, IoError> {
    let bytes = tree_size(dir);
    match fs::remove_dir_all(dir) {
        Ok(()) => sync_dir(parent(dir)).map(|()| bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(IoError::new(Op::Remove, dir, e)),
    }
}

/// Bytes of the files under a directory, as far as they can be seen.
pub fn tree_size(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => tree_size(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |meta| meta.len()),
        _ => 0,
    };
    entries.flatten().map(size).fold(0, u64::saturating_add)
}

/// Changes the owner of whatever has this name, a symbolic link itself included.
///
/// # Errors
/// When this user may not give it away.
pub fn set_owner(path: &Path, uid: u32, gid: u32) -> Result<(), IoError> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(|e| IoError::new(Op::Chown, path, e))
}

/// # Errors
/// When the file system refuses.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), IoError> {
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))
        .map_err(|e| IoError::new(Op::Chmod, path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_and_holes_read_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let out = OutFile::create_new(&path, 0o600).unwrap();
        assert_eq!(OutFile::create_new(&path, 0o600).unwrap_err().kind(), Some(io::ErrorKind::AlreadyExists));
        out.set_len(100_000).unwrap();
        out.write_all_at(50_000, &[1; 50_000]).unwrap();
        out.start_writeback(0, 100_000);
        out.punch_hole(60_000, 20_001).unwrap();
        out.punch_hole(0, 0).unwrap();
        out.drop_cache(0, 0);
        out.set_mode(0o640).unwrap();
        out.sync().unwrap();
        let mut read = vec![9; 100_001];
        assert_eq!(out.read_at(0, &mut read).unwrap(), 100_000);
        let expected = |i: usize| u8::from(i >= 50_000 && !(60_000..80_001).contains(&i));
        assert!(read[..100_000].iter().enumerate().all(|(i, &b)| b == expected(i)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(OutFile::open(&link).is_err(), "a symbolic link is not written through");
    }

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        write_atomic(&path, b"one", 0o640).unwrap();
        write_atomic(&path, b"two", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_atomic(&dir.path().join("no/where"), b"x", 0o640).is_err());
    }

    #[test]
    fn rename_new_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        assert_eq!(rename_new(&one, &two).unwrap_err().kind(), Some(io::ErrorKind::AlreadyExists));
        fs::remove_dir(&two).unwrap();
        rename_new(&one, &two).unwrap();
        assert!(two.is_dir() && !one.exists());
    }

    #[test]
    fn directories_are_made_and_removed_with_their_bytes_counted() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        make_dirs(&deep, 0o750).unwrap();
        make_dirs(&deep, 0o750).unwrap();
        assert!(make_dir(&deep, 0o750).is_err());
        fs::write(deep.join("x"), [0; 1000]).unwrap();
        fs::write(dir.path().join("a/y"), [0; 10]).unwrap();
        assert!(make_dirs(&dir.path().join("a/y/z"), 0o750).is_err());
        assert_eq!(remove_tree(&dir.path().join("a")).unwrap(), 1010);
        assert_eq!(remove_tree(&dir.path().join("a")).unwrap(), 0);
    }
}
