//! What is around the program: the service manager that watches it, the terminal that it draws on, the account that
//! `reseed setup` makes for it.

use std::io::Read;
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::pty::{Winsize, openpty};
use reseed_tests::trip::{NAME, on_restored};
use reseed_tests::{Family, Kit, Reseed, Server, Trip, tool};

fn source(name: &str) -> Result<Server> {
    let server = Kit::server(name)?.start()?;
    server.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(200))",
        "INSERT INTO shop.orders VALUES (1, 'one'), (2, 'two')",
    ])?;
    Ok(server)
}

/// What a service manager is told by a run, message by message.
fn told(run: Reseed, trip: &Trip, code: i32) -> Result<Vec<String>> {
    let path = trip.place("notify");
    let manager = UnixDatagram::bind(&path)?;
    // As the managers do, it reads while the run goes on, until the run's last message.
    let reader = std::thread::spawn(move || -> Result<Vec<String>> {
        let mut messages: Vec<String> = Vec::new();
        let mut buffer = [0; 4096];
        while !messages.last().is_some_and(|last| last.contains("STOPPING=1")) {
            let length = manager.recv(&mut buffer)?;
            messages.push(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned());
        }
        Ok(messages)
    });
    let run = run.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    run.run()?.expect_code(code)?;
    let messages = reader.join().map_err(|_| anyhow::anyhow!("the reader died"))??;
    std::fs::remove_file(path)?;
    Ok(messages)
}

#[test]
fn the_service_manager_is_told_how_a_run_goes() -> Result<()> {
    let server = source("mariadb-10.11")?;
    let trip = Trip::new()?;
    let messages = told(trip.backup(&server)?.args(["--quiet", "--rate", "8M"]), &trip, 0)?;
    let all = format!("{messages:?}");
    ensure!(messages.first().is_some_and(|first| first.trim() == "READY=1"), "{all}");
    ensure!(messages.iter().any(|text| text.starts_with("STATUS=copy") && text.contains("MiB")), "{all}");
    ensure!(messages.iter().any(|text| text.trim() == "WATCHDOG=1"), "{all}");
    ensure!(messages.last().is_some_and(|last| last.trim() == "STOPPING=1\nSTATUS=done"), "{all}");

    let nowhere = Reseed::new(["list", "--repo", "/nonexistent/repo"])?;
    let messages = told(nowhere, &trip, 10)?;
    ensure!(messages.last().is_some_and(|last| last.contains("STATUS=error: ")), "{messages:?}");
    Ok(())
}

fn cells(number: u16) -> Result<NonZero<u16>> {
    NonZero::new(number).context("a terminal without cells")
}

/// Everything that a run writes to a terminal of this many columns. `look` sees the screen after each piece, and may
/// change its width through the name of the terminal.
fn on_terminal(
    args: &[String],
    environment: &[(&str, &str)],
    mut look: impl FnMut(&mut vt100::Parser, &str) -> Result<()>,
) -> Result<(String, vt100::Parser)> {
    const ROWS: u16 = 60;
    const COLUMNS: u16 = 40;
    let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None)?;
    let name = nix::unistd::ttyname(&pty.slave)?.display().to_string();
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,TERM").arg(tool::binary()?).args(args);
    command.env_clear().env("TERM", "xterm").env("LC_ALL", "C").envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(pty.slave.try_clone()?).stderr(pty.slave);
    let mut child = command.spawn()?;
    // The child alone has the terminal now: when it ends, so does what we read.
    drop(command);
    let mut master = std::fs::File::from(pty.master);
    let mut screen = vt100::Parser::new(cells(ROWS)?, cells(COLUMNS)?, 0);
    let mut raw = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = master.read(&mut buffer) {
        let piece = buffer.get(..length).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        raw.extend_from_slice(piece);
        screen.process(piece);
        look(&mut screen, &name)?;
    }
    let status = child.wait()?;
    let raw = String::from_utf8_lossy(&raw).into_owned();
    ensure!(status.success(), "{status}: {raw}");
    Ok((raw, screen))
}

fn backup_words(server: &Server, trip: &Trip, more: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = ["backup", "--no-defaults", "--user=root", "--name", NAME, "--repo"]
        .into_iter()
        .map(str::to_owned)
        .collect();
    words.push(trip.repo().display().to_string());
    words.push(format!("--socket={}", server.socket().display()));
    words.extend(more.iter().map(|word| (*word).to_owned()));
    words
}

#[test]
fn a_manager_that_does_not_listen_stops_no_backup() -> Result<()> {
    let server = source("mariadb-10.11")?;
    let trip = Trip::new()?;
    let path = trip.place("notify");
    let _deaf = UnixDatagram::bind(&path)?;
    let run = trip.backup(&server)?.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "4000");
    run.run()?.expect_success()?;
    Ok(())
}

#[test]
fn progress_is_one_block_of_the_terminals_width() -> Result<()> {
    let server = source("mariadb-10.11")?;
    let trip = Trip::new()?;
    let mut seen = [false; 2];
    let words = backup_words(&server, &trip, &["--rate", "6M"]);
    let (raw, screen) = on_terminal(&words, &[], |screen, terminal| {
        let rows: Vec<String> = screen.screen().rows(0, 200).collect();
        let block: Vec<&String> =
            rows.iter().filter(|row| row.contains("copy") && row.contains('[')).collect();
        ensure!(block.len() <= 1, "the block is there twice: {rows:?}");
        let Some(block) = block.first() else { return Ok(()) };
        // A row that belongs to the block and does not begin like it.
        ensure!(
            !rows.iter().any(|row| row != *block && row.contains(" left")),
            "the block is broken: {rows:?}"
        );
        if !seen[0] {
            seen[0] = true;
            let status = Command::new("stty").args(["-F", terminal, "cols", "120"]).status()?;
            ensure!(status.success(), "stty: {status}");
            screen.screen_mut().set_size(cells(60)?, cells(120)?);
        }
        seen[1] |= block.trim_end().chars().count() > 40;
        Ok(())
    })?;
    ensure!(seen == [true, true], "the block was drawn, and drawn wider: {seen:?}\n{raw}");
    let left = screen.screen().contents();
    ensure!(left.contains("backed up") && left.contains("coordinates"), "{left}");
    ensure!(!left.contains('['), "the block is still there: {left}");
    ensure!(left.is_ascii(), "a locale without UTF-8 got more than ASCII: {left}");
    Ok(())
}

#[test]
fn short_runs_draw_nothing_and_colours_can_be_had_without() -> Result<()> {
    let server = source("mariadb-10.11")?;
    let trip = Trip::new()?;
    trip.backup(&server)?.run()?.expect_success()?;
    let list = ["list".to_owned(), "--repo".to_owned(), trip.repo().display().to_string()];
    let (raw, _) = on_terminal(&list, &[], |_, _| Ok(()))?;
    ensure!(raw.contains(NAME) && !raw.contains('\u{1b}'), "{raw:?}");
    let colour = "\u{1b}[3";
    let words = backup_words(&server, &trip, &["--log-level", "debug"]);
    let (raw, _) = on_terminal(&words, &[], |_, _| Ok(()))?;
    ensure!(raw.contains(colour), "logs on a terminal have no colours: {raw:?}");
    let (raw, _) = on_terminal(&words, &[("NO_COLOR", "1")], |_, _| Ok(()))?;
    ensure!(!raw.contains(colour) && raw.contains("DEBUG"), "{raw:?}");
    let piped = trip.backup(&server)?.args(["--log-level", "debug"]).run()?.expect_success()?;
    ensure!(!piped.stderr.contains('\u{1b}') && piped.stderr.contains("DEBUG"), "{}", piped.stderr);
    Ok(())
}

/// A server's own account of what it was told to do, by whatever means.
fn history(server: &Server) -> Result<String> {
    server.value(match server.kind().family {
        Family::MariaDb => "SELECT @@global.gtid_binlog_pos",
        Family::MySql => "SELECT @@global.gtid_executed",
    })
}

fn mode(path: &Path) -> Result<u32> {
    Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.permissions().mode() & 0o777)
}

fn least_privilege(name: &str) -> Result<()> {
    let server = source(name)?;
    let trip = Trip::new()?;
    let config = trip.place("etc/reseed.toml");
    let option_file = trip.place(&format!("etc/{NAME}.cnf"));
    let setup = || -> Result<Reseed> {
        Ok(Reseed::new(["setup", "--name", NAME, "--no-defaults"])?
            .arg("--repo")
            .arg(trip.repo())
            .arg("--config")
            .arg(&config)
            .to(&server))
    };
    let before = history(&server)?;
    let shown = setup()?.run()?.expect_success()?;
    ensure!(
        shown.stdout.contains("CREATE USER 'reseed'@'localhost' IDENTIFIED BY '<PASSWORD>'"),
        "{shown:?}"
    );
    ensure!(!config.exists() && !option_file.exists() && !trip.repo().exists(), "it was only to be shown");

    let done = setup()?.arg("--run").args(["--log-level", "trace"]).run()?.expect_success()?;
    ensure!(done.stdout.is_empty() && done.stderr.contains("next"), "{done:?}");
    ensure!(mode(&option_file)? == 0o600 && mode(&config)? == 0o644);
    let text = std::fs::read_to_string(&option_file)?;
    let password = text.lines().find_map(|line| line.strip_prefix("password=")).context("no password")?;
    ensure!(!done.stderr.contains(password), "the password was told");
    ensure!(history(&server)? == before, "the account is in the binary log: a replica would have strayed");
    let grants = server.rows("SHOW GRANTS FOR reseed@localhost")?.concat().join("\n");
    ensure!(!grants.contains("ALL PRIVILEGES") && !grants.contains("SUPER"), "{grants}");

    // Once more: everything is kept.
    let again = setup()?.args(["--run", "--json"]).run()?.expect_success()?;
    let document: serde_json::Value = serde_json::from_str(&again.stdout)?;
    ensure!(document["done"] == true && document["account"] == "reseed", "{document}");
    ensure!(std::fs::read_to_string(&option_file)? == text, "the option file was written again");
    let sections = std::fs::read_to_string(&config)?;
    ensure!(sections.matches("[server.").count() == 1, "{sections}");
    // An account whose password is nowhere: nothing is guessed, nothing is left.
    std::fs::rename(&option_file, trip.place("kept.cnf"))?;
    let refused = setup()?.arg("--run").run()?.expect_code(1)?;
    ensure!(refused.stderr.contains("--account") && !option_file.exists(), "{refused:?}");
    std::fs::rename(trip.place("kept.cnf"), &option_file)?;

    let with_config = |command: &str| -> Result<Reseed> {
        Ok(Reseed::new([command, "--name", NAME, "--config"])?.arg(&config))
    };
    with_config("backup")?.run()?.expect_success()?;
    with_config("verify")?.args(["latest", "--pages"]).run()?.expect_success()?;
    with_config("expire")?.arg("--dry-run").run()?.expect_success()?;
    let datadir = trip.place("restored");
    with_config("restore")?.arg("latest").arg("--datadir").arg(&datadir).run()?.expect_success()?;
    let restored = on_restored(&server, &datadir, 2).start()?;
    ensure!(restored.checksums()? == server.checksums()?);
    // The account came along, and a missing privilege is named when setup tests it.
    server.sql(&["REVOKE PROCESS ON *.* FROM reseed@localhost"])?;
    let lacking = setup()?.arg("--run").run()?.expect_code(4)?;
    ensure!(lacking.stderr.contains("GRANT PROCESS ON *.*"), "{}", lacking.stderr);
    Ok(())
}

#[test]
fn the_account_of_setup_is_enough_on_mariadb() -> Result<()> {
    least_privilege("mariadb-10.11")
}

#[test]
fn the_account_of_setup_is_enough_on_mysql() -> Result<()> {
    least_privilege("mysql-9.7")
}

/// Whoever reads a run's output may go away at any time.
#[test]
fn a_reader_that_went_away_costs_no_backup() -> Result<()> {
    let server = source("mariadb-10.11")?;
    let trip = Trip::new()?;
    let mut child = Command::new(tool::binary()?)
        .args(backup_words(&server, &trip, &["--json"]))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop((child.stdout.take(), child.stderr.take()));
    let status = child.wait()?;
    ensure!(status.code() == Some(0), "{status}");
    ensure!(trip.sets()?.len() == 1, "the set is not there");
    Ok(())
}
