//! Redo that the server overwrites before it was read: no set, exit code 7, and the server never waits for a backup
//! longer than it was allowed to.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reseed_tests::faults::{Pause, assert_nothing_left};
use reseed_tests::workload::{Shape, Workload};
use reseed_tests::{Kit, Server, Trip, trip};

/// Redo that is written while nobody reads it: several times what the log holds.
const WRITTEN: u64 = 40 << 20;
/// A write that waits longer than this was held up by the backup, whatever the machine is busy with.
const HELD_FOREVER: Duration = Duration::from_secs(120);

fn small_log(name: &str, mib: u32) -> Result<Server> {
    let server = Kit::server(name)?.redo_mib(mib).start()?;
    server.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, c LONGBLOB) ENGINE=InnoDB",
    ])?;
    Ok(server)
}

fn lsn(server: &Server) -> Result<u64> {
    let name = if server.kind().is_mariadb() { "Innodb_lsn_current" } else { "Innodb_redo_log_current_lsn" };
    let rows = server.rows(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))?;
    let value = rows.first().and_then(|row| row.get(1)).context("no LSN in the status")?;
    Ok(value.parse()?)
}

/// Writes until the log has gone round several times; the longest that a write took.
fn overwrite(server: &Server) -> Result<Duration> {
    let goal = lsn(server)? + WRITTEN;
    let mut longest = Duration::ZERO;
    while lsn(server)? < goal {
        let since = Instant::now();
        server.sql(&["INSERT INTO shop.t (c) VALUES (REPEAT('x', 400000))", "DELETE FROM shop.t"])?;
        longest = longest.max(since.elapsed());
    }
    Ok(longest)
}

/// The follower is held while the server writes, and with it the copy, which would wait for it with a limit; then both
/// are let go.
fn overrun(server: &Server, more: &[&str]) -> Result<(Trip, Duration)> {
    let trip = Trip::new()?;
    let pause = Pause::at("backup.redo", &trip.place(""));
    let mut run = pause.on_also(trip.backup(server)?.args(more), &["backup.copy"]).spawn()?;
    pause.wait(&mut run)?;
    let longest = overwrite(server)?;
    pause.let_go()?;
    let finished = run.wait()?.expect_code(7)?;
    for word in ["redo", "LSN", "MiB"] {
        ensure!(finished.stderr.contains(word), "no {word:?} in the message:\n{}", finished.stderr);
    }
    ensure!(trip.sets()?.is_empty(), "published: {:?}", trip.sets()?);
    assert_nothing_left(server)?;
    Ok((trip, longest))
}

fn next_run_is_good(trip: &Trip, server: &Server) -> Result<()> {
    trip.backup(server)?.run()?.expect_success()?;
    ensure!(trip.sets()?.len() == 1, "{:?}", trip.sets()?);
    Ok(())
}

#[test]
fn mariadb_10_5_overwrites_its_blocks() -> Result<()> {
    if !reseed_tests::ServerKind::named("mariadb-10.5")?.ensure()? {
        eprintln!("SKIPPED: mariadb-10.5 is not to be had");
        return Ok(());
    }
    let server = small_log("mariadb-10.5", 10)?;
    let (trip, _) = overrun(&server, &[])?;
    next_run_is_good(&trip, &server)
}

#[test]
fn mariadb_11_8_overwrites_its_ring() -> Result<()> {
    let server = small_log("mariadb-11.8", 10)?;
    let (trip, _) = overrun(&server, &[])?;
    next_run_is_good(&trip, &server)
}

#[test]
fn mysql_recycles_its_files_when_there_is_no_consumer() -> Result<()> {
    let server = small_log("mysql-9.7", 8)?;
    let (trip, _) = overrun(&server, &["--stall-budget=0s"])?;
    next_run_is_good(&trip, &server)
}

#[test]
fn mysql_is_let_go_when_the_stall_budget_is_spent() -> Result<()> {
    let server = small_log("mysql-9.7", 8)?;
    let (trip, longest) = overrun(&server, &["--stall-budget=1s"])?;
    println!("the longest write took {longest:?}");
    ensure!(longest < HELD_FOREVER, "a write was held for {longest:?}");
    next_run_is_good(&trip, &server)
}

#[test]
fn mysql_with_a_consumer_backs_up_slowly_in_a_small_log() -> Result<()> {
    let server = Kit::server("mysql-9.7")?.redo_mib(8).start()?;
    let workload = Workload::prepare(&server, Shape { mib: 8, ..Shape::seeded(8) })?;
    let running = workload.start()?;
    let trip = Trip::new()?;
    // A budget that a follower starved by a busy machine does not spend; what it did spend is in the report.
    let budget = 20.0;
    let finished = trip
        .backup(&server)?
        .args(["--rate=8M", "--json", &format!("--stall-budget={budget}s")])
        .run()?
        .expect_success()?;
    running.stop()?;
    let report: serde_json::Value = serde_json::from_str(&finished.stdout)?;
    let notes = report.get("notes").context("no notes in the report")?.to_string();
    println!("{notes}");
    ensure!(!notes.contains("given up") && !notes.contains("was lost"), "the consumer ended early: {notes}");
    let datadir = trip.place("restored");
    trip.restore(&datadir)?.run()?.expect_success()?;
    let restored = trip::on_restored(&server, &datadir, 2).start()?;
    ensure!(restored.check_tables()?.is_empty(), "{:?}", restored.check_tables()?);
    assert_nothing_left(&server)
}
