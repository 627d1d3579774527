//! Standard output. Everything that a script may read goes through here, so that a reader that went away
//! (`reseed list | head -1`) ends the run quietly instead of with a panic.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Writes `text` as it is.
///
/// # Errors
/// When standard output cannot be written; a closed pipe is told apart by [`Failure::is_closed_pipe`].
pub fn text(text: impl Display) -> Result<(), Failure> {
    bytes(text.to_string().as_bytes())
}

/// Writes `bytes` as they are.
///
/// # Errors
/// As [`text`].
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::stdout)
}

/// Writes one JSON document and a line end.
///
/// # Errors
/// As [`text`].
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, document).map_err(|error| Failure::stdout(error.into()))?;
    out.write_all(b"\n").and_then(|()| out.flush()).map_err(Failure::stdout)
}
