//! Errors as a person meets them: what failed and where (from the library's error and its sources), what to do about
//! it, and the exit code. The libraries give neither hints nor codes; both are added here, once, by one function for
//! each library's error enum (the sibling modules). Those functions match every variant by name, so that a new
//! variant does not compile before somebody has decided what it means to a script.

mod backup;
mod config;
mod io;
mod repository;
mod restore;
mod server;

use std::error::Error;
use std::fmt::{self, Display};

use serde::Serialize;

use crate::exit::Outcome;

pub use backup::backup;
pub use config::config;
pub use repository::repository;
pub use restore::restore;
pub use server::{attach, handover, options, server};

/// A failed run.
#[derive(Debug)]
pub struct Failure {
    pub outcome: Outcome,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    closed_pipe: bool,
    told_as_json: bool,
}

impl Failure {
    /// What a user who interrupts a run wants to know.
    const INTERRUPTED: &str = "Nothing half-done is in use: no set was published, no datadir put in place, no lock left in the server.";

    /// A failure that has no library error below it.
    pub fn new(outcome: Outcome, message: impl Display) -> Failure {
        Failure {
            outcome,
            message: message.to_string(),
            causes: Vec::new(),
            hint: None,
            closed_pipe: false,
            told_as_json: false,
        }
    }

    /// From an error and its chain of sources. A source whose text already stands in the line above is not repeated.
    pub fn of(outcome: Outcome, error: &dyn Error) -> Failure {
        let message = error.to_string();
        let mut causes: Vec<String> = Vec::new();
        let mut source = error.source();
        while let Some(below) = source {
            let text = below.to_string();
            if !causes.last().unwrap_or(&message).contains(&text) {
                causes.push(text);
            }
            source = below.source();
        }
        Failure { outcome, message, causes, hint: None, closed_pipe: false, told_as_json: false }
    }

    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Failure {
        self.causes.push(cause.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Adds to the hint what else is worth knowing.
    #[must_use]
    pub fn also(mut self, text: &str) -> Failure {
        self.hint = Some(match self.hint.take() {
            Some(hint) => format!("{hint}\n{text}"),
            None => text.to_owned(),
        });
        self
    }

    /// Message and causes in one line, as the cause of another failure.
    pub fn to_line(&self) -> String {
        let parts = std::iter::once(&self.message).chain(&self.causes);
        parts.map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    /// The command's own JSON document says it all.
    #[must_use]
    pub fn told_as_json(mut self, told: bool) -> Failure {
        self.told_as_json = told;
        self
    }

    /// Standard output could not be written.
    pub fn stdout(error: std::io::Error) -> Failure {
        let closed_pipe = error.kind() == std::io::ErrorKind::BrokenPipe;
        Failure {
            closed_pipe,
            ..Failure::new(Outcome::Failed, format!("cannot write to standard output: {error}"))
        }
    }

    /// What failed, in a line.
    pub fn summary(&self) -> String {
        format!("error: {}", self.message.lines().next().unwrap_or_default())
    }

    /// Whoever read our standard output has gone away.
    pub fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }

    /// The failure for scripts, as the JSON document that takes the place of the result; `None` where the command
    /// has told it in a document of its own.
    pub fn document(&self) -> Option<impl Serialize> {
        (!self.told_as_json).then_some(Document {
            error: Details {
                exit_code: self.outcome.code(),
                message: &self.message,
                causes: &self.causes,
                hint: self.hint.as_deref(),
            },
        })
    }
}

#[derive(Serialize)]
struct Document<'a> {
    error: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    exit_code: u8,
    message: &'a str,
    causes: &'a [String],
    hint: Option<&'a str>,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        block(f, "error: ", &self.message)?;
        for cause in &self.causes {
            block(f, "cause: ", cause)?;
        }
        let interrupted = (self.outcome == Outcome::Interrupted).then_some(Failure::INTERRUPTED);
        if let Some(hint) = self.hint.as_deref().or(interrupted) {
            block(f, " hint: ", hint)?;
        }
        Ok(())
    }
}

/// A labelled text whose further lines stand under its first.
fn block(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    for (at, line) in text.lines().enumerate() {
        writeln!(f, "{}{line}", if at == 0 { label } else { "       " })?;
    }
    Ok(())
}
