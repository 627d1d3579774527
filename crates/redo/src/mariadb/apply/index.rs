//! Operations on index pages: making one, placing a record, taking one out. They leave the same bytes as the server
//! does, down to those that mean nothing any more.
//!
//! A record's place is its *origin*, where its data begin; a header lies before it.
//!
//! | | REDUNDANT | COMPACT, DYNAMIC |
//! |---|---|---|
//! | info bits, number of owned records | byte −6, upper and lower half | byte −5 |
//! | heap number | 13 bits from −5 | 13 bits from −4 |
//! | kind | | 3 bits below it: 0 leaf, 1 node pointer, 4 instant |
//! | fields, one-byte ends | 10 bits and 1 bit below the heap number | |
//! | next record | −2, its place | −2, the distance modulo 65536; 0: none |
//! | further down | the fields' ends | lengths and NULL bits, whose form the log tells |

use reseed_innodb::index::{
    DATA, DIRECTION, FREE, GARBAGE, HEAP_TOP, LAST_INSERT, LEVEL, MAX_TRX_ID, N_DIR_SLOTS, N_DIRECTION,
    N_HEAP, N_RECS,
};
use reseed_innodb::{PageType, fil};

use super::number;
use super::page::{Bad, Page};

const COMPACT: usize = 0x8000;
/// The most records that one directory slot owns.
const MAX_OWNED: u8 = 8;
const MIN_OWNED: u8 = 4;

const LEFT: u8 = 1;
const RIGHT: u8 = 2;
const NO_DIRECTION: u8 = 5;

/// Infimum and supremum with their headers, as they stand at `index::DATA`.
const REDUNDANT_BORDERS: [u8; 31] = *b"\x08\x01\0\0\x03\0\x74infimum\0\x09\x01\0\x08\x03\0\0supremum\0";
const DYNAMIC_BORDERS: [u8; 26] = *b"\x01\0\x02\0\x0Dinfimum\0\x01\0\x0B\0\0supremum";

/// Where the two record layouts differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Redundant,
    Dynamic,
}

use Layout::{Dynamic, Redundant};

impl Layout {
    fn infimum(self) -> usize {
        if self == Redundant { 101 } else { 99 }
    }

    fn supremum(self) -> usize {
        if self == Redundant { 116 } else { 112 }
    }

    /// Where the first record's bytes can begin.
    fn heap_start(self) -> usize {
        if self == Redundant { 125 } else { 120 }
    }

    /// Bytes of the header that every record has.
    fn fixed(self) -> usize {
        if self == Redundant { 6 } else { 5 }
    }

    fn next(self, page: &Page<'_>, origin: usize) -> Result<usize, Bad> {
        let stored = page.word(before(origin, 2)?)?;
        Ok(match self {
            Redundant => stored,
            Dynamic if stored == 0 => 0,
            Dynamic => (origin + stored) & 0xFFFF,
        })
    }

    fn set_next(self, page: &mut Page<'_>, origin: usize, next: usize) -> Result<(), Bad> {
        let stored = match self {
            Redundant => next,
            Dynamic if next == 0 => 0,
            Dynamic => next.wrapping_sub(origin),
        };
        page.set_word(before(origin, 2)?, stored)
    }

    fn owned(self, page: &Page<'_>, origin: usize) -> Result<u8, Bad> {
        Ok(page.byte(before(origin, self.fixed())?)? & 15)
    }

    fn set_owned(self, page: &mut Page<'_>, origin: usize, owned: u8) -> Result<(), Bad> {
        let at = before(origin, self.fixed())?;
        let info = page.byte(at)? & 0xF0;
        page.set_byte(at, info | owned & 15)
    }

    fn heap_no(self, page: &Page<'_>, origin: usize) -> Result<usize, Bad> {
        Ok(page.word(before(origin, self.fixed() - 1)?)? >> 3)
    }
}

fn before(origin: usize, bytes: usize) -> Result<usize, Bad> {
    origin.checked_sub(bytes).ok_or(Bad("a record outside the page"))
}

// ---- the page as a whole ----

pub(super) fn init_redundant(page: &mut Page<'_>) -> Result<(), Bad> {
    init(page, Redundant, &REDUNDANT_BORDERS)
}

pub(super) fn init_dynamic(page: &mut Page<'_>) -> Result<(), Bad> {
    init(page, Dynamic, &DYNAMIC_BORDERS)
}

fn init(page: &mut Page<'_>, layout: Layout, borders: &[u8]) -> Result<(), Bad> {
    page.set_word(fil::TYPE, usize::from(PageType::INDEX.0))?;
    page.zero(N_DIR_SLOTS, MAX_TRX_ID + 8)?;
    page.set_word(N_DIR_SLOTS, 2)?;
    page.set_word(HEAP_TOP, layout.heap_start())?;
    page.set_word(N_HEAP, if layout == Dynamic { COMPACT | 2 } else { 2 })?;
    page.set_byte(DIRECTION + 1, NO_DIRECTION)?;
    page.put(DATA, borders)?;
    page.zero(layout.heap_start(), page.len() - fil::TRAILER)?;
    set_slot(page, 0, layout.infimum())?;
    set_slot(page, 1, layout.supremum())
}

/// Refuses a page that is not an index page of this layout with whole borders.
fn check(page: &Page<'_>, layout: Layout) -> Result<(), Bad> {
    let kind = PageType(page.word(fil::TYPE)? as u16);
    if ![PageType::INDEX, PageType::RTREE, PageType::INSTANT].contains(&kind) {
        return Err(Bad("the page is no index page"));
    }
    if (page.word(N_HEAP)? & COMPACT != 0) != (layout == Dynamic) {
        return Err(Bad("the page is of another record format"));
    }
    let slots = page.word(N_DIR_SLOTS)?;
    if slots < 2 || slots > page.len() / 4 {
        return Err(Bad("the page's directory is damaged"));
    }
    let whole = slot(page, 0)? == layout.infimum()
        && slot(page, slots - 1)? == layout.supremum()
        && page.word(layout.supremum() - 2)? == 0;
    if whole { Ok(()) } else { Err(Bad("the page's borders are damaged")) }
}

// ---- the directory: places of records, from the page's end downwards ----

fn slot_place(page: &Page<'_>, slot: usize) -> Result<usize, Bad> {
    page.len().checked_sub(fil::TRAILER + 2 * (slot + 1)).ok_or(Bad("a directory slot outside the page"))
}

fn slot(page: &Page<'_>, slot: usize) -> Result<usize, Bad> {
    page.word(slot_place(page, slot)?)
}

fn set_slot(page: &mut Page<'_>, slot: usize, origin: usize) -> Result<(), Bad> {
    page.set_word(slot_place(page, slot)?, origin)
}

/// The slot whose record is `origin`.
fn slot_of(page: &Page<'_>, origin: usize) -> Result<usize, Bad> {
    let slots = page.word(N_DIR_SLOTS)?;
    let low = slot_place(page, slots.saturating_sub(1))?;
    let directory = page.bytes(low, page.len() - fil::TRAILER)?;
    let wanted = (origin as u16).to_be_bytes();
    directory
        .chunks_exact(2)
        .rev()
        .position(|entry| entry == wanted)
        .ok_or(Bad("the page's directory lacks a record"))
}

/// The record that owns `origin`: itself or the next that has a slot.
fn owner_of(page: &Page<'_>, layout: Layout, origin: usize) -> Result<usize, Bad> {
    let mut found = origin;
    for _ in 0..=MAX_OWNED {
        if layout.owned(page, found)? != 0 {
            return Ok(found);
        }
        found = layout.next(page, found)?;
    }
    Err(Bad("the page's list of records is damaged"))
}

/// The slot of `owner`, which has one record too many, becomes two.
fn split_slot(page: &mut Page<'_>, layout: Layout, owner: usize) -> Result<(), Bad> {
    let place = slot_of(page, owner)?;
    let slots = page.word(N_DIR_SLOTS)?;
    let mut middle = slot(page, place.checked_sub(1).ok_or(Bad("the first slot owns too many"))?)?;
    for _ in 0..MIN_OWNED {
        middle = layout.next(page, middle)?;
    }
    let low = slot_place(page, slots - 1)?;
    let target = low.checked_sub(2).filter(|low| *low >= page.word(HEAP_TOP).unwrap_or(usize::MAX));
    let target = target.ok_or(Bad("the page has no room for a directory slot"))?;
    page.move_within(low, slot_place(page, place)? + 2, target)?;
    page.set_word(N_DIR_SLOTS, slots + 1)?;
    set_slot(page, place, middle)?;
    layout.set_owned(page, middle, MIN_OWNED)?;
    layout.set_owned(page, owner, MAX_OWNED + 1 - MIN_OWNED)
}

/// A slot that owns too few takes from the next one, or joins it.
fn balance_slot(page: &mut Page<'_>, layout: Layout, place: usize) -> Result<(), Bad> {
    let slots = page.word(N_DIR_SLOTS)?;
    if place + 1 >= slots {
        return Ok(());
    }
    let (this, other) = (slot(page, place)?, slot(page, place + 1)?);
    let (has, others) = (layout.owned(page, this)?, layout.owned(page, other)?);
    layout.set_owned(page, this, 0)?;
    if others > MIN_OWNED {
        let moved = layout.next(page, this)?;
        layout.set_owned(page, moved, has + 1)?;
        layout.set_owned(page, other, others - 1)?;
        return set_slot(page, place, moved);
    }
    layout.set_owned(page, other, others + has)?;
    let low = slot_place(page, slots - 1)?;
    page.move_within(low, slot_place(page, place)?, low + 2)?;
    page.set_word(low, 0)?;
    page.set_word(N_DIR_SLOTS, slots - 1)
}

// ---- placing a record ----

/// What an insert record tells beside the bytes.
struct Insert<'a> {
    /// The record after which the new one goes.
    previous: usize,
    info: u8,
    /// The 4 above the info bits: REDUNDANT one-byte ends; otherwise an instant record.
    flag: bool,
    /// What the encoding's upper bits hold.
    count: usize,
    /// Reuse only: the move of the begin, coded.
    shift: usize,
    header_common: usize,
    data_common: usize,
    literal: &'a [u8],
}

impl Insert<'_> {
    fn parse(mut rest: &[u8], layout: Layout, reuse: bool) -> Result<Insert<'_>, Bad> {
        let wide = if layout == Redundant { 2 } else { 3 };
        let previous = layout.infimum() + number(&mut rest, 3)?;
        let shift = if reuse && layout == Dynamic { number(&mut rest, 3)? } else { 0 };
        let encoded = number(&mut rest, wide)?;
        let header_common = number(&mut rest, 2)?;
        let data_common = number(&mut rest, wide)?;
        Ok(Insert {
            previous,
            info: (encoded as u8 & 3) << 4,
            flag: encoded & 4 != 0,
            count: encoded >> 3,
            shift,
            header_common,
            data_common,
            literal: rest,
        })
    }
}

/// Refuses a record that does not lie in the page's heap.
fn in_heap(page: &Page<'_>, layout: Layout, origin: usize) -> Result<(), Bad> {
    if origin > layout.heap_start() && origin <= page.word(HEAP_TOP)? {
        Ok(())
    } else {
        Err(Bad("a record outside the page's heap"))
    }
}

fn check_previous(page: &Page<'_>, layout: Layout, previous: usize) -> Result<usize, Bad> {
    check(page, layout)?;
    if previous != layout.infimum() {
        in_heap(page, layout, previous)?;
    }
    let next = layout.next(page, previous)?;
    if next != layout.supremum() {
        in_heap(page, layout, next)?;
    }
    Ok(next)
}

pub(super) fn insert_redundant(
    page: &mut Page<'_>,
    rest: &[u8],
    reuse: bool,
    record: &mut Vec<u8>,
) -> Result<(), Bad> {
    let insert = Insert::parse(rest, Redundant, reuse)?;
    let previous = insert.previous;
    check_previous(page, Redundant, previous)?;
    let fields = insert.count + 1;
    let end_size = if insert.flag { 1 } else { 2 };
    let extra = Redundant.fixed() + fields * end_size;
    let common = insert.header_common + Redundant.fixed();
    let own = extra.checked_sub(common).ok_or(Bad("a record shares more header than it has"))?;
    let (header, data) = insert.literal.split_at_checked(own).ok_or(Bad("a record is cut short"))?;
    record.clear();
    record.extend_from_slice(header);
    record.extend_from_slice(page.bytes(before(previous, common)?, previous)?);
    let size = {
        // The last field's end is the record's: it lies furthest from the origin.
        let record = Page(record);
        if insert.flag { usize::from(record.byte(0)? & 0x7F) } else { record.word(0)? & 0x3FFF }
    };
    if insert.data_common + data.len() != size {
        return Err(Bad("a record's length contradicts its header"));
    }
    record.extend_from_slice(page.bytes(previous, previous + insert.data_common)?);
    record.extend_from_slice(data);

    let (begin, heap_no) = if reuse {
        let free = page.word(FREE)?;
        in_heap(page, Redundant, free)?;
        let begin = before(free, redundant_size(page, free)?.0)?;
        take_free(page, Redundant, free, extra + size)?;
        (begin, Redundant.heap_no(page, free)?)
    } else {
        take_heap(page, extra + size)?
    };
    let mut fixed = Page(record);
    fixed.set_byte(extra - 6, insert.info)?;
    let word = heap_no << 11 | fields << 1 | usize::from(insert.flag);
    let [_, bytes @ ..] = (word as u32).to_be_bytes();
    fixed.put(extra - 5, &bytes)?;
    link(page, Redundant, previous, begin, extra, record)
}

pub(super) fn insert_dynamic(
    page: &mut Page<'_>,
    rest: &[u8],
    reuse: bool,
    record: &mut Vec<u8>,
) -> Result<(), Bad> {
    let insert = Insert::parse(rest, Dynamic, reuse)?;
    let previous = insert.previous;
    check_previous(page, Dynamic, previous)?;
    let (header, data) = insert.literal.split_at_checked(insert.count).ok_or(Bad("a record is cut short"))?;
    let extra = Dynamic.fixed() + insert.header_common + header.len();
    let size = insert.data_common + data.len();
    let fixed_at = before(previous, Dynamic.fixed())?;
    record.clear();
    record.extend_from_slice(header);
    record.extend_from_slice(page.bytes(before(fixed_at, insert.header_common)?, fixed_at)?);
    record.extend_from_slice(&[insert.info, 0, 0, 0, 0]);
    record.extend_from_slice(page.bytes(previous, previous + insert.data_common)?);
    record.extend_from_slice(data);

    let (begin, heap_no) = if reuse {
        let free = page.word(FREE)?;
        in_heap(page, Dynamic, free)?;
        let distance = insert.shift >> 1;
        let begin = before(free, extra)?;
        let begin =
            if insert.shift & 1 == 0 { begin.checked_add(distance) } else { begin.checked_sub(distance) };
        take_free(page, Dynamic, free, extra + size)?;
        (begin.ok_or(Bad("a record outside the page"))?, Dynamic.heap_no(page, free)?)
    } else {
        take_heap(page, extra + size)?
    };
    let kind = match page.word(LEVEL)? {
        0 if insert.flag => 4,
        0 => 0,
        _ => 1,
    };
    Page(record).set_word(extra - 4, heap_no << 3 | kind)?;
    link(page, Dynamic, previous, begin, extra, record)
}

/// Takes a new record's bytes from the top of the heap: their begin and the heap number.
fn take_heap(page: &mut Page<'_>, size: usize) -> Result<(usize, usize), Bad> {
    let (begin, heap) = (page.word(HEAP_TOP)?, page.word(N_HEAP)?);
    let low = slot_place(page, page.word(N_DIR_SLOTS)?.saturating_sub(1))?;
    if begin + size > low {
        return Err(Bad("a record that does not fit"));
    }
    page.set_word(HEAP_TOP, begin + size)?;
    page.set_word(N_HEAP, heap + 1)?;
    Ok((begin, heap & !COMPACT))
}

/// Takes the first free record from its list. Only what is used is taken from the garbage; the rest stays there.
fn take_free(page: &mut Page<'_>, layout: Layout, free: usize, size: usize) -> Result<(), Bad> {
    let next = layout.next(page, free)?;
    if next != 0 {
        in_heap(page, layout, next)?;
    }
    let garbage = page.word(GARBAGE)?.checked_sub(size).ok_or(Bad("more garbage is used than there is"))?;
    page.set_word(FREE, next)?;
    page.set_word(GARBAGE, garbage)
}

/// Puts the record's bytes at `begin` and hangs it behind `previous`.
fn link(
    page: &mut Page<'_>,
    layout: Layout,
    previous: usize,
    begin: usize,
    extra: usize,
    record: &[u8],
) -> Result<(), Bad> {
    if begin < layout.heap_start() || begin + record.len() > page.word(HEAP_TOP)? {
        return Err(Bad("a record outside the page's heap"));
    }
    let new = begin + extra;
    let next = layout.next(page, previous)?;
    let owner = owner_of(page, layout, next)?;
    page.put(begin, record)?;
    layout.set_next(page, new, next)?;
    layout.set_next(page, previous, new)?;
    let last = page.word(LAST_INSERT)?;
    page.set_word(LAST_INSERT, new)?;
    let owned = layout.owned(page, owner)? + 1;
    let records = page.word(N_RECS)?;
    page.set_word(N_RECS, records + 1)?;
    // Spatial indexes have no direction.
    if page.byte(fil::TYPE + 1)? != PageType::RTREE.0 as u8 {
        direction(page, last, previous, next)?;
    }
    if owned > MAX_OWNED { split_slot(page, layout, owner) } else { layout.set_owned(page, owner, owned) }
}

/// Notes whether inserts go up or down, and how many in a row.
fn direction(page: &mut Page<'_>, last: usize, previous: usize, next: usize) -> Result<(), Bad> {
    let byte = page.byte(DIRECTION + 1)?;
    let old = byte & 7;
    let new = if last == 0 {
        NO_DIRECTION
    } else if last == previous && old != LEFT {
        RIGHT
    } else if last == next && old != RIGHT {
        LEFT
    } else {
        NO_DIRECTION
    };
    let run = if new == NO_DIRECTION { 0 } else { page.word(N_DIRECTION)? + 1 };
    page.set_byte(DIRECTION + 1, byte & 0xF8 | new)?;
    page.set_word(N_DIRECTION, run)
}

// ---- taking a record out ----

/// The sizes of header and data, from a REDUNDANT record's own header.
fn redundant_size(page: &Page<'_>, origin: usize) -> Result<(usize, usize), Bad> {
    let fields = (page.word(before(origin, 4)?)? & 0x7FE) >> 1;
    if fields == 0 {
        return Err(Bad("a record without fields"));
    }
    if page.byte(before(origin, 3)?)? & 1 != 0 {
        let extra = Redundant.fixed() + fields;
        return Ok((extra, usize::from(page.byte(before(origin, extra)?)? & 0x7F)));
    }
    let extra = Redundant.fixed() + 2 * fields;
    Ok((extra, page.word(before(origin, extra)?)? & 0x3FFF))
}

pub(super) fn delete_redundant(page: &mut Page<'_>, mut rest: &[u8]) -> Result<(), Bad> {
    let previous = Redundant.infimum() + number(&mut rest, 3)?;
    let record = check_previous(page, Redundant, previous)?;
    if record == Redundant.supremum() {
        return Err(Bad("there is no record to delete"));
    }
    let (extra, size) = redundant_size(page, record)?;
    delete(page, Redundant, previous, record, extra, size)
}

pub(super) fn delete_dynamic(page: &mut Page<'_>, mut rest: &[u8]) -> Result<(), Bad> {
    let previous = Dynamic.infimum() + number(&mut rest, 3)?;
    let extra = Dynamic.fixed() + number(&mut rest, 2)?;
    let size = number(&mut rest, 3)?;
    let record = check_previous(page, Dynamic, previous)?;
    if record == Dynamic.supremum() {
        return Err(Bad("there is no record to delete"));
    }
    delete(page, Dynamic, previous, record, extra, size)
}

fn delete(
    page: &mut Page<'_>,
    layout: Layout,
    previous: usize,
    record: usize,
    extra: usize,
    size: usize,
) -> Result<(), Bad> {
    let begin = before(record, extra)?;
    let (end, top) = (record + size, page.word(HEAP_TOP)?);
    if begin < layout.heap_start() || end > top {
        return Err(Bad("a record outside the page's heap"));
    }
    let next = layout.next(page, record)?;
    let mut owner = owner_of(page, layout, record)?;
    let place = slot_of(page, owner)?;
    let owned = layout.owned(page, owner)? - 1;
    if owner == record {
        set_slot(page, place, previous)?;
        owner = previous;
    }
    layout.set_next(page, previous, next)?;
    layout.set_owned(page, owner, owned)?;

    let (heap, garbage) = (page.word(N_HEAP)?, page.word(GARBAGE)?);
    if layout.heap_no(page, record)? + 1 == heap & !COMPACT {
        // The last of the heap: the heap shrinks, with what had been left over behind the record.
        let left_over = garbage.checked_sub(top - end).ok_or(Bad("more garbage is used than there is"))?;
        page.set_word(HEAP_TOP, begin)?;
        page.set_word(N_HEAP, heap - 1)?;
        page.set_word(GARBAGE, left_over)?;
        page.zero(begin, end)?;
    } else {
        let free = page.word(FREE)?;
        page.set_word(FREE, record)?;
        page.set_word(GARBAGE, garbage + extra + size)?;
        layout.set_next(page, record, free)?;
        page.zero(record, end)?;
    }
    page.set_word(LAST_INSERT, 0)?;
    let records = page.word(N_RECS)?.checked_sub(1).ok_or(Bad("there is no record to delete"))?;
    page.set_word(N_RECS, records)?;
    if owned < MIN_OWNED { balance_slot(page, layout, place) } else { Ok(()) }
}
