//! Blocks of a reused file that arrived in a stream, differ from what the file has, and are not written yet: the redo,
//! which comes behind them, may change them again, and then they are written once. Bounded; what finds no room is
//! written at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reseed_io::OutFile;

use super::blocks::{BLOCK, Written, blocks, write_changed};
use crate::error::RestoreError;

/// What a block takes beside its bytes.
const OVERHEAD: usize = 96;
/// Neighbours are written together up to this.
const JOINED: usize = 1 << 20;

/// Memory that all held blocks share.
#[derive(Debug)]
pub struct Room {
    limit: usize,
    used: AtomicUsize,
}

impl Room {
    pub fn new(limit: usize) -> Room {
        Room { limit, used: AtomicUsize::new(0) }
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let room = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Blocks by their place in the file; none is longer than a block of the file system, and none crosses one's border.
type Blocks = BTreeMap<u64, Box<[u8]>>;

/// The held blocks of one file.
#[derive(Debug)]
pub struct Held {
    room: Arc<Room>,
    blocks: Mutex<Blocks>,
}

impl Held {
    pub fn new(room: Arc<Room>) -> Held {
        Held { room, blocks: Mutex::default() }
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a block; false when there is no room for it.
    pub fn keep(&self, at: u64, block: &[u8]) -> bool {
        let kept = self.room.take(block.len() + OVERHEAD);
        if kept && let Some(before) = self.blocks().insert(at, block.into()) {
            self.room.give_back(before.len() + OVERHEAD);
        }
        kept
    }

    /// Puts what is held of a stretch over what the file has of it, and tells where in it the last of that ends.
    pub fn overlay(&self, at: u64, bytes: &mut [u8]) -> usize {
        let blocks = self.blocks();
        let end = at.saturating_add(bytes.len() as u64);
        let mut last = 0;
        for (&start, block) in blocks.range(at.saturating_sub(BLOCK as u64)..end) {
            last = last.max(copy_common(start, block, at, bytes));
        }
        last
    }

    /// Brings a stretch to `bytes`: in memory where it is held, else in the file where that differs.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn put(&self, file: &OutFile, at: u64, bytes: &[u8]) -> Result<Written, RestoreError> {
        let mut direct: Vec<Range<usize>> = Vec::new();
        let mut held = self.blocks();
        for part in blocks(at, bytes.len()) {
            let (start, end) = (at + part.start as u64, at + part.end as u64);
            let covering = held.range_mut(..=start).next_back();
            match covering.filter(|(first, block)| *first + block.len() as u64 >= end) {
                Some((&first, block)) => {
                    copy_common(at, bytes, first, block);
                }
                None => match direct.last_mut() {
                    Some(last) if last.end == part.start => last.end = part.end,
                    _ => direct.push(part),
                },
            }
        }
        drop(held);
        let mut written = 0;
        for part in direct {
            let offset = at + part.start as u64;
            written += write_changed(file, offset, bytes.get(part).unwrap_or_default(), false, None)?.bytes;
        }
        // What is equal now was counted when it came.
        Ok(Written { bytes: written, equal: 0 })
    }

    /// Writes all that is held.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn flush(&self, file: &OutFile) -> Result<Written, RestoreError> {
        let mut written = Written::default();
        let (mut at, mut joined) = (0, Vec::new());
        for (start, block) in std::mem::take(&mut *self.blocks()) {
            self.room.give_back(block.len() + OVERHEAD);
            if start != at + joined.len() as u64 || joined.len() >= JOINED {
                written += write_changed(file, at, &joined, false, None)?;
                joined.clear();
                at = start;
            }
            joined.extend_from_slice(&block);
        }
        written += write_changed(file, at, &joined, false, None)?;
        if written.bytes > 0 {
            file.start_writeback(0, file.len()?);
        }
        Ok(written)
    }
}

/// Copies what two stretches of one file have in common out of the first into the second, and tells where it ends there.
fn copy_common(from_at: u64, from: &[u8], to_at: u64, to: &mut [u8]) -> usize {
    let start = from_at.max(to_at);
    let end = (from_at + from.len() as u64).min(to_at + to.len() as u64);
    if start >= end {
        return 0;
    }
    let within = |at: u64| (start - at) as usize..(end - at) as usize;
    if let (Some(to), Some(from)) = (to.get_mut(within(to_at)), from.get(within(from_at))) {
        to.copy_from_slice(from);
    }
    (end - to_at) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4 * BLOCK;

    fn file(dir: &tempfile::TempDir, bytes: &[u8]) -> OutFile {
        let path = dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        OutFile::open(&path).unwrap()
    }

    fn content(file: &OutFile) -> Vec<u8> {
        std::fs::read(file.path()).unwrap()
    }

    #[test]
    fn what_changes_twice_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(&dir, &vec![1; 3 * PAGE]);
        let room = Arc::new(Room::new(1 << 20));
        let held = Held::new(Arc::clone(&room));
        // Of the second page the first and the last block arrive changed.
        let mut page = vec![1; PAGE];
        page[10] = 2;
        page[PAGE - 10] = 2;
        let came = write_changed(&file, PAGE as u64, &page, false, Some(&held)).unwrap();
        assert_eq!(came, Written { bytes: 0, equal: 2 * BLOCK as u64 });
        assert_eq!(content(&file), vec![1; 3 * PAGE], "nothing was written yet");
        let mut read = vec![1; PAGE];
        held.overlay(PAGE as u64, &mut read);
        assert!(read == page);
        // The redo changes the first block again, and the second.
        page[11] = 3;
        page[BLOCK + 11] = 3;
        let put = held.put(&file, PAGE as u64, &page).unwrap();
        assert_eq!(put, Written { bytes: BLOCK as u64, equal: 0 });
        let flushed = held.flush(&file).unwrap();
        assert_eq!(flushed, Written { bytes: 2 * BLOCK as u64, equal: 0 });
        assert!(content(&file)[PAGE..2 * PAGE] == page[..]);
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn without_room_it_is_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(&dir, &vec![1; PAGE]);
        let held = Held::new(Arc::new(Room::new(2 * (BLOCK + OVERHEAD))));
        let page = vec![2; PAGE];
        let came = write_changed(&file, 0, &page, false, Some(&held)).unwrap();
        assert_eq!(came, Written { bytes: 2 * BLOCK as u64, equal: 0 });
        assert!(content(&file)[2 * BLOCK..] == page[2 * BLOCK..]);
        let mut read = content(&file);
        held.overlay(0, &mut read);
        assert!(read == page);
        held.flush(&file).unwrap();
        assert!(content(&file) == page);
    }

    #[test]
    fn pages_smaller_than_a_block_share_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(&dir, &vec![1; 2 * BLOCK]);
        let held = Held::new(Arc::new(Room::new(1 << 20)));
        let mut expected = vec![2; 2 * BLOCK];
        write_changed(&file, 0, &expected, false, Some(&held)).unwrap();
        expected[5 * 1024..6 * 1024].fill(3);
        held.put(&file, 5 * 1024, &[3; 1024]).unwrap();
        held.flush(&file).unwrap();
        assert!(content(&file) == expected);
    }
}
