//! Reading the file: sections, keys and values, each with its line, all of them checked against the definitions of
//! the options.

use std::ffi::OsString;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use reseed_io::place;
use reseed_repository::ServerName;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::definitions::{self, COMMAND_LINE_ONLY};
use super::error::{ConfigError, Place};

/// The table that holds one section for each server.
const SERVER: &str = "server";

/// A configuration that holds nothing but what the options take.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    sections: Vec<Section>,
}

/// Whom a section is about: all servers or one, all commands or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub server: Option<String>,
    pub command: Option<String>,
}

#[derive(Debug)]
struct Section {
    scope: Scope,
    entries: Vec<Entry>,
}

/// One key with its value.
#[derive(Debug)]
pub struct Entry {
    pub key: String,
    value: Value,
    is_path: bool,
    pub line: usize,
}

/// What stands for the server's name in a path.
const NAME: &str = "{name}";

#[derive(Debug)]
enum Value {
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
        match (self.is_path && text.contains(NAME), server) {
            (true, Some(server)) => Some(text.replace(NAME, server)),
            (true, None) => None,
            (false, _) => Some(text.to_owned()),
        }
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
        let reader = Reader { root, path, text };
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: reader.place(error.span().unwrap_or_default()),
            // Without the excerpt that the error's own text has: whatever stands there may be a secret.
            message: error.message().to_owned(),
        })?;
        Ok(ConfigFile { path: path.to_owned(), sections: reader.all(table.get_ref())? })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn servers(&self) -> impl Iterator<Item = &str> {
        let own = self.sections.iter().filter(|section| section.scope.command.is_none());
        own.filter_map(|section| section.scope.server.as_deref())
    }

    /// What the file says of an option: the closest section that has it.
    pub fn find(&self, command: &str, server: Option<&str>, key: &str) -> Option<Found<'_>> {
        let closest_first = [(server, Some(command)), (server, None), (None, Some(command)), (None, None)];
        closest_first.iter().find_map(|(server, command)| {
            let is_it =
                |scope: &Scope| scope.server.as_deref() == *server && scope.command.as_deref() == *command;
            let section = self.sections.iter().find(|section| is_it(&section.scope))?;
            let entry = section.entries.iter().find(|entry| entry.key == key)?;
            Some(Found { entry, scope: &section.scope })
        })
    }
}

struct Reader<'a> {
    root: &'a Command,
    path: &'a Path,
    text: &'a str,
}

type Key<'a, 'i> = &'a Spanned<std::borrow::Cow<'i, str>>;
type Item<'a, 'i> = &'a Spanned<DeValue<'i>>;

impl Reader<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Place { file: self.path.to_owned(), line: before.matches('\n').count() + 1 }
    }

    fn all(&self, table: &DeTable<'_>) -> Result<Vec<Section>, ConfigError> {
        let mut sections = self.section(None, table, &[SERVER])?;
        for (key, item) in table.iter().filter(|(key, _)| key.get_ref() == SERVER) {
            let Some(servers) = item.get_ref().as_table() else {
                return Err(self.wrong_type(key, "sections, as in [server.db1]", item));
            };
            for (name, item) in servers {
                let parsed: ServerName = name.get_ref().parse().map_err(|error| ConfigError::ServerName {
                    place: self.place(name.span()),
                    problem: format!("{error}"),
                })?;
                let Some(table) = item.get_ref().as_table() else {
                    return Err(self.wrong_type(name, "a section", item));
                };
                sections.extend(self.section(Some(parsed.as_str()), table, &[])?);
            }
        }
        Ok(sections)
    }

    /// The keys of a table, and those of the tables in it that are about one command.
    fn section(
        &self,
        server: Option<&str>,
        table: &DeTable<'_>,
        not_here: &[&str],
    ) -> Result<Vec<Section>, ConfigError> {
        let scope = |command: Option<&str>| Scope {
            server: server.map(str::to_owned),
            command: command.map(str::to_owned),
        };
        let mut own = Section { scope: scope(None), entries: Vec::new() };
        let mut sections = Vec::new();
        for (key, item) in in_order(table).filter(|(key, _)| !not_here.contains(&key.get_ref().as_ref())) {
            let Some(inner) = item.get_ref().as_table() else {
                own.entries.push(self.entry(None, key, item)?);
                continue;
            };
            let Some(command) = definitions::command(self.root, key.get_ref()) else {
                return Err(self.unknown_section(key, server));
            };
            let entries = in_order(inner)
                .map(|(key, item)| self.entry(Some(command), key, item))
                .collect::<Result<_, _>>()?;
            sections.push(Section { scope: scope(Some(command.get_name())), entries });
        }
        sections.insert(0, own);
        Ok(sections)
    }

    fn entry(
        &self,
        command: Option<&Command>,
        key: Key<'_, '_>,
        item: Item<'_, '_>,
    ) -> Result<Entry, ConfigError> {
        let name = key.get_ref().as_ref();
        let takers: Vec<&Arg> = match command {
            Some(command) => definitions::option(command, name).into_iter().collect(),
            None => definitions::commands(self.root)
                .filter_map(|command| definitions::option(command, name))
                .collect(),
        };
        let Some(first) = takers.first() else { return Err(self.unknown(command, key)) };
        let value = if definitions::is_switch(first) {
            Value::Switch(
                item.get_ref().as_bool().ok_or_else(|| self.wrong_type(key, "true or false", item))?,
            )
        } else {
            Value::Texts(self.texts(first, key, item)?)
        };
        let is_path = definitions::is_path(first);
        let entry = Entry { key: name.to_owned(), value, is_path, line: self.place(key.span()).line };
        for taker in takers {
            if let Some(problem) = definitions::refusal(taker, &entry.words(None)) {
                return Err(ConfigError::Value { place: self.place(item.span()), problem });
            }
        }
        Ok(entry)
    }

    fn texts(&self, arg: &Arg, key: Key<'_, '_>, item: Item<'_, '_>) -> Result<Vec<String>, ConfigError> {
        let many = matches!(arg.get_action(), clap::ArgAction::Append);
        let expected = if many { "a list of texts" } else { "a text or a number" };
        let texts = match item.get_ref() {
            DeValue::Array(items) if many => {
                items.iter().map(|item| scalar(item.get_ref())).collect::<Option<Vec<_>>>()
            }
            other => scalar(other).map(|text| vec![text]),
        };
        let texts = texts.ok_or_else(|| self.wrong_type(key, expected, item))?;
        if definitions::is_path(arg)
            && let Some(relative) = texts.iter().find(|text| !Path::new(text).is_absolute())
        {
            return Err(ConfigError::RelativePath {
                place: self.place(item.span()),
                key: key.get_ref().to_string(),
                value: relative.clone(),
            });
        }
        Ok(texts)
    }

    fn wrong_type(&self, key: Key<'_, '_>, expected: &'static str, item: Item<'_, '_>) -> ConfigError {
        ConfigError::Type {
            place: self.place(key.span()),
            key: key.get_ref().to_string(),
            expected,
            found: item.get_ref().type_str(),
        }
    }

    /// Why a key may not stand here.
    fn unknown(&self, command: Option<&Command>, key: Key<'_, '_>) -> ConfigError {
        let (place, key) = (self.place(key.span()), key.get_ref().to_string());
        if key.contains("password") && !key.contains("file") {
            return ConfigError::Password { place, key };
        }
        if let Some((_, why)) = COMMAND_LINE_ONLY.iter().find(|(name, _)| *name == key) {
            return ConfigError::CommandLineOnly { place, key, why };
        }
        let of_all =
            || definitions::commands(self.root).flat_map(definitions::options).filter_map(Arg::get_long);
        match command {
            Some(command) if of_all().any(|known| known == key) => {
                ConfigError::NotOfCommand { place, key, command: command.get_name().to_owned() }
            }
            Some(command) => {
                let known = definitions::options(command).filter_map(Arg::get_long);
                ConfigError::UnknownKey { place, nearest: definitions::nearest(&key, known), key }
            }
            None => ConfigError::UnknownKey { place, nearest: definitions::nearest(&key, of_all()), key },
        }
    }

    fn unknown_section(&self, key: Key<'_, '_>, server: Option<&str>) -> ConfigError {
        let commands = definitions::commands(self.root).map(Command::get_name);
        let known = commands.chain(server.is_none().then_some(SERVER));
        ConfigError::UnknownSection {
            place: self.place(key.span()),
            nearest: definitions::nearest(key.get_ref(), known),
            key: key.get_ref().to_string(),
        }
    }
}

/// As they stand in the file, so that the first error of it is the one that is told.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> impl Iterator<Item = (Key<'a, 'i>, Item<'a, 'i>)> {
    let mut items: Vec<_> = table.iter().collect();
    items.sort_by_key(|(key, _)| key.span().start);
    items.into_iter()
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}
