//! The captured redo as a file of the set: zstd frames of about a megabyte, or the bytes as they are.

use std::io::{self, Read};
use std::path::Path;

use zstd::bulk::Compressor;

use crate::error::{Damage, Problem, RepositoryError};
use crate::hash::Hasher;
use crate::id::SetId;
use crate::manifest::{Compression, RedoFile, redo_name};
use crate::stored::StoredWriter;
use crate::window::Hashing;

/// Redo bytes in one frame.
const FRAME: usize = 1 << 20;
/// Frames of ours need no more than 8 MiB of history; a frame that asks for more is not ours.
pub(crate) const WINDOW_LOG: u32 = 24;

/// Cuts the redo into frames.
pub(crate) struct FrameMaker {
    zstd: Option<Compressor<'static>>,
    pending: Vec<u8>,
    frame: Vec<u8>,
    raw: u64,
    hasher: Hasher,
}

impl std::fmt::Debug for FrameMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameMaker").field("raw", &self.raw).finish_non_exhaustive()
    }
}

impl FrameMaker {
    pub(crate) fn new(compression: Compression) -> Result<FrameMaker, RepositoryError> {
        let zstd = match compression {
            Compression::None => None,
            Compression::Zstd(level) => {
                let mut zstd = Compressor::new(i32::from(level)).map_err(RepositoryError::Compress)?;
                zstd.include_checksum(true).map_err(RepositoryError::Compress)?;
                Some(zstd)
            }
        };
        Ok(FrameMaker { zstd, pending: Vec::new(), frame: Vec::new(), raw: 0, hasher: Hasher::new() })
    }

    /// Takes redo, and hands every full frame to `store`.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        mut store: impl FnMut(&[u8]) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        self.raw += bytes.len() as u64;
        self.hasher.update(bytes);
        while !bytes.is_empty() {
            let room = FRAME.saturating_sub(self.pending.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() >= FRAME {
                self.flush(&mut store)?;
            }
        }
        Ok(())
    }

    /// Hands over what has not filled a frame.
    pub(crate) fn flush(
        &mut self,
        mut store: impl FnMut(&[u8]) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        match &mut self.zstd {
            None => store(&self.pending)?,
            Some(zstd) => {
                self.frame.clear();
                self.frame.reserve(zstd::zstd_safe::compress_bound(self.pending.len()));
                zstd.compress_to_buffer(&self.pending, &mut self.frame).map_err(RepositoryError::Compress)?;
                store(&self.frame)?;
            }
        }
        self.pending.clear();
        Ok(())
    }

    pub(crate) fn raw(&self) -> u64 {
        self.raw
    }

    pub(crate) fn hasher(&self) -> &Hasher {
        &self.hasher
    }
}

#[derive(Debug)]
pub(crate) struct RedoWriter {
    file: StoredWriter,
    frames: FrameMaker,
}

impl RedoWriter {
    pub(crate) fn create(dir: &Path, compression: Compression) -> Result<RedoWriter, RepositoryError> {
        let file = StoredWriter::create(dir, redo_name(compression))?;
        Ok(RedoWriter { file, frames: FrameMaker::new(compression)? })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        let file = &mut self.file;
        self.frames.push(bytes, |frame| Ok(file.append(frame)?))
    }

    pub(crate) fn finish(mut self) -> Result<RedoFile, RepositoryError> {
        let file = &mut self.file;
        self.frames.flush(|frame| Ok(file.append(frame)?))?;
        let (raw, raw_hash) = (self.frames.raw(), self.frames.hasher().hash());
        Ok(RedoFile { stored: self.file.finish()?, raw, raw_hash })
    }
}

/// The redo of a set, decompressed. The end is an error unless every byte was as it was written: what was read may
/// only be used once the end was reached.
pub struct RedoReader {
    inner: Inner,
    id: SetId,
    redo: RedoFile,
    raw: u64,
    hasher: Hasher,
    done: bool,
}

enum Inner {
    Plain(Hashing),
    Zstd(Box<zstd::stream::read::Decoder<'static, Hashing>>),
}

impl std::fmt::Debug for RedoReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedoReader").field("id", &self.id).field("raw", &self.raw).finish_non_exhaustive()
    }
}

impl RedoReader {
    pub(crate) fn open(
        dir: &Path,
        id: &SetId,
        redo: &RedoFile,
        compression: Compression,
    ) -> Result<RedoReader, RepositoryError> {
        let file = Hashing::open(&dir.join(&redo.stored.name))?;
        let inner = match compression {
            Compression::None => Inner::Plain(file),
            // No redo makes no frame, and no frame is nothing to a decompressor.
            Compression::Zstd(_) if redo.raw == 0 => Inner::Plain(file),
            Compression::Zstd(_) => {
                let mut zstd =
                    zstd::stream::read::Decoder::with_buffer(file).map_err(RepositoryError::Compress)?;
                zstd.window_log_max(WINDOW_LOG).map_err(RepositoryError::Compress)?;
                Inner::Zstd(Box::new(zstd))
            }
        };
        Ok(RedoReader {
            inner,
            id: id.clone(),
            redo: redo.clone(),
            raw: 0,
            hasher: Hasher::new(),
            done: false,
        })
    }

    /// Length of the redo in bytes.
    pub fn len(&self) -> u64 {
        self.redo.raw
    }

    pub fn is_empty(&self) -> bool {
        self.redo.raw == 0
    }

    /// Fills the buffer as far as there is redo; 0 at the end, which is an error if anything was altered.
    ///
    /// # Errors
    /// When the file cannot be read, or is not as it was written.
    pub fn read_some(&mut self, buf: &mut [u8]) -> Result<usize, RepositoryError> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let n = match &mut self.inner {
                Inner::Plain(file) => file.read(rest),
                Inner::Zstd(zstd) => zstd.read(rest),
            };
            let n = n.map_err(|e| self.failed(e))?;
            if n == 0 {
                self.check_end()?;
                break;
            }
            self.hasher.update(rest.get(..n).unwrap_or_default());
            self.raw += n as u64;
            done += n;
            if self.raw > self.redo.raw {
                let problem = Problem::Size { found: self.raw, expected: self.redo.raw };
                return Err(self.damaged(problem));
            }
        }
        Ok(done)
    }

    fn failed(&self, error: io::Error) -> RepositoryError {
        match error.downcast::<reseed_io::IoError>() {
            Ok(inner) => inner.into(),
            Err(_) => self.damaged(Problem::Decompress),
        }
    }

    fn damaged(&self, problem: Problem) -> RepositoryError {
        Damage::of_file(self.redo.stored.name.clone(), problem).in_set(&self.id)
    }

    fn check_end(&mut self) -> Result<(), RepositoryError> {
        if self.done {
            return Ok(());
        }
        let file = match &self.inner {
            Inner::Plain(file) => file,
            Inner::Zstd(zstd) => zstd.get_ref(),
        };
        let expected = &self.redo.stored;
        if file.len() != expected.size {
            return Err(self.damaged(Problem::Size { found: file.len(), expected: expected.size }));
        }
        if self.raw != self.redo.raw {
            return Err(self.damaged(Problem::Size { found: self.raw, expected: self.redo.raw }));
        }
        if file.hasher.hash() != expected.hash || self.hasher.hash() != self.redo.raw_hash {
            return Err(self.damaged(Problem::Hash));
        }
        self.done = true;
        Ok(())
    }
}

impl Read for RedoReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_some(buf).map_err(io::Error::other)
    }
}
