//! The configuration file: values for options that nobody wants to type each time. A key is an option's long name, so
//! that what the file may hold, and what it means, comes from the one definition of each option. What the file says is
//! put into the command line before that is understood; here nothing is known of what an option does.

mod definitions;
mod error;
mod file;
mod reader;
mod show;
mod text;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory};
use reseed_repository::ServerName;

use crate::args::Cli;
use definitions::REPO;
use file::is_repository_name;

pub use definitions::root;
pub use error::ConfigError;
pub use file::{ConfigFile, Repository};
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
    let Some(at) = position(&root, &typed, name) else { return as_typed(typed) };
    let command = definitions::command(&root, name);
    let named = repository_name(given);
    let config = given.get_one::<PathBuf>("config").map(PathBuf::as_path);
    if command.is_none() && (named.is_none() || config.is_some_and(|file| !file.exists())) {
        // The file has no say in it; `setup` may be about to write it.
        return as_typed(typed);
    }
    let Some(file) = open(&root, config)? else { return as_typed(typed) };
    let server = given.try_get_one::<ServerName>("name").ok().flatten().map(ServerName::as_str);
    let dir = named.map(|name| named_dir(&file, name, server)).transpose()?.flatten();
    let added =
        command.map(|command| added(&file, command, server, given, dir.as_deref())).unwrap_or_default();
    if dir.is_none() && added.is_empty() {
        return as_typed(typed);
    }
    let mut words = typed;
    if let Some(dir) = dir {
        name_dir(&mut words[at..], dir);
    }
    words.splice(at..at, added);
    Ok(Completed { words, file: Some(file.path().to_owned()) })
}

/// The repository that is typed, if that could be a name.
fn repository_name(given: &ArgMatches) -> Option<&str> {
    let mut typed = given.try_get_raw(REPO).ok().flatten()?;
    typed.next()?.to_str().filter(|word| is_repository_name(word))
}

/// The directory of a repository by its name. Where the file names none a word is a relative path, as ever; where it
/// does, a word is a name and nothing else: it must not depend on what lies in the working directory, and a slip must
/// not begin a new repository there.
fn named_dir(file: &ConfigFile, name: &str, server: Option<&str>) -> Result<Option<PathBuf>, ConfigError> {
    let all = file.repositories();
    if all.is_empty() {
        return Ok(None);
    }
    let Some(repository) = all.iter().find(|repository| repository.name == name) else {
        return Err(ConfigError::NoRepository {
            file: file.path().to_owned(),
            name: name.to_owned(),
            nearest: definitions::nearest(name, all.iter().map(|repository| repository.name.as_str())),
        });
    };
    let which_server = || ConfigError::WhichServer { name: name.to_owned(), path: repository.path.clone() };
    repository.dir(server).ok_or_else(which_server).map(Some)
}

/// Puts a directory in the place of the name that is typed.
fn name_dir(words: &mut [OsString], dir: PathBuf) {
    let mut words = words.iter_mut();
    while let Some(word) = words.next() {
        if word == "--repo" {
            if let Some(value) = words.next() {
                *value = dir.into();
            }
            return;
        }
        if word.as_encoded_bytes().starts_with(b"--repo=") {
            *word = "--repo=".into();
            word.push(dir);
            return;
        }
    }
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
fn added(
    file: &ConfigFile,
    command: &Command,
    server: Option<&str>,
    given: &ArgMatches,
    dir: Option<&Path>,
) -> Vec<OsString> {
    let is_given = |id: &str| {
        matches!(given.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    let is_excluded = |option: &clap::Arg| {
        command.get_arguments().filter(|other| is_given(other.get_id().as_str())).any(|other| {
            other.get_id() == option.get_id()
                || command.get_arg_conflicts_with(option).iter().any(|arg| arg.get_id() == other.get_id())
                || command.get_arg_conflicts_with(other).iter().any(|arg| arg.get_id() == option.get_id())
        })
    };
    let typed = || given.try_get_one::<PathBuf>(REPO).ok().flatten().map(PathBuf::as_path);
    let repository = match (dir.or_else(typed), definitions::option(command, REPO)) {
        (Some(dir), _) => file.repository_at(dir, server),
        (None, Some(option)) if !is_excluded(option) => file.repository_of(command.get_name(), server),
        _ => None,
    };
    let mut words = Vec::new();
    for option in definitions::options(command).filter(|option| !is_excluded(option)) {
        let Some(long) = option.get_long() else { continue };
        if let Some(found) = file.find(command.get_name(), server, repository, long) {
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
