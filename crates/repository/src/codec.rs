//! One run to the bytes that are stored for it, and back.
//!
//! Stored are a tar header and the data with tar's padding: as two zstd frames (the header's first, so that the data
//! decompresses straight into the reader's buffer), or as they are.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

use crate::error::{Problem, RepositoryError};
use crate::files::PageList;
use crate::files::Run;
use crate::hash::{Hash64, Hash128};
use crate::manifest::Compression;
use crate::path::RelPath;
use crate::tar;

/// Zeros of this granularity are left out.
const BLOCK: usize = 4096;
/// Fewer zeros than this between data do not make a run of their own: compressed they are next to nothing.
const WORTH_A_HOLE: usize = 64 << 10;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The parts of a buffer that are worth storing, as start and end: without zeros at both ends, cut at long zeros.
pub(crate) fn stretches(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    for block in bytes.chunks(BLOCK) {
        let end = start + block.len();
        let zeros = ZEROS.get(..block.len()).is_some_and(|zeros| zeros == block);
        if !zeros {
            match found.last_mut() {
                Some((_, last)) if start - *last < WORTH_A_HOLE => *last = end,
                _ => found.push((start, end)),
            }
        }
        start = end;
    }
    found
}

/// What is to be stored for a run, in order, and what the run's record says about it.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    pub parts: [&'a [u8]; 3],
    pub head: u32,
    pub stored: u32,
    pub hash: Hash128,
    pub stored_hash: Hash64,
}

/// Keeps its compression context and buffers from run to run. One for each thread.
pub(crate) struct Encoder {
    zstd: Option<Compressor<'static>>,
    head: Vec<u8>,
    head_frame: Vec<u8>,
    frame: Vec<u8>,
    padded: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("zstd", &self.zstd.is_some()).finish_non_exhaustive()
    }
}

impl Encoder {
    pub(crate) fn new(compression: Compression) -> Result<Encoder, RepositoryError> {
        let zstd = match compression {
            Compression::None => None,
            Compression::Zstd(level) => {
                Some(Compressor::new(i32::from(level)).map_err(RepositoryError::Compress)?)
            }
        };
        Ok(Encoder { zstd, head: Vec::new(), head_frame: Vec::new(), frame: Vec::new(), padded: Vec::new() })
    }

    pub(crate) fn encode<'a>(
        &'a mut self,
        name: &[u8],
        raw: &'a [u8],
    ) -> Result<Encoded<'a>, RepositoryError> {
        tar::header(name, raw.len() as u64, &mut self.head);
        let hash = Hash128::of(raw);
        let padding = ZEROS.get(..tar::padding(raw.len())).unwrap_or_default();
        let parts: [&[u8]; 3];
        let head;
        let stored_hash;
        match &mut self.zstd {
            None => {
                head = self.head.len();
                parts = [&self.head, raw, padding];
                stored_hash = hash_of(&[&self.head, padding]);
            }
            Some(zstd) => {
                let data = if padding.is_empty() {
                    raw
                } else {
                    self.padded.clear();
                    self.padded.extend_from_slice(raw);
                    self.padded.extend_from_slice(padding);
                    &self.padded
                };
                compress(zstd, &self.head, &mut self.head_frame)?;
                compress(zstd, data, &mut self.frame)?;
                head = self.head_frame.len();
                parts = [&self.head_frame, &self.frame, &[]];
                stored_hash = hash_of(&parts);
            }
        }
        let stored = parts.iter().map(|part| part.len()).sum::<usize>();
        Ok(Encoded { parts, head: head as u32, stored: stored as u32, hash, stored_hash })
    }

    /// The end of an archive.
    pub(crate) fn end(&mut self) -> Result<&[u8], RepositoryError> {
        match &mut self.zstd {
            None => Ok(&tar::END),
            Some(zstd) => {
                compress(zstd, &tar::END, &mut self.frame)?;
                Ok(&self.frame)
            }
        }
    }
}

fn compress(zstd: &mut Compressor<'_>, from: &[u8], to: &mut Vec<u8>) -> Result<(), RepositoryError> {
    to.clear();
    to.reserve(compress_bound(from.len()));
    zstd.compress_to_buffer(from, to).map(drop).map_err(RepositoryError::Compress)
}

pub(crate) fn hash_of(parts: &[&[u8]]) -> Hash64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for part in parts {
        hasher.update(part);
    }
    Hash64(hasher.digest())
}

/// Keeps its decompression context from run to run. One for each thread.
pub(crate) struct Decoder {
    zstd: Option<Decompressor<'static>>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("zstd", &self.zstd.is_some()).finish_non_exhaustive()
    }
}

impl Decoder {
    pub(crate) fn new(compression: Compression) -> Result<Decoder, RepositoryError> {
        let zstd = match compression {
            Compression::None => None,
            Compression::Zstd(_) => Some(Decompressor::new().map_err(RepositoryError::Compress)?),
        };
        Ok(Decoder { zstd })
    }

    /// The raw bytes of a run into `out`, every hash checked.
    pub(crate) fn decode(&mut self, run: &Run, stored: &[u8], out: &mut Vec<u8>) -> Result<(), Problem> {
        out.clear();
        if stored.len() != run.stored as usize {
            return Err(Problem::Size { found: stored.len() as u64, expected: u64::from(run.stored) });
        }
        let (head, data) = stored.split_at_checked(run.head as usize).ok_or(Problem::Short)?;
        let raw = run.raw as usize;
        match &mut self.zstd {
            None => {
                let (data, padding) = data.split_at_checked(raw).ok_or(Problem::Short)?;
                check_plain_edges(run, head, padding)?;
                out.extend_from_slice(data);
            }
            Some(zstd) => {
                if hash_of(&[stored]) != run.stored_hash {
                    return Err(Problem::Hash);
                }
                let padded = raw + tar::padding(raw);
                out.reserve(padded);
                zstd.decompress_to_buffer(data, out).map_err(|_| Problem::Decompress)?;
                if out.len() != padded {
                    return Err(Problem::Size { found: out.len() as u64, expected: padded as u64 });
                }
                out.truncate(raw);
            }
        }
        check_raw(run, out)
    }
}

/// Checks what surrounds the data of a run that is not compressed.
fn check_plain_edges(run: &Run, head: &[u8], padding: &[u8]) -> Result<(), Problem> {
    if hash_of(&[head, padding]) == run.stored_hash { Ok(()) } else { Err(Problem::Hash) }
}

fn check_raw(run: &Run, raw: &[u8]) -> Result<(), Problem> {
    if Hash128::of(raw) == run.hash { Ok(()) } else { Err(Problem::Hash) }
}

/// The name of a run's tar entry: the file's own for its first bytes, with the offset behind it for later ones, so
/// that small files unpack as they were and large ones as parts whose names sort in order. Single pages are told from
/// both by the number of the first.
pub(crate) fn run_name(path: &RelPath, at: u64, pages: Option<&PageList>) -> Vec<u8> {
    let mut name = path.as_bytes().to_vec();
    if let Some(first) = pages.and_then(|pages| pages.iter().next()) {
        name.extend_from_slice(format!("@pages-{first:010}").as_bytes());
    } else if at > 0 {
        name.extend_from_slice(format!("@{at:016}").as_bytes());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(encoded: &Encoded<'_>, raw: usize) -> Run {
        Run {
            pack: 0,
            offset: 0,
            stored: encoded.stored,
            head: encoded.head,
            at: 0,
            raw: raw as u32,
            hash: encoded.hash,
            stored_hash: encoded.stored_hash,
            pages: None,
        }
    }

    #[test]
    fn zeros_are_left_out() {
        let mut bytes = vec![0; 1 << 20];
        assert_eq!(stretches(&bytes), []);
        assert_eq!(stretches(&[]), []);
        bytes[5000] = 1;
        assert_eq!(stretches(&bytes), [(4096, 8192)]);
        bytes[20000] = 1;
        assert_eq!(stretches(&bytes), [(4096, 20480)], "a short gap stays in");
        bytes[20480 + WORTH_A_HOLE] = 1;
        assert_eq!(stretches(&bytes)[1], (20480 + WORTH_A_HOLE, 24576 + WORTH_A_HOLE));
        bytes.truncate(100);
        bytes[99] = 1;
        assert_eq!(stretches(&bytes), [(0, 100)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_left_out_is_zero(marks in proptest::collection::vec((0_usize..400_000, 1_u8..), 0..8), len in 0_usize..400_000) {
            let mut bytes = vec![0; len];
            for (at, value) in marks {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            let mut rebuilt = vec![0; len];
            let mut last = 0;
            for (start, end) in stretches(&bytes) {
                prop_assert!(start >= last && end > start && end <= len);
                rebuilt[start..end].copy_from_slice(&bytes[start..end]);
                last = end;
            }
            prop_assert_eq!(rebuilt, bytes);
        }

        #[test]
        fn a_run_comes_back_and_any_change_is_found(
            raw in proptest::collection::vec(any::<u8>(), 1..3000), zstd: bool, at: prop::sample::Index, bit in 0..8_u8,
        ) {
            let compression = if zstd { Compression::Zstd(1) } else { Compression::None };
            let mut encoder = Encoder::new(compression).unwrap();
            let mut decoder = Decoder::new(compression).unwrap();
            let encoded = encoder.encode(b"a/b", &raw).unwrap();
            let run = record(&encoded, raw.len());
            let mut stored = encoded.parts.concat();
            let mut out = Vec::new();
            prop_assert_eq!(decoder.decode(&run, &stored, &mut out), Ok(()));
            prop_assert_eq!(&out, &raw);
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            prop_assert!(decoder.decode(&run, &stored, &mut out).is_err());
            stored[at] ^= 1 << bit;
            stored.pop();
            prop_assert!(decoder.decode(&run, &stored, &mut out).is_err());
        }
    }
}
