//! Index pages made anew: created empty, or reorganised (every row inserted again, in order).

use super::super::index::Index;
use super::bytes::{Result, fill, get, minus, put, r16, w16};
use super::generic::{fill_to_trailer, set_type};
use super::image::{
    COMPACT, DIRECTION, FIL_TRAILER, FIL_TYPE, HEAP_TOP, Image, MAX_TRX_ID, N_DIR_SLOTS, N_HEAP,
};
use super::list::{NO_DIRECTION, NewRow};
use super::row;

pub(super) const PAGE_SDI: u16 = 17853;
pub(super) const PAGE_RTREE: u16 = 17854;
pub(super) const PAGE_INDEX: u16 = 17855;

const LOWS: usize = 94;
const COMPACT_LOWS: &[u8; 26] = b"\x01\x00\x02\x00\x0dinfimum\x00\x01\x00\x0b\x00\x00supremum";
const REDUNDANT_LOWS: &[u8; 31] =
    b"\x08\x01\x00\x00\x03\x00\x74infimum\x00\x09\x01\x00\x08\x03\x00\x00supremum\x00";

/// Makes an empty index page. Level, index number and segment headers keep their bytes; the compressed frame is left
/// to a later record of the same mini-transaction.
pub(super) fn page_create(image: &mut Image<'_>, page_type: u16, compact: bool) -> Result<()> {
    image.without_zip(|image| {
        let page = &mut *image.page;
        let (lows, infimum, supremum): (&[u8], _, _) =
            if compact { (COMPACT_LOWS, 99, 112) } else { (REDUNDANT_LOWS, 101, 116) };
        let heap_top = LOWS + lows.len();
        fill(page, N_DIR_SLOTS, MAX_TRX_ID + 8 - N_DIR_SLOTS, 0)?;
        w16(page, N_DIR_SLOTS, 2)?;
        w16(page, HEAP_TOP, heap_top)?;
        w16(page, N_HEAP, if compact { 2 | COMPACT } else { 2 })?;
        w16(page, DIRECTION, NO_DIRECTION)?;
        put(page, LOWS, lows)?;
        fill_to_trailer(page, heap_top, 0)?;
        set_type(page, page_type)?;
        image.set_slot(0, infimum)?;
        image.set_slot(1, supremum)
    })
}

/// Makes the page anew and inserts its rows in order; `old` is scratch memory. In compressed tablespaces only the
/// page is changed.
pub(super) fn reorganize(image: &mut Image<'_>, index: &Index, old: &mut Vec<u8>) -> Result<()> {
    old.clear();
    old.extend_from_slice(image.page);
    image.without_zip(|image| {
        let compact = image.is_compact()?;
        let page_type = r16(image.page, FIL_TYPE)? as u16;
        page_create(image, page_type, compact)?;
        let source = Image { page: old.as_mut_slice(), zip: None };
        let supremum = source.supremum()?;
        let mut cursor = image.infimum()?;
        let mut rec = source.next(source.infimum()?)?;
        for _ in 0..source.most_rows() {
            if rec == supremum {
                break;
            }
            let shape = row::measure(source.page, rec, index)?;
            let bytes = get(source.page, minus(rec, shape.extra)?, shape.size())?;
            cursor = image.insert(index, cursor, NewRow { bytes, extra: shape.extra })?;
            rec = source.next(rec)?;
        }
        if image.is_leaf()? && !index.clustered {
            let id = get(source.page, MAX_TRX_ID, 8)?;
            put(image.page, MAX_TRX_ID, id)?;
        }
        // A page that is full to its trailer would have no room for its directory.
        minus(image.page.len(), FIL_TRAILER + image.header(HEAP_TOP)?)?;
        Ok(())
    })
}
