//! Records that say where in a page which bytes go, and those that start a page anew.

use super::super::codec::Reader;
use super::bytes::{Result, fill, minus, put};
use super::image::{DATA, FIL_PAGE_NO, FIL_SPACE, FIL_TRAILER, FIL_TYPE, Image};
use reseed_terms::PageId;

pub(super) fn write_1byte(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let at = body.u16()?.into();
    let [.., value] = body.compressed()?.to_be_bytes();
    image.write(at, &[value])
}

pub(super) fn write_2bytes(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let at = body.u16()?.into();
    let [_, _, value @ ..] = body.compressed()?.to_be_bytes();
    image.write(at, &value)
}

pub(super) fn write_4bytes(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let at = body.u16()?.into();
    image.write(at, &body.compressed()?.to_be_bytes())
}

pub(super) fn write_8bytes(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let at = body.u16()?.into();
    image.write(at, &body.compressed64()?.to_be_bytes())
}

pub(super) fn write_string(image: &mut Image<'_>, body: &mut Reader<'_>) -> Result<()> {
    let at = body.u16()?.into();
    let len = body.u16()?.into();
    image.write(at, body.take(len)?)
}

/// The page is all zeros but for its address.
pub(super) fn init_file_page2(image: &mut Image<'_>, id: PageId) -> Result<()> {
    image.page.fill(0);
    if let Some(zip) = &mut image.zip {
        zip.clear();
    }
    image.write(FIL_PAGE_NO, &id.page.0.to_be_bytes())?;
    image.write(FIL_SPACE, &id.space.0.to_be_bytes())
}

/// An empty change buffer bitmap: four bits for each page that it describes. `physical` is the size of a page on
/// disk: as many pages does one bitmap describe.
pub(super) fn ibuf_bitmap_init(image: &mut Image<'_>, physical: usize) -> Result<()> {
    const IBUF_BITMAP: u16 = 5;
    image.write(FIL_TYPE, &IBUF_BITMAP.to_be_bytes())?;
    let len = (physical * 4).div_ceil(8);
    fill(image.page, DATA, len, 0)?;
    match &mut image.zip {
        Some(zip) => fill(zip.data, DATA, len, 0),
        None => Ok(()),
    }
}

/// Fills from `from` to the page's trailer.
pub(super) fn fill_to_trailer(page: &mut [u8], from: usize, value: u8) -> Result<()> {
    let end = minus(page.len(), FIL_TRAILER)?;
    fill(page, from, minus(end, from)?, value)
}

/// Sets the page's type, in the page alone.
pub(super) fn set_type(page: &mut [u8], page_type: u16) -> Result<()> {
    put(page, FIL_TYPE, &page_type.to_be_bytes())
}
