//! Sets in a directory: written, published, listed, read back, damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::process::Command;
use std::time::Duration;

use common::*;
use reseed_io::{Cancel, Silent};
use reseed_repository::*;
use reseed_terms::PageNo;

const BOTH: [Compression; 2] = [Compression::None, Compression::Zstd(1)];

fn repository() -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::create(dir.path().join("repo")).unwrap();
    (dir, repository)
}

fn check(set: &SetReader, level: Level) -> VerifyReport {
    verify(set, level, 2, &Silent, &Cancel::new()).unwrap()
}

#[test]
fn what_was_written_is_read_back() {
    for compression in BOTH {
        let (_dir, repository) = repository();
        let published = publish(&repository, compression, REDO);
        assert_eq!(published.manifest.id.as_str(), "20261120T060000Z-full");
        let set = repository.resolve(&name(), &Which::Latest).unwrap();
        assert_eq!(*set.manifest(), published.manifest);
        assert!(read_all(&set).unwrap() == sorted(REDO));
        let report = check(&set, Level::Full);
        assert_eq!(report.findings, []);
        assert_eq!(report.bytes, set.manifest().totals.stored);
        let sparse =
            set.load_files().unwrap().into_iter().find(|f| f.path == path("test/sparse.ibd")).unwrap();
        assert!(sparse.raw_bytes() < 80_000, "the hole is not stored: {}", sparse.raw_bytes());
    }
}

/// The promise to a person without reseed: `zstd -dc data-0000.tar.zst | tar x`.
#[test]
fn packs_are_plain_tar_inside_zstd() {
    for compression in BOTH {
        let (dir, repository) = repository();
        let published = publish(&repository, compression, 10);
        let set = published.path.unwrap();
        let out = dir.path().join("out");
        fs::create_dir(&out).unwrap();
        for pack in &published.manifest.packs {
            let stored = fs::read(set.join(&pack.name)).unwrap();
            let tar = match compression {
                Compression::None => stored,
                Compression::Zstd(_) => zstd::stream::decode_all(&stored[..]).unwrap(),
            };
            let file = dir.path().join("one.tar");
            fs::write(&file, tar).unwrap();
            let done = Command::new("tar").arg("xf").arg(&file).arg("-C").arg(&out).output().unwrap();
            assert!(
                done.status.success() && done.stderr.is_empty(),
                "{}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        for (path, _, bytes) in contents(10).0 {
            let unpacked = fs::read(out.join(path.as_path()));
            match path.to_string().as_str() {
                "test/empty.CSV" | "test/hole.ibd" => {
                    assert!(unpacked.is_err(), "nothing is stored of {path}")
                }
                "test/sparse.ibd" => {
                    assert_eq!(unpacked.unwrap(), bytes[..20480]);
                    let rest = out.join(format!("test/sparse.ibd@{:016}", 147_456 + 1696));
                    assert_eq!(fs::read(rest).unwrap(), bytes[149_152..]);
                }
                _ => assert!(unpacked.unwrap() == bytes, "{path}"),
            }
        }
    }
}

#[test]
fn any_byte_flipped_is_found_by_verify_and_by_reading() {
    for compression in BOTH {
        let (_dir, repository) = repository();
        let published = publish(&repository, compression, 5000);
        let dir = published.path.unwrap();
        let files: Vec<String> = published.manifest.stored_files().map(|f| f.name.clone()).collect();
        let set = repository.resolve(&name(), &Which::Latest).unwrap();
        let all_runs: Vec<Run> = set.load_files().unwrap().into_iter().flat_map(|f| f.runs).collect();
        for file in files.iter().map(String::as_str).chain([MANIFEST]) {
            let number = published.manifest.packs.iter().position(|pack| pack.name == file);
            let of_file = all_runs.iter().filter(|run| number == Some(run.pack as usize));
            let runs: Vec<(usize, usize, usize)> =
                of_file.map(|run| (run.offset as usize, run.head as usize, run.stored as usize)).collect();
            let path = dir.join(file);
            let good = fs::read(&path).unwrap();
            // A step through everything, and every edge: tar header, data, end of the pack.
            let step = (good.len() / 30) | 1;
            let edges = runs.iter().flat_map(|&(at, head, len)| [at, at + head - 1, at + head, at + len - 1]);
            let places = (0..good.len()).step_by(step).chain(edges).chain([good.len() - 1]);
            for at in places {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                fs::write(&path, &bad).unwrap();
                let opened = repository.resolve(&name(), &Which::Latest);
                let Ok(set) = opened else {
                    assert_eq!(file, MANIFEST, "at {at}");
                    continue;
                };
                assert_ne!(file, MANIFEST, "byte {at} of the manifest was changed unnoticed");
                let report = check(&set, Level::Full);
                assert!(!report.is_good(), "verify: {file} byte {at}");
                assert!(report.findings.iter().all(|f| f.file == file), "{file} {at}: {:?}", report.findings);
                let in_run = |&(start, _, len): &(usize, usize, usize)| (start..start + len).contains(&at);
                if runs.iter().any(in_run) {
                    let of = report.findings.iter().any(|f| f.of.is_some());
                    assert!(of, "the file concerned is named: {:?}", report.findings);
                }
                // What no entry names does not concern a reader.
                if !file.starts_with("data") || runs.iter().any(in_run) {
                    let error = read_all(&set).expect_err("reading must notice");
                    assert!(error.is_bad_set(), "{file} {at}: {error}");
                }
            }
            for cut in [good.len() - 1, good.len() / 2, 0] {
                fs::write(&path, &good[..cut]).unwrap();
                let error = repository.resolve(&name(), &Which::Latest).unwrap_err();
                assert!(error.is_bad_set(), "{file} cut at {cut}: {error}");
            }
            fs::write(&path, [&good[..], b"x"].concat()).unwrap();
            assert!(repository.resolve(&name(), &Which::Latest).unwrap_err().is_bad_set(), "{file} longer");
            fs::remove_file(&path).unwrap();
            let error = repository.resolve(&name(), &Which::Latest).unwrap_err();
            assert!(error.is_bad_set() && error.to_string().contains(file), "{error}");
            fs::write(&path, &good).unwrap();
        }
        let set = repository.resolve(&name(), &Which::Latest).unwrap();
        assert!(check(&set, Level::Full).is_good() && read_all(&set).is_ok());
    }
}

#[test]
fn nothing_is_published_until_the_end_and_leftovers_go() {
    let (_dir, repository) = repository();
    let lock_one = lock(&repository);
    let writer = repository.begin(&lock_one, NewSet::full(start()), &Silent, &Cancel::new()).unwrap();
    let id = writer.id().clone();
    let mut pack = writer.pack().unwrap();
    pack.append(&writer.copy(&path("a")), 0, &noise(1, 10_000), &mut vec![]).unwrap();
    let error = repository.resolve(&name(), &Which::Id(id.clone())).unwrap_err();
    assert!(matches!(error, RepositoryError::Unpublished { .. }), "{error}");
    assert!(matches!(repository.resolve(&name(), &Which::Latest), Err(RepositoryError::NoSets { .. })));
    let listing = repository.sets(&name()).unwrap();
    assert!(listing.sets.is_empty() && listing.leftovers[0].name == format!("{id}.partial"));

    // Not finished: neither pack nor redo. A run that fails leaves nothing behind, also one that gives up.
    let error = (Box::new(writer) as Box<dyn Sink>).finish(facts(0), vec![]).unwrap_err();
    assert!(matches!(error, RepositoryError::Incomplete(Incomplete::Pack { number: 0 })), "{error}");
    drop(pack);
    assert!(repository.sets(&name()).unwrap().leftovers.is_empty());
    let begin = || {
        let writer = repository.begin(&lock_one, NewSet::full(start()), &Silent, &Cancel::new()).unwrap();
        let mut pack = writer.pack().unwrap();
        pack.append(&writer.copy(&path("a")), 0, &noise(1, 10_000), &mut vec![]).unwrap();
        writer
    };
    (Box::new(begin()) as Box<dyn Sink>).abort("no more", Rest::Removed);
    assert!(repository.sets(&name()).unwrap().leftovers.is_empty());
    // One that is killed can remove nothing. What the next one cannot use is removed then.
    let killed = begin();
    fs::write(killed.partial_dir().join("redo.zst"), noise(1, 5000)).unwrap();
    drop(killed);
    let next = repository.begin(&lock_one, NewSet::full(start()), &Silent, &Cancel::new()).unwrap();
    let [removed] = next.removed() else { panic!("{:?}", next.removed()) };
    // The pack that is kept has got its end.
    assert_eq!(removed.name, format!("{id}.partial"));
    assert!((4900..=5000).contains(&removed.bytes), "{removed:?}");
    assert_eq!(next.id(), &id);
}

#[test]
fn a_caller_that_gets_it_wrong_publishes_nothing() {
    let (_dir, repository) = repository();
    let lock_one = lock(&repository);
    let attempt = |redo: usize, change: &dyn Fn(&mut Vec<FileEntry>)| {
        let writer = repository.begin(&lock_one, NewSet::full(start()), &Silent, &Cancel::new()).unwrap();
        let mut pack = writer.pack().unwrap();
        let mut entry = FileEntry::new(path("a"), FileKind::Other);
        entry.size = 10_000;
        pack.append(&writer.copy(&entry.path), 0, &noise(1, 10_000), &mut entry.runs).unwrap();
        pack.finish().unwrap();
        writer.redo().unwrap().finish().unwrap();
        let mut entries = vec![entry];
        change(&mut entries);
        let error = (Box::new(writer) as Box<dyn Sink>).finish(facts(redo), entries).unwrap_err();
        assert!(repository.sets(&name()).unwrap().sets.is_empty());
        match error {
            RepositoryError::Incomplete(incomplete) => incomplete,
            other => panic!("{other}"),
        }
    };
    assert!(matches!(attempt(1, &|_| {}), Incomplete::RedoLength { captured: 0, expected: 1 }));
    assert!(matches!(attempt(0, &|e| e[0].size = 1), Incomplete::Entry { .. }));
    assert!(matches!(attempt(0, &|e| e[0].runs[0].pack = 7), Incomplete::RunNowhere { .. }));
    assert!(matches!(attempt(0, &|e| e[0].runs[0].offset = 1 << 40), Incomplete::RunNowhere { .. }));
    assert!(matches!(attempt(0, &|e| e.push(e[0].clone())), Incomplete::Twice { .. }));
}

#[test]
fn one_second_sees_many_sets_and_the_order_is_kept() {
    let (_dir, repository) = repository();
    let ids: Vec<String> =
        (0..3).map(|_| publish(&repository, Compression::default(), 10).manifest.id.to_string()).collect();
    assert_eq!(ids, ["20261120T060000Z-full", "20261120T060000Z-full-2", "20261120T060000Z-full-3"]);
    // A clock that goes backwards changes nothing about which set is the latest.
    let early = NewSet::full(time("2020-01-01T00:00:00Z"));
    let old =
        fill(Box::new(repository.begin(&lock(&repository), early, &Silent, &Cancel::new()).unwrap()), 10)
            .unwrap();
    assert_eq!(old.manifest.sequence, 4);
    let latest = repository.resolve(&name(), &Which::Latest).unwrap();
    assert_eq!(*latest.id(), old.manifest.id);
    let listed: Vec<u64> =
        repository.sets(&name()).unwrap().sets.iter().map(|set| set.manifest.sequence).collect();
    assert_eq!(listed, [1, 2, 3, 4]);
}

#[test]
fn one_run_at_a_time() {
    let (_dir, repository) = repository();
    let held = lock(&repository);
    held.set_doing("copying").unwrap();
    let error = repository.lock(&name(), "x", Duration::ZERO, &Cancel::new()).unwrap_err();
    let text = error.to_string();
    let RepositoryError::Busy { holder, .. } = error else { panic!("{text}") };
    assert_eq!(holder.pid, Some(std::process::id()));
    assert!(text.contains("copying") && text.contains("since 2"), "{text}");
    let other: ServerName = "db2".parse().unwrap();
    repository.lock(&other, "x", Duration::ZERO, &Cancel::new()).unwrap();
    drop(held);
    lock(&repository);
    assert_eq!(repository.names().unwrap(), [name(), other]);
}

fn incremental(repository: &Repository, parent: &SetReader, when: &str) -> Published {
    let new = NewSet { parent: Some(parent.as_parent()), ..NewSet::full(time(when)) };
    let writer = repository.begin(&lock(repository), new, &Silent, &Cancel::new()).unwrap();
    let mut pack = writer.pack().unwrap();
    let mut entry = FileEntry::new(path("ibdata1"), FileKind::SystemTablespace);
    entry.size = 100 * 16384;
    entry.page_size = Some(16384);
    entry.parent = Some(path("ibdata1"));
    let mut bytes = noise(7, 3 * 16384);
    bytes[..16384].fill(0);
    let pages = [PageNo(3), PageNo(4), PageNo(90)];
    let copy = writer.copy(&entry.path);
    let run = pack.append_pages(&copy, 16384, &pages, &bytes).unwrap();
    assert!(pack.append_pages(&copy, 16384, &pages, &bytes[1..]).is_err());
    assert!(pack.append_pages(&copy, 16384, &[PageNo(4), PageNo(3), PageNo(90)], &bytes).is_err());
    assert!(pack.append_pages(&copy, 16384, &[], &[]).is_err());
    entry.runs.push(run);
    pack.finish().unwrap();
    writer.redo().unwrap().finish().unwrap();
    (Box::new(writer) as Box<dyn Sink>).finish(facts(0), vec![entry]).unwrap()
}

#[test]
fn chains_are_resolved_and_must_be_whole() {
    let (_dir, repository) = repository();
    publish(&repository, Compression::default(), 10);
    let full = repository.resolve(&name(), &Which::Latest).unwrap();
    let first = incremental(&repository, &full, "2026-11-20T07:00:00Z").manifest;
    assert_eq!(first.id.as_str(), "20261120T070000Z-incr");
    let first = repository.open_set(&name(), &first.id).unwrap();
    let entry = first.load_files().unwrap().remove(0);
    assert_eq!(entry.runs[0].pages.as_ref().unwrap().iter().collect::<Vec<_>>(), [3, 4, 90]);
    let mut raw = vec![];
    first.runs().unwrap().read(&entry.path, &entry.runs[0], &mut raw).unwrap();
    assert_eq!(&raw[16384..], &noise(7, 3 * 16384)[16384..]);
    assert!(check(&first, Level::Full).is_good());

    let second = incremental(&repository, &first, "2026-11-20T08:00:00Z").manifest;
    let second = repository.open_set(&name(), &second.id).unwrap();
    let chain = repository.chain(&second).unwrap();
    let ids: Vec<&SetId> = chain.sets().iter().map(SetReader::id).collect();
    assert_eq!(ids, [full.id(), first.id(), second.id()]);

    // Another set under the parent's name, as after a restore of the repository from somewhere.
    let dir = first.dir().to_owned();
    let manifest = fs::read_to_string(dir.join(MANIFEST)).unwrap();
    let mut altered = first.manifest().clone();
    altered.notes.push("altered".into());
    fs::write(dir.join(MANIFEST), altered.to_text().unwrap().0).unwrap();
    let error = repository.chain(&second).unwrap_err();
    assert!(matches!(error, RepositoryError::ParentAltered { .. }), "{error}");
    assert!(!repository.sets(&name()).unwrap().sets[2].is_good());
    fs::write(dir.join(MANIFEST), manifest).unwrap();
    assert!(repository.sets(&name()).unwrap().sets.iter().all(SetInfo::is_good));

    fs::remove_dir_all(dir).unwrap();
    let error = repository.chain(&second).unwrap_err();
    assert!(matches!(error, RepositoryError::ParentMissing { .. }), "{error}");
    let listing = repository.sets(&name()).unwrap();
    assert_eq!(listing.newest_good().unwrap().id(), full.id());
}

/// A set that [`incremental`] can build on.
fn full_of_pages(repository: &Repository, when: &str) -> Published {
    let writer =
        repository.begin(&lock(repository), NewSet::full(time(when)), &Silent, &Cancel::new()).unwrap();
    let mut entry = FileEntry::new(path("ibdata1"), FileKind::SystemTablespace);
    entry.size = 100 * 16384;
    entry.page_size = Some(16384);
    let mut pack = writer.pack().unwrap();
    pack.append(&writer.copy(&entry.path), 0, &noise(6, 100 * 16384), &mut entry.runs).unwrap();
    pack.finish().unwrap();
    writer.redo().unwrap().finish().unwrap();
    (Box::new(writer) as Box<dyn Sink>).finish(facts(0), vec![entry]).unwrap()
}

/// The clock was a month ahead and was set right: names lie, the order does not.
#[test]
fn a_clock_that_went_back_changes_nothing_but_names() {
    let (_dir, repository) = repository();
    let take = |parent: Option<&SetReader>, when: &str| {
        let id = match parent {
            None => full_of_pages(&repository, when).manifest.id,
            Some(parent) => incremental(&repository, parent, when).manifest.id,
        };
        repository.open_set(&name(), &id).unwrap()
    };
    let full = take(None, "2026-12-20T06:00:00Z");
    let first = take(Some(&full), "2026-12-20T07:00:00Z");
    let second = take(Some(&first), "2026-11-20T07:30:00Z");
    let third = take(Some(&second), "2026-11-20T07:30:00Z");
    assert_eq!(third.id().as_str(), "20261120T073000Z-incr-2");
    let chain = repository.chain(&repository.resolve(&name(), &Which::Latest).unwrap()).unwrap();
    let order: Vec<&SetId> = chain.sets().iter().map(SetReader::id).collect();
    assert_eq!(order, [full.id(), first.id(), second.id(), third.id()]);
    assert!(read_chain(&chain));
    let listed = repository.sets(&name()).unwrap();
    assert_eq!(listed.sets.iter().map(SetInfo::id).collect::<Vec<_>>(), order);
    assert_eq!(listed.newest_good().unwrap().id(), third.id());

    // By the right clock, everything is of the future or new: nothing of it goes that something new needs.
    let now = time("2026-11-20T07:40:00Z");
    let rules = Rules { hourly: 1, ..Rules::default() };
    let kept: Vec<SetId> =
        repository.plan_expiry(&name(), &rules, now).unwrap().into_iter().map(|v| v.id).collect();
    assert_eq!(kept.iter().collect::<Vec<_>>(), order);

    // A new full set by the right clock, and the newest damaged: `latest` is no older one, whatever the names say.
    drop((chain, third, second, first, full));
    let newest = take(None, "2026-11-20T08:00:00Z");
    let (id, dir) = (newest.id().clone(), newest.dir().to_owned());
    drop(newest);
    let good = fs::read(dir.join(MANIFEST)).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    for bad in [text.replace("\"name\": \"db1\"", "\"name\": \"db2\"").into_bytes(), Vec::new()] {
        assert_ne!(bad, good);
        fs::write(dir.join(MANIFEST), bad).unwrap();
        let error = repository.resolve(&name(), &Which::Latest).unwrap_err();
        assert!(matches!(&error, RepositoryError::Damaged { id: found, .. } if *found == id), "{error}");
    }
    fs::write(dir.join(MANIFEST), good).unwrap();
    let expiry = repository.expire(&lock(&repository), &rules, now, &Cancel::new()).unwrap();
    assert_eq!(expiry.removed.len(), 4);
    assert_eq!(repository.resolve(&name(), &Which::Latest).unwrap().id(), &id);
}

fn read_chain(chain: &Chain) -> bool {
    let mut runs = chain.runs().unwrap();
    let mut raw = Vec::new();
    let files = chain.load_files().unwrap();
    files.iter().all(|file| file.runs.iter().all(|run| runs.read(&file.path, run, &mut raw).is_ok()))
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (_dir, repository) = repository();
    let published = publish(&repository, Compression::default(), 10);
    let mut manifest = published.manifest;
    manifest.format = FORMAT + 1;
    fs::write(published.path.unwrap().join(MANIFEST), manifest.to_text().unwrap().0).unwrap();
    let error = repository.resolve(&name(), &Which::Latest).unwrap_err();
    assert_eq!(
        error.to_string(),
        "backup set 20261120T060000Z-full has format 2, this reseed knows formats up to 1: a newer reseed is needed"
    );
    let listing = repository.sets(&name()).unwrap();
    assert!(matches!(listing.damaged[0].error, RepositoryError::NewerFormat { found: 2, known: 1, .. }));
}

#[test]
fn remarks_beside_a_set_are_about_that_set() {
    let (_dir, repository) = repository();
    publish(&repository, Compression::default(), 10);
    let set = repository.resolve(&name(), &Which::Latest).unwrap();
    let good = check(&set, Level::Full);
    set.keep_result(&good, start()).unwrap();
    set.pin("the auditors want it", start()).unwrap();
    let info = repository.sets(&name()).unwrap().sets.remove(0);
    assert!(info.is_good());
    assert_eq!(info.verified.unwrap().level, Level::Full);
    assert_eq!(info.pinned.unwrap().reason, "the auditors want it");
    let mut bad = good.clone();
    bad.findings.push(Damage::of_file("data-0000.tar.zst", Problem::Hash));
    set.keep_result(&bad, start()).unwrap();
    assert!(!repository.sets(&name()).unwrap().sets[0].is_good());
    assert!(set.unpin().unwrap() && !set.unpin().unwrap());
    let mut altered = set.manifest().clone();
    altered.notes.push("another set".into());
    fs::write(set.dir().join(MANIFEST), altered.to_text().unwrap().0).unwrap();
    assert_eq!(repository.sets(&name()).unwrap().sets[0].verified, None);
}

#[test]
fn an_empty_directory_is_no_backup() {
    let (_dir, repository) = repository();
    publish(&repository, Compression::default(), 10);
    fs::create_dir(repository.root().join("db1/20261121T060000Z-full")).unwrap();
    fs::create_dir(repository.root().join("db1/somebody's folder")).unwrap();
    let listing = repository.sets(&name()).unwrap();
    assert_eq!((listing.sets.len(), listing.damaged.len()), (1, 1));
    // The newest is no good: an older one is not taken in its place without a word.
    assert!(repository.resolve(&name(), &Which::Latest).unwrap_err().is_bad_set());
    assert!(Repository::open(repository.root().join("nowhere")).is_err());
    let nobody: ServerName = "nobody".parse().unwrap();
    assert!(matches!(repository.sets(&nobody), Err(RepositoryError::NoServer { .. })));
}

#[test]
fn a_manifest_that_boasts_is_refused() {
    let (_dir, repository) = repository();
    let published = publish(&repository, Compression::default(), 10);
    for change in [
        |manifest: &mut Manifest| manifest.totals.runs = 1 << 40,
        |manifest: &mut Manifest| manifest.totals.files = 1 << 40,
        |manifest: &mut Manifest| manifest.packs[0].name = "../data-0000.tar.zst".into(),
        |manifest: &mut Manifest| manifest.index.name = "/etc/passwd".into(),
        |manifest: &mut Manifest| manifest.redo.stored.name = "redo".into(),
        |manifest: &mut Manifest| manifest.kind = SetKind::Incremental,
    ] {
        let mut manifest = published.manifest.clone();
        change(&mut manifest);
        let text = manifest.to_text().unwrap().0;
        let error = Manifest::from_text(text.as_bytes(), &manifest.id).unwrap_err();
        assert!(error.is_bad_set(), "{error}");
    }
}

/// Written by the first version and never written again: what was readable stays so.
#[test]
fn the_stored_set_of_version_1_is_readable() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    let repository = Repository::open(&fixtures).unwrap();
    let set = repository.resolve(&name(), &Which::Latest).unwrap();
    assert_eq!(set.manifest().format, 1);
    assert!(read_all(&set).unwrap() == sorted(200));
    assert!(check(&set, Level::Full).is_good());
}

/// With RESEED_TEST_FIXTURES it writes a stored set of the current version there, for a version to come.
#[test]
fn a_stored_set_is_written_as_it_is_read() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = std::env::var_os("RESEED_TEST_FIXTURES").map_or(scratch.path().join("v"), Into::into);
    let repository = Repository::create(&dir).unwrap();
    publish(&repository, Compression::default(), 200);
    fs::write(dir.join("stream"), stream(Compression::default(), 200).0).unwrap();
    let set = repository.resolve(&name(), &Which::Latest).unwrap();
    assert!(read_all(&set).unwrap() == sorted(200));
}

#[test]
fn the_format_has_a_version_that_only_a_decision_changes() {
    assert_eq!(FORMAT, 1);
    assert_eq!(STREAM_FORMAT, 1);
}

#[test]
fn no_bit_of_a_manifest_changes_unnoticed() {
    let (_dir, repository) = repository();
    let published = publish(&repository, Compression::default(), 10).manifest;
    let (text, hash) = published.to_text().unwrap();
    let read = Manifest::from_text(text.as_bytes(), &published.id).unwrap();
    assert_eq!(read, (published.clone(), hash));
    let mut bytes = text.clone().into_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(Manifest::from_text(&bytes, &published.id).is_err(), "byte {at} bit {bit}");
            bytes[at] ^= 1 << bit;
        }
    }
    for cut in 0..bytes.len() {
        assert!(Manifest::from_text(&bytes[..cut], &published.id).is_err(), "cut at {cut}");
    }
    let other: SetId = "20261120T060001Z-full".parse().unwrap();
    assert!(Manifest::from_text(&bytes, &other).is_err(), "a set under another name is not that set");
}

#[test]
fn expiry_removes_what_no_rule_keeps_and_nothing_that_is_read() {
    let (_dir, repository) = repository();
    let cancel = Cancel::new();
    let rules = Rules { fulls: 1, ..Rules::default() };
    let now = time("2026-11-21T00:00:00Z");
    let expire = || repository.expire(&lock(&repository), &rules, now, &cancel).unwrap();
    let ids = || -> Vec<String> {
        repository.sets(&name()).unwrap().sets.iter().map(|set| set.id().to_string()).collect()
    };
    publish(&repository, Compression::default(), 10);
    let full = repository.resolve(&name(), &Which::Latest).unwrap();
    let incr = incremental(&repository, &full, "2026-11-20T07:00:00Z").manifest.id;
    let incr = repository.open_set(&name(), &incr).unwrap();
    assert_eq!(expire().removed, [], "the only chain stays");
    let next = NewSet::full(time("2026-11-20T08:00:00Z"));
    fill(Box::new(repository.begin(&lock(&repository), next, &Silent, &Cancel::new()).unwrap()), 10).unwrap();

    let before = ids();
    let plan = repository.plan_expiry(&name(), &rules, now).unwrap();
    assert_eq!(plan.iter().map(Verdict::is_kept).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(ids(), before, "a plan changes nothing");

    let expiry = expire();
    assert_eq!((expiry.removed.len(), expiry.in_use.len()), (0, 2), "both are open here");
    drop(full);
    assert_eq!(expire().in_use.len(), 2, "what a set in use builds on stays");
    incr.pin("keep", start()).unwrap();
    drop(incr);
    assert_eq!(expire().removed, []);
    repository.open_set(&name(), &before[1].parse().unwrap()).unwrap().unpin().unwrap();
    fs::create_dir(repository.root().join("db1/20261101T000000Z-full.expired")).unwrap();
    let expiry = expire();
    let removed: Vec<&str> = expiry.removed.iter().map(|removed| removed.name.as_str()).collect();
    assert_eq!(removed, ["20261101T000000Z-full.expired", &before[1], &before[0]]);
    assert!(expiry.removed[1].bytes > 10_000);
    assert_eq!(ids(), before[2..]);
    let left = fs::read_dir(repository.root().join("db1")).unwrap().count();
    assert_eq!(left, 2, "the set and the lock");
}
