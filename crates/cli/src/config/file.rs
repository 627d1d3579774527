//! What the file says: sections of keys and values, and which of them counts.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Command;
use reseed_io::place;
use reseed_repository::ServerName;
use toml::de::DeTable;

use super::definitions::REPO;
use super::error::ConfigError;
use super::reader::Reader;

/// A configuration that holds nothing but what the options take.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    repositories: Vec<Repository>,
    sections: Vec<Section>,
}

/// What a section is about, and whether all commands or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub whom: Whom,
    pub command: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    All,
    Repository(String),
    Server(String),
}

#[derive(Debug)]
pub struct Section {
    pub scope: Scope,
    pub entries: Vec<Entry>,
}

/// A repository that has a name of its own.
#[derive(Debug)]
pub struct Repository {
    pub name: String,
    /// As it is written, with the place of the server's name in it.
    pub path: String,
}

impl Repository {
    /// Its directory; `None` where that is another one for each server, and no server is named.
    pub fn dir(&self, server: Option<&str>) -> Option<PathBuf> {
        with_name(&self.path, server).map(PathBuf::from)
    }
}

/// Whether a word could be the name of a repository, and so is never the path of one.
pub fn is_repository_name(word: &str) -> bool {
    word.parse::<ServerName>().is_ok()
}

/// One key with its value.
#[derive(Debug)]
pub struct Entry {
    pub key: String,
    pub value: Value,
    pub is_path: bool,
    pub line: usize,
    /// The repository that the file names here; the value is its path.
    pub repository: Option<String>,
}

/// What stands for the server's name in a path.
const NAME: &str = "{name}";

#[derive(Debug)]
pub enum Value {
    Switch(bool),
    Texts(Vec<String>),
}

impl Entry {
    /// The value as it is typed on a command line about this server.
    pub fn words(&self, server: Option<&str>) -> Vec<OsString> {
        match &self.value {
            Value::Switch(true) => vec![format!("--{}", self.key).into()],
            Value::Switch(false) => Vec::new(),
            Value::Texts(texts) => {
                let typed = |text: String| format!("--{}={text}", self.key).into();
                texts.iter().filter_map(|text| self.named(text, server)).map(typed).collect()
            }
        }
    }

    /// The value for people.
    pub fn shown(&self, server: Option<&str>) -> String {
        match &self.value {
            Value::Switch(on) => on.to_string(),
            Value::Texts(texts) => {
                let named = texts.iter().map(|text| self.named(text, server).unwrap_or_else(|| text.clone()));
                named.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// `None` for a path that needs a name where there is none.
    fn named(&self, text: &str, server: Option<&str>) -> Option<String> {
        if self.is_path { with_name(text, server) } else { Some(text.to_owned()) }
    }
}

fn with_name(path: &str, server: Option<&str>) -> Option<String> {
    match (path.contains(NAME), server) {
        (true, Some(server)) => Some(path.replace(NAME, server)),
        (true, None) => None,
        (false, _) => Some(path.to_owned()),
    }
}

/// An entry and the section that it stands in.
#[derive(Debug)]
pub struct Found<'a> {
    pub entry: &'a Entry,
    pub scope: &'a Scope,
}

impl ConfigFile {
    /// # Errors
    /// When it cannot be read, when others could have written it, or when it holds what no option takes.
    pub fn read(root: &Command, path: &Path) -> Result<ConfigFile, ConfigError> {
        let failed = |source| ConfigError::Read { file: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(failed)?;
        if metadata.is_file() {
            // Its hooks are run, and its paths are written to, with the rights of whoever runs reseed.
            if metadata.mode() & 0o002 != 0 {
                return Err(ConfigError::Open { file: path.to_owned() });
            }
            if metadata.uid() != 0 && metadata.uid() != place::effective_user() {
                return Err(ConfigError::Owner { file: path.to_owned(), owner: metadata.uid() });
            }
        }
        ConfigFile::parse(root, path, &fs::read_to_string(path).map_err(failed)?)
    }

    /// # Errors
    /// When the text is no TOML, or holds what no option takes.
    pub fn parse(root: &Command, path: &Path, text: &str) -> Result<ConfigFile, ConfigError> {
        let mut reader = Reader { root, path, text, repositories: Vec::new() };
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: reader.place(error.span().unwrap_or_default()),
            // Without the excerpt that the error's own text has: whatever stands there may be a secret.
            message: error.message().to_owned(),
        })?;
        let sections = reader.all(table.get_ref())?;
        Ok(ConfigFile { path: path.to_owned(), repositories: reader.repositories, sections })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn servers(&self) -> impl Iterator<Item = &str> {
        let own = self.sections.iter().filter(|section| section.scope.command.is_none());
        own.filter_map(|section| match &section.scope.whom {
            Whom::Server(name) => Some(name.as_str()),
            Whom::All | Whom::Repository(_) => None,
        })
    }

    pub fn repositories(&self) -> &[Repository] {
        &self.repositories
    }

    /// What is in this directory, by whichever name that was told.
    pub fn repository_at(&self, dir: &Path, server: Option<&str>) -> Option<&Repository> {
        self.repositories.iter().find(|repository| repository.dir(server).is_some_and(|known| known == dir))
    }

    /// Whether the repository has rules of its own for what is kept.
    pub fn has_retention(&self, repository: &Repository) -> bool {
        let is_its = |section: &&Section| section.scope.whom == Whom::Repository(repository.name.clone());
        let mut entries = self.sections.iter().filter(is_its).flat_map(|section| &section.entries);
        entries.any(|entry| entry.key.starts_with("keep-"))
    }

    /// The repository that the file has the command work on.
    pub fn repository_of(&self, command: &str, server: Option<&str>) -> Option<&Repository> {
        let found = self.find(command, server, None, REPO)?;
        match &found.entry.repository {
            Some(name) => self.repositories.iter().find(|repository| repository.name == *name),
            None => self.repository_at(Path::new(&found.entry.shown(server)), server),
        }
    }

    /// What the file says of an option: the closest section that has it.
    pub fn find(
        &self,
        command: &str,
        server: Option<&str>,
        repository: Option<&Repository>,
        key: &str,
    ) -> Option<Found<'_>> {
        let server = server.map(|name| Whom::Server(name.to_owned()));
        let repository = repository.map(|repository| Whom::Repository(repository.name.clone()));
        let closest_first = server.into_iter().chain(repository).chain([Whom::All]);
        closest_first.flat_map(|whom| [(whom.clone(), Some(command)), (whom, None)]).find_map(
            |(whom, command)| {
                let is_it = |scope: &Scope| scope.whom == whom && scope.command.as_deref() == command;
                let section = self.sections.iter().find(|section| is_it(&section.scope))?;
                let entry = section.entries.iter().find(|entry| entry.key == key)?;
                Some(Found { entry, scope: &section.scope })
            },
        )
    }
}
