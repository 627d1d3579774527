//! Bytes to meaning of InnoDB pages and tablespaces, for MariaDB and MySQL: headers, flags, checksums, page
//! compression. The byte layouts and where each fact comes from stand in `docs/formats/pages.md`.
//!
//! Pure: `&[u8]` in, values or a changed page out. No I/O, no `unsafe`, no panic on any input. Must never know of
//! redo records, of files or of SQL.

pub mod bytes;
mod check;
pub mod checksum;
pub mod compression;
pub mod doublewrite;
mod error;
pub mod fil;
mod format;
pub mod fsp;
pub mod index;
mod seal;
pub mod size;

pub use check::{PageState, check_page, identify_page0};
pub use compression::{Compression, Expanded, expand_page};
pub use doublewrite::doublewrite_pages;
pub use error::PageError;
pub use fil::PageType;
pub use format::{ChecksumForm, SpaceFormat};
pub use fsp::{Encryption, encryption};
pub use reseed_terms::{Flavour, Lsn, PageId, PageNo, SpaceId};
pub use seal::{seal_page, set_flush_lsn};
pub use size::{PageSize, PageSizeError};
