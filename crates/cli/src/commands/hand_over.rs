//! `reseed hand-over`, and the hand-over that `restore` ends with.

use reseed_repository::Manifest;
use reseed_server::handover::{
    self, Dialect, Handover, HandoverOptions, Of, Position, SourcePassword, Statement, Tls,
};
use reseed_server::options::Password;
use serde::Serialize;

use super::{connect, sets};
use crate::args::{DialectArg, HandOverArgs, OfArg, PositionArg, SourceArgs, TlsArg};
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;

/// The one way for a password to come in without a file.
const PASSWORD_VARIABLE: &str = "RESEED_SOURCE_PASSWORD";

pub fn run(args: &HandOverArgs) -> Result<Outcome, Failure> {
    let set = sets::open(&args.set)?;
    let handover = make(set.manifest(), &options(&args.source)?)?;
    if args.json {
        out::json(&Document::of(set.manifest(), &handover))?;
    } else {
        out::text(handover)?;
    }
    Ok(Outcome::Done)
}

#[derive(Serialize)]
struct Document<'a> {
    set: &'a str,
    name: &'a str,
    statements: Vec<Line<'a>>,
    /// Settings that are worth a thought, not run by anybody.
    advice: Vec<Line<'a>>,
    notes: &'a [String],
    /// A password is to be filled in.
    has_placeholder: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    sql: &'a str,
    comment: &'a str,
}

impl Document<'_> {
    fn of<'a>(manifest: &'a Manifest, handover: &'a Handover) -> Document<'a> {
        let lines = |statements: &'a [Statement]| {
            statements.iter().map(|one| Line { sql: &one.sql, comment: &one.comment }).collect()
        };
        Document {
            set: manifest.id.as_str(),
            name: manifest.name.as_str(),
            statements: lines(&handover.statements),
            advice: lines(&handover.advice),
            notes: &handover.notes,
            has_placeholder: handover.has_placeholder,
        }
    }
}

/// Whether the user wants a hand-over at the end of a restore.
pub fn wanted(args: &SourceArgs) -> bool {
    args.source_host.is_some() || args.of == OfArg::Source
}

/// # Errors
/// When the password file cannot be used.
pub fn options(args: &SourceArgs) -> Result<HandoverOptions, Failure> {
    let password = match &args.source_password_file {
        Some(file) => Some(connect::password_file(file)?),
        None => std::env::var(PASSWORD_VARIABLE).ok().filter(|text| !text.is_empty()).map(Password::new),
    };
    Ok(HandoverOptions {
        source_host: args.source_host.clone(),
        source_port: args.source_port,
        source_user: args.source_user.clone(),
        password: password.map_or(SourcePassword::Placeholder, SourcePassword::Given),
        position: args.position.map(|position| match position {
            PositionArg::Gtid => Position::Gtid,
            PositionArg::File => Position::File,
        }),
        of: match args.of {
            OfArg::Server => Of::Server,
            OfArg::Source => Of::Source,
        },
        dialect: args.dialect.map(|dialect| match dialect {
            DialectArg::Mysql => Dialect::Mysql,
            DialectArg::Mariadb => Dialect::Mariadb,
            DialectArg::RdsMysql => Dialect::RdsMysql,
            DialectArg::RdsMariadb => Dialect::RdsMariadb,
            DialectArg::AuroraMysql => Dialect::AuroraMysql,
        }),
        channel: args.channel.clone(),
        tls: match args.source_tls {
            TlsArg::Default => Tls::Default,
            TlsArg::On => Tls::On,
            TlsArg::Off => Tls::Off,
        },
    })
}

/// # Errors
/// When the set has not the coordinates that are asked for.
pub fn make(manifest: &Manifest, options: &HandoverOptions) -> Result<Handover, Failure> {
    handover::statements(&manifest.coordinates, &manifest.server.version, options)
        .map_err(|error| failure::handover(&error))
}
