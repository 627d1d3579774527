//! Free space of the file system that a path lies on.

use std::path::Path;

use crate::error::{IoError, Op};

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this user may still write.
    pub available: u64,
    pub total: u64,
}

/// # Errors
/// When the file system cannot be asked.
pub fn free(path: &Path) -> Result<Space, IoError> {
    let vfs = nix::sys::statvfs::statvfs(path).map_err(|errno| IoError::new(Op::Stat, path, errno.into()))?;
    // The widths of these fields differ between platforms.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    let (fragment, available, total) =
        (vfs.fragment_size() as u64, vfs.blocks_available() as u64, vfs.blocks() as u64);
    Ok(Space { available: available.saturating_mul(fragment), total: total.saturating_mul(fragment) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_some_and_never_more_than_all() {
        let dir = tempfile::tempdir().unwrap();
        let space = super::free(dir.path()).unwrap();
        assert!(space.total > 0 && space.available <= space.total);
        assert!(super::free(&dir.path().join("absent")).is_err());
    }
}
