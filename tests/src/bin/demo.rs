//! `cargo xtask demo`: the main job for real, on a real server, with every step shown and timed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reseed_tests::trip::{on_restored, pipe_into_client};
use reseed_tests::workload::{Shape, Workload};
use reseed_tests::{Kit, Trip, oracle, replication};

fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "mariadb-11.8".to_owned());
    let mut steps = Steps::default();

    let source = Kit::server(&name)?.start()?;
    let version = source.value("SELECT VERSION()")?;
    steps.done(&format!("start a source: {version}"));
    let workload = Workload::prepare(&source, Shape { mib: 64, ..Shape::seeded(20) })?;
    let bytes = source.value(
        "SELECT ROUND(SUM(data_length + index_length) / 1048576) FROM information_schema.tables \
         WHERE table_schema = 'shop'",
    )?;
    steps.done(&format!("create tables of every kind: {bytes} MiB"));
    let running = workload.start()?;
    running.wait_for_statements(1000)?;
    steps.done("put it under load: inserts, updates, deletes, rollbacks, XA, and a storm of DDL");

    let trip = Trip::new()?;
    let before = running.statements();
    // A local disk would be done before the load has changed anything.
    let backup = trip.backup(&source)?.arg("--rate=32M").run()?.expect_success()?;
    steps.done(&format!(
        "reseed backup --rate=32M ({} statements were carried out meanwhile)",
        running.statements() - before
    ));
    show(&backup.stderr);

    let datadir = trip.place("restored");
    let restore = trip.restore(&datadir)?.run()?.expect_success()?;
    steps.done("reseed restore");
    show(&restore.stderr);

    let mut replica = on_restored(&source, &datadir, 2).start()?;
    steps.done("start a server on the restored datadir");
    let statements = trip.hand_over(&source, &[])?;
    pipe_into_client(&replica, &statements)?;
    steps.done("reseed hand-over, piped into the restored server's client");
    for line in statements.lines().filter(|line| !line.contains("PASSWORD")) {
        println!("        {line}");
    }

    let before = running.statements();
    replication::wait_until_caught_up(&source, &replica)?;
    steps.done(&format!(
        "catch up with where the source was ({} statements came meanwhile)",
        running.statements() - before
    ));
    let counts = running.stop()?;
    replication::wait_until_caught_up(&source, &replica)?;
    replication::assert_nothing_skipped(&replica)?;
    steps.done(&format!(
        "stop the load ({} statements in all, {} of them DDL) and let the replica apply the rest",
        counts.statements,
        counts.ddl.values().sum::<u64>()
    ));

    let tables = oracle::assert_equal(&source, &replica).context("source and replica differ")?;
    steps.done("compare the checksum and the definition of every table");
    let complaints = replica.check_tables()?;
    ensure!(complaints.is_empty(), "CHECK TABLE: {complaints:?}");
    steps.done("CHECK TABLE … EXTENDED on every table of the replica");
    replica.stop()?;
    println!("EQUAL: {tables} tables");
    Ok(())
}

/// Prints each step with its time.
#[derive(Debug)]
struct Steps {
    last: Instant,
    number: u32,
}

impl Default for Steps {
    fn default() -> Steps {
        Steps { last: Instant::now(), number: 0 }
    }
}

impl Steps {
    fn done(&mut self, what: &str) {
        let took: Duration = self.last.elapsed();
        self.number += 1;
        println!("{:2}. {:6.1} s  {what}", self.number, took.as_secs_f64());
        self.last = Instant::now();
    }
}

fn show(text: &str) {
    for line in text.lines() {
        println!("        {line}");
    }
}
