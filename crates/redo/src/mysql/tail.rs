//! Following the redo log of a running server: which bytes to read next and what the bytes read are worth.
//!
//! The server recycles a file by renaming it: an open descriptor then shows another range of the log. So the caller
//! reads a chunk and *after it* the file's header again; only if the header still says the same is the chunk used.
//! Blocks that are not written yet (zero, stale, half written) end a chunk; a block that is not full is kept aside
//! and read again, as it grows.
//!
//! No I/O here. The caller's loop:
//!
//! ```text
//! loop {
//!     match tail.next() {
//!         Next::Rescan => open all `#ib_redoN`, tail.files(&list)?      // Err(Lost): the backup is over
//!         Next::Read(r) => read r.len bytes at r.offset of file r.key, then its first 512 bytes,
//!                          match tail.chunk(r, &chunk, &header)? {
//!                              Step::Accepted { bytes, .. } => append chunk[..bytes] to the capture
//!                              Step::Recycled => close that file; next() will say Rescan
//!                          }
//!     }
//!     if tail.has_reached(target) { append tail.partial(); break }
//!     nothing accepted: wait a little
//! }
//! ```

use reseed_terms::Lsn;

use super::block::{Block, BlockError, SIZE};
use super::error::MysqlError;
use super::file::{FileHeader, HEAD, file_end};
use super::lsn;

/// One open redo file. `key` is the caller's own name for the descriptor (not the number in the file's name: after
/// recycling another file has that).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailFile {
    pub key: u64,
    pub start: Lsn,
    /// Length in bytes, header included.
    pub size: u64,
}

impl TailFile {
    fn end(&self) -> Lsn {
        file_end(self.start, self.size)
    }

    fn holds(&self, lsn: Lsn) -> bool {
        self.start <= lsn && lsn < self.end()
    }
}

/// Where to read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAt {
    pub key: u64,
    pub offset: u64,
    /// Bytes to read, at most; a multiple of 512.
    pub len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Read(ReadAt),
    /// No open file holds the position: list the directory again and call [`Tail::files`].
    Rescan,
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The first `bytes` of the chunk are whole, full blocks that belong to the capture; possibly 0.
    Accepted { bytes: usize, stopped: Stopped },
    /// The file was recycled while it was read: nothing of the chunk counts.
    Recycled,
}

/// Why the blocks of a chunk stopped counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// All counted: read on at once.
    NotYet,
    /// The next block is still being filled; it is kept in [`Tail::partial`].
    Partial,
    /// The next block is not written yet, or half written.
    Unwritten,
}

/// What [`Tail::files`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// A file holds it.
    Found,
    /// The server has not made the next file yet: wait and scan again.
    NotYet,
}

/// The server overwrote redo that was not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("redo from LSN {needed} on is gone: the oldest in the log is LSN {oldest}")]
pub struct Lost {
    pub needed: Lsn,
    pub oldest: Lsn,
}

/// The state of following one log. The capture starts at [`Tail::first`].
#[derive(Debug, Clone)]
pub struct Tail {
    first: Lsn,
    position: Lsn,
    files: Vec<TailFile>,
    partial: Option<Box<[u8; SIZE]>>,
    uuid: Option<u32>,
    /// The last list had no file for the position, only later ones.
    missing: bool,
}

const CHUNK: usize = 1 << 20;

impl Tail {
    /// Starts at the block that holds `checkpoint`.
    pub fn new(checkpoint: Lsn) -> Tail {
        let first = lsn::block_of(checkpoint);
        Tail { first, position: first, files: Vec::new(), partial: None, uuid: None, missing: false }
    }

    /// LSN of the first byte of the capture.
    pub fn first(&self) -> Lsn {
        self.first
    }

    /// LSN up to which full blocks are accepted: where the next read starts.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// The end of the log as far as it was seen, a partial block included.
    pub fn reached(&self) -> Lsn {
        let used = self.partial().map_or(0, |block| u64::from(super::codec::be16(block, 4)));
        Lsn(self.position.0.saturating_add(used))
    }

    /// True when every payload byte before `target` was seen. A target just behind a block's header needs only the
    /// block before: the server writes no empty block.
    pub fn has_reached(&self, target: Lsn) -> bool {
        lsn::to_sn(self.reached()) >= lsn::to_sn(target)
    }

    /// The block at [`Tail::position`] as it was last seen, while it is not full. It ends the capture.
    pub fn partial(&self) -> Option<&[u8; SIZE]> {
        self.partial.as_deref()
    }

    /// Files that lie entirely behind the position, to be closed.
    pub fn finished(&mut self) -> Vec<u64> {
        let position = self.position;
        let mut closed = Vec::new();
        self.files.retain(|file| {
            let keep = file.end() > position;
            if !keep {
                closed.push(file.key);
            }
            keep
        });
        closed
    }

    /// What to do next.
    pub fn next(&self) -> Next {
        let Some(file) = self.files.iter().find(|file| file.holds(self.position)) else {
            return Next::Rescan;
        };
        let left = file.end().since(self.position) / SIZE as u64;
        let len = usize::try_from(left).map_or(CHUNK, |blocks| blocks.saturating_mul(SIZE).min(CHUNK));
        if len == 0 {
            return Next::Rescan;
        }
        let offset = HEAD as u64 + self.position.since(file.start);
        Next::Read(ReadAt { key: file.key, offset, len })
    }

    /// Takes the list of files that are open now; it replaces the list before.
    ///
    /// A directory is not listed at one instant: a file made while it is listed may be missed and a later one seen.
    /// So only the second list in a row that has later files alone means that the redo is gone.
    ///
    /// # Errors
    /// `Lost` when the server has overwritten the position.
    pub fn files(&mut self, files: &[TailFile]) -> Result<Position, Lost> {
        self.files = files.to_vec();
        if self.files.iter().any(|file| file.holds(self.position)) {
            self.missing = false;
            return Ok(Position::Found);
        }
        let later = self.files.iter().map(|file| file.start).filter(|start| *start > self.position).min();
        match later {
            Some(oldest) if std::mem::replace(&mut self.missing, true) => {
                Err(Lost { needed: self.position, oldest })
            }
            Some(_) => Ok(Position::NotYet),
            None => {
                self.missing = false;
                Ok(Position::NotYet)
            }
        }
    }

    /// Judges a chunk that was read where [`Tail::next`] said, together with the first 512 bytes of the same file
    /// as they were *after* that read.
    ///
    /// # Errors
    /// When the log cannot be followed at all: encrypted, logging disabled, checksums off, or damaged before data
    /// that is valid.
    pub fn chunk(&mut self, at: ReadAt, chunk: &[u8], header_after: &[u8]) -> Result<Step, MysqlError> {
        let Some(file) = self.files.iter().find(|file| file.key == at.key).copied() else {
            return Ok(Step::Recycled);
        };
        // While a file is being recycled its header is rewritten: half of it read is the same as another one.
        let header = match FileHeader::parse(header_after) {
            Ok(header) => header,
            Err(MysqlError::HeaderChecksum { .. } | MysqlError::HeaderTooShort { .. }) => {
                return Ok(self.forget(at));
            }
            Err(error) => return Err(error),
        };
        if header.start != file.start || self.uuid.is_some_and(|uuid| uuid != header.uuid) {
            return Ok(self.forget(at));
        }
        header.flags.check_complete()?;
        self.uuid = Some(header.uuid);
        if at.offset != HEAD as u64 + self.position.since(file.start) {
            return Ok(Step::Accepted { bytes: 0, stopped: Stopped::NotYet });
        }
        self.blocks(chunk)
    }

    fn forget(&mut self, at: ReadAt) -> Step {
        self.files.retain(|file| file.key != at.key);
        Step::Recycled
    }

    fn blocks(&mut self, chunk: &[u8]) -> Result<Step, MysqlError> {
        let mut bytes = 0;
        for raw in chunk.chunks_exact(SIZE) {
            match Block::check(raw, self.position) {
                Ok(block) if block.is_full() => {
                    self.partial = None;
                    bytes += SIZE;
                    self.position = Lsn(self.position.0.saturating_add(SIZE as u64));
                }
                Ok(block) => {
                    // A block never shrinks: an earlier state of it can come from nowhere but a recycled file.
                    let before = self.reached().since(self.position);
                    if u64::from(block.length) >= before {
                        self.partial = raw.first_chunk().map(|block| Box::new(*block));
                    }
                    return Ok(Step::Accepted { bytes, stopped: Stopped::Partial });
                }
                Err(source @ (BlockError::Encrypted | BlockError::NoChecksum)) => {
                    return match source {
                        BlockError::Encrypted => Err(MysqlError::Encrypted),
                        _ => Err(MysqlError::Block { lsn: self.position, source }),
                    };
                }
                Err(_) => return Ok(Step::Accepted { bytes, stopped: Stopped::Unwritten }),
            }
        }
        Ok(Step::Accepted { bytes, stopped: Stopped::NotYet })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::build;
    use super::super::file::Flags;
    use super::*;

    const START: u64 = 8192;
    const SIZE_64K: u64 = 65536;

    fn header(start: u64, flags: u32) -> [u8; SIZE] {
        FileHeader { uuid: 1, start: Lsn(start), creator: "MySQL 9.7.4".to_owned(), flags: Flags(flags) }
            .to_bytes()
    }

    fn file(key: u64, start: u64) -> TailFile {
        TailFile { key, start: Lsn(start), size: SIZE_64K }
    }

    fn full(lsn: u64) -> [u8; SIZE] {
        build(Lsn(lsn), &[1; 496], 0)
    }

    fn read(tail: &Tail) -> ReadAt {
        match tail.next() {
            Next::Read(at) => at,
            Next::Rescan => panic!("rescan"),
        }
    }

    fn tail() -> Tail {
        let mut tail = Tail::new(Lsn(START + 20));
        assert_eq!(tail.next(), Next::Rescan);
        assert_eq!(tail.files(&[file(1, START)]), Ok(Position::Found));
        tail
    }

    #[test]
    fn full_blocks_are_taken_and_a_partial_one_is_kept() {
        let mut tail = tail();
        let at = read(&tail);
        assert_eq!(at, ReadAt { key: 1, offset: 2048, len: 63488 });
        let mut chunk = full(START).to_vec();
        chunk.extend(build(Lsn(START + 512), b"abc", 12));
        chunk.extend([0; 512]);
        let step = tail.chunk(at, &chunk, &header(START, 0)).unwrap();
        assert_eq!(step, Step::Accepted { bytes: 512, stopped: Stopped::Partial });
        assert_eq!(tail.reached(), Lsn(START + 512 + 15));
        assert!(tail.has_reached(Lsn(START + 527)) && !tail.has_reached(Lsn(START + 528)));
        let step =
            tail.chunk(read(&tail), &build(Lsn(START + 512), b"abcdef", 12), &header(START, 0)).unwrap();
        assert_eq!(step, Step::Accepted { bytes: 0, stopped: Stopped::Partial });
        assert_eq!(tail.reached(), Lsn(START + 512 + 18));
        let step = tail.chunk(read(&tail), &full(START + 512), &header(START, 0)).unwrap();
        assert_eq!(step, Step::Accepted { bytes: 512, stopped: Stopped::NotYet });
        assert!(tail.partial().is_none());
        // The end of a block's payload and the start of the next block's are one place.
        assert!(tail.has_reached(Lsn(START + 1024 + 12)) && !tail.has_reached(Lsn(START + 1024 + 13)));
    }

    #[test]
    fn a_recycled_file_gives_nothing() {
        let mut tail = tail();
        let at = read(&tail);
        assert_eq!(tail.chunk(at, &full(START), &header(START + SIZE_64K, 0)).unwrap(), Step::Recycled);
        assert_eq!(tail.position(), Lsn(START));
        assert_eq!(tail.next(), Next::Rescan);
        let later = START + 63488;
        let files = [file(2, later), file(3, later + 63488)];
        assert_eq!(tail.files(&files), Ok(Position::NotYet), "the list may have missed one");
        assert_eq!(tail.files(&files), Err(Lost { needed: Lsn(START), oldest: Lsn(later) }));
    }

    #[test]
    fn a_torn_header_gives_nothing() {
        let mut tail = tail();
        let mut torn = header(START, 0);
        torn[9] ^= 1;
        assert_eq!(tail.chunk(read(&tail), &full(START), &torn).unwrap(), Step::Recycled);
    }

    #[test]
    fn the_next_file_may_not_be_there_yet() {
        let mut tail = tail();
        let mut chunk = Vec::new();
        for block in 0..124 {
            chunk.extend(full(START + block * 512));
        }
        let step = tail.chunk(read(&tail), &chunk, &header(START, 8)).unwrap();
        assert_eq!(step, Step::Accepted { bytes: 63488, stopped: Stopped::NotYet });
        assert_eq!(tail.next(), Next::Rescan);
        assert_eq!(tail.files(&[file(1, START)]), Ok(Position::NotYet));
        assert_eq!(tail.finished(), [1]);
        assert_eq!(tail.files(&[file(5, START + 63488)]), Ok(Position::Found));
        assert_eq!(read(&tail).offset, 2048);
    }

    #[test]
    fn stale_blocks_are_left_for_later() {
        let mut tail = tail();
        let step = tail.chunk(read(&tail), &full(START + 512 * 50), &header(START, 0)).unwrap();
        assert_eq!(step, Step::Accepted { bytes: 0, stopped: Stopped::Unwritten });
    }

    #[test]
    fn logging_disabled_on_the_way_is_an_error() {
        let mut tail = tail();
        let got = tail.chunk(read(&tail), &full(START), &header(START, 1));
        assert_eq!(got, Err(MysqlError::LoggingDisabled));
    }

    proptest! {
        #[test]
        fn hostile_chunks_do_no_harm(
            chunk in prop::collection::vec(any::<u8>(), 0..2000),
            start: u64, size: u64, checkpoint: u64, offset: u64,
        ) {
            let mut tail = Tail::new(Lsn(checkpoint));
            let _ = tail.files(&[TailFile { key: 1, start: Lsn(start), size }]);
            if let Next::Read(at) = tail.next() {
                let _ = tail.chunk(at, &chunk, &header(start & !511, 0));
            }
            let _ = tail.chunk(ReadAt { key: 1, offset, len: 0 }, &chunk, &header(start & !511, 0));
            prop_assert!(tail.position() >= lsn::block_of(Lsn(checkpoint)));
        }
    }
}
