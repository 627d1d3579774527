//! Applying MariaDB's page records to one page image.
//!
//! Most records are bytes at a place: the place counts from where the record before it ended. Records of kind
//! EXTENDED are operations on index pages (`index`) and undo pages (`undo`). ROW_FORMAT=COMPRESSED pages only ever
//! see the former, and those speak of the compressed image itself.

mod index;
mod page;
mod undo;

use reseed_innodb::bytes::put;
use reseed_innodb::{SpaceFormat, fil};
use reseed_terms::PageId;

use self::page::{Bad, Page};
use super::record::{self, Raw};
use super::varint;
use crate::{Applied, Change, ChangeKind, RedoError};

/// The places before this one belong to the page's address and are only written when a page is made.
const FIRST_PLACE: usize = 8;

/// Applies MariaDB redo. Holds scratch memory only.
#[derive(Debug, Default)]
pub struct MariadbApplier {
    /// An index record while it is put together.
    record: Vec<u8>,
}

impl MariadbApplier {
    pub fn new() -> MariadbApplier {
        MariadbApplier::default()
    }

    /// See [`Applier::apply`](crate::Applier::apply).
    ///
    /// # Errors
    /// When a change does not fit the page.
    pub fn apply<'a>(
        &mut self,
        id: PageId,
        space: &SpaceFormat,
        page: &mut [u8],
        changes: impl IntoIterator<Item = Change<'a>>,
    ) -> Result<Applied, RedoError> {
        let mut done = Applied::default();
        let mut has = fil::lsn(page);
        for change in changes {
            match change.kind {
                // What lay on disk is void, so its LSN is too.
                ChangeKind::Init => has = reseed_terms::Lsn::ZERO,
                ChangeKind::Free => {
                    done = Applied { count: done.count + 1, lsn: Some(change.end), freed: true, ..done };
                    continue;
                }
                ChangeKind::Delta if change.start < has => {
                    done.skipped += 1;
                    continue;
                }
                ChangeKind::Delta => {}
            }
            self.run(id, space, page, change.bytes).map_err(|Bad(what)| RedoError::Apply {
                page: id,
                lsn: change.start,
                what,
            })?;
            done = Applied { count: done.count + 1, lsn: Some(change.end), freed: false, ..done };
        }
        Ok(done)
    }

    /// Applies the records of one change.
    fn run(&mut self, id: PageId, space: &SpaceFormat, page: &mut [u8], bytes: &[u8]) -> Result<(), Bad> {
        let mut at = 0;
        // Where the next record's place counts from.
        let mut last = 0;
        while at < bytes.len() {
            let found = bytes.get(at..).and_then(record::next).ok_or(Bad("a record is cut short"))?;
            let operands = if at == 0 {
                let (named, rest) =
                    record::page_id(found.body).ok_or(Bad("a page's address is cut short"))?;
                if named != id {
                    return Err(Bad("the change is of another page"));
                }
                rest
            } else {
                found.body
            };
            self.one(&found, operands, id, space, page, &mut last)?;
            at += found.length;
        }
        Ok(())
    }

    fn one(
        &mut self,
        found: &Raw<'_>,
        operands: &[u8],
        id: PageId,
        space: &SpaceFormat,
        page: &mut [u8],
        last: &mut usize,
    ) -> Result<(), Bad> {
        match found.kind() {
            record::WRITE => write(page, operands, last),
            record::MEMSET => memset(page, operands, last),
            record::MEMMOVE => memmove(page, operands, last),
            record::INIT_PAGE => {
                *last = fil::TYPE;
                init(page, id)
            }
            record::EXTENDED => {
                if space.is_zip() || id.page.0 < 3 {
                    return Err(Bad("a page operation on a page that has none"));
                }
                *last = fil::TYPE;
                self.extended(&mut Page(page), operands)
            }
            record::OPTION => Ok(()),
            _ => Err(Bad("a record of a kind that changes no page")),
        }
    }

    fn extended(&mut self, page: &mut Page<'_>, operands: &[u8]) -> Result<(), Bad> {
        let (subtype, rest) = operands.split_first().ok_or(Bad("a page operation without its number"))?;
        let scratch = &mut self.record;
        match subtype {
            0 => index::init_redundant(page),
            1 => index::init_dynamic(page),
            2 => undo::init(page),
            3 => undo::append(page, rest),
            4 => index::insert_redundant(page, rest, false, scratch),
            5 => index::insert_redundant(page, rest, true, scratch),
            6 => index::insert_dynamic(page, rest, false, scratch),
            7 => index::insert_dynamic(page, rest, true, scratch),
            8 => index::delete_redundant(page, rest),
            9 => index::delete_dynamic(page, rest),
            _ => Err(Bad("a page operation with an unknown number")),
        }
    }
}

/// A number at the start of `operands`, of at most `max` bytes.
fn number<'a>(operands: &mut &'a [u8], max: usize) -> Result<usize, Bad> {
    let whole: &'a [u8] = operands;
    let (value, size) = varint::decode(whole).ok_or(Bad("a number is cut short"))?;
    if size > max {
        return Err(Bad("a number is too long"));
    }
    *operands = whole.get(size..).unwrap_or(&[]);
    usize::try_from(value).map_err(|_| Bad("a number is too large"))
}

/// The place that a record speaks of.
fn place(page: &[u8], operands: &mut &[u8], last: usize) -> Result<usize, Bad> {
    let place = last.saturating_add(number(operands, 3)?);
    if (FIRST_PLACE..page.len()).contains(&place) { Ok(place) } else { Err(Bad("a place outside the page")) }
}

fn write(page: &mut [u8], mut operands: &[u8], last: &mut usize) -> Result<(), Bad> {
    let at = place(page, &mut operands, *last)?;
    if operands.is_empty() || !put(page, at, operands) {
        return Err(Bad("a write that leaves the page"));
    }
    *last = at + operands.len();
    Ok(())
}

fn memset(page: &mut [u8], mut operands: &[u8], last: &mut usize) -> Result<(), Bad> {
    let at = place(page, &mut operands, *last)?;
    let length = number(&mut operands, 3)?;
    let target = page.get_mut(at..at.saturating_add(length)).ok_or(Bad("a fill that leaves the page"))?;
    match operands {
        [] => return Err(Bad("a fill without a pattern")),
        [byte] => target.fill(*byte),
        pattern => {
            for piece in target.chunks_mut(pattern.len()) {
                for (to, from) in piece.iter_mut().zip(pattern) {
                    *to = *from;
                }
            }
        }
    }
    *last = at + length;
    Ok(())
}

fn memmove(page: &mut [u8], mut operands: &[u8], last: &mut usize) -> Result<(), Bad> {
    let at = place(page, &mut operands, *last)?;
    let length = number(&mut operands, 3)?;
    let source = number(&mut operands, 3)?;
    if !operands.is_empty() {
        return Err(Bad("a move with more than it needs"));
    }
    let distance = (source >> 1) + 1;
    let from = if source & 1 == 0 { at.checked_add(distance) } else { at.checked_sub(distance) };
    let from = from.filter(|from| *from >= FIRST_PLACE).ok_or(Bad("a move from outside the page"))?;
    let (from_end, to_end) = (from.saturating_add(length), at.saturating_add(length));
    if from_end > page.len() || to_end > page.len() {
        return Err(Bad("a move that leaves the page"));
    }
    page.copy_within(from..from_end, at);
    *last = to_end;
    Ok(())
}

fn init(page: &mut [u8], id: PageId) -> Result<(), Bad> {
    page.fill(0);
    let ok = put(page, fil::PAGE_NO, &id.page.0.to_be_bytes())
        && put(page, fil::PREV, &[0xFF; 8])
        && put(page, fil::SPACE, &id.space.0.to_be_bytes());
    if ok { Ok(()) } else { Err(Bad("the page is too small")) }
}
