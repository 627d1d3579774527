//! `backup --safe` on a replica of a source that writes statements and has temporary tables open: the applier stands
//! still only when they are closed, and always runs again, whatever became of the backup.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use reseed_tests::faults::{Pause, assert_nothing_left};
use reseed_tests::server::REPLICATION_PASSWORD;
use reseed_tests::trip::{NAME, on_restored, pipe_into_client};
use reseed_tests::{Kit, Reseed, Server, ServerKind, Session, Trip, oracle, replication};

const LIMIT: Duration = Duration::from_secs(120);
const FAILED: i32 = 1;
const LOCK_WAIT: i32 = 6;

struct Pair {
    source: Server,
    replica: Server,
}

impl Pair {
    fn start(name: &str) -> Result<Pair> {
        let mariadb = ServerKind::named(name)?.is_mariadb();
        let start = |id| {
            let builder = Kit::server(name)?.server_id(id).redo_mib(48).option("binlog_format=STATEMENT");
            if mariadb { builder.option("log_slave_updates=ON") } else { builder }.start()
        };
        let (source, replica) = (start(1)?, start(2)?);
        source.sql(&[
            "CREATE DATABASE d",
            "CREATE TABLE d.t (id INT PRIMARY KEY, c VARCHAR(40)) ENGINE=InnoDB",
            "INSERT INTO d.t VALUES (1, 'one')",
        ])?;
        let statements = replication::from_the_beginning(&source);
        replica.sql(&statements.iter().map(String::as_str).collect::<Vec<_>>())?;
        replication::wait_until_caught_up(&source, &replica)?;
        Ok(Pair { source, replica })
    }

    /// A session with a temporary table.
    fn temporary_table(&self, id: u32) -> Result<Session> {
        let mut session = self.source.session()?;
        session.exec("USE d")?;
        session.exec("CREATE TEMPORARY TABLE passing (id INT PRIMARY KEY, c VARCHAR(40)) ENGINE=InnoDB")?;
        session.exec(&format!("INSERT INTO passing VALUES ({id}, 'by way of a temporary table')"))?;
        Ok(session)
    }

    /// Waits until the replica has it open, too.
    fn wait_for_temporary_table(&self) -> Result<()> {
        let open = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slave_open_temp_tables', 'Replica_open_temp_tables') \
                    AND Value > 0";
        let since = Instant::now();
        while self.replica.rows(open)?.is_empty() {
            ensure!(since.elapsed() < LIMIT, "the temporary table never came to the replica");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn applier_runs(&self) -> Result<bool> {
        let status = replication::status(&mut self.replica.session()?, self.replica.kind().is_mariadb())?;
        Ok(status.get("Replica_SQL_Running").is_some_and(|running| running == "Yes"))
    }

    fn safe(&self, trip: &Trip) -> Result<Reseed> {
        Ok(trip.backup(&self.replica)?.args(["--safe", "--compress=none", "--no-read-back"]))
    }
}

/// The table is used once more and closed.
fn close(mut session: Session) -> Result<()> {
    session.exec("INSERT INTO t SELECT id, c FROM passing")?;
    session.exec("DROP TEMPORARY TABLE passing")
}

fn waits_for_temporary_tables(name: &str) -> Result<()> {
    if !ServerKind::named(name)?.ensure()? {
        eprintln!("SKIPPED: {name} is not to be had");
        return Ok(());
    }
    let pair = Pair::start(name)?;
    let trip = Trip::new()?;

    // Past the limit it is given up, and the applier runs.
    let session = pair.temporary_table(100)?;
    pair.wait_for_temporary_table()?;
    let given_up = pair.safe(&trip)?.arg("--lock-wait=1s").run()?.expect_code(LOCK_WAIT)?;
    ensure!(given_up.stderr.contains("1 temporary tables open after 1 s"), "{}", given_up.stderr);
    ensure!(pair.applier_runs()?, "after the backup was given up");
    ensure!(trip.sets()?.is_empty());
    // Without --safe the set says what it lacks.
    let plain = trip.backup(&pair.replica)?.arg("--compress=none").run()?.expect_success()?;
    ensure!(plain.stderr.contains("1 temporary tables open"), "{}", plain.stderr);
    let check = Reseed::new(["check", "--server"])?.to(&pair.replica).run()?;
    ensure!(check.stdout.contains("temporary-tables"), "{}\n{}", check.stdout, check.stderr);

    // It waits until they are closed, and holds the applier then.
    let still = Pause::at("backup.applier", &trip.place(""));
    let mut run = still.on(pair.safe(&trip)?).spawn()?;
    close(session)?;
    still.wait(&mut run)?;
    ensure!(!pair.applier_runs()?, "the applier was to stand still");
    // What the source does now is another backup's.
    let session = pair.temporary_table(200)?;
    still.let_go()?;
    run.wait()?.expect_success()?;
    ensure!(pair.applier_runs()?, "after the backup");
    close(session)?;

    // What was made from it meets no temporary table that it lacks.
    let datadir = trip.place("restored");
    trip.restore(&datadir)?.run()?.expect_success()?;
    let beside = on_restored(&pair.replica, &datadir, 3).start()?;
    let script = Reseed::new(["hand-over", "--name", NAME, "latest", "--of", "source", "--repo"])?
        .arg(trip.repo())
        .env("RESEED_SOURCE_PASSWORD", REPLICATION_PASSWORD)
        .run()?
        .expect_success()?
        .stdout;
    pipe_into_client(&beside, &script)?;
    for server in [&pair.replica, &beside] {
        replication::wait_until_caught_up(&pair.source, server)?;
        replication::assert_nothing_skipped(server)?;
        oracle::assert_equal(&pair.source, server)?;
    }
    ensure!(beside.value("SELECT COUNT(*) FROM d.t")? == "3");
    failures(&pair)
}

/// The applier runs again after each of them; a killed run is found by the next one and by `check`.
fn failures(pair: &Pair) -> Result<()> {
    let trip = Trip::new()?;
    for point in ["backup.applier", "backup.copy", "backup.lock", "backup.coordinates"] {
        let run = pair.safe(&trip)?.env("RESEED_FAILPOINTS", format!("{point}=error")).run()?;
        run.expect_code(FAILED)?;
        ensure!(pair.applier_runs()?, "after a failure at {point}");
    }
    let still = Pause::at("backup.applier", &trip.place("."));
    let mut run = still.on(pair.safe(&trip)?).spawn()?;
    still.wait(&mut run)?;
    run.signal(Signal::SIGINT)?;
    still.let_go()?;
    ensure!(run.wait()?.code != Some(0), "an interrupted run");
    ensure!(pair.applier_runs()?, "after an interrupt");

    // Every session of the run is killed, that too which is to start the applier again.
    let still = Pause::at("backup.coordinates", &trip.place(""));
    let mut run = still.on(pair.safe(&trip)?).spawn()?;
    still.wait(&mut run)?;
    let mut session = pair.replica.session()?;
    let ours = session.rows(
        "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = 'root'",
    )?;
    ensure!(!ours.is_empty(), "the run has sessions");
    for id in ours.iter().flatten() {
        if let Err(error) = session.exec(&format!("KILL {id}")) {
            // One that has ended by itself meanwhile is gone as well.
            ensure!(format!("{error:#}").contains("1094"), "{error:#}");
        }
    }
    drop(session);
    still.let_go()?;
    run.wait()?.expect_code(FAILED)?;
    ensure!(pair.applier_runs()?, "after its sessions were killed");
    ensure!(trip.sets()?.is_empty(), "published: {:?}", trip.sets()?);

    let killed = pair.safe(&trip)?.env("RESEED_FAILPOINTS", "backup.applier=kill").run()?;
    ensure!(killed.code != Some(0));
    assert_nothing_left(&pair.replica)?;
    ensure!(!pair.applier_runs()?, "nobody was left to start the applier");
    let check = Reseed::new(["check", "--server"])?.to(&pair.replica).run()?;
    ensure!(check.stdout.contains("a backup --safe that was killed"), "{}\n{}", check.stdout, check.stderr);
    let next = pair.safe(&trip)?.run()?.expect_success()?;
    ensure!(next.stderr.contains("was stopped when the backup began"), "{}", next.stderr);
    ensure!(!pair.applier_runs()?, "what somebody else stopped is not started");
    Ok(())
}

#[test]
fn mariadb_10_11_waits_for_temporary_tables() -> Result<()> {
    waits_for_temporary_tables("mariadb-10.11")
}

#[test]
fn mysql_9_7_waits_for_temporary_tables() -> Result<()> {
    waits_for_temporary_tables("mysql-9.7")
}
