//! The hand-over: the statements that make a restored server a replica, from the coordinates of its backup, in the
//! words of the target's flavour and version or of a managed service. Text only: nothing is run here.
//!
//! The statements begin by stopping and clearing whatever replication came along inside the data; nothing that was
//! set up on the server that was backed up may start by itself on the new one.

pub(crate) mod advice;
mod managed;
mod mariadb;
mod mysql;
mod sources;

use std::fmt;

use reseed_terms::{Coordinates, Flavour, ServerVersion};

use crate::options::Password;

/// Whose words are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Mariadb,
    Mysql,
    RdsMysql,
    RdsMariadb,
    AuroraMysql,
}

impl Dialect {
    /// The names that the command line takes.
    pub const NAMES: &'static [(&'static str, Dialect)] = &[
        ("mysql", Dialect::Mysql),
        ("mariadb", Dialect::Mariadb),
        ("rds-mysql", Dialect::RdsMysql),
        ("rds-mariadb", Dialect::RdsMariadb),
        ("aurora-mysql", Dialect::AuroraMysql),
    ];

    pub fn of(flavour: Flavour) -> Dialect {
        match flavour {
            Flavour::MariaDb => Dialect::Mariadb,
            Flavour::MySql => Dialect::Mysql,
        }
    }

    /// The family of server that speaks it.
    pub fn flavour(self) -> Flavour {
        match self {
            Dialect::Mariadb | Dialect::RdsMariadb => Flavour::MariaDb,
            Dialect::Mysql | Dialect::RdsMysql | Dialect::AuroraMysql => Flavour::MySql,
        }
    }

    pub fn name(self) -> &'static str {
        Dialect::NAMES.iter().find(|(_, dialect)| *dialect == self).map_or("", |(name, _)| name)
    }
}

/// How the replica finds its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    Gtid,
    File,
}

/// Whose replica the restored server becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Of {
    /// Of the server that was backed up.
    #[default]
    Server,
    /// Of the source or sources of the server that was backed up, beside it.
    Source,
}

/// The replication account's password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SourcePassword {
    Given(Password),
    /// A marked placeholder stands in its place.
    #[default]
    Placeholder,
}

/// What stands where a password is to be filled in.
pub const PLACEHOLDER: &str = "<PASSWORD>";

/// Encryption of the replication connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// As the target does it by itself.
    #[default]
    Default,
    Off,
    On,
}

/// What is wanted of a hand-over.
#[derive(Debug, Clone, Default)]
pub struct HandoverOptions {
    /// Needed for `Of::Server`; for `Of::Source` the backup knows it, and this overrules it.
    pub source_host: Option<String>,
    pub source_port: Option<u16>,
    pub source_user: Option<String>,
    pub password: SourcePassword,
    /// `None`: GTIDs where the backup has them, else file and position.
    pub position: Option<Position>,
    pub of: Of,
    /// `None`: the target's own.
    pub dialect: Option<Dialect>,
    /// `Of::Server`: name for the new channel or connection. `Of::Source`: take only this one.
    pub channel: Option<String>,
    pub tls: Tls,
}

/// One statement with the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Without the `;` at its end.
    pub sql: String,
    pub comment: String,
}

/// The hand-over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handover {
    /// To be run in this order.
    pub statements: Vec<Statement>,
    /// Settings that make the replica crash-safe, or that depend on what cannot be known here: printed as comments.
    pub advice: Vec<Statement>,
    /// Facts to be read before running anything: filters, delays, lacking GTIDs.
    pub notes: Vec<String>,
    pub has_placeholder: bool,
}

/// Why no hand-over can be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HandoverError {
    #[error("the host of the source is not known")]
    NoHost,
    #[error("the user for replication is not known")]
    NoUser,
    #[error("the backup is of {backup} and {dialect} is spoken by {speaks}")]
    Flavour { backup: Flavour, dialect: &'static str, speaks: Flavour },
    #[error("the server that was backed up writes no binary log, so nothing can replicate from it")]
    NoBinlog,
    #[error("the backup has no GTIDs to position by")]
    NoGtid,
    #[error("the backup has no file and position in the binary log of {of}")]
    NoPosition { of: String },
    #[error("the server that was backed up is not a replica, so it has no source")]
    NotAReplica,
    #[error("the server that was backed up has no channel {name:?}; it has {}", .known.join(", "))]
    NoChannel { name: String, known: Vec<String> },
    #[error("{dialect} takes no named channel and no more than one source")]
    OneChannelOnly { dialect: &'static str },
    #[error("Amazon RDS has no call that takes the GTIDs {part}, which have a tag")]
    TaggedGtid { part: String },
}

/// Writes the hand-over. `target` is the version of the restored server.
///
/// # Errors
/// When the backup lacks the coordinates that are asked for, or the options lack what nothing else can tell.
pub fn statements(
    coordinates: &Coordinates,
    target: &ServerVersion,
    options: &HandoverOptions,
) -> Result<Handover, HandoverError> {
    let dialect = options.dialect.unwrap_or_else(|| Dialect::of(target.flavour));
    if dialect.flavour() != target.flavour {
        return Err(HandoverError::Flavour {
            backup: target.flavour,
            dialect: dialect.name(),
            speaks: dialect.flavour(),
        });
    }
    let sources = sources::choose(coordinates, dialect, options)?;
    let mut handover = match dialect {
        Dialect::Mariadb => mariadb::statements(coordinates, target, options, &sources),
        Dialect::Mysql => mysql::statements(coordinates, target, options, &sources),
        Dialect::RdsMysql | Dialect::RdsMariadb | Dialect::AuroraMysql => {
            managed::statements(coordinates, target, dialect, options, &sources)?
        }
    };
    handover.has_placeholder = options.password == SourcePassword::Placeholder;
    handover.notes.extend(sources::notes(&sources));
    Ok(handover)
}

impl Statement {
    fn new(sql: impl Into<String>, comment: impl Into<String>) -> Statement {
        Statement { sql: sql.into(), comment: comment.into() }
    }
}

impl HandoverOptions {
    fn password_literal(&self) -> String {
        match &self.password {
            SourcePassword::Given(password) => crate::quote::plain(password.reveal()),
            SourcePassword::Placeholder => crate::quote::plain(PLACEHOLDER),
        }
    }
}

impl fmt::Display for Handover {
    /// The hand-over as a script for a client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "-- NOTE: {}", one_line(note))?;
        }
        if self.has_placeholder {
            writeln!(f, "-- FILL IN: {PLACEHOLDER} stands for the password of the replication account.")?;
        }
        for Statement { sql, comment } in &self.statements {
            writeln!(f, "-- {}\n{sql};", one_line(comment))?;
        }
        if !self.advice.is_empty() {
            writeln!(f, "-- Settings to look at:")?;
        }
        for Statement { sql, comment } in &self.advice {
            writeln!(f, "--   {};  -- {}", one_line(sql), one_line(comment))?;
        }
        Ok(())
    }
}

/// Text for a comment, in which a line break would begin a statement.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
