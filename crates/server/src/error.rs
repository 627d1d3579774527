use std::path::PathBuf;
use std::time::Duration;

use crate::locks::Blocker;
use crate::preflight::{self, Missing};

/// Everything that can go wrong between reseed and one live server. Texts carry the facts; what to do about them is
/// the command line's to add.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The server could not be reached.
    #[error("cannot connect to {target}: {reason}")]
    Connect { target: String, reason: String },

    /// The server was reached and refused the login (errors 1045, 1698, 1130 and their like).
    #[error("{target} refused the login of {user}: {message} (error {code})")]
    Login { target: String, user: String, code: u16, message: String },

    /// The server wants a login method that reseed does not speak.
    #[error("{target} asks for the authentication plugin {plugin}, which reseed does not have")]
    AuthPlugin { target: String, plugin: String },

    /// The connection cannot be as encrypted as it was asked for, or as the server demands.
    #[error("no encrypted connection to {target}: {reason}")]
    Tls { target: String, reason: String },

    /// No socket was named and none of the usual ones is there.
    #[error("no server socket was found; looked for {}", join_paths(.looked_for))]
    NoSocket { looked_for: Vec<PathBuf> },

    /// A statement was refused.
    #[error("{statement}: {message} (error {code}, SQLSTATE {state})")]
    Statement { statement: String, code: u16, state: String, message: String },

    /// The connection broke; what was locked through it is locked no more.
    #[error("the connection to the server was lost during {statement}: {reason}")]
    ConnectionLost { statement: String, reason: String },

    /// A statement did not come back in time. The session that ran it has been closed.
    #[error("{statement} was not answered within {} and was given up", seconds(.limit))]
    Timeout { statement: String, limit: Duration },

    /// The account lacks privileges: all of them, with the statements that grant them.
    #[error("the account lacks privileges: {}", privileges_text(.missing))]
    Privileges { missing: Vec<Missing> },

    /// A lock was not granted within the limit. Nothing of ours is left waiting in the server.
    #[error("{lock} was not granted within {}{}", seconds(.limit), blockers_text(.blockers))]
    LockWait { lock: String, limit: Duration, blockers: Vec<Blocker> },

    /// `--safe`: replicated statements kept temporary tables open for too long. The applier runs again.
    #[error("replicated statements still had {open} temporary tables open after {}", seconds(.limit))]
    TemporaryTables { open: u64, limit: Duration },

    /// The caller asked to stop.
    #[error("stopped while waiting for {statement}")]
    Stopped { statement: String },

    /// An answer lacked something that it must have, or had it in a form that is not understood.
    #[error("the server's answer to {statement} is not understood: {reason}")]
    Answer { statement: String, reason: String },

    /// Not one of the servers that reseed works with.
    #[error("{server} is not supported: {reason}")]
    Unsupported { server: String, reason: String },

    /// The runtime that carries the connection could not be made.
    #[error("cannot start the connection's runtime")]
    Runtime(#[source] std::io::Error),
}

impl ServerError {
    /// The server's error number, where there is one.
    pub fn code(&self) -> Option<u16> {
        match self {
            ServerError::Login { code, .. } | ServerError::Statement { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// True where a privilege is missing.
    pub fn is_privilege(&self) -> bool {
        if matches!(self, ServerError::Privileges { .. }) {
            return true;
        }
        matches!(self.code(), Some(1044 | 1142 | 1143 | 1227 | 1370 | 1611 | 3879))
            && matches!(self, ServerError::Statement { .. })
    }

    /// True where no usable connection came about.
    pub fn is_connect(&self) -> bool {
        matches!(
            self,
            ServerError::Connect { .. }
                | ServerError::Login { .. }
                | ServerError::AuthPlugin { .. }
                | ServerError::Tls { .. }
                | ServerError::NoSocket { .. }
        )
    }
}

fn join_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

pub(crate) fn seconds(limit: &Duration) -> String {
    if limit.subsec_millis() == 0 {
        format!("{} s", limit.as_secs())
    } else {
        format!("{:.1} s", limit.as_secs_f64())
    }
}

fn blockers_text(blockers: &[Blocker]) -> String {
    let mut text = String::new();
    for blocker in blockers {
        text.push_str("\n  ");
        text.push_str(&blocker.to_string());
    }
    if text.is_empty() { text } else { format!("; in its way may be:{text}") }
}

fn privileges_text(missing: &[Missing]) -> String {
    let mut text: Vec<String> =
        missing.iter().map(|missing| format!("{} ({})", missing.privilege, missing.why)).collect();
    text.extend(preflight::grant_statement(missing));
    text.join("\n  ")
}
