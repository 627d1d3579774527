//! A run that dies, or whose disk is full, at any step: nothing is published that is not whole, what was there stays,
//! and the next run succeeds.
//!
//! Failpoints are read from the environment when a process starts, so every case is this test run again as a process
//! of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::*;
use reseed_io::{Cancel, Silent};
use reseed_repository::*;

const DIR: &str = "RESEED_TEST_REPOSITORY";

/// Where to work: where the test that runs this one as a process says, else a place of its own.
fn place() -> (Option<tempfile::TempDir>, std::path::PathBuf) {
    match std::env::var_os(DIR) {
        Some(dir) => (None, dir.into()),
        None => {
            let scratch = tempfile::tempdir().unwrap();
            let repository = scratch.path().join("repo");
            (Some(scratch), repository)
        }
    }
}

/// Run by other tests as a process, with failpoints; by itself nothing disturbs it.
#[test]
fn one_backup() {
    let (scratch, dir) = place();
    let repository = Repository::create(&dir).unwrap();
    let new = NewSet { compression: Compression::None, ..NewSet::full(start()) };
    let attempt =
        || fill(Box::new(repository.begin(&lock(&repository), new, &Silent, &Cancel::new())?), 5000);
    if let Err(error) = attempt() {
        eprintln!("FAILED no_space={} {error}", error.is_no_space());
        std::process::exit(9);
    }
    if scratch.is_some() {
        assert_eq!(good_sets(&dir), 1);
    }
}

/// As `one_backup`: two sets, of which the rules keep one.
#[test]
fn one_expiry() {
    let (scratch, dir) = place();
    let repository = Repository::create(&dir).unwrap();
    if scratch.is_some() {
        publish(&repository, Compression::None, 5000);
        publish(&repository, Compression::None, 5000);
    }
    let rules = Rules { fulls: 1, ..Rules::default() };
    if repository.expire(&lock(&repository), &rules, start(), &Cancel::new()).is_err() {
        std::process::exit(9);
    }
    if scratch.is_some() {
        assert_eq!(good_sets(&dir), 1);
    }
}

fn run(child: &str, repository: &Path, failpoints: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([child, "--exact", "--nocapture"])
        .env(DIR, repository)
        .env("RESEED_FAILPOINTS", failpoints)
        .output()
        .unwrap()
}

fn good_sets(repository: &Path) -> usize {
    let repository = Repository::open(repository).unwrap();
    let listing = match repository.sets(&name()) {
        Err(RepositoryError::NoServer { .. }) => return 0,
        listing => listing.unwrap(),
    };
    assert!(listing.damaged.is_empty(), "{:?}", listing.damaged);
    for set in &listing.sets {
        let set = repository.open_set(&name(), set.id()).unwrap();
        assert!(read_all(&set).unwrap() == sorted(5000));
        assert!(verify(&set, Level::Full, 1, &Silent, &Cancel::new()).unwrap().is_good());
    }
    listing.sets.len()
}

#[test]
fn a_full_disk_at_any_write_publishes_nothing() {
    // What a failed run left is removed before the next, or used by it.
    for (clean, least) in [(true, 15), (false, 10)] {
        full_at_any_write(clean, least);
    }
}

fn full_at_any_write(clean: bool, least: u32) {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repo");
    assert!(run("one_backup", &repository, "").status.success());
    let mut failed = 0;
    for nth in 1.. {
        let before = good_sets(&repository);
        if clean {
            let repository = Repository::open(&repository).unwrap();
            repository.clean(&lock(&repository)).unwrap();
        }
        let output = run("one_backup", &repository, &format!("io.write=enospc@{nth}"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            assert_eq!(good_sets(&repository), before + 1);
            break;
        }
        assert!(
            text.contains("FAILED no_space=true cannot write ") && text.contains(" at offset "),
            "{text}"
        );
        assert_eq!(good_sets(&repository), before, "write {nth}");
        failed += 1;
    }
    assert!(failed >= least, "only {failed} writes were there to fail");
    assert!(run("one_backup", &repository, "").status.success());
    let left = Repository::open(&repository).unwrap().sets(&name()).unwrap().leftovers;
    assert_eq!(left, [], "the next run removes what the failed ones left");
}

#[test]
fn a_failing_disk_or_a_killed_run_publishes_nothing() {
    let steps = [
        "repository.begin",
        "repository.finish",
        "repository.index",
        "repository.readback",
        "repository.manifest",
        "repository.publish",
        "io.create@3",
        "io.sync",
        "io.sync@4",
        "io.rename",
        // The packs that the one before left are taken over from here on.
        "repository.adopt",
        "io.open",
        "io.read",
        "io.rename",
    ];
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repo");
    assert!(run("one_backup", &repository, "").status.success());
    for step in steps {
        let (name, nth) = step.split_once('@').unwrap_or((step, "1"));
        for action in ["eio", "kill"] {
            let output = run("one_backup", &repository, &format!("{name}={action}@{nth}"));
            assert!(!output.status.success(), "{step}={action}");
            assert_eq!(good_sets(&repository), 1, "{step}={action}");
        }
    }
    // Killed after the rename: the set is there and whole.
    assert!(!run("one_backup", &repository, "repository.published=kill").status.success());
    assert_eq!(good_sets(&repository), 2);
    assert!(run("one_backup", &repository, "").status.success());
    assert_eq!(good_sets(&repository), 3);
}

#[test]
fn an_expiry_that_is_killed_is_finished_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repo");
    for _ in 0..3 {
        assert!(run("one_backup", &repository, "").status.success());
    }
    for (failpoint, left) in [("repository.expire=kill@2", 2), ("io.rename=kill", 2), ("io.sync=kill", 1)] {
        assert!(!run("one_expiry", &repository, failpoint).status.success(), "{failpoint}");
        assert_eq!(good_sets(&repository), left, "{failpoint}");
    }
    assert!(run("one_expiry", &repository, "").status.success());
    assert_eq!(good_sets(&repository), 1);
    let left = Repository::open(&repository).unwrap().sets(&name()).unwrap().leftovers;
    assert_eq!(left, []);
}
