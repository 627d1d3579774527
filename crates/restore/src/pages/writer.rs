//! The files being written: opened when their tablespace is begun, given their final size, mode and owner when their
//! last segment is done.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reseed_innodb::bytes::all_zero;
use reseed_io::{OutFile, write};

use crate::error::RestoreError;

/// Files from this size on are made durable by the worker that finishes them. Smaller ones are too many for that:
/// one call for the whole file system does for all of them, at the end.
const SYNC_SIZE: u64 = 1 << 20;
/// What a file system can leave out of a file.
const HOLE: usize = 4096;

#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    mode: u32,
    owner: Option<(u32, u32)>,
    out: Mutex<Option<Arc<OutFile>>>,
    /// Segments not done.
    left: AtomicUsize,
    /// Where the last byte written ends.
    end: AtomicU64,
}

impl Writer {
    pub fn new(path: PathBuf, mode: u32, owner: Option<(u32, u32)>, segments: usize) -> Writer {
        Writer {
            path,
            mode,
            owner,
            out: Mutex::new(None),
            left: AtomicUsize::new(segments.max(1)),
            end: AtomicU64::new(0),
        }
    }

    /// The file, created when first asked for.
    pub fn file(&self) -> Result<Arc<OutFile>, RestoreError> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        match &*out {
            Some(file) => Ok(Arc::clone(file)),
            None => Ok(Arc::clone(out.insert(Arc::new(OutFile::create_new(&self.path, 0o600)?)))),
        }
    }

    /// `sparse`: blocks of zeros are left out. The file is new, so they read as zeros anyway.
    pub fn write(&self, at: u64, bytes: &[u8], sparse: bool) -> Result<(), RestoreError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let file = self.file()?;
        if sparse {
            write_sparse(&file, at, bytes)?;
        } else {
            file.write_all_at(at, bytes)?;
        }
        self.end.fetch_max(at + bytes.len() as u64, Ordering::Relaxed);
        file.start_writeback(at, bytes.len() as u64);
        Ok(())
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
        finish(&*self.file()?, size, self.mode, self.owner)?;
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

/// Writes what is not zeros.
pub fn write_sparse(file: &OutFile, at: u64, bytes: &[u8]) -> Result<(), RestoreError> {
    let lead = (HOLE - (at % HOLE as u64) as usize) % HOLE;
    let (head, body) = bytes.split_at(lead.min(bytes.len()));
    let blocks = std::iter::once(head).filter(|head| !head.is_empty()).chain(body.chunks(HOLE));
    let mut pending = 0..0;
    let mut position = 0;
    for block in blocks {
        let end = position + block.len();
        if all_zero(block) {
            flush(file, at, bytes, &mut pending)?;
        } else if pending.is_empty() {
            pending = position..end;
        } else {
            pending.end = end;
        }
        position = end;
    }
    flush(file, at, bytes, &mut pending)
}

fn flush(
    file: &OutFile,
    base: u64,
    bytes: &[u8],
    pending: &mut std::ops::Range<usize>,
) -> Result<(), RestoreError> {
    if let Some(part) = bytes.get(pending.clone()).filter(|part| !part.is_empty()) {
        file.write_all_at(base + pending.start as u64, part)?;
    }
    *pending = 0..0;
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
    fn zeros_are_left_out_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut content = vec![0_u8; 10 * HOLE + 100];
        content[5] = 1;
        content[3 * HOLE] = 2;
        content[10 * HOLE + 50] = 3;
        for at in [0, 100, HOLE as u64, 2 * HOLE as u64 - 1] {
            let path = dir.path().join(at.to_string());
            let writer = Writer::new(path.clone(), 0o640, None, 1);
            writer.write(at, &content, true).unwrap();
            assert_eq!(writer.end(), at + content.len() as u64);
            writer.finish(at + content.len() as u64).unwrap();
            let read = std::fs::read(&path).unwrap();
            assert!(read[..at as usize].iter().all(|&b| b == 0));
            assert_eq!(&read[at as usize..], &content[..], "at {at}");
        }
    }

    #[test]
    fn the_last_segment_is_known() {
        let writer = Writer::new("nowhere".into(), 0o640, None, 2);
        assert!(!writer.is_last());
        assert!(writer.is_last());
    }
}
