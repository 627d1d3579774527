//! Names of servers and of backup sets.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What kind of backup a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetKind {
    /// Stands alone.
    Full,
    /// Holds what changed since its parent.
    Incremental,
}

impl SetKind {
    fn suffix(self) -> &'static str {
        match self {
            SetKind::Full => "full",
            SetKind::Incremental => "incr",
        }
    }
}

impl fmt::Display for SetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SetKind::Full => "full",
            SetKind::Incremental => "incremental",
        })
    }
}

/// The text is not the name of a server or of a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "{text:?} is not a server name: letters, digits, `.`, `_` and `-` only, not beginning with `.` or `-`, at \
         most 128"
    )]
    Server { text: String },
    #[error("{text:?} is not the name of a backup set, which looks like 20261120T060000Z-full")]
    Set { text: String },
}

/// The name under which a server's sets lie: one directory in the repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ServerName(String);

impl ServerName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<ServerName, NameError> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        if starts && text.len() <= 128 && text.bytes().all(fine) {
            Ok(ServerName(text.to_owned()))
        } else {
            Err(NameError::Server { text: text.chars().take(200).collect() })
        }
    }
}

impl TryFrom<String> for ServerName {
    type Error = NameError;

    fn try_from(text: String) -> Result<ServerName, NameError> {
        text.parse()
    }
}

impl From<ServerName> for String {
    fn from(name: ServerName) -> String {
        name.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of a backup set: start time in UTC, kind, and a number where one second saw more than one.
/// `20261120T060000Z-full`, `20261120T060000Z-incr-2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SetId(String);

impl SetId {
    /// `nth` counts from 1 within the same second.
    pub fn new(start: Timestamp, kind: SetKind, nth: u32) -> SetId {
        let time = start.strftime("%Y%m%dT%H%M%SZ");
        let kind = kind.suffix();
        SetId(if nth > 1 { format!("{time}-{kind}-{nth}") } else { format!("{time}-{kind}") })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SetId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<SetId, NameError> {
        let bad = || NameError::Set { text: text.chars().take(200).collect() };
        let mut parts = text.split('-');
        let (time, kind, nth) = (parts.next(), parts.next(), parts.next());
        let time_fits = time.is_some_and(|time| {
            time.len() == 16
                && time.bytes().enumerate().all(|(i, b)| match i {
                    8 => b == b'T',
                    15 => b == b'Z',
                    _ => b.is_ascii_digit(),
                })
        });
        let kind_fits = matches!(kind, Some("full" | "incr"));
        let nth_fits = nth.is_none_or(|nth| {
            nth.len() <= 9
                && nth.bytes().all(|b| b.is_ascii_digit())
                && !nth.starts_with('0')
                && nth.parse::<u32>().is_ok_and(|n| n >= 2)
        });
        if time_fits && kind_fits && nth_fits && parts.next().is_none() {
            Ok(SetId(text.to_owned()))
        } else {
            Err(bad())
        }
    }
}

impl TryFrom<String> for SetId {
    type Error = NameError;

    fn try_from(text: String) -> Result<SetId, NameError> {
        text.parse()
    }
}

impl From<SetId> for String {
    fn from(id: SetId) -> String {
        id.0
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_names() {
        let time: Timestamp = "2026-11-20T06:00:00.9Z".parse().unwrap();
        let id = SetId::new(time, SetKind::Full, 1);
        assert_eq!(id.as_str(), "20261120T060000Z-full");
        let second = SetId::new(time, SetKind::Incremental, 2);
        assert_eq!(second.as_str(), "20261120T060000Z-incr-2");
        for id in [id, second] {
            assert_eq!(id.as_str().parse::<SetId>().unwrap(), id);
        }
        for bad in [
            "",
            "latest",
            "20261120T060000Z",
            "20261120T060000Z-full.partial",
            "20261120T060000Z-full-1",
            "20261120T060000Z-full-02",
            "20261120T060000Z-full-2-3",
            "../20261120T060000Z-full",
        ] {
            assert!(bad.parse::<SetId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn server_names_are_plain_directory_names() {
        for good in ["db1", "db-1.example_com", "A", "_x"] {
            assert!(good.parse::<ServerName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".lock", "-x", "a/b", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert!(bad.parse::<ServerName>().is_err(), "{bad:?}");
        }
    }
}
