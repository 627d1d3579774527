//! Big-endian numbers at an offset. Reads outside the slice are `None`, writes outside do nothing and say `false`:
//! offsets come from disk and are never trusted.

/// The `N` bytes at `offset`.
pub fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

pub fn be2(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_be_bytes)
}

pub fn be4(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_be_bytes)
}

pub fn be8(bytes: &[u8], offset: usize) -> Option<u64> {
    array(bytes, offset).map(u64::from_be_bytes)
}

/// Copies `value` to `offset`.
#[must_use]
pub fn put(bytes: &mut [u8], offset: usize, value: &[u8]) -> bool {
    let Some(end) = offset.checked_add(value.len()) else { return false };
    match bytes.get_mut(offset..end) {
        Some(place) => {
            place.copy_from_slice(value);
            true
        }
        None => false,
    }
}

/// True when every byte is 0.
pub fn all_zero(bytes: &[u8]) -> bool {
    // In pieces, so that the usual page that is not empty costs one of them only.
    bytes.chunks(256).all(|piece| piece.iter().fold(0, |sum, byte| sum | byte) == 0)
}
