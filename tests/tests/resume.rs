//! A backup that was interrupted in the middle of its copy: the next one uses what is still the same of it, and its set is
//! verified, restores, and catches up with the source like any other.

use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use reseed_tests::faults::{Pause, assert_nothing_left};
use reseed_tests::trip::{NAME, on_restored, pipe_into_client};
use reseed_tests::workload::{Shape, Workload};
use reseed_tests::{Finished, Kit, Reseed, Server, ServerKind, Trip, oracle, replication};
use serde_json::Value;

const MARIADB: &str = "mariadb-10.11";
const MYSQL: &str = "mysql-9.7";
/// The write at which a run ends early: about the thirtieth run of pages, of more than a hundred.
const NTH: u32 = 60;
/// The same for runs of which several follow each other.
const FEW: u32 = 24;
/// The same for an incremental set, which has fewer of them.
const INCREMENTAL_NTH: u32 = 20;
/// What the second run has of the first at least.
const LEAST: u64 = 8 << 20;

/// A server with a large table that nobody writes to, and others that the load does.
fn source(name: &str) -> Result<Option<(Server, Workload)>> {
    if !ServerKind::named(name)?.ensure()? {
        eprintln!("SKIPPED: {name} is not to be had");
        return Ok(None);
    }
    let server = Kit::server(name)?.start()?;
    let workload = Workload::prepare(&server, Shape { mib: 12, ..Shape::seeded(31) })?;
    server.sql(&[
        "CREATE DATABASE quiet",
        "CREATE TABLE quiet.t (id INT AUTO_INCREMENT PRIMARY KEY, c VARBINARY(1000)) ENGINE=InnoDB",
        "INSERT INTO quiet.t (c) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
         SELECT REPEAT(i % 10, 900) FROM n",
    ])?;
    for _ in 0..6 {
        server.sql(&["INSERT INTO quiet.t (c) SELECT c FROM quiet.t"])?;
    }
    let mut session = server.session()?;
    // All of it is in the file.
    session.exec("FLUSH TABLES quiet.t FOR EXPORT")?;
    session.exec("UNLOCK TABLES")?;
    drop(session);
    Ok(Some((server, workload)))
}

fn of_set(trip: &Trip, command: &str) -> Result<Reseed> {
    Ok(Reseed::new([command])?.arg("--repo").arg(trip.repo()).args(["--name", NAME]))
}

fn json(finished: &Finished) -> Result<Value> {
    Ok(serde_json::from_str(&finished.stdout)?)
}

/// Directories of runs that did not finish, as `list` tells them.
fn unfinished(trip: &Trip) -> Result<Vec<String>> {
    let listed = json(&of_set(trip, "list")?.arg("--json").run()?.expect_success()?)?;
    let unfinished = listed["servers"][0]["unfinished"].as_array().context("no list")?;
    Ok(unfinished.iter().filter_map(|left| Some(left["name"].as_str()?.to_owned())).collect())
}

fn kill(trip: &Trip, server: &Server, nth: u32, more: &[&str]) -> Result<()> {
    let failpoint = format!("io.write=kill@{nth}");
    let killed = trip.backup(server)?.args(more).env("RESEED_FAILPOINTS", failpoint).run()?;
    ensure!(killed.code.is_none(), "not killed: {killed:?}");
    Ok(())
}

/// Interrupted at the Nth write, by a signal. Gives what it said. `place` is of this one run.
fn interrupt(trip: &Trip, server: &Server, place: &str) -> Result<String> {
    let place = trip.place(place);
    std::fs::create_dir(&place)?;
    let pause = Pause::at_nth("io.write", NTH, &place);
    let mut run = pause.on(trip.backup(server)?).spawn()?;
    pause.wait(&mut run)?;
    run.signal(Signal::SIGINT)?;
    pause.let_go()?;
    Ok(run.wait()?.expect_code(130)?.stderr)
}

/// The next run uses something of the one before, says so, and leaves nothing else.
fn goes_on(trip: &Trip, server: &Server, more: &[&str]) -> Result<Value> {
    let left = unfinished(trip)?;
    ensure!(left.len() == 1, "left: {left:?}");
    let report = json(&trip.backup(server)?.arg("--json").args(more).run()?.expect_success()?)?;
    let reused = report["bytes_reused"].as_u64().context("no bytes_reused")?;
    println!("{}: {} MiB of the interrupted run's used again", server.kind().name, reused >> 20);
    let notes = report["notes"].to_string();
    ensure!(reused > 0 && notes.contains(&format!("{reused} bytes of the copied files")), "{report:#}");
    ensure!(notes.contains(&left[0]), "{notes}");
    ensure!(unfinished(trip)?.is_empty(), "left: {:?}", unfinished(trip)?);
    let id = report["id"].as_str().context("no id")?;
    let shown = json(&of_set(trip, "show")?.args([id, "--json"]).run()?.expect_success()?)?;
    ensure!(shown.to_string().contains("were used again"), "{shown:#}");
    of_set(trip, "verify")?.arg(id).run()?.expect_success()?;
    Ok(report)
}

/// The replica oracle on the newest set.
fn prove(trip: &Trip, source: &Server, datadir: &str) -> Result<Server> {
    let datadir = trip.place(datadir);
    trip.restore(&datadir)?.run()?.expect_success()?;
    let replica = on_restored(source, &datadir, 2).start()?;
    pipe_into_client(&replica, &trip.hand_over(source, &[])?)?;
    Ok(replica)
}

fn equals(source: &Server, replica: &Server) -> Result<()> {
    replication::wait_until_caught_up(source, replica)?;
    replication::assert_nothing_skipped(replica)?;
    let tables = oracle::assert_equal(source, replica)?;
    ensure!(tables > 20, "only {tables} tables");
    let complaints = replica.check_tables()?;
    ensure!(complaints.is_empty(), "CHECK TABLE: {complaints:?}");
    Ok(())
}

fn killed_under_load(name: &str) -> Result<()> {
    let Some((mut source, workload)) = source(name)? else { return Ok(()) };
    let running = workload.start()?;
    running.wait_for_statements(300)?;
    let trip = Trip::new()?;
    kill(&trip, &source, NTH, &[])?;
    assert_nothing_left_of(&source)?;
    running.wait_for_statements(300)?;
    let report = goes_on(&trip, &source, &[])?;
    ensure!(report["bytes_reused"].as_u64() >= Some(LEAST), "{report:#}");
    running.wait_for_statements(300)?;
    let mut replica = prove(&trip, &source, "restored")?;
    running.stop()?;
    equals(&source, &replica)?;
    replica.stop()?;
    source.stop()
}

/// The load goes on, so only its sessions may be there.
fn assert_nothing_left_of(server: &Server) -> Result<()> {
    server.sql(&[
        "SET SESSION lock_wait_timeout=60",
        "CREATE TABLE quiet.ddl (id INT PRIMARY KEY)",
        "DROP TABLE quiet.ddl",
    ])
}

#[test]
fn mariadb_killed_under_load() -> Result<()> {
    killed_under_load(MARIADB)
}

#[test]
fn mysql_killed_under_load() -> Result<()> {
    killed_under_load(MYSQL)
}

fn interrupted_twice(name: &str) -> Result<()> {
    let Some((mut source, workload)) = source(name)? else { return Ok(()) };
    let trip = Trip::new()?;
    for place in ["first", "second"] {
        let said = interrupt(&trip, &source, place)?;
        for words in ["No set was published", "What was copied stays", ".partial", "reseed expire"] {
            ensure!(said.contains(words), "no {words:?} in: {said}");
        }
        assert_nothing_left(&source)?;
        ensure!(unfinished(&trip)?.len() == 1, "left: {:?}", unfinished(&trip)?);
    }
    let report = goes_on(&trip, &source, &[])?;
    ensure!(report["bytes_reused"].as_u64() >= Some(LEAST), "{report:#}");
    // An incremental set, in the same way.
    let running = workload.start()?;
    running.wait_for_statements(600)?;
    running.stop()?;
    kill(&trip, &source, INCREMENTAL_NTH, &["--incremental"])?;
    let report = goes_on(&trip, &source, &["--incremental"])?;
    ensure!(report["kind"] == "incremental", "{report:#}");
    let mut replica = prove(&trip, &source, "restored")?;
    equals(&source, &replica)?;
    replica.stop()?;
    // What is not wanted any more can be removed.
    interrupt(&trip, &source, "third")?;
    let removed = of_set(&trip, "expire")?.arg("--keep-fulls=9").run()?.expect_success()?;
    ensure!(removed.stderr.contains(".partial"), "{removed:?}");
    ensure!(unfinished(&trip)?.is_empty(), "left: {:?}", unfinished(&trip)?);
    source.stop()
}

#[test]
fn mariadb_interrupted_twice() -> Result<()> {
    interrupted_twice(MARIADB)
}

#[test]
fn mysql_interrupted_twice() -> Result<()> {
    interrupted_twice(MYSQL)
}

/// How a run ends that is held somewhere while something happens to the server.
fn ended_by(
    server: &mut Server,
    trip: &Trip,
    (point, nth): (&str, u32),
    happens: impl FnOnce(&mut Server) -> Result<()>,
) -> Result<Finished> {
    let place = trip.place("held");
    std::fs::create_dir_all(&place)?;
    let pause = Pause::at_nth(point, nth, &place);
    let mut run = pause.on(trip.backup(server)?.arg("--lock-wait=2s")).spawn()?;
    pause.wait(&mut run)?;
    happens(server)?;
    pause.let_go()?;
    let finished = run.wait();
    std::fs::remove_dir_all(&place)?;
    finished
}

/// Another try is of use: the packs stay. A disk that is full, or data that is no good: nothing does.
fn stays_or_goes(name: &str) -> Result<()> {
    let Some((mut server, _)) = source(name)? else { return Ok(()) };
    let trip = Trip::new()?;
    let stays = |finished: &Finished| -> Result<()> {
        ensure!(finished.stderr.contains("What was copied stays"), "{finished:?}");
        ensure!(unfinished(&trip)?.len() == 1, "left: {:?}", unfinished(&trip)?);
        Ok(())
    };
    let killed = ended_by(&mut server, &trip, ("io.write", FEW), Server::kill)?;
    ensure!(!matches!(killed.code, Some(0) | None), "{killed:?}");
    stays(&killed)?;
    server.start()?;
    let restarted = ended_by(&mut server, &trip, ("io.write", FEW), Server::restart)?;
    ensure!(!matches!(restarted.code, Some(0) | None), "{restarted:?}");
    stays(&restarted)?;
    server.sql(&["CREATE TABLE quiet.m (id INT PRIMARY KEY) ENGINE=MyISAM"])?;
    let mut holder = server.session()?;
    let held =
        ended_by(&mut server, &trip, ("backup.lock", 1), |_| holder.exec("LOCK TABLES quiet.m WRITE"))?;
    stays(&held.expect_code(6)?)?;
    drop(holder);
    let report = goes_on(&trip, &server, &[])?;
    ensure!(report["bytes_reused"].as_u64() >= Some(LEAST), "{report:#}");

    interrupt(&trip, &server, "interrupted")?;
    let full = trip.backup(&server)?.env("RESEED_FAILPOINTS", format!("io.write=enospc@{FEW}")).run()?;
    ensure!(!full.expect_code(9)?.stderr.contains("stays"), "a full disk keeps what it has");
    ensure!(unfinished(&trip)?.is_empty(), "after a full disk: {:?}", unfinished(&trip)?);
    server.stop()?;
    let file = std::fs::OpenOptions::new().write(true).open(server.datadir().join("quiet/t.ibd"))?;
    file.write_all_at(b"this is no page of this table", 2000 * 16384 + 5000)?;
    server.start()?;
    trip.backup(&server)?.run()?.expect_code(8)?;
    ensure!(unfinished(&trip)?.is_empty(), "after a corrupt page: {:?}", unfinished(&trip)?);
    Ok(())
}

#[test]
fn mariadb_what_stays_and_what_goes() -> Result<()> {
    stays_or_goes(MARIADB)
}

#[test]
fn mysql_what_stays_and_what_goes() -> Result<()> {
    stays_or_goes(MYSQL)
}
