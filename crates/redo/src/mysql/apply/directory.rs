//! The page directory: slots of 2 bytes, downward from the page's trailer, each pointing to the last row of a group.

use super::super::error::ApplyError;
use super::bytes::{Result, minus, r16, shift, w16};
use super::image::{FIL_TRAILER, Image, N_DIR_SLOTS};

/// Groups of inner slots hold 4 to 8 rows.
pub(super) const MOST_OWNED: usize = 8;
const FEWEST_OWNED: usize = 4;

impl Image<'_> {
    fn slot_at(&self, slot: usize) -> Result<usize> {
        minus(self.page.len(), FIL_TRAILER + 2 * (slot + 1))
    }

    /// The row that `slot` points to.
    pub fn slot(&self, slot: usize) -> Result<usize> {
        r16(self.page, self.slot_at(slot)?)
    }

    pub fn set_slot(&mut self, slot: usize, rec: usize) -> Result<()> {
        let at = self.slot_at(slot)?;
        w16(self.page, at, rec)
    }

    pub fn n_slots(&self) -> Result<usize> {
        self.header(N_DIR_SLOTS)
    }

    /// The first row from `rec` on that owns a group.
    pub fn owner(&self, rec: usize) -> Result<usize> {
        let mut at = rec;
        for _ in 0..self.most_rows() {
            if self.owned(at)? > 0 {
                return Ok(at);
            }
            at = self.next(at)?;
        }
        Err(ApplyError::EndlessList)
    }

    /// The slot that points to `owner`.
    pub fn slot_of(&self, owner: usize) -> Result<usize> {
        let wanted = (owner as u16).to_be_bytes();
        let count = self.n_slots()?;
        let start = minus(self.page.len(), FIL_TRAILER + 2 * count)?;
        let slots = super::bytes::get(self.page, start, 2 * count)?;
        let from_start =
            slots.chunks_exact(2).position(|slot| slot == wanted).ok_or(ApplyError::Directory)?;
        minus(count, from_start + 1)
    }

    /// The row before `rec` in the list.
    pub fn previous(&self, rec: usize) -> Result<usize> {
        let slot = self.slot_of(self.owner(rec)?)?;
        self.previous_in(rec, slot)
    }

    /// The row before `rec`, which is in the group of `slot`.
    pub fn previous_in(&self, rec: usize, slot: usize) -> Result<usize> {
        let mut at = self.slot(slot.checked_sub(1).ok_or(ApplyError::Directory)?)?;
        for _ in 0..self.most_rows() {
            let next = self.next(at)?;
            if next == rec {
                return Ok(at);
            }
            at = next;
        }
        Err(ApplyError::EndlessList)
    }

    /// Splits the group of `slot`, which has grown to 9 rows, into 4 and 5.
    pub fn split_slot(&mut self, slot: usize) -> Result<()> {
        let owner = self.slot(slot)?;
        let total = self.owned(owner)?;
        let half = total / 2;
        let mut rec = self.slot(slot.checked_sub(1).ok_or(ApplyError::Directory)?)?;
        for _ in 0..half {
            rec = self.next(rec)?;
        }
        let count = self.n_slots()?;
        self.set_header(N_DIR_SLOTS, count + 1)?;
        // The table grows downward: everything from `slot` on moves one place down.
        let from = minus(self.page.len(), FIL_TRAILER + 2 * count)?;
        let to = minus(self.page.len(), FIL_TRAILER + 2 * slot)?;
        shift(self.page, from..to, minus(from, 2)?)?;
        self.set_slot(slot, rec)?;
        self.set_owned(rec, half)?;
        self.set_owned(owner, minus(total, half)?)
    }

    /// Refills the group of `slot`, which has shrunk below 4 rows, from the one after it, or merges them.
    pub fn balance_slot(&mut self, slot: usize) -> Result<()> {
        let count = self.n_slots()?;
        // The last slot may hold few.
        if slot + 1 >= count {
            return Ok(());
        }
        let (rec, up) = (self.slot(slot)?, self.slot(slot + 1)?);
        let (n, up_n) = (self.owned(rec)?, self.owned(up)?);
        if up_n > FEWEST_OWNED {
            let moved = self.next(rec)?;
            self.set_owned(rec, 0)?;
            self.set_owned(moved, n + 1)?;
            self.set_slot(slot, moved)?;
            return self.set_owned(up, up_n - 1);
        }
        self.set_owned(rec, 0)?;
        self.set_owned(up, up_n + n)?;
        // Slots after this one move one place up; the place that becomes free is zeroed.
        let from = minus(self.page.len(), FIL_TRAILER + 2 * count)?;
        let to = minus(self.page.len(), FIL_TRAILER + 2 * (slot + 1))?;
        shift(self.page, from..to, from + 2)?;
        w16(self.page, from, 0)?;
        self.set_header(N_DIR_SLOTS, count - 1)
    }

    /// A group of `n` rows that lost one needs [`Image::balance_slot`].
    pub fn needs_balance(n: usize) -> bool {
        n <= FEWEST_OWNED
    }
}
