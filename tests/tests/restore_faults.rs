//! Whatever can go wrong with a restore: its own exit code, and never half a datadir under the real name.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use reseed_tests::faults::{Pause, small};
use reseed_tests::trip::{NAME, on_restored};
use reseed_tests::{Server, Trip};

const SERVER: &str = "mariadb-10.11";
/// Behind the last of them, `restore.rename`, a run may end well as fast as it may be interrupted.
const RESTORE_POINTS: [&str; 4] = ["restore.resolve", "restore.redo", "restore.pages", "restore.log"];

/// A server with something in it, and a set of it.
fn backed_up() -> Result<(Server, Trip)> {
    let server = small(SERVER)?;
    let trip = Trip::new()?;
    trip.backup(&server)?.run()?.expect_success()?;
    Ok((server, trip))
}

/// The set restores, and what comes of it runs.
fn restores(server: &Server, trip: &Trip, datadir: &Path) -> Result<()> {
    trip.restore(datadir)?.run()?.expect_success()?;
    let restored = on_restored(server, datadir, 2).start()?;
    reseed_tests::oracle::assert_equal(server, &restored)?;
    Ok(())
}

fn set_dir(trip: &Trip) -> Result<PathBuf> {
    let sets = trip.sets()?;
    let id = sets.first().context("no set")?;
    Ok(trip.repo().join(NAME).join(id))
}

fn packs(set: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(set)?.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("data-")));
    found.sort_by_key(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
    Ok(found)
}

#[test]
fn a_set_that_does_not_exist_or_was_never_published() -> Result<()> {
    let (_server, trip) = backed_up()?;
    let datadir = trip.place("restored");
    let set = set_dir(&trip)?;
    let partial = PathBuf::from(format!("{}.partial", set.display()));
    fs::rename(&set, &partial)?;
    trip.restore(&datadir)?.run()?.expect_code(10)?;
    fs::rename(&partial, &set)?;
    fs::rename(set.join("manifest.json"), set.join("elsewhere.json"))?;
    trip.restore(&datadir)?.run()?.expect_code(10)?;
    ensure!(!datadir.exists(), "something was restored");
    Ok(())
}

#[test]
fn a_truncated_pack_and_a_flipped_byte() -> Result<()> {
    let (server, trip) = backed_up()?;
    let set = set_dir(&trip)?;
    let pack = packs(&set)?.pop().context("no pack")?;
    let bytes = fs::read(&pack)?;
    let datadir = trip.place("restored");
    fs::write(&pack, bytes.get(..bytes.len() - 1000).context("the pack is tiny")?)?;
    trip.restore(&datadir)?.run()?.expect_code(10)?;
    ensure!(!datadir.exists(), "something was restored from a truncated pack");
    fs::write(&pack, &bytes)?;
    let middle = bytes.len() / 2;
    let flipped = bytes.get(middle).map(|byte| byte ^ 0x10).context("the pack is empty")?;
    fs::OpenOptions::new().write(true).open(&pack)?.write_all_at(&[flipped], middle as u64)?;
    trip.restore(&datadir)?.run()?.expect_code(10)?;
    ensure!(!datadir.exists(), "something was restored from a damaged pack");
    fs::write(&pack, &bytes)?;
    restores(&server, &trip, &datadir)
}

#[test]
fn a_datadir_that_is_not_empty_or_in_use() -> Result<()> {
    let (server, trip) = backed_up()?;
    let datadir = trip.place("restored");
    fs::create_dir(&datadir)?;
    fs::write(datadir.join("precious"), "mine")?;
    trip.restore(&datadir)?.run()?.expect_code(11)?;
    ensure!(fs::read_to_string(datadir.join("precious"))? == "mine", "the file is gone");
    // A live server's datadir: never, not even when it may be moved.
    for more in [&[][..], &["--move-aside"][..]] {
        trip.restore(server.datadir())?.args(more).run()?.expect_code(11)?;
    }
    ensure!(server.value("SELECT COUNT(*) FROM shop.t")? == "8000", "the live server suffered");
    trip.restore(&datadir)?.arg("--move-aside").run()?.expect_success()?;
    ensure!(!datadir.join("precious").exists(), "the old datadir was not moved");
    let kept = fs::read_dir(trip.place(""))?.flatten().any(|entry| entry.path().join("precious").exists());
    ensure!(kept, "the old datadir is gone");
    let restored = on_restored(&server, &datadir, 2).start()?;
    reseed_tests::oracle::assert_equal(&server, &restored)?;
    Ok(())
}

#[test]
fn an_empty_datadir_behind_a_symbolic_link() -> Result<()> {
    let (server, trip) = backed_up()?;
    let (real, link) = (trip.place("real"), trip.place("link"));
    fs::create_dir(&real)?;
    std::os::unix::fs::symlink(&real, &link)?;
    restores(&server, &trip, &link)?;
    ensure!(link.is_symlink() && real.join("shop").is_dir(), "the link was replaced");
    Ok(())
}

#[test]
fn interrupted_or_killed_anywhere_a_restore_leaves_no_half_datadir() -> Result<()> {
    let (server, trip) = backed_up()?;
    let datadir = trip.place("restored");
    for point in RESTORE_POINTS {
        let pause = Pause::at(point, &trip.place(""));
        let mut run = pause.on(trip.restore(&datadir)?).spawn()?;
        pause.wait(&mut run)?;
        run.signal(Signal::SIGINT)?;
        pause.let_go()?;
        run.wait()?.expect_code(130).with_context(|| format!("SIGINT at {point}"))?;
        ensure!(!datadir.exists(), "a datadir is there after SIGINT at {point}");
        let run = trip.restore(&datadir)?.env("RESEED_FAILPOINTS", format!("{point}=kill")).run()?;
        ensure!(run.code.is_none(), "not killed at {point}: {run:?}");
        ensure!(!datadir.exists(), "a datadir is there after a kill at {point}");
    }
    let run = trip.restore(&datadir)?.env("RESEED_FAILPOINTS", "restore.rename=kill").run()?;
    ensure!(run.code.is_none() && !datadir.exists(), "not killed before the rename: {run:?}");
    restores(&server, &trip, &datadir)
}

#[test]
fn a_full_disk_while_restoring() -> Result<()> {
    let (server, trip) = backed_up()?;
    let datadir = trip.place("restored");
    for point in ["io.write=enospc@5", "io.sync=eio"] {
        let failed = trip.restore(&datadir)?.env("RESEED_FAILPOINTS", point).run()?;
        failed.expect_code(9).with_context(|| format!("failpoint {point}"))?;
        ensure!(!datadir.exists(), "a datadir is there in spite of {point}");
    }
    restores(&server, &trip, &datadir)
}
