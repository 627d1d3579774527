//! `--delta`: an old datadir becomes the new one, and only what differs is written. The result is the same, byte by
//! byte, as that of a restore into an empty directory, whatever the old one was like and wherever a run before was
//! killed.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use reseed_tests::server::{REPLICATION_PASSWORD, REPLICATION_USER};
use reseed_tests::trip::{on_restored, pipe_into_client};
use reseed_tests::workload::{Shape, Workload};
use reseed_tests::{Finished, Kit, Reseed, Server, Trip, oracle, replication};

/// Rows that no load touches, as most rows of a large server are on any given day.
const HISTORY: &[&str] = &[
    "CREATE DATABASE archive",
    "CREATE TABLE archive.history (id INT AUTO_INCREMENT PRIMARY KEY, c VARBINARY(2000))",
    "INSERT INTO archive.history (c) VALUES (REPEAT('a', 1900)), (REPEAT('b', 1900))",
];

fn number(run: &Finished, name: &str) -> Result<u64> {
    let document: serde_json::Value = serde_json::from_str(&run.stdout)?;
    document.get(name).and_then(serde_json::Value::as_u64).with_context(|| format!("no {name} in {document}"))
}

/// Every file and directory below, with its mode, and its bytes where it is a file.
fn tree(dir: &Path) -> Result<Vec<(PathBuf, u32, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut directories = vec![dir.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            let bytes = if meta.is_file() { fs::read(&path)? } else { Vec::new() };
            found.push((path.strip_prefix(dir)?.to_owned(), meta.mode(), bytes));
            if meta.is_dir() {
                directories.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn assert_same_tree(wanted: &Path, got: &Path) -> Result<()> {
    let (wanted, got) = (tree(wanted)?, tree(got)?);
    let names = |tree: &[(PathBuf, u32, Vec<u8>)]| -> Vec<(PathBuf, u32)> {
        tree.iter().map(|(path, mode, _)| (path.clone(), *mode)).collect()
    };
    ensure!(names(&wanted) == names(&got), "other files: {:#?}\n{:#?}", names(&wanted), names(&got));
    for ((path, _, left), (_, _, right)) in wanted.iter().zip(&got) {
        let differs = left.iter().zip(right).position(|(left, right)| left != right);
        ensure!(left == right, "{} differs, first at {differs:?}", path.display());
    }
    Ok(())
}

/// A copy that keeps holes, owners and modes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(done.success(), "cp failed");
    Ok(())
}

fn asides(datadir: &Path) -> Result<Vec<PathBuf>> {
    let name = format!("{}.reseed-aside-", datadir.file_name().context("no name")?.to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(datadir.parent().context("no parent")?)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|own| own.to_string_lossy().starts_with(&name)) {
            found.push(path);
        }
    }
    Ok(found)
}

fn catches_up(source: &Server, datadir: &Path, server_id: u32, statements: &str) -> Result<()> {
    let replica = on_restored(source, datadir, server_id).option("skip_slave_start").start()?;
    pipe_into_client(&replica, statements)?;
    replication::wait_until_caught_up(source, &replica)?;
    replication::assert_nothing_skipped(&replica)?;
    oracle::assert_equal(source, &replica)?;
    let complaints = replica.check_tables()?;
    ensure!(complaints.is_empty(), "CHECK TABLE: {complaints:?}");
    Ok(())
}

/// A replica that was killed, and whose source worked on: brought back from a set, and by `clone`.
fn a_replica_that_is_behind(name: &str) -> Result<()> {
    let source = Kit::server(name)?.start()?;
    source.sql(HISTORY)?;
    for _ in 0..14 {
        source.sql(&["INSERT INTO archive.history (c) SELECT c FROM archive.history"])?;
    }
    let workload = Workload::prepare(&source, Shape { mib: 8, ..Shape::seeded(31) })?;
    let trip = Trip::new()?;
    trip.backup(&source)?.run()?.expect_success()?;
    let broken = trip.place("broken");
    trip.restore(&broken)?.run()?.expect_success()?;
    let mut replica = on_restored(&source, &broken, 2).option("skip_slave_start").start()?;
    pipe_into_client(&replica, &trip.hand_over(&source, &[])?)?;
    replication::wait_until_caught_up(&source, &replica)?;
    replica.kill()?;
    // Of no use to anybody else, and what a server that was killed leaves.
    let _ = fs::remove_file(broken.join("auto.cnf"));

    let running = workload.start()?;
    running.wait_for_statements(1000)?;
    trip.backup(&source)?.run()?.expect_success()?;
    running.wait_for_statements(200)?;

    let (full, by_set, by_clone) = (trip.place("full"), trip.place("by-set"), trip.place("by-clone"));
    copy(&broken, &by_set)?;
    copy(&broken, &by_clone)?;
    let whole = trip.restore(&full)?.arg("--json").run()?.expect_success()?;
    let delta = trip.restore(&by_set)?.args(["--delta", "--json"]).run()?.expect_success()?;
    let (whole, written) = (number(&whole, "bytes_written")?, number(&delta, "bytes_written")?);
    let equal = number(&delta, "bytes_equal")?;
    println!("{name}: a full restore writes {whole} bytes, --delta {written}; {equal} were there already");
    ensure!(written * 3 < whole, "--delta wrote {written} of {whole} bytes");
    assert_same_tree(&full, &by_set)?;

    let clone = Reseed::new(["clone", "--from", "local", "--no-defaults", "--json", "--delta"])?
        .arg("--datadir")
        .arg(&by_clone)
        .args(["--source-user", REPLICATION_USER, "--source-port", &source.port().to_string()])
        .env("RESEED_SOURCE_PASSWORD", REPLICATION_PASSWORD)
        .to(&source)
        .run()?
        .expect_success()?;
    let (written, equal) = (number(&clone, "bytes_written")?, number(&clone, "bytes_equal")?);
    let staged = number(&clone, "redo_staged")? + number(&clone, "redo_spilled")?;
    println!(
        "{name}: clone --delta writes {written} bytes, and {staged} for a time; {equal} were there already"
    );
    ensure!((written + staged) * 3 < whole, "clone --delta wrote {written} and {staged} of {whole} bytes");
    running.stop()?;

    catches_up(&source, &by_set, 3, &trip.hand_over(&source, &[])?)?;
    let document: serde_json::Value = serde_json::from_str(&clone.stdout)?;
    let statements = document.get("hand_over").and_then(|text| text.as_str()).context("no statements")?;
    catches_up(&source, &by_clone, 4, statements)
}

#[test]
fn a_mariadb_replica_that_is_behind() -> Result<()> {
    a_replica_that_is_behind("mariadb-10.11")
}

#[test]
fn a_mysql_replica_that_is_behind() -> Result<()> {
    a_replica_that_is_behind("mysql-9.7")
}

/// Something that is done to a datadir.
type Damage<'d> = &'d dyn Fn(&Path) -> Result<()>;

/// A set, a full restore of it, and the datadir of the same server a little earlier.
struct Case {
    server: Server,
    trip: Trip,
    full: PathBuf,
    /// What that wrote.
    written: u64,
    earlier: PathBuf,
}

impl Case {
    fn new() -> Result<Case> {
        let server = Kit::server("mariadb-10.11")?.start()?;
        server.sql(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, c VARBINARY(1000))",
            "INSERT INTO shop.t (c) SELECT REPEAT('x', 900) FROM shop.seq_1_to_3000",
            "CREATE TABLE shop.u (id INT AUTO_INCREMENT PRIMARY KEY, c VARBINARY(1000))",
            "INSERT INTO shop.u (c) SELECT REPEAT('y', 800) FROM shop.seq_1_to_2000",
            "CREATE TABLE shop.z (id INT AUTO_INCREMENT PRIMARY KEY, c TEXT) PAGE_COMPRESSED=1",
            "INSERT INTO shop.z (c) SELECT REPEAT('z', 500) FROM shop.seq_1_to_2000",
            "CREATE TABLE shop.m (id INT PRIMARY KEY, c TEXT) ENGINE=MyISAM",
            "INSERT INTO shop.m SELECT seq, REPEAT('m', 300) FROM shop.seq_1_to_2000",
            "CREATE TABLE shop.dropped (id INT PRIMARY KEY)",
        ])?;
        let trip = Trip::new()?;
        let (full, earlier) = (trip.place("full"), trip.place("earlier"));
        trip.backup(&server)?.run()?.expect_success()?;
        trip.restore(&earlier)?.run()?.expect_success()?;
        server.sql(&[
            "UPDATE shop.t SET c = REPEAT('n', 900) WHERE id % 100 = 0",
            "DELETE FROM shop.z WHERE id > 1000",
            "INSERT INTO shop.u (c) SELECT REPEAT('y', 800) FROM shop.seq_1_to_500",
            "RENAME TABLE shop.u TO shop.renamed",
            "UPDATE shop.m SET c = 'changed' WHERE id = 1000",
            "DROP TABLE shop.dropped",
            "CREATE TABLE shop.created (id INT PRIMARY KEY)",
        ])?;
        trip.backup(&server)?.run()?.expect_success()?;
        let run = trip.restore(&full)?.arg("--json").run()?.expect_success()?;
        Ok(Case { server, trip, full, written: number(&run, "bytes_written")?, earlier })
    }

    /// `restore --delta` into it, with one thread so that places on the way are passed in one order.
    fn delta(&self, datadir: &Path) -> Result<Reseed> {
        Ok(self.trip.restore(datadir)?.args(["--delta", "--json", "--threads=1"]))
    }

    fn clone_as(&self, user: &str, datadir: &Path) -> Result<Reseed> {
        Ok(Reseed::new(["clone", "--from", "local", "--no-defaults", "--delta", "--json", "--user", user])?
            .arg(format!("--socket={}", self.server.socket().display()))
            .arg("--datadir")
            .arg(datadir))
    }
}

#[test]
fn whatever_the_old_datadir_is_like_the_new_one_is_the_same() -> Result<()> {
    let case = Case::new()?;
    let whole = case.written;
    // A datadir that is equal to begin with: what is done to it is all that may be written.
    let at = |path: PathBuf, offset: u64, bytes: &[u8]| -> Result<()> {
        Ok(fs::OpenOptions::new().write(true).open(path)?.write_all_at(bytes, offset)?)
    };
    let page = 5 * 16384;
    let single: [(&str, Damage<'_>); 6] = [
        ("nothing", &|_| Ok(())),
        ("a torn page", &|dir| at(dir.join("shop/t.ibd"), page + 8192, &[0xee; 8192])),
        ("a page with another LSN", &|dir| at(dir.join("shop/t.ibd"), page + 16, &[9; 8])),
        ("a page of zeros", &|dir| at(dir.join("shop/t.ibd"), page, &[0; 16384])),
        ("one bit in a page with the same LSN", &|dir| at(dir.join("shop/t.ibd"), page + 9000, b"X")),
        ("a first page of zeros", &|dir| at(dir.join("shop/t.ibd"), 0, &[0; 16384])),
    ];
    for (what, damage) in single {
        let datadir = case.trip.place("single");
        copy(&case.full, &datadir)?;
        damage(&datadir)?;
        let run = case.delta(&datadir)?.run()?.expect_success()?;
        let (written, equal) = (number(&run, "bytes_written")?, number(&run, "bytes_equal")?);
        ensure!((written == 0) == (what == "nothing"), "{what}: wrote {written} bytes");
        ensure!(written <= 16384, "{what}: wrote {written} bytes");
        ensure!(written + equal == whole, "{what}: {written} written and {equal} equal of {whole} bytes");
        assert_same_tree(&case.full, &datadir).context(what)?;
        fs::remove_dir_all(&datadir)?;
    }
    let others: [(&str, Damage<'_>); 6] = [
        ("an earlier state", &|_| Ok(())),
        ("names that were swapped", &|dir| {
            fs::rename(dir.join("shop/t.ibd"), dir.join("x"))?;
            fs::rename(dir.join("shop/u.ibd"), dir.join("shop/t.ibd"))?;
            fs::rename(dir.join("ibdata1"), dir.join("shop/u.ibd"))?;
            Ok(fs::rename(dir.join("x"), dir.join("ibdata1"))?)
        }),
        ("larger and smaller files", &|dir| {
            for name in ["shop/t.ibd", "shop/m.MYD", "shop/t.frm"] {
                let file = fs::OpenOptions::new().write(true).open(dir.join(name))?;
                file.write_all_at(&[7; 300_000], file.metadata()?.len())?;
            }
            for name in ["shop/u.ibd", "ibdata1", "shop/m.MYI", "shop/z.ibd"] {
                let file = fs::OpenOptions::new().write(true).open(dir.join(name))?;
                file.set_len(file.metadata()?.len() / 3)?;
            }
            Ok(())
        }),
        ("garbage in files", &|dir| {
            for name in ["shop/t.ibd", "shop/z.ibd", "ib_logfile0", "aria_log_control", "shop/m.frm"] {
                let path = dir.join(name);
                let len = usize::try_from(fs::metadata(&path)?.len())?;
                fs::write(path, vec![0xa5; len])?;
            }
            Ok(())
        }),
        ("directories and files in each other's place", &|dir| {
            fs::remove_file(dir.join("shop/t.ibd"))?;
            fs::create_dir(dir.join("shop/t.ibd"))?;
            fs::remove_file(dir.join("shop/m.MYD"))?;
            nix::unistd::mkfifo(&dir.join("shop/m.MYD"), nix::sys::stat::Mode::S_IRWXU)?;
            fs::rename(dir.join("mysql"), dir.join("other"))?;
            Ok(fs::write(dir.join("mysql"), "a file")?)
        }),
        ("names that are odd", &|dir| {
            fs::rename(dir.join("shop/t.ibd"), dir.join("shop/line\nbreak \u{1f980}.ibd"))?;
            Ok(fs::write(dir.join("-rf *"), "x")?)
        }),
    ];
    for (what, damage) in others {
        let datadir = case.trip.place("others");
        copy(&case.earlier, &datadir)?;
        damage(&datadir)?;
        // Not server data, and not to be lost.
        fs::write(datadir.join("my.cnf"), "[mysqld]")?;
        let run = case.delta(&datadir)?.run()?.expect_success()?;
        println!("{what}: {} of {whole} bytes written", number(&run, "bytes_written")?);
        assert_same_tree(&case.full, &datadir).context(what)?;
        let aside = asides(&datadir)?;
        ensure!(aside.len() == 1, "{what}: {aside:?}");
        ensure!(fs::read_to_string(aside[0].join("my.cnf"))? == "[mysqld]", "{what}: my.cnf");
        ensure!(aside[0].join("ib_logfile0").exists(), "{what}: the old log was used");
        fs::remove_dir_all(&aside[0])?;
        fs::remove_dir_all(&datadir)?;
    }
    Ok(())
}

#[test]
fn nothing_outside_of_the_old_datadir_is_changed() -> Result<()> {
    let case = Case::new()?;
    let (datadir, outside) = (case.trip.place("data"), case.trip.place("outside"));
    copy(&case.earlier, &datadir)?;
    fs::create_dir(&outside)?;
    // A database that lies elsewhere, a table that does, and one that has a second name.
    fs::rename(datadir.join("shop"), outside.join("shop"))?;
    symlink(outside.join("shop"), datadir.join("shop"))?;
    fs::rename(datadir.join("ibdata1"), outside.join("ibdata1"))?;
    symlink(outside.join("ibdata1"), datadir.join("ibdata1"))?;
    fs::hard_link(datadir.join("mysql/gtid_slave_pos.ibd"), outside.join("second.ibd"))?;
    let before = tree(&outside)?;
    case.delta(&datadir)?.run()?.expect_success()?;
    assert_same_tree(&case.full, &datadir)?;
    ensure!(tree(&outside)? == before, "something outside of the datadir was changed");
    Ok(())
}

#[test]
fn a_run_that_was_killed_or_failed_is_gone_on_with() -> Result<()> {
    let case = Case::new()?;
    let before = tree(&case.earlier)?;
    // Until the old datadir is taken it is untouched; then the next run goes on from what there is.
    for (point, taken) in [
        ("restore.resolve=kill", false),
        ("restore.redo=kill", false),
        ("restore.take=kill", false),
        ("restore.adopt=kill", true),
        ("restore.adopt=kill@9", true),
        ("restore.pages=kill@2", true),
        ("restore.pages=kill@20", true),
        ("restore.pages=eio@20", true),
        ("io.write=enospc@6", true),
        ("restore.log=kill", true),
        ("restore.rename=kill", true),
        ("restore.rename=error", true),
    ] {
        for through_link in [false, true] {
            let datadir = case.trip.place("data");
            let real = case.trip.place("real");
            if through_link {
                copy(&case.earlier, &real)?;
                symlink(&real, &datadir)?;
            } else {
                copy(&case.earlier, &datadir)?;
            }
            let failed = case.delta(&datadir)?.env("RESEED_FAILPOINTS", point).run()?;
            let what = format!("{point}, through a link: {through_link}");
            ensure!(failed.code != Some(0), "{what}: it did not fail: {failed:?}");
            let killed = point.contains("kill");
            ensure!(failed.code.is_none() == killed, "{what}: {failed:?}");
            if !taken && point != "restore.take=kill" {
                let now: Vec<_> = tree(&datadir)?;
                let now = now.into_iter().filter(|(path, ..)| !path.starts_with(".reseed-partial"));
                ensure!(now.eq(before.iter().cloned()), "{what}: the old datadir was changed");
            }
            if taken {
                ensure!(!datadir.join("ibdata1").exists(), "{what}: there is half a datadir");
                // Neither used nor removed unless that is asked for.
                let refused = case.trip.restore(&datadir)?.run()?.expect_code(11)?;
                ensure!(refused.stderr.contains("--delta"), "{what}: {}", refused.stderr);
                ensure!(killed || failed.stderr.contains("goes on from there"), "{what}: {}", failed.stderr);
            }
            case.delta(&datadir)?.run()?.expect_success().context(what.clone())?;
            if through_link {
                ensure!(datadir.is_symlink(), "{what}: the link was replaced");
                let aside = fs::read_dir(&real)?.flatten().map(|entry| entry.path());
                for path in aside.filter(|path| path.to_string_lossy().contains(".reseed-")) {
                    fs::remove_dir_all(path)?;
                }
            }
            assert_same_tree(&case.full, &datadir).context(what.clone())?;
            for path in asides(&datadir)? {
                fs::remove_dir_all(path)?;
            }
            if through_link {
                fs::remove_file(&datadir)?;
                fs::remove_dir_all(&real)?;
            } else {
                fs::remove_dir_all(&datadir)?;
            }
            let rest: Vec<_> = fs::read_dir(case.trip.place(""))?.flatten().map(|e| e.path()).collect();
            ensure!(
                !rest.iter().any(|path| path.to_string_lossy().contains("data.reseed")),
                "{what}: left: {rest:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_clone_that_was_cut_is_gone_on_with() -> Result<()> {
    let mut case = Case::new()?;
    // With little redo behind the pages, what comes is what they are to be.
    case.server.restart()?;
    let datadir = case.trip.place("data");
    copy(&case.earlier, &datadir)?;
    let failed =
        case.clone_as("root", &datadir)?.env("RESEED_FAILPOINTS", "restore.receive=kill@20").run()?;
    ensure!(failed.code.is_none() && !datadir.exists(), "not killed: {failed:?}");
    // The stream breaks off before anything came: what there is stays.
    let refused = case.clone_as("nobody", &datadir)?.run()?.expect_code(3)?;
    ensure!(refused.stderr.contains("goes on from there"), "{}", refused.stderr);
    let ended = case.clone_as("root", &datadir)?.run()?.expect_success()?;
    let whole = tree(&datadir)?.iter().map(|(_, _, bytes)| bytes.len() as u64).sum::<u64>();
    let (written, equal) = (number(&ended, "bytes_written")?, number(&ended, "bytes_equal")?);
    println!("clone --delta, the second try: {written} of {whole} bytes written, {equal} were equal");
    ensure!(equal > written, "what the first try had made was not used");
    let cloned = on_restored(&case.server, &datadir, 2).start()?;
    oracle::assert_equal(&case.server, &cloned)?;
    Ok(())
}

#[test]
fn what_cannot_be_an_old_state_of_the_server_is_refused() -> Result<()> {
    let case = Case::new()?;
    let refused = |what: &str, prepare: Damage<'_>| -> Result<()> {
        let datadir = case.trip.place("refused");
        copy(&case.earlier, &datadir)?;
        prepare(&datadir)?;
        let before = tree(&datadir)?;
        case.delta(&datadir)?.run()?.expect_code(11).context(what.to_owned())?;
        ensure!(tree(&datadir)? == before, "{what}: it was changed");
        Ok(fs::remove_dir_all(&datadir)?)
    };
    refused("a home directory", &|dir| {
        fs::remove_dir_all(dir)?;
        fs::create_dir(dir)?;
        Ok(fs::write(dir.join("thesis.tex"), "x")?)
    })?;
    refused("another flavour", &|dir| {
        fs::remove_file(dir.join("aria_log_control"))?;
        Ok(fs::copy(dir.join("ibdata1"), dir.join("mysql.ibd")).map(|_| ())?)
    })?;
    refused("another page size", &|dir| {
        let file = fs::OpenOptions::new().read(true).write(true).open(dir.join("ibdata1"))?;
        let mut flags = [0; 4];
        file.read_exact_at(&mut flags, 54)?;
        // Full-CRC format: the page size's shift in the lowest four bits.
        ensure!(flags[3] & 0x1f == 0x15, "ibdata1 is not as this test knows it: {flags:?}");
        flags[3] = 0x14;
        Ok(file.write_all_at(&flags, 54)?)
    })?;
    // A server that runs on it.
    case.delta(case.server.datadir())?.run()?.expect_code(11)?;
    ensure!(case.server.value("SELECT COUNT(*) FROM shop.t")? == "3000");
    // Where there is no old datadir, it is a restore like any other.
    let datadir = case.trip.place("missing");
    case.delta(&datadir)?.run()?.expect_success()?;
    assert_same_tree(&case.full, &datadir)
}
