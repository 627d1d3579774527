//! From a page to its compressed frame.

use reseed_zlib::Until;

use super::super::super::error::ApplyError;
use super::super::super::index::Index;
use super::super::bytes::{Result, get, minus, put, w16};
use super::super::image::{DATA, DELETED, FREE, Image, N_RECS, OWNED};
use super::super::row::{self, COMPACT_EXTRA};
use super::rows::{What, copy_headers, externs, heap_top, left_out};
use super::{
    EXTERN, FIRST_HEAP_NO, HEAP, Kind, SLOT, SLOT_DELETED, SLOT_OWNED, SYSTEM, Zlib, description, zlib_error,
};

/// Fills the image's frame from its page.
pub(in super::super) fn compress(
    image: &mut Image<'_>,
    index: &Index,
    level: u8,
    zlib: &mut Zlib,
) -> Result<()> {
    if !index.compact {
        return Err(ApplyError::Index);
    }
    let zip = image.zip.take().ok_or(ApplyError::NotCompressed)?;
    let mut packing = Packing::new(image, index, zip.data.len())?;
    packing.directory()?;
    packing.rows()?;
    let end = packing.deflate(level, zlib)?;
    let (trailer, n_blobs) = (packing.frame, packing.n_blobs);
    copy_headers(image.page, zip.data)?;
    put(zip.data, DATA, get(&trailer, DATA, minus(trailer.len(), DATA)?)?)?;
    image.zip = Some(super::Frame { data: zip.data, log_end: end, n_blobs });
    Ok(())
}

struct Packing<'a, 'b> {
    image: &'a Image<'b>,
    index: &'a Index,
    kind: Kind,
    /// Heap places of user rows.
    places: usize,
    /// Origin of each row by heap place, and whether it is on the free list.
    rows: Vec<Option<(usize, bool)>>,
    /// What will be the frame from `DATA` on.
    frame: Vec<u8>,
    /// What is deflated after the description.
    content: Vec<u8>,
    n_blobs: usize,
    /// External pointers for which room is kept.
    pointers: usize,
}

impl<'a, 'b> Packing<'a, 'b> {
    fn new(image: &'a Image<'b>, index: &'a Index, frame: usize) -> Result<Packing<'a, 'b>> {
        let kind = Kind::of(image.is_leaf()?, index.clustered);
        let places = minus(image.n_heap()?, FIRST_HEAP_NO)?;
        if places > image.most_rows() {
            return Err(ApplyError::EndlessList);
        }
        Ok(Packing {
            image,
            index,
            kind,
            places,
            rows: vec![None; places],
            frame: vec![0; frame],
            content: Vec::with_capacity(image.page.len()),
            n_blobs: 0,
            pointers: 0,
        })
    }

    fn note(&mut self, entry: usize, rec: usize, bits: usize, free: bool) -> Result<()> {
        let at = minus(self.frame.len(), SLOT * (entry + 1))?;
        w16(&mut self.frame, at, rec | bits)?;
        let place = minus(self.image.heap_no(rec)?, FIRST_HEAP_NO)?;
        let known = self.rows.get_mut(place).ok_or(ApplyError::Row(rec))?;
        // Each heap place is in exactly one of the two lists.
        match known.replace((rec, free)) {
            None => Ok(()),
            Some(_) => Err(ApplyError::Row(rec)),
        }
    }

    /// The dense directory: rows in list order, then the free list.
    fn directory(&mut self) -> Result<()> {
        let rows = self.image.header(N_RECS)?;
        if rows > self.places {
            return Err(ApplyError::EndlessList);
        }
        let mut rec = self.image.infimum()?;
        for entry in 0..rows {
            rec = self.image.next(rec)?;
            let info = self.image.info(rec)?;
            let owned = if info & OWNED != 0 { SLOT_OWNED } else { 0 };
            let deleted = if info & DELETED != 0 { SLOT_DELETED } else { 0 };
            self.note(entry, rec, owned | deleted, false)?;
        }
        if self.image.next(rec)? != self.image.supremum()? {
            return Err(ApplyError::EndlessList);
        }
        let mut free = self.image.header(FREE)?;
        for entry in rows..self.places {
            if free == 0 {
                return Err(ApplyError::EndlessList);
            }
            self.note(entry, free, 0, true)?;
            free = self.image.next(free)?;
        }
        Ok(())
    }

    /// Parts of the rows into the trailer, the rest into what is deflated.
    fn rows(&mut self) -> Result<()> {
        let page = &*self.image.page;
        let mut fields = Vec::new();
        let mut pointer = minus(self.frame.len(), SLOT * self.places)?;
        let stored = pointer;
        pointer = pointer.saturating_sub(SYSTEM * self.places);
        let mut from = HEAP;
        for (place, row) in self.rows.iter().enumerate() {
            let (rec, free) = row.ok_or(ApplyError::EndlessList)?;
            let header = minus(rec, COMPACT_EXTRA)?;
            self.content.extend_from_slice(get(page, from, minus(header, from)?)?);
            from = rec;
            if self.kind == Kind::SecondaryLeaf {
                continue;
            }
            let shape = row::fields(page, rec, self.index, &mut fields)?;
            self.pointers += externs(self.kind, &fields);
            for apart in left_out(self.index, self.kind, &fields, shape.data)? {
                let (at, size) = (rec + apart.start, apart.what.len());
                self.content.extend_from_slice(get(page, from, minus(at, from)?)?);
                from = at + size;
                let to = match apart.what {
                    What::External if free => continue,
                    What::External => {
                        pointer = minus(pointer, EXTERN)?;
                        self.n_blobs += 1;
                        pointer
                    }
                    What::Child | What::System => minus(stored, size * (place + 1))?,
                };
                put(&mut self.frame, to, get(page, at, size)?)?;
            }
            // What follows in the row goes with the gap before the next one.
            let end = rec + shape.data;
            self.content.extend_from_slice(get(page, from, minus(end, from)?)?);
            from = end;
        }
        let top = heap_top(page)?;
        self.content.extend_from_slice(get(page, from, minus(top, from)?)?);
        Ok(())
    }

    /// Deflates description and content into the frame; returns where the stream ends.
    fn deflate(&mut self, level: u8, zlib: &mut Zlib) -> Result<usize> {
        let mut description = Vec::new();
        description::encode(self.index, self.kind, &mut description);
        let trailer = self.places * (SLOT + self.kind.stored()) + EXTERN * self.pointers;
        // One byte stays for the end of the empty modification log.
        let limit = self.frame.len().checked_sub(trailer + 1).ok_or(ApplyError::DoesNotFit)?;
        let room = self.frame.get_mut(DATA..limit).ok_or(ApplyError::DoesNotFit)?;
        let deflate = zlib.deflate(level, self.image.page.len())?;
        let first = deflate.run(&description, room, Until::FullFlush).map_err(zlib_error)?;
        let rest = room.get_mut(first.written..).unwrap_or_default();
        let second = deflate.run(&self.content, rest, Until::Finish).map_err(zlib_error)?;
        if first.read < description.len() || !second.ended {
            return Err(ApplyError::DoesNotFit);
        }
        Ok(DATA + first.written + second.written)
    }
}
