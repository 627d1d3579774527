//! Whatever can go wrong with a backup: a clear sentence, its own exit code, no lock left in the server, no set
//! that looks whole and is not. Afterwards the next run succeeds.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use reseed_innodb::{Flavour, Lsn, PageId, PageNo, SpaceId, identify_page0, seal_page};
use reseed_tests::faults::{Pause, assert_nothing_left, small};
use reseed_tests::workload::{Shape, Workload};
use reseed_tests::{Finished, Kit, Reseed, Server, Trip};

const SERVER: &str = "mariadb-10.11";
/// Behind the last of them, `backup.publish`, a run may end well as fast as it may be interrupted.
const BACKUP_POINTS: [&str; 7] = [
    "backup.connect",
    "backup.follower",
    "backup.copy",
    "backup.inventory",
    "backup.lock",
    "backup.coordinates",
    "backup.release",
];

fn says(finished: &Finished, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(finished.stderr.contains(word), "no {word:?} in the message:\n{}", finished.stderr);
    }
    Ok(())
}

/// Nothing published, nothing left in the server, and the next run is good.
fn recovers(trip: &Trip, server: &Server) -> Result<()> {
    ensure!(trip.sets()?.is_empty(), "published: {:?}", trip.sets()?);
    assert_nothing_left(server)?;
    trip.backup(server)?.run()?.expect_success()?;
    ensure!(trip.sets()?.len() == 1, "after the next run: {:?}", trip.sets()?);
    Ok(())
}

#[test]
fn a_server_that_cannot_be_reached() -> Result<()> {
    let trip = Trip::new()?;
    let backup = |more: &[&str]| -> Result<Finished> {
        Reseed::new(["backup", "--name=source", "--no-defaults", "--user=root"])?
            .arg("--repo")
            .arg(trip.repo())
            .args(more)
            .run()
    };
    let gone = format!("--socket={}", trip.place("no-socket").display());
    says(&backup(&[&gone])?.expect_code(3)?, &["no-socket"])?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    says(&backup(&["--host=127.0.0.1", &format!("--port={port}")])?.expect_code(3)?, &[&port.to_string()])?;
    Ok(())
}

#[test]
fn a_wrong_password_and_missing_privileges_and_then_the_grants_as_printed() -> Result<()> {
    let server = small(SERVER)?;
    server.sql(&["CREATE USER poor@localhost IDENTIFIED BY 'secret'"])?;
    let trip = Trip::new()?;
    let backup = |password: &str| -> Result<Finished> {
        let file = trip.place("password");
        fs::write(&file, password)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        Reseed::new(["backup", "--name=source", "--no-defaults", "--user=poor"])?
            .arg("--repo")
            .arg(trip.repo())
            .arg(format!("--socket={}", server.socket().display()))
            .arg(format!("--password-file={}", file.display()))
            .run()
    };
    backup("wrong")?.expect_code(3)?;
    let refused = backup("secret")?.expect_code(4)?;
    ensure!(!refused.stderr.contains("secret"), "the password is in the message");
    let grants: Vec<String> = refused
        .stderr
        .lines()
        .filter_map(|line| line.trim().strip_prefix("GRANT "))
        .map(|rest| format!("GRANT {}", rest.trim_end_matches(';')))
        .collect();
    ensure!(!grants.is_empty(), "no GRANT in the message:\n{}", refused.stderr);
    server.sql(&grants.iter().map(String::as_str).collect::<Vec<_>>())?;
    backup("secret")?.expect_success().context("the printed grants do not suffice")?;
    Ok(())
}

#[test]
fn a_datadir_that_is_not_this_servers() -> Result<()> {
    let mut server = small(SERVER)?;
    // With a checkpoint that the other's log cannot have reached.
    server.restart()?;
    let other = Kit::server(SERVER)?.prepare()?;
    let trip = Trip::new()?;
    let away = server.datadir().with_extension("away");
    fs::rename(server.datadir(), &away)?;
    std::os::unix::fs::symlink(other.datadir(), server.datadir())?;
    let refused = trip.backup(&server)?.run();
    fs::remove_file(server.datadir())?;
    fs::rename(&away, server.datadir())?;
    let refused = refused?;
    ensure!(!matches!(refused.code, Some(0) | None), "{refused:?}");
    says(&refused, &[&server.datadir().display().to_string()])?;
    recovers(&trip, &server)
}

#[test]
fn a_repository_that_is_not_writable_or_full() -> Result<()> {
    let server = small(SERVER)?;
    let trip = Trip::new()?;
    fs::write(trip.place("file"), "")?;
    let below_a_file = trip.place("file").join("repo");
    Reseed::new(["backup", "--name=source"])?
        .arg("--repo")
        .arg(&below_a_file)
        .to(&server)
        .run()?
        .expect_code(9)?;
    for point in ["io.write=enospc@3", "io.sync=eio", "io.rename=enospc"] {
        let failed = trip.backup(&server)?.env("RESEED_FAILPOINTS", point).run()?;
        failed.expect_code(9).with_context(|| format!("failpoint {point}"))?;
        ensure!(trip.sets()?.is_empty(), "published in spite of {point}");
    }
    recovers(&trip, &server)
}

#[test]
fn a_second_run_on_the_same_name_is_told_who_is_first() -> Result<()> {
    let server = small(SERVER)?;
    let trip = Trip::new()?;
    let pause = Pause::at("backup.copy", &trip.place(""));
    let mut first = pause.on(trip.backup(&server)?).spawn()?;
    pause.wait(&mut first)?;
    let second = trip.backup(&server)?.run()?.expect_code(5)?;
    says(&second, &[&first.pid().to_string()])?;
    pause.let_go()?;
    first.wait()?.expect_success()?;
    ensure!(trip.sets()?.len() == 1, "{:?}", trip.sets()?);
    assert_nothing_left(&server)
}

#[test]
fn a_lock_that_is_not_to_be_had_within_the_limit() -> Result<()> {
    let server = small(SERVER)?;
    let trip = Trip::new()?;
    let mut other = server.session()?;
    other.exec("BACKUP STAGE START")?;
    let refused = trip.backup(&server)?.arg("--lock-wait=2s").run()?.expect_code(6)?;
    says(&refused, &["BACKUP STAGE"])?;
    other.exec("BACKUP STAGE END")?;
    drop(other);
    recovers(&trip, &server)
}

#[test]
fn a_corrupt_page_is_named_and_nothing_is_published() -> Result<()> {
    let mut server = small(SERVER)?;
    let space =
        server.value("SELECT space FROM information_schema.innodb_sys_tablespaces WHERE name = 'shop/t'")?;
    server.stop()?;
    let file = fs::OpenOptions::new().write(true).open(server.datadir().join("shop/t.ibd"))?;
    file.write_all_at(b"this is no page of this table", 7 * 16384 + 5000)?;
    server.start()?;
    let trip = Trip::new()?;
    let refused = trip.backup(&server)?.run()?.expect_code(8)?;
    says(&refused, &["shop/t.ibd", "page 7", &space])?;
    ensure!(trip.sets()?.is_empty(), "published: {:?}", trip.sets()?);
    assert_nothing_left(&server)
}

#[test]
fn a_page_that_is_newer_than_the_server_is_named_and_nothing_is_published() -> Result<()> {
    const PAGE: u32 = 70;
    let mut server = small(SERVER)?;
    server.stop()?;
    let file = fs::OpenOptions::new().read(true).write(true).open(server.datadir().join("shop/t.ibd"))?;
    let mut head = vec![0; 16384];
    file.read_exact_at(&mut head, 0)?;
    let format = identify_page0(&head, Flavour::MariaDb)?.context("page 0 is empty")?;
    let space = SpaceId(u32::from_be_bytes(head.get(34..38).context("a short page")?.try_into()?));
    let mut page = vec![0; 16384];
    file.read_exact_at(&mut page, u64::from(PAGE) * 16384)?;
    seal_page(&mut page, &format, PageId { space, page: PageNo(PAGE) }, Lsn(1 << 40))?;
    file.write_all_at(&page, u64::from(PAGE) * 16384)?;
    server.start()?;
    let trip = Trip::new()?;
    let refused = trip.backup(&server)?.run()?.expect_code(8)?;
    says(&refused, &["shop/t.ibd", "page 70", "LSN 1099511627776"])?;
    ensure!(trip.sets()?.is_empty(), "published: {:?}", trip.sets()?);
    assert_nothing_left(&server)
}

#[test]
fn interrupted_anywhere_a_backup_leaves_nothing_and_the_next_one_is_good() -> Result<()> {
    let server = small(SERVER)?;
    let trip = Trip::new()?;
    for point in BACKUP_POINTS {
        let pause = Pause::at(point, &trip.place(""));
        let mut run = pause.on(trip.backup(&server)?).spawn()?;
        pause.wait(&mut run)?;
        run.signal(Signal::SIGINT)?;
        pause.let_go()?;
        run.wait()?.expect_code(130).with_context(|| format!("SIGINT at {point}"))?;
        ensure!(trip.sets()?.is_empty(), "published in spite of SIGINT at {point}");
        assert_nothing_left(&server).with_context(|| format!("after SIGINT at {point}"))?;
    }
    recovers(&trip, &server)
}

#[test]
fn killed_anywhere_a_backup_publishes_nothing_and_the_next_one_is_good() -> Result<()> {
    let server = small(SERVER)?;
    let trip = Trip::new()?;
    for point in BACKUP_POINTS.into_iter().chain(["backup.publish"]) {
        let run = trip.backup(&server)?.env("RESEED_FAILPOINTS", format!("{point}=kill")).run()?;
        ensure!(run.code.is_none(), "not killed at {point}: {run:?}");
        ensure!(trip.sets()?.is_empty(), "published in spite of a kill at {point}");
        assert_nothing_left(&server).with_context(|| format!("after a kill at {point}"))?;
    }
    recovers(&trip, &server)
}

#[test]
fn a_backup_needs_little_memory() -> Result<()> {
    const MOST: u64 = 256 << 20;
    let server = Kit::server(SERVER)?.start()?;
    let workload = Workload::prepare(&server, Shape { mib: 48, ..Shape::seeded(9) })?;
    let running = workload.start()?;
    let trip = Trip::new()?;
    let mut run = trip.backup(&server)?.spawn()?;
    let mut peak = 0;
    while !run.has_ended()? {
        peak = peak.max(run.peak_memory().unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    run.wait()?.expect_success()?;
    running.stop()?;
    println!("peak memory of a backup: {} MiB", peak >> 20);
    ensure!(peak > 0 && peak < MOST, "peak memory was {} MiB", peak >> 20);
    Ok(())
}
