use std::fmt;
use std::io;
use std::path::PathBuf;

/// What is wrong with the configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("everybody may write to the configuration {}", .file.display())]
    Open { file: PathBuf },
    #[error("the configuration {} belongs to user {owner}, who is neither root nor the one that runs reseed", .file.display())]
    Owner { file: PathBuf, owner: u32 },
    #[error("{place}: {message}")]
    Syntax { place: Place, message: String },
    #[error("{place}: {key:?} is no option{}", Did(.nearest))]
    UnknownKey { place: Place, key: String, nearest: Option<String> },
    #[error("{place}: {key:?} is no section{}", Did(.nearest))]
    UnknownSection { place: Place, key: String, nearest: Option<String> },
    #[error("{place}: `reseed {command}` takes no {key:?} from here")]
    NotOfCommand { place: Place, key: String, command: String },
    #[error("{place}: {key:?} is given on the command line only: {why}")]
    CommandLineOnly { place: Place, key: String, why: &'static str },
    #[error(
        "{place}: {key:?} does not stand in this file; a password is kept in a file that only its owner may read"
    )]
    Password { place: Place, key: String },
    #[error("{place}: {problem}")]
    ServerName { place: Place, problem: String },
    #[error(
        "{place}: {name:?} is no name for a repository: letters, digits, `.`, `_` and `-` only, not beginning with `.` or \
         `-`, at most 128"
    )]
    RepositoryName { place: Place, name: String },
    #[error("{place}: [repository.{name}] has no path")]
    NoPath { place: Place, name: String },
    #[error("{place}: {path:?} is [repository.{other}] already")]
    SamePath { place: Place, path: String, other: String },
    #[error("{place}: {key:?} does not stand in the section of a repository: {why}")]
    NotOfRepository { place: Place, key: String, why: &'static str },
    #[error(
        "{place}: {name:?} is neither an absolute path nor the name of a [repository] section{}", Did(.nearest)
    )]
    UnknownRepository { place: Place, name: String, nearest: Option<String> },
    #[error("--repo {name}: {} has no [repository.{name}]{}", .file.display(), Did(.nearest))]
    NoRepository { file: PathBuf, name: String, nearest: Option<String> },
    #[error("--repo {name}: its directory {path:?} is another one for each server")]
    WhichServer { name: String, path: String },
    #[error("{place}: {key} takes {expected}, not {found}")]
    Type { place: Place, key: String, expected: &'static str, found: &'static str },
    #[error("{place}: {key}: the path {value:?} is not absolute")]
    RelativePath { place: Place, key: String, value: String },
    #[error("{place}: {problem}")]
    Value { place: Place, problem: String },
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file.display(), self.line)
    }
}

struct Did<'a>(&'a Option<String>);

impl fmt::Display for Did<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(nearest) => write!(f, "; did you mean {nearest:?}?"),
            None => Ok(()),
        }
    }
}
