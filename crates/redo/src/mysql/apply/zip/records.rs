//! Records that exist only for compressed pages.

use super::super::super::codec::Reader;
use super::super::super::error::ApplyError;
use super::super::super::index::Index;
use super::super::Scratch;
use super::super::bytes::{Result, fill, minus, put};
use super::super::create::reorganize;
use super::super::image::{FIL_PREV, FIL_TYPE, Image};
use super::{Zlib, compress, decompress};

/// Stores `len` bytes at one place of the page and another of the frame.
fn write_both(image: &mut Image<'_>, body: &mut Reader<'_>, len: usize) -> Result<()> {
    let (at, zip_at) = (body.u16()?.into(), body.u16()?.into());
    let bytes = body.take(len)?;
    put(image.page, at, bytes)?;
    put(image.frame()?.data, zip_at, bytes)
}

pub(in super::super) fn zip_write_node_ptr(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    write_both(image, body, super::super::row::CHILD)
}

pub(in super::super) fn zip_write_blob_ptr(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    write_both(image, body, super::EXTERN)
}

pub(in super::super) fn zip_write_header(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let at = body.u8()?.into();
    let len = body.u8()?.into();
    image.frame()?;
    image.write(at, body.take(len)?)
}

/// The frame as the server compressed it.
pub(in super::super) fn zip_page_compress(
    image: &mut Image<'_>,
    body: &mut Reader<'_>,
    zlib: &mut Zlib,
) -> Result<()> {
    let size = usize::from(body.u16()?);
    let trailer = usize::from(body.u16()?);
    let neighbours = body.take(8)?;
    let bytes = body.take(size)?;
    let end = body.take(trailer)?;
    let (page, zip) = (&mut *image.page, image.zip.as_mut().ok_or(ApplyError::NotCompressed)?);
    put(zip.data, FIL_PREV, neighbours)?;
    put(zip.data, FIL_TYPE, bytes)?;
    let gap = FIL_TYPE + size;
    let trailer_at = minus(zip.data.len(), trailer)?;
    fill(zip.data, gap, minus(trailer_at, gap)?, 0)?;
    put(zip.data, trailer_at, end)?;
    decompress(page, zip, zlib)
}

/// The page compressed as it is now.
pub(in super::super) fn zip_page_compress_no_data(
    image: &mut Image<'_>,
    index: &Index,
    body: &mut Reader<'_>,
    zlib: &mut Zlib,
) -> Result<()> {
    compress(image, index, body.u8()?, zlib)
}

pub(in super::super) fn zip_page_reorganize(
    image: &mut Image<'_>,
    index: &Index,
    body: &mut Reader<'_>,
    scratch: &mut Scratch,
) -> Result<()> {
    let level = body.u8()?;
    reorganize(image, index, &mut scratch.old)?;
    compress(image, index, level, &mut scratch.zlib)
}
