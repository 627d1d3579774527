//! The configuration file: values for options that nobody wants to type each time. A key is an option's long name, so
//! that what the file may hold, and what it means, comes from the one definition of each option. What the file says is
//! put into the command line before that is understood; here nothing is known of what an option does.

mod definitions;
mod error;
mod file;
mod show;
mod text;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory};
use reseed_repository::ServerName;

use crate::args::Cli;

pub use definitions::root;
pub use error::ConfigError;
pub use file::ConfigFile;
pub use show::{Effective, Source, effective};
pub use text::{example, man_page, reference};

/// Read when no other file is named; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/reseed/reseed.toml";

/// A command line with what the file adds to it.
#[derive(Debug)]
pub struct Completed {
    pub words: Vec<OsString>,
    /// The file that added something.
    pub file: Option<PathBuf>,
}

/// Adds what the configuration says and the command line does not.
///
/// # Errors
/// When the file cannot be read, or holds what no option takes.
pub fn complete(typed: Vec<OsString>) -> Result<Completed, ConfigError> {
    let as_typed = |typed| Ok(Completed { words: typed, file: None });
    // What is wrong with the command line is told when it is understood for good.
    let Ok(matches) = Cli::command().ignore_errors(true).try_get_matches_from(&typed) else {
        return as_typed(typed);
    };
    let root = root();
    let Some((name, given)) = matches.subcommand() else { return as_typed(typed) };
    let (Some(command), Some(at)) = (definitions::command(&root, name), position(&root, &typed, name)) else {
        return as_typed(typed);
    };
    let Some(file) = open(&root, given.get_one::<PathBuf>("config").map(PathBuf::as_path))? else {
        return as_typed(typed);
    };
    let server = given.try_get_one::<ServerName>("name").ok().flatten();
    let added = added(&file, command, server.map(ServerName::as_str), given);
    if added.is_empty() {
        return as_typed(typed);
    }
    let mut words = typed;
    words.splice(at..at, added);
    Ok(Completed { words, file: Some(file.path().to_owned()) })
}

/// The file that is named, or the usual one where that is there.
///
/// # Errors
/// As [`ConfigFile::read`].
pub fn open(root: &Command, named: Option<&Path>) -> Result<Option<ConfigFile>, ConfigError> {
    match named {
        Some(path) => ConfigFile::read(root, path).map(Some),
        None if Path::new(DEFAULT_FILE).exists() => ConfigFile::read(root, Path::new(DEFAULT_FILE)).map(Some),
        None => Ok(None),
    }
}

/// The options that the file gives to this command, and that neither the command line nor the environment has a say
/// in: not given there, and not excluded by what is.
fn added(file: &ConfigFile, command: &Command, server: Option<&str>, given: &ArgMatches) -> Vec<OsString> {
    let is_given = |id: &str| {
        matches!(given.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    let mut words = Vec::new();
    for option in definitions::options(command) {
        let Some(long) = option.get_long() else { continue };
        let Some(found) = file.find(command.get_name(), server, long) else { continue };
        let given_args = command.get_arguments().filter(|other| is_given(other.get_id().as_str()));
        let excluded = given_args.into_iter().any(|other| {
            other.get_id() == option.get_id()
                || command.get_arg_conflicts_with(option).iter().any(|arg| arg.get_id() == other.get_id())
                || command.get_arg_conflicts_with(other).iter().any(|arg| arg.get_id() == option.get_id())
        });
        if !excluded {
            words.extend(found.entry.words(server));
        }
    }
    words
}

/// Where the options of the command begin.
fn position(root: &Command, typed: &[OsString], command: &str) -> Option<usize> {
    let takes_value = |word: &str| {
        let named = |arg: &&clap::Arg| word.strip_prefix("--") == arg.get_long();
        root.get_arguments().find(named).is_some_and(|arg| arg.get_action().takes_values())
    };
    let mut words = typed.iter().enumerate().skip(1);
    while let Some((at, word)) = words.next() {
        let word = word.to_string_lossy();
        if word == command {
            return Some(at + 1);
        }
        if takes_value(&word) {
            words.next();
        }
    }
    None
}

#[cfg(test)]
mod tests;
