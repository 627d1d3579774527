use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use reseed_io::{IoError, Op};

use super::{
    FRAME_HEAD, MAGIC, PREAMBLE, RunMeta, STREAM, STREAM_FORMAT, StreamHead, frame_hash, frame_head,
};
use crate::catalog::Leftover;
use crate::codec::{Encoder, run_name};
use crate::error::{Incomplete, RepositoryError};
use crate::files::{FileEntry, PageList, Run};
use crate::hash::Hasher;
use crate::id::{ServerName, SetId};
use crate::index;
use crate::manifest::{INDEX, RedoFile, SetFacts, StoredFile, Totals, redo_name};
use crate::path::RelPath;
use crate::redo::FrameMaker;
use crate::sink::{FileCopy, PackSink, Published, RedoSink, Removed, Rest, Reused, Sink};
use crate::writer::{NewSet, Start, record};

/// Redo that waits for the stream while runs are on their way. The log's follower must not be held up by a
/// receiver that pauses for a moment.
const MAX_PENDING: usize = 32 << 20;
/// The index goes out in pieces of this size.
const INDEX_PIECE: usize = 1 << 20;

/// Sends a backup as a stream. Nothing is kept on the sender's side.
#[derive(Debug)]
pub struct StreamWriter {
    shared: Arc<Shared>,
    start: Start,
    next_copy: AtomicU32,
}

struct Shared {
    out: Mutex<Out>,
    pending: Mutex<Pending>,
    redo: Mutex<Option<RedoFile>>,
    open_packs: AtomicU32,
    new: NewSet,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("new", &self.new).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Pending {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// The one way out, in the order in which its lock was got.
struct Out {
    to: Box<dyn Write + Send>,
    at: u64,
    hasher: Hasher,
    runs: u64,
    /// Set once a write has failed: what follows would be out of step.
    broken: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Out {
    fn send(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        let fail = |at: u64| move |e: io::Error| IoError::at(Op::Write, STREAM, at, e);
        if self.broken {
            return Err(fail(self.at)(io::ErrorKind::BrokenPipe.into()));
        }
        let sent = reseed_io::failpoint::hit("stream.write").and_then(|()| self.to.write_all(bytes));
        sent.map_err(fail(self.at)).inspect_err(|_| self.broken = true)?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), IoError> {
        let head = frame_head(kind, parts.iter().map(|part| part.len()).sum());
        let mut both = [0; FRAME_HEAD];
        let hash = frame_hash(head, parts).0.to_le_bytes();
        for (to, from) in both.iter_mut().zip(head.into_iter().chain(hash)) {
            *to = from;
        }
        self.send(&both)?;
        parts.iter().try_for_each(|part| self.send(part))
    }

    fn flush(&mut self) -> Result<(), IoError> {
        self.to.flush().map_err(|e| IoError::at(Op::Write, STREAM, self.at, e))
    }
}

impl Shared {
    /// The way out, after the redo that was waiting for it.
    fn out(&self) -> Result<MutexGuard<'_, Out>, RepositoryError> {
        let mut out = locked(&self.out);
        self.send_pending(&mut out)?;
        Ok(out)
    }

    fn send_pending(&self, out: &mut Out) -> Result<(), RepositoryError> {
        loop {
            let mut pending = locked(&self.pending);
            let Some(frame) = pending.frames.pop_front() else { return Ok(()) };
            pending.bytes -= frame.len();
            drop(pending);
            out.frame(b'L', &[&frame])?;
        }
    }

    fn send_redo(&self, frame: &[u8]) -> Result<(), RepositoryError> {
        let mut out = match self.out.try_lock() {
            Ok(out) => out,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let mut pending = locked(&self.pending);
                if pending.bytes + frame.len() <= MAX_PENDING {
                    pending.bytes += frame.len();
                    pending.frames.push_back(frame.to_vec());
                    return Ok(());
                }
                drop(pending);
                locked(&self.out)
            }
        };
        self.send_pending(&mut out)?;
        Ok(out.frame(b'L', &[frame])?)
    }
}

impl StreamWriter {
    /// Begins a stream.
    ///
    /// # Errors
    /// When its first bytes cannot be sent.
    pub fn new(
        to: Box<dyn Write + Send>,
        name: &ServerName,
        new: NewSet,
    ) -> Result<StreamWriter, RepositoryError> {
        let id = SetId::new(new.start, new.kind(), 1);
        let head = StreamHead {
            tool: concat!("reseed ", env!("CARGO_PKG_VERSION")).to_owned(),
            id: id.clone(),
            name: name.clone(),
            kind: new.kind(),
            compression: new.compression,
            start: new.start,
            server: new.server.clone(),
        };
        let head = serde_json::to_vec(&head).map_err(|e| RepositoryError::Compress(e.into()))?;
        let mut out = Out { to, at: 0, hasher: Hasher::new(), runs: 0, broken: false };
        let mut preamble = [0; PREAMBLE];
        let fields = MAGIC.into_iter().chain(STREAM_FORMAT.to_le_bytes());
        for (to, from) in preamble.iter_mut().zip(fields) {
            *to = from;
        }
        out.send(&preamble)?;
        out.frame(b'H', &[&head])?;
        let shared = Shared {
            out: Mutex::new(out),
            pending: Mutex::default(),
            redo: Mutex::new(None),
            open_packs: AtomicU32::new(0),
            new: new.clone(),
        };
        Ok(StreamWriter {
            shared: Arc::new(shared),
            start: Start { id, sequence: 1, name: name.clone(), new },
            next_copy: AtomicU32::new(0),
        })
    }

    fn end(self, facts: SetFacts, mut files: Vec<FileEntry>) -> Result<Published, RepositoryError> {
        if self.shared.open_packs.load(Ordering::Acquire) > 0 {
            return Err(Incomplete::Pack { number: 0 }.into());
        }
        let redo = locked(&self.shared.redo).take().ok_or(Incomplete::Redo)?;
        if redo.raw != facts.capture.bytes {
            return Err(Incomplete::RedoLength { captured: redo.raw, expected: facts.capture.bytes }.into());
        }
        let mut out = self.shared.out()?;
        let totals = index::check(&mut files, |run| run.offset < out.runs)?;
        let pieces = IndexPieces { out: &mut out, pending: Vec::new(), size: 0, hasher: Hasher::new() };
        let mut pieces = index::write_compressed(files, pieces)?;
        pieces.send().map_err(index::unwrap_io)?;
        let index = StoredFile { name: INDEX.to_owned(), size: pieces.size, hash: pieces.hasher.hash() };
        let totals = Totals { stored: out.at, ..totals };
        let manifest = self.start.manifest(facts, totals, index, redo, Vec::new());
        let (text, _) = manifest.to_text().map_err(|e| RepositoryError::Compress(e.into()))?;
        out.frame(b'M', &[text.as_bytes()])?;
        let (at, hash) = (out.at, out.hasher.hash());
        out.frame(b'E', &[&at.to_le_bytes(), &hash.0.to_le_bytes()])?;
        out.flush()?;
        Ok(Published { manifest, path: None, removed: Vec::new() })
    }
}

/// Sends what is written to it as frames of the index.
struct IndexPieces<'a> {
    out: &'a mut Out,
    pending: Vec<u8>,
    size: u64,
    hasher: Hasher,
}

impl IndexPieces<'_> {
    fn send(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.out.frame(b'I', &[&self.pending]).map_err(io::Error::other)?;
            self.pending.clear();
        }
        Ok(())
    }
}

impl Write for IndexPieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        self.size += bytes.len() as u64;
        self.hasher.update(bytes);
        if self.pending.len() >= INDEX_PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for StreamWriter {
    fn id(&self) -> &SetId {
        &self.start.id
    }

    fn removed(&self) -> &[Removed] {
        &[]
    }

    fn reused(&self, _files: &[FileEntry]) -> Option<Reused> {
        None
    }

    fn copy(&self, path: &RelPath) -> FileCopy {
        FileCopy { number: self.next_copy.fetch_add(1, Ordering::Relaxed), path: path.clone() }
    }

    fn pack(&self) -> Result<Box<dyn PackSink>, RepositoryError> {
        let encoder = Encoder::new(self.shared.new.compression)?;
        self.shared.open_packs.fetch_add(1, Ordering::AcqRel);
        Ok(Box::new(Runs { shared: Arc::clone(&self.shared), encoder }))
    }

    fn redo(&self) -> Result<Box<dyn RedoSink>, RepositoryError> {
        let frames = FrameMaker::new(self.shared.new.compression)?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(RedoPieces { shared, frames, stored: 0, stored_hash: Hasher::new() }))
    }

    fn finish(self: Box<Self>, facts: SetFacts, files: Vec<FileEntry>) -> Result<Published, RepositoryError> {
        self.end(facts, files)
    }

    fn abort(self: Box<Self>, reason: &str, _rest: Rest) -> Option<Leftover> {
        let mut out = locked(&self.shared.out);
        let reason: String = reason.chars().take(4000).collect();
        // The receiver may be the one that is gone.
        let _ = out.frame(b'X', &[reason.as_bytes()]).and_then(|()| out.flush());
        None
    }
}

/// One thread's way of sending runs.
#[derive(Debug)]
struct Runs {
    shared: Arc<Shared>,
    encoder: Encoder,
}

impl PackSink for Runs {
    fn store(
        &mut self,
        copy: &FileCopy,
        at: u64,
        raw: &[u8],
        pages: Option<PageList>,
    ) -> Result<Run, RepositoryError> {
        let encoded = self.encoder.encode(&run_name(&copy.path, at, pages.as_ref()), raw)?;
        let mut out = self.shared.out()?;
        let run = Run { pages, ..record(copy.number, out.runs, at, raw.len(), &encoded) };
        let meta = RunMeta { path: copy.path.clone(), run };
        let text = serde_json::to_vec(&meta).map_err(|e| RepositoryError::Compress(e.into()))?;
        let [a, b, c] = encoded.parts;
        out.frame(b'R', &[&(text.len() as u32).to_le_bytes(), &text, a, b, c])?;
        out.runs += 1;
        Ok(meta.run)
    }

    fn finish(self: Box<Self>) -> Result<(), RepositoryError> {
        self.shared.open_packs.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }
}

#[derive(Debug)]
struct RedoPieces {
    shared: Arc<Shared>,
    frames: FrameMaker,
    stored: u64,
    stored_hash: Hasher,
}

impl RedoSink for RedoPieces {
    fn write(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        let RedoPieces { shared, frames, stored, stored_hash } = self;
        frames.push(bytes, |frame| send_redo(shared, frame, stored, stored_hash))
    }

    fn finish(self: Box<Self>) -> Result<(), RepositoryError> {
        let RedoPieces { shared, mut frames, mut stored, mut stored_hash } = *self;
        frames.flush(|frame| send_redo(&shared, frame, &mut stored, &mut stored_hash))?;
        let name = redo_name(shared.new.compression).to_owned();
        let stored = StoredFile { name, size: stored, hash: stored_hash.hash() };
        let redo = RedoFile { stored, raw: frames.raw(), raw_hash: frames.hasher().hash() };
        *locked(&shared.redo) = Some(redo);
        Ok(())
    }
}

fn send_redo(
    shared: &Shared,
    frame: &[u8],
    stored: &mut u64,
    hasher: &mut Hasher,
) -> Result<(), RepositoryError> {
    *stored += frame.len() as u64;
    hasher.update(frame);
    shared.send_redo(frame)
}

/// The path that errors of a stream name.
pub(super) fn stream_path() -> &'static Path {
    Path::new(STREAM)
}
