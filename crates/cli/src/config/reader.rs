//! From the text of the file to sections with keys and values, each with its line, all of them checked against the
//! definitions of the options.

use std::ops::Range;
use std::path::Path;

use clap::{Arg, Command};
use reseed_repository::ServerName;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::definitions::{self, COMMAND_LINE_ONLY, REPO};
use super::error::{ConfigError, Place};
use super::file::{Entry, Repository, Scope, Section, Value, Whom, is_repository_name};

/// The table that holds one section for each server.
const SERVER: &str = "server";
/// The table that holds one section for each repository.
const REPOSITORY: &str = "repository";
/// What a repository's section has beside options.
const PATH: &str = "path";

pub struct Reader<'a> {
    pub root: &'a Command,
    pub path: &'a Path,
    pub text: &'a str,
    /// Those that were read so far: sections of servers and commands name them.
    pub repositories: Vec<Repository>,
}

type Key<'a, 'i> = &'a Spanned<std::borrow::Cow<'i, str>>;
type Item<'a, 'i> = &'a Spanned<DeValue<'i>>;

impl Reader<'_> {
    pub fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Place { file: self.path.to_owned(), line: before.matches('\n').count() + 1 }
    }

    /// All sections; the repositories are known afterwards.
    pub fn all(&mut self, table: &DeTable<'_>) -> Result<Vec<Section>, ConfigError> {
        let mut of_repositories = Vec::new();
        for (name, item) in self.named_tables(table, REPOSITORY, "sections, as in [repository.nas]")? {
            of_repositories.extend(self.repository(name, item)?);
        }
        let mut sections = self.section(&Whom::All, table, &[SERVER, REPOSITORY])?;
        for (name, table) in self.named_tables(table, SERVER, "sections, as in [server.db1]")? {
            let parsed: ServerName = name.get_ref().parse().map_err(|error| ConfigError::ServerName {
                place: self.place(name.span()),
                problem: format!("{error}"),
            })?;
            sections.extend(self.section(&Whom::Server(parsed.as_str().to_owned()), table, &[])?);
        }
        sections.extend(of_repositories);
        Ok(sections)
    }

    /// The tables of a table of tables, in the file's order.
    fn named_tables<'a, 'i>(
        &self,
        table: &'a DeTable<'i>,
        of: &str,
        expected: &'static str,
    ) -> Result<Vec<(Key<'a, 'i>, &'a DeTable<'i>)>, ConfigError> {
        let Some((key, item)) = table.iter().find(|(key, _)| key.get_ref() == of) else {
            return Ok(Vec::new());
        };
        let inner = item.get_ref().as_table().ok_or_else(|| self.wrong_type(key, expected, item))?;
        let named = in_order(inner).map(|(name, item)| {
            let table = item.get_ref().as_table().ok_or_else(|| self.wrong_type(name, "a section", item))?;
            Ok((name, table))
        });
        named.collect()
    }

    fn repository(&mut self, key: Key<'_, '_>, table: &DeTable<'_>) -> Result<Vec<Section>, ConfigError> {
        let (name, place) = (key.get_ref().to_string(), self.place(key.span()));
        if !is_repository_name(&name) {
            return Err(ConfigError::RepositoryName { place, name });
        }
        let Some((path_key, item)) = table.iter().find(|(key, _)| key.get_ref() == PATH) else {
            return Err(ConfigError::NoPath { place, name });
        };
        let DeValue::String(path) = item.get_ref() else {
            return Err(self.wrong_type(path_key, "a text", item));
        };
        if !Path::new(path.as_ref()).is_absolute() {
            let (place, key) = (self.place(item.span()), PATH.to_owned());
            return Err(ConfigError::RelativePath { place, key, value: path.to_string() });
        }
        let is_same = |known: &&Repository| Path::new(&known.path) == Path::new(path.as_ref());
        if let Some(same) = self.repositories.iter().find(is_same) {
            let place = self.place(item.span());
            return Err(ConfigError::SamePath { place, path: path.to_string(), other: same.name.clone() });
        }
        let sections = self.section(&Whom::Repository(name.clone()), table, &[PATH])?;
        self.repositories.push(Repository { name, path: path.to_string() });
        Ok(sections)
    }

    /// The keys of a table, and those of the tables in it that are about one command.
    fn section(
        &self,
        whom: &Whom,
        table: &DeTable<'_>,
        not_here: &[&str],
    ) -> Result<Vec<Section>, ConfigError> {
        let scope = |command: Option<&str>| Scope { whom: whom.clone(), command: command.map(str::to_owned) };
        let mut own = Section { scope: scope(None), entries: Vec::new() };
        let mut sections = Vec::new();
        for (key, item) in in_order(table).filter(|(key, _)| !not_here.contains(&key.get_ref().as_ref())) {
            let Some(inner) = item.get_ref().as_table() else {
                own.entries.push(self.entry(whom, None, key, item)?);
                continue;
            };
            let Some(command) = definitions::command(self.root, key.get_ref()) else {
                return Err(self.unknown_section(key, whom));
            };
            let entries = in_order(inner)
                .map(|(key, item)| self.entry(whom, Some(command), key, item))
                .collect::<Result<_, _>>()?;
            sections.push(Section { scope: scope(Some(command.get_name())), entries });
        }
        sections.insert(0, own);
        Ok(sections)
    }

    fn entry(
        &self,
        whom: &Whom,
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
        if let (Whom::Repository(_), Some(why)) = (whom, definitions::not_of_a_repository(first)) {
            let place = self.place(key.span());
            return Err(ConfigError::NotOfRepository { place, key: name.to_owned(), why });
        }
        let mut repository = None;
        let value = if definitions::is_switch(first) {
            Value::Switch(
                item.get_ref().as_bool().ok_or_else(|| self.wrong_type(key, "true or false", item))?,
            )
        } else if let (REPO, DeValue::String(named)) = (name, item.get_ref())
            && is_repository_name(named)
        {
            let known = self.known_repository(named, item)?;
            repository = Some(known.name.clone());
            Value::Texts(vec![known.path.clone()])
        } else {
            Value::Texts(self.texts(first, key, item)?)
        };
        let is_path = definitions::is_path(first);
        let line = self.place(key.span()).line;
        let entry = Entry { key: name.to_owned(), value, is_path, line, repository };
        for taker in takers {
            if let Some(problem) = definitions::refusal(taker, &entry.words(None)) {
                return Err(ConfigError::Value { place: self.place(item.span()), problem });
            }
        }
        Ok(entry)
    }

    fn known_repository(&self, name: &str, item: Item<'_, '_>) -> Result<&Repository, ConfigError> {
        let known = self.repositories.iter().find(|known| known.name == name);
        known.ok_or_else(|| ConfigError::UnknownRepository {
            place: self.place(item.span()),
            name: name.to_owned(),
            nearest: definitions::nearest(name, self.repositories.iter().map(|known| known.name.as_str())),
        })
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

    fn unknown_section(&self, key: Key<'_, '_>, whom: &Whom) -> ConfigError {
        let commands = definitions::commands(self.root).map(Command::get_name);
        let at_the_top = [SERVER, REPOSITORY].into_iter().filter(|_| *whom == Whom::All);
        let known = commands.chain(at_the_top);
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
