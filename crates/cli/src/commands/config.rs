//! `reseed config`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::{ConfigArgs, ConfigCommand, ConfigShowArgs};
use crate::config::{self, ConfigFile, DEFAULT_FILE, Effective, Repository};
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;

pub fn run(args: &ConfigArgs, file: Option<&Path>) -> Result<Outcome, Failure> {
    match &args.what {
        ConfigCommand::Show(args) => show(args, file),
    }
}

fn show(args: &ConfigShowArgs, named: Option<&Path>) -> Result<Outcome, Failure> {
    let root = config::root();
    let file = config::open(&root, named).map_err(|error| failure::config(&error))?;
    let path = file.as_ref().map_or(Path::new(DEFAULT_FILE), ConfigFile::path);
    let server = args.server.as_ref().map(reseed_repository::ServerName::as_str);
    let mut values = config::effective(&root, file.as_ref(), server);
    if args.given {
        values.retain(|value| value.source != config::Source::Default);
    }
    if args.json {
        let servers = file.iter().flat_map(ConfigFile::servers).collect();
        let named = |repository| Named::of(repository, server);
        let repositories = file.iter().flat_map(ConfigFile::repositories).map(named).collect();
        let file = file.as_ref().map(ConfigFile::path);
        out::json(&Document { file, server, servers, repositories, values: &values })?;
    } else {
        out::text(table(path, file.is_some(), &values))?;
    }
    Ok(Outcome::Done)
}

fn table(path: &Path, there: bool, values: &[Effective]) -> String {
    let name = |value: &Effective| match &value.command {
        Some(command) => format!("{} ({command})", value.key),
        None => value.key.clone(),
    };
    let shown = |value: &Effective| value.value.clone().unwrap_or_else(|| "-".to_owned());
    let widest = |text: &dyn Fn(&Effective) -> String| {
        values.iter().map(|value| text(value).chars().count()).max().unwrap_or(0)
    };
    let (first, second) = (widest(&name), widest(&shown).min(40));
    let mut text = format!("# {}{}\n", path.display(), if there { "" } else { " is not there" });
    for value in values {
        let line =
            format!("{:<first$}  {:<second$}  {}", name(value), shown(value), value.source.describe(path));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[derive(Serialize)]
struct Document<'a> {
    /// Null where there is none.
    file: Option<&'a Path>,
    server: Option<&'a str>,
    /// Those that have a section.
    servers: Vec<&'a str>,
    repositories: Vec<Named<'a>>,
    values: &'a [Effective],
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    path: PathBuf,
}

impl<'a> Named<'a> {
    /// As it is for the server, or as it is written.
    fn of(repository: &'a Repository, server: Option<&str>) -> Named<'a> {
        let path = repository.dir(server).unwrap_or_else(|| PathBuf::from(&repository.path));
        Named { name: &repository.name, path }
    }
}
