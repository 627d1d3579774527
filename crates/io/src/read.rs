//! Large reads of files that somebody else is writing, without washing out the page cache.
//!
//! What is in the page cache already is taken from there, as far as the kernel tells (`cachestat`, Linux 6.5); what
//! is not is read around it (O_DIRECT where the file system allows, else buffered and dropped again). A server that
//! keeps its files out of the cache is thus read from the disk, one that keeps them in it from memory, and neither
//! loses what it had cached. Asking with `preadv2` and RWF_NOWAIT instead would start read-ahead into the cache.

// `cachestat` has no safe wrapper.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;
use nix::unistd::{Whence, lseek};

use crate::aligned::BLOCK;
use crate::error::{IoError, Op};

/// How a [`DataFile`] is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadMode {
    /// From the page cache where it is there, else around it.
    #[default]
    Sparing,
    /// Through the page cache, which keeps what was read: for small files read more than once.
    Cached,
    /// Through the page cache with its read-ahead, dropped again behind the reader: for files read once, in order.
    Once,
}

/// A part of a file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub len: u64,
}

/// What names a file whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode {
    pub device: u64,
    pub number: u64,
}

/// Changes whenever a file's content or its place in the file system does, as far as its time stamps can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub inode: Inode,
    pub size: u64,
    pub modified: (i64, i64),
    pub changed: (i64, i64),
}

/// A file open for reading. Shared between threads: every read names its offset.
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    mode: ReadMode,
    buffered: File,
    direct: Option<File>,
    /// Turned off at the first refusal: file systems say only when asked whether they can.
    direct_works: AtomicBool,
    cachestat_works: AtomicBool,
}

impl DataFile {
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, mode: ReadMode) -> Result<DataFile, IoError> {
        let open = || {
            crate::failpoint::hit("io.open")?;
            // Never block on a FIFO that lies where a file is expected.
            OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK).open(path)
        };
        let buffered = open().map_err(|e| IoError::new(Op::Open, path, e))?;
        let direct = match mode {
            ReadMode::Sparing => reopen_direct(&buffered),
            ReadMode::Cached | ReadMode::Once => None,
        };
        if mode == ReadMode::Once {
            let _ = posix_fadvise(&buffered, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
        }
        Ok(DataFile {
            path: path.to_owned(),
            mode,
            direct_works: AtomicBool::new(direct.is_some()),
            cachestat_works: AtomicBool::new(mode == ReadMode::Sparing),
            buffered,
            direct,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length now.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn len(&self) -> Result<u64, IoError> {
        Ok(self.metadata()?.len())
    }

    /// # Errors
    /// As [`DataFile::len`].
    pub fn is_empty(&self) -> Result<bool, IoError> {
        Ok(self.len()? == 0)
    }

    /// # Errors
    /// When the operating system does not say.
    pub fn inode(&self) -> Result<Inode, IoError> {
        let meta = self.metadata()?;
        Ok(Inode { device: meta.dev(), number: meta.ino() })
    }

    /// # Errors
    /// When the operating system does not say.
    pub fn identity(&self) -> Result<Identity, IoError> {
        let meta = self.metadata()?;
        Ok(Identity {
            inode: Inode { device: meta.dev(), number: meta.ino() },
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// # Errors
    /// When the operating system does not say.
    pub fn metadata(&self) -> Result<std::fs::Metadata, IoError> {
        self.buffered.metadata().map_err(|e| IoError::new(Op::Stat, &self.path, e))
    }

    /// Reads until the buffer is full or the file ends, and says how much was read. Reads around the page cache
    /// need `offset` and the buffer's address at [`BLOCK`] boundaries ([`crate::AlignedBuf`]); others work too.
    ///
    /// # Errors
    /// When the operating system refuses; the offset is named.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        let fail = |at: u64| move |e: io::Error| IoError::at(Op::Read, &self.path, at, e);
        crate::failpoint::hit("io.read").map_err(fail(offset))?;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(done as u64);
            match self.read_some(at, rest) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(fail(at)(e)),
            }
        }
        Ok(done)
    }

    fn read_some(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let whole = buf.len() - buf.len() % BLOCK;
        let aligned = at.is_multiple_of(BLOCK as u64) && (buf.as_ptr() as usize).is_multiple_of(BLOCK);
        let cached = self.cached(at, buf.len());
        if let Some(direct) = &self.direct
            && aligned
            && whole > 0
            && cached != Cached::Mostly
            && self.direct_works.load(Ordering::Relaxed)
        {
            match direct.read_at(buf.get_mut(..whole).unwrap_or_default(), at) {
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    self.direct_works.store(false, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        let n = self.buffered.read_at(buf, at)?;
        // What somebody else had brought in stays.
        if self.mode == ReadMode::Once || (self.mode == ReadMode::Sparing && cached == Cached::Nothing) {
            self.drop_cache(at, n as u64);
        }
        Ok(n)
    }

    /// How much of the range is in the page cache. Where the kernel does not say, it counts as nothing.
    fn cached(&self, at: u64, len: usize) -> Cached {
        if !self.cachestat_works.load(Ordering::Relaxed) {
            return Cached::Nothing;
        }
        let Ok(size) = self.buffered.metadata().map(|meta| meta.len()) else { return Cached::Nothing };
        let len = size.saturating_sub(at).min(len as u64);
        match cached_pages(self.buffered.as_raw_fd(), at, len) {
            Ok(0) => Cached::Nothing,
            Ok(pages) if pages.saturating_mul(2 * BLOCK as u64) >= len => Cached::Mostly,
            Ok(_) => Cached::Partly,
            Err(_) => {
                self.cachestat_works.store(false, Ordering::Relaxed);
                Cached::Nothing
            }
        }
    }

    /// What is not in the page cache is read around it.
    pub fn is_direct(&self) -> bool {
        self.direct_works.load(Ordering::Relaxed)
    }

    /// Asks for the range to be read ahead. A hint: nothing fails.
    pub fn will_need(&self, offset: u64, len: u64) {
        advise(&self.buffered, offset, len, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    }

    /// Lets the page cache forget the range. A hint: nothing fails.
    pub fn drop_cache(&self, offset: u64, len: u64) {
        advise(&self.buffered, offset, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }

    /// The parts of the file that are not holes, as the file system tells it; the whole file where it does not.
    ///
    /// # Errors
    /// When the operating system refuses for another reason than not knowing.
    pub fn segments(&self) -> Result<Vec<Segment>, IoError> {
        let len = self.len()?;
        let seek = |from: u64, whence| -> Result<Option<u64>, Errno> {
            let from = i64::try_from(from).map_err(|_| Errno::EOVERFLOW)?;
            match lseek(&self.buffered, from, whence) {
                Ok(at) => Ok(u64::try_from(at).ok()),
                Err(Errno::ENXIO) => Ok(None),
                Err(errno) => Err(errno),
            }
        };
        let mut found = Vec::new();
        let mut at = 0;
        while at < len {
            let data = match seek(at, Whence::SeekData) {
                Ok(Some(data)) if data < len => data,
                Ok(_) => break,
                Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(vec![Segment { offset: 0, len }]),
                Err(errno) => return Err(IoError::at(Op::Read, &self.path, at, errno.into())),
            };
            let hole = match seek(data, Whence::SeekHole) {
                Ok(hole) => hole.unwrap_or(len).min(len),
                Err(errno) => return Err(IoError::at(Op::Read, &self.path, data, errno.into())),
            };
            if hole <= data {
                break;
            }
            found.push(Segment { offset: data, len: hole - data });
            at = hole;
        }
        Ok(found)
    }
}

/// A second handle on the same inode (whatever its name has become) that goes around the page cache.
fn reopen_direct(file: &File) -> Option<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECT | libc::O_CLOEXEC).open(path).ok()
}

fn advise(file: &File, offset: u64, len: u64, advice: PosixFadviseAdvice) {
    if let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) {
        let _ = posix_fadvise(file, offset, len, advice);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cached {
    Nothing,
    Partly,
    Mostly,
}

/// Has one number on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;

/// How many pages of the range are in the page cache. An error where the kernel does not know the call, or does not
/// tell this user.
fn cached_pages(fd: RawFd, at: u64, len: u64) -> io::Result<u64> {
    if len == 0 {
        return Ok(0);
    }
    let range: [u64; 2] = [at, len];
    let mut stat = [0_u64; 5];
    // SAFETY: the kernel reads the two numbers of `range` and writes the five of `stat`; both outlive the call.
    let done = unsafe { libc::syscall(SYS_CACHESTAT, fd, range.as_ptr(), stat.as_mut_ptr(), 0u32) };
    let [cached, ..] = stat;
    if done == 0 { Ok(cached) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AlignedBuf;

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 4096) as u8).collect()
    }

    #[test]
    fn every_mode_and_alignment_reads_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let data = sample(3 * BLOCK + 100);
        std::fs::write(&path, &data).unwrap();
        for mode in [ReadMode::Sparing, ReadMode::Cached, ReadMode::Once] {
            let file = DataFile::open(&path, mode).unwrap();
            assert_eq!(file.len().unwrap(), data.len() as u64);
            for cached in [true, false] {
                let mut buf = AlignedBuf::new(8 * BLOCK);
                for (offset, want) in
                    [(0, 8 * BLOCK), (BLOCK, BLOCK), (1, 5000), (4000, 8 * BLOCK - 1), (90000, 9)]
                {
                    if !cached {
                        nix::unistd::fsync(&file.buffered).unwrap();
                        file.drop_cache(0, 0);
                    }
                    let n = file.read_at(offset as u64, &mut buf[..want]).unwrap();
                    let expected = data.get(offset..).unwrap_or_default();
                    let expected = &expected[..expected.len().min(want)];
                    assert_eq!(&buf[..n], expected, "{mode:?} {offset} {want}");
                }
            }
        }
    }

    #[test]
    fn holes_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = File::create(&path).unwrap();
        file.set_len(4 << 20).unwrap();
        let hollow = DataFile::open(&path, ReadMode::Sparing).unwrap();
        let empty = hollow.segments().unwrap();
        file.write_all_at(&[1; 100], 2 << 20).unwrap();
        let one = hollow.segments().unwrap();
        // A file system without holes gives the whole file, which is right too.
        let whole = vec![Segment { offset: 0, len: 4 << 20 }];
        assert!(empty.is_empty() || empty == whole, "{empty:?}");
        assert!(one.iter().any(|s| s.offset <= 2 << 20 && s.offset + s.len >= (2 << 20) + 100), "{one:?}");
    }

    #[test]
    fn the_inode_stays_and_the_path_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::write(&one, b"x").unwrap();
        let file = DataFile::open(&one, ReadMode::Cached).unwrap();
        std::fs::rename(&one, &two).unwrap();
        assert_eq!(file.inode().unwrap(), DataFile::open(&two, ReadMode::Cached).unwrap().inode().unwrap());
        let error = DataFile::open(&one, ReadMode::Cached).unwrap_err();
        assert!(error.is_not_found() && error.to_string().starts_with("cannot open /"), "{error}");
    }
}
