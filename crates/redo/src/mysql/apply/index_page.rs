//! Records that change the rows of an index page.

use super::super::codec::Reader;
use super::super::error::ApplyError;
use super::super::index::Index;
use super::super::record::NULL;
use super::Scratch;
use super::bytes::{Result, fill, get, get_mut, minus, put};
use super::image::{INFO_BITS, Image, LAST_INSERT, MIN_REC, OWNED};
use super::list::NewRow;
use super::row::{self, FieldAt, STATUS};

/// Flag of update and delete-mark records: transaction number and roll pointer stay as they are.
const KEEP_SYSTEM_COLUMNS: u8 = 4;
/// Field numbers from here on are virtual columns, which pages do not hold.
const FIRST_VIRTUAL: u32 = 1023;

pub(super) fn rec_insert(
    image: &mut Image<'_>,
    index: &Index,
    body: &mut Reader<'_>,
    scratch: &mut Scratch,
) -> Result<()> {
    let cursor = body.u16()?.into();
    insert_logged(image, index, cursor, body, scratch)?;
    Ok(())
}

/// Rebuilds the row from the one before it and what the log says is different, and inserts it.
fn insert_logged(
    image: &mut Image<'_>,
    index: &Index,
    cursor: usize,
    body: &mut Reader<'_>,
    scratch: &mut Scratch,
) -> Result<usize> {
    let head = body.compressed()?;
    let before = row::measure(image.page, cursor, index)?;
    let len = (head >> 1) as usize;
    let (info_and_status, origin, same) = if head & 1 != 0 {
        (body.u8()?, body.compressed()? as usize, body.compressed()? as usize)
    } else {
        let info = image.info(cursor)? & INFO_BITS;
        let status =
            if index.compact { get(image.page, minus(cursor, 3)?, 1)?.first().copied() } else { None };
        (info | status.unwrap_or(0) & STATUS, before.extra, minus(before.size(), len)?)
    };
    let new = body.take(len)?;
    let bytes = &mut scratch.row;
    bytes.clear();
    bytes.extend_from_slice(get(image.page, minus(cursor, before.extra)?, same)?);
    bytes.extend_from_slice(new);
    if bytes.len() > image.page.len() {
        return Err(ApplyError::Row(cursor));
    }
    let info_at = minus(origin, if index.compact { 5 } else { 6 })?;
    let info = get_mut(bytes, info_at, 1)?;
    info.fill(info.first().copied().unwrap_or(0) & OWNED | info_and_status & INFO_BITS);
    if index.compact {
        let status = get_mut(bytes, minus(origin, 3)?, 1)?;
        status.fill(status.first().copied().unwrap_or(0) & !STATUS | info_and_status & STATUS);
    }
    let shape = row::measure(bytes, origin, index)?;
    let start = minus(origin, shape.extra)?;
    let row = NewRow { bytes: get(bytes, start, shape.size())?, extra: shape.extra };
    image.insert(index, cursor, row)
}

pub(super) fn list_end_copy_created(
    image: &mut Image<'_>,
    index: &Index,
    body: &mut Reader<'_>,
    scratch: &mut Scratch,
) -> Result<()> {
    let len = body.u32()? as usize;
    let mut rows = Reader::new(body.take(len)?);
    let mut last = image.last_row()?;
    while !rows.is_empty() {
        last = insert_logged(image, index, last, &mut rows, scratch)?;
    }
    image.set_header(LAST_INSERT, 0)?;
    image.reset_direction()
}

pub(super) fn rec_delete(image: &mut Image<'_>, index: &Index, body: &mut Reader<'_>) -> Result<()> {
    let rec = body.u16()?.into();
    image.delete(index, rec)
}

pub(super) fn list_end_delete(image: &mut Image<'_>, index: &Index, body: &mut Reader<'_>) -> Result<()> {
    let rec = body.u16()?.into();
    image.delete_end(index, rec)
}

pub(super) fn list_start_delete(image: &mut Image<'_>, index: &Index, body: &mut Reader<'_>) -> Result<()> {
    let stop = body.u16()?.into();
    let infimum = image.infimum()?;
    if stop == infimum {
        return Ok(());
    }
    let first = image.next(infimum)?;
    image.delete_until(index, first, stop)
}

pub(super) fn rec_min_mark(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let rec = body.u16()?.into();
    let info = image.info(rec)?;
    image.set_info(rec, info | MIN_REC)
}

pub(super) fn rec_sec_delete_mark(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let deleted = body.u8()? != 0;
    let rec = body.u16()?.into();
    image.set_deleted(rec, deleted)
}

/// What update and delete-mark records say of the hidden columns.
struct SystemColumns {
    flags: u8,
    position: u32,
    /// Transaction number (6 bytes) and roll pointer (7 bytes).
    value: [u8; 13],
}

impl SystemColumns {
    fn read(flags: u8, body: &mut Reader<'_>) -> Result<SystemColumns> {
        let position = body.compressed()?;
        let roll = body.take(7)?;
        let [_, _, trx @ ..] = body.compressed64()?.to_be_bytes();
        let mut value = [0; 13];
        for (to, from) in value.iter_mut().zip(trx.iter().chain(roll)) {
            *to = *from;
        }
        Ok(SystemColumns { flags, position, value })
    }

    fn write(&self, image: &mut Image<'_>, index: &Index, rec: usize, fields: &[FieldAt]) -> Result<()> {
        if self.flags & KEEP_SYSTEM_COLUMNS != 0 {
            return Ok(());
        }
        let (_, trx) = field_at(index, self.position, fields)?;
        put(image.page, rec + trx.start, &self.value)?;
        let heap_no = image.heap_no(rec)?;
        match &mut image.zip {
            Some(zip) => zip.write_system_columns(heap_no, &self.value),
            None => Ok(()),
        }
    }
}

/// The stored field of logical number `n`, and how many are stored before it.
fn field_at(index: &Index, n: u32, fields: &[FieldAt]) -> Result<(usize, FieldAt)> {
    let missing = ApplyError::NoSuchField(n);
    let position = index.physical(n as usize).ok_or(missing)?;
    let stored = fields.iter().position(|field| field.position == position).ok_or(missing)?;
    fields.get(stored).map(|field| (stored, *field)).ok_or(missing)
}

pub(super) fn rec_clust_delete_mark(
    image: &mut Image<'_>,
    index: &Index,
    body: &mut Reader<'_>,
    scratch: &mut Scratch,
) -> Result<()> {
    let flags = body.u8()?;
    let deleted = body.u8()? != 0;
    let system = SystemColumns::read(flags, body)?;
    let rec = body.u16()?.into();
    image.set_deleted(rec, deleted)?;
    if flags & KEEP_SYSTEM_COLUMNS == 0 {
        row::fields(image.page, rec, index, &mut scratch.fields)?;
        system.write(image, index, rec, &scratch.fields)?;
    }
    Ok(())
}

pub(super) fn rec_update_in_place(
    image: &mut Image<'_>,
    index: &Index,
    body: &mut Reader<'_>,
    scratch: &mut Scratch,
) -> Result<()> {
    const VERSIONED: u8 = 0x40;
    const INSTANT: u8 = 0x80;
    let flags = body.u8()?;
    let system = SystemColumns::read(flags, body)?;
    let rec = body.u16()?.into();
    let info_bits = body.u8()?;
    row::fields(image.page, rec, index, &mut scratch.fields)?;
    system.write(image, index, rec, &scratch.fields)?;
    let old = image.info(rec)?;
    // How the row is laid out does not change: of the two marks of instant columns the row's own stays.
    let layout = if old & VERSIONED != 0 { VERSIONED } else { old & INSTANT };
    let new = info_bits & INFO_BITS & !(VERSIONED | INSTANT);
    image.set_info(rec, new | layout | old & OWNED)?;
    for _ in 0..body.compressed()? {
        let number = body.compressed()?;
        let len = body.compressed()?;
        let value = if len == NULL { None } else { Some(body.take(len as usize)?) };
        if number >= FIRST_VIRTUAL {
            continue;
        }
        let (stored, field) = field_at(index, number, &scratch.fields)?;
        set_field(image, index, rec, (stored, field), value)?;
    }
    if image.zip.is_some() {
        image.log_row(index, rec, false)?;
    }
    Ok(())
}

/// Overwrites a field by a value of the same length.
fn set_field(
    image: &mut Image<'_>,
    index: &Index,
    rec: usize,
    (stored, field): (usize, FieldAt),
    value: Option<&[u8]>,
) -> Result<()> {
    let old = field.end - field.start;
    match value {
        None if field.null => Ok(()),
        None if index.compact => Err(ApplyError::FieldLength { old, new: 0 }),
        None => {
            // A NULL keeps its bytes in a redundant row.
            fill(image.page, rec + field.start, old, 0)?;
            row::set_null(image.page, rec, index, stored, true)
        }
        Some(value) if value.len() != old => Err(ApplyError::FieldLength { old, new: value.len() }),
        Some(value) => {
            if field.null && !index.compact {
                row::set_null(image.page, rec, index, stored, false)?;
            }
            put(image.page, rec + field.start, value)
        }
    }
}
