//! Changes to rows.

use std::sync::atomic::Ordering;

use anyhow::Result;

use super::random::Random;
use super::tables::{Kind, Table};
use super::{Common, Outcome, Worker};
use crate::session::Session;

/// One load row is about so many bytes without its big column.
const ROW_BYTES: u64 = 260;

/// Fills the tables by their shares.
pub fn load(session: &mut Session, common: &Common) -> Result<()> {
    let mut random = Random::new(common.shape.seed, 0);
    let shares: u64 = common.tables.iter().map(|table| table.share).sum();
    let all = u64::from(common.shape.mib) << 20;
    for table in &common.tables {
        let goal = all * table.share / shares.max(1);
        let mut bytes = 0;
        session.exec("BEGIN")?;
        while bytes < goal {
            let (sql, rows, added) = insert(table, &mut random, 40);
            session.exec(&sql)?;
            table.top.fetch_add(rows, Ordering::Relaxed);
            bytes += added;
        }
        session.exec("COMMIT")?;
    }
    for id in 0..200 {
        session.exec(&format!("INSERT INTO shop.f_parent VALUES ({id}, {})", random.words(40)))?;
        session.exec(&format!("INSERT INTO shop.x_accounts VALUES ({id}, 1000, '')"))?;
    }
    Ok(())
}

/// The session's life.
pub fn run(worker: &mut Worker) -> Result<()> {
    if worker.random.one_in(2) {
        worker.plain("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")?;
    }
    // A wait for a lock of the DDL session is no failure, but must not stop the load for long.
    worker.plain("SET SESSION innodb_lock_wait_timeout=5")?;
    while !worker.stopped() {
        match worker.random.below(20) {
            0 => family(worker)?,
            1 if worker.common.shape.other_engines => merge_insert(worker)?,
            2 => large_transaction(worker)?,
            3 if !worker.common.mariadb => general_tablespace(worker)?,
            3 => sequence(worker)?,
            4..=6 if worker.common.shape.other_engines => single(worker)?,
            _ => transaction(worker)?,
        }
    }
    Ok(())
}

/// The table of the list that a closure of the worker's may name while it also draws numbers.
fn choose(worker: &mut Worker, wanted: fn(Kind) -> bool) -> Option<usize> {
    let fitting: Vec<usize> = (0..worker.common.tables.len())
        .filter(|&at| worker.common.tables.get(at).is_some_and(|table| wanted(table.kind)))
        .collect();
    worker.random.pick(&fitting).copied()
}

/// Several statements on several tables, with savepoints and rollbacks.
fn transaction(worker: &mut Worker) -> Result<()> {
    worker.plain("BEGIN")?;
    let mut saved = false;
    for _ in 0..worker.random.between(1, 6) {
        let Some(at) = choose(worker, |kind| kind == Kind::InnoDb) else { break };
        if change(worker, at)? == Outcome::Refused {
            return worker.plain("ROLLBACK");
        }
        if worker.random.one_in(5) {
            worker.plain("SAVEPOINT here")?;
            saved = true;
        } else if saved && worker.random.one_in(4) {
            worker.plain("ROLLBACK TO SAVEPOINT here")?;
        }
    }
    let end = if worker.random.one_in(6) { "ROLLBACK" } else { "COMMIT" };
    worker.plain(end)
}

/// Many rows in one transaction: undo over many pages, half of the time rolled back.
fn large_transaction(worker: &mut Worker) -> Result<()> {
    worker.plain("BEGIN")?;
    let Some(at) = choose(worker, |kind| kind == Kind::InnoDb) else { return worker.plain("ROLLBACK") };
    let common = worker.common.clone();
    let Some(table) = common.tables.get(at) else { return worker.plain("ROLLBACK") };
    let from = worker.random.below(table.top());
    let sql = format!("UPDATE {} SET k = k + 1 WHERE id BETWEEN {from} AND {}", table.name, from + 400);
    if worker.attempt(&sql)? == Outcome::Refused {
        return worker.plain("ROLLBACK");
    }
    for _ in 0..6 {
        if change(worker, at)? == Outcome::Refused {
            return worker.plain("ROLLBACK");
        }
    }
    let end = if worker.random.one_in(2) { "ROLLBACK" } else { "COMMIT" };
    worker.plain(end)
}

/// One statement on a table that knows no transactions.
fn single(worker: &mut Worker) -> Result<()> {
    let Some(at) = choose(worker, |kind| kind != Kind::InnoDb) else { return Ok(()) };
    change(worker, at).map(|_| ())
}

fn change(worker: &mut Worker, at: usize) -> Result<Outcome> {
    let common = worker.common.clone();
    let Some(table) = common.tables.get(at) else { return Ok(Outcome::Refused) };
    let random = &mut worker.random;
    let name = &table.name;
    let from = random.between(1, table.top());
    let some = from + random.below(12);
    let choice = if table.kind == Kind::Append { 0 } else { random.below(14) };
    let sql = match choice {
        0..=4 => {
            let (sql, rows, _) = insert(table, random, 12);
            table.top.fetch_add(rows, Ordering::Relaxed);
            sql
        }
        5 => format!("UPDATE {name} SET k = k + 1 WHERE id BETWEEN {from} AND {some}"),
        6 => format!("UPDATE {name} SET c = {}, pad = {} WHERE id = {from}", random.words(60), pad(random)),
        7 => format!("UPDATE {name} SET big = {} WHERE id = {from}", big(random, table.big)),
        8 => format!(
            "UPDATE {name} SET big = NULL, n = {} WHERE id BETWEEN {from} AND {some}",
            random.below(1 << 28)
        ),
        9..=11 => format!("DELETE FROM {name} WHERE id BETWEEN {from} AND {some}"),
        12 if !table.spatial => {
            format!(
                "REPLACE INTO {name} (id, k, c) VALUES ({from}, {}, {})",
                random.below(1 << 20),
                random.words(60)
            )
        }
        _ if !table.spatial => format!(
            "INSERT INTO {name} (id, k, c) VALUES ({from}, {}, {}) ON DUPLICATE KEY UPDATE k = k + 10, c = 'twice'",
            random.below(1 << 20),
            random.words(60)
        ),
        _ => format!("UPDATE {name} SET g = {} WHERE id BETWEEN {from} AND {some}", point(random)),
    };
    worker.attempt(&sql)
}

/// An insert of up to `most` rows: the statement, how many rows, about how many bytes.
pub fn insert(table: &Table, random: &mut Random, most: u64) -> (String, u64, u64) {
    // Large values go in few at a time.
    let most = if table.big > 100_000 { 3 } else { most };
    let rows = random.between(1, most);
    let mut values = Vec::new();
    let mut bytes = 0;
    for _ in 0..rows {
        let k = random.below(1 << 20);
        let c = random.words(60);
        bytes += ROW_BYTES;
        if table.kind == Kind::Append {
            values.push(format!("({}, {k}, {c})", random.below(1 << 40)));
            continue;
        }
        let (value, size) =
            if random.one_in(3) { big_sized(random, table.big) } else { ("NULL".to_owned(), 0) };
        bytes += size;
        let n = random.below(1 << 28);
        let g = if table.spatial { format!(", {}", point(random)) } else { String::new() };
        values.push(format!("({k}, {c}, {}, {n}.{}, {value}{g})", pad(random), random.below(1000)));
    }
    let columns = match (table.kind, table.spatial) {
        (Kind::Append, _) => "id, k, c",
        (_, true) => "k, c, pad, n, big, g",
        (_, false) => "k, c, pad, n, big",
    };
    (format!("INSERT INTO {} ({columns}) VALUES {}", table.name, values.join(", ")), rows, bytes)
}

fn pad(random: &mut Random) -> String {
    let bytes = random.below(181) as usize;
    if random.one_in(8) { "NULL".to_owned() } else { random.hex(bytes) }
}

fn point(random: &mut Random) -> String {
    format!("ST_GeomFromText('POINT({} {})')", random.below(10_000), random.below(10_000))
}

fn big(random: &mut Random, most: u64) -> String {
    big_sized(random, most).0
}

/// Small values mostly, now and then one of many pages; every other one does not compress.
fn big_sized(random: &mut Random, most: u64) -> (String, u64) {
    let limit = if random.one_in(4) { most } else { most.min(2000) };
    let bytes = random.below(limit + 1);
    if random.one_in(2) && bytes <= 20_000 {
        (random.hex(bytes as usize), bytes)
    } else {
        (random.repeated(bytes), bytes)
    }
}

/// Parents and children; deleting a parent deletes its children below the binary log.
fn family(worker: &mut Worker) -> Result<()> {
    let parent = worker.random.below(250);
    let words = worker.random.words(40);
    let sql = match worker.random.below(5) {
        0 => format!("DELETE FROM shop.f_parent WHERE id = {parent}"),
        1 => format!("INSERT INTO shop.f_parent VALUES ({parent}, {words})"),
        2 => format!("DELETE FROM shop.f_child WHERE parent = {parent}"),
        _ => format!("INSERT INTO shop.f_child (parent, c) VALUES ({parent}, {words})"),
    };
    worker.attempt(&sql).map(|_| ())
}

fn merge_insert(worker: &mut Worker) -> Result<()> {
    let sql = format!(
        "INSERT INTO shop.o_merge VALUES ({}, {})",
        worker.random.below(1000),
        worker.random.words(40)
    );
    worker.attempt(&sql).map(|_| ())
}

fn sequence(worker: &mut Worker) -> Result<()> {
    worker
        .attempt("INSERT INTO shop.t_audit (what, which) SELECT 'number', NEXTVAL(shop.s_numbers)")
        .map(|_| ())
}

fn general_tablespace(worker: &mut Worker) -> Result<()> {
    let table = if worker.random.one_in(2) { "g_one" } else { "g_two" };
    let sql = format!("INSERT INTO shop.{table} (c) VALUES ({})", worker.random.words(60));
    worker.attempt(&sql).map(|_| ())
}
