//! Following the redo file of a running server.
//!
//! A cursor does no I/O. Its user, in a loop,
//! 1. asks the server over SQL how far the redo is written (`Innodb_lsn_flushed`): the *limit*;
//! 2. checks that the path still leads to the file that is open (10.9 and later replace it when it is resized), and
//!    calls [`Cursor::supersede`] when it does not;
//! 3. reads [`Cursor::spans`] and gives the bytes to [`Cursor::accept`];
//! 4. asks the server again how far it is, and gives that to [`Cursor::check_lap`]: only now is it certain that the
//!    bytes had not been overwritten when they were read.
//!
//! The limit is not an optimisation. A mini-transaction's checksum does not cover its LSN, and behind the true end of
//! the log there can be whole mini-transactions of an earlier time that fit in every way: after a crash, for one, the
//! server goes on at the first torn write, and what had been written behind it stays. Whoever accepts by looks alone
//! will go on into those. Order matters too: a limit that was read before the file was found to be the current one
//! is held by that file.

use reseed_terms::{Lsn, RedoFormat};

use super::{BlockCursor, FileSpan, LogFile, RingCursor};
use crate::RedoError;

/// What was accepted from one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Bytes that were appended to the capture.
    pub bytes: usize,
    pub stop: Stop,
}

/// Why no more was accepted. Only `Limit` means that all is read; the others below the limit are to be read again,
/// and are damage only when they stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// All that was asked for.
    Limit,
    /// The window ends within a mini-transaction or block.
    WindowEnd,
    /// Nothing was written here (yet).
    LogEnd,
    /// Lengths that cannot be.
    BadLength,
    /// Ring: written in another lap.
    WrongLap,
    BadChecksum,
    /// Blocks: another block's number.
    WrongNumber,
    /// A checkpoint record that speaks of the future: of another time of this log.
    ForeignCheckpoint,
    /// Blocks: the last block is not full; [`Cursor::partial`] has it.
    Partial,
}

/// Follows one log, whichever format it has.
#[derive(Debug)]
pub enum Cursor {
    Ring(RingCursor),
    Blocks(BlockCursor),
}

impl Cursor {
    /// Starts at the checkpoint that `log` was parsed with.
    pub fn new(log: LogFile) -> Cursor {
        match log.format {
            RedoFormat::MariadbRing => Cursor::Ring(RingCursor::new(log)),
            _ => Cursor::Blocks(BlockCursor::new(log)),
        }
    }

    /// LSN of the first byte that the capture has or will have.
    pub fn first(&self) -> Lsn {
        match self {
            Cursor::Ring(cursor) => cursor.first(),
            Cursor::Blocks(cursor) => cursor.first(),
        }
    }

    /// Where to read next.
    pub fn position(&self) -> Lsn {
        match self {
            Cursor::Ring(cursor) => cursor.position(),
            Cursor::Blocks(cursor) => cursor.position(),
        }
    }

    /// How far the redo is known: all of it before this LSN is in the capture, or in [`partial`](Self::partial).
    pub fn reached(&self) -> Lsn {
        match self {
            Cursor::Ring(cursor) => cursor.position(),
            Cursor::Blocks(cursor) => cursor.reached(),
        }
    }

    /// The file that is being read. Its `checkpoint` stays the one that the cursor started at.
    pub fn log(&self) -> &LogFile {
        match self {
            Cursor::Ring(cursor) => cursor.log(),
            Cursor::Blocks(cursor) => cursor.log(),
        }
    }

    /// The places in the file to read next, for a window of up to `len` bytes.
    pub fn spans(&self, len: usize) -> [FileSpan; 2] {
        self.log().spans(self.position(), len)
    }

    /// Takes what was read at [`spans`](Self::spans) and appends what is whole, and lies before `limit`, to `capture`.
    pub fn accept(&mut self, window: &[u8], limit: Lsn, capture: &mut Vec<u8>) -> Accepted {
        match self {
            Cursor::Ring(cursor) => cursor.accept(window, limit, capture),
            Cursor::Blocks(cursor) => cursor.accept(window, limit, capture),
        }
    }

    /// Blocks: the last block while it is not full. It belongs at the end of the capture, and replaces its
    /// predecessor there.
    pub fn partial(&self) -> Option<&[u8]> {
        match self {
            Cursor::Ring(_) => None,
            Cursor::Blocks(cursor) => cursor.partial(),
        }
    }

    /// Fails when the server, being at `written` now, has overwritten what was to be read at `position` before.
    /// `position` is where the last window began, `written` was read from the server after the window.
    ///
    /// # Errors
    /// [`RedoError::Overrun`].
    pub fn check_lap(&self, position: Lsn, written: Lsn) -> Result<(), RedoError> {
        let capacity = self.log().capacity;
        if written.since(position) > capacity {
            return Err(RedoError::Overrun { position, written, capacity });
        }
        Ok(())
    }

    /// The path leads to another file now, `new`: the log was resized. `true`: read from the new file from now on.
    /// `false`: the old one is still needed; go on with it, and ask again after the next `accept`.
    ///
    /// # Errors
    /// When `new` cannot be the continuation.
    pub fn supersede(&mut self, new: &LogFile) -> Result<bool, RedoError> {
        match self {
            Cursor::Ring(cursor) => cursor.supersede(new),
            // These versions resize only while they are stopped.
            Cursor::Blocks(cursor) => Err(RedoError::Gap { position: cursor.position(), first: new.first() }),
        }
    }
}
