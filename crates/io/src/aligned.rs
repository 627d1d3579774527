//! Memory that direct reads accept.

// Direct I/O needs memory at block boundaries, which no safe collection promises.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The alignment that direct reads and writes keep to: the largest logical block size in use.
pub const BLOCK: usize = 4096;

/// A buffer of fixed size at a block boundary, zeroed at first. Its length is a multiple of [`BLOCK`].
pub struct AlignedBuf {
    start: NonNull<u8>,
    layout: Layout,
}

impl AlignedBuf {
    /// A buffer of at least `len` bytes, rounded up to whole blocks; `len` is the caller's constant, never input.
    pub fn new(len: usize) -> AlignedBuf {
        let len = len.max(1).next_multiple_of(BLOCK);
        let layout = match Layout::from_size_align(len, BLOCK) {
            Ok(layout) => layout,
            Err(_) => handle_alloc_error(Layout::new::<u8>()),
        };
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => AlignedBuf { start, layout },
            None => handle_alloc_error(layout),
        }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is `layout.size()` initialised bytes that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

// SAFETY: the buffer owns its memory, like a boxed slice.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBuf {}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_zeroed_and_whole_blocks() {
        for len in [0, 1, 4096, 4097, 1 << 20] {
            let mut buf = AlignedBuf::new(len);
            assert_eq!(buf.as_ptr() as usize % BLOCK, 0);
            assert!(buf.len() >= len && buf.len().is_multiple_of(BLOCK));
            assert!(buf.iter().all(|&b| b == 0));
            buf.fill(7);
        }
    }
}
