//! The storm of DDL: one session that creates, changes, moves and drops while others write.

use anyhow::Result;

use super::tables::{MAIN, OTHER};
use super::{Outcome, Worker};
use crate::session::error_code;

type Step = fn(&mut Worker, u64) -> Result<Outcome>;

const STEPS: &[(&str, Step)] = &[
    ("create and fill", create_and_fill),
    ("create, fill, drop", create_and_drop),
    ("create from select", create_from_select),
    ("drop", drop_old),
    ("rename", rename),
    ("move to the other database", move_over),
    ("swap", swap),
    ("truncate", truncate),
    ("add index", add_index),
    ("drop index", drop_index),
    ("instant add column", add_column),
    ("instant drop column", drop_column),
    ("rebuild", rebuild),
    ("change row format", change_row_format),
    ("optimize", optimize),
    ("partitions", partitions),
    ("exchange partition", exchange_partition),
    ("reorganize", reorganize),
    ("views and triggers", views_and_triggers),
    ("other engines", other_engines),
    ("fulltext", fulltext),
    ("temporary table", temporary),
    ("database", database),
    ("general tablespace", general_tablespace),
];

pub fn run(worker: &mut Worker) -> Result<()> {
    // A wait for a long transaction of others is given up and counted, not endless.
    worker.plain("SET SESSION lock_wait_timeout=60")?;
    keep_writers_out_of_copies(worker)?;
    let mut number = 0u64;
    let mut order: Vec<usize> = Vec::new();
    while !worker.stopped() {
        // Every step once before any comes again, so that a short load has them all.
        if order.is_empty() {
            order = (0..STEPS.len()).collect();
            for at in (1..order.len()).rev() {
                order.swap(at, worker.random.below(at as u64 + 1) as usize);
            }
        }
        let Some((name, step)) = order.pop().and_then(|at| STEPS.get(at)) else { break };
        number += 1;
        if step(worker, number)? == Outcome::Done {
            *worker.counts.ddl.entry(name).or_default() += 1;
        }
    }
    Ok(())
}

/// Statements in a row; the first that is refused ends the step.
/// From MariaDB 11.2 on, others may write while an ALTER TABLE copies. 11.8 loses such an update now and then: the table
/// has the old row, the server's own binary log the new one. That would be taken for a fault of the copy.
fn keep_writers_out_of_copies(worker: &mut Worker) -> Result<()> {
    const UNKNOWN_VALUE: u16 = 1231;
    if !worker.common.mariadb {
        return Ok(());
    }
    let set = "SET SESSION old_mode = CONCAT(@@old_mode, ',LOCK_ALTER_TABLE_COPY')";
    match worker.session.run(set) {
        Err(error) if error_code(&error) != UNKNOWN_VALUE => Err(error.into()),
        _ => Ok(()),
    }
}

fn all(worker: &mut Worker, statements: &[String]) -> Result<Outcome> {
    for sql in statements {
        if worker.attempt(sql)? == Outcome::Refused {
            return Ok(Outcome::Refused);
        }
    }
    Ok(Outcome::Done)
}

/// Tables that only this session knows, named by number.
fn own(number: u64) -> String {
    format!("{MAIN}.d_{number}")
}

/// An own table that exists now, in either database.
fn existing(worker: &mut Worker) -> Result<Option<String>> {
    let rows = worker.session.rows(
        "SELECT table_schema, table_name FROM information_schema.tables \
         WHERE table_name LIKE 'd\\_%' AND table_type = 'BASE TABLE' ORDER BY 1, 2",
    )?;
    let names: Vec<String> = rows
        .iter()
        .map(|row| row.iter().map(|part| format!("`{part}`")).collect::<Vec<_>>().join("."))
        .collect();
    Ok(worker.random.pick(&names).cloned())
}

fn definition(worker: &mut Worker) -> String {
    let compressed = worker.common.page_size <= 16384;
    let format = match worker.random.below(5) {
        0 => "ROW_FORMAT=COMPACT",
        1 => "ROW_FORMAT=REDUNDANT",
        2 if compressed => "ROW_FORMAT=COMPRESSED",
        3 if worker.common.mariadb => "PAGE_COMPRESSED=1",
        _ => "ROW_FORMAT=DYNAMIC",
    };
    format!(
        "(id INT NOT NULL AUTO_INCREMENT, k INT NOT NULL DEFAULT 0, c VARCHAR(100), big BLOB, PRIMARY KEY (id), \
         KEY (k)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 {format}"
    )
}

fn filling(worker: &mut Worker, table: &str) -> Vec<String> {
    let mut statements = Vec::new();
    for _ in 0..worker.random.between(1, 3) {
        let rows: Vec<String> = (0..worker.random.between(1, 60))
            .map(|_| {
                let bytes = worker.random.below(900);
                format!(
                    "({}, {}, {})",
                    worker.random.below(5000),
                    worker.random.words(100),
                    worker.random.repeated(bytes)
                )
            })
            .collect();
        statements.push(format!("INSERT INTO {table} (k, c, big) VALUES {}", rows.join(", ")));
    }
    statements
}

fn create_and_fill(worker: &mut Worker, number: u64) -> Result<Outcome> {
    let table = own(number);
    let mut statements = vec![format!("CREATE TABLE {table} {}", definition(worker))];
    statements.extend(filling(worker, &table));
    all(worker, &statements)
}

fn create_and_drop(worker: &mut Worker, number: u64) -> Result<Outcome> {
    create_and_fill(worker, number)?;
    all(worker, &[format!("DROP TABLE {}", own(number))])
}

fn create_from_select(worker: &mut Worker, number: u64) -> Result<Outcome> {
    let table = own(number);
    let statements = [
        format!("CREATE TABLE {table} LIKE {MAIN}.t_swap"),
        format!(
            "INSERT INTO {table} (k, c, pad, n) SELECT k, c, pad, n FROM {MAIN}.t_compact WHERE id < 300 ORDER BY id"
        ),
        format!("DELETE FROM {table} WHERE k % 3 = 0"),
    ];
    all(worker, &statements)
}

/// Keeps the number of own tables small.
fn drop_old(worker: &mut Worker, _: u64) -> Result<Outcome> {
    for _ in 0..4 {
        if let Some(table) = existing(worker)? {
            all(worker, &[format!("DROP TABLE {table}")])?;
        }
    }
    Ok(Outcome::Done)
}

fn rename(worker: &mut Worker, number: u64) -> Result<Outcome> {
    let Some(table) = existing(worker)? else { return create_and_fill(worker, number) };
    all(worker, &[format!("RENAME TABLE {table} TO {}", own(number))])
}

fn move_over(worker: &mut Worker, number: u64) -> Result<Outcome> {
    let Some(table) = existing(worker)? else { return create_and_fill(worker, number) };
    all(worker, &[format!("RENAME TABLE {table} TO {OTHER}.`d_{number} ü`")])
}

/// Two tables change names in one statement; a third gets the name of one of them for a moment.
fn swap(worker: &mut Worker, _: u64) -> Result<Outcome> {
    all(
        worker,
        &[format!(
            "RENAME TABLE {MAIN}.t_swap TO {MAIN}.t_between, {MAIN}.t_swap2 TO {MAIN}.t_swap, \
             {MAIN}.t_between TO {MAIN}.t_swap2"
        )],
    )
}

fn truncate(worker: &mut Worker, _: u64) -> Result<Outcome> {
    all(worker, &[format!("TRUNCATE TABLE {MAIN}.t_truncated")])
}

fn has_index(worker: &mut Worker, table: &str, index: &str) -> Result<bool> {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.statistics \
         WHERE table_schema = '{MAIN}' AND table_name = '{table}' AND index_name = '{index}'"
    );
    Ok(worker.session.value(&sql)? != "0")
}

const INDEXED: &[&str] = &["t_dynamic", "t_compact", "t_redundant", "t_parts", "t_pages", "t_lob"];

fn indexed_table(worker: &mut Worker) -> &'static str {
    let known = worker.common.clone();
    let name = worker.random.pick(INDEXED).copied().unwrap_or("t_dynamic");
    if known.tables.iter().any(|table| table.name == format!("{MAIN}.{name}")) { name } else { "t_dynamic" }
}

fn add_index(worker: &mut Worker, _: u64) -> Result<Outcome> {
    let table = indexed_table(worker);
    if has_index(worker, table, "extra")? {
        return all(worker, &[format!("ALTER TABLE {MAIN}.{table} DROP KEY extra, ADD KEY extra (n, k)")]);
    }
    all(worker, &[format!("ALTER TABLE {MAIN}.{table} ADD KEY extra (k, c(10))")])
}

fn drop_index(worker: &mut Worker, _: u64) -> Result<Outcome> {
    let table = indexed_table(worker);
    if !has_index(worker, table, "extra")? {
        return all(worker, &[format!("ALTER TABLE {MAIN}.{table} ADD KEY extra (n, k)")]);
    }
    all(worker, &[format!("ALTER TABLE {MAIN}.{table} DROP KEY extra")])
}

fn extra_columns(worker: &mut Worker) -> Result<Vec<String>> {
    let rows = worker.session.rows(&format!(
        "SELECT column_name FROM information_schema.columns \
         WHERE table_schema = '{MAIN}' AND table_name = 't_instant' AND column_name LIKE 'e\\_%' ORDER BY 1"
    ))?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next()).collect())
}

fn add_column(worker: &mut Worker, number: u64) -> Result<Outcome> {
    // Every added column takes room in the row, also where it was dropped again.
    if extra_columns(worker)?.len() > 4 {
        return all(worker, &[format!("ALTER TABLE {MAIN}.t_instant FORCE")]);
    }
    let place = if worker.random.one_in(2) { "AFTER k" } else { "FIRST" };
    let what =
        if worker.random.one_in(2) { "INT NOT NULL DEFAULT 42" } else { "VARCHAR(20) DEFAULT 'instant'" };
    all(worker, &[format!("ALTER TABLE {MAIN}.t_instant ADD COLUMN e_{number} {what} {place}")])
}

fn drop_column(worker: &mut Worker, number: u64) -> Result<Outcome> {
    let columns = extra_columns(worker)?;
    let Some(column) = worker.random.pick(&columns).cloned() else { return add_column(worker, number) };
    all(worker, &[format!("ALTER TABLE {MAIN}.t_instant DROP COLUMN {column}")])
}

fn rebuild(worker: &mut Worker, _: u64) -> Result<Outcome> {
    let table = if worker.random.one_in(2) { "t_rebuilt" } else { "t_instant" };
    // In place where the server can: a table with two fulltext indexes it copies.
    let how = if worker.random.one_in(2) { "FORCE" } else { "FORCE, ALGORITHM=COPY" };
    all(worker, &[format!("ALTER TABLE {MAIN}.{table} {how}")])
}

fn change_row_format(worker: &mut Worker, _: u64) -> Result<Outcome> {
    let format = worker.random.pick(&["DYNAMIC", "COMPACT", "REDUNDANT"]).copied().unwrap_or("DYNAMIC");
    all(worker, &[format!("ALTER TABLE {MAIN}.t_rebuilt ROW_FORMAT={format}")])
}

fn optimize(worker: &mut Worker, _: u64) -> Result<Outcome> {
    let table = worker
        .random
        .pick(&["t_compact", "t_words", "t_places", "t_rebuilt"])
        .copied()
        .unwrap_or("t_compact");
    // MySQL 9.7.4 that builds a spatial index in place while others write gives it entries of no row, or too few of
    // them, about once in 50 times; CHECK TABLE says so on the server itself. The copying rebuild is right.
    if table == "t_places" && !worker.common.mariadb {
        return all(worker, &[format!("ALTER TABLE {MAIN}.{table} FORCE, ALGORITHM=COPY")]);
    }
    all(worker, &[format!("OPTIMIZE TABLE {MAIN}.{table}")])
}

fn partitions(worker: &mut Worker, _: u64) -> Result<Outcome> {
    match worker.random.below(3) {
        0 => all(
            worker,
            &[
                format!("ALTER TABLE {MAIN}.t_parts ADD PARTITION PARTITIONS 1"),
                format!("ALTER TABLE {MAIN}.t_parts COALESCE PARTITION 1"),
            ],
        ),
        1 => all(worker, &[format!("ALTER TABLE {MAIN}.t_ranges TRUNCATE PARTITION p0")]),
        _ => all(worker, &[format!("ALTER TABLE {MAIN}.t_parts REBUILD PARTITION p1")]),
    }
}

fn exchange_partition(worker: &mut Worker, number: u64) -> Result<Outcome> {
    let table = own(number);
    let statements = [
        format!("CREATE TABLE {table} LIKE {MAIN}.t_ranges"),
        format!("ALTER TABLE {table} REMOVE PARTITIONING"),
        format!("INSERT INTO {table} (id, k, c) VALUES (11, 1, 'in'), (12, 2, 'out'), (900, 3, 'or')"),
        format!("ALTER TABLE {MAIN}.t_ranges EXCHANGE PARTITION p0 WITH TABLE {table}"),
        format!("DROP TABLE {table}"),
    ];
    all(worker, &statements)
}

/// Splits a partition and puts it together again.
fn reorganize(worker: &mut Worker, _: u64) -> Result<Outcome> {
    let statements = [
        format!(
            "ALTER TABLE {MAIN}.t_ranges REORGANIZE PARTITION p1 INTO \
             (PARTITION p1a VALUES LESS THAN (2000), PARTITION p1b VALUES LESS THAN (4000))"
        ),
        format!(
            "ALTER TABLE {MAIN}.t_ranges REORGANIZE PARTITION p1a, p1b INTO (PARTITION p1 VALUES LESS THAN (4000))"
        ),
    ];
    // Only half of it done would break the next round.
    for sql in &statements {
        while worker.attempt(sql)? == Outcome::Refused {}
    }
    Ok(Outcome::Done)
}

fn views_and_triggers(worker: &mut Worker, number: u64) -> Result<Outcome> {
    let statements = [
        format!(
            "CREATE OR REPLACE VIEW {MAIN}.v_changing AS SELECT {number} AS version, COUNT(*) AS many FROM {MAIN}.t_swap"
        ),
        format!("DROP TRIGGER IF EXISTS {MAIN}.t_changing"),
        format!(
            "CREATE TRIGGER {MAIN}.t_changing BEFORE INSERT ON {MAIN}.t_rebuilt FOR EACH ROW SET NEW.k = NEW.k + {number}"
        ),
        format!("DROP PROCEDURE IF EXISTS {MAIN}.changing"),
        format!("CREATE PROCEDURE {MAIN}.changing() SELECT {number}"),
    ];
    all(worker, &statements)
}

fn other_engines(worker: &mut Worker, number: u64) -> Result<Outcome> {
    if !worker.common.shape.other_engines {
        return Ok(Outcome::Refused);
    }
    let engines: &[&str] = if worker.common.mariadb {
        &["MyISAM", "Aria", "CSV", "ARCHIVE"]
    } else {
        &["MyISAM", "CSV", "ARCHIVE"]
    };
    let engine = worker.random.pick(engines).copied().unwrap_or("MyISAM");
    let table = own(number);
    let mut statements = vec![
        format!("CREATE TABLE {table} (id INT NOT NULL, c VARCHAR(60) NOT NULL) ENGINE={engine}"),
        format!(
            "INSERT INTO {table} VALUES (1, {}), (2, {})",
            worker.random.words(30),
            worker.random.words(30)
        ),
    ];
    if worker.random.one_in(2) {
        statements.push(format!("ALTER TABLE {table} ENGINE=InnoDB"));
    }
    all(worker, &statements)
}

fn fulltext(worker: &mut Worker, _: u64) -> Result<Outcome> {
    if has_index(worker, "t_rebuilt", "ft")? {
        return all(worker, &[format!("ALTER TABLE {MAIN}.t_rebuilt DROP KEY ft")]);
    }
    all(worker, &[format!("ALTER TABLE {MAIN}.t_rebuilt ADD FULLTEXT KEY ft (c)")])
}

fn temporary(worker: &mut Worker, number: u64) -> Result<Outcome> {
    let statements = [
        format!(
            "CREATE TEMPORARY TABLE {MAIN}.d_temporary{number} (id INT PRIMARY KEY, c VARCHAR(50)) ENGINE=InnoDB"
        ),
        format!("INSERT INTO {MAIN}.d_temporary{number} VALUES (1, 'gone'), (2, 'soon')"),
        format!("DROP TEMPORARY TABLE {MAIN}.d_temporary{number}"),
    ];
    all(worker, &statements)
}

fn database(worker: &mut Worker, number: u64) -> Result<Outcome> {
    let name = format!("passing_{number}");
    let mut statements = vec![
        format!("CREATE DATABASE {name}"),
        format!("CREATE TABLE {name}.a (id INT PRIMARY KEY, c TEXT)"),
    ];
    statements.push(format!("INSERT INTO {name}.a VALUES (1, 'x')"));
    if worker.random.one_in(3) {
        statements.push(format!("RENAME TABLE {name}.a TO {}", own(number)));
    }
    statements.push(format!("DROP DATABASE {name}"));
    all(worker, &statements)
}

fn general_tablespace(worker: &mut Worker, number: u64) -> Result<Outcome> {
    if worker.common.mariadb {
        return Ok(Outcome::Refused);
    }
    let table = own(number);
    let statements = [
        format!("CREATE TABLESPACE passing_{number} ADD DATAFILE 'passing_{number}.ibd'"),
        format!("CREATE TABLE {table} (id INT PRIMARY KEY, c VARCHAR(50)) TABLESPACE passing_{number}"),
        format!("INSERT INTO {table} VALUES (1, 'moved'), (2, 'out')"),
        format!("ALTER TABLE {table} TABLESPACE innodb_file_per_table"),
        format!("DROP TABLESPACE passing_{number}"),
    ];
    all(worker, &statements)
}
