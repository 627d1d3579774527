//! A lock of the kernel's on a file: it dies with the process, whatever kills it. The file tells who holds it.
//!
//! On NFS the kernel turns it into a byte-range lock that the NFS server keeps: it works between hosts as far as
//! that server's lock manager does, and a host that vanishes keeps the lock until the server notices.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::error::{IoError, Op};

/// Who holds a lock, as far as the file says. All fields may be unknown: the holder writes after it has locked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    pub pid: Option<u32>,
    pub host: String,
    /// RFC 3339, as the holder's clock had it.
    pub since: String,
    pub doing: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "pid {pid}")?,
            None => f.write_str("a process that has not said who it is")?,
        }
        for (word, value) in [(" on ", &self.host), (" since ", &self.since), (", doing: ", &self.doing)] {
            if !value.is_empty() {
                write!(f, "{word}{value}")?;
            }
        }
        Ok(())
    }
}

/// How often a waiting process looks again.
const POLL: Duration = Duration::from_millis(100);
/// More than this of a lock file is not read.
const MAX_TEXT: u64 = 4096;

/// An exclusive lock; dropping it releases it.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
    since: String,
}

impl FileLock {
    /// Takes the lock, waiting for it no longer than `wait` (zero: not at all). `since` is now in RFC 3339.
    ///
    /// # Errors
    /// [`IoError::Busy`] with what the holder wrote; or the file cannot be made or locked; or cancelled.
    pub fn acquire(
        path: &Path,
        since: &str,
        doing: &str,
        wait: Duration,
        cancel: &Cancel,
    ) -> Result<FileLock, IoError> {
        let until = Instant::now() + wait;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(path)
            .map_err(|e| IoError::new(Op::Create, path, e))?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(IoError::new(Op::Lock, path, e)),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let holder = Box::new(patient_holder(&file));
                return Err(IoError::Busy { path: path.to_owned(), holder });
            }
            cancel.sleep(left.min(POLL))?;
        }
        let lock = FileLock { file, path: path.to_owned(), since: since.to_owned() };
        lock.set_doing(doing)?;
        Ok(lock)
    }

    /// Says what the holder is doing now.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_doing(&self, doing: &str) -> Result<(), IoError> {
        let one_line = |text: &str| text.replace(['\n', '\r'], " ");
        let text = format!(
            "pid {}\nhost {}\nsince {}\ndoing {}\n",
            std::process::id(),
            one_line(&host_name()),
            one_line(&self.since),
            one_line(doing)
        );
        let mut file = &self.file;
        let write = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(text.as_bytes())
        };
        // A full disk must not keep a run from making space: who holds the lock is a courtesy, the lock is not.
        match { write }() {
            Err(e) if e.kind() != std::io::ErrorKind::StorageFull => {
                Err(IoError::new(Op::Write, &self.path, e))
            }
            _ => Ok(()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A shared lock on something that is being read; whoever wants to remove it asks [`is_in_use`] first.
#[derive(Debug)]
pub struct InUse {
    _file: File,
}

impl InUse {
    /// Marks the file as being read. A file system without locks, or a read-only one, is no reason to fail.
    ///
    /// # Errors
    /// When the file cannot be opened, or is just being removed.
    pub fn mark(path: &Path) -> Result<InUse, IoError> {
        let file = File::open(path).map_err(|e| IoError::new(Op::Open, path, e))?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                Err(IoError::Busy { path: path.to_owned(), holder: Box::default() })
            }
            Ok(()) | Err(TryLockError::Error(_)) => Ok(InUse { _file: file }),
        }
    }
}

/// Locks a file against readers for as long as the result lives; `None` while somebody reads it.
///
/// # Errors
/// When the file cannot be opened or locked.
pub fn exclude_readers(path: &Path) -> Result<Option<File>, IoError> {
    let file =
        OpenOptions::new().read(true).write(true).open(path).map_err(|e| IoError::new(Op::Open, path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(IoError::new(Op::Lock, path, e)),
    }
}

fn host_name() -> String {
    nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned()).unwrap_or_default()
}

/// The holder writes just after it has locked: who comes in between looks again.
fn patient_holder(file: &File) -> Holder {
    for _ in 0..20 {
        let holder = read_holder(file);
        if holder.pid.is_some() {
            return holder;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Holder::default()
}

fn read_holder(mut file: &File) -> Holder {
    let mut text = String::new();
    let mut holder = Holder::default();
    if file.seek(SeekFrom::Start(0)).is_err() || file.take(MAX_TEXT).read_to_string(&mut text).is_err() {
        return holder;
    }
    for line in text.lines() {
        let clean = |value: &str| value.chars().filter(|c| !c.is_control()).collect::<String>();
        match line.split_once(' ') {
            Some(("pid", value)) => holder.pid = value.parse().ok(),
            Some(("host", value)) => holder.host = clean(value),
            Some(("since", value)) => holder.since = clean(value),
            Some(("doing", value)) => holder.doing = clean(value),
            _ => {}
        }
    }
    holder
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: &str = "2026-11-20T06:00:00Z";

    #[test]
    fn the_refused_one_learns_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let cancel = Cancel::new();
        let lock = FileLock::acquire(&path, SINCE, "starting", Duration::ZERO, &cancel).unwrap();
        lock.set_doing("copying\nfiles").unwrap();
        let refused = FileLock::acquire(&path, SINCE, "x", Duration::ZERO, &cancel).unwrap_err();
        let IoError::Busy { holder, .. } = refused else { panic!("{refused}") };
        assert_eq!(holder.pid, Some(std::process::id()));
        assert_eq!((holder.since.as_str(), holder.doing.as_str()), (SINCE, "copying files"));
        drop(lock);
        FileLock::acquire(&path, SINCE, "x", Duration::ZERO, &cancel).unwrap();
    }

    #[test]
    fn a_waiting_one_gets_it_or_is_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let cancel = Cancel::new();
        let hour = Duration::from_secs(3600);
        let lock = FileLock::acquire(&path, SINCE, "first", Duration::ZERO, &cancel).unwrap();
        let waiting = std::thread::spawn({
            let (path, cancel) = (path.clone(), cancel.clone());
            move || FileLock::acquire(&path, SINCE, "second", hour, &cancel).map(drop)
        });
        drop(lock);
        waiting.join().unwrap().unwrap();

        let _lock = FileLock::acquire(&path, SINCE, "third", Duration::ZERO, &cancel).unwrap();
        cancel.cancel("interrupted");
        let refused = FileLock::acquire(&path, SINCE, "fourth", hour, &cancel).unwrap_err();
        assert!(matches!(refused, IoError::Cancelled(_)), "{refused}");
    }

    #[test]
    fn readers_keep_a_file_from_being_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest");
        std::fs::write(&path, b"x").unwrap();
        let (one, two) = (InUse::mark(&path).unwrap(), InUse::mark(&path).unwrap());
        assert!(exclude_readers(&path).unwrap().is_none());
        drop((one, two));
        let held = exclude_readers(&path).unwrap().unwrap();
        assert!(matches!(InUse::mark(&path), Err(IoError::Busy { .. })));
        drop(held);
        InUse::mark(&path).unwrap();
    }

    #[test]
    fn rubbish_in_the_file_is_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        std::fs::write(&path, b"\xff\xfe pid").unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(read_holder(&file), Holder::default());
    }
}
