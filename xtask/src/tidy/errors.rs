//! Every error that a library returns is documented: docs/reference/errors.md lists each enum with its variants
//! and their texts. `cargo xtask tidy --write` makes the page from the sources.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::tree::TreeFile;
use crate::workspace;

const PAGE: &str = "docs/reference/errors.md";
/// Generated or written by the program's own definitions; its tests compare them.
const PROGRAM_PAGES: &[&str] =
    &["docs/reference/config.md", "docs/reference/exit-codes.md", "docs/reference/options.md"];

#[derive(Debug, Default, PartialEq, Eq)]
struct ErrorEnum {
    krate: String,
    name: String,
    about: String,
    variants: Vec<(String, String)>,
}

pub fn check(files: &[TreeFile], write: bool) -> Result<Vec<String>> {
    let mut enums: Vec<ErrorEnum> = Vec::new();
    for file in files {
        let Some(krate) = file.path.strip_prefix("crates/").and_then(|rest| rest.split('/').next()) else {
            continue;
        };
        if file.path.ends_with(".rs") && file.path.contains("/src/") {
            enums.extend(find(krate, &file.text));
        }
    }
    if write {
        let path = workspace::root().join(PAGE);
        std::fs::write(&path, page(&enums)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut complaints = Vec::new();
    let documented = std::fs::read_to_string(workspace::root().join(PAGE)).unwrap_or_default();
    for found in &enums {
        if found.about.is_empty() {
            complaints.push(format!("{}::{} has no doc comment", found.krate, found.name));
        }
        let heading = format!("## {}: {}", found.krate, found.name);
        let section = documented.split("\n## ").map(|part| format!("## {part}"));
        let Some(section) = section.into_iter().find(|part| part.lines().next() == Some(heading.as_str()))
        else {
            complaints
                .push(format!("{PAGE} lacks {}::{} (cargo xtask tidy --write)", found.krate, found.name));
            continue;
        };
        for (variant, _) in &found.variants {
            if !section.contains(&format!("| `{variant}` |")) {
                complaints.push(format!("{PAGE} lacks {}::{variant} (cargo xtask tidy --write)", found.name));
            }
        }
    }
    for page in PROGRAM_PAGES {
        if !workspace::root().join(page).exists() {
            complaints.push(format!("{page} is missing"));
        }
    }
    Ok(complaints)
}

fn page(enums: &[ErrorEnum]) -> String {
    let mut text = String::from(
        "# Errors\n\nEvery error of the libraries with its text, made from the sources by `cargo xtask tidy --write`. \
         In the texts, names in braces stand for the values of the case. What exit code the program gives for each \
         is in [exit-codes.md](exit-codes.md).\n",
    );
    for found in enums {
        let _ = write!(
            text,
            "\n## {}: {}\n\n{}\n\n| error | text |\n|---|---|\n",
            found.krate, found.name, found.about
        );
        for (variant, message) in &found.variants {
            let _ = writeln!(text, "| `{variant}` | {} |", message.replace('|', "\\|"));
        }
    }
    text
}

/// Reads the enums of a file line by line; rustfmt has made all of them look alike.
fn find(krate: &str, source: &str) -> Vec<ErrorEnum> {
    let mut found = Vec::new();
    let mut about: Vec<&str> = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(doc) = line.strip_prefix("///") {
            about.push(doc.trim());
            continue;
        }
        let name = line.strip_prefix("pub enum ").map(|rest| rest.trim_end_matches([' ', '{']));
        if let Some(name) = name.filter(|name| name.ends_with("Error")) {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
            found.push(ErrorEnum {
                krate: krate.to_owned(),
                name: name.to_owned(),
                about: about.join(" "),
                variants: variants(&body),
            });
        }
        if !line.starts_with("#[") {
            about.clear();
        }
    }
    found
}

fn variants(body: &[&str]) -> Vec<(String, String)> {
    let mut variants = Vec::new();
    let mut attribute = String::new();
    let mut open = false;
    for line in body {
        let Some(inner) = line.strip_prefix("    ") else { continue };
        if open || inner.starts_with("#[error") {
            attribute.push_str(inner.trim());
            open = !inner.trim_end().ends_with(")]");
            continue;
        }
        let name: String = inner.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        if inner.starts_with(|c: char| c.is_ascii_uppercase()) {
            variants.push((name, message(&attribute)));
            attribute.clear();
        }
    }
    variants
}

/// The text within `#[error("…")]`.
fn message(attribute: &str) -> String {
    if attribute.contains("transparent") {
        return "(that of the error within)".to_owned();
    }
    let inner = attribute.split_once('"').map_or("", |(_, rest)| rest);
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('n') => text.push(' '),
                Some(escaped) => text.push(escaped),
                None => {}
            },
            _ => text.push(c),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enum_is_read_with_its_variants_and_texts() {
        let source = "/// What goes wrong.\n/// Often.\n#[derive(Debug)]\npub enum ThingError {\n    #[error(\"no {what}\")]\n    \
                      Missing { what: String },\n    #[error(\n        \"bad: \\\"x\\\"\"\n    )]\n    Bad(u32),\n    \
                      #[error(transparent)]\n    Io(#[from] Other),\n}\n\npub enum Plain {\n    A,\n}\n";
        let found = find("things", source);
        let texts = [("Missing", "no {what}"), ("Bad", "bad: \"x\""), ("Io", "(that of the error within)")];
        assert_eq!(
            found,
            [ErrorEnum {
                krate: "things".into(),
                name: "ThingError".into(),
                about: "What goes wrong. Often.".into(),
                variants: texts.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec(),
            }]
        );
    }
}
