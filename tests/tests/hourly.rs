//! What an hourly timer meets: a configuration file, runs that pile up, a server that does not give its locks, hooks,
//! and whoever reads what became of the run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reseed_tests::faults::{Pause, assert_nothing_left, small};
use reseed_tests::trip::NAME;
use reseed_tests::{Finished, Reseed, Server, Session, Trip};
use serde_json::Value;

const MARIADB: &str = "mariadb-10.11";
const MYSQL: &str = "mysql-9.7";
const RUNS: usize = 200;

/// A configuration file for the server, with more lines for its section.
fn configure(trip: &Trip, server: &Server, more: &str) -> Result<PathBuf> {
    let file = trip.place("reseed.toml");
    let text = format!(
        "repo = {:?}\nmetrics-file = {:?}\n[server.{NAME}]\nuser = \"root\"\nsocket = {:?}\n{more}\n",
        trip.repo(),
        trip.place("{name}.prom"),
        server.socket()
    );
    fs::write(&file, text)?;
    Ok(file)
}

fn backup(config: &Path) -> Result<Reseed> {
    Ok(Reseed::new(["backup", "--name", NAME])?.env("RESEED_CONFIG", config))
}

fn status(trip: &Trip) -> Result<Value> {
    let file = trip.repo().join(NAME).join("status.json");
    let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn metric(trip: &Trip, name: &str) -> Result<f64> {
    let text = fs::read_to_string(trip.place(&format!("{NAME}.prom")))?;
    let start = format!("reseed_{name}{{name=\"{NAME}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.with_context(|| format!("no {name} in:\n{text}"))?.parse().context("no number")
}

/// All that a run may leave in a server's part of the repository.
fn nothing_but_sets(trip: &Trip, sets: usize) -> Result<()> {
    ensure!(trip.sets()?.len() == sets, "{:?}", trip.sets()?);
    for entry in fs::read_dir(trip.repo().join(NAME))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let known = name == ".lock" || name == "status.json" || trip.sets()?.contains(&name);
        ensure!(known, "left over: {name}");
    }
    Ok(())
}

#[test]
fn a_name_is_enough_where_the_configuration_says_the_rest() -> Result<()> {
    let server = small(MARIADB)?;
    let trip = Trip::new()?;
    let heard = trip.place("heard");
    let note = format!("env | grep ^RESEED_ | sort >> {0}; echo == >> {0}", heard.display());
    let more = format!(
        "hook-before = {note:?}\nhook-after = {note:?}\nhook-failure = {note:?}\npriority = \"low\"\nkeep-fulls = 1\n"
    );
    let config = configure(&trip, &server, &more)?;
    for number in 1..=2 {
        let run = backup(&config)?.run()?.expect_success()?;
        ensure!(run.stdout.is_empty(), "a hook's output on stdout: {}", run.stdout);
        nothing_but_sets(&trip, number)?;
    }
    let newest = trip.sets()?.pop().context("no set")?;
    let told = fs::read_to_string(&heard)?;
    let parts: Vec<&str> = told.split("==\n").collect();
    ensure!(
        parts.len() == 5 && parts.iter().take(4).all(|part| part.contains("RESEED_NAME=source\n")),
        "{told}"
    );
    ensure!(parts[0].contains("RESEED_HOOK=before\n") && !parts[0].contains("RESEED_EXIT_CODE"), "{told}");
    ensure!(parts[3].contains("RESEED_HOOK=after\n"), "{told}");
    ensure!(
        parts[3].contains(&format!("RESEED_SET={newest}\n")) && parts[3].contains("RESEED_EXIT_CODE=0\n"),
        "{told}"
    );

    let status = status(&trip)?;
    ensure!(status["last_run"]["exit_code"] == 0 && status["last_run"]["set"] == newest.as_str(), "{status}");
    ensure!(status["last_success"]["id"] == newest.as_str(), "{status}");
    ensure!(metric(&trip, "last_run_exit_code")? == 0.0 && metric(&trip, "sets")? == 2.0);
    ensure!(metric(&trip, "last_run_redo_bytes")? > 0.0 && metric(&trip, "repository_free_bytes")? > 0.0);

    let name = |command: &str, more: &[&str]| -> Result<Finished> {
        Reseed::new([command, "--name", NAME])?
            .args(more)
            .env("RESEED_CONFIG", &config)
            .run()?
            .expect_success()
    };
    name("verify", &["latest"])?;
    name("check", &["--age=1h"])?;
    name("expire", &[])?;
    nothing_but_sets(&trip, 1)?;
    name("restore", &["latest", "--datadir", &trip.place("restored").display().to_string()])?;
    Ok(())
}

#[test]
fn repositories_go_by_name() -> Result<()> {
    let server = small(MARIADB)?;
    let trip = Trip::new()?;
    let config = trip.place("reseed.toml");
    let text = format!(
        "[repository.nas]\npath = {:?}\ncompress = \"none\"\nkeep-fulls = 1\n[repository.local]\npath = {:?}\n\
         [server.{NAME}]\nrepo = \"nas\"\nuser = \"root\"\nsocket = {:?}\n",
        trip.place("nas/{name}"),
        trip.place("local"),
        server.socket()
    );
    fs::write(&config, &text)?;
    let named = |command: &str, more: &[&str]| -> Result<Reseed> {
        Ok(Reseed::new([command, "--name", NAME])?.args(more).env("RESEED_CONFIG", &config))
    };
    let sets = |repo: &str| -> Result<Vec<String>> {
        let list = named("list", &["--json", "--repo", repo])?.run()?.expect_success()?;
        let list: Value = serde_json::from_str(&list.stdout)?;
        let sets = list["servers"][0]["sets"].as_array().cloned().unwrap_or_default();
        Ok(sets.iter().map(|set| set["id"].as_str().unwrap_or_default().to_owned()).collect())
    };
    for more in [&[][..], &[], &["--repo=local"], &["--repo", "local"]] {
        named("backup", more)?.run()?.expect_success()?;
    }
    let (nas, local) = (sets("nas")?, sets("local")?);
    ensure!(nas.len() == 2 && local.len() == 2, "{nas:?} {local:?}");
    // What counts in one of them does not in the other.
    let pack = |repo: &str, set: &str, pack: &str| trip.place(repo).join(NAME).join(set).join(pack).exists();
    ensure!(pack(&format!("nas/{NAME}"), &nas[0], "data-0000.tar"), "not as its repository has it");
    ensure!(pack("local", &local[0], "data-0000.tar.zst"), "not by the default");
    let no_rule = named("expire", &["--repo", "local"])?.run()?.expect_code(2)?;
    ensure!(no_rule.stderr.contains("--keep"), "{}", no_rule.stderr);
    // The same by its directory, which is not to be expired by other rules than by its name.
    let dir = trip.place("nas").join(NAME).display().to_string();
    named("expire", &["--repo", &dir])?.run()?.expect_success()?;
    ensure!(sets("nas")? == nas[1..] && sets("local")? == local, "{:?} {:?}", sets("nas")?, sets("local")?);

    // A slip is told, and makes no repository of it.
    let work = trip.place("work");
    fs::create_dir_all(&work)?;
    let slip = || -> Result<Reseed> { Ok(named("backup", &["--repo=loacl"])?.within(&work)) };
    let refused = slip()?.run()?.expect_code(2)?;
    ensure!(refused.stderr.contains("did you mean \"local\"?"), "{}", refused.stderr);
    ensure!(refused.stderr.contains("--repo ./loacl"), "{}", refused.stderr);
    // Nor does it count whether there is such a directory: that has a slash.
    fs::create_dir_all(work.join("local"))?;
    fs::create_dir_all(work.join("loacl"))?;
    slip()?.run()?.expect_code(2)?;
    named("backup", &["--repo=local"])?.within(&work).run()?.expect_success()?;
    ensure!(sets("local")?.len() == 3, "{:?}", sets("local")?);
    named("backup", &["--repo=./local"])?.within(&work).run()?.expect_success()?;
    ensure!(sets("local")?.len() == 3 && work.join("local").join(NAME).exists(), "not the directory");

    let show = Reseed::new(["config", "show", "--given", "--server", NAME])?.env("RESEED_CONFIG", &config);
    let shown = show.run()?.expect_success()?.stdout;
    for part in [&dir, "([server.source]: \"nas\")", "keep-fulls", "([repository.nas])"] {
        ensure!(shown.contains(part), "no {part} in:\n{shown}");
    }

    // Setup knows the name, and leaves its rules to the repository that has some.
    let setup = Reseed::new(["setup", "--run", "--no-defaults", "--name=db2", "--repo=nas"])?;
    setup.env("RESEED_CONFIG", &config).to(&server).run()?.expect_success()?;
    let section = fs::read_to_string(&config)?.replacen(&text, "", 1);
    ensure!(section.contains("repo = \"nas\"") && !section.contains("keep-"), "{section}");
    ensure!(trip.place("nas/db2").is_dir(), "no repository was made");
    Reseed::new(["backup", "--name=db2"])?.env("RESEED_CONFIG", &config).run()?.expect_success()?;
    ensure!(trip.place("nas/db2/db2").is_dir(), "no set");
    assert_nothing_left(&server)
}

#[test]
fn hooks_that_fail_or_hang() -> Result<()> {
    let server = small(MARIADB)?;
    let trip = Trip::new()?;
    let plain = configure(&trip, &server, "")?;
    let with = |hooks: &[&str]| -> Result<Finished> { backup(&plain)?.args(hooks).run() };
    let refused = with(&["--hook-before=exit 3"])?.expect_code(15)?;
    ensure!(refused.stderr.contains("code 3"), "{}", refused.stderr);
    ensure!(trip.sets()?.is_empty() && !trip.repo().exists(), "something was done");
    let hung = with(&["--hook-before=sleep 1000 & wait", "--hook-limit=200ms"])?.expect_code(15)?;
    ensure!(hung.stderr.contains("--hook-limit"), "{}", hung.stderr);
    for hook in ["--hook-after=exit 3", "--hook-after=sleep 1000"] {
        let warned = with(&[hook, "--hook-limit=200ms"])?.expect_success()?;
        ensure!(warned.stderr.contains("--hook-after"), "{}", warned.stderr);
    }
    ensure!(trip.sets()?.len() == 2, "{:?}", trip.sets()?);
    let told = trip.place("told");
    let hook =
        format!("--hook-failure=echo $RESEED_EXIT_CODE > {0}; echo \"$RESEED_ERROR\" >> {0}", told.display());
    with(&[&hook, "--socket=/nonexistent/socket"])?.expect_code(3)?;
    let told = fs::read_to_string(told)?;
    ensure!(told.starts_with("3\n") && told.contains("/nonexistent/socket"), "{told}");
    let status = status(&trip)?;
    ensure!(status["last_run"]["exit_code"] == 3, "{status}");
    ensure!(status["last_success"]["id"] == trip.sets()?[1].as_str(), "{status}");
    Ok(())
}

#[test]
fn outside_of_its_hours_a_backup_does_nothing() -> Result<()> {
    let server = small(MARIADB)?;
    let trip = Trip::new()?;
    let config = configure(&trip, &server, "")?;
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    // Twelve hours away, so that an hour that ends meanwhile makes no difference.
    let away = (seconds / 3600 + 12) % 24;
    let hours = format!("--hours={away}-{}", away + 1);
    backup(&config)?.arg(&hours).run()?.expect_code(16)?;
    ensure!(!trip.repo().exists(), "something was done");
    backup(&config)?.arg("--hours=0-24").run()?.expect_success()?;
    Ok(())
}

#[test]
fn of_two_hundred_runs_at_once_one_works() -> Result<()> {
    let server = small(MARIADB)?;
    let trip = Trip::new()?;
    let config = configure(&trip, &server, "")?;
    backup(&config)?.run()?.expect_success()?;
    // The one that works is held until all others have been refused.
    let pause = Pause::at("backup.copy", &trip.place(""));
    let mut first = pause.on(backup(&config)?).spawn()?;
    pause.wait(&mut first)?;
    let connected = || -> Result<u64> {
        let rows = server.rows("SHOW GLOBAL STATUS LIKE 'Connections'")?;
        Ok(rows.first().and_then(|row| row.get(1)).context("no such status")?.parse()?)
    };
    let before = connected()?;
    let others = (1..RUNS).map(|_| backup(&config)?.spawn()).collect::<Result<Vec<_>>>()?;
    for other in others {
        let refused = other.wait()?.expect_code(5)?;
        ensure!(refused.stderr.contains(&format!("pid {}", first.pid())), "{}", refused.stderr);
    }
    let by_others = connected()?.saturating_sub(before);
    ensure!(by_others < 10, "runs that were refused connected {by_others} times");
    pause.let_go()?;
    first.wait()?.expect_success()?;
    nothing_but_sets(&trip, 2)?;
    ensure!(status(&trip)?["last_run"]["exit_code"] == 0, "{}", status(&trip)?);
    assert_nothing_left(&server)
}

/// Nothing of a run that gave up waits in the server.
fn nobody_but(server: &Server, holder: &Session) -> Result<()> {
    let mut session = server.session()?;
    let others = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE id NOT IN (CONNECTION_ID(), {}) \
         AND command <> 'Daemon' AND user NOT IN ('system user', 'event_scheduler')",
        holder.id()
    );
    let since = Instant::now();
    while session.value(&others)? != "0" {
        ensure!(since.elapsed() < Duration::from_secs(120), "a session of the run is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A session holds a table for as long as the test runs, which to a timer is an hour.
fn a_held_table(server: &Server) -> Result<()> {
    let trip = Trip::new()?;
    let config = configure(&trip, server, "lock-wait = \"2s\"")?;
    backup(&config)?.run()?.expect_success()?;
    let mut holder = server.session()?;
    holder.exec("LOCK TABLES shop.m WRITE")?;
    for _ in 0..2 {
        backup(&config)?.run()?.expect_code(6)?;
        nobody_but(server, &holder)?;
        ensure!(trip.sets()?.len() == 1, "published: {:?}", trip.sets()?);
        ensure!(metric(&trip, "last_run_exit_code")? == 6.0 && metric(&trip, "sets")? == 1.0);
        ensure!(status(&trip)?["last_run"]["exit_code"] == 6, "{}", status(&trip)?);
    }
    // Whoever holds it goes on undisturbed.
    holder.exec("INSERT INTO shop.m VALUES (1)")?;
    holder.exec("UNLOCK TABLES")?;
    backup(&config)?.run()?.expect_success()?;
    ensure!(metric(&trip, "last_run_exit_code")? == 0.0);
    nothing_but_sets(&trip, 2)
}

#[test]
fn a_table_that_is_held_on_mariadb() -> Result<()> {
    a_held_table(&small(MARIADB)?)
}

#[test]
fn a_table_that_is_held_on_mysql() -> Result<()> {
    a_held_table(&small(MYSQL)?)
}

/// How many offsets a disk is full at.
const FULL_AT: u64 = 50;

#[test]
fn a_disk_that_is_full_at_fifty_offsets() -> Result<()> {
    let server = small(MARIADB)?;
    let trip = Trip::new()?;
    let config = configure(&trip, &server, "")?;
    // The first one has the redo of the server's own beginnings in it.
    for _ in 0..2 {
        backup(&config)?.run()?.expect_success()?;
    }
    let set = trip.repo().join(NAME).join(trip.sets()?.pop().context("no set")?);
    let files = || -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let paths = fs::read_dir(&set)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.into_iter().map(|path| Ok((path.clone(), fs::read(path)?))).collect()
    };
    let before = files()?;
    let bytes: usize = before.iter().map(|(_, bytes)| bytes.len()).sum();
    for nth in 0..FULL_AT {
        // The next set is not quite as large.
        let room = bytes as u64 * 95 / 100 * nth / FULL_AT;
        let failed = backup(&config)?.env("RESEED_FAILPOINTS", format!("io.write=room:{room}")).run()?;
        let failed = failed.expect_code(9).with_context(|| format!("full after {room} of {bytes} bytes"))?;
        ensure!(
            failed.stderr.contains("No space left") && failed.stderr.contains(" hint: "),
            "{}",
            failed.stderr
        );
        ensure!(trip.sets()?.len() == 2, "published with room for {room} bytes: {:?}", trip.sets()?);
    }
    ensure!(files()? == before, "the old set was touched");
    backup(&config)?.run()?.expect_success()?;
    nothing_but_sets(&trip, 3)?;
    Reseed::new(["verify", "--name", NAME, "all", "--pages"])?
        .env("RESEED_CONFIG", &config)
        .run()?
        .expect_success()?;
    assert_nothing_left(&server)
}

#[test]
fn a_configuration_with_a_mistake_stops_the_run() -> Result<()> {
    let server = small(MARIADB)?;
    let trip = Trip::new()?;
    let config = configure(&trip, &server, "treads = 2")?;
    let refused = backup(&config)?.run()?.expect_code(2)?;
    ensure!(
        refused.stderr.contains("line 6") && refused.stderr.contains("\"threads\""),
        "{}",
        refused.stderr
    );
    let options = trip.place("db.cnf");
    fs::write(&options, "[client]\npassword=hunter2\n")?;
    fs::set_permissions(&options, fs::Permissions::from_mode(0o644))?;
    let config = configure(&trip, &server, &format!("defaults-file = {options:?}"))?;
    let refused = backup(&config)?.run()?.expect_code(2)?;
    ensure!(
        refused.stderr.contains("readable by everybody") && !refused.stderr.contains("hunter2"),
        "{}",
        refused.stderr
    );
    ensure!(!trip.repo().exists(), "something was done");
    Ok(())
}
