//! What this host tells of the server that will run on a datadir: its program's version, and the `server_id` in its
//! option files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reseed_restore::NewServer;
use reseed_server::options::{DefaultsChoice, Environment, OptionFiles};
use reseed_terms::ServerVersion;

use crate::exit::Outcome;
use crate::failure::{self, Failure};

/// Says that the server is not on this host.
const NONE: &str = "none";
const PROGRAMS: &[&str] = &["mariadbd", "mysqld"];
/// Where servers lie that are not on the path.
const PLACES: &[&str] = &["/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin", "/usr/local/sbin"];

/// What `--server-binary` says; `None` where it was not given.
///
/// # Errors
/// When the program cannot be run, or is no server.
fn named(program: Option<&Path>) -> Result<Option<ServerVersion>, Failure> {
    match program.filter(|program| program.as_os_str() != NONE) {
        Some(program) => version(program).map(Some),
        None => Ok(None),
    }
}

/// For a datadir whose server is not started by reseed: `program` as named, else what this host has, which is a guess.
///
/// # Errors
/// When the program that was named cannot be run.
pub fn of_host(program: Option<&Path>) -> Result<NewServer, Failure> {
    let found = if program.is_none() { installed() } else { None };
    Ok(NewServer { version: named(program)?, found, server_id: None })
}

/// What can be found out: `program` as named, else what this host has.
///
/// # Errors
/// When the program that was named cannot be run, or an option file is malformed.
pub fn find(program: Option<&Path>, defaults_file: Option<&Path>) -> Result<NewServer, Failure> {
    let version = match program {
        Some(_) => named(program)?,
        None => installed(),
    };
    let choice = DefaultsChoice { file: defaults_file.map(Path::to_owned), ..DefaultsChoice::default() };
    let environment = Environment::from_vars(|name| std::env::var_os(name));
    let files = OptionFiles::read(&choice, &environment).map_err(|error| failure::options(&error))?;
    Ok(NewServer { server_id: server_id(&files, version.as_ref()), version, found: None })
}

/// The `server_id` that stands in the option files, in the groups that servers read.
fn server_id(files: &OptionFiles, version: Option<&ServerVersion>) -> Option<u32> {
    let mut groups: Vec<String> =
        ["mysqld", "server", "mariadb", "mariadbd"].iter().map(|&group| group.to_owned()).collect();
    if let Some(version) = version {
        let series = |name: &str| format!("{name}-{}.{}", version.major, version.minor);
        groups.extend(["mysqld", "mariadb", "mariadbd"].map(series));
    }
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    files.last(&groups, "server-id").and_then(|entry| entry.value.as_deref()?.parse().ok())
}

/// The version of the one server that this host has; `None` where there is none, or two that differ in flavour.
fn installed() -> Option<ServerVersion> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from)).collect();
    let found: Vec<ServerVersion> = PROGRAMS
        .iter()
        .filter_map(|program| places.iter().map(|place| place.join(program)).find(|path| path.is_file()))
        .filter_map(|program| version(&program).ok())
        .collect();
    let first = found.first()?;
    found.iter().all(|other| other.flavour == first.flavour).then(|| first.clone())
}

/// `mysqld  Ver 9.7.0 for Linux on x86_64 (…)`
fn version(program: &Path) -> Result<ServerVersion, Failure> {
    let failed = |reason: String| {
        Failure::new(Outcome::Usage, format!("{} is no server program: {reason}", program.display())).hint(
            "Name mariadbd or mysqld with --server-binary, or `none` for a server that is not on this host.",
        )
    };
    let output = Command::new(program)
        .args(["--no-defaults", "--version"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text)
        .ok_or_else(|| failed(format!("it says {:?}", text.trim().chars().take(80).collect::<String>())))
}

fn parse(text: &str) -> Option<ServerVersion> {
    let version = text.split_whitespace().skip_while(|word| *word != "Ver").nth(1)?;
    ServerVersion::parse(version).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_tell_their_versions() {
        let told = |text: &str| parse(text).map(|version| version.to_string());
        assert_eq!(
            told("mariadbd  Ver 10.11.14-MariaDB-0+deb12u2 for debian-linux-gnu on x86_64 (Debian 12)")
                .as_deref(),
            Some("MariaDB 10.11.14")
        );
        let mysql = "/usr/sbin/mysqld  Ver 9.7.0 for Linux on x86_64 (MySQL Community Server - GPL)";
        assert_eq!(told(mysql).as_deref(), Some("MySQL 9.7.0"));
        assert_eq!(told("something else"), None);
    }
}
