//! The redo of a stream as it was received, until the stream's end tells how to read it: in memory as far as it may,
//! the rest in a file of the staging directory.

use std::io::Read;
use std::path::PathBuf;

use reseed_io::{DataFile, OutFile, ReadMode};

use crate::error::RestoreError;

#[derive(Debug)]
pub struct Spool {
    limit: usize,
    pieces: Vec<Vec<u8>>,
    in_memory: usize,
    path: PathBuf,
    file: Option<OutFile>,
    in_file: u64,
}

impl Spool {
    /// Keeps up to `limit` bytes in memory; `path` is made when there are more.
    pub fn new(path: PathBuf, limit: usize) -> Spool {
        Spool { limit, pieces: Vec::new(), in_memory: 0, path, file: None, in_file: 0 }
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, bytes: Vec<u8>) -> Result<(), RestoreError> {
        if self.file.is_none() && self.in_memory + bytes.len() <= self.limit {
            self.in_memory += bytes.len();
            self.pieces.push(bytes);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(OutFile::create_new(&self.path, 0o600)?),
        };
        file.write_all_at(self.in_file, &bytes)?;
        file.start_writeback(self.in_file, bytes.len() as u64);
        self.in_file += bytes.len() as u64;
        Ok(())
    }

    pub fn in_memory(&self) -> usize {
        self.in_memory
    }

    pub fn in_file(&self) -> u64 {
        self.in_file
    }

    /// All of it, from its beginning.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn reader(&self) -> Result<Box<dyn Read + Send + '_>, RestoreError> {
        let file = match &self.file {
            Some(_) => Some(DataFile::open(&self.path, ReadMode::Cached)?),
            None => None,
        };
        let mut front: Box<dyn Read + Send + '_> = Box::new(Pieces { pieces: &self.pieces, done: 0 });
        if let Some(file) = file {
            front = Box::new(front.chain(Tail { file, at: 0 }));
        }
        Ok(front)
    }
}

struct Pieces<'s> {
    pieces: &'s [Vec<u8>],
    /// Bytes of the first that were read.
    done: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while let Some((first, later)) = self.pieces.split_first() {
            let read = first.get(self.done..).unwrap_or_default().read(into)?;
            if read > 0 || into.is_empty() {
                self.done += read;
                return Ok(read);
            }
            (self.pieces, self.done) = (later, 0);
        }
        Ok(0)
    }
}

struct Tail {
    file: DataFile,
    at: u64,
}

impl Read for Tail {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(self.at, into).map_err(std::io::Error::other)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let pieces: Vec<Vec<u8>> = (0..10_u8).map(|n| vec![n; 1000 + usize::from(n)]).collect();
        for (limit, in_file) in [(1 << 20, 0), (5000, 6039), (0, 10_045)] {
            let mut spool = Spool::new(path.clone(), limit);
            for piece in &pieces {
                spool.push(piece.clone()).unwrap();
            }
            assert_eq!((spool.in_file(), path.exists()), (in_file, in_file > 0), "{limit}");
            let mut read = Vec::new();
            spool.reader().unwrap().read_to_end(&mut read).unwrap();
            assert!(read == pieces.concat(), "{limit}");
            let _ = std::fs::remove_file(&path);
        }
    }
}
