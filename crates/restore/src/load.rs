//! Reads a set's redo and groups it by page. Unpacking and parsing each have a thread.

use std::io::Read;
use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, bounded};
use reseed_io::{Cancel, IoError, Op, Progress};
use reseed_redo::mysql::TableMetadata;
use reseed_redo::{Capture, LogParser, LogVisitor, Lsn};
use reseed_repository::RepositoryError;

use crate::changes::{Budget, Changes, Collector};
use crate::error::RestoreError;

const PIECE: usize = 1 << 20;
/// Pieces between the two threads.
const AHEAD: usize = 4;

/// # Errors
/// When the redo cannot be read, is damaged, or ends before the capture does.
pub fn load(
    redo: Box<dyn Read + Send + '_>,
    capture: &Capture,
    budget: &Budget,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(Changes, TableMetadata), RestoreError> {
    let mut collector = Collector::new(budget, capture.checkpoint);
    read_through(redo, capture, &budget.spill, progress, cancel, &mut collector, Collector::check)?;
    collector.finish()
}

/// Shows the whole redo to `visitor`; `check` may end it early.
pub(crate) fn read_through<V: LogVisitor>(
    redo: Box<dyn Read + Send + '_>,
    capture: &Capture,
    named: &std::path::Path,
    progress: &dyn Progress,
    cancel: &Cancel,
    visitor: &mut V,
    mut check: impl FnMut(&mut V) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    let fail = |parser: &LogParser| {
        let lsn = parser.position();
        move |source| RestoreError::Redo { lsn, source }
    };
    let mut parser =
        LogParser::new(capture).map_err(|source| RestoreError::Redo { lsn: capture.first, source })?;
    std::thread::scope(|scope| {
        let (sender, receiver) = bounded(AHEAD);
        let named: PathBuf = named.to_owned();
        scope.spawn(move || unpack(redo, &named, &sender));
        let receiver: Receiver<Result<Vec<u8>, RestoreError>> = receiver;
        for piece in receiver {
            let piece = piece?;
            cancel.check()?;
            reseed_io::failpoint!("restore.redo").map_err(|e| IoError::new(Op::Read, "the redo", e))?;
            parser.push(&piece).map_err(fail(&parser))?;
            while parser.position() < capture.end
                && parser.next_mtr(visitor).map_err(fail(&parser))?.is_some()
            {}
            check(visitor)?;
            progress.advance(piece.len() as u64);
        }
        Ok::<(), RestoreError>(())
    })?;
    let found: Lsn = parser.position();
    if found < capture.end {
        return Err(RestoreError::RedoShort { found, needed: capture.end });
    }
    Ok(())
}

fn unpack(
    mut redo: Box<dyn Read + Send + '_>,
    named: &std::path::Path,
    sender: &Sender<Result<Vec<u8>, RestoreError>>,
) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let result = (&mut redo).take(PIECE as u64).read_to_end(&mut piece);
        let (message, last) = match result {
            Ok(0) => return,
            Ok(_) => (Ok(piece), false),
            Err(e) => (Err(read_error(named, e)), true),
        };
        // The other side may have failed meanwhile.
        if sender.send(message).is_err() || last {
            return;
        }
    }
}

/// A reader of a set puts its own error into the one of the standard library: damage must still be told as damage.
fn read_error(named: &std::path::Path, error: std::io::Error) -> RestoreError {
    match error.downcast::<RepositoryError>() {
        Ok(damage) => damage.into(),
        Err(error) => RestoreError::Io(IoError::new(Op::Read, named, error)),
    }
}
