//! Large reads of the set's own files, in whole blocks at block boundaries, as reads around the page cache must be.

use std::io::{self, BufRead, Read};
use std::path::Path;

use reseed_io::{AlignedBuf, BLOCK, DataFile, IoError, ReadMode};

use crate::error::RepositoryError;
use crate::files::{MAX_STORED, Run};
use crate::hash::Hasher;

/// Bytes that [`Hashing`] reads at once.
const PIECE: usize = 1 << 20;

/// The longest run, wherever in its first block it begins.
const MOST: usize = (MAX_STORED as usize + 2 * BLOCK).next_multiple_of(BLOCK);

/// What lies between two runs that are wanted is read along when it is less than this: that costs less than another
/// read.
const GAP: u64 = 32 << 10;

/// The part of a pack that was read last. One who says what will be asked for gets as much of it as there is room for
/// in each read, and next to nothing else; one who does not and goes through a pack in order gets what follows.
/// Its memory is no more than was asked for so far.
#[derive(Debug)]
pub(crate) struct Window {
    buf: AlignedBuf,
    pack: u32,
    start: u64,
    len: usize,
    /// Where the last request ended.
    last: u64,
    /// Bytes of a read that goes on, at most, but for a longer run.
    ahead: usize,
    /// What will be asked for, by pack and place.
    expected: Vec<Extent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Extent {
    pack: u32,
    offset: u64,
    end: u64,
}

impl Extent {
    fn new(pack: u32, offset: u64, len: u64) -> Extent {
        Extent { pack, offset, end: offset.saturating_add(len) }
    }
}

impl Window {
    pub(crate) fn new() -> Window {
        Window {
            buf: AlignedBuf::new(BLOCK),
            pack: 0,
            start: 0,
            len: 0,
            last: 0,
            ahead: MOST,
            expected: Vec::new(),
        }
    }

    /// One of many at a time: it reads ahead no further than its part of the memory allows.
    pub(crate) fn reads_ahead(mut self, bytes: usize) -> Window {
        self.ahead = bytes.next_multiple_of(BLOCK).min(MOST);
        self
    }

    /// These will be asked for, and nothing else.
    pub(crate) fn expect<'r>(&mut self, runs: impl Iterator<Item = &'r Run>) {
        self.expected.clear();
        self.expected.extend(runs.map(|run| Extent::new(run.pack, run.offset, u64::from(run.stored))));
        self.expected.sort_unstable();
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
            let needed = skip.saturating_add(len);
            if needed > MOST {
                return Ok(None);
            }
            let more = self.reach(Extent::new(pack, offset, len as u64)) - offset;
            let more = skip.saturating_add(usize::try_from(more).unwrap_or(len));
            let wanted = more.next_multiple_of(BLOCK).clamp(needed.next_multiple_of(BLOCK), MOST);
            if wanted > self.buf.len() {
                self.buf = AlignedBuf::new(wanted);
            }
            self.len = 0;
            self.start = offset - skip as u64;
            self.pack = pack;
            let Some(buf) = self.buf.get_mut(..wanted) else { return Ok(None) };
            self.len = file.read_at(self.start, buf)?;
            self.prefetch(file);
        }
        self.last = offset.saturating_add(len as u64);
        Ok(self.find(pack, offset, len).and_then(|from| self.buf.get(from..from + len)))
    }

    /// Where a read is to end that begins with `first`.
    fn reach(&self, first: Extent) -> u64 {
        let most = first.offset.saturating_add(self.ahead as u64);
        if self.expected.is_empty() {
            let in_order = self.pack == first.pack && self.last == first.offset;
            return if in_order { first.end.max(most) } else { first.end };
        }
        let after = self.expected.partition_point(|extent| *extent <= first);
        let mut reach = first.end;
        for next in self.expected.get(after..).unwrap_or_default() {
            if next.pack != first.pack || next.offset > reach.saturating_add(GAP) || next.end > most {
                break;
            }
            reach = reach.max(next.end);
        }
        reach
    }

    /// Has the next read brought into the page cache, where reads go through it: otherwise the disk would rest meanwhile.
    fn prefetch(&self, file: &DataFile) {
        if file.is_direct() {
            return;
        }
        let read = (self.pack, self.start.saturating_add(self.len as u64));
        let after = self.expected.partition_point(|extent| (extent.pack, extent.end) <= read);
        if let Some(next) = self.expected.get(after).filter(|next| next.pack == self.pack) {
            file.will_need(next.offset, self.reach(*next) - next.offset);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{Hash64, Hash128};

    const K: u64 = 1024;

    fn run(pack: u32, offset: u64, stored: u64) -> Run {
        Run {
            pack,
            offset,
            stored: stored as u32,
            head: 0,
            at: 0,
            raw: 1,
            hash: Hash128(0),
            stored_hash: Hash64(0),
            pages: None,
        }
    }

    /// A file whose bytes tell their place.
    fn file(dir: &Path, len: u64) -> DataFile {
        let path = dir.join("pack");
        let bytes: Vec<u8> = (0..len / 4).flat_map(|number| (number as u32).to_le_bytes()).collect();
        std::fs::write(&path, bytes).unwrap();
        DataFile::open(&path, ReadMode::Sparing).unwrap()
    }

    /// Where the window then begins and ends.
    fn ask(window: &mut Window, file: &DataFile, pack: u32, offset: u64, len: u64) -> (u64, u64) {
        let bytes = window.read(file, pack, offset, len as usize).unwrap().unwrap();
        let first = u32::from_le_bytes(*bytes.first_chunk().unwrap());
        assert_eq!((u64::from(first) * 4, bytes.len() as u64), (offset, len));
        (window.start, window.start + window.len as u64)
    }

    #[test]
    fn a_read_brings_what_is_wanted_and_little_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), 8192 * K);
        let mut window = Window::new().reads_ahead(1024 * K as usize);
        let wanted = [
            run(0, 5 * K, 10 * K),
            // Near enough.
            run(0, 40 * K, 110 * K),
            run(1, 150 * K, 10 * K),
            // Too far.
            run(0, 400 * K, 500 * K),
            // The read would become too long.
            run(0, 950 * K, 600 * K),
            run(0, 1550 * K, 10 * K),
        ];
        window.expect(wanted.iter().rev());
        assert_eq!(ask(&mut window, &file, 0, 5 * K, 10 * K), (4 * K, 152 * K));
        assert_eq!(ask(&mut window, &file, 0, 40 * K, 110 * K), (4 * K, 152 * K));
        assert_eq!(ask(&mut window, &file, 0, 400 * K, 500 * K), (400 * K, 900 * K));
        assert_eq!(ask(&mut window, &file, 0, 950 * K, 600 * K), (948 * K, 1560 * K));
        // Another pack is another file: what is in memory is not taken for its bytes.
        assert_eq!(ask(&mut window, &file, 1, 150 * K, 10 * K), (148 * K, 160 * K));
        // A run that nobody announced is read by itself.
        assert_eq!(ask(&mut window, &file, 0, 4096 * K, 4 * K), (4096 * K, 4100 * K));
    }

    #[test]
    fn who_says_nothing_and_goes_on_in_order_gets_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), 8192 * K);
        let mut window = Window::new().reads_ahead(1024 * K as usize);
        assert_eq!(ask(&mut window, &file, 0, 8 * K, 8 * K), (8 * K, 16 * K));
        assert_eq!(ask(&mut window, &file, 0, 16 * K, 8 * K), (16 * K, 1040 * K));
        assert_eq!(ask(&mut window, &file, 0, 24 * K, 8 * K), (16 * K, 1040 * K));
        assert_eq!(ask(&mut window, &file, 0, 32 * K, 2 * K), (16 * K, 1040 * K));
        assert_eq!(ask(&mut window, &file, 0, 4096 * K, 8 * K), (4096 * K, 4104 * K));
    }

    #[test]
    fn the_longest_read_is_no_longer_for_beginning_within_a_block() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), 8192 * K);
        let mut window = Window::new();
        assert_eq!(ask(&mut window, &file, 0, K, K), (0, 4 * K));
        assert_eq!(ask(&mut window, &file, 0, 2 * K, 4 * K), (0, MOST as u64));
    }

    #[test]
    fn places_that_cannot_be_are_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), 64 * K);
        let mut window = Window::new();
        for (offset, len) in [(60 * K, 8 * K), (u64::MAX, 8), (u64::MAX - 9, 8), (0, MOST as u64 + 1)] {
            let runs = [run(0, offset, len), run(0, offset.wrapping_add(len), u64::from(u32::MAX))];
            window.expect(runs.iter());
            // A read past all files may be refused.
            assert!(!matches!(window.read(&file, 0, offset, len as usize), Ok(Some(_))), "{offset} {len}");
        }
    }
}
