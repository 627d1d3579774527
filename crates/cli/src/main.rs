//! The `reseed` program: from a command line to one call of a library, and back to text, JSON and an exit code.
//! It must never know what a page or an SQL statement looks like.

mod args;
mod commands;
mod config;
mod draw;
mod exit;
mod failure;
mod log;
mod man;
mod out;
mod reference;
mod service;
mod signals;
mod units;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use reseed_io::{Cancel, failpoint, priority};

use crate::args::{Cli, Priority};
use crate::commands::Session;
use crate::draw::{Drawer, Style};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::service::Service;

fn main() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let wants_json = typed.iter().any(|word| word == "--json");
    let completed = match config::complete(typed) {
        Ok(completed) => completed,
        Err(error) => return report(&failure::config(&error), wants_json),
    };
    let cli = match Cli::try_parse_from(&completed.words) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, completed.file.as_deref()),
    };
    let drawer = Drawer::new(Style::of_stderr(cli.global.quiet));
    log::start(cli.global.log_level, &drawer);
    if let Err(error) = failpoint::check_environment() {
        return report(&Failure::new(Outcome::Usage, error), wants_json);
    }
    if cli.global.priority == Priority::Low
        && let Err(error) = priority::lower()
    {
        tracing::warn!("the priority could not be lowered: {error}");
    }
    let cancel = Cancel::new();
    if let Err(error) = signals::watch(&cancel) {
        return report(&Failure::new(Outcome::Failed, format!("cannot watch for signals: {error}")), false);
    }
    let json = cli.command.wants_json();
    let session = Session { drawer: drawer.clone(), cancel };
    let service = Service::start(&drawer);
    let result = commands::run(&cli, &session);
    drawer.close();
    service.end(result.as_ref().map_or_else(Failure::summary, |_| "done".to_owned()));
    match result {
        Ok(code) => code,
        Err(failure) => report(&failure, json),
    }
}

/// What clap has to say: help and version go to stdout and are no failure.
fn usage(error: &clap::Error, config: Option<&Path>) -> ExitCode {
    let printed = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match printed {
            Err(error) => report(&Failure::stdout(error), false),
            Ok(()) => Outcome::Done.into(),
        },
        _ => {
            if let Some(file) = config {
                // stderr may be closed; the exit code still tells.
                let _ = writeln!(std::io::stderr(), "\nValues of {} took part in this.", file.display());
            }
            Outcome::Usage.into()
        }
    }
}

/// The one summary of a failed run: on stderr for people, and on stdout as JSON where that was asked for.
fn report(failure: &Failure, json: bool) -> ExitCode {
    if failure.is_closed_pipe() {
        // Whoever read has what it wanted, as in `reseed list | head -1`.
        return Outcome::Done.into();
    }
    // stderr may be closed; the exit code still tells.
    let _ = write!(std::io::stderr().lock(), "{failure}");
    if json && let Some(document) = failure.document() {
        let _ = out::json(&document);
    }
    failure.outcome.into()
}
