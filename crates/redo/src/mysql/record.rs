//! Where a record ends, and where its parts lie. Says nothing about what it does.
//!
//! A record is `type (1) | space (compressed) | page (compressed) | body`. Bit 7 of the type: the record is a whole
//! mini-transaction. Types 31 and 32 are one byte alone; type 62 has neither space nor page.

use super::codec::{Bad, Reader};
use super::index;
use super::record_type::RecordType;

pub(super) const SINGLE: u8 = 0x80;

/// A record's outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outline {
    pub kind: RecordType,
    /// It is a mini-transaction of its own.
    pub single: bool,
    pub space: u32,
    pub page: u32,
    /// Where the body starts, from the record's first byte.
    pub body: usize,
    /// Length of the whole record.
    pub len: usize,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScanError {
    Short,
    Unknown(u8),
    Damaged(u8, &'static str),
}

/// Finds the end of the record that `bytes` start with.
pub(super) fn scan(bytes: &[u8]) -> Result<Outline, ScanError> {
    let mut reader = Reader::new(bytes);
    let first = reader.u8().map_err(|_| ScanError::Short)?;
    let number = first & !SINGLE;
    let single = first & SINGLE != 0;
    let kind = RecordType::from_number(number).ok_or(ScanError::Unknown(number))?;
    let mut outline = Outline { kind, single, space: 0, page: 0, body: 1, len: 1 };
    let wrong = |bad| match bad {
        Bad::Short => ScanError::Short,
        Bad::Wrong(what) => ScanError::Damaged(number, what),
    };
    match kind {
        RecordType::MULTI_REC_END | RecordType::DUMMY_RECORD if single => {
            return Err(ScanError::Damaged(number, "it cannot be a mini-transaction of its own"));
        }
        RecordType::MULTI_REC_END | RecordType::DUMMY_RECORD => return Ok(outline),
        RecordType::TABLE_DYNAMIC_META => {}
        _ => {
            outline.space = reader.compressed().map_err(wrong)?;
            outline.page = reader.compressed().map_err(wrong)?;
        }
    }
    outline.body = reader.used();
    skip_body(kind, &mut reader).map_err(wrong)?;
    outline.len = reader.used();
    Ok(outline)
}

fn skip_body(kind: RecordType, reader: &mut Reader<'_>) -> Result<(), Bad> {
    use RecordType::*;
    match kind {
        WRITE_1BYTE | WRITE_2BYTES | WRITE_4BYTES => {
            reader.u16()?;
            reader.compressed()?;
        }
        WRITE_8BYTES => {
            reader.u16()?;
            reader.compressed64()?;
        }
        REC_SEC_DELETE_MARK => {
            reader.take(3)?;
        }
        PAGE_CREATE_REDUNDANT
        | PAGE_CREATE_COMPACT
        | PAGE_CREATE_RTREE_REDUNDANT
        | PAGE_CREATE_RTREE_COMPACT
        | PAGE_CREATE_SDI_REDUNDANT
        | PAGE_CREATE_SDI_COMPACT
        | UNDO_ERASE_END
        | IBUF_BITMAP_INIT
        | INIT_FILE_PAGE
        | INIT_FILE_PAGE2
        | MULTI_REC_END
        | DUMMY_RECORD => {}
        UNDO_INSERT | FILE_DELETE => {
            string(reader)?;
        }
        UNDO_INIT => {
            reader.compressed()?;
        }
        UNDO_HDR_REUSE | UNDO_HDR_CREATE => {
            reader.compressed64()?;
        }
        REC_MIN_MARK_REDUNDANT | REC_MIN_MARK_COMPACT => {
            reader.u16()?;
        }
        WRITE_STRING => {
            reader.u16()?;
            string(reader)?;
        }
        FILE_CREATE => {
            reader.u32()?;
            string(reader)?;
        }
        FILE_RENAME => {
            string(reader)?;
            string(reader)?;
        }
        ZIP_WRITE_NODE_PTR => {
            reader.take(8)?;
        }
        ZIP_WRITE_BLOB_PTR => {
            reader.take(24)?;
        }
        ZIP_WRITE_HEADER => {
            reader.u8()?;
            let len = reader.u8()?;
            reader.take(len.into())?;
        }
        ZIP_PAGE_COMPRESS => {
            let size = usize::from(reader.u16()?);
            let trailer = usize::from(reader.u16()?);
            reader.take(8 + size + trailer)?;
        }
        INDEX_LOAD => {
            reader.u64()?;
        }
        FILE_EXTEND => {
            reader.take(16)?;
        }
        TABLE_DYNAMIC_META => skip_dynamic_meta(reader)?,
        TEST => {
            reader.take(16)?;
            string(reader)?;
            reader.take(16)?;
        }
        REC_INSERT => {
            index::skip(reader)?;
            reader.u16()?;
            skip_insert_body(reader)?;
        }
        REC_CLUST_DELETE_MARK => {
            index::skip(reader)?;
            reader.take(2)?;
            skip_system_columns(reader)?;
            reader.u16()?;
        }
        REC_DELETE | LIST_END_DELETE | LIST_START_DELETE => {
            index::skip(reader)?;
            reader.u16()?;
        }
        REC_UPDATE_IN_PLACE => skip_update(reader)?,
        LIST_END_COPY_CREATED => {
            index::skip(reader)?;
            let len = reader.u32()?;
            reader.take(usize::try_from(len).map_err(|_| Bad::Wrong("impossible length"))?)?;
        }
        PAGE_REORGANIZE => index::skip(reader)?,
        ZIP_PAGE_REORGANIZE | ZIP_PAGE_COMPRESS_NO_DATA => {
            index::skip(reader)?;
            reader.u8()?;
        }
    }
    Ok(())
}

/// A 16-bit length and as many bytes.
pub(super) fn string<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Bad> {
    let len = reader.u16()?;
    reader.take(len.into())
}

fn skip_dynamic_meta(reader: &mut Reader<'_>) -> Result<(), Bad> {
    reader.much_compressed64()?;
    reader.much_compressed64()?;
    match reader.u8()? {
        1 => {
            let count = usize::from(reader.u8()?);
            reader.take(count * 12)?;
        }
        2 => {
            reader.much_compressed64()?;
        }
        _ => return Err(Bad::Wrong("unknown kind of table metadata")),
    }
    Ok(())
}

fn skip_insert_body(reader: &mut Reader<'_>) -> Result<(), Bad> {
    let head = reader.compressed()?;
    if head & 1 != 0 {
        reader.u8()?;
        reader.compressed()?;
        reader.compressed()?;
    }
    let len = usize::try_from(head >> 1).map_err(|_| Bad::Wrong("impossible length"))?;
    reader.take(len)?;
    Ok(())
}

fn skip_system_columns(reader: &mut Reader<'_>) -> Result<(), Bad> {
    reader.compressed()?;
    reader.take(7)?;
    reader.compressed64()?;
    Ok(())
}

/// Length of a field that is NULL.
pub(super) const NULL: u32 = u32::MAX;

fn skip_update(reader: &mut Reader<'_>) -> Result<(), Bad> {
    index::skip(reader)?;
    reader.u8()?;
    skip_system_columns(reader)?;
    reader.u16()?;
    reader.u8()?;
    for _ in 0..reader.compressed()? {
        reader.compressed()?;
        let len = reader.compressed()?;
        if len != NULL {
            reader.take(usize::try_from(len).map_err(|_| Bad::Wrong("impossible length"))?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record_type::ALL;
    use super::*;

    #[test]
    fn single_byte_records() {
        assert_eq!(scan(&[31]).unwrap().len, 1);
        assert_eq!(scan(&[32]).unwrap().len, 1);
        assert!(matches!(scan(&[31 | 0x80]), Err(ScanError::Damaged(31, _))));
        assert_eq!(scan(&[]), Err(ScanError::Short));
        for unknown in [0, 3, 9, 18, 23, 38, 46, 53, 77, 127] {
            assert_eq!(scan(&[unknown]), Err(ScanError::Unknown(unknown)));
        }
    }

    #[test]
    fn a_record_ends_where_its_body_does() {
        // WRITE_4BYTES alone in its mini-transaction: space 5, page 300, offset 38, value 0x4000.
        let bytes = [4 | 0x80, 5, 0x81, 0x2c, 0, 38, 0xc0, 0x40, 0, 99];
        let outline = scan(&bytes).unwrap();
        assert_eq!((outline.kind, outline.single), (RecordType::WRITE_4BYTES, true));
        assert_eq!((outline.space, outline.page, outline.body, outline.len), (5, 300, 4, 9));
        for cut in 0..9 {
            assert_eq!(scan(&bytes[..cut]), Err(ScanError::Short));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(kind in 0..ALL.len(), mut bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            let _ = scan(&bytes);
            bytes[0] = ALL[kind] as u8;
            if let Ok(outline) = scan(&bytes) {
                prop_assert!(outline.body <= outline.len && outline.len <= bytes.len());
            }
        }
    }
}
