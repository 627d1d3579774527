//! What is in force: every option with its value and the place that it comes from.

use std::path::Path;

use clap::{Arg, Command};
use serde::Serialize;

use super::definitions;
use super::file::{ConfigFile, Whom};

/// The value of an option, for all commands that have it or for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    pub key: String,
    /// `None`: for every command that has the option and is not listed by name.
    pub command: Option<String>,
    /// `None`: nothing is given, and there is no fixed default.
    pub value: Option<String>,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Source {
    Default,
    File {
        section: String,
        line: usize,
        /// The repository that the file names there; the value is its path.
        #[serde(skip_serializing_if = "Option::is_none")]
        repository: Option<String>,
    },
}

impl Source {
    pub fn describe(&self, file: &Path) -> String {
        match self {
            Source::Default => "default".to_owned(),
            Source::File { section, line, repository } => {
                let name = repository.iter().map(|name| format!(": {name:?}")).collect::<String>();
                format!("{} line {line} ({section}{name})", file.display())
            }
        }
    }
}

/// Everything that the file may say, by key; one line where all commands agree.
pub fn effective(root: &Command, file: Option<&ConfigFile>, server: Option<&str>) -> Vec<Effective> {
    let mut all: Vec<Effective> = Vec::new();
    let mut by_key: Vec<(&str, Vec<Effective>)> = Vec::new();
    for command in definitions::commands(root) {
        for arg in definitions::options(command) {
            let Some(key) = arg.get_long() else { continue };
            let value = of_command(command, arg, key, file, server);
            match by_key.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) => values.push(value),
                None => by_key.push((key, vec![value])),
            }
        }
    }
    for (_, values) in by_key {
        let same =
            |one: &Effective, other: &Effective| one.value == other.value && one.source == other.source;
        let common = values.iter().max_by_key(|one| values.iter().filter(|other| same(one, other)).count());
        let Some(common) = common.cloned() else { continue };
        all.push(Effective { command: None, ..common.clone() });
        all.extend(values.into_iter().filter(|value| !same(value, &common)));
    }
    all
}

fn of_command(
    command: &Command,
    arg: &Arg,
    key: &str,
    file: Option<&ConfigFile>,
    server: Option<&str>,
) -> Effective {
    let name = command.get_name();
    let found = file.and_then(|file| file.find(name, server, file.repository_of(name, server), key));
    let (value, source) = match found {
        Some(found) => {
            let (section, line) = (found.scope.to_string(), found.entry.line);
            let source = Source::File { section, line, repository: found.entry.repository.clone() };
            (Some(found.entry.shown(server)), source)
        }
        None => (default(arg), Source::Default),
    };
    Effective { key: key.to_owned(), command: Some(name.to_owned()), value, source }
}

/// The default that the definition has.
pub fn default(arg: &Arg) -> Option<String> {
    if definitions::is_switch(arg) {
        return Some("false".to_owned());
    }
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

impl std::fmt::Display for super::file::Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = match &self.whom {
            Whom::All => String::new(),
            Whom::Repository(name) => format!("repository.{name}"),
            Whom::Server(name) => format!("server.{name}"),
        };
        match (of.as_str(), &self.command) {
            ("", None) => f.write_str("top"),
            ("", Some(command)) => write!(f, "[{command}]"),
            (of, None) => write!(f, "[{of}]"),
            (of, Some(command)) => write!(f, "[{of}.{command}]"),
        }
    }
}
