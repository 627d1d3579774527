//! Pages of undo logs. The page header is at 38: type (38), start (40) and free end (42) of the last undo record's
//! room, list node (44); on the first page of a log a segment header follows at 56: state (56), last log header (58).

use super::super::codec::Reader;
use super::bytes::{Result, minus, put, r16, w8, w16};
use super::generic::{fill_to_trailer, set_type};
use super::image::{FIL_TRAILER, Image};

const UNDO_TYPE: usize = 38;
const START: usize = 40;
const FREE: usize = 42;
const STATE: usize = 56;
const LAST_LOG: usize = 58;
/// Where the first log header of a page lies.
const FIRST_LOG: usize = 86;
const ACTIVE: usize = 1;
const PAGE_UNDO_LOG: u16 = 2;

const LOG_DEL_MARKS: usize = 16;
const LOG_START: usize = 18;
const LOG_FLAGS: usize = 20;
const LOG_DICT: usize = 21;
const LOG_NEXT: usize = 30;
const LOG_PREV: usize = 32;
/// Length of the log header that is initialised here; what XA and GTIDs need beyond it is logged as plain writes.
const LOG_HEADER: usize = 46;

pub(super) fn undo_insert(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let len = usize::from(body.u16()?);
    let record = body.take(len)?;
    let from = r16(image.page, FREE)?;
    let end = from + 4 + len;
    // Nothing is written where the trailer begins.
    minus(image.page.len(), FIL_TRAILER + end)?;
    w16(image.page, from, end)?;
    put(image.page, from + 2, record)?;
    w16(image.page, from + 2 + len, from)?;
    w16(image.page, FREE, end)
}

pub(super) fn undo_erase_end(image: &mut Image<'_>) -> Result<()> {
    let from = r16(image.page, FREE)?;
    fill_to_trailer(image.page, from, 0xff)
}

pub(super) fn undo_init(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let kind = body.compressed()?;
    w16(image.page, UNDO_TYPE, (kind & 0xffff) as usize)?;
    w16(image.page, START, STATE)?;
    w16(image.page, FREE, STATE)?;
    set_type(image.page, PAGE_UNDO_LOG)
}

pub(super) fn undo_hdr_create(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let trx = body.compressed64()?;
    let page = &mut *image.page;
    let log = r16(page, FREE)?;
    let first_record = log + LOG_HEADER;
    w16(page, START, first_record)?;
    w16(page, FREE, first_record)?;
    w16(page, STATE, ACTIVE)?;
    let previous = r16(page, LAST_LOG)?;
    if previous != 0 {
        w16(page, previous + LOG_NEXT, log)?;
    }
    w16(page, LAST_LOG, log)?;
    put(page, log, &trx.to_be_bytes())?;
    w16(page, log + LOG_DEL_MARKS, 1)?;
    w16(page, log + LOG_START, first_record)?;
    w8(page, log + LOG_FLAGS, 0)?;
    w8(page, log + LOG_DICT, 0)?;
    w16(page, log + LOG_NEXT, 0)?;
    w16(page, log + LOG_PREV, previous)
}

pub(super) fn undo_hdr_reuse(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let trx = body.compressed64()?;
    let page = &mut *image.page;
    let first_record = FIRST_LOG + LOG_HEADER;
    w16(page, START, first_record)?;
    w16(page, FREE, first_record)?;
    w16(page, STATE, ACTIVE)?;
    put(page, FIRST_LOG, &trx.to_be_bytes())?;
    w16(page, FIRST_LOG + LOG_START, first_record)?;
    w8(page, FIRST_LOG + LOG_FLAGS, 0)?;
    w8(page, FIRST_LOG + LOG_DICT, 0)
}
