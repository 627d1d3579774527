//! The runs of a pack that has no index, read from its start: what a run that died has written, told by its own bytes.
//!
//! Nothing is believed. A header counts when it is the very one that would be written for its name and length, and data
//! when all of it is there; the first thing that is otherwise ends the reading, and so does the end of the archive.
//! Whether the bytes are those that were once meant is not asked: a run that is found is named by their hash.

use std::path::Path;

use reseed_io::{AlignedBuf, BLOCK, Cancel, DataFile, IoError, Progress, ReadMode};
use zstd::bulk::Decompressor;
use zstd::zstd_safe::find_frame_compressed_size;

use crate::codec::hash_of;
use crate::error::RepositoryError;
use crate::files::{MAX_RUN, MAX_STORED};
use crate::hash::{Hash64, Hash128, Hasher};
use crate::manifest::Compression;
use crate::tar;

/// Bytes of a pack in memory at a time: several runs of the largest size.
const TAPE: usize = 12 << 20;
/// What a zstd frame begins with. The library reads older formats and skippable frames too, which no pack has.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A run as it lies in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundRun {
    /// Hash of the name in the tar header: of path, offset and first page.
    pub name: Hash128,
    pub offset: u64,
    pub stored: u32,
    pub head: u32,
    pub raw: u32,
    pub hash: Hash128,
    pub stored_hash: Hash64,
}

/// The part of a pack that is whole.
#[derive(Debug)]
pub(crate) struct Salvaged {
    pub runs: Vec<FoundRun>,
    /// Where it ends.
    pub len: u64,
    /// Over all of it.
    pub hasher: Hasher,
}

/// Reads a pack up to the first thing that is not whole, or cannot be read. No more than `most` runs are taken.
///
/// # Errors
/// When the work was told to stop, or the pack cannot be opened.
pub(crate) fn salvage(
    path: &Path,
    compression: Compression,
    most: usize,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Salvaged, RepositoryError> {
    let mut tape = Tape::open(path)?;
    let mut unpacker = Unpacker::new(compression)?;
    let mut found = Salvaged { runs: Vec::new(), len: 0, hasher: Hasher::new() };
    while found.runs.len() < most {
        cancel.check()?;
        let Ok(bytes) = tape.from(found.len) else { break };
        let Some(run) = unpacker.first(bytes) else { break };
        found.hasher.update(bytes.get(..run.stored as usize).unwrap_or_default());
        progress.advance(u64::from(run.stored));
        let offset = found.len;
        found.len += u64::from(run.stored);
        found.runs.push(FoundRun { offset, ..run });
    }
    Ok(found)
}

/// A file read from its start to its end, through a buffer that always has room for a whole run.
struct Tape {
    file: DataFile,
    buf: AlignedBuf,
    start: u64,
    len: usize,
    ended: bool,
}

impl Tape {
    fn open(path: &Path) -> Result<Tape, IoError> {
        let file = DataFile::open(path, ReadMode::Sparing)?;
        Ok(Tape { file, buf: AlignedBuf::new(TAPE), start: 0, len: 0, ended: false })
    }

    /// What the file has from `offset` on, which never goes back: enough for any run, unless the file ends before.
    fn from(&mut self, offset: u64) -> Result<&[u8], IoError> {
        let mut skip = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX).min(self.len);
        if !self.ended && self.len - skip < MAX_STORED as usize {
            let gone = skip - skip % BLOCK;
            self.buf.copy_within(gone..self.len, 0);
            self.start += gone as u64;
            self.len -= gone;
            skip -= gone;
            let room = self.buf.get_mut(self.len..).unwrap_or_default();
            let got = self.file.read_at(self.start + self.len as u64, room)?;
            self.ended = got < room.len();
            self.len += got;
        }
        Ok(self.buf.get(skip..self.len).unwrap_or_default())
    }
}

struct Unpacker {
    zstd: Option<Decompressor<'static>>,
    head: Vec<u8>,
    data: Vec<u8>,
}

impl Unpacker {
    fn new(compression: Compression) -> Result<Unpacker, RepositoryError> {
        let zstd = match compression {
            Compression::None => None,
            Compression::Zstd(_) => Some(Decompressor::new().map_err(RepositoryError::Compress)?),
        };
        Ok(Unpacker { zstd, head: Vec::new(), data: Vec::new() })
    }

    /// The run that the bytes begin with, as if they were a pack's first; `None` when there is none that is whole.
    fn first(&mut self, bytes: &[u8]) -> Option<FoundRun> {
        let (header, head, stored, stored_hash, data) = match &mut self.zstd {
            None => {
                let header = tar::Header::parse(bytes)?;
                let raw = fitting(header.size)?;
                let stored = header.len + raw + tar::padding(raw);
                let (head, rest) = bytes.get(..stored)?.split_at_checked(header.len)?;
                let (_, padding) = rest.split_at_checked(raw)?;
                let stored_hash = hash_of(&[head, padding]);
                (header, head.len(), stored, stored_hash, rest)
            }
            Some(zstd) => {
                let head = frame(bytes)?;
                unpack(zstd, head, tar::MAX_HEADER, &mut self.head)?;
                let header = tar::Header::parse(&self.head).filter(|header| header.len == self.head.len())?;
                let raw = fitting(header.size)?;
                let data = frame(bytes.get(head.len()..)?)?;
                unpack(zstd, data, raw + tar::padding(raw), &mut self.data)?;
                let stored = head.len() + data.len();
                (header, head.len(), stored, hash_of(&[head, data]), self.data.as_slice())
            }
        };
        let raw = fitting(header.size)?;
        let (data, padding) = data.split_at_checked(raw)?;
        let whole = padding.len() == tar::padding(raw) && padding.iter().all(|byte| *byte == 0);
        (whole && stored <= MAX_STORED as usize).then(|| FoundRun {
            name: Hash128::of(&header.name),
            offset: 0,
            stored: stored as u32,
            head: head as u32,
            raw: raw as u32,
            hash: Hash128::of(data),
            stored_hash,
        })
    }
}

/// A length that a run can have.
fn fitting(size: u64) -> Option<usize> {
    usize::try_from(size).ok().filter(|size| (1..=MAX_RUN).contains(size))
}

/// The zstd frame that the bytes begin with.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    if !bytes.starts_with(&ZSTD_MAGIC) {
        return None;
    }
    bytes.get(..find_frame_compressed_size(bytes).ok()?)
}

/// Decompresses into memory that has room for `most` bytes and a little, whatever the frame says.
fn unpack(zstd: &mut Decompressor<'_>, frame: &[u8], most: usize, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    out.reserve(most);
    zstd.decompress_to_buffer(frame, out).ok()?;
    (out.len() <= most).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reseed_io::Silent;

    use super::*;
    use crate::codec::Encoder;

    fn frame_of(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 1).unwrap()
    }

    fn header_of(size: u64) -> Vec<u8> {
        let mut out = Vec::new();
        tar::header(b"a/b.ibd", size, &mut out);
        out
    }

    fn run(compression: Compression, raw: &[u8]) -> Vec<u8> {
        Encoder::new(compression).unwrap().encode(b"a/b.ibd", raw).unwrap().parts.concat()
    }

    fn salvaged(compression: Compression, bytes: &[u8]) -> Vec<FoundRun> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pack");
        std::fs::write(&path, bytes).unwrap();
        let found = salvage(&path, compression, 1000, &Silent, &Cancel::new()).unwrap();
        assert!(found.len <= bytes.len() as u64);
        let mut hasher = Hasher::new();
        hasher.update(&bytes[..found.len as usize]);
        assert_eq!(found.hasher.hash(), hasher.hash());
        found.runs
    }

    #[test]
    fn only_what_would_be_written_is_a_run() {
        const ZSTD: Compression = Compression::Zstd(1);
        let good = run(ZSTD, &[7; 1000]);
        let then = |bad: &[&[u8]]| salvaged(ZSTD, &[&good[..], &bad.concat(), &good].concat()).len();
        assert_eq!(then(&[]), 2);
        let data = |len: usize| frame_of(&vec![0; len]);
        let skippable = [&0x184d_2a50_u32.to_le_bytes()[..], &4u32.to_le_bytes(), b"skip"].concat();
        let older = [&0xfd2f_b527_u32.to_le_bytes()[..], &[0; 40]].concat();
        let unfit = MAX_RUN as u64 + 1;
        for (what, bad) in [
            ("a frame to skip", vec![skippable.clone()]),
            ("an older format", vec![older]),
            ("the end", vec![frame_of(&tar::END)]),
            ("a header that is none", vec![frame_of(&[1; 512]), data(512)]),
            ("a header of 64 MiB", vec![data(64 << 20), data(512)]),
            (
                "a header with more behind it",
                vec![frame_of(&[header_of(512), vec![0; 512]].concat()), data(512)],
            ),
            ("no bytes", vec![frame_of(&header_of(0)), data(0)]),
            ("too many bytes", vec![frame_of(&header_of(unfit)), data(MAX_RUN + 512)]),
            ("more than the header says", vec![frame_of(&header_of(512)), data(64 << 20)]),
            ("less than the header says", vec![frame_of(&header_of(1024)), data(512)]),
            ("a frame to skip as data", vec![frame_of(&header_of(8)), skippable]),
            ("padding that is not zeros", vec![frame_of(&header_of(500)), frame_of(&[1; 512])]),
        ] {
            let bad: Vec<&[u8]> = bad.iter().map(Vec::as_slice).collect();
            assert_eq!(then(&bad), 1, "{what}");
        }
        for size in [0, unfit, (1 << 33) - 1] {
            let bytes = [run(Compression::None, &[7; 1000]), header_of(size), vec![0; 4096]].concat();
            assert_eq!(salvaged(Compression::None, &bytes).len(), 1, "{size}");
        }
    }

    #[test]
    fn runs_longer_than_what_is_in_memory_follow_each_other() {
        for compression in [Compression::None, Compression::Zstd(1)] {
            let mut state = 1u32;
            let raw: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(MAX_RUN - 77)
            .collect();
            let stored = run(compression, &raw);
            let found = salvaged(compression, &stored.repeat(9));
            assert_eq!(found.len(), 9);
            for (run, nth) in found.iter().zip(0..) {
                assert_eq!((run.offset, run.hash), (nth * stored.len() as u64, Hash128::of(&raw)));
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            zstd: bool, lead in 0..3usize, cuts in prop::collection::vec((0..4usize, any::<u16>(), any::<u8>()), 0..6),
            tail in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let compression = if zstd { Compression::Zstd(1) } else { Compression::None };
            let mut bytes = run(compression, &[3; 2000]).repeat(lead);
            bytes.extend(tail);
            for (kind, at, value) in cuts {
                let at = usize::from(at) % (bytes.len() + 1);
                match (kind, bytes.get_mut(at)) {
                    (0, _) => bytes.truncate(at),
                    (1, _) => bytes.insert(at, value),
                    (_, Some(byte)) => *byte = value,
                    _ => {}
                }
            }
            prop_assert!(salvaged(compression, &bytes).len() <= lead);
        }
    }
}
