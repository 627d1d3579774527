//! The datadir that is restored into: what is refused, what is moved aside, what a killed restore leaves, and that
//! nothing half-restored ever has the real name.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Read;
use std::path::Path;

use common::{options, sample, tree};
use reseed_io::{Cancel, Silent};
use reseed_repository::{FileEntry, Manifest, Run};
use reseed_restore::{Occupied, ReadRun, RestoreError, SetSource, Source, run};

/// Fails when the last run of a file is read.
struct Failing(SetSource);

struct FailingRuns<'s>(Box<dyn ReadRun + 's>);

impl Source for Failing {
    fn manifest(&self) -> &Manifest {
        self.0.manifest()
    }

    fn files(&self) -> &[FileEntry] {
        self.0.files()
    }

    fn reader(&self) -> Result<Box<dyn ReadRun + '_>, RestoreError> {
        Ok(Box::new(FailingRuns(self.0.reader()?)))
    }

    fn redo(&self) -> Result<Box<dyn Read + Send + '_>, RestoreError> {
        self.0.redo()
    }
}

impl ReadRun for FailingRuns<'_> {
    fn read(&mut self, file: &FileEntry, run: &Run, into: &mut Vec<u8>) -> Result<(), RestoreError> {
        if file.runs.last() == Some(run) {
            return Err(RestoreError::Unsupported { what: "a test that wants a failure".to_owned() });
        }
        self.0.read(file, run, into)
    }
}

fn old_datadir(path: &Path) {
    fs::create_dir_all(path.join("old_db")).unwrap();
    fs::write(path.join("ibdata1"), b"old").unwrap();
    fs::write(path.join("old_db/t.ibd"), b"old table").unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_datadir_that_is_not_empty_is_refused_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let source = sample().set(&dir.path().join("repo"));
    let datadir = dir.path().join("data");
    old_datadir(&datadir);
    let before = tree(&datadir);
    let error = run(&source, &options(&datadir), &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { entries: 2, .. }), "{error}");
    assert_eq!(tree(&datadir), before);
    assert_eq!(names(dir.path()), ["data", "repo"]);
}

#[test]
fn an_empty_datadir_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let model = sample();
    let source = model.set(&dir.path().join("repo"));
    let datadir = dir.path().join("data");
    fs::create_dir(&datadir).unwrap();
    run(&source, &options(&datadir), &Silent, &Cancel::new()).unwrap();
    model.assert_restored(&datadir);
}

#[test]
fn the_old_datadir_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let model = sample();
    let source = model.set(&dir.path().join("repo"));
    let datadir = dir.path().join("data");
    old_datadir(&datadir);
    let before = tree(&datadir);
    let mut wanted = options(&datadir);
    wanted.occupied = Occupied::MoveAside;
    let report = run(&source, &wanted, &Silent, &Cancel::new()).unwrap();
    model.assert_restored(&datadir);
    let aside = report.moved_aside.unwrap();
    assert_eq!(aside, dir.path().join("data.reseed-aside-20261120T060000Z"));
    assert_eq!(tree(&aside), before);
    assert_eq!(names(dir.path()), ["data", "data.reseed-aside-20261120T060000Z", "repo"]);
    // Once more within the same second.
    let again = run(&source, &wanted, &Silent, &Cancel::new()).unwrap();
    assert_eq!(again.moved_aside.unwrap(), dir.path().join("data.reseed-aside-20261120T060000Z-2"));
    assert_eq!(tree(&aside), before);
}

#[test]
fn a_failed_restore_leaves_the_old_datadir_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let source = Failing(sample().set(&dir.path().join("repo")));
    let datadir = dir.path().join("data");
    old_datadir(&datadir);
    let before = tree(&datadir);
    let mut wanted = options(&datadir);
    wanted.occupied = Occupied::MoveAside;
    let error = run(&source, &wanted, &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, RestoreError::Unsupported { .. }), "{error}");
    assert_eq!(tree(&datadir), before);
    assert_eq!(names(dir.path()), ["data", "repo"]);
}

#[test]
fn a_cancelled_restore_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = sample().set(&dir.path().join("repo"));
    let cancel = Cancel::new();
    cancel.cancel("SIGINT");
    let error = run(&source, &options(&dir.path().join("data")), &Silent, &cancel).unwrap_err();
    assert!(matches!(error, RestoreError::Cancelled(_)), "{error}");
    assert_eq!(names(dir.path()), ["repo"]);
}

#[test]
fn what_a_killed_restore_left_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let model = sample();
    let source = model.set(&dir.path().join("repo"));
    let datadir = dir.path().join("data");
    let work = dir.path().join("data.reseed-partial");
    fs::create_dir_all(work.join("data/shop")).unwrap();
    fs::write(work.join("data/shop/half.ibd"), b"half").unwrap();
    fs::write(work.join("redo.spill"), b"spilled").unwrap();
    let report = run(&source, &options(&datadir), &Silent, &Cancel::new()).unwrap();
    model.assert_restored(&datadir);
    assert!(report.notes.iter().any(|note| note.contains("leftover")), "{:?}", report.notes);
    assert_eq!(names(dir.path()), ["data", "repo"]);
}

#[test]
fn a_restore_that_was_killed_between_its_renames_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let source = sample().set(&dir.path().join("repo"));
    let datadir = dir.path().join("data");
    let aside = dir.path().join("data.reseed-aside-20261120T050000Z");
    old_datadir(&aside);
    let before = tree(&aside);
    let work = dir.path().join("data.reseed-partial");
    fs::create_dir_all(work.join("data")).unwrap();
    fs::write(
        work.join("moved-aside"),
        "reseed restore journal 1\naside data.reseed-aside-20261120T050000Z\n",
    )
    .unwrap();
    // The next restore puts the old datadir back, and then refuses it, because it is not empty.
    let error = run(&source, &options(&datadir), &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    assert_eq!(tree(&datadir), before);
    assert_eq!(names(dir.path()), ["data", "repo"]);
}

#[test]
fn behind_a_symbolic_link_the_datadir_itself_stays() {
    let dir = tempfile::tempdir().unwrap();
    let model = sample();
    let source = model.set(&dir.path().join("repo"));
    let (real, link) = (dir.path().join("real"), dir.path().join("data"));
    old_datadir(&real);
    let before = tree(&real);
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let mut wanted = options(&link);
    let error = run(&source, &wanted, &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    assert_eq!(tree(&real), before);
    wanted.occupied = Occupied::MoveAside;
    let report = run(&source, &wanted, &Silent, &Cancel::new()).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    model.assert_restored(&link);
    assert_eq!(tree(&report.moved_aside.unwrap()), before);
    let again = run(&source, &wanted, &Silent, &Cancel::new()).unwrap();
    assert_eq!(again.moved_aside.unwrap(), real.join(".reseed-aside-20261120T060000Z-2"));
    model.assert_restored(&link);
    assert!(!real.join("reseed-unfinished-restore").exists() && !real.join(".reseed-partial").exists());
    // What was moved aside within it does not count as content when that is all there is.
    for name in names(&real).iter().filter(|name| !name.starts_with(".reseed-aside-")) {
        let path = real.join(name);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    wanted.occupied = Occupied::Refuse;
    run(&source, &wanted, &Silent, &Cancel::new()).unwrap();
    model.assert_restored(&link);
}

#[test]
fn a_restore_that_was_killed_while_it_moved_entries_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let model = sample();
    let source = model.set(&dir.path().join("repo"));
    let (real, link) = (dir.path().join("real"), dir.path().join("data"));
    std::os::unix::fs::symlink(&real, &link).unwrap();
    // Everything old is aside, and of the new one entry is in place, the other not yet.
    let aside = real.join(".reseed-aside-20261120T050000Z");
    old_datadir(&aside);
    let before = tree(&aside);
    fs::create_dir_all(real.join(".reseed-partial/data/shop")).unwrap();
    fs::create_dir(real.join("mysql")).unwrap();
    fs::write(real.join("mysql/half.ibd"), b"new").unwrap();
    fs::write(
        real.join("reseed-unfinished-restore"),
        "reseed restore journal 1\naside .reseed-aside-20261120T050000Z\nup mysql\nup shop\n",
    )
    .unwrap();
    let error = run(&source, &options(&link), &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    assert_eq!(tree(&real), before);
    // A marker that nobody can understand stops everything.
    fs::write(real.join("reseed-unfinished-restore"), "something").unwrap();
    let error = run(&source, &options(&link), &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, RestoreError::Unfinished { .. }), "{error}");
}
