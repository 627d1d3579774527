//! The live redo log of MySQL: numbered files that the server makes, fills and recycles. Which bytes count is
//! decided by [`Tail`]; here are the open files.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reseed_io::{DataFile, ReadMode};
use reseed_redo::mysql::MysqlError;
use reseed_redo::mysql::file::{FileHead, HEAD, LogState, newest_checkpoint};
use reseed_redo::mysql::lsn::block_of;
use reseed_redo::mysql::tail::{Lost, Next, Position, Step, Stopped, Tail, TailFile};
use reseed_redo::{Capture, Lsn, RedoFormat};
use reseed_server::Server;

use super::{Polled, RedoSource, redo};
use crate::error::BackupError;

/// Bytes taken in one poll before the caller gets to write them.
const BATCH: usize = 4 << 20;
/// A first look may meet files in the middle of being recycled.
const FIRST_LOOKS: usize = 20;
const HEADER: usize = 512;

/// Positions told between the follower and the thread that speaks to the server.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    /// Everything before was read.
    pub read: AtomicU64,
    /// The server's own, as last heard.
    pub server: AtomicU64,
}

pub(crate) struct MysqlRedo {
    dir: PathBuf,
    files: HashMap<u64, DataFile>,
    next_key: u64,
    tail: Tail,
    log: LogState,
    positions: Arc<Positions>,
    capacity: u64,
    chunk: Vec<u8>,
}

impl MysqlRedo {
    /// Finds the newest checkpoint. A redo log consumer must have been registered before, if there is to be one.
    pub fn open(
        dir: &Path,
        capacity: u64,
        positions: Arc<Positions>,
        server: &Server,
    ) -> Result<MysqlRedo, BackupError> {
        let before = server.redo_position()?;
        let mut last = None;
        for _ in 0..FIRST_LOOKS {
            let heads: Vec<_> = open_all(dir)?.into_iter().map(|(head, size, _)| (head, size)).collect();
            match newest_checkpoint(&heads) {
                Ok(log) => {
                    let after = server.redo_position()?;
                    super::check_owner(server, dir, before.checkpoint, log.checkpoint, after.current)?;
                    positions.read.store(block_of(log.checkpoint).0, Ordering::Release);
                    return Ok(MysqlRedo {
                        dir: dir.to_path_buf(),
                        files: HashMap::new(),
                        next_key: 0,
                        tail: Tail::new(log.checkpoint),
                        log,
                        positions,
                        capacity,
                        chunk: Vec::new(),
                    });
                }
                Err(error @ (MysqlError::NoCheckpoint | MysqlError::HeaderChecksum { .. })) => {
                    last = Some(error)
                }
                Err(error) => return Err(redo(Lsn::ZERO, error.into())),
            }
        }
        Err(redo(Lsn::ZERO, last.unwrap_or(MysqlError::NoCheckpoint).into()))
    }

    fn rescan(&mut self) -> Result<Position, BackupError> {
        self.files.clear();
        let mut list = Vec::new();
        for (head, size, file) in open_all(&self.dir)? {
            let key = self.next_key;
            self.next_key += 1;
            list.push(TailFile { key, start: head.header.start, size });
            self.files.insert(key, file);
        }
        self.tail.files(&list).map_err(|lost| self.overrun(lost))
    }

    fn overrun(&self, lost: Lost) -> BackupError {
        let written = Lsn(self.positions.server.load(Ordering::Acquire).max(lost.oldest.0));
        BackupError::RedoOverrun {
            needed: lost.needed,
            written,
            capacity: self.capacity,
            sufficient: super::sufficient(self.capacity, lost.needed, written),
        }
    }
}

impl RedoSource for MysqlRedo {
    fn capture(&self) -> Capture {
        Capture {
            format: RedoFormat::MysqlBlocks,
            first: block_of(self.log.checkpoint),
            checkpoint: self.log.checkpoint,
            checkpoint_end: self.log.checkpoint,
            end: Lsn(u64::MAX),
            bytes: 0,
            creator: self.log.creator.clone(),
        }
    }

    fn poll(&mut self, bytes: &mut Vec<u8>) -> Result<Polled, BackupError> {
        let mut more = false;
        while bytes.len() < BATCH {
            let at = match self.tail.next() {
                Next::Rescan => match self.rescan()? {
                    Position::Found => continue,
                    Position::NotYet => break,
                },
                Next::Read(at) => at,
            };
            let Some(file) = self.files.get(&at.key) else {
                self.rescan()?;
                continue;
            };
            self.chunk.resize(at.len, 0);
            let got = file.read_at(at.offset, &mut self.chunk)?;
            let mut header = [0u8; HEADER];
            // After the chunk: it tells whether the file was recycled while it was read.
            file.read_at(0, &mut header)?;
            let chunk = self.chunk.get(..got - got % HEADER).unwrap_or_default();
            let step = self.tail.chunk(at, chunk, &header);
            match step.map_err(|error| disabled(self.tail.position(), error))? {
                Step::Recycled => {
                    self.files.remove(&at.key);
                }
                Step::Accepted { bytes: count, stopped } => {
                    bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    if stopped != Stopped::NotYet || count == 0 {
                        break;
                    }
                }
            }
            more = bytes.len() >= BATCH;
        }
        for key in self.tail.finished() {
            self.files.remove(&key);
        }
        self.positions.read.store(self.tail.position().0, Ordering::Release);
        Ok(Polled { server: Lsn(self.positions.server.load(Ordering::Acquire)), more })
    }

    fn partial(&self) -> Option<&[u8]> {
        self.tail.partial().map(<[u8; HEADER]>::as_slice)
    }
}

fn disabled(at: Lsn, error: MysqlError) -> BackupError {
    match error {
        MysqlError::LoggingDisabled | MysqlError::CrashUnsafe => BackupError::RedoDisabled,
        other => redo(at, other.into()),
    }
}

/// All files in use, with their heads and sizes. Those that cannot be read as such at this moment are left out.
fn open_all(dir: &Path) -> Result<Vec<(FileHead, u64, DataFile)>, BackupError> {
    let entries = std::fs::read_dir(dir).map_err(|source| BackupError::unreadable(dir, source))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| BackupError::unreadable(dir, source))?;
        let name = entry.file_name();
        let in_use = name
            .as_bytes()
            .strip_prefix(b"#ib_redo")
            .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit));
        if !in_use {
            continue;
        }
        let file = match DataFile::open(&entry.path(), ReadMode::Cached) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error.into()),
        };
        let mut head = vec![0u8; HEAD];
        let size = file.len()?;
        let got = file.read_at(0, &mut head)?;
        match FileHead::parse(head.get(..got).unwrap_or_default()) {
            Ok(head) => files.push((head, size, file)),
            Err(MysqlError::HeaderTooShort { .. } | MysqlError::HeaderChecksum { .. }) => {}
            Err(error) => return Err(redo(Lsn::ZERO, error.into())),
        }
    }
    Ok(files)
}
