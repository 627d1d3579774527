//! One module for each command: from what was typed to one call of a library, and from its report to text or JSON.

mod attach;
mod backup;
mod check;
mod clone;
mod config;
mod connect;
mod expire;
mod export;
mod hand_over;
mod hooks;
mod meta;
mod metrics;
mod new_server;
mod parent;
mod restore;
mod restore_test;
mod sets;
mod setup;
mod status;
mod summary;
mod verify;

use std::process::ExitCode;

use reseed_io::Cancel;
use reseed_repository::Timestamp;

use crate::args::{Cli, Command};
use crate::draw::Drawer;
use crate::failure::Failure;

/// What every command has at hand.
#[derive(Debug)]
pub struct Session {
    pub drawer: Drawer,
    pub cancel: Cancel,
}

/// # Errors
/// Whatever ended the command, ready to be shown.
pub fn run(cli: &Cli, session: &Session) -> Result<ExitCode, Failure> {
    let outcome = match &cli.command {
        Command::Setup(args) => setup::run(args, cli.global.config.as_deref(), session),
        Command::Backup(args) => backup::run(args, session),
        Command::Restore(args) => restore::run(args, session),
        Command::Clone(args) => clone::run(args, session),
        Command::HandOver(args) => hand_over::run(args),
        Command::Attach(args) => attach::run(args, session),
        Command::List(args) => sets::list(args),
        Command::Show(args) => sets::show(args),
        Command::Verify(args) => verify::run(args, session),
        Command::Export(args) => export::run(args, session),
        Command::Pin(args) => sets::pin(args),
        Command::Unpin(args) => sets::unpin(args),
        Command::Expire(args) => expire::run(args, session),
        // Monitoring systems have a convention of their own.
        Command::Check(args) => return check::run(args, session),
        Command::Config(args) => config::run(args, cli.global.config.as_deref()),
        Command::Completions(args) => meta::completions(args),
        Command::Man(args) => meta::man(args),
        Command::Reference(args) => meta::reference(args),
    };
    outcome.map(ExitCode::from)
}

/// The time as the restore side wants it: RFC 3339, UTC, to the second.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
