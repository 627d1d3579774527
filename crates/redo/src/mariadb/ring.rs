//! Following the ring of 10.8 and later.
//!
//! | part of a mini-transaction | bytes |
//! |---|---|
//! | records | at least 2, less than 1 MiB |
//! | lap | 1: alternates with each lap, see `LogFile::lap_byte`; goes by the LSN of this very byte |
//! | CRC-32C of the records | 4 |

use reseed_innodb::bytes::{be4, be8};
use reseed_terms::Lsn;

use super::frame::{self, Frame};
use super::{Accepted, LogFile, Stop, record};
use crate::RedoError;

/// What follows a mini-transaction's records: lap byte and checksum.
pub(super) const TAIL: usize = 5;

/// The lap byte of everything that is captured: the run does not wrap.
pub(super) const CAPTURED_LAP: u8 = 1;

/// See [`Cursor`](super::Cursor).
#[derive(Debug)]
pub struct RingCursor {
    log: LogFile,
    first: Lsn,
    position: Lsn,
    /// Mini-transactions that start here or later are not in this file any more.
    ends: Option<Lsn>,
}

impl RingCursor {
    /// Starts at the checkpoint that `log` was parsed with.
    pub fn new(log: LogFile) -> RingCursor {
        let start = log.checkpoint.lsn;
        RingCursor { log, first: start, position: start, ends: None }
    }

    pub fn first(&self) -> Lsn {
        self.first
    }

    pub fn position(&self) -> Lsn {
        self.position
    }

    pub fn log(&self) -> &LogFile {
        &self.log
    }

    /// Appends the whole mini-transactions at the start of `window` that end at or before `limit`, each with its lap
    /// byte set to 1.
    pub fn accept(&mut self, window: &[u8], limit: Lsn, capture: &mut Vec<u8>) -> Accepted {
        let begin = self.position;
        let stop = loop {
            let used = usize::try_from(self.position.since(begin)).unwrap_or(usize::MAX);
            let rest = window.get(used..).unwrap_or(&[]);
            match self.one(rest, limit) {
                Ok((records, end)) => {
                    let sum = records + 1;
                    capture.extend_from_slice(rest.get(..records).unwrap_or(&[]));
                    capture.push(CAPTURED_LAP);
                    capture.extend_from_slice(rest.get(sum..sum + 4).unwrap_or(&[]));
                    self.position = end;
                }
                Err(stop) => break stop,
            }
        };
        Accepted { bytes: usize::try_from(self.position.since(begin)).unwrap_or(usize::MAX), stop }
    }

    /// The length of the records of the mini-transaction at the start of `rest`, and where it ends.
    fn one(&self, rest: &[u8], limit: Lsn) -> Result<(usize, Lsn), Stop> {
        let start = self.position;
        if start >= limit {
            return Err(Stop::Limit);
        }
        if self.ends.is_some_and(|ends| start >= ends) {
            return Err(Stop::LogEnd);
        }
        let records = match frame::scan(rest) {
            Frame::Whole { records } => records,
            Frame::Empty => return Err(Stop::LogEnd),
            // A window that holds the longest mini-transaction and still does not hold this one.
            Frame::Short if rest.len() > frame::MAX_MTR + TAIL => return Err(Stop::BadLength),
            Frame::Short => return Err(Stop::WindowEnd),
            Frame::Bad => return Err(Stop::BadLength),
        };
        let lap_at = start.checked_add(records as u64).ok_or(Stop::BadLength)?;
        let end = lap_at.checked_add(TAIL as u64).ok_or(Stop::BadLength)?;
        if end > limit {
            return Err(Stop::Limit);
        }
        let Some(sum) = be4(rest, records + 1) else { return Err(Stop::WindowEnd) };
        if rest.get(records).copied() != Some(self.log.lap_byte(lap_at)) {
            return Err(Stop::WrongLap);
        }
        let body = rest.get(..records).unwrap_or(&[]);
        if crc32c::crc32c(body) != sum {
            return Err(Stop::BadChecksum);
        }
        if names_later_checkpoint(body, start) {
            return Err(Stop::ForeignCheckpoint);
        }
        Ok((records, end))
    }

    /// See [`Cursor::supersede`](super::Cursor::supersede).
    ///
    /// # Errors
    /// When `new` is of another format.
    pub fn supersede(&mut self, new: &LogFile) -> Result<bool, RedoError> {
        if new.format != self.log.format {
            return Err(RedoError::WrongFormat { format: new.format });
        }
        // The new file is written beside the old one from the write unit in which the resize began. So a
        // mini-transaction that starts before its first LSN is whole in the old file, and a later one in the new.
        if new.first() > self.position {
            self.ends = Some(new.first());
            return Ok(false);
        }
        // The capture still begins where it began.
        let started_at = self.log.checkpoint;
        self.log = new.clone();
        self.log.checkpoint = started_at;
        self.ends = None;
        Ok(true)
    }
}

/// True when the mini-transaction ends with a checkpoint record for an LSN that lies behind its own start.
fn names_later_checkpoint(mut body: &[u8], start: Lsn) -> bool {
    // File records come first, so a body that begins with a page record has none.
    while let Some(found) = record::next(body).filter(record::Raw::top_bit) {
        if found.head == 0xFA && found.body.starts_with(&[0, 0]) {
            return be8(found.body, 2).is_some_and(|checkpoint| checkpoint > start.0);
        }
        body = body.get(found.length..).unwrap_or(&[]);
    }
    false
}
