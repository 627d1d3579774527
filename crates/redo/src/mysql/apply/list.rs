//! Rows into and out of an index page: heap, free list, record list, directory.

use super::super::error::ApplyError;
use super::super::index::Index;
use super::bytes::{Result, get, minus, put, r16};
use super::directory::MOST_OWNED;
use super::image::{
    COMPACT, DATA, DIRECTION, FREE, GARBAGE, HEAP_TOP, Image, LAST_INSERT, N_DIRECTION, N_HEAP, N_RECS,
};
use super::row;

pub(super) const LEFT: usize = 1;
pub(super) const RIGHT: usize = 2;
pub(super) const NO_DIRECTION: usize = 5;

/// A row that is not in a page yet: `extra` bytes before its origin, then its data.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRow<'a> {
    pub bytes: &'a [u8],
    pub extra: usize,
}

impl Image<'_> {
    /// Inserts `new` after `cursor`; returns its origin.
    pub fn insert(&mut self, index: &Index, cursor: usize, new: NewRow<'_>) -> Result<usize> {
        if self.zip.is_some() {
            return self.insert_zip(index, cursor, new);
        }
        let (start, heap_no) = match self.free_place(index, new.bytes.len())? {
            Some(place) => place,
            None => self.heap_place(new.bytes.len())?,
        };
        put(self.page, start, new.bytes)?;
        let rec = start + new.extra;
        self.link(cursor, rec, heap_no)?;
        self.count_insert(cursor, rec)?;
        Ok(rec)
    }

    /// The first place of the free list, when it is large enough. Only that one is looked at.
    fn free_place(&mut self, index: &Index, size: usize) -> Result<Option<(usize, usize)>> {
        let free = self.header(FREE)?;
        if free == 0 {
            return Ok(None);
        }
        let shape = row::measure(self.page, free, index)?;
        if shape.size() < size {
            return Ok(None);
        }
        let heap_no = self.heap_no(free)?;
        self.take_free(free, size)?;
        Ok(Some((minus(free, shape.extra)?, heap_no)))
    }

    /// Takes the first place off the free list. Only what the new row fills counts as reused.
    pub fn take_free(&mut self, free: usize, size: usize) -> Result<()> {
        let next = self.next(free)?;
        self.set_header(FREE, next)?;
        let garbage = self.header(GARBAGE)?;
        self.set_header(GARBAGE, garbage.wrapping_sub(size))
    }

    /// A place at the end of the heap.
    pub fn heap_place(&mut self, size: usize) -> Result<(usize, usize)> {
        let top = self.header(HEAP_TOP)?;
        let word = self.header(N_HEAP)?;
        let heap_no = word & !COMPACT;
        if top < DATA {
            return Err(ApplyError::OutsidePage { offset: top, len: size });
        }
        get(self.page, top, size)?;
        self.set_header(HEAP_TOP, top + size)?;
        self.set_header(N_HEAP, word & COMPACT | (heap_no + 1))?;
        Ok((top, heap_no))
    }

    /// Puts `rec` after `cursor` in the record list.
    pub fn link(&mut self, cursor: usize, rec: usize, heap_no: usize) -> Result<()> {
        let next = self.next(cursor)?;
        self.set_next(rec, next)?;
        self.set_next(cursor, rec)?;
        let count = self.header(N_RECS)?;
        self.set_header(N_RECS, count + 1)?;
        // It owns nobody, and nothing of the place's former row shows in the compressed frame.
        let info = self.info(rec)? & super::image::INFO_BITS;
        self.set_info(rec, info)?;
        self.set_heap_no(rec, heap_no)
    }

    /// Notes in the page header which way inserts go, and in the directory that a group has grown.
    pub fn count_insert(&mut self, cursor: usize, rec: usize) -> Result<()> {
        let last = self.header(LAST_INSERT)?;
        let direction = self.header(DIRECTION)?;
        if last != 0 && last == cursor && direction != LEFT {
            self.set_direction(RIGHT)?;
        } else if last != 0 && self.next(rec)? == last && direction != RIGHT {
            self.set_direction(LEFT)?;
        } else {
            self.reset_direction()?;
        }
        self.set_header(LAST_INSERT, rec)?;
        let owner = self.owner(self.next(rec)?)?;
        let owned = self.owned(owner)?;
        // Nine fit the four bits of the count; more never come to be on a page that is whole.
        if owned > MOST_OWNED {
            return Err(ApplyError::Directory);
        }
        self.set_owned(owner, owned + 1)?;
        if owned == MOST_OWNED {
            let slot = self.slot_of(owner)?;
            self.split_slot(slot)?;
        }
        Ok(())
    }

    fn set_direction(&mut self, direction: usize) -> Result<()> {
        let run = self.header(N_DIRECTION)?;
        self.set_header(DIRECTION, direction)?;
        self.set_header(N_DIRECTION, run + 1)
    }

    pub fn reset_direction(&mut self) -> Result<()> {
        self.set_header(DIRECTION, NO_DIRECTION)?;
        self.set_header(N_DIRECTION, 0)
    }

    /// Removes the row at `rec`.
    pub fn delete(&mut self, index: &Index, rec: usize) -> Result<()> {
        if rec == self.infimum()? || rec == self.supremum()? {
            return Err(ApplyError::Row(rec));
        }
        let owner = self.owner(rec)?;
        let slot = self.slot_of(owner)?;
        let owned = self.owned(owner)?;
        let shape = row::measure(self.page, rec, index)?;
        self.set_header(LAST_INSERT, 0)?;
        let previous = self.previous_in(rec, slot)?;
        let next = self.next(rec)?;
        self.set_next(previous, next)?;
        if owner == rec {
            self.set_slot(slot, previous)?;
        }
        let owner = self.slot(slot)?;
        self.set_owned(owner, minus(owned, 1)?)?;
        let free = self.header(FREE)?;
        self.set_next(rec, free)?;
        self.set_header(FREE, rec)?;
        let garbage = self.header(GARBAGE)?;
        self.set_header(GARBAGE, garbage + shape.size())?;
        if self.zip.is_some() {
            self.delete_zip(index, rec, free)?;
        } else {
            let count = self.header(N_RECS)?;
            self.set_header(N_RECS, minus(count, 1)?)?;
        }
        if Image::needs_balance(owned) {
            self.balance_slot(slot)?;
        }
        Ok(())
    }

    /// Removes `rec` and every row after it, all at once: the chain goes to the free list as it is.
    pub fn delete_end(&mut self, index: &Index, rec: usize) -> Result<()> {
        let supremum = self.supremum()?;
        if rec == supremum {
            return Ok(());
        }
        self.set_header(LAST_INSERT, 0)?;
        if self.zip.is_some() {
            return self.delete_until(index, rec, supremum);
        }
        let previous = self.previous(rec)?;
        let (mut size, mut count, mut last, mut at) = (0, 0, rec, rec);
        while at != supremum {
            if count > self.most_rows() {
                return Err(ApplyError::EndlessList);
            }
            size += row::measure(self.page, at, index)?.size();
            count += 1;
            last = at;
            at = self.next(at)?;
        }
        // Rows of the group that `rec` is in and that stay are owned by the supremum from now on.
        let owner = self.owner(rec)?;
        let (mut gone, mut at) = (0, rec);
        while at != owner {
            gone += 1;
            at = self.next(at)?;
        }
        let stay = minus(self.owned(owner)?, gone)?;
        let slot = self.slot_of(owner)?;
        self.set_slot(slot, supremum)?;
        self.set_owned(supremum, stay)?;
        self.set_header(super::image::N_DIR_SLOTS, slot + 1)?;
        self.set_next(previous, supremum)?;
        let free = self.header(FREE)?;
        self.set_next(last, free)?;
        self.set_header(FREE, rec)?;
        let garbage = self.header(GARBAGE)?;
        self.set_header(GARBAGE, garbage + size)?;
        let rows = self.header(N_RECS)?;
        self.set_header(N_RECS, minus(rows, count)?)
    }

    /// Removes rows one by one, from `rec` up to, but not including, `stop`.
    pub fn delete_until(&mut self, index: &Index, rec: usize, stop: usize) -> Result<()> {
        let mut at = rec;
        for _ in 0..=self.most_rows() {
            if at == stop {
                return Ok(());
            }
            let next = self.next(at)?;
            self.delete(index, at)?;
            at = next;
        }
        Err(ApplyError::EndlessList)
    }

    /// The last row of the list, or the infimum.
    pub fn last_row(&self) -> Result<usize> {
        self.previous(self.supremum()?)
    }

    /// Bytes that rows may still take up, as the server reckons for `count` more rows of an empty heap of
    /// `occupied` bytes with `heap_rows` places.
    fn room(&self, occupied: usize, heap_rows: usize, count: usize) -> usize {
        // Payload of an empty page: everything between the supremum and the trailer, less two slots.
        let free = self.page.len().saturating_sub(120 + 12);
        let slots = (2 * (count + heap_rows)).div_ceil(4);
        free.saturating_sub(occupied + slots)
    }

    /// An insert that the running server would precede by a reorganisation: it then logs that, too.
    pub fn wants_reorganize(&self, size: usize) -> Result<bool> {
        let garbage = r16(self.page, GARBAGE)?;
        if garbage == 0 {
            return Ok(false);
        }
        let heap = minus(self.header(HEAP_TOP)?, 120)?;
        let now = self.room(heap, minus(self.n_heap()?, 2)?, 1);
        let after = self.room(minus(heap, garbage)?, self.header(N_RECS)?, 1);
        Ok(size > now && size <= after)
    }
}
