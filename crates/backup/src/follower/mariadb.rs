//! The live redo log of MariaDB: one file that is written in a circle, and replaced by another when it is resized.
//! Which bytes count is decided by [`Cursor`]; here are the file, and the server's word on how far it is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reseed_io::{Cancel, DataFile, ReadMode};
use reseed_redo::mariadb::{Cursor, LogFile, Stop};
use reseed_redo::{Capture, Lsn, RedoError, UnsupportedLog};
use reseed_server::{RedoPosition, Server};

use super::{Polled, RedoSource, redo, sufficient};
use crate::error::{BackupError, Refusal};

const NAME: &str = "ib_logfile0";
/// Holds the longest mini-transaction there can be.
const WINDOW: usize = 2 << 20;
/// What is read beyond the limit: the end of what is before it may share a write with what comes after.
const SLACK: u64 = 4096;
/// Bytes taken in one poll before the caller gets to write them.
const BATCH: usize = 4 << 20;
/// How long what the server calls written may look torn before it is called damaged.
const TORN: Duration = Duration::from_secs(10);
/// How often, and how long apart, a header that makes no sense is read again.
const HEADER_LOOKS: u32 = 20;
const HEADER_PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct MariadbRedo {
    path: PathBuf,
    file: DataFile,
    cursor: Cursor,
    checkpoint_end: Lsn,
    server: Arc<Server>,
    position: RedoPosition,
    window: Vec<u8>,
    torn_since: Option<(Lsn, Instant)>,
    cancel: Cancel,
}

impl MariadbRedo {
    /// Finds the newest checkpoint. `server` is a connection that nobody else uses.
    pub fn open(dir: &Path, server: Arc<Server>, cancel: Cancel) -> Result<MariadbRedo, BackupError> {
        let path = dir.join(NAME);
        let before = server.redo_position()?;
        let (file, log) = open(&path, &cancel)?;
        let position = server.redo_position()?;
        super::check_owner(&server, dir, before.checkpoint, log.checkpoint.lsn, position.current)?;
        Ok(MariadbRedo {
            path,
            file,
            checkpoint_end: log.checkpoint.end,
            cursor: Cursor::new(log),
            server,
            position,
            window: Vec::new(),
            torn_since: None,
            cancel,
        })
    }

    /// Goes over to the file that has taken the log's name, once the open one is read to where that begins.
    fn follow_resize(&mut self) -> Result<(), BackupError> {
        use std::os::unix::fs::MetadataExt;
        let ours = self.file.inode()?;
        match std::fs::metadata(&self.path) {
            Ok(there) if there.ino() == ours.number && there.dev() == ours.device => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(BackupError::unreadable(&self.path, source)),
        }
        let (file, log) = open(&self.path, &self.cancel)?;
        let at = self.cursor.position();
        let goes_over = self.cursor.supersede(&log).map_err(|error| match error {
            RedoError::Gap { .. } | RedoError::WrongFormat { .. } => {
                BackupError::RedoRestarted { reason: error.to_string() }
            }
            other => redo(at, other),
        })?;
        if goes_over {
            tracing::info!(lsn = %at, capacity = log.capacity, "the redo log was resized");
            self.file = file;
        }
        Ok(())
    }

    fn read_window(&mut self, limit: Lsn) -> Result<usize, BackupError> {
        let wanted = limit.since(self.cursor.position()).saturating_add(SLACK);
        let wanted = usize::try_from(wanted).unwrap_or(WINDOW).min(WINDOW);
        self.window.resize(wanted, 0);
        let mut filled = 0;
        for span in self.cursor.spans(wanted) {
            let Some(part) = self.window.get_mut(filled..filled + span.len) else { break };
            let got = self.file.read_at(span.offset, part)?;
            filled += got;
            if got < span.len {
                break;
            }
        }
        Ok(filled)
    }

    /// What the server calls written and we cannot read: torn for a moment, or damaged.
    fn watch_torn(&mut self, stop: Stop) -> Result<(), BackupError> {
        let at = self.cursor.reached();
        match self.torn_since {
            Some((lsn, since)) if lsn == at => {
                if since.elapsed() > TORN {
                    let what = match stop {
                        Stop::BadLength => "a record has an impossible length",
                        Stop::WrongLap => "it was written in another lap of the log",
                        Stop::BadChecksum => "a checksum does not fit",
                        Stop::WrongNumber => "a block has another one's number",
                        Stop::ForeignCheckpoint => "it names a checkpoint that is not there yet",
                        _ => "nothing is written there, though the server says so",
                    };
                    return Err(redo(at, RedoError::Corrupt { lsn: at, what }));
                }
            }
            _ => self.torn_since = Some((at, Instant::now())),
        }
        Ok(())
    }
}

impl RedoSource for MariadbRedo {
    fn capture(&self) -> Capture {
        let log = self.cursor.log();
        Capture {
            format: log.format,
            first: self.cursor.first(),
            checkpoint: log.checkpoint.lsn,
            checkpoint_end: self.checkpoint_end,
            end: Lsn(u64::MAX),
            bytes: 0,
            creator: log.creator.clone(),
        }
    }

    fn poll(&mut self, bytes: &mut Vec<u8>) -> Result<Polled, BackupError> {
        if self.cursor.reached() >= self.position.flushed {
            self.position = self.server.redo_position()?;
        }
        while bytes.len() < BATCH {
            let limit = self.position.flushed;
            // After the limit was read: only then is it certain that this file holds it.
            self.follow_resize()?;
            let before = self.cursor.position();
            if self.cursor.reached() >= limit {
                break;
            }
            let filled = self.read_window(limit)?;
            let accepted = self.cursor.accept(self.window.get(..filled).unwrap_or_default(), limit, bytes);
            // Only now is it certain that what was read had not been overwritten before.
            self.position = self.server.redo_position()?;
            if let Err(RedoError::Overrun { position, written, capacity }) =
                self.cursor.check_lap(before, self.position.current)
            {
                let sufficient = sufficient(capacity, position, written);
                return Err(BackupError::RedoOverrun { needed: position, written, capacity, sufficient });
            }
            match accepted.stop {
                Stop::Limit => self.torn_since = None,
                _ if accepted.bytes > 0 => self.torn_since = None,
                stop => {
                    self.watch_torn(stop)?;
                    return Ok(Polled { server: self.position.current, more: false });
                }
            }
        }
        Ok(Polled { server: self.position.current, more: self.cursor.reached() < self.position.flushed })
    }

    fn partial(&self) -> Option<&[u8]> {
        self.cursor.partial()
    }
}

/// Opens the log and understands its begin; the server may be writing that at this moment.
fn open(path: &Path, cancel: &Cancel) -> Result<(DataFile, LogFile), BackupError> {
    let mut looks = 0;
    loop {
        let file = match DataFile::open(path, ReadMode::Cached) {
            Ok(file) => file,
            Err(reseed_io::IoError::Os { source, .. }) => return Err(BackupError::unreadable(path, source)),
            Err(error) => return Err(error.into()),
        };
        let mut head = vec![0; LogFile::HEAD];
        let got = file.read_at(0, &mut head)?;
        match LogFile::parse(head.get(..got).unwrap_or_default(), file.len()?) {
            Ok(log) => return Ok((file, log)),
            Err(RedoError::Unsupported(unsupported)) => return Err(refuse(unsupported)),
            Err(error) if looks >= HEADER_LOOKS => return Err(redo(Lsn::ZERO, error)),
            Err(_) => {
                looks += 1;
                cancel.sleep(HEADER_PAUSE)?;
            }
        }
    }
}

fn refuse(unsupported: UnsupportedLog) -> BackupError {
    let refusal = match unsupported {
        UnsupportedLog::Encrypted => Refusal::EncryptedRedo,
        UnsupportedLog::Archive => Refusal::RedoArchive,
        other => Refusal::RedoFormat { reason: other.to_string() },
    };
    BackupError::Refused { server: "this server".to_owned(), refusal }
}
