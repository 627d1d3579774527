use reseed_terms::{Flavour, PageNo};

/// What is wrong with a page or with a tablespace's first page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    #[error("{got} bytes were given where a page of {expected} is due")]
    Length { expected: usize, got: usize },
    #[error("page {page}: checksum {stored:#010x} stands in the page, {computed:#010x} is computed")]
    Checksum { page: PageNo, stored: u32, computed: u32 },
    #[error(
        "page {page}: its two ends were written at different times (LSN {header:#010x} and {trailer:#010x})"
    )]
    Torn { page: PageNo, header: u32, trailer: u32 },
    #[error("page {expected} carries the number {found}")]
    Number { expected: PageNo, found: PageNo },
    #[error("page {page} is encrypted")]
    Encrypted { page: PageNo },
    #[error("page {page}: its size field says {size} bytes, which a page of {limit} cannot hold")]
    StoredSize { page: PageNo, size: usize, limit: usize },
    #[error("page {page}: {algorithm} does not decompress")]
    Decompress { page: PageNo, algorithm: &'static str },
    #[error("page compression by {algorithm} is not supported")]
    CompressionUnsupported { algorithm: &'static str },
    #[error("page compression by an unknown algorithm, number {number}")]
    CompressionUnknown { number: u64 },
    #[error("{flags:#x} are no flags of a {flavour} tablespace")]
    Flags { flavour: Flavour, flags: u32 },
    #[error("the first page names two tablespaces, {fil} and {fsp}")]
    TwoIds { fil: u32, fsp: u32 },
}
