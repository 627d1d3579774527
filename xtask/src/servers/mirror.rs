//! Which Debian mirror this machine trusts, read from its own apt configuration. Only the suite is exchanged.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Where Debian keeps the keys of its archive.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The machine's own sources of Debian packages.
#[derive(Debug, Clone)]
pub struct Mirror {
    pub archive: String,
    pub security: Option<String>,
    pub keyring: PathBuf,
    /// The suite that the machine itself runs: the place to get a newer keyring from.
    pub own_suite: String,
}

/// One repository line or stanza.
#[derive(Debug, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
}

/// Reads the machine's configuration.
pub fn find() -> Result<Mirror> {
    let mut sources = Vec::new();
    let etc = Path::new("/etc/apt");
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|name| name.to_str()) {
            Some("sources") => sources.extend(parse_deb822(&text)),
            Some("list") => sources.extend(parse_one_line(&text)),
            _ => {}
        }
    }
    choose(&sources, Path::new(KEYRING))
}

fn choose(sources: &[Source], keyring: &Path) -> Result<Mirror> {
    let mut archive = None;
    let mut security = None;
    for source in sources {
        let Some(uri) = source.uris.first() else { continue };
        for suite in &source.suites {
            if is_debian_suite(suite) {
                archive.get_or_insert((uri.clone(), suite.clone()));
            } else if suite.strip_suffix("-security").is_some_and(is_debian_suite) {
                security.get_or_insert(uri.clone());
            }
        }
    }
    let Some((archive, own_suite)) = archive else {
        bail!("this machine's apt configuration names no Debian mirror: the test servers come from one");
    };
    if !keyring.exists() {
        bail!("{} is missing: install debian-archive-keyring", keyring.display());
    }
    Ok(Mirror { archive, security, keyring: keyring.to_owned(), own_suite })
}

fn is_debian_suite(suite: &str) -> bool {
    const SUITES: &[&str] = &[
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
        "oldoldstable",
        "oldstable",
        "stable",
        "testing",
        "unstable",
    ];
    SUITES.contains(&suite)
}

fn parse_deb822(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut source = Source::default();
    let mut usable = true;
    let mut field = String::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            let stanza = std::mem::take(&mut source);
            if usable && !stanza.uris.is_empty() {
                found.push(stanza);
            }
            usable = true;
            continue;
        }
        let words = if line.starts_with([' ', '\t']) {
            line
        } else if let Some((name, rest)) = line.split_once(':') {
            field = name.trim().to_ascii_lowercase();
            rest
        } else {
            continue;
        };
        let words = words.split_whitespace().map(str::to_owned);
        match field.as_str() {
            "uris" => source.uris.extend(words),
            "suites" => source.suites.extend(words),
            "enabled" => usable &= !words.into_iter().any(|word| word == "no"),
            "types" => usable &= words.into_iter().any(|word| word == "deb"),
            _ => {}
        }
    }
    found
}

fn parse_one_line(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else { continue };
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, after)| after),
            None => rest,
        };
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            found.push(Source { uris: vec![uri.to_owned()], suites: vec![suite.to_owned()] });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, suites: &[&str]) -> Source {
        Source { uris: vec![uri.to_owned()], suites: suites.iter().map(|&suite| suite.to_owned()).collect() }
    }

    #[test]
    fn deb822_stanzas_are_read_and_disabled_ones_left_out() {
        let text = "# comment\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main\n\nTypes: deb-src\nURIs: http://src.example\nSuites: bookworm\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: sid\n";
        assert_eq!(
            parse_deb822(text),
            [source("http://mirror.example/debian", &["bookworm", "bookworm-updates"])]
        );
    }

    #[test]
    fn one_line_entries_are_read_with_and_without_options() {
        let text = "deb [arch=amd64 signed-by=/k] http://a.example/debian trixie main\ndeb http://b.example x main\n\
                    # deb http://c.example sid main\ndeb-src http://d.example sid main\n";
        assert_eq!(
            parse_one_line(text),
            [source("http://a.example/debian", &["trixie"]), source("http://b.example", &["x"])]
        );
    }

    #[test]
    fn third_party_sources_are_not_taken_for_debian() {
        let sources = [source("http://other.example", &["cloud-sdk-bookworm"])];
        assert!(choose(&sources, Path::new("/")).is_err());
        let sources = [
            source("http://other.example", &["nodistro"]),
            source("http://m.example/debian", &["bookworm"]),
            source("http://m.example/security", &["bookworm-security"]),
        ];
        let mirror = choose(&sources, Path::new("/")).unwrap();
        assert_eq!(mirror.archive, "http://m.example/debian");
        assert_eq!(mirror.security.as_deref(), Some("http://m.example/security"));
        assert_eq!(mirror.own_suite, "bookworm");
    }
}
