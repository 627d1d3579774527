//! docs/reference/json.md as a judge: every key of a document must stand there with its type, and every key that stands
//! there must have been seen.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::layout;

const FILE: &str = "docs/reference/json.md";
const TYPES: &[&str] = &["string", "integer", "number", "boolean", "time", "object"];

/// What a table's row says of a key.
#[derive(Debug, Clone, Default)]
struct Row {
    /// One of [`TYPES`]; empty where the keys below it say it all.
    kind: String,
    nullable: bool,
    optional: bool,
}

type Table = BTreeMap<String, Row>;

/// The tables of the page by their headings, and what was seen of each.
#[derive(Debug)]
pub struct Schema {
    tables: BTreeMap<String, Table>,
    seen: BTreeSet<(String, String)>,
}

impl Schema {
    pub fn read() -> Result<Schema> {
        let text = std::fs::read_to_string(layout::root().join(FILE)).context(FILE)?;
        Schema::parse(&text)
    }

    fn parse(text: &str) -> Result<Schema> {
        let mut raw: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        let mut heading = String::new();
        for line in text.lines() {
            if let Some(title) =
                line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
            {
                heading = title.replace('`', "").to_lowercase();
                continue;
            }
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [keys, kind, ..] = cells.as_slice() else { continue };
            if !line.starts_with("| `") {
                continue;
            }
            for key in keys.split(", ") {
                let row = (key.trim_matches('`').to_owned(), (*kind).to_owned());
                raw.entry(heading.clone()).or_default().push(row);
            }
        }
        let mut tables = BTreeMap::new();
        for heading in raw.keys() {
            tables.insert(heading.clone(), expand(&raw, heading)?);
        }
        Ok(Schema { tables, seen: BTreeSet::new() })
    }

    /// Compares a document with the table below the heading.
    pub fn check(&mut self, heading: &str, document: &Value) -> Result<()> {
        let table = self.tables.get(heading).with_context(|| format!("{FILE} has no {heading}"))?;
        let mut seen = Vec::new();
        walk(table, "", document, &mut seen).with_context(|| format!("{FILE}, {heading}: {document:#}"))?;
        self.seen.extend(seen.into_iter().map(|path| (heading.to_owned(), path)));
        Ok(())
    }

    /// Everything that the tables promise was there. A list of texts may be empty.
    pub fn expect_all_seen(&self, headings: &[&str]) -> Result<()> {
        for heading in headings {
            let table = self.tables.get(*heading).with_context(|| format!("{FILE} has no {heading}"))?;
            let missing: Vec<&String> = table
                .iter()
                .filter(|(path, row)| !row.kind.is_empty() && !path.ends_with("[]"))
                .map(|(path, _)| path)
                .filter(|path| !self.seen.contains(&((*heading).to_owned(), (*path).clone())))
                .collect();
            ensure!(missing.is_empty(), "{heading} promises what was never seen: {missing:?}");
        }
        Ok(())
    }
}

/// The rows of a section, with those of other sections that they lead to in their places.
fn expand(raw: &BTreeMap<String, Vec<(String, String)>>, heading: &str) -> Result<Table> {
    let mut table = Table::new();
    for (key, cell) in raw.get(heading).into_iter().flatten() {
        let nullable = cell.contains("or null");
        let optional = cell.contains("optional");
        let word = cell.split([' ', ',']).next().unwrap_or_default();
        if let Some(link) = cell.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            table.insert(key.clone(), Row { kind: String::new(), nullable, optional });
            for (below, row) in expand(raw, link)? {
                table.insert(format!("{key}.{below}"), row);
            }
            continue;
        }
        ensure!(TYPES.contains(&word), "{FILE}, {heading}: {key} has the type {word:?}");
        table.insert(key.clone(), Row { kind: word.to_owned(), nullable, optional });
    }
    ensure!(!table.is_empty(), "{FILE} has no table for {heading}");
    Ok(table)
}

/// The names of the keys directly below a path, and whether each may be left out.
fn children<'a>(table: &'a Table, path: &str) -> BTreeMap<&'a str, bool> {
    let start = if path.is_empty() { String::new() } else { format!("{path}.") };
    let mut found = BTreeMap::new();
    for (known, row) in table {
        let Some(rest) = known.strip_prefix(&start) else { continue };
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        let whole = end == rest.len();
        let optional = found.entry(name).or_insert(false);
        *optional |= whole && row.optional;
    }
    found
}

fn walk(table: &Table, path: &str, value: &Value, seen: &mut Vec<String>) -> Result<()> {
    let row = table.get(path);
    match value {
        Value::Null => {
            // Of a list its elements' row says it.
            let elements = table.get(&format!("{path}[]"));
            ensure!(row.or(elements).is_some_and(|row| row.nullable), "{path} is null");
        }
        Value::Object(_) if row.is_some_and(|row| row.kind == "object") => seen.push(path.to_owned()),
        Value::Object(fields) => {
            let known = children(table, path);
            for (name, below) in fields {
                ensure!(known.contains_key(name.as_str()), "{name} of {path:?} is not described");
                let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(table, &at, below, seen)?;
            }
            let missing = known.iter().find(|(name, optional)| !**optional && !fields.contains_key(**name));
            ensure!(missing.is_none(), "{missing:?} of {path:?} is missing");
        }
        Value::Array(elements) => {
            let at = format!("{path}[]");
            ensure!(table.keys().any(|known| known.starts_with(&at)), "{path} is a list");
            elements.iter().try_for_each(|element| walk(table, &at, element, seen))?;
        }
        scalar => {
            let row = row.with_context(|| format!("{path} is not described"))?;
            let fits = match row.kind.as_str() {
                "string" => scalar.is_string(),
                "integer" => scalar.is_u64() || scalar.is_i64(),
                "number" => scalar.is_number(),
                "boolean" => scalar.is_boolean(),
                "time" => scalar.as_str().is_some_and(is_time),
                _ => false,
            };
            if !fits {
                bail!("{path} is no {}: {scalar}", row.kind);
            }
            seen.push(path.to_owned());
        }
    }
    Ok(())
}

/// RFC 3339 in UTC: `2026-11-20T06:00:00Z`, with or without a fraction.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let whole = "0000-00-00T00:00:00";
    let rest = shape.strip_prefix(whole).and_then(|rest| rest.strip_suffix('Z'));
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('.').is_some_and(|digits| digits.trim_matches('0').is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# JSON
## `list`
| field | type | |
|---|---|---|
| `name`, `other` | string | |
| `sets[].at` | time | |
| `sets[].more` | [part](#part) or null | |
| `sets[].line` | integer, optional | |
## part
| field | type | |
|---|---|---|
| `notes[]` | string | |
";

    fn judged(document: &str) -> Result<Schema> {
        let mut schema = Schema::parse(PAGE)?;
        schema.check("list", &serde_json::from_str(document)?)?;
        schema.expect_all_seen(&["list"])?;
        Ok(schema)
    }

    #[test]
    fn documents_are_judged() {
        let set = |text: &str| format!("{{\"name\":\"n\",\"other\":\"o\",\"sets\":[{text}]}}");
        let whole = r#"{"at":"2026-11-20T06:00:00.5Z","more":{"notes":["n"]},"line":3}"#;
        let short = r#"{"at":"2026-11-20T06:00:00Z","more":null}"#;
        assert!(judged(&set(&format!("{whole},{short}"))).is_ok());
        for (bad, what) in [
            (set(short), "line was never seen"),
            (set(&whole.replace("20T06", "20 06")), "no time"),
            (set(&whole.replace("3}", "3.5}")), "no integer"),
            (set(&whole.replace("\"line\"", "\"lines\"")), "not described"),
            (set(&whole.replace("[\"n\"]", "null")), "null where there is a list"),
            (set(whole).replace("\"other\":\"o\",", ""), "missing"),
        ] {
            assert!(judged(&bad).is_err(), "{what}: {bad}");
        }
    }
}
