//! What the operating system says of a place that is to be written to: who owns it, whether it is a mount point,
//! whether another process holds locks in it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::error::{IoError, Op};
use crate::failpoint;

/// Owner and mode of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// Of what the name stands for, symbolic links followed.
///
/// # Errors
/// When it is not there or cannot be asked.
pub fn owner(path: &Path) -> Result<Owner, IoError> {
    let meta = fs::metadata(path).map_err(|e| IoError::new(Op::Stat, path, e))?;
    Ok(Owner { uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777 })
}

/// The user that this process acts as.
pub fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Is another file system (or another part of one) mounted here?
///
/// # Errors
/// When the place or its parent cannot be asked.
pub fn is_mount_point(dir: &Path) -> Result<bool, IoError> {
    let stat = |path: &Path| fs::metadata(path).map_err(|e| IoError::new(Op::Stat, path, e));
    let (here, above) = (stat(dir)?, stat(&dir.join(".."))?);
    if here.dev() != above.dev() || here.ino() == above.ino() {
        return Ok(true);
    }
    // A bind mount within one file system shows neither way; a rename would tell, by failing with EBUSY.
    let Ok(real) = fs::canonicalize(dir) else { return Ok(false) };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| unescape(point) == real))
}

/// mountinfo writes blanks and backslashes in names as three octal digits.
fn unescape(name: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The process that holds a POSIX lock (`fcntl`, as servers take them) which a write lock on the whole file would
/// meet. 0 stands for a process that is not visible from here. `None`: nobody, or there is no such file.
///
/// # Errors
/// When the file cannot be opened or asked.
pub fn posix_lock_holder(path: &Path) -> Result<Option<u32>, IoError> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(IoError::new(Op::Open, path, e)),
    };
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).map_err(|e| IoError::new(Op::Lock, path, e.into()))?;
    let free = i32::from(lock.l_type) == libc::F_UNLCK;
    Ok((!free).then(|| u32::try_from(lock.l_pid).unwrap_or(0)))
}

/// Makes everything durable that was written to the file system on which `dir` lies: one call where a sync of each
/// of many small files would wait for the disk as many times.
///
/// # Errors
/// When the disk failed.
pub fn sync_filesystem(dir: &Path) -> Result<(), IoError> {
    let sync = || -> io::Result<()> {
        failpoint::hit("io.sync")?;
        nix::unistd::syncfs(File::open(dir)?).map_err(io::Error::from)
    };
    sync().map_err(|e| IoError::new(Op::Sync, dir, e))
}

/// The names in a directory, sorted.
///
/// # Errors
/// When it cannot be listed.
pub fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>, IoError> {
    let fail = |e| IoError::new(Op::List, dir, e);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        names.push(entry.map_err(fail)?.file_name());
    }
    names.sort_unstable();
    Ok(names)
}

/// Processes that have a file below `dir` open, as far as this user may see: pid, its command, and the file.
/// Our own is left out.
pub fn users_of(dir: &Path) -> Vec<(u32, String, PathBuf)> {
    let Ok(dir) = fs::canonicalize(dir) else { return Vec::new() };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let Ok(handles) = fs::read_dir(process.path().join("fd")) else { continue };
        let open = handles.flatten().filter_map(|handle| fs::read_link(handle.path()).ok());
        if let Some(file) = open.into_iter().find(|file| file.starts_with(&dir) && *file != dir) {
            found.push((pid, command(pid), file));
        }
    }
    found
}

/// What a process is called; empty when there is none (any more).
pub fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_a_mount_point_and_a_new_directory_is_not() {
        assert!(is_mount_point(Path::new("/")).unwrap());
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_mount_point(dir.path()).unwrap());
        assert!(is_mount_point(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn names_with_blanks_are_read_from_mountinfo() {
        assert_eq!(unescape("/a\\040b\\134c"), PathBuf::from("/a b\\c"));
        assert_eq!(unescape("/plain\\"), PathBuf::from("/plain\\"));
    }

    #[test]
    fn an_unlocked_or_missing_file_has_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ibdata1");
        assert_eq!(posix_lock_holder(&path).unwrap(), None);
        fs::write(&path, b"x").unwrap();
        assert_eq!(posix_lock_holder(&path).unwrap(), None);
    }

    #[test]
    fn names_are_sorted() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), b"").unwrap();
        fs::write(dir.path().join("a"), b"").unwrap();
        assert_eq!(names(dir.path()).unwrap(), ["a", "b"]);
    }
}
