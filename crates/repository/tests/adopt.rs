//! What an interrupted run had stored is used again by the next one, where it is the same; nothing of it that is damaged,
//! foreign or overtaken ever gets into a set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use proptest::prelude::*;
use reseed_io::{Cancel, Silent};
use reseed_repository::*;

const PLAIN: Compression = Compression::None;
const ZSTD: Compression = Compression::Zstd(1);
/// Bytes of a run.
const PIECE: usize = 12_000;

struct Place {
    _dir: tempfile::TempDir,
    repository: Repository,
    compression: Compression,
}

type Files = Vec<(&'static str, Vec<u8>)>;

/// Twenty runs of four files.
fn files() -> Files {
    let file = |seed| noise(seed, 5 * PIECE);
    vec![("a.ibd", file(1)), ("d/b.ibd", file(2)), ("d/c.ibd", file(3)), ("d/e.ibd", file(4))]
}

fn raw(files: &Files) -> u64 {
    files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

impl Place {
    fn new(compression: Compression) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::create(dir.path().join("repo")).unwrap();
        Place { _dir: dir, repository, compression }
    }

    fn begin(&self) -> SetWriter {
        let new = NewSet { compression: self.compression, ..NewSet::full(start()) };
        self.repository.begin(&lock(&self.repository), new, &Silent, &Cancel::new()).unwrap()
    }

    /// A run that is killed after it has copied the files. Gives its directory.
    fn dies(&self, files: &Files) -> PathBuf {
        let writer = self.begin();
        copy(&writer, files);
        writer.redo().unwrap().write(&noise(9, 3 << 20)).unwrap();
        writer.partial_dir().to_owned()
    }

    /// A run that comes to its end. What it published is what was copied, and whole.
    fn succeeds(&self, files: &Files) -> Outcome {
        let writer = self.begin();
        let (entries, packs) = copy(&writer, files);
        for pack in packs {
            pack.finish().unwrap();
        }
        writer.redo().unwrap().finish().unwrap();
        let reused = writer.reused(&entries).map_or(0, |reused| reused.raw);
        let published = (Box::new(writer) as Box<dyn Sink>).finish(facts(0), entries).unwrap();
        let dir = published.path.unwrap();
        let manifest = published.manifest;
        let set = self.repository.open_set(&name(), &manifest.id).unwrap();
        let (read, _) = read_all(&set).unwrap();
        let read: Vec<(RelPath, Vec<u8>)> = read.into_iter().map(|(path, _, bytes)| (path, bytes)).collect();
        let expected: Vec<_> = files.iter().map(|(name, bytes)| (path(name), bytes.clone())).collect();
        assert!(read == expected, "other bytes than were copied");
        assert!(verify(&set, Level::Full, 1, &Silent, &Cancel::new()).unwrap().is_good());
        let on_disk: u64 = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name() != MANIFEST)
            .map(|entry| entry.metadata().unwrap().len())
            .sum();
        assert_eq!(manifest.totals.stored, on_disk, "nothing lies there that is not accounted for");
        assert!(self.leftovers().is_empty());
        Outcome { dir, reused, removed: published.removed, manifest }
    }

    fn leftovers(&self) -> Vec<Leftover> {
        self.repository.sets(&name()).unwrap().leftovers
    }
}

struct Outcome {
    dir: PathBuf,
    reused: u64,
    removed: Vec<Removed>,
    manifest: Manifest,
}

impl Outcome {
    fn removed(&self) -> u64 {
        self.removed.iter().map(|removed| removed.bytes).sum()
    }
}

/// Copies in two packs, in turns.
fn copy(sink: &dyn Sink, files: &Files) -> (Vec<FileEntry>, [Box<dyn PackSink>; 2]) {
    let mut packs = [sink.pack().unwrap(), sink.pack().unwrap()];
    let entries = files.iter().enumerate().map(|(i, (name, bytes))| {
        let copy = sink.copy(&path(name));
        let mut entry = FileEntry::new(path(name), FileKind::Other);
        entry.size = bytes.len() as u64;
        for (nth, piece) in bytes.chunks(PIECE).enumerate() {
            packs[i % 2].append(&copy, (nth * PIECE) as u64, piece, &mut entry.runs).unwrap();
        }
        entry
    });
    (entries.collect(), packs)
}

fn pack(dir: &Path, number: u32, compression: Compression) -> PathBuf {
    let ending = if compression == PLAIN { "tar" } else { "tar.zst" };
    dir.join(format!("data-{number:04}.{ending}"))
}

#[test]
fn what_a_killed_run_had_stored_is_not_stored_again() {
    for compression in [PLAIN, ZSTD] {
        let place = Place::new(compression);
        let left = place.dies(&files());
        let stored = fs::metadata(pack(&left, 0, compression)).unwrap().len();
        let outcome = place.succeeds(&files());
        assert_eq!(outcome.reused, raw(&files()));
        assert!(
            outcome.removed() > 1 << 20 && outcome.removed() <= 3 << 20,
            "the redo: {:?}",
            outcome.removed
        );
        assert_eq!(outcome.manifest.packs.len(), 4);
        assert!(fs::metadata(pack(&outcome.dir, 0, compression)).unwrap().len() >= stored);
        // Each run has the name in the archive that it would have been given.
        let tar = std::process::Command::new("sh")
            .arg("-c")
            .arg("for pack in data-*; do case $pack in *.zst) zstd -dc $pack;; *) cat $pack;; esac | tar t; done")
            .current_dir(&outcome.dir)
            .output()
            .unwrap();
        let names = String::from_utf8(tar.stdout).unwrap();
        assert_eq!(names.lines().count(), 20, "{names} {:?}", String::from_utf8_lossy(&tar.stderr));
        assert!(names.contains("d/c.ibd\nd/c.ibd@0000000000012000\n"), "{names}");
    }
}

#[test]
fn what_has_changed_is_stored_anew_and_the_rest_used() {
    for compression in [PLAIN, ZSTD] {
        let place = Place::new(compression);
        place.dies(&files());
        let mut now = files();
        now[1].1[2 * PIECE + 7] ^= 1;
        now[2].0 = "d/d.ibd";
        let outcome = place.succeeds(&now);
        let (changed, renamed) = (PIECE as u64, 5 * PIECE as u64);
        assert_eq!(outcome.reused, raw(&files()) - changed - renamed);
    }
}

#[test]
fn packs_that_are_not_needed_go_and_mostly_dead_ones_shrink() {
    for compression in [PLAIN, ZSTD] {
        let place = Place::new(compression);
        let left = place.dies(&files());
        fs::remove_file(left.join(if compression == PLAIN { "redo" } else { "redo.zst" })).unwrap();
        // The first pack had a and d/c, the second d/b and d/e.
        let mut now = files();
        now.retain(|(name, _)| *name == "d/b.ibd" || *name == "d/e.ibd");
        let outcome = place.succeeds(&now);
        assert_eq!(outcome.reused, raw(&now));
        assert_eq!(outcome.manifest.packs.len(), 3);
        let pack_size = outcome.manifest.packs[0].size;
        assert!(outcome.removed().abs_diff(pack_size) < 2000, "{:?}", outcome.removed);

        let place = Place::new(compression);
        place.dies(&files());
        let mut now = files();
        now[0].1 = noise(11, 5 * PIECE);
        now[2].1[..PIECE].copy_from_slice(&noise(12, PIECE));
        let outcome = place.succeeds(&now);
        assert_eq!(outcome.reused, 14 * PIECE as u64);
        let [first, second, ..] = outcome.manifest.packs.as_slice() else { panic!("too few packs") };
        let ratio = first.size as f64 / second.size as f64;
        assert!((0.38..0.42).contains(&ratio), "four of ten runs are left: {ratio}");
    }
}

#[test]
fn equal_bytes_under_one_name_are_given_out_once() {
    let place = Place::new(PLAIN);
    place.dies(&files());
    let writer = place.begin();
    let mut pack = writer.pack().unwrap();
    let copy = writer.copy(&path("a.ibd"));
    let first = files()[0].1[..PIECE].to_vec();
    let mut runs = Vec::new();
    pack.append(&copy, 0, &first, &mut runs).unwrap();
    pack.append(&copy, 0, &first, &mut runs).unwrap();
    assert_eq!((runs[0].pack, runs[1].pack), (0, 2));
    assert_eq!(runs[0].hash, runs[1].hash);
}

#[test]
fn packs_that_are_stored_in_another_way_are_not_used() {
    for (then, now) in [(PLAIN, ZSTD), (ZSTD, PLAIN)] {
        let mut place = Place::new(then);
        place.dies(&files());
        place.compression = now;
        let outcome = place.succeeds(&files());
        assert_eq!(outcome.reused, 0);
        assert!(outcome.removed() > raw(&files()) / 2, "{:?}", outcome.removed);
    }
    let mut place = Place::new(ZSTD);
    place.dies(&files());
    place.compression = Compression::Zstd(5);
    assert_eq!(place.succeeds(&files()).reused, raw(&files()), "the level is no reader's business");
}

#[test]
fn what_is_no_pack_of_ours_is_not_touched_but_removed() {
    let place = Place::new(PLAIN);
    let left = place.dies(&files());
    let elsewhere = left.parent().unwrap().join("elsewhere");
    fs::copy(pack(&left, 0, PLAIN), &elsewhere).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, pack(&left, 7, PLAIN)).unwrap();
    fs::hard_link(&elsewhere, pack(&left, 8, PLAIN)).unwrap();
    fs::create_dir(pack(&left, 9, PLAIN)).unwrap();
    fs::write(pack(&left, 9, PLAIN).join("x"), "x").unwrap();
    fs::write(pack(&left, 10, PLAIN), noise(1, 5000)).unwrap();
    for name in
        ["manifest.json", "data-12.tar", "data-0013.tar.zst", "data-+014.tar", "data-0001.tar.smaller"]
    {
        fs::write(left.join(name), "{}").unwrap();
    }
    let fifo = std::process::Command::new("mkfifo").arg(pack(&left, 11, PLAIN)).status().unwrap();
    assert!(fifo.success());
    let outcome = place.succeeds(&files());
    assert_eq!((outcome.reused, outcome.manifest.packs.len()), (raw(&files()), 4));
    assert_eq!(fs::read_dir(&outcome.dir).unwrap().count(), 4 + 3);
    assert!(fs::read(&elsewhere).unwrap() == before);
}

#[test]
fn a_run_that_gives_up_leaves_packs_where_it_shall_and_has_some() {
    let place = Place::new(ZSTD);
    let give_up = |files: &Files, rest| {
        let writer = place.begin();
        drop(copy(&writer, files));
        writer.redo().unwrap().write(&noise(9, 100_000)).unwrap();
        (Box::new(writer) as Box<dyn Sink>).abort("interrupted", rest)
    };
    assert_eq!(give_up(&files(), Rest::Removed), None);
    assert_eq!(give_up(&Vec::new(), Rest::Kept), None, "nothing was copied");
    assert!(place.leftovers().is_empty());
    let left = give_up(&files(), Rest::Kept).unwrap();
    assert_eq!(place.leftovers(), std::slice::from_ref(&left));
    // One that gets nowhere loses nothing of what the one before had.
    let again = give_up(&Vec::new(), Rest::Kept).unwrap();
    assert!(again.bytes.abs_diff(left.bytes) < 100, "{again:?} after {left:?}");
    assert_eq!(place.leftovers(), [again]);
    // However often it is interrupted while everything changes, not much more is left.
    let changed = |seed| -> Files {
        files().into_iter().map(|(name, bytes)| (name, noise(seed, bytes.len()))).collect()
    };
    for seed in 20..30 {
        let now = give_up(&changed(seed), Rest::Kept).unwrap();
        assert!(now.bytes < 2 * left.bytes + 1000, "{now:?} after {left:?}");
    }
    assert_eq!(place.succeeds(&changed(29)).reused, raw(&files()));
    place.dies(&files());
    assert_eq!(give_up(&files(), Rest::Removed), None, "what was taken over goes too");
    assert!(place.leftovers().is_empty());
}

#[test]
fn a_run_that_is_stopped_while_it_looks_leaves_everything() {
    let place = Place::new(ZSTD);
    place.dies(&files());
    let before = place.leftovers();
    let cancel = Cancel::new();
    cancel.cancel("stop");
    let new = NewSet { compression: ZSTD, ..NewSet::full(start()) };
    let stopped = place.repository.begin(&lock(&place.repository), new, &Silent, &cancel);
    assert!(matches!(stopped, Err(RepositoryError::Cancelled(_))), "{stopped:?}");
    assert_eq!(place.leftovers(), before);
    assert_eq!(place.succeeds(&files()).reused, raw(&files()));
}

#[test]
fn a_pack_is_used_up_to_the_first_thing_that_is_not_whole() {
    // Header, data, padding.
    const STORED: usize = 512 + PIECE.next_multiple_of(512);
    let place = Place::new(PLAIN);
    let whole = raw(&files());
    for cut in (0..10 * STORED).step_by(4999) {
        let left = place.dies(&files());
        let file = fs::OpenOptions::new().write(true).open(pack(&left, 0, PLAIN)).unwrap();
        file.set_len(cut as u64).unwrap();
        let lost = 10 - cut / STORED;
        assert_eq!(place.succeeds(&files()).reused, whole - (lost * PIECE) as u64, "cut at {cut}");
    }
    for (at, lost) in [(3 * STORED + 600, 1), (3 * STORED + 9, 7), (4 * STORED - 1, 7), (10 * STORED - 1, 1)]
    {
        let left = place.dies(&files());
        let path = pack(&left, 0, PLAIN);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(place.succeeds(&files()).reused, whole - lost * PIECE as u64, "flipped at {at}");
    }
}

/// What may have happened to a pack.
#[derive(Debug, Clone)]
enum Mishap {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    /// A block that was never written, as a host that crashed leaves it.
    Zeros(prop::sample::Index),
    Garbage(Vec<u8>),
    Longer(Vec<u8>),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Mishap::Cut),
        (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(at, bit)| Mishap::Flip(at, bit)),
        any::<prop::sample::Index>().prop_map(Mishap::Zeros),
        prop::collection::vec(any::<u8>(), 0..3000).prop_map(Mishap::Garbage),
        prop::collection::vec(any::<u8>(), 1..3000).prop_map(Mishap::Longer),
    ]
}

impl Mishap {
    fn happen(&self, bytes: &mut Vec<u8>) {
        match self {
            Mishap::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Mishap::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Mishap::Zeros(at) => {
                let start = at.index(bytes.len()) / 4096 * 4096;
                let end = (start + 4096).min(bytes.len());
                bytes[start..end].fill(0);
            }
            Mishap::Garbage(other) => bytes.clone_from(other),
            Mishap::Longer(more) => bytes.extend_from_slice(more),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Every set is verified and read whole: whatever lay there, it holds what was copied.
    #[test]
    fn whatever_happened_to_the_packs_the_set_is_right(
        zstd: bool, finished: bool, first in mishap(), second in proptest::option::of(mishap()),
    ) {
        let place = Place::new(if zstd { ZSTD } else { PLAIN });
        let left = if finished {
            let writer = place.begin();
            for pack in copy(&writer, &files()).1 {
                pack.finish().unwrap();
            }
            writer.partial_dir().to_owned()
        } else {
            place.dies(&files())
        };
        for (number, mishap) in [(0, Some(first)), (1, second)] {
            let path = pack(&left, number, place.compression);
            let mut bytes = fs::read(&path).unwrap();
            if let Some(mishap) = &mishap {
                mishap.happen(&mut bytes);
            }
            fs::write(&path, bytes).unwrap();
        }
        prop_assert!(place.succeeds(&files()).reused <= raw(&files()));
    }
}
