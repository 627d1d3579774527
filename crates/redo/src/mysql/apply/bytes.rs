//! Reading and writing within a page, every access checked: redo comes from disk and may be anything.

use std::ops::Range;

use super::super::error::ApplyError;

pub(super) type Result<T, E = ApplyError> = std::result::Result<T, E>;

fn outside(at: usize, len: usize) -> ApplyError {
    ApplyError::OutsidePage { offset: at, len }
}

pub(super) fn get(page: &[u8], at: usize, len: usize) -> Result<&[u8]> {
    let end = at.checked_add(len).ok_or(outside(at, len))?;
    page.get(at..end).ok_or(outside(at, len))
}

pub(super) fn get_mut(page: &mut [u8], at: usize, len: usize) -> Result<&mut [u8]> {
    let end = at.checked_add(len).ok_or(outside(at, len))?;
    page.get_mut(at..end).ok_or(outside(at, len))
}

fn array<const N: usize>(page: &[u8], at: usize) -> Result<[u8; N]> {
    page.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(outside(at, N))
}

pub(super) fn r8(page: &[u8], at: usize) -> Result<u8> {
    page.get(at).copied().ok_or(outside(at, 1))
}

pub(super) fn r16(page: &[u8], at: usize) -> Result<usize> {
    array(page, at).map(|bytes| usize::from(u16::from_be_bytes(bytes)))
}

pub(super) fn r64(page: &[u8], at: usize) -> Result<u64> {
    array(page, at).map(u64::from_be_bytes)
}

pub(super) fn put(page: &mut [u8], at: usize, bytes: &[u8]) -> Result<()> {
    get_mut(page, at, bytes.len())?.copy_from_slice(bytes);
    Ok(())
}

pub(super) fn w8(page: &mut [u8], at: usize, value: u8) -> Result<()> {
    *page.get_mut(at).ok_or(outside(at, 1))? = value;
    Ok(())
}

/// Writes the low 16 bits of `value`: offsets and counters wrap as they do in the server.
pub(super) fn w16(page: &mut [u8], at: usize, value: usize) -> Result<()> {
    put(page, at, &((value & 0xffff) as u16).to_be_bytes())
}

pub(super) fn fill(page: &mut [u8], at: usize, len: usize, value: u8) -> Result<()> {
    get_mut(page, at, len)?.fill(value);
    Ok(())
}

/// Copies `from` to `to` within the page; they may overlap.
pub(super) fn shift(page: &mut [u8], from: Range<usize>, to: usize) -> Result<()> {
    let len = from.end.checked_sub(from.start).ok_or(outside(from.start, 0))?;
    if from.end > page.len() || to.checked_add(len).is_none_or(|end| end > page.len()) {
        return Err(outside(to, len));
    }
    page.copy_within(from, to);
    Ok(())
}

/// `a - b`, where a damaged page may make it negative.
pub(super) fn minus(a: usize, b: usize) -> Result<usize> {
    a.checked_sub(b).ok_or(outside(a, 0))
}
