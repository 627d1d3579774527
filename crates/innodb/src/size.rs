use std::fmt;

/// A page's size in bytes: a power of two from 1024 (smallest KEY_BLOCK_SIZE) to 65536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no InnoDB page size (a power of two from 1024 to 65536)")]
pub struct PageSizeError(pub u64);

impl PageSize {
    pub const K16: PageSize = PageSize(16384);
    pub const MAX: PageSize = PageSize(65536);

    /// # Errors
    /// When `bytes` is not a power of two from 1024 to 65536.
    pub fn new(bytes: u64) -> Result<PageSize, PageSizeError> {
        match u32::try_from(bytes) {
            Ok(size @ 1024..=65536) if size.is_power_of_two() => Ok(PageSize(size)),
            _ => Err(PageSizeError(bytes)),
        }
    }

    pub fn bytes(self) -> usize {
        self.0 as usize
    }

    pub fn as_u64(self) -> u64 {
        u64::from(self.0)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
