//! Bytes into files, block by block: blocks of zeros become holes in a new file, and blocks that a reused file has
//! already are not written to it.

use std::ops::{AddAssign, Range};
use std::sync::{Mutex, PoisonError};

use reseed_innodb::bytes::all_zero;
use reseed_io::OutFile;

use super::held::Held;
use crate::error::RestoreError;

/// What a file system can leave out of a file.
pub const BLOCK: usize = 4096;

/// What became of bytes that a file was to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Written.
    pub bytes: u64,
    /// Not written: the file had them.
    pub equal: u64,
}

impl Written {
    pub fn all(bytes: &[u8]) -> Written {
        Written { bytes: bytes.len() as u64, equal: 0 }
    }
}

impl AddAssign for Written {
    fn add_assign(&mut self, other: Written) {
        self.bytes += other.bytes;
        self.equal += other.equal;
    }
}

/// Writes what is not zeros to a new file.
pub fn write_sparse(file: &OutFile, at: u64, bytes: &[u8]) -> Result<(), RestoreError> {
    let mut parts = Parts::default();
    for block in blocks(at, bytes.len()) {
        let zeros = all_zero(bytes.get(block.clone()).unwrap_or_default());
        parts.add(block, if zeros { Fate::Kept } else { Fate::Written });
    }
    parts.carry_out(file, at, bytes)
}

/// A file that held something else before. What has been given to it is remembered: the rest must become zeros, as
/// it would be in a new file.
#[derive(Debug, Default)]
pub struct Reused {
    given: Mutex<Vec<Range<u64>>>,
}

impl Reused {
    /// Brings a stretch of the file to `bytes`, writing only blocks that differ. `sparse`: zeros become a hole.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(
        &self,
        file: &OutFile,
        at: u64,
        bytes: &[u8],
        sparse: bool,
    ) -> Result<Written, RestoreError> {
        let given = at..at + bytes.len() as u64;
        self.given.lock().unwrap_or_else(PoisonError::into_inner).push(given);
        write_changed(file, at, bytes, sparse, None)
    }

    /// # Errors
    /// When the disk fails.
    pub fn clear_rest(&self, file: &OutFile) -> Result<(), RestoreError> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.sort_unstable_by_key(|range| range.start);
        clear_between(file, given.iter().cloned())
    }
}

/// As [`Reused::write`], for one who remembers the stretches himself. Blocks for which there is room are `held` and
/// not written, and not counted either.
///
/// # Errors
/// When the disk fails.
pub fn write_changed(
    file: &OutFile,
    at: u64,
    bytes: &[u8],
    sparse: bool,
    held: Option<&Held>,
) -> Result<Written, RestoreError> {
    let mut old = vec![0; bytes.len()];
    // What cannot be read is not known to be equal.
    let known = file.read_at(at, &mut old).unwrap_or(0);
    let mut parts = Parts::default();
    let mut written = Written::default();
    for block in blocks(at, bytes.len()) {
        let new = bytes.get(block.clone()).unwrap_or_default();
        let len = block.len() as u64;
        let fate = if block.end <= known && old.get(block.clone()) == Some(new) {
            written.equal += len;
            Fate::Kept
        } else if sparse && all_zero(new) {
            Fate::Cleared
        } else if held.is_some_and(|held| held.keep(at + block.start as u64, new)) {
            Fate::Kept
        } else {
            written.bytes += len;
            Fate::Written
        };
        parts.add(block, fate);
    }
    parts.carry_out(file, at, bytes)?;
    Ok(written)
}

/// Makes a file zeros wherever none of the ranges is, and ends it with the last of them. They come in order of their
/// starts.
///
/// # Errors
/// When the disk fails.
pub fn clear_between(file: &OutFile, ranges: impl Iterator<Item = Range<u64>>) -> Result<(), RestoreError> {
    let len = file.len()?;
    let mut end = 0;
    for range in ranges {
        let gap = end.min(len)..range.start.min(len);
        if !gap.is_empty() {
            file.punch_hole(gap.start, gap.end - gap.start)?;
        }
        end = end.max(range.end);
    }
    if end < len {
        file.set_len(end)?;
    }
    Ok(())
}

/// The stretch cut at the file's blocks: positions in the stretch.
pub fn blocks(at: u64, len: usize) -> impl Iterator<Item = Range<usize>> {
    let lead = ((BLOCK - (at % BLOCK as u64) as usize) % BLOCK).min(len);
    let head = std::iter::once(0..lead).filter(|head| !head.is_empty());
    head.chain((lead..len).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(len)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Written,
    Cleared,
}

/// Neighbours of one fate, joined.
#[derive(Default)]
struct Parts(Vec<(Range<usize>, Fate)>);

impl Parts {
    fn add(&mut self, block: Range<usize>, fate: Fate) {
        match self.0.last_mut() {
            Some((last, same)) if *same == fate => last.end = block.end,
            _ => self.0.push((block, fate)),
        }
    }

    fn carry_out(self, file: &OutFile, at: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        for (part, fate) in self.0 {
            let offset = at + part.start as u64;
            match fate {
                Fate::Kept => {}
                Fate::Written => file.write_all_at(offset, bytes.get(part).unwrap_or_default())?,
                Fate::Cleared => file.punch_hole(offset, part.len() as u64)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten blocks and a bit, with something here and there.
    fn content() -> Vec<u8> {
        let mut content = vec![0_u8; 10 * BLOCK + 100];
        content[5] = 1;
        content[3 * BLOCK] = 2;
        content[10 * BLOCK + 50] = 3;
        content
    }

    #[test]
    fn zeros_are_left_out_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let content = content();
        for at in [0, 100, BLOCK as u64, 2 * BLOCK as u64 - 1] {
            let path = dir.path().join(at.to_string());
            let file = OutFile::create_new(&path, 0o640).unwrap();
            write_sparse(&file, at, &content).unwrap();
            file.set_len(at + content.len() as u64).unwrap();
            let read = std::fs::read(&path).unwrap();
            assert!(read[..at as usize].iter().all(|&b| b == 0));
            assert_eq!(&read[at as usize..], &content[..], "at {at}");
        }
    }

    #[test]
    fn only_what_differs_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let content = content();
        let all = content.len() as u64;
        let block = BLOCK as u64;
        // What the file held before, and how much of it has to be written, densely and sparsely.
        let mut flipped = content.clone();
        flipped[7 * BLOCK + 17] ^= 0x40;
        let shorter = content[..4 * BLOCK + 10].to_vec();
        let longer = [content.clone(), vec![9; 3 * BLOCK]].concat();
        let cases: [(&str, Vec<u8>, u64, u64); 6] = [
            ("equal", content.clone(), 0, 0),
            ("one bit", flipped, block, 0),
            ("nothing", Vec::new(), all, 2 * block + 100),
            ("shorter", shorter, 6 * block + 100, 100),
            ("longer", longer, 0, 0),
            ("all other", vec![7; 20 * BLOCK], all, 2 * block + 100),
        ];
        for (name, before, dense, sparse) in cases {
            for (is_sparse, expected) in [(false, dense), (true, sparse)] {
                let path = dir.path().join(format!("{name} {is_sparse}"));
                std::fs::write(&path, &before).unwrap();
                let file = OutFile::open(&path).unwrap();
                let reused = Reused::default();
                let written = reused.write(&file, 0, &content, is_sparse).unwrap();
                reused.clear_rest(&file).unwrap();
                file.set_len(all).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), content, "{name} {is_sparse}");
                assert_eq!(written.bytes, expected, "{name} {is_sparse}: {written:?}");
            }
        }
    }

    #[test]
    fn what_was_not_given_becomes_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![7; 20 * BLOCK]).unwrap();
        let file = OutFile::open(&path).unwrap();
        let reused = Reused::default();
        reused.write(&file, 9 * BLOCK as u64, &[1; BLOCK], false).unwrap();
        reused.write(&file, BLOCK as u64 + 3, &[2; 100], true).unwrap();
        reused.clear_rest(&file).unwrap();
        let mut expected = vec![0; 10 * BLOCK];
        expected[BLOCK + 3..BLOCK + 103].fill(2);
        expected[9 * BLOCK..].fill(1);
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}
