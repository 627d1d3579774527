//! The compressed frame of a page (ROW_FORMAT=COMPRESSED): what is on disk. The page itself is derived from it.
//!
//! | part | content |
//! |---|---|
//! | 0..94 | FIL and page header, as in the page |
//! | 94.. | deflate stream of a field description and of the rows, less what stands in the trailer |
//! | after it | modification log of rows written since, ended by a 0 byte |
//! | … | zeros |
//! | at the end, growing downward | trailer: dense directory (2 bytes a heap place: first the rows in list order, then the free list), then for node pages 4 bytes a place, for clustered leaves 13 bytes a place and 20-byte external pointers |
//!
//! Heap places count from 2 (0 and 1 are infimum and supremum).

mod compress;
mod decompress;
mod description;
mod records;
mod rows;

use std::ops::Range;

use reseed_zlib::{Deflate, Inflate, ZlibError};

use super::super::error::ApplyError;
use super::bytes::{Result, get, minus, put, r16, w16};
use super::image::{COMPACT, LEVEL, N_HEAP, N_RECS};

pub(super) use compress::compress;
pub(super) use decompress::{decompress, is_rows};
pub(super) use records::{
    zip_page_compress, zip_page_compress_no_data, zip_page_reorganize, zip_write_blob_ptr, zip_write_header,
    zip_write_node_ptr,
};

/// Bit of a dense directory entry: the row owns a group of the page directory.
const SLOT_OWNED: usize = 0x4000;
/// The row is marked deleted.
const SLOT_DELETED: usize = 0x8000;
const SLOT_OFFSET: usize = 0x3fff;
const SLOT: usize = 2;
/// Transaction number and roll pointer.
const SYSTEM: usize = 13;
/// Pointer to an external part of a field.
const EXTERN: usize = 20;
/// Heap numbers of user rows start here.
const FIRST_HEAP_NO: usize = 2;
/// First byte of the heap on an empty compact page.
const HEAP: usize = 120;

/// zlib streams, kept from page to page.
#[derive(Debug, Default)]
pub(super) struct Zlib {
    /// By level.
    deflate: [Option<Deflate>; 10],
    inflate: Option<Inflate>,
}

impl Zlib {
    /// The memory level that the server uses.
    const MEMORY: u8 = 9;

    fn deflate(&mut self, level: u8, page_size: usize) -> Result<&mut Deflate> {
        let slot = self
            .deflate
            .get_mut(usize::from(level))
            .ok_or(ApplyError::CompressedPage("impossible compression level"))?;
        match slot {
            Some(deflate) => {
                deflate.reset();
                Ok(deflate)
            }
            None => {
                Ok(slot.insert(Deflate::new(level, window(page_size), Self::MEMORY).map_err(zlib_error)?))
            }
        }
    }

    fn inflate(&mut self, page_size: usize) -> Result<&mut Inflate> {
        match &mut self.inflate {
            Some(inflate) => inflate.reset(),
            None => self.inflate = Some(Inflate::new(window(page_size)).map_err(zlib_error)?),
        }
        self.inflate.as_mut().ok_or(ApplyError::CompressedPage("no zlib"))
    }
}

fn window(page_size: usize) -> u8 {
    page_size.trailing_zeros() as u8
}

fn zlib_error(_: ZlibError) -> ApplyError {
    ApplyError::CompressedPage("zlib does not accept it")
}

/// A compressed frame and what is known of it beyond its bytes.
#[derive(Debug)]
pub(in super::super) struct Frame<'a> {
    pub data: &'a mut [u8],
    /// End of the modification log.
    pub log_end: usize,
    /// External pointers in the trailer.
    pub n_blobs: usize,
}

/// Which parts a trailer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Node,
    ClusteredLeaf,
    SecondaryLeaf,
}

impl Kind {
    fn of(leaf: bool, clustered: bool) -> Kind {
        match (leaf, clustered) {
            (false, _) => Kind::Node,
            (true, true) => Kind::ClusteredLeaf,
            (true, false) => Kind::SecondaryLeaf,
        }
    }

    /// Bytes of a heap place's part beside the dense directory.
    fn stored(self) -> usize {
        match self {
            Kind::Node => super::row::CHILD,
            Kind::ClusteredLeaf => SYSTEM,
            Kind::SecondaryLeaf => 0,
        }
    }
}

impl Frame<'_> {
    pub fn clear(&mut self) {
        self.data.fill(0);
        self.log_end = 0;
        self.n_blobs = 0;
    }

    /// Heap places of user rows, used and free.
    fn places(&self) -> Result<usize> {
        minus(r16(self.data, N_HEAP)? & !COMPACT, FIRST_HEAP_NO)
    }

    fn rows(&self) -> Result<usize> {
        r16(self.data, N_RECS)
    }

    fn is_leaf(&self) -> Result<bool> {
        Ok(r16(self.data, LEVEL)? == 0)
    }

    /// Where the parts below the dense directory of `places` places begin (they grow downward from here).
    fn below_directory(&self, places: usize) -> Result<usize> {
        minus(self.data.len(), SLOT * places)
    }

    fn entry_at(&self, n: usize) -> Result<usize> {
        minus(self.data.len(), SLOT * (n + 1))
    }

    fn entry(&self, n: usize) -> Result<usize> {
        r16(self.data, self.entry_at(n)?)
    }

    fn set_entry(&mut self, n: usize, value: usize) -> Result<()> {
        let at = self.entry_at(n)?;
        w16(self.data, at, value)
    }

    /// The directory entry of the row at `rec` within `entries`.
    fn find(&self, rec: usize, entries: Range<usize>) -> Result<usize> {
        for n in entries {
            if self.entry(n)? & SLOT_OFFSET == rec {
                return Ok(n);
            }
        }
        Err(ApplyError::CompressedPage("row is not in the dense directory"))
    }

    fn find_row(&self, rec: usize) -> Result<usize> {
        self.find(rec, 0..self.rows()?)
    }

    fn is_free(&self, rec: usize) -> Result<bool> {
        Ok(self.find(rec, self.rows()?..self.places()?).is_ok())
    }

    fn set_bit(&mut self, rec: usize, bit: usize, on: bool) -> Result<()> {
        let n = self.find_row(rec)?;
        let entry = self.entry(n)?;
        self.set_entry(n, if on { entry | bit } else { entry & !bit })
    }

    pub fn set_owned(&mut self, rec: usize, owned: bool) -> Result<()> {
        self.set_bit(rec, SLOT_OWNED, owned)
    }

    pub fn set_deleted(&mut self, rec: usize, deleted: bool) -> Result<()> {
        self.set_bit(rec, SLOT_DELETED, deleted)
    }

    /// Where the stored part of heap place `heap_no` lies: a child number or system columns.
    fn stored_at(&self, heap_no: usize, size: usize) -> Result<usize> {
        minus(self.below_directory(self.places()?)?, size * minus(heap_no, 1)?)
    }

    pub fn write_system_columns(&mut self, heap_no: usize, value: &[u8; SYSTEM]) -> Result<()> {
        let at = self.stored_at(heap_no, SYSTEM)?;
        put(self.data, at, value)
    }

    /// Where the external pointers begin (they grow downward from here).
    fn externs(&self) -> Result<usize> {
        minus(self.data.len(), (SLOT + SYSTEM) * self.places()?)
    }

    fn copy_in(&mut self, at: usize, page: &[u8], from: usize, len: usize) -> Result<()> {
        put(self.data, at, get(page, from, len)?)
    }
}
