//! Chains in a real repository: what they read as, compared with a model that keeps the bytes of the file; and lists of
//! files that no backup has written.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::Cell;
use std::fs;

use common::{facts, lock, name, noise, path, start};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reseed_io::{Cancel, Silent};
use reseed_repository::*;
use reseed_terms::PageNo;

mod common;

const PAGE: usize = 1024;
/// Pages of one read of a backup: no run of pages reaches over such a border.
const READ: usize = 8;

fn repository() -> (tempfile::TempDir, Repository) {
    // In memory where that is to be had: each set makes some files durable.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let repository = Repository::create(dir.path().join("repo")).unwrap();
    (dir, repository)
}

/// What one set does to the file.
#[derive(Debug, Clone)]
struct Layer {
    /// Another file by the name: stored whole.
    anew: bool,
    renamed: bool,
    grows: usize,
    /// Page (of as many as there are), and whether it becomes one of zeros.
    pages: Vec<(usize, bool)>,
}

fn any_layers() -> impl Strategy<Value = Vec<Layer>> {
    let page = (0..1000_usize, prop::bool::weighted(0.2));
    let layer =
        (prop::bool::weighted(0.1), any::<bool>(), 0..12_usize, proptest::collection::vec(page, 0..20));
    let layer = layer.prop_map(|(anew, renamed, grows, pages)| Layer { anew, renamed, grows, pages });
    proptest::collection::vec(layer, 1..7)
}

struct File {
    path: RelPath,
    bytes: Vec<u8>,
}

/// Takes a set of the one file, after the layer was applied to it.
fn take(repository: &Repository, file: &mut File, layer: &Layer, seed: u64) -> SetReader {
    let parent = repository.resolve(&name(), &Which::Latest).ok();
    let was = file.path.clone();
    if layer.renamed {
        file.path = path(&format!("test/t{seed}.ibd"));
    }
    file.bytes.resize(file.bytes.len() + layer.grows * PAGE, 0);
    let count = file.bytes.len() / PAGE;
    let mut changed: Vec<usize> = Vec::new();
    for (nth, (page, zeros)) in layer.pages.iter().enumerate().take_while(|_| count > 0) {
        let page = page % count;
        let bytes = &mut file.bytes[page * PAGE..][..PAGE];
        match zeros {
            true => bytes.fill(0),
            false => bytes.copy_from_slice(&noise(seed * 1000 + nth as u64, PAGE)),
        }
        changed.push(page);
    }
    changed.sort_unstable();
    changed.dedup();

    let new = NewSet { parent: parent.as_ref().map(SetReader::as_parent), ..NewSet::full(start()) };
    let writer = repository.begin(&lock(repository), new, &Silent, &Cancel::new()).unwrap();
    let mut entry = FileEntry::new(file.path.clone(), FileKind::Tablespace);
    entry.size = file.bytes.len() as u64;
    entry.page_size = Some(PAGE as u32);
    let copy = writer.copy(&entry.path);
    if parent.is_some() && !layer.anew {
        entry.parent = Some(was);
        // A set without a change has no pack.
        let mut packs: Vec<Box<dyn PackSink>> = Vec::new();
        for (nth, pages) in changed.chunk_by(|one, other| one / READ == other / READ).enumerate() {
            if packs.len() < 2 {
                packs.push(writer.pack().unwrap());
            }
            let bytes: Vec<u8> =
                pages.iter().flat_map(|page| file.bytes[page * PAGE..][..PAGE].to_vec()).collect();
            let numbers: Vec<PageNo> = pages.iter().map(|page| PageNo(*page as u32)).collect();
            let pack = nth % packs.len();
            entry.runs.push(packs[pack].append_pages(&copy, PAGE as u32, &numbers, &bytes).unwrap());
        }
        for pack in packs {
            pack.finish().unwrap();
        }
    } else {
        let mut pack = writer.pack().unwrap();
        for (nth, part) in file.bytes.chunks(READ * PAGE).enumerate() {
            pack.append(&copy, (nth * READ * PAGE) as u64, part, &mut entry.runs).unwrap();
        }
        pack.finish().unwrap();
    }
    writer.redo().unwrap().finish().unwrap();
    let id = (Box::new(writer) as Box<dyn Sink>).finish(facts(0), vec![entry]).unwrap().manifest.id;
    repository.open_set(&name(), &id).unwrap()
}

/// The bytes of a file of a chain, as a restore puts them together.
fn read(chain: &Chain, entry: &FileEntry) -> Result<Vec<u8>, RepositoryError> {
    let mut runs: Vec<&Run> = entry.runs.iter().collect();
    runs.sort_by_key(|run| run.pack);
    let mut reader = chain.runs()?;
    let mut bytes = vec![0; entry.size as usize];
    let mut raw = Vec::new();
    for run in runs {
        reader.read(&entry.path, run, &mut raw)?;
        assert!(raw.len() <= MAX_RUN);
        for (at, part) in run.pieces(entry.page_size) {
            if let Some(place) = bytes.get_mut(at as usize..at as usize + part.len()) {
                place.copy_from_slice(&raw[part]);
            }
        }
    }
    Ok(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_chain_reads_as_the_file_was_at_each_of_its_sets(layers in any_layers()) {
        let (_dir, repository) = repository();
        let mut file = File { path: path("test/t.ibd"), bytes: Vec::new() };
        for (layer, seed) in layers.iter().zip(1..) {
            let set = take(&repository, &mut file, layer, seed);
            let chain = repository.chain(&set).unwrap();
            let files = chain.load_files().unwrap();
            prop_assert_eq!(files.len(), 1);
            let entry = &files[0];
            prop_assert_eq!((&entry.path, &entry.parent), (&file.path, &None));
            prop_assert!(read(&chain, entry).unwrap() == file.bytes, "set {seed}");
            prop_assert!(entry.runs.is_sorted_by_key(|run| (run.at, run.pack)));
            // What newer runs have whole is not read from an older one.
            let own = set.load_files().unwrap().remove(0);
            let first = chain.sets().iter().map(|set| set.manifest().packs.len() as u32).sum::<u32>()
                - set.manifest().packs.len() as u32;
            for run in entry.runs.iter().filter(|run| run.pack < first) {
                let runs = entry.runs.iter().filter(|newer| newer.pack > run.pack).cloned().collect();
                let newer = Covered::by(&FileEntry { runs, ..entry.clone() });
                let whole = run.pieces(entry.page_size).all(|(at, part)| newer.holds(at, part.len() as u64));
                prop_assert!(!whole, "the run at {} is not needed", run.at);
            }
            prop_assert_eq!(entry.runs.iter().filter(|run| run.pack >= first).count(), own.runs.len());
        }
    }

    #[test]
    fn stretches_are_those_of_a_list_of_bytes(
        runs in proptest::collection::vec((0..300_u64, 1..40_u32), 0..12), at in 0..320_u64, len in 1..60_u64,
    ) {
        let mut entry = FileEntry::new(path("a"), FileKind::Other);
        let mut held = vec![false; 400];
        for &(at, raw) in &runs {
            held[at as usize..][..raw as usize].fill(true);
            entry.runs.push(Run {
                pack: 0, offset: 0, stored: 2, head: 1, at, raw, hash: Hash128(0), stored_hash: Hash64(0), pages: None,
            });
        }
        let covered = Covered::by(&entry);
        let asked = &held[at as usize..][..len as usize];
        prop_assert_eq!(covered.holds(at, len), asked.iter().all(|held| *held));
        prop_assert_eq!(covered.touches(at, len), asked.iter().any(|held| *held));
    }
}

/// A full set, and an incremental one on it that has four of its 20 pages.
fn two(repository: &Repository) -> [SetReader; 2] {
    let mut file = File { path: path("test/t.ibd"), bytes: noise(1, 20 * PAGE) };
    let mut layer = Layer { anew: false, renamed: false, grows: 0, pages: Vec::new() };
    let full = take(repository, &mut file, &layer, 1);
    layer.pages = [2, 3, 9, 17].map(|page| (page, false)).into();
    [full, take(repository, &mut file, &layer, 2)]
}

/// Gives a set another list of files, sealed as if a backup had written it.
fn forge(set: &SetReader, parent: Option<&SetReader>, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let index = zstd::stream::encode_all(text.as_bytes(), 1).unwrap();
    let mut manifest = set.manifest().clone();
    manifest.index.size = index.len() as u64;
    manifest.index.hash = Hash128::of(&index);
    manifest.totals.files = lines.len() as u64;
    let runs =
        |line: &String| serde_json::from_str::<FileEntry>(line).map_or(0, |entry| entry.runs.len() as u64);
    manifest.totals.runs = lines.iter().map(runs).sum();
    if let Some(parent) = parent {
        manifest.parent = Some(parent.as_parent());
    }
    fs::write(set.dir().join(&manifest.index.name), index).unwrap();
    fs::write(set.dir().join(MANIFEST), manifest.to_text().unwrap().0).unwrap();
}

fn line(entry: &FileEntry) -> String {
    serde_json::to_string(entry).unwrap()
}

/// Opens the chain anew and reads all of it.
fn read_chain(repository: &Repository, set: &SetReader) -> Result<u64, RepositoryError> {
    let chain = repository.chain(&repository.open_set(&name(), set.id())?)?;
    let mut sum = 0;
    for entry in chain.load_files()? {
        let mut reader = chain.runs()?;
        let mut raw = Vec::new();
        reader.expect(&entry.runs);
        for run in &entry.runs {
            reader.read(&entry.path, run, &mut raw)?;
            assert!(raw.capacity() <= 2 * MAX_RUN, "{} bytes for a run", raw.capacity());
            sum += raw.len() as u64;
        }
    }
    Ok(sum)
}

#[test]
fn a_list_that_its_parent_does_not_fit_is_refused_with_the_place() {
    let (_dir, repository) = repository();
    let [full, second] = two(&repository);
    let good = second.load_files().unwrap().remove(0);
    let refused = |entry: &FileEntry| {
        forge(&second, None, &[line(entry)]);
        let error = read_chain(&repository, &second).unwrap_err();
        assert!(error.is_bad_set(), "{error}");
        let told = error.to_string();
        assert!(told.contains(second.id().as_str()) && told.contains("files.jsonl.zst"), "{told}");
        told
    };
    let nowhere = refused(&FileEntry { parent: Some(path("test/other.ibd")), ..good.clone() });
    assert!(nowhere.contains("test/t2.ibd") || nowhere.contains("test/other.ibd"), "{nowhere}");
    refused(&FileEntry { kind: FileKind::UndoTablespace, ..good.clone() });
    let pages = FileEntry { page_size: Some(2048), runs: Vec::new(), ..good.clone() };
    refused(&pages);
    for pack in [2, u32::MAX] {
        let mut other = good.clone();
        other.runs[0].pack = pack;
        let told = refused(&other);
        assert!(told.contains(&format!("pack {pack}")), "{told}");
    }
    forge(&second, None, &[line(&good)]);
    assert!(read_chain(&repository, &second).unwrap() > 0);

    // A full set whose files come from nowhere; and one whose pack would be, by the numbers of the chain, another set's.
    let whole = full.load_files().unwrap().remove(0);
    let mut other = whole.clone();
    other.runs[0].pack = 1;
    for bad in [FileEntry { parent: Some(path("test/t.ibd")), ..whole }, other] {
        forge(&full, None, &[line(&bad)]);
        let full = repository.open_set(&name(), full.id()).unwrap();
        forge(&second, Some(&full), &[line(&good)]);
        let error = read_chain(&repository, &second).unwrap_err();
        assert!(error.is_bad_set() && error.to_string().contains(full.id().as_str()), "{error}");
    }
    // A set that builds on itself, or on one that came later.
    let same = repository.open_set(&name(), second.id()).unwrap();
    forge(&second, Some(&same), &[line(&good)]);
    let error = read_chain(&repository, &second).unwrap_err();
    assert!(matches!(error, RepositoryError::ParentAltered { .. }), "{error}");
}

/// Numbers that are near what is allowed, and such that are not.
fn wild(near: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        0..near.saturating_mul(2).max(4),
        prop::sample::select(vec![0, near, near + 1, u64::from(u32::MAX), 1 << 40, u64::MAX - 1, u64::MAX]),
    ]
}

prop_compose! {
    fn any_run()(
        pack in wild(1), offset in wild(4096), stored in wild(5000), head in wild(512), at in wild(20 * PAGE as u64),
        raw in wild(4 * PAGE as u64),
        pages in proptest::option::of(proptest::collection::vec((wild(20), wild(4)), 0..4)),
    ) -> serde_json::Value {
        let mut run = serde_json::json!({
            "pack": pack, "offset": offset, "stored": stored, "head": head, "at": at, "raw": raw,
            "hash": "00000000000000000000000000000001", "stored_hash": "0000000000000001",
        });
        if let Some(pages) = pages {
            run["pages"] = serde_json::json!(pages);
        }
        run
    }
}

prop_compose! {
    fn any_entry()(
        size in wild(20 * PAGE as u64), page in prop::sample::select(vec![0_u32, 512, 1024, 4096, 65536, u32::MAX]),
        parent in prop::bool::weighted(0.8), keep in any::<bool>(), runs in proptest::collection::vec(any_run(), 0..4),
    ) -> (bool, serde_json::Value) {
        let mut entry = serde_json::json!({
            "path": "test/t.ibd", "kind": "tablespace", "page_size": page, "size": size, "mode": 416, "runs": runs,
        });
        if parent {
            entry["parent"] = "test/t.ibd".into();
        }
        (keep, entry)
    }
}

/// Errors at the most: no panic, and no memory for what is only claimed.
#[test]
fn a_list_that_nobody_has_written_is_refused_or_harmless() {
    let (_dir, repository) = repository();
    let [full, second] = two(&repository);
    let real = [&full, &second].map(|set| line(&set.load_files().unwrap().remove(0)));
    let own: serde_json::Value = serde_json::from_str(&real[1]).unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(512));
    let lists = (proptest::option::of(any_entry()), any_entry());
    let outcomes = Cell::new((0, 0));
    let result = runner.run(&lists, |(below, (keep, mut entry))| {
        let below = below.map_or_else(|| real[0].clone(), |(_, below)| below.to_string());
        forge(&full, None, &[below]);
        if keep {
            // What the set really has, and something with it.
            entry["page_size"] = own["page_size"].clone();
            entry["runs"].as_array_mut().unwrap().extend(own["runs"].as_array().unwrap().iter().cloned());
        }
        let parent = repository.open_set(&name(), full.id()).ok();
        forge(&second, parent.as_ref(), &[entry.to_string()]);
        let (good, bad) = outcomes.get();
        match read_chain(&repository, &second) {
            Ok(_) => outcomes.set((good + 1, bad)),
            Err(error) => {
                prop_assert!(error.is_bad_set(), "{error}");
                outcomes.set((good, bad + 1));
            }
        }
        Ok(())
    });
    result.unwrap();
    let (good, bad) = outcomes.get();
    assert!(good > 0 && bad > 0, "{good} were harmless, {bad} refused");
}
