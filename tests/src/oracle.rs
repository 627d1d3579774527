//! What two servers must have in common, asked of the servers themselves.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::server::Server;
use crate::session::Session;

const SYSTEM: &str = "('mysql','information_schema','performance_schema','sys')";

/// Every user table as `` `schema`.`table` ``.
pub fn tables(session: &mut Session) -> Result<Vec<String>> {
    let rows = session.rows(&format!(
        "SELECT table_schema, table_name FROM information_schema.tables \
         WHERE table_type IN ('BASE TABLE','SEQUENCE','SYSTEM VERSIONED') AND table_schema NOT IN {SYSTEM} \
         ORDER BY 1, 2"
    ))?;
    Ok(rows
        .iter()
        .filter_map(|row| Some(format!("{}.{}", quoted(row.first()?), quoted(row.get(1)?))))
        .collect())
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

pub fn checksums(session: &mut Session) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for table in tables(session)? {
        let rows = session.rows(&format!("CHECKSUM TABLE {table} EXTENDED"))?;
        let sum = rows.first().and_then(|row| row.get(1)).cloned().unwrap_or_default();
        if sum == "NULL" || sum.is_empty() {
            bail!("{table} has no checksum: it cannot be read");
        }
        found.insert(table, sum);
    }
    Ok(found)
}

/// What `CHECK TABLE … EXTENDED` complains of.
pub fn check_tables(session: &mut Session) -> Result<Vec<String>> {
    let mut bad = Vec::new();
    for table in tables(session)? {
        for row in session.rows(&format!("CHECK TABLE {table} EXTENDED"))? {
            let word = |at: usize| row.get(at).map_or("", String::as_str);
            let fine = word(3) == "OK"
                || word(3) == "The storage engine for the table doesn't support check"
                || word(2) == "status" && word(3) == "Table is already up to date";
            if !fine {
                bad.push(row.join(" "));
            }
        }
    }
    Ok(bad)
}

/// Definitions of all that a user can create, less what may differ: counters.
pub fn definitions(session: &mut Session) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for table in tables(session)? {
        let rows = session.rows(&format!("SHOW CREATE TABLE {table}"))?;
        let text = rows.first().and_then(|row| row.get(1)).cloned().unwrap_or_default();
        found.insert(table, without_counter(&text));
    }
    for (kind, sql) in [
        ("view", "SELECT table_schema, table_name, view_definition FROM information_schema.views"),
        (
            "trigger",
            "SELECT trigger_schema, trigger_name, concat(event_object_table, action_timing, event_manipulation, \
             action_statement) FROM information_schema.triggers",
        ),
        (
            "routine",
            "SELECT routine_schema, routine_name, routine_definition FROM information_schema.routines",
        ),
        ("event", "SELECT event_schema, event_name, event_definition FROM information_schema.events"),
        (
            "schema",
            "SELECT schema_name, '', concat(default_character_set_name, default_collation_name) \
             FROM information_schema.schemata",
        ),
    ] {
        for row in session.rows(sql)? {
            let word = |at: usize| row.get(at).map_or("", String::as_str);
            if !SYSTEM.contains(&format!("'{}'", word(0))) {
                found.insert(format!("{kind} {}.{}", word(0), word(1)), word(2).to_owned());
            }
        }
    }
    Ok(found)
}

fn without_counter(create: &str) -> String {
    let Some((before, rest)) = create.split_once(" AUTO_INCREMENT=") else { return create.to_owned() };
    format!("{before}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// How many tables were equal; an error names all that differ.
pub fn assert_equal(source: &Server, copy: &Server) -> Result<usize> {
    let left = (checksums(&mut source.session()?)?, definitions(&mut source.session()?)?);
    let right = (checksums(&mut copy.session()?)?, definitions(&mut copy.session()?)?);
    let mut bad = differences("checksum", &left.0, &right.0);
    bad.extend(differences("definition", &left.1, &right.1));
    if !bad.is_empty() {
        bail!("{} differences between source and copy:\n{}", bad.len(), bad.join("\n"));
    }
    if left.0.is_empty() {
        bail!("there is no table to compare");
    }
    Ok(left.0.len())
}

fn differences(what: &str, left: &BTreeMap<String, String>, right: &BTreeMap<String, String>) -> Vec<String> {
    let mut bad = Vec::new();
    for (name, value) in left {
        match right.get(name) {
            None => bad.push(format!("{name}: missing in the copy")),
            Some(other) if other != value => {
                bad.push(format!("{name}: {what} {value} here, {other} in the copy"))
            }
            Some(_) => {}
        }
    }
    bad.extend(
        right.keys().filter(|name| !left.contains_key(*name)).map(|name| format!("{name}: only in the copy")),
    );
    bad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_missing_changed_and_surplus_tables() {
        let left = BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        let right = BTreeMap::from([("b".into(), "3".into()), ("c".into(), "4".into())]);
        let bad = differences("checksum", &left, &right);
        assert_eq!(
            bad,
            ["a: missing in the copy", "b: checksum 2 here, 3 in the copy", "c: only in the copy"]
                .map(str::to_owned)
        );
    }

    #[test]
    fn the_counter_alone_is_left_out_of_a_definition() {
        assert_eq!(without_counter("x ENGINE=InnoDB AUTO_INCREMENT=12 y"), "x ENGINE=InnoDB y");
    }
}
