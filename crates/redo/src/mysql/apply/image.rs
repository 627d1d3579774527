//! One page while redo is applied to it: the page itself and, in compressed tablespaces, the compressed frame that is
//! kept in step with it.

use super::super::error::ApplyError;
use super::bytes::{Result, minus, put, r8, r16, w8, w16};
use super::row::{COMPACT_EXTRA, STATUS};
use super::zip::Frame;

pub(super) const FIL_PAGE_NO: usize = 4;
pub(super) const FIL_PREV: usize = 8;
pub(super) const FIL_LSN: usize = 16;
pub(super) const FIL_TYPE: usize = 24;
pub(super) const FIL_SPACE: usize = 34;
/// Bytes at a page's end that belong to its checksum and LSN.
pub(super) const FIL_TRAILER: usize = 8;

pub(super) const N_DIR_SLOTS: usize = 38;
pub(super) const HEAP_TOP: usize = 40;
pub(super) const N_HEAP: usize = 42;
pub(super) const FREE: usize = 44;
pub(super) const GARBAGE: usize = 46;
pub(super) const LAST_INSERT: usize = 48;
pub(super) const DIRECTION: usize = 50;
pub(super) const N_DIRECTION: usize = 52;
pub(super) const N_RECS: usize = 54;
pub(super) const MAX_TRX_ID: usize = 56;
pub(super) const LEVEL: usize = 64;
/// End of the page header, where rows begin.
pub(super) const DATA: usize = 94;
/// Bit of `N_HEAP`: rows are compact.
pub(super) const COMPACT: usize = 0x8000;

pub(super) const INFO_BITS: u8 = 0xf0;
pub(super) const OWNED: u8 = 0x0f;
pub(super) const DELETED: u8 = 0x20;
pub(super) const MIN_REC: u8 = 0x10;

#[derive(Debug)]
pub(super) struct Image<'a> {
    pub page: &'a mut [u8],
    pub zip: Option<Frame<'a>>,
}

impl Image<'_> {
    pub fn is_compact(&self) -> Result<bool> {
        Ok(r16(self.page, N_HEAP)? & COMPACT != 0)
    }

    pub fn is_leaf(&self) -> Result<bool> {
        Ok(r16(self.page, LEVEL)? == 0)
    }

    pub fn n_heap(&self) -> Result<usize> {
        Ok(r16(self.page, N_HEAP)? & !COMPACT)
    }

    pub fn header(&self, at: usize) -> Result<usize> {
        r16(self.page, at)
    }

    /// Header fields are the same in the page and in its compressed frame.
    pub fn set_header(&mut self, at: usize, value: usize) -> Result<()> {
        w16(self.page, at, value)?;
        match &mut self.zip {
            Some(zip) => w16(zip.data, at, value),
            None => Ok(()),
        }
    }

    /// A change that the log describes by its place: done to both.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        put(self.page, at, bytes)?;
        match &mut self.zip {
            Some(zip) => put(zip.data, at, bytes),
            None => Ok(()),
        }
    }

    pub fn infimum(&self) -> Result<usize> {
        Ok(if self.is_compact()? { 99 } else { 101 })
    }

    pub fn supremum(&self) -> Result<usize> {
        Ok(if self.is_compact()? { 112 } else { 116 })
    }

    /// Most rows that a page can hold: no walk along its list takes more steps.
    pub fn most_rows(&self) -> usize {
        self.page.len() / (COMPACT_EXTRA + 1)
    }

    /// The row after `rec` in its list; 0 at the end of the free list.
    pub fn next(&self, rec: usize) -> Result<usize> {
        let value = r16(self.page, minus(rec, 2)?)?;
        let next = match value {
            0 => return Ok(0),
            _ if self.is_compact()? => (rec + value) & (self.page.len() - 1),
            _ => value,
        };
        if next < DATA || next >= self.page.len() - FIL_TRAILER {
            return Err(ApplyError::Row(rec));
        }
        Ok(next)
    }

    pub fn set_next(&mut self, rec: usize, next: usize) -> Result<()> {
        let value = match next {
            0 => 0,
            _ if self.is_compact()? => next.wrapping_sub(rec),
            _ => next,
        };
        w16(self.page, minus(rec, 2)?, value)
    }

    fn info_at(&self, rec: usize) -> Result<usize> {
        minus(rec, if self.is_compact()? { 5 } else { 6 })
    }

    /// Info bits (high half) and owned count (low half).
    pub fn info(&self, rec: usize) -> Result<u8> {
        r8(self.page, self.info_at(rec)?)
    }

    pub fn set_info(&mut self, rec: usize, info: u8) -> Result<()> {
        let at = self.info_at(rec)?;
        w8(self.page, at, info)
    }

    pub fn owned(&self, rec: usize) -> Result<usize> {
        Ok(usize::from(self.info(rec)? & OWNED))
    }

    pub fn set_owned(&mut self, rec: usize, owned: usize) -> Result<()> {
        let info = self.info(rec)? & INFO_BITS | (owned as u8 & OWNED);
        self.set_info(rec, info)?;
        let user = rec != self.infimum()? && rec != self.supremum()?;
        match &mut self.zip {
            Some(zip) if user => zip.set_owned(rec, owned > 0),
            _ => Ok(()),
        }
    }

    pub fn heap_no(&self, rec: usize) -> Result<usize> {
        Ok(r16(self.page, minus(rec, if self.is_compact()? { 4 } else { 5 })?)? >> 3)
    }

    pub fn set_heap_no(&mut self, rec: usize, number: usize) -> Result<()> {
        let at = minus(rec, if self.is_compact()? { 4 } else { 5 })?;
        let low = r16(self.page, at)? & usize::from(STATUS);
        w16(self.page, at, number << 3 | low)
    }

    /// Sets or clears the mark in the row and, in the compressed frame, in its directory entry.
    pub fn set_deleted(&mut self, rec: usize, deleted: bool) -> Result<()> {
        let info = self.info(rec)?;
        self.set_info(rec, if deleted { info | DELETED } else { info & !DELETED })?;
        match &mut self.zip {
            Some(zip) => zip.set_deleted(rec, deleted),
            None => Ok(()),
        }
    }

    /// Runs `change` on the page alone: the compressed frame is rebuilt by a later record of the same
    /// mini-transaction.
    pub fn without_zip<T>(&mut self, change: impl FnOnce(&mut Image<'_>) -> Result<T>) -> Result<T> {
        change(&mut Image { page: &mut *self.page, zip: None })
    }
}
