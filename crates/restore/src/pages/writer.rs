//! The files being written: opened when their tablespace is begun, given their final size, mode and owner when their
//! last segment is done.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reseed_io::{OutFile, write};

use super::blocks::{Reused, Written, write_sparse};
use crate::error::RestoreError;
use crate::old::adopt;

/// Files from this size on are made durable by the worker that finishes them. Smaller ones are too many for that:
/// one call for the whole file system does for all of them, at the end.
const SYNC_SIZE: u64 = 1 << 20;

#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    /// A file of the old datadir that becomes this one.
    old: Option<PathBuf>,
    mode: u32,
    owner: Option<(u32, u32)>,
    out: Mutex<Option<Arc<Out>>>,
    /// Segments not done.
    left: AtomicUsize,
    /// Where the last byte written ends.
    end: AtomicU64,
}

#[derive(Debug)]
struct Out {
    file: OutFile,
    /// `None`: the file is new.
    reused: Option<Reused>,
}

impl Writer {
    pub fn new(
        path: PathBuf,
        old: Option<PathBuf>,
        mode: u32,
        owner: Option<(u32, u32)>,
        segments: usize,
    ) -> Writer {
        Writer {
            path,
            old,
            mode,
            owner,
            out: Mutex::new(None),
            left: AtomicUsize::new(segments.max(1)),
            end: AtomicU64::new(0),
        }
    }

    /// Makes the file if nobody did before.
    pub fn open(&self) -> Result<(), RestoreError> {
        self.out().map(|_| ())
    }

    fn out(&self) -> Result<Arc<Out>, RestoreError> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(out) = &*out {
            return Ok(Arc::clone(out));
        }
        let old = match &self.old {
            Some(old) => adopt(old, &self.path, self.owner)?,
            None => None,
        };
        let opened = match old {
            Some(file) => Out { file, reused: Some(Reused::default()) },
            None => Out { file: OutFile::create_new(&self.path, 0o600)?, reused: None },
        };
        Ok(Arc::clone(out.insert(Arc::new(opened))))
    }

    /// `sparse`: blocks of zeros are left out.
    pub fn write(&self, at: u64, bytes: &[u8], sparse: bool) -> Result<Written, RestoreError> {
        if bytes.is_empty() {
            return Ok(Written::default());
        }
        let out = self.out()?;
        let written = match &out.reused {
            Some(reused) => reused.write(&out.file, at, bytes, sparse)?,
            None => {
                if sparse {
                    write_sparse(&out.file, at, bytes)?;
                } else {
                    out.file.write_all_at(at, bytes)?;
                }
                Written::all(bytes)
            }
        };
        self.end.fetch_max(at + bytes.len() as u64, Ordering::Relaxed);
        if written.bytes > 0 {
            out.file.start_writeback(at, bytes.len() as u64);
        }
        Ok(written)
    }

    /// Where the last byte written ends.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// A segment is done; true for the last one.
    pub fn is_last(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Gives the file its size, mode and owner, and closes it.
    pub fn finish(&self, size: u64) -> Result<(), RestoreError> {
        let out = self.out()?;
        if let Some(reused) = &out.reused {
            reused.clear_rest(&out.file)?;
        }
        finish(&out.file, size, self.mode, self.owner)?;
        self.out.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }
}

/// Gives a file its size, mode and owner.
pub fn finish(file: &OutFile, size: u64, mode: u32, owner: Option<(u32, u32)>) -> Result<(), RestoreError> {
    if file.len()? != size {
        file.set_len(size)?;
    }
    if let Some((uid, gid)) = owner {
        file.set_owner(uid, gid)?;
    }
    file.set_mode(mode)?;
    if size >= SYNC_SIZE {
        file.sync()?;
    }
    Ok(())
}

/// Makes a directory of the datadir, with the mode and owner that it is to have.
pub fn make_directory(
    path: &std::path::Path,
    mode: u32,
    owner: Option<(u32, u32)>,
) -> Result<(), RestoreError> {
    // The owner must be able to work in it while it is filled.
    write::make_dirs(path, mode | 0o700)?;
    write::set_mode(path, mode | 0o700)?;
    if let Some((uid, gid)) = owner {
        write::set_owner(path, uid, gid)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_segment_is_known() {
        let writer = Writer::new("nowhere".into(), None, 0o640, None, 2);
        assert!(!writer.is_last());
        assert!(writer.is_last());
    }
}
