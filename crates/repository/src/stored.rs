//! A file of a set while it is being written: appended to, hashed, kept from piling up in the page cache.

use std::path::Path;

use reseed_io::{IoError, OutFile};

use crate::hash::Hasher;
use crate::manifest::StoredFile;

/// Write-back is started in pieces of this size, and what went before the last piece is dropped from the cache.
const PIECE: u64 = 8 << 20;
/// Files of a set: read and written by the owner, read by the group.
pub(crate) const FILE_MODE: u32 = 0o640;
pub(crate) const DIR_MODE: u32 = 0o750;

#[derive(Debug)]
pub(crate) struct StoredWriter {
    out: OutFile,
    name: String,
    len: u64,
    hasher: Hasher,
    started: u64,
}

impl StoredWriter {
    pub(crate) fn create(dir: &Path, name: &str) -> Result<StoredWriter, IoError> {
        let out = OutFile::create_new(&dir.join(name), FILE_MODE)?;
        Ok(StoredWriter { out, name: name.to_owned(), len: 0, hasher: Hasher::new(), started: 0 })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.out.write_all_at(self.len, bytes)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        if self.len - self.started >= PIECE {
            self.out.start_writeback(self.started, self.len - self.started);
            // A length of 0 would mean everything.
            if self.started > 0 {
                self.out.drop_cache(0, self.started);
            }
            self.started = self.len;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<StoredFile, IoError> {
        self.out.sync()?;
        self.out.drop_cache(0, 0);
        Ok(StoredFile { name: self.name, size: self.len, hash: self.hasher.hash() })
    }
}

impl std::io::Write for StoredWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.append(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
