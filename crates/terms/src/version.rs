use std::fmt;

use serde::{Deserialize, Serialize};

/// The two families of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    MariaDb,
    MySql,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flavour::MariaDb => "MariaDB",
            Flavour::MySql => "MySQL",
        })
    }
}

/// A server's version as `SELECT VERSION()` gives it, e.g. `10.11.19-MariaDB-0+deb12u1-log` or `9.7.4`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ServerVersion {
    pub flavour: Flavour,
    pub major: u16,
    pub minor: u16,
    pub patch: u16,
    text: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a server version of the form MAJOR.MINOR.PATCH")]
pub struct VersionError {
    pub text: String,
}

impl ServerVersion {
    /// Reads a version string. MariaDB is known by the word `MariaDB` in it; a leading `5.5.5-` (the mark that
    /// MariaDB puts before its version for old replicas) is skipped.
    ///
    /// # Errors
    /// When the text does not begin with three numbers.
    pub fn parse(text: &str) -> Result<ServerVersion, VersionError> {
        let error = || VersionError { text: text.chars().take(100).collect() };
        let flavour = if text.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
        let bare = match flavour {
            Flavour::MariaDb => text.strip_prefix("5.5.5-").unwrap_or(text),
            Flavour::MySql => text,
        };
        let mut numbers = bare.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u16>);
        let mut next = || numbers.next().and_then(Result::ok).ok_or_else(error);
        Ok(ServerVersion { flavour, major: next()?, minor: next()?, patch: next()?, text: text.to_owned() })
    }

    /// True for this `(major, minor, patch)` and everything later of the same flavour.
    pub fn at_least(&self, major: u16, minor: u16, patch: u16) -> bool {
        (self.major, self.minor, self.patch) >= (major, minor, patch)
    }

    /// The text as the server gave it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}.{}", self.flavour, self.major, self.minor, self.patch)
    }
}

impl From<ServerVersion> for String {
    fn from(version: ServerVersion) -> String {
        version.text
    }
}

impl TryFrom<String> for ServerVersion {
    type Error = VersionError;

    fn try_from(text: String) -> Result<ServerVersion, VersionError> {
        ServerVersion::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_flavours() {
        let maria = ServerVersion::parse("5.5.5-10.11.6-MariaDB-0+deb12u1-log").unwrap();
        assert_eq!((maria.flavour, maria.major, maria.minor, maria.patch), (Flavour::MariaDb, 10, 11, 6));
        assert!(maria.at_least(10, 8, 0) && !maria.at_least(11, 0, 0));
        let mysql = ServerVersion::parse("9.7.4").unwrap();
        assert_eq!((mysql.flavour, mysql.major), (Flavour::MySql, 9));
        assert!(ServerVersion::parse("nine").is_err());
        assert!(ServerVersion::parse("").is_err());
    }
}
