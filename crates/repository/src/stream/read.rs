use std::io::{self, Read};

use reseed_io::{IoError, Op};

use super::write::stream_path;
use super::{
    FRAME_HEAD, MAGIC, MAX_FRAME, PREAMBLE, RunMeta, STREAM_FORMAT, StreamHead, frame_hash, frame_head,
};
use crate::codec::Decoder;
use crate::error::{Damage, Problem, RepositoryError, StreamError};
use crate::files::{FileEntry, Run};
use crate::hash::{Hash128, Hasher};
use crate::index;
use crate::manifest::{Compression, INDEX, Manifest};
use crate::path::RelPath;
use crate::redo::WINDOW_LOG;

/// More index than this is not taken from a stream: it is kept in memory until its hash is known.
const MAX_INDEX: usize = 1 << 30;
/// Redo frames of ours hold a megabyte.
const MAX_REDO: usize = 4 << 20;
/// Buffers that are kept for reuse.
const MAX_SPARE: usize = 32;

/// What comes out of a stream, in the order in which it was sent.
#[derive(Debug)]
pub enum Item {
    Run(StoredRun),
    /// The redo, piece by piece, decompressed.
    Redo(Vec<u8>),
    /// The end was reached and everything was as it was sent. Before this nothing may be relied upon.
    End(Box<StreamEnd>),
}

/// A run as it travelled; decoded by whichever thread takes it.
#[derive(Debug)]
pub struct StoredRun {
    /// The name that the file had when it was copied.
    pub path: RelPath,
    /// `pack` is the number of the copy, `offset` the number of the run. Entries at the end name them.
    pub run: Run,
    /// The frame's content; the stored bytes start after the description.
    content: Vec<u8>,
    skip: usize,
}

/// What stands at the end of a stream.
#[derive(Debug)]
pub struct StreamEnd {
    pub manifest: Manifest,
    pub manifest_hash: Hash128,
    /// Every run in them has been given out before, unchanged.
    pub files: Vec<FileEntry>,
}

/// Decodes runs of a stream. One for each thread.
#[derive(Debug)]
pub struct RunDecoder {
    decoder: Decoder,
}

impl RunDecoder {
    /// The raw bytes of a run into `out`, hashes checked.
    ///
    /// # Errors
    /// When they are not as they were sent.
    pub fn decode(&mut self, run: &StoredRun, out: &mut Vec<u8>) -> Result<(), RepositoryError> {
        let altered = |_| StreamError::Altered { at: 0 }.into();
        let stored = run.content.get(run.skip..).unwrap_or_default();
        self.decoder.decode(&run.run, stored, out).map_err(altered)
    }
}

/// What is remembered of a run, to compare the index with.
#[derive(PartialEq, Eq)]
struct Seen {
    copy: u32,
    at: u64,
    raw: u32,
    hash: Hash128,
}

impl Seen {
    fn of(run: &Run) -> Seen {
        Seen { copy: run.pack, at: run.at, raw: run.raw, hash: run.hash }
    }
}

/// Reads a stream.
pub struct StreamReader<R> {
    from: R,
    at: u64,
    hasher: Hasher,
    head: StreamHead,
    seen: Vec<Seen>,
    redo: RedoState,
    index: Vec<u8>,
    manifest: Option<(Manifest, Hash128)>,
    spare: Vec<Vec<u8>>,
}

#[derive(Default)]
struct RedoState {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    stored: u64,
    stored_hash: Hasher,
    raw: u64,
    raw_hash: Hasher,
}

impl<R> std::fmt::Debug for StreamReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamReader").field("head", &self.head).field("at", &self.at).finish_non_exhaustive()
    }
}

impl<R: Read> StreamReader<R> {
    /// Reads what stands at the start.
    ///
    /// # Errors
    /// When it is no stream of ours, or one of a newer format.
    pub fn open(mut from: R) -> Result<StreamReader<R>, RepositoryError> {
        let mut preamble = [0; PREAMBLE];
        let n = fill(&mut from, 0, &mut preamble)?;
        if n == 0 {
            return Err(StreamError::Short { bytes: 0 }.into());
        }
        let (magic, rest) = preamble.split_at_checked(MAGIC.len()).ok_or(StreamError::NotOurs)?;
        if magic.get(..n.min(MAGIC.len())) != MAGIC.get(..n.min(MAGIC.len())) {
            return Err(StreamError::NotOurs.into());
        }
        if n < PREAMBLE {
            return Err(StreamError::Short { bytes: n as u64 }.into());
        }
        let version = rest.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if version > STREAM_FORMAT {
            let what = "the stream".to_owned();
            return Err(RepositoryError::NewerFormat { what, found: version.into(), known: STREAM_FORMAT });
        }
        if version != STREAM_FORMAT || rest.get(4..) != Some(&[0; 4]) {
            return Err(StreamError::Altered { at: 8 }.into());
        }
        let mut hasher = Hasher::new();
        hasher.update(&preamble);
        let head = StreamHead {
            tool: String::new(),
            id: crate::id::SetId::new(jiff::Timestamp::UNIX_EPOCH, crate::id::SetKind::Full, 1),
            name: "unknown".parse()?,
            kind: crate::id::SetKind::Full,
            compression: Compression::None,
            start: jiff::Timestamp::UNIX_EPOCH,
            server: None,
        };
        let mut reader = StreamReader {
            from,
            at: PREAMBLE as u64,
            hasher,
            head,
            seen: Vec::new(),
            redo: RedoState::default(),
            index: Vec::new(),
            manifest: None,
            spare: Vec::new(),
        };
        let start = reader.at;
        let (kind, content) = reader.frame()?;
        if kind != b'H' {
            return Err(StreamError::Unexpected { at: start }.into());
        }
        reader.head = serde_json::from_slice(&content).map_err(|_| StreamError::Unexpected { at: start })?;
        if reader.head.compression != Compression::None {
            let zstd = zstd::bulk::Decompressor::new().map_err(RepositoryError::Compress)?;
            reader.redo.zstd = Some(zstd);
        }
        Ok(reader)
    }

    pub fn head(&self) -> &StreamHead {
        &self.head
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.at
    }

    /// A decoder for one thread.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn decoder(&self) -> Result<RunDecoder, RepositoryError> {
        Ok(RunDecoder { decoder: Decoder::new(self.head.compression)? })
    }

    /// Takes back a run's memory for later runs.
    pub fn give_back(&mut self, run: StoredRun) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(run.content);
        }
    }

    /// The next item; after [`Item::End`] there is none.
    ///
    /// # Errors
    /// When the stream ends early, was altered, goes on after its end, or cannot be read.
    pub fn next_item(&mut self) -> Result<Item, RepositoryError> {
        loop {
            let start = self.at;
            let everything = self.hasher.hash();
            let (kind, content) = self.frame()?;
            let unexpected = || RepositoryError::from(StreamError::Unexpected { at: start });
            if self.manifest.is_some() && !matches!(kind, b'E' | b'X') {
                return Err(unexpected());
            }
            match kind {
                b'R' if self.index.is_empty() => return self.run(content, start).map(Item::Run),
                b'L' if self.index.is_empty() => return self.redo_piece(&content, start).map(Item::Redo),
                b'I' => {
                    if self.index.len() + content.len() > MAX_INDEX {
                        return Err(unexpected());
                    }
                    self.index.extend_from_slice(&content);
                }
                b'M' => {
                    self.manifest = Some(Manifest::from_text(&content, &self.head.id)?);
                }
                b'E' => {
                    let mark = [&start.to_le_bytes()[..], &everything.0.to_le_bytes()].concat();
                    if content != mark {
                        return Err(StreamError::Altered { at: start }.into());
                    }
                    return self.end(start).map(|end| Item::End(Box::new(end)));
                }
                b'X' => {
                    let reason = String::from_utf8_lossy(&content);
                    let reason = reason.chars().filter(|c| !c.is_control()).collect();
                    return Err(StreamError::Aborted { reason }.into());
                }
                _ => return Err(unexpected()),
            }
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), RepositoryError> {
        let start = self.at;
        let mut head = [0; FRAME_HEAD];
        self.take(&mut head)?;
        let altered = || StreamError::Altered { at: start };
        let (fields, hash) = head.split_first_chunk::<8>().ok_or_else(altered)?;
        let [kind, _, _, _, a, b, c, d] = *fields;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let max = if kind == b'M' { 64 << 20 } else { MAX_FRAME };
        if len > max || *fields != frame_head(kind, len) {
            return Err(altered().into());
        }
        let mut content = self.spare.pop().unwrap_or_default();
        content.clear();
        // Memory grows with what arrives, not with what a length claims.
        let read = (&mut self.from)
            .take(len as u64)
            .read_to_end(&mut content)
            .map_err(|e| IoError::at(Op::Read, stream_path(), self.at, e))?;
        self.hasher.update(&content);
        self.at += read as u64;
        if read < len {
            return Err(StreamError::Short { bytes: self.at }.into());
        }
        if frame_hash(*fields, &[&content]).0.to_le_bytes() != *hash {
            return Err(altered().into());
        }
        Ok((kind, content))
    }

    fn take(&mut self, buf: &mut [u8]) -> Result<(), RepositoryError> {
        let n = fill(&mut self.from, self.at, buf)?;
        self.hasher.update(buf.get(..n).unwrap_or_default());
        self.at += n as u64;
        if n < buf.len() { Err(StreamError::Short { bytes: self.at }.into()) } else { Ok(()) }
    }

    fn run(&mut self, content: Vec<u8>, start: u64) -> Result<StoredRun, RepositoryError> {
        let unexpected = || StreamError::Unexpected { at: start };
        let (len, rest) = content.split_first_chunk::<4>().ok_or_else(unexpected)?;
        let len = u32::from_le_bytes(*len) as usize;
        let meta = rest.get(..len).ok_or_else(unexpected)?;
        let RunMeta { path, run } = serde_json::from_slice(meta).map_err(|_| unexpected())?;
        let skip = 4 + len;
        // Checked alone here, and as part of its entry at the end.
        let mut alone = FileEntry::new(path, crate::files::FileKind::Other);
        alone.size = u64::MAX;
        alone.page_size = run.pages.as_ref().and_then(|pages| {
            let size = u64::from(run.raw).checked_div(pages.count())?;
            u32::try_from(size).ok()
        });
        alone.runs = vec![run];
        alone.check().map_err(|_| unexpected())?;
        let FileEntry { path, mut runs, .. } = alone;
        let run = runs.pop().ok_or_else(unexpected)?;
        if run.offset != self.seen.len() as u64 || content.len() - skip != run.stored as usize {
            return Err(unexpected().into());
        }
        self.seen.push(Seen::of(&run));
        Ok(StoredRun { path, run, content, skip })
    }

    fn redo_piece(&mut self, content: &[u8], start: u64) -> Result<Vec<u8>, RepositoryError> {
        let redo = &mut self.redo;
        redo.stored += content.len() as u64;
        redo.stored_hash.update(content);
        let piece = match &mut redo.zstd {
            None => content.to_vec(),
            Some(zstd) => {
                let altered = |_| StreamError::Altered { at: start };
                zstd.decompress(content, MAX_REDO).map_err(altered)?
            }
        };
        redo.raw += piece.len() as u64;
        redo.raw_hash.update(&piece);
        Ok(piece)
    }

    fn end(&mut self, start: u64) -> Result<StreamEnd, RepositoryError> {
        let unexpected = || StreamError::Unexpected { at: start };
        let end = self.at;
        if fill(&mut self.from, end, &mut [0])? > 0 {
            return Err(StreamError::Trailing { at: end }.into());
        }
        let (manifest, manifest_hash) = self.manifest.take().ok_or_else(unexpected)?;
        let redo = &self.redo;
        let redo_fits = manifest.redo.stored.size == redo.stored
            && manifest.redo.stored.hash == redo.stored_hash.hash()
            && manifest.redo.raw == redo.raw
            && manifest.redo.raw_hash == redo.raw_hash.hash();
        let index_fits = manifest.index.size == self.index.len() as u64
            && manifest.index.hash == Hash128::of(&self.index)
            && manifest.packs.is_empty()
            && manifest.totals.runs <= self.seen.len() as u64
            && manifest.compression == self.head.compression;
        if !redo_fits || !index_fits {
            return Err(unexpected().into());
        }
        let files = self.files(&manifest)?;
        Ok(StreamEnd { manifest, manifest_hash, files })
    }

    fn files(&self, manifest: &Manifest) -> Result<Vec<FileEntry>, RepositoryError> {
        let damage = |problem: Problem| Damage::of_file(INDEX, problem).in_set(&manifest.id);
        let mut zstd =
            zstd::stream::read::Decoder::with_buffer(&self.index[..]).map_err(RepositoryError::Compress)?;
        zstd.window_log_max(WINDOW_LOG).map_err(RepositoryError::Compress)?;
        let lines = io::BufReader::with_capacity(256 << 10, zstd);
        let mut files = Vec::new();
        for file in index::Reader::new(lines, manifest.totals) {
            let file = file.map_err(damage)?;
            let known = |run: &Run| {
                let seen = usize::try_from(run.offset).ok().and_then(|number| self.seen.get(number));
                seen.is_some_and(|seen| *seen == Seen::of(run))
            };
            if !file.runs.iter().all(known) {
                let problem = Problem::Contradiction {
                    found: format!("a run of {} that was not sent", file.path),
                    expected: "none".into(),
                };
                return Err(damage(problem));
            }
            files.push(file);
        }
        Ok(files)
    }
}

/// Reads until the buffer is full or the stream ends.
fn fill(from: &mut impl Read, at: u64, buf: &mut [u8]) -> Result<usize, RepositoryError> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(IoError::at(Op::Read, stream_path(), at + done as u64, e).into()),
        }
    }
    Ok(done)
}
