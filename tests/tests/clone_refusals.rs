//! What is refused before an old datadir is touched, and that it is not touched: a source that has purged what a set
//! needs or lost what it holds, servers that do not fit, streams that break off, a sender that says nothing more.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use reseed_tests::faults::{Files, files};
use reseed_tests::server::{REPLICATION_PASSWORD, REPLICATION_USER};
use reseed_tests::trip::on_restored;
use reseed_tests::{Kit, Reseed, Server, ServerKind, Trip, copy_tree, replication, tool};

fn script(trip: &Trip, name: &str, body: &str) -> Result<PathBuf> {
    let path = trip.place(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// The old datadir of a server that stands still, with all its files.
fn old_datadir(name: &str, trip: &Trip) -> Result<(PathBuf, Files)> {
    let mut old = Kit::server(name)?.server_id(2).start()?;
    old.stop()?;
    let datadir = trip.place("data");
    copy_tree(old.datadir(), &datadir)?;
    let before = files(&datadir)?;
    Ok((datadir, before))
}

fn clone(server: &Server, datadir: &Path) -> Result<Reseed> {
    Ok(Reseed::new(["clone", "--no-defaults", "--move-aside", "--remote-command"])?
        .arg(tool::binary()?)
        .arg("--datadir")
        .arg(datadir)
        .to(server))
}

fn to_source(reseed: Reseed, source: &Server) -> Reseed {
    reseed
        .args(["--source-host", "127.0.0.1", "--source-user", REPLICATION_USER])
        .args(["--source-port", &source.port().to_string()])
        .env("RESEED_SOURCE_PASSWORD", REPLICATION_PASSWORD)
}

/// Takes the binary logs away that a set needs.
fn purge(source: &Server) -> Result<()> {
    source.sql(&["CREATE DATABASE after_the_backup", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS"])?;
    let logs = source.rows("SHOW BINARY LOGS")?;
    let newest = logs.last().and_then(|log| log.first()).context("no binary log")?;
    replication::await_that("the source removes its binary logs", || {
        source.sql(&[&format!("PURGE BINARY LOGS TO '{newest}'")])?;
        Ok(source.rows("SHOW BINARY LOGS")?.len() == 1)
    })
}

fn a_lost_place_is_found_before_the_restore(name: &str) -> Result<()> {
    let source = Kit::server(name)?.start()?;
    source.sql(&["CREATE DATABASE before_the_backup"])?;
    let trip = Trip::new()?;
    trip.backup(&source)?.run()?.expect_success()?;
    let restored = trip.place("restored");
    to_source(trip.restore(&restored)?, &source).run()?.expect_success()?;
    let (datadir, before) = old_datadir(name, &trip)?;
    purge(&source)?;
    let refused = to_source(trip.restore(&datadir)?, &source).arg("--move-aside").run()?.expect_code(14)?;
    ensure!(refused.stderr.contains("already removed"), "{}", refused.stderr);
    ensure!(files(&datadir)? == before, "the old datadir was changed");
    // Who restored all the same learns it before a statement was run.
    let replica = on_restored(&source, &restored, 2).start()?;
    let broken = attach_to(&source, &replica, &trip)?.run()?.expect_code(14)?;
    ensure!(broken.stderr.contains("already removed"), "{}", broken.stderr);
    replication_is_not_set_up(&replica)
}

#[test]
fn a_lost_place_is_found_before_the_restore_mariadb() -> Result<()> {
    a_lost_place_is_found_before_the_restore("mariadb-10.11")
}

#[test]
fn a_lost_place_is_found_before_the_restore_mysql() -> Result<()> {
    a_lost_place_is_found_before_the_restore("mysql-9.7")
}

fn replication_is_not_set_up(replica: &Server) -> Result<()> {
    let word = if replica.kind().is_mariadb() { "SHOW ALL SLAVES STATUS" } else { "SHOW REPLICA STATUS" };
    ensure!(replica.rows(word)?.is_empty(), "replication was set up all the same");
    Ok(())
}

fn attach_to(source: &Server, replica: &Server, trip: &Trip) -> Result<Reseed> {
    let attach = Reseed::new(["attach", "--repo"])?.arg(trip.repo()).args(["--name", "source", "latest"]);
    Ok(to_source(attach.to(replica), source))
}

/// The source has lost what the set holds, and has gone on: as one that was itself restored, or crashed.
fn a_diverged_history_is_refused(name: &str) -> Result<()> {
    let source = Kit::server(name)?.start()?;
    let trip = Trip::new()?;
    source.sql(&["CREATE DATABASE one", "CREATE DATABASE two", "CREATE DATABASE three"])?;
    trip.backup(&source)?.run()?.expect_success()?;
    let restored = trip.place("restored");
    trip.restore(&restored)?.run()?.expect_success()?;
    let (datadir, before) = old_datadir(name, &trip)?;
    let reset = if source.kind().is_mariadb() { "RESET MASTER" } else { "RESET BINARY LOGS AND GTIDS" };
    // Its binary logs have the same names again.
    source.sql(&[reset, "CREATE DATABASE other", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS"])?;
    let refused = to_source(trip.restore(&datadir)?, &source).arg("--move-aside").run()?.expect_code(14)?;
    ensure!(refused.stderr.contains("histories have diverged"), "{}", refused.stderr);
    ensure!(files(&datadir)? == before, "the old datadir was changed");
    let replica = on_restored(&source, &restored, 2).start()?;
    let refused = attach_to(&source, &replica, &trip)?.run()?.expect_code(14)?;
    ensure!(refused.stderr.contains("histories have diverged"), "{}", refused.stderr);
    ensure!(refused.stderr.contains("transactions that the source does not have"), "{}", refused.stderr);
    replication_is_not_set_up(&replica)
}

#[test]
fn a_diverged_history_is_refused_mariadb() -> Result<()> {
    a_diverged_history_is_refused("mariadb-10.11")
}

#[test]
fn a_diverged_history_is_refused_mysql() -> Result<()> {
    a_diverged_history_is_refused("mysql-9.7")
}

/// A replica that was written to is backed up, and its set is to be made a replica of its source. MariaDB's source
/// refuses that; MySQL's does not, so it is told.
fn what_a_replica_was_written_to_is_told(name: &str) -> Result<()> {
    let mariadb = ServerKind::named(name)?.is_mariadb();
    let start = |id| {
        let builder = Kit::server(name)?.server_id(id);
        if mariadb { builder.option("log_slave_updates=ON") } else { builder }.start()
    };
    let (source, written_to) = (start(1)?, start(2)?);
    source.sql(&["CREATE DATABASE of_the_source"])?;
    let statements = replication::from_the_beginning(&source);
    written_to.sql(&statements.iter().map(String::as_str).collect::<Vec<_>>())?;
    replication::wait_until_caught_up(&source, &written_to)?;
    written_to.sql(&["CREATE DATABASE errant"])?;
    let trip = Trip::new()?;
    trip.backup(&written_to)?.run()?.expect_success()?;
    let restored = trip.place("restored");
    trip.restore(&restored)?.run()?.expect_success()?;
    source.sql(&["CREATE DATABASE later", "CREATE DATABASE still_later"])?;
    let replica = on_restored(&written_to, &restored, 3).start()?;
    let ran = attach_to(&source, &replica, &trip)?.run()?;
    if mariadb {
        let refused = ran.expect_code(14)?;
        ensure!(refused.stderr.contains("transactions that the source does not have"), "{}", refused.stderr);
        return Ok(());
    }
    let errant = format!("the data holds {}:", written_to.value("SELECT @@GLOBAL.server_uuid")?);
    let told = ran.expect_success()?;
    ensure!(told.stderr.contains(&errant), "{errant:?} is not told: {}", told.stderr);
    Ok(())
}

#[test]
fn what_a_mariadb_replica_was_written_to_is_told() -> Result<()> {
    what_a_replica_was_written_to_is_told("mariadb-10.11")
}

#[test]
fn what_a_mysql_replica_was_written_to_is_told() -> Result<()> {
    what_a_replica_was_written_to_is_told("mysql-9.7")
}

#[test]
fn a_source_that_forgets_too_soon_is_warned_of() -> Result<()> {
    let source = Kit::server("mariadb-10.11")?.option("binlog_expire_logs_seconds=2").start()?;
    let trip = Trip::new()?;
    let copy = |name: &str| -> Result<Reseed> {
        Ok(to_source(clone(&source, &trip.place(name))?.args(["--from", "local"]), &source))
    };
    // So slow that it takes longer than the second that is half of that time.
    let warned = copy("slow")?.args(["--rate", "1M"]).run()?.expect_success()?;
    ensure!(warned.stderr.contains("the source removes binary logs after 2 s"), "{}", warned.stderr);
    source.sql(&["SET GLOBAL binlog_expire_logs_seconds = 864000"])?;
    let fine = copy("fine")?.run()?.expect_success()?;
    ensure!(!fine.stderr.contains("removes binary logs"), "{}", fine.stderr);
    Ok(())
}

fn a_stream_cut_anywhere_changes_nothing(name: &str) -> Result<()> {
    let source = Kit::server(name)?.start()?;
    let trip = Trip::new()?;
    let (datadir, before) = old_datadir(name, &trip)?;
    let stream = trip.place("stream");
    let chance = RandomState::new();
    for number in 0..10_u32 {
        // No two streams are equally long, so each is cut by its own length.
        let part = chance.hash_one(number) % 1_000_000;
        let body = format!(
            "shift; sh -c \"$1\" > '{0}'; head -c $(($(stat -c %s '{0}') * {part} / 1000000)) '{0}'",
            stream.display()
        );
        let cut = script(&trip, "cut", &body)?;
        let ran = clone(&source, &datadir)?.args(["--from", "db1", "--ssh"]).arg(&cut).run()?;
        let whole = std::fs::metadata(&stream)?.len();
        let place = format!("cut at {part} millionths of {whole} bytes");
        ran.expect_code(10).context(place.clone())?;
        ensure!(files(&datadir)? == before, "{place}: the old datadir was changed");
    }
    // The last of those streams was a good one but for its end.
    let whole = script(&trip, "whole", &format!("cat '{}'", stream.display()))?;
    let other = trip.place("other");
    clone(&source, &other)?.args(["--from", "db1", "--ssh"]).arg(&whole).run()?.expect_success()?;
    Ok(())
}

#[test]
fn a_stream_cut_anywhere_changes_nothing_mariadb() -> Result<()> {
    a_stream_cut_anywhere_changes_nothing("mariadb-10.11")
}

#[test]
fn a_stream_cut_anywhere_changes_nothing_mysql() -> Result<()> {
    a_stream_cut_anywhere_changes_nothing("mysql-9.7")
}

#[test]
fn what_cannot_work_is_refused_before_the_copy() -> Result<()> {
    let source = Kit::server("mariadb-10.11")?.start()?;
    let trip = Trip::new()?;
    let (datadir, before) = old_datadir("mariadb-10.11", &trip)?;
    let local =
        || -> Result<Reseed> { Ok(to_source(clone(&source, &datadir)?.args(["--from", "local"]), &source)) };
    let none = trip.place("none.cnf");
    std::fs::write(&none, "[client]\n")?;
    let attach =
        || -> Result<Reseed> { Ok(local()?.arg("--attach").arg("--target-defaults-file").arg(&none)) };
    let untouched = |what: &str| -> Result<()> {
        ensure!(files(&datadir)? == before, "{what}: the old datadir was changed");
        Ok(())
    };

    // Another flavour, an older series, no server at all.
    for (says, code, word) in [
        ("mysqld  Ver 9.7.0 for Linux on x86_64 (MySQL)", 12, "cannot use the files of MariaDB"),
        ("mariadbd  Ver 10.6.20-MariaDB for Linux", 12, "is older than MariaDB"),
        ("hello", 2, "is no server program"),
    ] {
        let program = script(&trip, "server", &format!("echo '{says}'"))?;
        let ran = local()?.arg("--server-binary").arg(&program).run()?.expect_code(code)?;
        ensure!(ran.stderr.contains(word), "{}", ran.stderr);
        untouched(says)?;
    }

    // The source's server_id in this host's option file; a password that the source does not take.
    let same = trip.place("same.cnf");
    std::fs::write(&same, "[mysqld]\nserver_id=1\n")?;
    let ran = local()?.arg("--attach").arg("--target-defaults-file").arg(&same).run()?.expect_code(14)?;
    ensure!(ran.stderr.contains("both have server_id 1"), "{}", ran.stderr);
    untouched("server_id")?;
    attach()?.env("RESEED_SOURCE_PASSWORD", "wrong").run()?.expect_code(3)?;
    untouched("password")?;

    // An account that may log in there, and not replicate.
    source.sql(&[
        "CREATE USER reader@'%' IDENTIFIED BY 'Reads_1'",
        "GRANT SELECT, REPLICATION SLAVE ADMIN ON *.* TO reader@'%'",
    ])?;
    let as_reader =
        |reseed: Reseed| reseed.arg("--source-user=reader").env("RESEED_SOURCE_PASSWORD", "Reads_1");
    let plain = || -> Result<Reseed> {
        let clone = clone(&source, &datadir)?.args(["--from", "local", "--source-host", "127.0.0.1"]);
        Ok(clone.args(["--source-port", &source.port().to_string()]))
    };
    let attached = as_reader(plain()?.arg("--attach").arg("--target-defaults-file").arg(&none));
    let ran = attached.run()?.expect_code(4)?;
    ensure!(ran.stderr.contains("GRANT REPLICATION SLAVE ON *.* TO"), "{}", ran.stderr);
    untouched("an account that may not replicate")?;

    // A server of this host that was not named is not refused, but warned of; with --attach it is refused.
    let path = trip.place("path");
    std::fs::create_dir(&path)?;
    script(&trip, "path/mariadbd", "echo 'mariadbd  Ver 10.6.20-MariaDB for Linux'")?;
    let path = format!("{}:{}", path.display(), std::env::var("PATH")?);
    let ran = attach()?.env("PATH", &path).run()?.expect_code(12)?;
    ensure!(ran.stderr.contains("is older than MariaDB"), "{}", ran.stderr);
    untouched("a server that was found")?;
    let copy = trip.place("copy");
    let there =
        || -> Result<Reseed> { Ok(clone(&source, &copy)?.args(["--from", "local"]).env("PATH", &path)) };
    let ran = there()?.run()?.expect_success()?;
    ensure!(ran.stderr.contains("does not fit: MariaDB 10.6.20"), "{}", ran.stderr);
    let ran = there()?.args(["--server-binary", "none"]).run()?.expect_success()?;
    ensure!(!ran.stderr.contains("does not fit"), "{}", ran.stderr);

    // A sender of another format: both versions are named.
    let body = "shift; case $1 in *--version) echo 'reseed 9.9.9' ;; *) printf 'RESEED\\032S\\002\\0\\0\\0\\0\\0\\0\\0' ;; esac";
    let newer = script(&trip, "newer", body)?;
    let ran =
        clone(&source, &datadir)?.args(["--from", "db1", "--ssh"]).arg(&newer).run()?.expect_code(12)?;
    ensure!(ran.stderr.contains("reseed 9.9.9") && ran.stderr.contains("here is reseed"), "{}", ran.stderr);
    untouched("another format")?;

    // Nothing more arrives, and a signal is heard all the same.
    let silent = script(&trip, "silent", "shift; sh -c \"$1\" | head -c 20000; exec sleep 1000000")?;
    let running = clone(&source, &datadir)?.args(["--from", "db1", "--ssh"]).arg(&silent).spawn()?;
    let incoming = trip.place("data.reseed-partial/incoming");
    replication::await_that("the stream begins", || Ok(incoming.exists()))?;
    running.signal(Signal::SIGTERM)?;
    running.wait()?.expect_code(130)?;
    untouched("SIGTERM")
}

#[test]
fn a_server_that_does_not_come_up_is_told_with_what_is_where() -> Result<()> {
    let source = Kit::server("mariadb-10.11")?.start()?;
    let trip = Trip::new()?;
    let (datadir, _) = old_datadir("mariadb-10.11", &trip)?;
    let attach = |datadir: &Path, start: &str, socket: &Path| -> Result<Reseed> {
        let reseed = to_source(clone(&source, datadir)?.args(["--from", "local"]), &source);
        Ok(reseed
            .args(["--attach", "--server-binary", "none", "--target-user", "root", "--start", start])
            .arg("--target-socket")
            .arg(socket))
    };
    let ran = attach(&datadir, "echo it broke; exit 3", &trip.place("nothing"))?.run()?.expect_code(17)?;
    for word in ["start: it broke", "exit status: 3", "The old one is", "in place"] {
        ensure!(ran.stderr.contains(word), "{word:?} is missing:\n{}", ran.stderr);
    }
    // What answers is the source itself.
    let ran = attach(&trip.place("second"), "true", &source.socket())?.run()?.expect_code(17)?;
    ensure!(ran.stderr.contains("runs on"), "{}", ran.stderr);
    let ran = attach(&trip.place("third"), "true", &trip.place("nothing"))?
        .args(["--start-wait", "1s"])
        .run()?
        .expect_code(17)?;
    ensure!(ran.stderr.contains("no server answered within"), "{}", ran.stderr);
    // Stopped by whoever waits for it: the datadir is in place all the same, and nothing says otherwise.
    let fourth = trip.place("fourth");
    let running = attach(&fourth, "true", &trip.place("nothing"))?.spawn()?;
    replication::await_that("the datadir is in place", || Ok(fourth.join("ibdata1").exists()))?;
    running.signal(Signal::SIGTERM)?;
    let ran = running.wait()?.expect_code(130)?;
    ensure!(ran.stderr.contains("The restored datadir is in place"), "{}", ran.stderr);
    ensure!(!ran.stderr.contains("no datadir put in place"), "{}", ran.stderr);
    Ok(())
}
