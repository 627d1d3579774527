//! One line of an option file. Pure text in, meaning out.

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Nothing,
    Group(String),
    /// `!include` (true: of a directory).
    Include {
        path: String,
        directory: bool,
    },
    Entry {
        name: String,
        value: Option<String>,
    },
    /// A `!` that is no directive we know.
    UnknownDirective,
    /// A group without its closing bracket.
    BadGroup,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\x0b' | '\x0c')
}

/// Reads one line, its end mark already gone.
pub(super) fn parse(line: &str) -> Line {
    let line = line.trim_matches(is_space);
    match line.chars().next() {
        None | Some('#' | ';') => Line::Nothing,
        Some('[') => group(line),
        Some('!') => directive(line),
        Some(_) => entry(line),
    }
}

fn group(line: &str) -> Line {
    match line.get(1..).and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => Line::Group(name.trim_end_matches(is_space).to_owned()),
        None => Line::BadGroup,
    }
}

fn directive(line: &str) -> Line {
    let rest = line.get(1..).unwrap_or_default();
    let Some((word, path)) = rest.split_once(is_space) else {
        return Line::UnknownDirective;
    };
    let path = path.trim_matches(is_space).to_owned();
    match word {
        _ if path.is_empty() => Line::UnknownDirective,
        "include" => Line::Include { path, directory: false },
        "includedir" => Line::Include { path, directory: true },
        _ => Line::UnknownDirective,
    }
}

fn entry(line: &str) -> Line {
    let line = without_comment(line);
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name, Some(value_of(value))),
        None => (line, None),
    };
    Line::Entry { name: canonical(name.trim_matches(is_space)), value }
}

/// Cuts a line at the first `#` outside quotes. Unlike `#`, a `;` opens a comment only at the start of a line.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            '\'' | '"' if !escaped => match quote {
                None => quote = Some(c),
                Some(open) if open == c => quote = None,
                Some(_) => {}
            },
            '#' if quote.is_none() => return line.get(..at).unwrap_or(line),
            _ => {}
        }
        escaped = quote.is_some() && c == '\\' && !escaped;
    }
    line
}

/// Takes away one pair of equal quotes around the value and reads its escapes; these count without quotes too.
fn value_of(raw: &str) -> String {
    let raw = raw.trim_matches(is_space);
    let inner = ['"', '\'']
        .iter()
        .find_map(|quote| raw.strip_prefix(*quote).and_then(|rest| rest.strip_suffix(*quote)))
        .unwrap_or(raw);
    let mut value = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        match characters.next() {
            Some('n') => value.push('\n'),
            Some('t') => value.push('\t'),
            Some('r') => value.push('\r'),
            Some('b') => value.push('\x08'),
            Some('s') => value.push(' '),
            Some(quoted @ ('"' | '\'' | '\\')) => value.push(quoted),
            Some(other) => {
                value.push('\\');
                value.push(other);
            }
            None => value.push('\\'),
        }
    }
    value
}

/// The one spelling under which an option is kept: `_` is `-`, and `loose-`, which only says that an unknown option
/// is no error, is gone.
pub(super) fn canonical(name: &str) -> String {
    let name = name.replace('_', "-");
    match name.strip_prefix("loose-") {
        Some(rest) => rest.to_owned(),
        None => name,
    }
}
