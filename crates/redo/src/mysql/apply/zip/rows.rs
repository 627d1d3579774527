//! Rows into and out of a compressed frame, and the modification log.

use super::super::super::error::ApplyError;
use super::super::super::index::Index;
use super::super::bytes::{Result, fill, get, minus, put, shift, w8};
use super::super::image::{FIL_TYPE, FREE, HEAP_TOP, Image, N_RECS};
use super::super::list::NewRow;
use super::super::row::{self, CHILD, COMPACT_EXTRA, FieldAt};
use super::{EXTERN, FIRST_HEAP_NO, Frame, Kind, SLOT, SLOT_DELETED, SYSTEM};

const NO_FRAME: ApplyError = ApplyError::NotCompressed;

impl<'a> Image<'a> {
    pub(super) fn frame(&mut self) -> Result<&mut Frame<'a>> {
        self.zip.as_mut().ok_or(NO_FRAME)
    }

    fn kind(&self, index: &Index) -> Result<Kind> {
        Ok(Kind::of(self.is_leaf()?, index.clustered))
    }

    /// Inserts a row into the page and its compressed frame. What the frame has no room for goes into the page alone:
    /// a later record of the same mini-transaction rebuilds the frame.
    pub(in super::super) fn insert_zip(
        &mut self,
        index: &Index,
        cursor: usize,
        new: NewRow<'_>,
    ) -> Result<usize> {
        let kind = self.kind(index)?;
        let size = new.bytes.len();
        if !self.frame()?.has_room(kind, size)? || self.wants_reorganize(size)? {
            return self.without_zip(|image| image.insert(index, cursor, new));
        }
        let (start, heap_no, reused) = match self.free_place_zip(index, kind, new)? {
            Some((start, heap_no, free)) => (start, heap_no, Some(free)),
            None => {
                let (start, heap_no) = self.heap_place(size)?;
                self.frame()?.add_place(kind)?;
                (start, heap_no, None)
            }
        };
        put(self.page, start, new.bytes)?;
        let rec = start + new.extra;
        self.link(cursor, rec, heap_no)?;
        let infimum = self.infimum()?;
        self.frame()?.insert_entry(rec, (cursor != infimum).then_some(cursor), reused)?;
        self.count_insert(cursor, rec)?;
        self.log_row(index, rec, true)?;
        Ok(rec)
    }

    /// The first place of the free list, when the new row fits it with the same origin.
    fn free_place_zip(
        &mut self,
        index: &Index,
        kind: Kind,
        new: NewRow<'_>,
    ) -> Result<Option<(usize, usize, usize)>> {
        let free = self.header(FREE)?;
        if free == 0 {
            return Ok(None);
        }
        let size = new.bytes.len();
        let mut fields = Vec::new();
        let old = row::fields(self.page, free, index, &mut fields)?;
        if old.size() < size || old.extra < new.extra || old.size() < size + (old.extra - new.extra) {
            return Ok(None);
        }
        let heap_no = self.heap_no(free)?;
        self.take_free(free, size)?;
        match kind {
            // Left-overs of the old row must not stay where the frame keeps them apart.
            Kind::Node if old.size() > size => fill(self.page, free + old.data - CHILD, CHILD, 0)?,
            Kind::ClusteredLeaf => {
                let trx = system_columns(index, &fields)?;
                if trx + SYSTEM + old.extra > size {
                    fill(self.page, free + trx, SYSTEM, 0)?;
                }
            }
            _ => {}
        }
        Ok(Some((minus(free, new.extra)?, heap_no, free)))
    }

    /// The part of a delete that concerns the frame; `free` was the head of the free list before.
    pub(in super::super) fn delete_zip(&mut self, index: &Index, rec: usize, free: usize) -> Result<()> {
        let kind = self.kind(index)?;
        let mut fields = Vec::new();
        let shape = row::fields(self.page, rec, index, &mut fields)?;
        let heap_no = self.heap_no(rec)?;
        let externs = externs(kind, &fields);
        let before = if externs > 0 { self.externs_before(index, heap_no)? } else { 0 };
        let zip = self.frame()?;
        let rows = zip.rows()?;
        let entry = zip.find_row(rec)?;
        let first_free = match free {
            0 => zip.places()?,
            free => zip.find(free, rows..zip.places()?)?,
        };
        // Everything between the row's entry and the free list moves up; the entry becomes the first free one.
        let (from, to) = (zip.entry_at(minus(first_free, 1)?)?, zip.entry_at(entry)?);
        shift(zip.data, from..to, from + SLOT)?;
        zip.set_entry(first_free - 1, rec)?;
        self.set_header(N_RECS, minus(rows, 1)?)?;
        if externs > 0 {
            self.frame()?.remove_externs(before, externs)?;
        }
        self.set_info(rec, 0)?;
        self.clear_stored(index, kind, rec, shape.data, heap_no, &fields)
    }

    fn clear_stored(
        &mut self,
        index: &Index,
        kind: Kind,
        rec: usize,
        data: usize,
        heap_no: usize,
        fields: &[FieldAt],
    ) -> Result<()> {
        match kind {
            Kind::Node => {
                fill(self.page, rec + minus(data, CHILD)?, CHILD, 0)?;
                let zip = self.frame()?;
                let at = zip.stored_at(heap_no, CHILD)?;
                fill(zip.data, at, CHILD, 0)
            }
            Kind::ClusteredLeaf => {
                fill(self.page, rec + system_columns(index, fields)?, SYSTEM, 0)?;
                for field in fields.iter().filter(|field| field.external) {
                    fill(self.page, rec + minus(field.end, EXTERN)?, EXTERN, 0)?;
                }
                let zip = self.frame()?;
                let at = zip.stored_at(heap_no, SYSTEM)?;
                fill(zip.data, at, SYSTEM, 0)
            }
            Kind::SecondaryLeaf => Ok(()),
        }
    }

    /// External pointers of rows with a smaller heap number.
    fn externs_before(&mut self, index: &Index, heap_no: usize) -> Result<usize> {
        let zip = self.zip.as_ref().ok_or(NO_FRAME)?;
        let mut left = minus(heap_no, FIRST_HEAP_NO)?;
        let mut fields = Vec::new();
        let mut count = 0;
        for n in 0..zip.rows()? {
            if left == 0 {
                break;
            }
            let rec = zip.entry(n)? & super::SLOT_OFFSET;
            if self.heap_no(rec)? < heap_no {
                row::fields(self.page, rec, index, &mut fields)?;
                count += fields.iter().filter(|field| field.external).count();
                left -= 1;
            }
        }
        Ok(count)
    }

    /// Appends the row at `rec` to the modification log; `create`: it is new.
    pub(in super::super) fn log_row(&mut self, index: &Index, rec: usize, create: bool) -> Result<()> {
        let kind = self.kind(index)?;
        let mut fields = Vec::new();
        let shape = row::fields(self.page, rec, index, &mut fields)?;
        let heap_no = self.heap_no(rec)?;
        let deleted = self.info(rec)? & super::super::image::DELETED != 0;
        let externs = externs(kind, &fields);
        let mut pointer_at = if externs > 0 {
            let before = self.externs_before(index, heap_no)?;
            self.frame()?.make_extern_room(before, if create { externs } else { 0 })?
        } else {
            0
        };
        let (page, zip) = (&*self.page, self.zip.as_mut().ok_or(NO_FRAME)?);
        let entry = zip.find_row(rec)?;
        let word = zip.entry(entry)?;
        zip.set_entry(entry, if deleted { word | SLOT_DELETED } else { word & !SLOT_DELETED })?;

        let number = minus(heap_no, 1)?;
        if number >= 64 {
            zip.log_byte(0x80 | (number >> 7) as u8)?;
        }
        zip.log_byte((number << 1) as u8)?;
        let extra = get(page, minus(rec, shape.extra)?, minus(shape.extra, COMPACT_EXTRA)?)?;
        for byte in extra.iter().rev() {
            zip.log_byte(*byte)?;
        }
        let mut from = 0;
        for apart in left_out(index, kind, &fields, shape.data)? {
            zip.log_bytes(page, rec + from, minus(apart.start, from)?)?;
            let (at, len) = match apart.what {
                What::Child => (zip.stored_at(heap_no, CHILD)?, CHILD),
                What::System => (zip.stored_at(heap_no, SYSTEM)?, SYSTEM),
                What::External => {
                    pointer_at = minus(pointer_at, EXTERN)?;
                    (pointer_at, EXTERN)
                }
            };
            zip.copy_in(at, page, rec + apart.start, len)?;
            from = apart.start + len;
        }
        zip.log_bytes(page, rec + from, minus(shape.data, from)?)
    }
}

/// A part of a row that is kept apart from the stream and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Apart {
    pub what: What,
    /// From the row's origin.
    pub start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Child,
    System,
    External,
}

impl What {
    pub fn len(self) -> usize {
        match self {
            What::Child => CHILD,
            What::System => SYSTEM,
            What::External => EXTERN,
        }
    }
}

/// The parts of a row that are kept apart, in order.
pub(super) fn left_out(
    index: &Index,
    kind: Kind,
    fields: &[FieldAt],
    data: usize,
) -> Result<impl Iterator<Item = Apart>> {
    let child = match kind {
        Kind::Node => Some(Apart { what: What::Child, start: minus(data, CHILD)? }),
        _ => None,
    };
    let trx = match kind {
        Kind::ClusteredLeaf => {
            system_columns(index, fields)?;
            index.trx_id()
        }
        _ => usize::MAX,
    };
    let clustered = kind == Kind::ClusteredLeaf;
    let in_row = fields.iter().filter_map(move |field| {
        if field.position == trx {
            Some(Apart { what: What::System, start: field.start })
        } else if clustered && field.external {
            Some(Apart { what: What::External, start: field.end.saturating_sub(EXTERN) })
        } else {
            None
        }
    });
    Ok(in_row.chain(child))
}

/// Where the hidden columns start, from the row's origin.
fn system_columns(index: &Index, fields: &[FieldAt]) -> Result<usize> {
    let position = index.trx_id();
    fields
        .iter()
        .find(|field| field.position == position)
        .map(|field| field.start)
        .ok_or(ApplyError::NoSuchField(position as u32))
}

pub(super) fn externs(kind: Kind, fields: &[FieldAt]) -> usize {
    if kind == Kind::ClusteredLeaf { fields.iter().filter(|field| field.external).count() } else { 0 }
}

impl Frame<'_> {
    /// Whether a new row of `size` bytes fits the modification log and the trailer.
    fn has_room(&self, kind: Kind, size: usize) -> Result<bool> {
        let trailer = self.places()? * (SLOT + kind.stored()) + EXTERN * self.n_blobs;
        // Five header bytes are not logged; two are for the heap number.
        Ok((size + trailer + SLOT + self.log_end).saturating_sub(3) < self.data.len())
    }

    /// Makes room in the trailer for one more heap place; the page's heap count includes it already.
    fn add_place(&mut self, kind: Kind) -> Result<()> {
        let places = minus(self.places()?, 1)?;
        let directory = self.below_directory(places)?;
        let stored = minus(directory, places * kind.stored())?;
        if kind == Kind::ClusteredLeaf {
            let pointers = minus(stored, EXTERN * self.n_blobs)?;
            shift(self.data, pointers..stored, minus(pointers, SLOT + SYSTEM)?)?;
        }
        shift(self.data, stored..directory, minus(stored, SLOT)?)
    }

    /// Enters `rec` behind `cursor` (`None`: first); `reused` is the free place that it took.
    fn insert_entry(&mut self, rec: usize, cursor: Option<usize>, reused: Option<usize>) -> Result<()> {
        let rows = minus(self.rows()?, 1)?;
        let at = match cursor {
            Some(cursor) => self.find(cursor, 0..rows)? + 1,
            None => 0,
        };
        // Entries from there up to the place taken, or to the end, move down by one.
        let places = self.places()?;
        let last = match reused {
            Some(free) => self.find(free, rows..places)?,
            None => minus(places, 1)?,
        };
        let (from, to) = (self.entry_at(last)? + SLOT, self.entry_at(at)? + SLOT);
        shift(self.data, from..to, from - SLOT)?;
        self.set_entry(at, rec)
    }

    /// Makes room for `more` external pointers after the first `before`; returns where they begin, downward.
    fn make_extern_room(&mut self, before: usize, more: usize) -> Result<usize> {
        let start = self.externs()?;
        let end = minus(start, EXTERN * self.n_blobs)?;
        let at = minus(start, EXTERN * before)?;
        if at < end {
            return Err(ApplyError::CompressedPage("external pointers"));
        }
        if more > 0 {
            shift(self.data, end..at, minus(end, EXTERN * more)?)?;
            self.n_blobs += more;
        }
        Ok(at)
    }

    /// Removes `count` external pointers after the first `before`.
    fn remove_externs(&mut self, before: usize, count: usize) -> Result<()> {
        let start = self.externs()?;
        let end = minus(start, EXTERN * self.n_blobs)?;
        self.n_blobs = minus(self.n_blobs, count)?;
        let after = minus(self.n_blobs, before)?;
        shift(self.data, end..end + EXTERN * after, end + EXTERN * count)?;
        fill(self.data, end, EXTERN * count, 0)
    }

    fn log_byte(&mut self, byte: u8) -> Result<()> {
        w8(self.data, self.log_end, byte)?;
        self.log_end += 1;
        Ok(())
    }

    fn log_bytes(&mut self, page: &[u8], from: usize, len: usize) -> Result<()> {
        self.copy_in(self.log_end, page, from, len)?;
        self.log_end += len;
        Ok(())
    }
}

/// Header fields that a frame keeps equal to the page's; used when it is rebuilt.
pub(super) fn copy_headers(page: &[u8], data: &mut [u8]) -> Result<()> {
    for (at, len) in [(8, 8), (FIL_TYPE, 2), (38, 56)] {
        put(data, at, get(page, at, len)?)?;
    }
    Ok(())
}

/// Where the heap of the page ends, checked.
pub(super) fn heap_top(page: &[u8]) -> Result<usize> {
    let top = super::super::bytes::r16(page, HEAP_TOP)?;
    if top < super::HEAP || top > page.len() {
        return Err(ApplyError::CompressedPage("heap"));
    }
    Ok(top)
}
