//! `reseed verify --restore-test`: a server is started on what a set restores to, and nothing is left of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use reseed_tests::faults::Pause;
use reseed_tests::trip::NAME;
use reseed_tests::{Finished, Kit, Reseed, Server, Trip};
use serde_json::Value;

const MARIADB: &str = "mariadb-10.11";
const MYSQL: &str = "mysql-9.7";

/// On MariaDB: pages that are not of the usual size, and a system tablespace of two files: neither is a server's default.
fn backed_up(name: &str) -> Result<(Server, Trip)> {
    let kit = Kit::server(name)?;
    let mut server = match name {
        MARIADB => {
            kit.page_size(8192).init("innodb_data_file_path=ibdata1:12M;ibdata2:12M:autoextend").start()?
        }
        _ => kit.start()?,
    };
    server.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, c VARBINARY(1000)) ENGINE=InnoDB",
        "INSERT INTO shop.t (c) VALUES (REPEAT('x', 900)), (REPEAT('y', 900))",
        "CREATE TABLE shop.m (id INT PRIMARY KEY, c VARCHAR(100)) ENGINE=MyISAM",
        "INSERT INTO shop.m VALUES (1, 'one'), (2, 'two'), (3, 'three')",
    ])?;
    server.restart()?;
    let trip = Trip::new()?;
    trip.backup(&server)?.run()?.expect_success()?;
    fs::create_dir(trip.place("scratch"))?;
    Ok((server, trip))
}

fn verify(trip: &Trip, server: &Server) -> Result<Reseed> {
    Ok(Reseed::new(["verify", "--name", NAME, "latest", "--restore-test"])?
        .arg("--repo")
        .arg(trip.repo())
        .arg("--scratch")
        .arg(trip.place("scratch"))
        .arg("--server-binary")
        .arg(server.kind().daemon()))
}

fn nothing_left(trip: &Trip) -> Result<()> {
    let names: Vec<_> =
        fs::read_dir(trip.place("scratch"))?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(names.is_empty(), "left over: {names:?}");
    Ok(())
}

fn result(finished: &Finished) -> Result<Value> {
    let document: Value = serde_json::from_str(&finished.stdout)?;
    document["sets"].get(0).cloned().context("no result")
}

/// The state of the newest set as `list` shows it.
fn listed(trip: &Trip) -> Result<Value> {
    let list = Reseed::new(["list", "--json", "--repo"])?.arg(trip.repo()).run()?.expect_success()?;
    let document: Value = serde_json::from_str(&list.stdout)?;
    let sets = document["servers"][0]["sets"].as_array().context("no sets")?;
    sets.last().cloned().context("no set")
}

fn a_good_and_a_broken_one(name: &str) -> Result<()> {
    let (mut server, trip) = backed_up(name)?;
    verify(&trip, &server)?.run()?.expect_success()?;
    nothing_left(&trip)?;
    ensure!(listed(&trip)?["verified"]["level"] == "restore-test", "{}", listed(&trip)?);
    // It is known now, and not done again.
    let again = verify(&trip, &server)?.args(["--since=1d", "--json"]).run()?.expect_success()?;
    ensure!(result(&again)?["skipped"] == true, "{}", again.stdout);

    // A table that is broken on the source is copied as it is; only a server can tell.
    server.stop()?;
    let rows = server.datadir().join("shop/m.MYD");
    let length = fs::metadata(&rows)?.len();
    fs::OpenOptions::new().write(true).open(&rows)?.set_len(length / 2)?;
    server.start()?;
    trip.backup(&server)?.run()?.expect_success()?;
    let found = verify(&trip, &server)?.arg("--json").run()?.expect_code(10)?;
    ensure!(result(&found)?["findings"].to_string().contains("shop.m"), "{}", found.stdout);
    nothing_left(&trip)?;
    ensure!(listed(&trip)?["restorable"] == false, "{}", listed(&trip)?);
    Ok(())
}

#[test]
fn on_mariadb() -> Result<()> {
    a_good_and_a_broken_one(MARIADB)
}

#[test]
fn on_mysql() -> Result<()> {
    a_good_and_a_broken_one(MYSQL)
}

#[test]
fn a_run_that_is_killed_leaves_what_the_next_one_removes() -> Result<()> {
    let (server, trip) = backed_up(MARIADB)?;
    let pause = Pause::at("restore.rename", &trip.place(""));
    let mut run = pause.on(verify(&trip, &server)?).spawn()?;
    pause.wait(&mut run)?;
    run.signal(nix::sys::signal::Signal::SIGKILL)?;
    ensure!(run.wait()?.code.is_none(), "it was not killed");
    ensure!(nothing_left(&trip).is_err(), "the test tests nothing");
    verify(&trip, &server)?.run()?.expect_success()?;
    nothing_left(&trip)
}

#[test]
fn a_server_that_does_not_fit_or_is_none() -> Result<()> {
    let (server, trip) = backed_up(MARIADB)?;
    let with = |binary: &Path| -> Result<Finished> {
        Reseed::new(["verify", "--name", NAME, "latest", "--restore-test", "--repo"])?
            .arg(trip.repo())
            .arg("--scratch")
            .arg(trip.place("scratch"))
            .arg("--server-binary")
            .arg(binary)
            .run()
    };
    let other = reseed_tests::ServerKind::named(MYSQL)?;
    ensure!(other.ensure()?, "no other server");
    let refused = with(&other.daemon())?.expect_code(12)?;
    ensure!(
        refused.stderr.contains("MySQL 9.7") && refused.stderr.contains("MariaDB 10.11"),
        "{}",
        refused.stderr
    );
    with(Path::new("/bin/true"))?.expect_code(2)?;
    // A server that does not start is no damage of the set: what is wrong is told in its own words.
    let wrapper = trip.place("mariadbd");
    let script =
        format!("#!/bin/sh\nexec {} \"$@\" --innodb-page-size=16384\n", server.kind().daemon().display());
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let failed = with(&wrapper)?.expect_code(1)?;
    ensure!(failed.stderr.contains("its log ends with"), "{}", failed.stderr);
    ensure!(listed(&trip)?["restorable"] == true, "{}", listed(&trip)?);
    nothing_left(&trip)
}
