//! A file system that is really full, as `/var` is one day: what a run says, what it leaves alone, what still works.

use std::fs;

use anyhow::{Result, ensure};
use reseed_tests::faults::{assert_nothing_left, small};
use reseed_tests::mounts::{self, expect};
use reseed_tests::trip::NAME;
use reseed_tests::{Server, Trip};

const MARIADB: &str = "mariadb-10.11";
/// Room for a few sets of the small server.
const ROOM: &str = "64m";

/// Runs a script with a file system of its own at `var` in the trip's folder. `fill` leaves no byte of it free.
fn with_small_var(trip: &Trip, script: &str) -> Result<()> {
    fs::create_dir_all(trip.place("var"))?;
    let before = format!(
        "mount -t tmpfs -o size={ROOM} none var
         fill() {{ dd if=/dev/zero of=var/filler bs=4k 2> /dev/null || true; [ -s var/filler ]; }}"
    );
    mounts::script(trip, &format!("{before}\n{script}"))
}

fn configure(trip: &Trip, server: &Server, repo: &str, more: &str) -> Result<()> {
    let text = format!(
        "repo = {:?}\n{more}\n[server.{NAME}]\nuser = \"root\"\nsocket = {:?}\nkeep-fulls = 1\n",
        trip.place(repo),
        server.socket()
    );
    Ok(fs::write(trip.place("reseed.toml"), text)?)
}

#[test]
fn a_repository_without_a_byte_left() -> Result<()> {
    let server = small(MARIADB)?;
    let trip = Trip::new()?;
    configure(&trip, &server, "var/backup", "")?;
    let script = format!(
        "run first backup --name {NAME}
         run second backup --name {NAME}
         cp var/backup/{NAME}/status.json before.json
         sums() {{ find var/backup -name '*Z-full' -exec find {{}} -type f \\; | sort | xargs md5sum; }}
         sums > before.sums
         fill
         run full backup --name {NAME} --quiet
         ls var/backup/{NAME} > names
         fill
         run pin pin --name {NAME} latest
         run verify verify --name {NAME} latest --quiet
         run list list
         sums | cmp - before.sums
         run broken backup --name {NAME} --quiet --socket /nonexistent/socket
         cmp var/backup/{NAME}/status.json before.json
         run expire expire --name {NAME}
         rm var/filler
         run after backup --name {NAME}
         run whole verify --name {NAME} all --pages"
    );
    with_small_var(&trip, &script)?;
    for good in ["first", "second", "list", "expire", "after", "whole"] {
        expect(&trip, good, 0)?;
    }
    let full = expect(&trip, "full", 9)?;
    for words in ["No space left", " hint: Make room there", "var/backup"] {
        ensure!(full.stderr.contains(words), "without {words:?}: {full:?}");
    }
    let names = fs::read_to_string(trip.place("names"))?;
    ensure!(!names.contains(".partial") && !names.contains(".tmp"), "left over: {names}");
    let pin = expect(&trip, "pin", 9)?;
    ensure!(pin.stderr.contains("No space left"), "{pin:?}");
    // The set is good, whatever can be noted down; that it cannot is told.
    let verify = expect(&trip, "verify", 0)?;
    ensure!(verify.stderr.contains("is not kept") && verify.stderr.contains("No space left"), "{verify:?}");
    // The run's own trouble comes first; that its status is an old one is told as well.
    let broken = expect(&trip, "broken", 3)?;
    ensure!(broken.stderr.contains("status file was not written"), "{broken:?}");
    // What makes room must not need any.
    let expire = expect(&trip, "expire", 0)?;
    ensure!(expire.stderr.contains("removed"), "{expire:?}");
    assert_nothing_left(&server)
}

#[test]
fn a_status_that_cannot_be_written_is_told_and_costs_no_backup() -> Result<()> {
    let server = small(MARIADB)?;
    let trip = Trip::new()?;
    let more = format!(
        "metrics-file = {:?}\nstatus-file = {:?}",
        trip.place("var/{name}.prom"),
        trip.place("var/{name}.json")
    );
    configure(&trip, &server, "backup", &more)?;
    let script = format!(
        "run first backup --name {NAME}
         cp var/{NAME}.prom var/{NAME}.json .
         fill
         run second backup --name {NAME} --quiet
         run json backup --name {NAME} --quiet --json
         cmp var/{NAME}.prom {NAME}.prom
         cmp var/{NAME}.json {NAME}.json
         ls var > names"
    );
    with_small_var(&trip, &script)?;
    expect(&trip, "first", 0)?;
    for label in ["second", "json"] {
        let second = expect(&trip, label, 0)?;
        for what in ["metrics file", "status file"] {
            let told =
                second.stderr.lines().any(|line| line.contains(what) && line.contains("No space left"));
            ensure!(told, "the {what}: {second:?}");
        }
        ensure!((label == "json") != second.stdout.is_empty(), "{second:?}");
    }
    let names = fs::read_to_string(trip.place("names"))?;
    ensure!(names.lines().count() == 3, "left over: {names}");
    let dir = trip.place("backup").join(NAME);
    let sets = fs::read_dir(dir)?.flatten().filter(|entry| entry.path().join("manifest.json").exists());
    ensure!(sets.count() == 3, "a set is missing");
    Ok(())
}
