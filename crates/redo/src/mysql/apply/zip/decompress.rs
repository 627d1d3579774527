//! From a compressed frame to the page.

use reseed_zlib::{Inflate, Until};

use super::super::super::error::ApplyError;
use super::super::super::index::Index;
use super::super::bytes::{Result, fill, get, get_mut, minus, put, r8, r16, w8, w16};
use super::super::create::{PAGE_INDEX, PAGE_RTREE, PAGE_SDI};
use super::super::image::{DATA, DELETED, FIL_PREV, FIL_TYPE, Image, LEVEL, MIN_REC, N_DIR_SLOTS};
use super::super::row::{self, COMPACT_EXTRA, FieldAt};
use super::rows::{What, externs, heap_top, left_out};
use super::{
    EXTERN, FIRST_HEAP_NO, Frame, HEAP, Kind, SLOT_DELETED, SLOT_OFFSET, SLOT_OWNED, Zlib, description,
    zlib_error,
};

const INFIMUM: usize = 99;
const SUPREMUM: usize = 112;
/// Both of them with their headers, but for the infimum's next and the supremum's owned count.
const LOWS: &[u8; 26] = b"\x01\x00\x02\x00\x0dinfimum\x00\x01\x00\x0b\x00\x00supremum";
const DAMAGED: ApplyError = ApplyError::CompressedPage("rows");

/// Pages of rows are compressed; all others lie in a compressed tablespace as they are.
pub(in super::super) fn is_rows(frame: &[u8]) -> Result<bool> {
    Ok([PAGE_SDI, PAGE_RTREE, PAGE_INDEX].map(usize::from).contains(&r16(frame, FIL_TYPE)?))
}

/// Fills `page` from `zip`, and finds out where the frame's modification log ends.
pub(in super::super) fn decompress(page: &mut [u8], zip: &mut Frame<'_>, zlib: &mut Zlib) -> Result<()> {
    page.fill(0);
    put(page, 0, get(zip.data, 0, DATA)?)?;
    put(page, DATA, LOWS)?;
    let rows = rows_of(page, zip)?;
    write_slots(page, zip)?;
    let inflate = zlib.inflate(page.len())?;
    let mut stream =
        Stream { inflate, input: get(zip.data, DATA, minus(zip.data.len(), DATA)?)?, at: 0, ended: false };
    let (index, kind) = description::decode(&stream.description()?, zip.is_leaf()?)?;
    let mut unpacked = Unpacked { page, index: &index, kind, rows: &rows, fields: Vec::new() };
    unpacked.read_stream(&mut stream)?;
    let log = DATA + stream.at;
    zip.log_end = unpacked.read_log(zip, log)?;
    unpacked.read_trailer(zip)?;
    link(page, zip)
}

/// Origins of all rows, used and free, in heap order.
fn rows_of(page: &[u8], zip: &Frame<'_>) -> Result<Vec<usize>> {
    let places = zip.places()?;
    // A dense directory that would reach into the header is none.
    minus(zip.below_directory(places)?, DATA)?;
    let mut rows = Vec::with_capacity(places);
    for n in 0..places {
        rows.push(zip.entry(n)? & SLOT_OFFSET);
    }
    rows.sort_unstable();
    let apart = rows.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    let inside = rows.first().is_none_or(|first| *first >= HEAP + COMPACT_EXTRA)
        && rows.last().is_none_or(|last| *last < page.len());
    if !apart || !inside || zip.rows()? > places {
        return Err(ApplyError::CompressedPage("dense directory"));
    }
    Ok(rows)
}

fn write_slots(page: &mut [u8], zip: &Frame<'_>) -> Result<()> {
    let mut image = Image { page, zip: None };
    image.set_slot(0, INFIMUM)?;
    let mut slot = 1;
    for n in 0..zip.rows()? {
        let entry = zip.entry(n)?;
        if entry & SLOT_OWNED != 0 {
            image.set_slot(slot, entry & SLOT_OFFSET)?;
            slot += 1;
        }
    }
    image.set_slot(slot, SUPREMUM)?;
    if image.header(N_DIR_SLOTS)? != slot + 1 {
        return Err(ApplyError::CompressedPage("count of directory slots"));
    }
    Ok(())
}

/// The deflate stream of a frame, read piece by piece.
struct Stream<'a> {
    inflate: &'a mut Inflate,
    input: &'a [u8],
    at: usize,
    ended: bool,
}

impl Stream<'_> {
    fn run(&mut self, to: &mut [u8], until: Until) -> Result<usize> {
        let input = self.input.get(self.at..).unwrap_or_default();
        let done = self.inflate.run(input, to, until).map_err(zlib_error)?;
        self.at += done.read;
        self.ended |= done.ended;
        Ok(done.written)
    }

    /// The first block: it follows the zlib header.
    fn description(&mut self) -> Result<Vec<u8>> {
        const LONGEST: usize = 4096;
        let mut to = vec![0; LONGEST];
        let header = self.run(&mut to, Until::Block)?;
        let block = self.run(to.get_mut(header..).unwrap_or_default(), Until::Block)?;
        to.truncate(header + block);
        Ok(to)
    }

    /// Fills `to`; false when the stream ended before.
    fn fill(&mut self, to: &mut [u8]) -> Result<bool> {
        let mut filled = 0;
        loop {
            let (at, rest) = (self.at, to.get_mut(filled..).unwrap_or_default());
            let written = self.run(rest, Until::Buffers)?;
            filled += written;
            if self.ended || filled == to.len() {
                return Ok(!self.ended || (filled == to.len() && !to.is_empty()));
            }
            if written == 0 && self.at == at {
                return Err(ApplyError::CompressedPage("deflate stream is cut short"));
            }
        }
    }
}

struct Unpacked<'a> {
    page: &'a mut [u8],
    index: &'a Index,
    kind: Kind,
    rows: &'a [usize],
    fields: Vec<FieldAt>,
}

impl Unpacked<'_> {
    fn set_heap_word(&mut self, rec: usize, heap_no: usize) -> Result<()> {
        let status = usize::from(self.kind == Kind::Node);
        w16(self.page, minus(rec, 4)?, heap_no << 3 | status)
    }

    /// Rows as they were when the page was last compressed. Later ones are in the log.
    fn read_stream(&mut self, stream: &mut Stream<'_>) -> Result<()> {
        let mut end = HEAP;
        for (n, rec) in self.rows.iter().copied().enumerate() {
            let before = minus(rec - COMPACT_EXTRA, end)?;
            let whole = stream.fill(get_mut(self.page, end, before)?)?;
            if !whole {
                return Ok(());
            }
            self.set_heap_word(rec, n + FIRST_HEAP_NO)?;
            if stream.ended {
                return Ok(());
            }
            let shape = row::fields(self.page, rec, self.index, &mut self.fields)?;
            let mut from = 0;
            for apart in left_out(self.index, self.kind, &self.fields, shape.data)? {
                let len = minus(apart.start, from)?;
                if !fill_some(stream, get_mut(self.page, rec + from, len)?)? {
                    return Ok(());
                }
                from = apart.start + apart.what.len();
            }
            if !fill_some(stream, get_mut(self.page, rec + from, minus(shape.data, from)?)?)? {
                return Ok(());
            }
            end = rec + shape.data;
        }
        let rest = minus(heap_top(self.page)?, end)?;
        stream.run(get_mut(self.page, end, rest)?, Until::Finish)?;
        if !stream.ended {
            return Err(ApplyError::CompressedPage("deflate stream does not end"));
        }
        Ok(())
    }

    /// Applies the modification log at `at`; returns where it ends.
    fn read_log(&mut self, zip: &Frame<'_>, mut at: usize) -> Result<usize> {
        loop {
            let start = at;
            let mut value = usize::from(r8(zip.data, at)?);
            at += 1;
            if value == 0 {
                return Ok(start);
            }
            if value & 0x80 != 0 {
                value = (value & 0x7f) << 8 | usize::from(r8(zip.data, at)?);
                at += 1;
            }
            let place = minus(value >> 1, 1)?;
            let rec = self.rows.get(place).copied().ok_or(ApplyError::CompressedPage("modification log"))?;
            self.set_heap_word(rec, place + FIRST_HEAP_NO)?;
            if value & 1 != 0 {
                let shape = row::measure(self.page, rec, self.index)?;
                fill(self.page, rec, shape.data, 0)?;
                continue;
            }
            let status = u8::from(self.kind == Kind::Node);
            let fields = &mut self.fields;
            fields.clear();
            let below = |n: usize| r8(zip.data, at + n);
            let shape = row::compact(below, 0, status, self.index, |field| fields.push(field))?;
            for n in 0..minus(shape.extra, COMPACT_EXTRA)? {
                w8(self.page, minus(rec, COMPACT_EXTRA + 1 + n)?, r8(zip.data, at + n)?)?;
            }
            at += shape.extra - COMPACT_EXTRA;
            let mut from = 0;
            for apart in left_out(self.index, self.kind, &self.fields, shape.data)? {
                let len = minus(apart.start, from)?;
                put(self.page, rec + from, get(zip.data, at, len)?)?;
                at += len;
                from = apart.start + apart.what.len();
            }
            let len = minus(shape.data, from)?;
            put(self.page, rec + from, get(zip.data, at, len)?)?;
            at += len;
        }
    }

    /// Puts back what the trailer keeps; counts the external pointers.
    fn read_trailer(&mut self, zip: &mut Frame<'_>) -> Result<()> {
        zip.n_blobs = 0;
        if self.kind == Kind::SecondaryLeaf {
            return Ok(());
        }
        let mut pointer = if self.kind == Kind::ClusteredLeaf { zip.externs()? } else { 0 };
        for (n, rec) in self.rows.iter().copied().enumerate() {
            let shape = row::fields(self.page, rec, self.index, &mut self.fields)?;
            let free = externs(self.kind, &self.fields) > 0 && zip.is_free(rec)?;
            for apart in left_out(self.index, self.kind, &self.fields, shape.data)? {
                let at = rec + apart.start;
                let size = apart.what.len();
                match apart.what {
                    What::External if free => fill(self.page, at, EXTERN, 0)?,
                    What::External => {
                        pointer = minus(pointer, EXTERN)?;
                        zip.n_blobs += 1;
                        put(self.page, at, get(zip.data, pointer, size)?)?;
                    }
                    What::Child | What::System => {
                        let stored = zip.stored_at(n + FIRST_HEAP_NO, size)?;
                        put(self.page, at, get(zip.data, stored, size)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// As [`Stream::fill`], where nothing to fill is no reason to look for the end.
fn fill_some(stream: &mut Stream<'_>, to: &mut [u8]) -> Result<bool> {
    if to.is_empty() { Ok(true) } else { stream.fill(to) }
}

/// Rebuilds the list of rows and the free list from the dense directory.
fn link(page: &mut [u8], zip: &Frame<'_>) -> Result<()> {
    const NO_PAGE: [u8; 4] = [0xff; 4];
    let leftmost = get(page, FIL_PREV, 4)? == NO_PAGE && r16(page, LEVEL)? > 0;
    let mut image = Image { page, zip: None };
    let (rows, places) = (zip.rows()?, zip.places()?);
    let (mut rec, mut owned) = (INFIMUM, 1u8);
    for n in 0..rows {
        let entry = zip.entry(n)?;
        let mut info = if n == 0 && leftmost { MIN_REC } else { 0 };
        if entry & SLOT_OWNED != 0 {
            if owned > 8 {
                return Err(DAMAGED);
            }
            info |= owned;
            owned = 1;
        } else {
            owned = owned.saturating_add(1);
        }
        if entry & SLOT_DELETED != 0 {
            info |= DELETED;
        }
        image.set_next(rec, entry & SLOT_OFFSET)?;
        rec = entry & SLOT_OFFSET;
        image.set_info(rec, info)?;
    }
    if owned > 8 {
        return Err(DAMAGED);
    }
    image.set_next(rec, SUPREMUM)?;
    image.set_info(SUPREMUM, owned)?;
    let mut last = None;
    for n in rows..places {
        let free = zip.entry(n)?;
        if free & !SLOT_OFFSET != 0 {
            return Err(ApplyError::CompressedPage("free list"));
        }
        if let Some(last) = last {
            image.set_next(last, free)?;
        }
        image.set_info(free, 0)?;
        last = Some(free);
    }
    match last {
        Some(last) => image.set_next(last, 0),
        None => Ok(()),
    }
}
