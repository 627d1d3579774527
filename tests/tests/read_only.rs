//! A repository on a file system that is mounted read-only, as a snapshot or the mount of a replica's host is: all that
//! reads must work, root or not; what writes must say why it does not.

use std::fs;

use anyhow::{Result, ensure};
use reseed_tests::faults::{assert_nothing_left, files, small};
use reseed_tests::mounts::{self, expect};
use reseed_tests::trip::{NAME, on_restored};
use reseed_tests::{Server, Trip};

const MARIADB: &str = "mariadb-10.11";

/// The repository again at `ro`, read-only. Flags that a mount has must stay, as a user's namespace may not drop them.
const MOUNT: &str = "\
mkdir ro
flags=$(findmnt -n -o VFS-OPTIONS -T repo | sed 's/^rw/ro/')
mount --bind repo ro
mount -o \"remount,bind,$flags\" ro
if touch ro/file 2> touch.err; then echo 'it can be written' >&2; exit 1; fi
grep -q 'Read-only file system' touch.err
";

/// A full set and an incremental one, and a configuration that has the repository at its read-only place.
fn chain() -> Result<(Server, Trip, Vec<String>)> {
    let server = small(MARIADB)?;
    let trip = Trip::new()?;
    trip.backup(&server)?.run()?.expect_success()?;
    server.sql(&["UPDATE shop.t SET c = 'changed' WHERE id % 3 = 0", "INSERT INTO shop.m VALUES (1)"])?;
    trip.backup(&server)?.arg("--incremental").run()?.expect_success()?;
    let config = format!(
        "repo = {:?}\n[server.{NAME}]\nuser = \"root\"\nsocket = {:?}\n",
        trip.place("ro"),
        server.socket()
    );
    fs::write(trip.place("reseed.toml"), config)?;
    let sets = trip.sets()?;
    Ok((server, trip, sets))
}

#[test]
fn what_reads_works() -> Result<()> {
    let (server, trip, sets) = chain()?;
    let before = files(&trip.repo())?;
    let script = format!(
        "{MOUNT}
         run list list
         run show show --name {NAME} latest
         run check check --name {NAME} --age 1h
         run quick verify --name {NAME} all --quick
         run verify verify --name {NAME} latest
         run pages verify --name {NAME} all --pages --json --quiet
         run export export --name {NAME} latest --raw raw
         run hand-over hand-over --name {NAME} latest --source-host 127.0.0.1 --source-user repl
         run restore restore --name {NAME} latest --datadir restored
         run delta restore --name {NAME} {full} --datadir restored --delta
         run again restore --name {NAME} latest --datadir restored --delta",
        full = sets[0]
    );
    mounts::script(&trip, &script)?;
    let steps =
        ["list", "show", "check", "quick", "verify", "pages", "export", "hand-over", "restore", "delta"];
    for label in steps.into_iter().chain(["again"]) {
        let step = expect(&trip, label, 0)?;
        ensure!(
            label.starts_with(['q', 'v', 'p']) || !step.stderr.contains("Read-only"),
            "{label}: {step:?}"
        );
    }
    let list = expect(&trip, "list", 0)?;
    ensure!(sets.iter().all(|set| list.stdout.contains(set)), "{list:?}");
    // The result of a verification is told, and that it could not be kept beside the sets is a note.
    for label in ["quick", "verify"] {
        let step = expect(&trip, label, 0)?;
        let notes: Vec<&str> = step.stderr.lines().filter(|line| line.contains("is not kept")).collect();
        ensure!(notes.len() == 1, "{label}: {step:?}");
        ensure!(notes[0].starts_with("note:") && notes[0].contains("Read-only file system"), "{notes:?}");
        ensure!(step.stderr.contains("nothing wrong"), "{step:?}");
    }
    let pages = expect(&trip, "pages", 0)?;
    ensure!(pages.stderr.is_empty() && pages.stdout.contains("\"good\": true"), "{pages:?}");
    ensure!(files(&trip.repo())? == before, "something was written");
    let restored = on_restored(&server, &trip.place("restored"), 2).start()?;
    ensure!(restored.checksums()? == server.checksums()?);
    Ok(())
}

/// Nobody else will know that the set is damaged, so that it is said to whoever wants quiet, too.
#[test]
fn damage_that_cannot_be_noted_down_is_told() -> Result<()> {
    let (_server, trip, sets) = chain()?;
    let pack = trip.repo().join(NAME).join(&sets[1]).join("data-0000.tar.zst");
    let mut bytes = fs::read(&pack)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes)?;
    mounts::script(&trip, &format!("{MOUNT}\nrun verify verify --name {NAME} all --quiet"))?;
    let verify = expect(&trip, "verify", 10)?;
    ensure!(verify.stdout.contains(&sets[1]) || verify.stderr.contains(&sets[1]), "{verify:?}");
    ensure!(verify.stderr.contains("note: what was found is not kept"), "{verify:?}");
    Ok(())
}

#[test]
fn what_writes_says_why_it_does_not() -> Result<()> {
    let (server, trip, sets) = chain()?;
    let before = files(&trip.repo())?;
    let connection = format!("--user root --socket '{}'", server.socket().display());
    let script = format!(
        "{MOUNT}
         run backup backup --name {NAME} --quiet
         run incremental backup --name {NAME} --quiet --incremental
         run another backup --name another --quiet {connection}
         run below backup --repo ro/deep/below --name {NAME} --quiet
         run pin pin --name {NAME} latest
         run expire expire --name {NAME} --keep-fulls 1"
    );
    mounts::script(&trip, &script)?;
    for label in ["backup", "incremental", "another", "below", "pin", "expire"] {
        let step = expect(&trip, label, 9)?;
        let told: Vec<&str> =
            step.stderr.lines().filter(|line| line.contains("Read-only file system")).collect();
        ensure!(told.len() == 1, "{label} is not told once: {step:?}");
        ensure!(step.stderr.contains(" hint: The file system is mounted read-only"), "{label}: {step:?}");
    }
    ensure!(files(&trip.repo())? == before, "something was written");
    ensure!(trip.sets()? == sets);
    assert_nothing_left(&server)
}
