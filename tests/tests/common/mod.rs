//! One run of the replica oracle, shared by the flavours.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reseed_tests::faults::Pause;
use reseed_tests::trip::{on_restored, pipe_into_client};
use reseed_tests::workload::{Shape, Workload};
use reseed_tests::{Kit, Server, ServerKind, Trip, oracle, replication};

/// Tables whose counters only grow: neither truncated nor swapped by the load.
const COUNTED: [&str; 3] = ["t_dynamic", "t_compact", "t_lob"];

#[derive(Debug, Clone)]
pub struct ReplicaCase {
    pub server: &'static str,
    pub seed: u64,
    pub page_size: u32,
    pub gtid: bool,
    pub init: Vec<&'static str>,
    pub options: Vec<&'static str>,
    pub backup: Vec<&'static str>,
    pub restore: Vec<&'static str>,
    pub by_file_and_position: bool,
    /// Restores the same set a second time, redo applied by the server, and compares the rows.
    pub also_apply_by_server: bool,
    /// The redo log's size is changed twice while the backup copies.
    pub resize_redo: bool,
}

impl ReplicaCase {
    pub fn new(server: &'static str, seed: u64) -> ReplicaCase {
        ReplicaCase {
            server,
            seed,
            page_size: 16384,
            gtid: true,
            init: Vec::new(),
            options: Vec::new(),
            backup: Vec::new(),
            restore: Vec::new(),
            by_file_and_position: false,
            also_apply_by_server: false,
            resize_redo: false,
        }
    }

    pub fn run(&self) -> Result<()> {
        if !ServerKind::named(self.server)?.ensure()? {
            eprintln!("SKIPPED: {} is not to be had", self.server);
            return Ok(());
        }
        let mut source = self.source()?;
        let workload = Workload::prepare(&source, Shape::seeded(self.seed))?;
        let left = workload.leave_prepared(&source, 2)?;
        let counters = counters(&source)?;
        let running = workload.start()?;
        running.wait_for_statements(1500)?;

        let trip = Trip::new()?;
        let before = running.statements();
        // Slow enough for the load to change much of what was copied already.
        let copying = Pause::at("backup.copy", &trip.place(""));
        let backup = trip.backup(&source)?.arg("--rate=40M").args(&self.backup);
        let mut backup = if self.resize_redo { copying.on(backup) } else { backup }.spawn()?;
        if self.resize_redo {
            copying.wait(&mut backup)?;
            for mib in [48, 160] {
                source.sql(&[&format!("SET GLOBAL innodb_log_file_size={}", mib << 20)])?;
                running.wait_for_statements(300)?;
            }
            copying.let_go()?;
        }
        let backup = backup.wait()?.expect_success()?;
        let during = running.statements() - before;
        ensure!(during > 100, "only {during} statements while the backup ran");
        running.wait_for_statements(500)?;

        let datadir = trip.place("restored");
        let restore = trip.restore(&datadir)?.args(&self.restore).run()?.expect_success()?;
        let mut replica = on_restored(&source, &datadir, 2).start()?;
        println!("backup {:?}, restore {:?}, {during} statements meanwhile", backup.took, restore.took);
        ensure!(
            prepared(&replica)? == left,
            "prepared transactions: {:?}, not {left:?}",
            prepared(&replica)?
        );
        for (table, counter) in &counters {
            let now = counters_of(&replica, table)?;
            ensure!(now >= *counter, "the counter of {table} went back from {counter} to {now}");
        }
        if self.also_apply_by_server {
            self.compare_with_servers_apply(&trip, &source, &replica)?;
        }

        let more: &[&str] = if self.by_file_and_position { &["--position=file"] } else { &[] };
        pipe_into_client(&replica, &trip.hand_over(&source, more)?)?;
        // The load goes on while the replica catches up.
        running.wait_for_statements(1500)?;
        println!("{}: {:?}", self.server, running.stop()?);
        if let [first, second] = left.as_slice() {
            source.sql(&[&format!("XA COMMIT '{first}'"), &format!("XA ROLLBACK '{second}'")])?;
        }
        replication::wait_until_caught_up(&source, &replica)?;
        replication::assert_nothing_skipped(&replica)?;
        let tables = oracle::assert_equal(&source, &replica)?;
        ensure!(tables > 20, "only {tables} tables");
        ensure!(prepared(&replica)?.is_empty(), "still prepared: {:?}", prepared(&replica)?);
        for (which, server) in [("source", &source), ("replica", &replica)] {
            let complaints = server.check_tables()?;
            ensure!(complaints.is_empty(), "CHECK TABLE on the {which}: {complaints:?}");
        }
        end(&mut replica)?;
        end(&mut source)
    }

    fn source(&self) -> Result<Server> {
        let mut builder = Kit::server(self.server)?.page_size(self.page_size).gtid(self.gtid);
        for option in &self.init {
            builder = builder.init(option);
        }
        for option in &self.options {
            builder = builder.option(option);
        }
        builder.start()
    }

    /// The second opinion: the server's own recovery of the same set gives the same rows.
    fn compare_with_servers_apply(&self, trip: &Trip, source: &Server, native: &Server) -> Result<()> {
        let datadir = trip.place("by-server");
        trip.restore(&datadir)?.arg("--apply=server").run()?.expect_success()?;
        let mut recovered = on_restored(source, &datadir, 3).start()?;
        oracle::assert_equal(native, &recovered)
            .context("native apply and the server's own recovery differ")?;
        recovered.stop()
    }
}

fn end(server: &mut Server) -> Result<()> {
    server.stop()?;
    let lines = server.unexpected_log_lines();
    ensure!(lines.is_empty(), "unexpected lines in the log: {lines:#?}");
    Ok(())
}

/// Names of the prepared XA transactions, of those that the load left behind.
fn prepared(server: &Server) -> Result<Vec<String>> {
    let rows = server.rows("XA RECOVER")?;
    let mut names: Vec<String> = rows.into_iter().filter_map(|row| row.into_iter().nth(3)).collect();
    names.retain(|name| name.starts_with("left-"));
    names.sort();
    Ok(names)
}

fn counters(server: &Server) -> Result<BTreeMap<&'static str, u64>> {
    COUNTED.into_iter().map(|table| Ok((table, counters_of(server, table)?))).collect()
}

fn counters_of(server: &Server, table: &str) -> Result<u64> {
    let row = server.rows(&format!("SHOW CREATE TABLE shop.{table}"))?;
    let text = row.first().and_then(|row| row.get(1)).cloned().unwrap_or_default();
    let digits: String = text
        .split_once("AUTO_INCREMENT=")
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect())
        .unwrap_or_default();
    Ok(digits.parse().unwrap_or(0))
}
