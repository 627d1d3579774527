//! What the names in a document stand for in a test. One table, applied to a command as printed: a path or an
//! address that is not in it is an error, so nothing outside of the test's own folders is ever touched by accident.

use std::ops::Range;

use anyhow::{Result, bail};

/// From names as documents have them to the test's own.
#[derive(Debug, Clone, Default)]
pub struct Table {
    entries: Vec<(String, String)>,
}

impl Table {
    /// A path stands for all that is below it, and for what begins with it and a full stop.
    pub fn set(&mut self, name: impl Into<String>, meaning: impl Into<String>) {
        let name = name.into();
        self.entries.retain(|(known, _)| *known != name);
        self.entries.push((name, meaning.into()));
        self.entries.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    }

    /// The text with every name exchanged.
    ///
    /// # Errors
    /// When something in it looks like a path, an address or a gap to fill, and is not in the table.
    pub fn apply(&self, text: &str) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut covered = Vec::new();
        let mut at = 0;
        while let Some(next) = text.get(at..).and_then(|rest| rest.chars().next()) {
            match self.entry_at(text, at) {
                Some((name, meaning)) => {
                    covered.push(at);
                    out.push_str(meaning);
                    at += name.len();
                }
                None => {
                    out.push(next);
                    at += next.len_utf8();
                }
            }
        }
        for claim in claims(text) {
            let within = |start: &usize| *start <= claim.start;
            let last = covered.iter().copied().filter(within).max();
            // Of an address the whole counts, and of a path its beginning.
            let known = last.is_some_and(|start| {
                self.entry_at(text, start).is_some_and(|(name, _)| start + name.len() > claim.start)
            });
            if !known {
                let what = text.get(claim).unwrap_or_default();
                bail!("{what:?} stands for nothing in this test: put it into the host's table\n{text}");
            }
        }
        Ok(out)
    }

    fn entry_at(&self, text: &str, at: usize) -> Option<(&str, &str)> {
        let before = text.get(..at)?.chars().next_back();
        let rest = text.get(at..)?;
        let found = self.entries.iter().find(|(name, _)| {
            let Some(after) = rest.strip_prefix(name.as_str()) else { return false };
            let after = after.chars().next();
            match name.chars().next() {
                Some('/') => begins_path(before) && !after.is_some_and(|c| is_name(c) && c != '.'),
                Some(first) if is_name(first) => {
                    !before.is_some_and(is_name) && !after.is_some_and(|c| is_name(c) && c != '.')
                }
                _ => true,
            }
        });
        found.map(|(name, meaning)| (name.as_str(), meaning.as_str()))
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.".contains(c)
}

fn begins_path(before: Option<char>) -> bool {
    before.is_none_or(|c| c.is_whitespace() || "'\"`=:(<>|;,@".contains(c))
}

/// Where a text names a place: absolute paths, addresses, gaps (`…`, `<PASSWORD>`).
fn claims(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut before = None;
    for (at, c) in text.char_indices() {
        let rest = text.get(at..).unwrap_or_default();
        let after = rest.chars().nth(1);
        let length = match c {
            '…' => c.len_utf8(),
            '/' if begins_path(before) && after.is_some_and(is_name) => {
                rest.find(|c: char| c.is_whitespace() || "'\"`;)|<>,".contains(c)).unwrap_or(rest.len())
            }
            '<' => rest.split_once('>').map_or(0, |(name, _)| {
                let name = name.get(1..).unwrap_or_default();
                let gap = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                if gap { name.len() + 2 } else { 0 }
            }),
            c if c.is_ascii_digit() && !before.is_some_and(is_name) => {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                let address = rest.get(..end).unwrap_or_default().trim_end_matches('.');
                let parts = address.split('.').filter(|part| part.parse::<u8>().is_ok()).count();
                if parts == 4 && address.split('.').count() == 4 { address.len() } else { 0 }
            }
            _ => 0,
        };
        if length > 0 {
            found.push(at..at + length);
        }
        before = Some(c);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        table.set("/var/lib/mysql", "/t/data");
        table.set("/backup", "/t/repo");
        table.set("10.0.0.5", "127.0.0.9");
        table.set("root@10.0.0.5", "me@127.0.0.9");
        table.set("…", "secret");
        table
    }

    #[test]
    fn names_are_exchanged_whole() {
        let told = |text: &str| table().apply(text).unwrap();
        assert_eq!(
            told("x --from root@10.0.0.5 --datadir /var/lib/mysql"),
            "x --from me@127.0.0.9 --datadir /t/data"
        );
        assert_eq!(
            told("ls /var/lib/mysql.old /backup/db1 --repo=/backup"),
            "ls /t/data.old /t/repo/db1 --repo=/t/repo"
        );
        assert_eq!(told("rsync host:/backup/db1/ . # 1.2.3"), "rsync host:/t/repo/db1/ . # 1.2.3");
        assert_eq!(told("password = …"), "password = secret");
        assert_eq!(told("SELECT 8 / 2, 'a/b', @@x /* y */"), "SELECT 8 / 2, 'a/b', @@x /* y */");
    }

    #[test]
    fn unknown_places_are_refused() {
        for text in [
            "rm /etc/x",
            "ls /var/lib/mysql2",
            "ping 10.0.0.6",
            "x 10.0.0.50",
            "a <PASSWORD>",
            "--x=/y",
            "> /y/z",
        ] {
            assert!(table().apply(text).is_err(), "{text}");
        }
    }
}
