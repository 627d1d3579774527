//! `reseed clone`: a running server copied into a datadir here in one command, and what becomes of the old datadir
//! when anything on the way fails. ssh is played by a script that runs the line in a shell, as sshd does.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use reseed_tests::server::{REPLICATION_PASSWORD, REPLICATION_USER};
use reseed_tests::trip::{on_restored, pipe_into_client};
use reseed_tests::{Kit, Reseed, Server, Trip, replication, tool};

fn source(name: &str) -> Result<Server> {
    let server = Kit::server(name)?.start()?;
    server.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(200))",
        "INSERT INTO shop.orders (note) VALUES (REPEAT('n', 100)), (REPEAT('m', 100))",
    ])?;
    for _ in 0..10 {
        server.sql(&["INSERT INTO shop.orders (note) SELECT note FROM shop.orders"])?;
    }
    Ok(server)
}

/// A program in the place of ssh. `$1` is the host, `$2` the line.
fn ssh(trip: &Trip, name: &str, body: &str) -> Result<PathBuf> {
    let path = trip.place(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn clone(server: &Server, from: &str, datadir: &Path) -> Result<Reseed> {
    Ok(Reseed::new(["clone", "--from", from, "--no-defaults"])?.arg("--datadir").arg(datadir).to(server))
}

/// A datadir whose replica is broken beyond repair, with one file to know it by.
fn broken_datadir(trip: &Trip) -> Result<PathBuf> {
    let datadir = trip.place("data");
    std::fs::create_dir(&datadir)?;
    std::fs::write(datadir.join("old"), "old")?;
    Ok(datadir)
}

fn asides(trip: &Trip) -> Result<Vec<PathBuf>> {
    let parent = trip.place("x").parent().context("no parent")?.to_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("data.")) && path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

fn a_broken_replica_is_rebuilt(name: &str) -> Result<()> {
    let server = source(name)?;
    let trip = Trip::new()?;
    let datadir = broken_datadir(&trip)?;
    let ssh = ssh(&trip, "ssh", "shift; exec sh -c \"$1\"")?;
    let reseed = tool::binary()?;
    let cloned = clone(&server, "dba@127.0.0.1", &datadir)?
        .arg("--ssh")
        .arg(&ssh)
        .arg("--remote-command")
        .arg(&reseed)
        .args(["--move-aside", "--source-user", REPLICATION_USER])
        .args(["--source-port", &server.port().to_string()])
        .env("RESEED_SOURCE_PASSWORD", REPLICATION_PASSWORD)
        .run()?
        .expect_success()?;
    let aside = asides(&trip)?;
    ensure!(aside.len() == 1 && aside[0].join("old").exists(), "the old datadir is not beside: {aside:?}");
    server.sql(&["INSERT INTO shop.orders (note) VALUES ('after the copy')"])?;
    let replica = on_restored(&server, &datadir, 2).option("skip_slave_start").start()?;
    // The host of --from is the source's unless another is given.
    pipe_into_client(&replica, &cloned.stdout)?;
    replication::wait_until_caught_up(&server, &replica)?;
    replication::assert_nothing_skipped(&replica)?;
    ensure!(replica.checksums()? == server.checksums()?);
    Ok(())
}

#[test]
fn a_broken_mariadb_replica_is_rebuilt() -> Result<()> {
    a_broken_replica_is_rebuilt("mariadb-10.11")
}

#[test]
fn a_broken_mysql_replica_is_rebuilt() -> Result<()> {
    a_broken_replica_is_rebuilt("mysql-9.7")
}

#[test]
fn whatever_fails_on_the_way_the_old_datadir_is_untouched() -> Result<()> {
    let server = source("mariadb-10.11")?;
    let trip = Trip::new()?;
    let datadir = broken_datadir(&trip)?;
    let untouched = |what: &str| -> Result<()> {
        ensure!(
            std::fs::read_to_string(datadir.join("old")).ok().as_deref() == Some("old"),
            "{what}: the old datadir"
        );
        ensure!(std::fs::read_dir(&datadir)?.count() == 1, "{what}: something was put into the old datadir");
        ensure!(asides(&trip)?.is_empty(), "{what}: left beside: {:?}", asides(&trip)?);
        Ok(())
    };
    let reseed = tool::binary()?;
    let through = |ssh: &Path, command: &Path| -> Result<Reseed> {
        Ok(clone(&server, "db1", &datadir)?
            .arg("--move-aside")
            .arg("--ssh")
            .arg(ssh)
            .arg("--remote-command")
            .arg(command))
    };
    for bytes in [0, 1, 500, 20_000, 100_000, 200_000] {
        let cut = ssh(&trip, &format!("cut-{bytes}"), &format!("shift; sh -c \"$1\" | head -c {bytes}"))?;
        let ran = through(&cut, &reseed)?.run()?.expect_code(10)?;
        ensure!(ran.stdout.is_empty());
        untouched(&format!("cut after {bytes} bytes"))?;
    }
    let good = ssh(&trip, "good", "shift; exec sh -c \"$1\"")?;
    let missing = through(&good, Path::new("/nonexistent/reseed"))?.run()?.expect_code(1)?;
    ensure!(missing.stderr.contains("there is no reseed on db1"), "{}", missing.stderr);
    untouched("no reseed there")?;
    let unreachable = ssh(&trip, "unreachable", "exit 255")?;
    through(&unreachable, &reseed)?.run()?.expect_code(3)?;
    untouched("no connection")?;
    through(Path::new("/nonexistent/ssh"), &reseed)?.run()?.expect_code(1)?;
    untouched("no ssh")?;
    // The far side's own failure keeps its exit code and its words.
    let refused = Reseed::new(["clone", "--from", "db1", "--no-defaults", "--user=nobody", "--move-aside"])?
        .arg(format!("--socket={}", server.socket().display()))
        .arg("--datadir")
        .arg(&datadir)
        .arg("--ssh")
        .arg(&good)
        .arg("--remote-command")
        .arg(&reseed)
        .run()?
        .expect_code(3)?;
    ensure!(refused.stderr.contains("source: error:"), "{}", refused.stderr);
    untouched("login refused")?;
    // Without --move-aside the source is not even asked.
    let asked = ssh(&trip, "asked", &format!("touch {}", trip.place("was-asked").display()))?;
    clone(&server, "db1", &datadir)?.arg("--ssh").arg(&asked).run()?.expect_code(11)?;
    ensure!(!trip.place("was-asked").exists(), "a backup was begun for a target that is refused");
    untouched("not empty")
}
