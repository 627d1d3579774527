//! docs/reference/json.md: every document has the keys and types that stand there, and no others.

use anyhow::{Context, Result, ensure};
use reseed_tests::server::{REPLICATION_PASSWORD, REPLICATION_USER};
use reseed_tests::trip::{NAME, on_restored};
use reseed_tests::{Finished, Kit, Reseed, Schema, Server, Trip, replication};
use serde_json::Value;

const KIND: &str = "mariadb-10.11";

fn json(finished: &Finished) -> Result<Value> {
    serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON document: {finished:?}"))
}

/// A server that is a replica, so that its coordinates have all that coordinates can have; and its source.
fn pair() -> Result<(Server, Server)> {
    let source = Kit::server(KIND)?.start()?;
    let replica = Kit::server(KIND)?.server_id(2).option("log-slave-updates").start()?;
    for statement in replication::from_the_beginning(&source) {
        replica.sql(&[&statement])?;
    }
    source.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(200))",
        "INSERT INTO shop.orders SELECT seq, REPEAT('n', 100) FROM shop.seq_1_to_5000",
    ])?;
    replication::wait_until_caught_up(&source, &replica)?;
    Ok((source, replica))
}

struct Judge {
    schema: Schema,
    trip: Trip,
}

impl Judge {
    fn about(&self, command: &str, more: &[&str]) -> Result<Reseed> {
        Ok(Reseed::new([command, "--json", "--quiet", "--name", NAME])?
            .arg("--repo")
            .arg(self.trip.repo())
            .args(more))
    }

    fn judge(&mut self, heading: &str, run: Reseed, code: i32) -> Result<Value> {
        let document = json(&run.run()?.expect_code(code)?)?;
        self.schema.check(heading, &document)?;
        Ok(document)
    }
}

#[test]
fn documents_are_as_they_are_described() -> Result<()> {
    let (_source, server) = pair()?;
    let mut judge = Judge { schema: Schema::read()?, trip: Trip::new()? };
    let trip = Trip::new()?;
    let setup = || -> Result<Reseed> {
        Ok(Reseed::new(["setup", "--json", "--quiet", "--no-defaults", "--name", NAME, "--config"])?
            .arg(trip.place("reseed.toml"))
            .arg("--repo")
            .arg(judge.trip.repo())
            .to(&server))
    };
    let (shown, done) = (setup()?, setup()?.arg("--run"));
    judge.judge("setup", shown, 0)?;
    judge.judge("setup", done, 0)?;
    // A repository with a name, and a value for one command alone.
    let config = trip.place("reseed.toml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(
        &config,
        format!("repo = \"nas\"\n{text}\n[repository.nas]\npath = \"/mnt/nas\"\n[backup]\nthreads = 2\n"),
    )?;
    for given in ["", "--given"] {
        let name = if given.is_empty() { NAME } else { "another" };
        let show = Reseed::new(["config", "show", "--json", "--server", name, "--config"])?;
        let show = show.arg(&config).args((!given.is_empty()).then_some(given));
        judge.judge("config show", show, 0)?;
    }

    let full = judge.about("backup", &[])?.to(&server);
    let full = judge.judge("backup", full, 0)?;
    let incremental = judge.about("backup", &["--type", "incremental"])?.to(&server);
    let incremental = judge.judge("backup", incremental, 0)?;
    ensure!(incremental["parent"] == full["id"], "{incremental}");
    let pin = Reseed::new(["pin", "--reason", "kept", "--name", NAME, "latest", "--repo"])?;
    pin.arg(judge.trip.repo()).run()?.expect_success()?;
    let verify = judge.about("verify", &["latest", "--pages"])?;
    judge.judge("verify", verify, 0)?;
    let show = judge.about("show", &["latest"])?;
    judge.judge("show", show, 0)?;

    let ending = ["latest", "--source-host", "127.0.0.1", "--source-user", REPLICATION_USER];
    let hand_over = judge.about("hand-over", &ending)?;
    judge.judge("hand-over", hand_over, 0)?;
    let datadir = trip.place("data");
    let datadir_text = datadir.display().to_string();
    let place = ["--datadir", &datadir_text];
    for more in [&ending[..], &["latest", "--move-aside"], &["latest", "--delta"]] {
        let restore = judge.about("restore", &[&place, more].concat())?;
        judge.judge("restore and clone", restore, 0)?;
    }
    let raw = trip.place("raw").display().to_string();
    let export = judge.about("export", &["latest", "--raw", &raw])?;
    judge.judge("export", export, 0)?;
    let cloned = trip.place("cloned");
    let clone = Reseed::new(["clone", "--json", "--quiet", "--from", "local", "--no-defaults", "--datadir"])?;
    judge.judge("restore and clone", clone.arg(&cloned).to(&server), 0)?;

    attached(&mut judge, &server, &datadir)?;
    the_list(&mut judge, &server)?;

    let check = ["--age", "1h", "--server", "--no-defaults"];
    let check = judge.about("check", &check)?.to(&server).run()?;
    judge.schema.check("check", &json(&check)?)?;
    let nowhere = Reseed::new(["list", "--json", "--repo", "/nonexistent/repo"])?;
    judge.judge("a failed run", nowhere, 10)?;
    let refused = judge.about("backup", &["--no-defaults", "--user=nobody"])?;
    let refused = refused.arg(format!("--socket={}", server.socket().display()));
    judge.judge("a failed run", refused, 3)?;
    // But for "behind": of a replica that stands still nobody knows how long it will take.
    judge.schema.expect_all_seen(&[
        "a failed run",
        "setup",
        "backup",
        "restore and clone",
        "hand-over",
        "attach: caught up",
        "attach: broken",
        "list",
        "show",
        "verify",
        "export",
        "expire",
        "config show",
        "check",
        "status.json",
    ])
}

/// The three ways in which `attach` ends.
fn attached(judge: &mut Judge, source: &Server, datadir: &std::path::Path) -> Result<()> {
    let replica = on_restored(source, datadir, 3).option("skip_slave_start").start()?;
    let port = source.port().to_string();
    let attach = |judge: &Judge, password: &str, more: &[&str]| -> Result<Reseed> {
        let ending = ["latest", "--source-host", "127.0.0.1", "--source-user", REPLICATION_USER];
        let attach =
            judge.about("attach", &ending)?.args(["--no-defaults", "--source-port", &port, "--replace"]);
        Ok(attach.args(more).env("RESEED_SOURCE_PASSWORD", password).to(&replica))
    };
    let broken = attach(judge, "wrong", &["--deadline", "300s"])?;
    judge.judge("attach: broken", broken, 14)?;
    let done = attach(judge, REPLICATION_PASSWORD, &["--deadline", "300s"])?;
    judge.judge("attach: caught up", done, 0)?;
    // Nothing can be applied while somebody holds the table.
    replica.sql(&["STOP ALL SLAVES"])?;
    let mut holder = replica.session()?;
    holder.exec("LOCK TABLES shop.orders WRITE")?;
    source.sql(&["INSERT INTO shop.orders VALUES (900001, 'late')"])?;
    let behind = attach(judge, REPLICATION_PASSWORD, &["--deadline", "3s"])?;
    judge.judge("attach: behind", behind, 13)?;
    Ok(())
}

/// A repository with all that one can hold, and what is left of it.
fn the_list(judge: &mut Judge, server: &Server) -> Result<()> {
    let dir = judge.trip.repo().join(NAME);
    for _ in 0..2 {
        judge.about("backup", &[])?.to(server).run()?.expect_success()?;
    }
    let third = judge.trip.sets()?.into_iter().nth(2).context("no third set")?;
    std::fs::write(dir.join(&third).join("manifest.json"), "{}")?;
    let dead = dir.join("20200101T000000Z-full.partial");
    std::fs::create_dir(&dead)?;
    std::fs::write(dead.join("pack"), "cut off")?;
    let list = judge.about("list", &[])?;
    judge.judge("list", list, 0)?;
    for more in [&["--keep-fulls", "1", "--dry-run"][..], &["--keep-fulls", "1"]] {
        let expire = judge.about("expire", more)?;
        judge.judge("expire", expire, 0)?;
    }
    let status = std::fs::read_to_string(dir.join("status.json"))?;
    judge.schema.check("status.json", &serde_json::from_str(&status)?)?;
    let latest = judge.about("verify", &["latest"])?;
    judge.judge("verify", latest, 0)?;
    // A failed run's status, with a set that was verified.
    judge.about("backup", &["--no-defaults", "--socket=/nonexistent/s"])?.run()?.expect_code(3)?;
    let status = std::fs::read_to_string(dir.join("status.json"))?;
    judge.schema.check("status.json", &serde_json::from_str(&status)?)
}
