//! Large reads of the set's own files, in whole blocks at block boundaries, as reads around the page cache must be.

use std::io::{self, BufRead, Read};
use std::path::Path;

use reseed_io::{AlignedBuf, BLOCK, DataFile, IoError, ReadMode};

use crate::error::RepositoryError;
use crate::files::MAX_STORED;
use crate::hash::Hasher;

/// Bytes that [`Hashing`] reads at once.
const PIECE: usize = 1 << 20;

/// The longest run, wherever in its first block it begins.
const MOST: usize = (MAX_STORED as usize + 2 * BLOCK).next_multiple_of(BLOCK);

/// The part of a pack that was read last. A reader that goes through a pack in order gets what follows in the same
/// large read; one that jumps about reads no more than it needs.
/// Its memory is no more than was asked for so far.
#[derive(Debug)]
pub(crate) struct Window {
    buf: AlignedBuf,
    pack: u32,
    start: u64,
    len: usize,
    /// Where the last request ended.
    expected: u64,
    /// Bytes of a read that goes on in order, at least.
    ahead: usize,
}

impl Window {
    pub(crate) fn new() -> Window {
        Window { buf: AlignedBuf::new(BLOCK), pack: 0, start: 0, len: 0, expected: 0, ahead: MOST }
    }

    /// One of many at a time: it reads ahead no further than its part of the memory allows.
    pub(crate) fn reads_ahead(mut self, bytes: usize) -> Window {
        self.ahead = bytes.next_multiple_of(BLOCK).min(MOST);
        self
    }

    /// The bytes of a pack from `offset` on; `None` when they are not there, or more than a run can have.
    pub(crate) fn read(
        &mut self,
        file: &DataFile,
        pack: u32,
        offset: u64,
        len: usize,
    ) -> Result<Option<&[u8]>, IoError> {
        if self.find(pack, offset, len).is_none() {
            let skip = (offset % BLOCK as u64) as usize;
            let in_order = self.pack == pack && self.expected == offset;
            let needed = (skip + len).next_multiple_of(BLOCK);
            let wanted = if in_order { needed.max(self.ahead) } else { needed };
            if wanted > MOST {
                return Ok(None);
            }
            if wanted > self.buf.len() {
                self.buf = AlignedBuf::new(wanted);
            }
            self.len = 0;
            self.start = offset - skip as u64;
            self.pack = pack;
            let Some(buf) = self.buf.get_mut(..wanted) else { return Ok(None) };
            self.len = file.read_at(self.start, buf)?;
        }
        self.expected = offset.saturating_add(len as u64);
        Ok(self.find(pack, offset, len).and_then(|from| self.buf.get(from..from + len)))
    }

    pub(crate) fn holds(&self, pack: u32, offset: u64, len: usize) -> bool {
        self.find(pack, offset, len).is_some()
    }

    /// Where in the buffer the bytes start, if all of them are there.
    fn find(&self, pack: u32, offset: u64, len: usize) -> Option<usize> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let fits = self.pack == pack && from.checked_add(len)? <= self.len;
        fits.then_some(from)
    }
}

/// A file of a set read from its start to its end, hashed on the way.
#[derive(Debug)]
pub(crate) struct Hashing {
    file: DataFile,
    buf: AlignedBuf,
    used: usize,
    filled: usize,
    at: u64,
    pub(crate) hasher: Hasher,
}

impl Hashing {
    pub(crate) fn open(path: &Path) -> Result<Hashing, RepositoryError> {
        let file = DataFile::open(path, ReadMode::Sparing)?;
        Ok(Hashing { file, buf: AlignedBuf::new(PIECE), used: 0, filled: 0, at: 0, hasher: Hasher::new() })
    }

    /// Bytes read so far.
    pub(crate) fn len(&self) -> u64 {
        self.at
    }
}

impl BufRead for Hashing {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used >= self.filled {
            (self.used, self.filled) = (0, 0);
            self.filled = self.file.read_at(self.at, &mut self.buf).map_err(io::Error::other)?;
            self.hasher.update(self.buf.get(..self.filled).unwrap_or_default());
            self.at += self.filled as u64;
        }
        Ok(self.buf.get(self.used..self.filled).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.used += n;
    }
}

impl Read for Hashing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(out)?;
        self.consume(n);
        Ok(n)
    }
}
