//! The apply of records to one page. Each type of record is one small function under its own name; [`apply_record`]
//! is the table of them.
//!
//! Knows nothing of where pages come from or go to, of checksums or of the log's blocks.

mod bytes;
mod create;
mod directory;
mod generic;
mod image;
mod index_page;
mod list;
mod row;
mod undo;
mod zip;

use reseed_innodb::PageSize;
use reseed_terms::{Lsn, PageId};

use self::bytes::{Result, r64};
use self::create::{PAGE_INDEX, PAGE_RTREE, PAGE_SDI, page_create, reorganize};
use self::image::{FIL_LSN, Image};
use self::row::FieldAt;
use self::zip::{Frame, Zlib};
use super::codec::{Bad, Reader};
use super::error::{ApplyError, MysqlError};
use super::index::IndexCache;
use super::lsn;
use super::record;
use super::record_type::RecordType;
use crate::visit::{Applied, ChangeKind};

/// Memory that is used again from record to record.
#[derive(Debug, Default)]
struct Scratch {
    row: Vec<u8>,
    old: Vec<u8>,
    fields: Vec<FieldAt>,
    zlib: Zlib,
}

/// Applies changes to pages of one server. Keeps nothing of a page between calls; one for each thread.
#[derive(Debug)]
pub struct MysqlApplier {
    page_size: PageSize,
    indexes: IndexCache,
    scratch: Scratch,
    /// The page that a compressed frame stands for.
    logical: Vec<u8>,
}

impl MysqlApplier {
    /// `page_size` is the server's (`innodb_page_size`).
    pub fn new(page_size: PageSize) -> MysqlApplier {
        MysqlApplier {
            page_size,
            indexes: IndexCache::default(),
            scratch: Scratch::default(),
            logical: Vec::new(),
        }
    }

    /// Applies `changes` (start, mini-transaction's end, kind, bytes), in log order, to `page`: as it is on disk, or
    /// zeros when it is not. In compressed tablespaces `zip` is the size of the frame, which `page` then is; a frame
    /// may be as large as the server's pages.
    ///
    /// Changes that the page already has, by its LSN, are skipped. LSN and checksums are left to the caller.
    ///
    /// # Errors
    /// When a change does not fit the page. The page is then of no use.
    pub fn apply<'a>(
        &mut self,
        id: PageId,
        zip: Option<PageSize>,
        page: &mut [u8],
        changes: impl IntoIterator<Item = (Lsn, Lsn, ChangeKind, &'a [u8])>,
    ) -> Result<Applied, MysqlError> {
        let load = |source| MysqlError::Load { page: id, source };
        let needed = zip.unwrap_or(self.page_size).bytes();
        if page.len() != needed {
            return Err(load(ApplyError::BufferSize { found: page.len(), needed }));
        }
        let page_lsn = Lsn(r64(page, FIL_LSN).map_err(load)?);
        let mut logical = std::mem::take(&mut self.logical);
        let mut image = match zip {
            None => Image { page, zip: None },
            Some(_) => {
                logical.resize(self.page_size.bytes(), 0);
                let frame = Frame { data: page, log_end: 0, n_blobs: 0 };
                Image { page: &mut logical, zip: Some(frame) }
            }
        };
        let mut done = Applied::default();
        for (start, end, kind, bytes) in changes {
            if start < page_lsn {
                done.skipped += 1;
                continue;
            }
            if done.count == 0 && kind != ChangeKind::Init {
                load_page(&mut image, &mut self.scratch.zlib).map_err(load)?;
            }
            self.apply_run(id, needed, &mut image, start, bytes)?;
            done.count += 1;
            done.lsn = Some(end);
        }
        self.logical = logical;
        Ok(done)
    }

    fn apply_run(
        &mut self,
        id: PageId,
        physical: usize,
        image: &mut Image<'_>,
        start: Lsn,
        mut bytes: &[u8],
    ) -> Result<(), MysqlError> {
        let mut at = start;
        while let Some(first) = bytes.first() {
            let number = first & !record::SINGLE;
            let kind = RecordType::from_number(number);
            let fail = |source| {
                let name = kind.map_or("unknown", RecordType::name);
                MysqlError::Apply { page: id, number, name, lsn: at, source }
            };
            let outline = record::scan(bytes).map_err(|_| fail(ApplyError::ShortRecord))?;
            let (record, rest) = bytes.split_at_checked(outline.len).ok_or(fail(ApplyError::ShortRecord))?;
            let body = record.get(outline.body..).unwrap_or_default();
            let mut reader = Reader::new(body);
            self.apply_record(outline.kind, id, physical, image, body, &mut reader).map_err(fail)?;
            if !reader.is_empty() {
                return Err(fail(ApplyError::TrailingBytes));
            }
            at = lsn::advance(at, outline.len as u64);
            bytes = rest;
        }
        Ok(())
    }

    /// The table of record types.
    fn apply_record(
        &mut self,
        kind: RecordType,
        id: PageId,
        physical: usize,
        image: &mut Image<'_>,
        raw: &[u8],
        body: &mut Reader<'_>,
    ) -> Result<()> {
        use RecordType::*;
        let scratch = &mut self.scratch;
        let mut index = |body: &mut Reader<'_>| {
            self.indexes.get(body, raw).map_err(|bad| match bad {
                Bad::Short => ApplyError::ShortRecord,
                Bad::Wrong(_) => ApplyError::Index,
            })
        };
        match kind {
            WRITE_1BYTE => generic::write_1byte(image, body),
            WRITE_2BYTES => generic::write_2bytes(image, body),
            WRITE_4BYTES => generic::write_4bytes(image, body),
            WRITE_8BYTES => generic::write_8bytes(image, body),
            WRITE_STRING => generic::write_string(image, body),
            INIT_FILE_PAGE | INIT_FILE_PAGE2 => generic::init_file_page2(image, id),
            IBUF_BITMAP_INIT => generic::ibuf_bitmap_init(image, physical),

            UNDO_INSERT => undo::undo_insert(image, body),
            UNDO_ERASE_END => undo::undo_erase_end(image),
            UNDO_INIT => undo::undo_init(image, body),
            UNDO_HDR_REUSE => undo::undo_hdr_reuse(image, body),
            UNDO_HDR_CREATE => undo::undo_hdr_create(image, body),

            PAGE_CREATE_REDUNDANT => page_create(image, PAGE_INDEX, false),
            PAGE_CREATE_COMPACT => page_create(image, PAGE_INDEX, true),
            PAGE_CREATE_RTREE_REDUNDANT => page_create(image, PAGE_RTREE, false),
            PAGE_CREATE_RTREE_COMPACT => page_create(image, PAGE_RTREE, true),
            PAGE_CREATE_SDI_REDUNDANT => page_create(image, PAGE_SDI, false),
            PAGE_CREATE_SDI_COMPACT => page_create(image, PAGE_SDI, true),

            REC_INSERT => index_page::rec_insert(image, &*index(body)?, body, scratch),
            REC_DELETE => index_page::rec_delete(image, &*index(body)?, body),
            REC_UPDATE_IN_PLACE => index_page::rec_update_in_place(image, &*index(body)?, body, scratch),
            REC_CLUST_DELETE_MARK => index_page::rec_clust_delete_mark(image, &*index(body)?, body, scratch),
            REC_SEC_DELETE_MARK => index_page::rec_sec_delete_mark(image, body),
            REC_MIN_MARK_REDUNDANT | REC_MIN_MARK_COMPACT => index_page::rec_min_mark(image, body),
            LIST_END_COPY_CREATED => index_page::list_end_copy_created(image, &*index(body)?, body, scratch),
            LIST_END_DELETE => index_page::list_end_delete(image, &*index(body)?, body),
            LIST_START_DELETE => index_page::list_start_delete(image, &*index(body)?, body),
            PAGE_REORGANIZE => reorganize(image, &*index(body)?, &mut scratch.old),

            ZIP_WRITE_NODE_PTR => zip::zip_write_node_ptr(image, body),
            ZIP_WRITE_BLOB_PTR => zip::zip_write_blob_ptr(image, body),
            ZIP_WRITE_HEADER => zip::zip_write_header(image, body),
            ZIP_PAGE_COMPRESS => zip::zip_page_compress(image, body, &mut scratch.zlib),
            ZIP_PAGE_COMPRESS_NO_DATA => {
                zip::zip_page_compress_no_data(image, &*index(body)?, body, &mut scratch.zlib)
            }
            ZIP_PAGE_REORGANIZE => zip::zip_page_reorganize(image, &*index(body)?, body, scratch),

            // None of these belongs to a page; the parser shows them as events or not at all.
            MULTI_REC_END | DUMMY_RECORD | FILE_CREATE | FILE_RENAME | FILE_DELETE | FILE_EXTEND
            | INDEX_LOAD | TABLE_DYNAMIC_META | TEST => Err(ApplyError::Type),
        }
    }
}

/// Makes the page from its compressed frame, and refuses to build on nothing.
fn load_page(image: &mut Image<'_>, zlib: &mut Zlib) -> Result<()> {
    let stored = image.zip.as_ref().map_or(&*image.page, |zip| &*zip.data);
    if r64(stored, FIL_LSN)? == 0 && stored.iter().all(|byte| *byte == 0) {
        return Err(ApplyError::EmptyPage);
    }
    let Some(zip) = &mut image.zip else { return Ok(()) };
    if zip::is_rows(zip.data)? {
        return zip::decompress(image.page, zip, zlib);
    }
    image.page.fill(0);
    bytes::put(image.page, 0, zip.data)
}

#[cfg(test)]
mod tests;
