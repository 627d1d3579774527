//! What scripts read: JSON documents, exit codes, standard output that carries results only; and what must never be
//! read by anybody: secrets.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use reseed_tests::server::{REPLICATION_PASSWORD, REPLICATION_USER};
use reseed_tests::trip::{NAME, on_restored};
use reseed_tests::{Finished, Kit, Reseed, Server, Trip, replication, tool};
use serde_json::Value;

fn source() -> Result<Server> {
    let server = Kit::server("mariadb-10.11")?.start()?;
    server.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(200))",
        "INSERT INTO shop.orders SELECT seq, REPEAT('n', 100) FROM shop.seq_1_to_5000",
    ])?;
    Ok(server)
}

/// A command about the sets of a trip.
fn about(trip: &Trip, command: &str) -> Result<Reseed> {
    Ok(Reseed::new([command])?.arg("--repo").arg(trip.repo()).args(["--name", NAME]))
}

fn json(finished: &Finished) -> Result<Value> {
    serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON document: {:?}", finished.stdout))
}

fn number(document: &Value, pointer: &str) -> Result<f64> {
    document
        .pointer(pointer)
        .and_then(Value::as_f64)
        .with_context(|| format!("no number at {pointer}: {document}"))
}

fn text<'a>(document: &'a Value, pointer: &str) -> Result<&'a str> {
    document
        .pointer(pointer)
        .and_then(Value::as_str)
        .with_context(|| format!("no text at {pointer}: {document}"))
}

#[test]
fn documents_of_a_backup_and_its_set() -> Result<()> {
    let server = source()?;
    let trip = Trip::new()?;
    let metrics = trip.place("reseed.prom");
    let backup = trip
        .backup(&server)?
        .args(["--json", "--quiet"])
        .arg("--metrics-file")
        .arg(&metrics)
        .run()?
        .expect_success()?;
    ensure!(backup.stderr.is_empty(), "--quiet said: {}", backup.stderr);
    let report = json(&backup)?;
    let id = text(&report, "/id")?.to_owned();
    ensure!(number(&report, "/bytes_read")? > 0.0 && number(&report, "/bytes_stored")? > 0.0);
    ensure!(number(&report, "/commits_held")? >= 0.0);
    ensure!(!text(&report, "/coordinates/gtid")?.is_empty());
    ensure!(report.pointer("/locks/0/waited").is_some(), "no lock was recorded: {report}");
    let metrics = std::fs::read_to_string(&metrics)?;
    ensure!(metrics.contains(&format!("reseed_last_run_exit_code{{name=\"{NAME}\"}} 0\n")), "{metrics}");

    let list = json(&Reseed::new(["list", "--json", "--repo"])?.arg(trip.repo()).run()?.expect_success()?)?;
    ensure!(
        text(&list, "/servers/0/sets/0/id")? == id && list["servers"][0]["sets"][0]["restorable"] == true
    );
    ensure!(list["servers"][0]["damaged"] == Value::Array(vec![]), "{list}");

    let show = json(&about(&trip, "show")?.args(["latest", "--json"]).run()?.expect_success()?)?;
    ensure!(text(&show, "/manifest/id")? == id && show["verified"] == Value::Null, "{show}");
    ensure!(show["manifest"]["coordinates"] == report["coordinates"]);

    let verify =
        about(&trip, "verify")?.args(["latest", "--pages", "--json", "--quiet"]).run()?.expect_success()?;
    ensure!(verify.stderr.is_empty());
    let verify = json(&verify)?;
    ensure!(verify["good"] == true && text(&verify, "/sets/0/level")? == "pages", "{verify}");
    let show = json(&about(&trip, "show")?.args([id.as_str(), "--json"]).run()?.expect_success()?)?;
    ensure!(show["verified"]["good"] == true, "the result was not kept: {show}");

    about(&trip, "check")?.args(["--age", "1h"]).run()?.expect_success()?;
    about(&trip, "check")?.args(["--age", "0s"]).run()?.expect_code(2)?;
    about(&trip, "pin")?.args(["latest", "--reason", "kept"]).run()?.expect_success()?;
    let list = Reseed::new(["list", "--repo"])?.arg(trip.repo()).run()?.expect_success()?;
    ensure!(list.stdout.contains("pinned") && list.stdout.lines().count() == 2, "{}", list.stdout);
    about(&trip, "unpin")?.arg("latest").run()?.expect_success()?;
    about(&trip, "unpin")?.arg("latest").run()?.expect_code(1)?;
    Ok(())
}

#[test]
fn a_hand_over_alone_is_on_standard_output() -> Result<()> {
    let server = source()?;
    let trip = Trip::new()?;
    trip.backup(&server)?.run()?.expect_success()?;
    let ending = ["--source-host", "127.0.0.1", "--source-user", REPLICATION_USER];
    let hand_over = about(&trip, "hand-over")?.arg("latest").args(ending).run()?.expect_success()?;
    ensure!(hand_over.stderr.is_empty(), "{}", hand_over.stderr);
    for line in hand_over.stdout.lines() {
        ensure!(!line.starts_with("error") && !line.contains("reseed"), "not a statement: {line}");
    }
    ensure!(hand_over.stdout.contains("<PASSWORD>") && hand_over.stdout.contains("CHANGE MASTER TO"));

    let restore =
        trip.restore(&trip.place("plain"))?.args(ending).args(["--quiet"]).run()?.expect_success()?;
    ensure!(restore.stdout == hand_over.stdout, "restore printed something else:\n{}", restore.stdout);
    ensure!(restore.stderr.is_empty(), "--quiet said: {}", restore.stderr);

    let restore = trip.restore(&trip.place("json"))?.args(ending).arg("--json").run()?.expect_success()?;
    let document = json(&restore)?;
    ensure!(text(&document, "/hand_over")? == hand_over.stdout);
    ensure!(number(&document, "/bytes_written")? > 0.0);
    let silent = trip.restore(&trip.place("silent"))?.arg("--quiet").run()?.expect_success()?;
    ensure!(silent.stdout.is_empty() && silent.stderr.is_empty(), "{silent:?}");
    Ok(())
}

#[test]
fn a_damaged_set_is_shown_everywhere() -> Result<()> {
    let server = source()?;
    let trip = Trip::new()?;
    trip.backup(&server)?.run()?.expect_success()?;
    let id = trip.sets()?.first().cloned().context("no set")?;
    let dir = trip.repo().join(NAME).join(&id);
    flip(&dir.join("redo.zst"), 0)?;
    let verify = about(&trip, "verify")?.args(["latest", "--json"]).run()?.expect_code(10)?;
    let document = json(&verify)?;
    ensure!(
        document["good"] == false && text(&document, "/sets/0/findings/0")?.contains("redo"),
        "{document}"
    );
    let list = Reseed::new(["list", "--repo"])?.arg(trip.repo()).run()?.expect_success()?;
    ensure!(list.stdout.contains("DAMAGED"), "{}", list.stdout);
    about(&trip, "check")?.args(["--age", "1h"]).run()?.expect_code(2)?;
    let restore = trip.restore(&trip.place("data"))?.arg("--json").run()?.expect_code(10)?;
    ensure!(number(&json(&restore)?, "/error/exit_code")? == 10.0);

    // A manifest that cannot be read must not make the set vanish from the list.
    flip(&dir.join("manifest.json"), 40)?;
    let list = Reseed::new(["list", "--repo"])?.arg(trip.repo()).run()?.expect_success()?;
    ensure!(list.stdout.contains(&id) && list.stdout.contains("DAMAGED"), "{}", list.stdout);
    about(&trip, "show")?.arg("latest").run()?.expect_code(10)?;
    let all = about(&trip, "verify")?.args(["all", "--quiet"]).run()?.expect_code(10)?;
    ensure!(all.stdout.contains("DAMAGED"), "{all:?}");
    Ok(())
}

fn flip(file: &Path, at: usize) -> Result<()> {
    let mut bytes = std::fs::read(file)?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(if at == 0 { middle } else { at }).context("the file is too short")?;
    *byte ^= 0x20;
    Ok(std::fs::write(file, bytes)?)
}

#[test]
fn passwords_are_told_to_nobody() -> Result<()> {
    const SECRET: &str = "correct horse battery";
    let server = source()?;
    server.sql(&[
        &format!("CREATE USER backup@localhost IDENTIFIED BY '{SECRET}'"),
        "GRANT ALL PRIVILEGES ON *.* TO backup@localhost",
    ])?;
    let trip = Trip::new()?;
    let file = trip.place("password");
    {
        use std::os::unix::fs::OpenOptionsExt;
        let mut out = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&file)?;
        writeln!(out, "{SECRET}")?;
    }
    let run = |password: &Path| -> Result<Reseed> {
        Ok(about(&trip, "backup")?
            .args(["--no-defaults", "--user", "backup", "--log-level", "trace", "--json"])
            .arg(format!("--socket={}", server.socket().display()))
            .arg("--password-file")
            .arg(password))
    };
    let good = run(&file)?.run()?.expect_success()?;
    let option_file = trip.place("client.cnf");
    // The copy takes the mode along.
    std::fs::copy(&file, &option_file)?;
    std::fs::write(&option_file, format!("[client]\nuser=backup\npassword='{SECRET}'\n"))?;
    let from_file = about(&trip, "backup")?
        .arg(format!("--defaults-file={}", option_file.display()))
        .arg(format!("--socket={}", server.socket().display()))
        .args(["--log-level", "trace"])
        .run()?
        .expect_success()?;
    let refused =
        Reseed::new(["backup", "--no-defaults", "--user", "nobody", "--name", NAME, "--log-level", "trace"])?
            .arg("--repo")
            .arg(trip.repo())
            .arg(format!("--socket={}", server.socket().display()))
            .arg("--password-file")
            .arg(&file)
            .run()?
            .expect_code(3)?;
    let handed = about(&trip, "restore")?
        .args(["latest", "--source-host", "h", "--source-user", "u", "--log-level", "trace", "--datadir"])
        .arg(trip.place("data"))
        .env("RESEED_SOURCE_PASSWORD", SECRET)
        .run()?
        .expect_success()?;
    // The statements are what standard output is for; everything else must keep quiet.
    ensure!(handed.stdout.contains(SECRET), "{}", handed.stdout);
    let told =
        [&good.stdout, &good.stderr, &from_file.stdout, &from_file.stderr, &refused.stderr, &handed.stderr];
    for text in told {
        ensure!(!text.contains(SECRET), "a password was told: {text}");
    }
    for id in trip.sets()? {
        let manifest = std::fs::read_to_string(trip.repo().join(NAME).join(id).join("manifest.json"))?;
        ensure!(!manifest.contains(SECRET), "a password is in a manifest");
    }
    Ok(())
}

#[test]
fn a_stream_is_restored_whole_or_not_at_all() -> Result<()> {
    let server = source()?;
    let trip = Trip::new()?;
    let backup = Command::new(tool::binary()?)
        .args(["backup", "--to", "-", "--name", NAME, "--no-defaults", "--user=root"])
        .arg(format!("--socket={}", server.socket().display()))
        .output()?;
    ensure!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
    let stream = backup.stdout;
    let receive = |bytes: &[u8], datadir: &Path| -> Result<i32> {
        let mut child = Command::new(tool::binary()?)
            .args(["restore", "--from", "-", "--quiet", "--datadir"])
            .arg(datadir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that refuses early closes the pipe.
            let _ = stdin.write_all(bytes);
        }
        child.wait()?.code().context("killed")
    };
    let datadir = trip.place("data");
    for tenth in 0..10 {
        let cut = stream.len() * tenth / 10;
        let code = receive(stream.get(..cut).context("cut")?, &datadir)?;
        ensure!(code == 10, "cut at {cut} of {}: exit code {code}", stream.len());
        ensure!(!datadir.exists(), "cut at {cut}: there is a datadir");
    }
    let mut longer = stream.clone();
    longer.push(0);
    ensure!(receive(&longer, &datadir)? == 10 && !datadir.exists(), "something after the end was accepted");
    let mut altered = stream.clone();
    let middle = altered.len() / 2;
    *altered.get_mut(middle).context("an empty stream")? ^= 1;
    ensure!(receive(&altered, &datadir)? == 10 && !datadir.exists(), "an altered stream was accepted");

    ensure!(receive(&stream, &datadir)? == 0);
    let restored = on_restored(&server, &datadir, 2).start()?;
    ensure!(restored.checksums()? == server.checksums()?);
    Ok(())
}

#[test]
fn attach_makes_a_replica_and_says_why_it_cannot() -> Result<()> {
    let server = source()?;
    let trip = Trip::new()?;
    trip.backup(&server)?.run()?.expect_success()?;
    let datadir = trip.place("data");
    trip.restore(&datadir)?.run()?.expect_success()?;
    server.sql(&["INSERT INTO shop.orders VALUES (900001, 'after the backup')"])?;
    let mut replica = on_restored(&server, &datadir, 2).option("skip_slave_start").start()?;
    let socket = format!("--socket={}", replica.socket().display());
    let attach = |password: &str, more: &[&str]| -> Result<Finished> {
        about(&trip, "attach")?
            .args([
                "latest",
                "--no-defaults",
                "--source-host",
                "127.0.0.1",
                "--source-user",
                REPLICATION_USER,
            ])
            .args(["--source-port", &server.port().to_string(), "--deadline", "300s", "--json"])
            .args(more)
            .args(["--user=root", &socket])
            .env("RESEED_SOURCE_PASSWORD", password)
            .run()
    };
    let broken = attach("wrong", &[])?.expect_code(14)?;
    let document = json(&broken)?;
    ensure!(document["outcome"] == "broken" && number(&document, "/error")? == 1045.0, "{document}");
    ensure!(broken.stderr.contains("hint:"), "{}", broken.stderr);
    let done = attach(REPLICATION_PASSWORD, &["--replace"])?.expect_success()?;
    ensure!(json(&done)?["outcome"] == "caught-up", "{}", done.stdout);
    replication::assert_nothing_skipped(&replica)?;
    ensure!(replica.checksums()? == server.checksums()?);
    attach(REPLICATION_PASSWORD, &[])?.expect_code(1)?;
    replica.stop()?;
    attach(REPLICATION_PASSWORD, &[])?.expect_code(3)?;
    Ok(())
}

#[test]
fn check_finds_what_will_be_in_the_way() -> Result<()> {
    let server = source()?;
    let verdict = |name: &str| -> Result<(Option<i32>, String)> {
        let ran = Reseed::new(["check", "--server", "--json", "--no-defaults"])?.to(&server).run()?;
        let document = json(&ran)?;
        let findings = document["checks"][0]["findings"].as_array().context("no findings")?;
        let found = findings.iter().find(|finding| finding["name"] == name).context("no such finding")?;
        Ok((ran.code, text(found, "/verdict")?.to_owned()))
    };
    ensure!(verdict("prepared-xa")?.1 == "fine");
    server.sql(&[
        "XA START 'x'",
        "INSERT INTO shop.orders VALUES (7000, 'x')",
        "XA END 'x'",
        "XA PREPARE 'x'",
    ])?;
    let (code, found) = verdict("prepared-xa")?;
    ensure!(code == Some(1) && found == "slow", "{code:?} {found}");
    let told = Reseed::new(["check", "--server", "--no-defaults"])?.to(&server).run()?.expect_code(1)?;
    ensure!(
        told.stdout.starts_with("RESEED WARNING - ") && told.stdout.contains("XA RECOVER"),
        "{}",
        told.stdout
    );
    let nobody = Reseed::new(["check", "--server", "--no-defaults", "--socket=/nonexistent/s"])?.run()?;
    ensure!(nobody.code == Some(3) && nobody.stdout.starts_with("RESEED UNKNOWN"), "{nobody:?}");
    server.sql(&["XA ROLLBACK 'x'"])
}
