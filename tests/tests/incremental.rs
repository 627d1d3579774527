//! Chains of incremental backups, taken under DML and DDL: a restore of any of them passes the replica oracle, and
//! equals what the server's own recovery of the same set gives. A server with other data gets a full backup.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reseed_tests::trip::{NAME, on_restored, pipe_into_client};
use reseed_tests::workload::{Shape, Workload};
use reseed_tests::{Kit, Reseed, Server, ServerKind, Trip, oracle, replication};
use serde_json::Value;

#[derive(Debug, Clone, Copy)]
struct Case {
    server: &'static str,
    seed: u64,
    page_size: u32,
    incrementals: usize,
    /// Every set of this number and its multiples is restored, and the last one.
    prove_each: usize,
}

/// Statements of the load between two backups.
const BETWEEN: u64 = 40;

fn skip(server: &str) -> Result<bool> {
    let skip = !ServerKind::named(server)?.ensure()?;
    if skip {
        eprintln!("SKIPPED: {server} is not to be had");
    }
    Ok(skip)
}

impl Case {
    fn run(self) -> Result<()> {
        if skip(self.server)? {
            return Ok(());
        }
        let mut source = Kit::server(self.server)?.page_size(self.page_size).start()?;
        let workload = Workload::prepare(&source, Shape { mib: 12, ..Shape::seeded(self.seed) })?;
        let running = workload.start()?;
        running.wait_for_statements(300)?;
        let trip = Trip::new()?;
        let full = backup(&trip, &source, &[])?;
        let mut sets = vec![full];
        for number in 1..=self.incrementals {
            running.wait_for_statements(BETWEEN)?;
            let set = backup(&trip, &source, &["--incremental"])?;
            ensure!(set["kind"] == "incremental", "{set:#}");
            ensure!(set["parent"] == sets[number - 1]["id"], "{set:#}");
            sets.push(set);
        }
        println!("stored: {:?}", sets.iter().map(|set| set["bytes_stored"].as_u64()).collect::<Vec<_>>());
        running.stop()?;
        let last = sets.len() - 1;
        for (number, set) in sets.iter().enumerate().skip(1) {
            if number == last || number % self.prove_each == 0 {
                prove(&trip, &source, id(set)?, number == last)
                    .with_context(|| format!("set {number} of the chain"))?;
            }
        }
        let shown = of_set(&trip, "show", id(&sets[last])?)?.arg("--json").run()?.expect_success()?;
        let chain = serde_json::from_str::<Value>(&shown.stdout)?["chain"].clone();
        let ids: Vec<Value> = sets.iter().map(|set| set["id"].clone()).collect();
        ensure!(chain == Value::from(ids), "{chain:#}");
        let shown = of_set(&trip, "show", id(&sets[last])?)?.run()?.expect_success()?;
        let words = format!("{} and {last} incremental set", id(&sets[0])?);
        ensure!(shown.stdout.contains(&words), "{}", shown.stdout);
        let verified = of_set(&trip, "verify", id(&sets[last])?)?.arg("--pages").run()?;
        verified.expect_success()?;
        source.stop()
    }
}

/// The JSON document of a backup.
fn backup(trip: &Trip, source: &Server, more: &[&str]) -> Result<Value> {
    let finished = trip.backup(source)?.arg("--json").args(more).run()?.expect_success()?;
    Ok(serde_json::from_str(&finished.stdout)?)
}

fn id(set: &Value) -> Result<&str> {
    set["id"].as_str().context("no id")
}

fn notes(set: &Value) -> String {
    set["notes"].to_string()
}

fn of_set(trip: &Trip, command: &str, id: &str) -> Result<Reseed> {
    Ok(Reseed::new([command])?.arg("--repo").arg(trip.repo()).args(["--name", NAME, id]))
}

fn restore(trip: &Trip, id: &str, datadir: &Path) -> Result<Reseed> {
    Ok(of_set(trip, "restore", id)?.arg("--datadir").arg(datadir))
}

/// The replica oracle on one set. The load has ended; the replica catches up with all of it that came after the set.
fn prove(trip: &Trip, source: &Server, id: &str, by_server: bool) -> Result<()> {
    let datadir = trip.place(&format!("restored-{id}"));
    restore(trip, id, &datadir)?.run()?.expect_success()?;
    let mut replica = on_restored(source, &datadir, 2).start()?;
    if by_server {
        let datadir = trip.place("by-server");
        restore(trip, id, &datadir)?.arg("--apply=server").run()?.expect_success()?;
        let mut recovered = on_restored(source, &datadir, 3).start()?;
        oracle::assert_equal(&replica, &recovered).context("native apply and the server's own differ")?;
        recovered.stop()?;
    }
    let statements = of_set(trip, "hand-over", id)?
        .args(["--source-host", "127.0.0.1", "--source-user", reseed_tests::server::REPLICATION_USER])
        .args(["--source-port", &source.port().to_string()])
        .env("RESEED_SOURCE_PASSWORD", reseed_tests::server::REPLICATION_PASSWORD)
        .run()?
        .expect_success()?;
    pipe_into_client(&replica, &statements.stdout)?;
    replication::wait_until_caught_up(source, &replica)?;
    replication::assert_nothing_skipped(&replica)?;
    oracle::assert_equal(source, &replica)?;
    let complaints = replica.check_tables()?;
    ensure!(complaints.is_empty(), "CHECK TABLE: {complaints:?}");
    replica.stop()?;
    std::fs::remove_dir_all(&datadir).context("cannot remove the restored datadir")
}

#[test]
fn mariadb_10_11_a_full_and_24_incrementals() -> Result<()> {
    Case { server: "mariadb-10.11", seed: 11, page_size: 16384, incrementals: 24, prove_each: 5 }.run()
}

#[test]
fn mysql_9_7_a_full_and_24_incrementals() -> Result<()> {
    Case { server: "mysql-9.7", seed: 12, page_size: 16384, incrementals: 24, prove_each: 5 }.run()
}

#[test]
fn mariadb_10_5_pages_of_4k() -> Result<()> {
    Case { server: "mariadb-10.5", seed: 13, page_size: 4096, incrementals: 3, prove_each: 3 }.run()
}

#[test]
fn mariadb_11_8_pages_of_64k() -> Result<()> {
    Case { server: "mariadb-11.8", seed: 14, page_size: 65536, incrementals: 3, prove_each: 3 }.run()
}

#[test]
fn a_restored_server_gets_a_full_backup_and_is_told_why() -> Result<()> {
    if skip("mariadb-10.5")? {
        return Ok(());
    }
    let mut source = Kit::server("mariadb-10.5")?.start()?;
    source.sql(&[
        "CREATE DATABASE d",
        "CREATE TABLE d.t (a INT PRIMARY KEY)",
        "INSERT INTO d.t VALUES (1)",
    ])?;
    let trip = Trip::new()?;
    let first = backup(&trip, &source, &["--type=auto"])?;
    ensure!(first["kind"] == "full" && notes(&first).contains("the first of this name"), "{first:#}");
    source.sql(&["INSERT INTO d.t VALUES (2)"])?;
    let second = backup(&trip, &source, &["--type=auto", "--full-after=1"])?;
    ensure!(second["kind"] == "incremental", "{second:#}");
    let third = backup(&trip, &source, &["--type=auto", "--full-after=1"])?;
    ensure!(third["kind"] == "full" && notes(&third).contains("incremental sets build on"), "{third:#}");
    source.stop()?;

    let datadir = trip.place("restored");
    restore(&trip, id(&second)?, &datadir)?.run()?.expect_success()?;
    let mut restored = on_restored(&source, &datadir, 1).start()?;
    ensure!(restored.value("SELECT COUNT(*) FROM d.t")? == "2");
    // Past the LSN of all sets: only that the files are others can tell.
    restored.sql(&[
        "CREATE TABLE d.u WITH RECURSIVE n AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM n WHERE a < 200) \
         SELECT x.a, REPEAT('x', 200) AS filler FROM n x, n y",
    ])?;
    let fourth = backup(&trip, &restored, &["--incremental"])?;
    ensure!(fourth["kind"] == "full", "{fourth:#}");
    ensure!(notes(&fourth).contains("cannot be built on"), "{fourth:#}");
    let refused = trip.backup(&restored)?.args(["--parent", id(&third)?]).run()?.expect_code(2)?;
    ensure!(refused.stderr.contains("cannot be built on"), "{}", refused.stderr);
    restored.stop()
}

#[test]
fn a_chain_with_a_gap_is_refused_by_name() -> Result<()> {
    if skip("mariadb-10.11")? {
        return Ok(());
    }
    let mut source = Kit::server("mariadb-10.11")?.start()?;
    let trip = Trip::new()?;
    let full = backup(&trip, &source, &[])?;
    source.sql(&["CREATE DATABASE d"])?;
    let second = backup(&trip, &source, &["--incremental"])?;
    source.stop()?;
    std::fs::remove_dir_all(trip.repo().join(NAME).join(id(&full)?))?;
    let refused = restore(&trip, id(&second)?, &trip.place("data"))?.run()?;
    ensure!(refused.code != Some(0) && refused.stderr.contains(id(&full)?), "{refused:?}");
    of_set(&trip, "verify", id(&second)?)?.run()?.expect_code(10)?;
    Ok(())
}
