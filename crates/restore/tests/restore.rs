//! Whole restores of a small set made by hand, compared byte by byte with a model.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Model, NOW, assert_file, options, sample, tree};
use reseed_io::{Cancel, Silent};
use reseed_restore::{Apply, RestoreError, export_raw, restore_stream, run, verify_pages};

#[test]
fn every_page_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let model = sample();
    let source = model.set(&dir.path().join("repo"));
    let datadir = dir.path().join("data");
    let report = run(&source, &options(&datadir), &Silent, &Cancel::new()).unwrap();
    model.assert_restored(&datadir);
    // A table that was created when the backup ended: only the redo knows it.
    assert_file(&datadir.join("shop/late.ibd"), &model.file(20_000));
    assert!(!datadir.join("shop/dropped.ibd").exists());
    assert!(report.counts.skipped > 0 && report.counts.created > 0 && report.counts.changed > 0);
    assert_eq!(report.moved_aside, None);
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "only the repository and the datadir: {left:?}");
}

#[test]
fn a_stream_gives_the_same_datadir() {
    let dir = tempfile::tempdir().unwrap();
    let model = sample();
    let source = model.set(&dir.path().join("repo"));
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    run(&source, &options(&one), &Silent, &Cancel::new()).unwrap();
    restore_stream(&model.stream()[..], &options(&other), &Silent, &Cancel::new()).unwrap();
    model.assert_restored(&other);
    assert_eq!(tree(&one), tree(&other));
}

#[test]
fn a_stream_that_is_cut_or_altered_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let stream = sample().stream();
    let datadir = dir.path().join("data");
    for cut in (0..stream.len()).step_by(stream.len() / 23).chain([stream.len() - 1]) {
        restore_stream(&stream[..cut], &options(&datadir), &Silent, &Cancel::new()).unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "after {cut} bytes");
    }
    for at in (0..stream.len()).step_by(stream.len() / 11) {
        let mut altered = stream.clone();
        altered[at] ^= 0x10;
        restore_stream(&altered[..], &options(&datadir), &Silent, &Cancel::new()).unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "altered at {at}");
    }
    let mut longer = stream;
    longer.push(0);
    restore_stream(&longer[..], &options(&datadir), &Silent, &Cancel::new()).unwrap_err();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn redo_that_does_not_fit_into_memory_gives_the_same_datadir() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = sample();
    // More than the least that the redo may take in memory (8 MiB).
    for round in 0..4000_u32 {
        let page = round % 9 + 1;
        model.write(5, page, 200 + (round % 800) as u16, &[round as u8; 3000]);
    }
    let source = model.set(&dir.path().join("repo"));
    let (small, large) = (dir.path().join("small"), dir.path().join("large"));
    let mut little = options(&small);
    little.memory = 1;
    let report = run(&source, &little, &Silent, &Cancel::new()).unwrap();
    assert!(report.spilled > 0);
    let report = run(&source, &options(&large), &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.spilled, 0);
    model.assert_restored(&small);
    assert_eq!(tree(&small), tree(&large));
}

#[test]
fn redo_of_a_table_without_a_file_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = sample();
    model.modify(99, "./shop/lost.ibd");
    model.write(99, 4, 100, b"where to?");
    let source = model.set(&dir.path().join("repo"));
    let error = run(&source, &options(&dir.path().join("data")), &Silent, &Cancel::new()).unwrap_err();
    let RestoreError::NoFile { space, name, .. } = error else { panic!("{error}") };
    assert_eq!((space.0, name.as_deref()), (99, Some("./shop/lost.ibd")));
    assert!(!dir.path().join("data").exists());
}

#[test]
fn redo_of_a_table_that_an_alter_was_building_needs_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = sample();
    let expected = model.expected.clone();
    model.modify(99, "./shop/#sql-alter-1-2.ibd");
    model.write(99, 4, 100, b"not finished");
    model.expected = expected;
    let source = model.set(&dir.path().join("repo"));
    let datadir = dir.path().join("data");
    run(&source, &options(&datadir), &Silent, &Cancel::new()).unwrap();
    model.assert_restored(&datadir);
}

#[test]
fn changes_before_a_deletion_do_not_touch_what_was_imported_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    model.table("ibdata1", 0, 4);
    model.table("shop/imported.ibd", 8, 4);
    let copied = model.expected.clone();
    model.modify(8, "./shop/imported.ibd");
    model.init(8, 2);
    model.write(8, 2, 100, b"before");
    model.delete(8, "./shop/imported.ibd");
    model.expected = copied;
    model.forget_touched();
    let source = model.set(&dir.path().join("repo"));
    let datadir = dir.path().join("data");
    run(&source, &options(&datadir), &Silent, &Cancel::new()).unwrap();
    model.assert_restored(&datadir);
}

#[test]
fn a_page_that_is_newer_than_the_redo_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = sample();
    let future = model.end().0 + 1000;
    let page = common::page(6, 2, 4, 1, future);
    let (_, bytes) = model.copied.get_mut("shop/quiet.ibd").unwrap();
    bytes[2 * common::PAGE..3 * common::PAGE].copy_from_slice(&page);
    let source = model.set(&dir.path().join("repo"));
    let error = run(&source, &options(&dir.path().join("data")), &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, RestoreError::PageFromFuture { .. }), "{error}");
    let error = verify_pages(&source, 2, &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, RestoreError::PageFromFuture { .. }), "{error}");
}

#[test]
fn the_servers_own_log_holds_the_captured_redo() {
    let dir = tempfile::tempdir().unwrap();
    let model = sample();
    let source = model.set(&dir.path().join("repo"));
    let datadir = dir.path().join("data");
    let mut wanted = options(&datadir);
    wanted.apply = Apply::Server;
    run(&source, &wanted, &Silent, &Cancel::new()).unwrap();
    let log = std::fs::read(datadir.join("ib_logfile0")).unwrap();
    assert_eq!(&log[12288..12288 + model.redo.len()], &model.redo[..]);
    assert_eq!(log[8..16], common::CHECKPOINT.to_be_bytes());
    // Pages are as they were copied.
    let (_, copied) = &model.copied["shop/orders.ibd"];
    let restored = std::fs::read(datadir.join("shop/orders.ibd")).unwrap();
    assert_eq!(&restored[..copied.len()], &copied[..]);
}

#[test]
fn an_export_has_what_the_tool_wants() {
    let dir = tempfile::tempdir().unwrap();
    let model = sample();
    let source = model.set(&dir.path().join("repo"));
    let raw = dir.path().join("raw");
    let report = export_raw(&source, &raw, 2, NOW, &Silent, &Cancel::new()).unwrap();
    assert!(report.prepare.contains("--defaults-file="));
    for (path, (_, bytes)) in &model.copied {
        assert_eq!(&std::fs::read(raw.join(path)).unwrap(), bytes, "{path}");
    }
    let log = std::fs::read(raw.join("ib_logfile0")).unwrap();
    assert_eq!(log.len(), 12288 + model.redo.len());
    let text = |name: &str| std::fs::read_to_string(raw.join(name)).unwrap();
    assert!(text("backup-my.cnf").contains("innodb_page_size=16384\n"));
    assert!(text("backup-my.cnf").contains("innodb_data_file_path=ibdata1:128K:autoextend\n"));
    assert!(text("xtrabackup_checkpoints").contains(&format!("last_lsn = {}\n", model.end())));
    assert!(text("xtrabackup_info").contains("server_version = 10.11.19-MariaDB\n"));
}

#[test]
fn verifying_counts_bad_pages_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = sample();
    let source = model.set(&dir.path().join("good"));
    let verified = verify_pages(&source, 2, &Silent, &Cancel::new()).unwrap();
    assert_eq!((verified.bad_count, verified.pages), (0, 8 + 10 + 4));
    let (_, bytes) = model.copied.get_mut("shop/quiet.ibd").unwrap();
    bytes[common::PAGE + 5000] ^= 1;
    bytes[3 * common::PAGE + 5000] ^= 1;
    let source = model.set(&dir.path().join("bad"));
    let verified = verify_pages(&source, 2, &Silent, &Cancel::new()).unwrap();
    assert_eq!((verified.bad_count, verified.pages), (2, 8 + 10 + 4));
    assert!(verified.bad.iter().all(|bad| bad.path == "shop/quiet.ibd"));
}
