//! Copies of small made files, read back from the set.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reseed_innodb::{PageId, fil, seal_page};
use reseed_io::Silent;
use reseed_repository::{Compression, NewSet, Repository, SetWriter, Timestamp};
use reseed_terms::{Lsn, SpaceId};

use super::pages::REREADS;
use super::*;
use crate::scan::Head;

const PAGE: usize = 16384;
/// 16 KiB pages with one checksum at their end.
const FLAGS: u32 = 0x15;

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn set(&self) -> SetWriter {
        let repository = Repository::create(self.dir.path().join("repo")).unwrap();
        let name = "test".parse().unwrap();
        let lock = repository.lock(&name, "test", Duration::ZERO, &Cancel::new()).unwrap();
        let new = NewSet { compression: Compression::None, ..NewSet::full(Timestamp::UNIX_EPOCH) };
        repository.begin(&lock, new, &Silent, &Cancel::new()).unwrap()
    }

    fn copy(&self, jobs: Vec<Job>) -> Result<Vec<Copied>, BackupError> {
        self.copy_counting(jobs).map(|(copied, _)| copied)
    }

    fn copy_counting(&self, jobs: Vec<Job>) -> Result<(Vec<Copied>, Counters), BackupError> {
        let set = self.set();
        let rules = CopyRules {
            flavour: Flavour::MariaDb,
            page_size: PageSize::K16,
            threads: 2,
            rate: Rate::unlimited(),
            cancel: Cancel::new(),
            lag: Arc::default(),
        };
        let copier = Copier::new(rules, &set, &Silent)?;
        let copied = copier.copy(&set, jobs)?;
        Ok((copied, copier.finish()?))
    }
}

fn page(space: u32, no: u32, fill: u8) -> Vec<u8> {
    page_of(space, no, fill, Lsn(1000))
}

fn page_of(space: u32, no: u32, fill: u8, lsn: Lsn) -> Vec<u8> {
    let mut page = vec![fill; PAGE];
    page[24..38].fill(0);
    if no == 0 {
        page[38..150].fill(0);
        page[38..42].copy_from_slice(&space.to_be_bytes());
        page[54..58].copy_from_slice(&FLAGS.to_be_bytes());
        page[150..].fill(0);
    }
    page[4..8].copy_from_slice(&no.to_be_bytes());
    page[34..38].copy_from_slice(&space.to_be_bytes());
    let format = SpaceFormat::from_flags(FLAGS, Flavour::MariaDb).unwrap();
    seal_page(&mut page, &format, PageId::new(space, no), lsn).unwrap();
    page
}

fn tablespace(space: u32, pages: u32) -> Vec<u8> {
    (0..pages).flat_map(|no| page(space, no, 7)).collect()
}

fn job(real: &Path, kind: FoundKind) -> Job {
    let metadata = fs::metadata(real).unwrap();
    let bytes = fs::read(real).unwrap();
    let head = bytes.get(..58).filter(|head| head.iter().any(|byte| *byte != 0)).map(|head| Head {
        space: fil::space_id(head),
        flags: u32::from_be_bytes(head[54..58].try_into().unwrap()),
    });
    let found = Found {
        path: PathBuf::from(real.file_name().unwrap()),
        real: real.to_path_buf(),
        outside: None,
        through_link: false,
        kind,
        stamp: Stamp::of(&metadata),
        mode: 0o660,
        head,
    };
    Job { found, format: None, first_page: 0, kept: None, base: None }
}

fn stored(copied: &Copied) -> u64 {
    copied.runs.iter().map(|run| u64::from(run.raw)).sum()
}

#[test]
fn pages_of_zeros_are_left_out() {
    let bench = Bench::new();
    let mut bytes = tablespace(5, 4);
    bytes.extend(vec![0; 60 * PAGE]);
    bytes.extend(page(5, 64, 9));
    let path = bench.file("t.ibd", &bytes);
    let copied = bench.copy(vec![job(&path, FoundKind::Space)]).unwrap();
    assert_eq!(copied[0].outcome, Outcome::Whole);
    assert_eq!(copied[0].format.unwrap().flags(), FLAGS);
    assert!(stored(&copied[0]) < 20 * PAGE as u64, "{}", stored(&copied[0]));
    let last = copied[0].runs.last().unwrap();
    assert_eq!(last.at + u64::from(last.raw), 65 * PAGE as u64);
}

#[test]
fn a_page_that_stays_torn_is_named() {
    let bench = Bench::new();
    let mut bytes = tablespace(5, 10);
    bytes[7 * PAGE + 9000] ^= 1;
    let path = bench.file("t.ibd", &bytes);
    match bench.copy(vec![job(&path, FoundKind::Space)]).unwrap_err() {
        BackupError::CorruptPage { file, page: 7, space: SpaceId(5), tries, .. } => {
            assert_eq!(file, path);
            assert_eq!(tries as usize, REREADS.len() + 1);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_page_in_another_ones_place_is_corrupt() {
    let bench = Bench::new();
    let mut bytes = tablespace(5, 3);
    let wrong = page(5, 9, 7);
    bytes[2 * PAGE..].copy_from_slice(&wrong);
    let path = bench.file("t.ibd", &bytes);
    let error = bench.copy(vec![job(&path, FoundKind::Space)]).unwrap_err();
    assert!(matches!(error, BackupError::CorruptPage { page: 2, .. }), "{error}");
}

#[test]
fn a_file_without_a_first_page_goes_by_the_format_given() {
    let bench = Bench::new();
    let mut bytes = vec![0; PAGE];
    bytes.extend(page(5, 1, 3));
    let path = bench.file("t.ibd", &bytes);
    let mut with = job(&path, FoundKind::Space);
    with.format = Some(SpaceFormat::from_flags(FLAGS, Flavour::MariaDb).unwrap());
    let copied = bench.copy(vec![with.clone()]).unwrap();
    assert_eq!((copied[0].outcome, stored(&copied[0])), (Outcome::Whole, PAGE as u64));
    bytes[PAGE + 9000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(bench.copy(vec![with]).is_err());
}

#[test]
fn a_file_that_is_gone_or_replaced_is_told() {
    let bench = Bench::new();
    let path = bench.file("t.ibd", &tablespace(5, 2));
    let gone = job(&path, FoundKind::Space);
    // Beside it first, so that the new file cannot get the old one's inode.
    let other = bench.file("other", &tablespace(6, 2));
    fs::rename(&other, &path).unwrap();
    assert_eq!(bench.copy(vec![gone.clone()]).unwrap()[0].outcome, Outcome::Vanished);
    fs::remove_file(&path).unwrap();
    assert_eq!(bench.copy(vec![gone]).unwrap()[0].outcome, Outcome::Vanished);
}

#[test]
fn a_file_that_was_cut_says_where() {
    let bench = Bench::new();
    let path = bench.file("undo001", &tablespace(5, 10));
    let mut cut = job(&path, FoundKind::Undo);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4 * PAGE as u64).unwrap();
    cut.found.stamp.size = 10 * PAGE as u64;
    let copied = bench.copy(vec![cut]).unwrap();
    assert_eq!(copied[0].outcome, Outcome::Short { got: 4 * PAGE as u64 });
    assert_eq!(stored(&copied[0]), 4 * PAGE as u64);
}

#[test]
fn other_files_are_bytes() {
    let bench = Bench::new();
    let path = bench.file("t.MYD", b"rows, whatever they are");
    let empty = bench.file("t.MYI", b"");
    let copied = bench.copy(vec![job(&path, FoundKind::Plain), job(&empty, FoundKind::Plain)]).unwrap();
    assert_eq!((copied[0].outcome, stored(&copied[0])), (Outcome::Whole, 23));
    assert_eq!((copied[1].outcome, copied[1].runs.len()), (Outcome::Whole, 0));
    assert_eq!(copied[0].before, copied[0].after);
}

#[test]
fn what_is_appended_while_a_file_is_copied_shows_in_its_stamps() {
    let bench = Bench::new();
    let path = bench.file("t.CSV", b"1,2\n");
    let found = job(&path, FoundKind::Plain);
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"3,4\n").unwrap();
    let copied = bench.copy(vec![found]).unwrap();
    assert_eq!(stored(&copied[0]), 4, "the size at the look decides what is copied");
    assert_ne!(copied[0].before, copied[0].found.stamp);
}

#[test]
fn large_files_are_shared_out_and_come_back_in_order() {
    let bench = Bench::new();
    let large = bench.dir.path().join("large");
    let file = fs::File::create(&large).unwrap();
    file.set_len(3 * SEGMENT + 5).unwrap();
    for at in [0, SEGMENT, 2 * SEGMENT + 1, 3 * SEGMENT] {
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", at).unwrap();
    }
    let small = bench.file("small", b"y");
    let works: Vec<FileWork> = [&small, &large]
        .into_iter()
        .map(|path| FileWork::new(&bench.set(), job_unread(path)).unwrap())
        .collect();
    let order: Vec<(usize, u64)> = segments(&works).iter().map(|part| (part.file, part.start)).collect();
    assert_eq!(order, [(1, 0), (1, SEGMENT), (1, 2 * SEGMENT), (1, 3 * SEGMENT), (0, 0)]);
    let copied = bench.copy(vec![job_unread(&large)]).unwrap();
    assert!(copied[0].runs.is_sorted_by_key(|run| run.at));
    assert_eq!(copied[0].runs.len(), 4);
}

/// As `job`, for a file too large to look into.
fn job_unread(path: &Path) -> Job {
    let metadata = fs::metadata(path).unwrap();
    let small = tempfile::NamedTempFile::new().unwrap();
    let mut job = job(small.path(), FoundKind::Plain);
    job.found.stamp = Stamp::of(&metadata);
    job.found.real = path.to_path_buf();
    job.found.path = PathBuf::from(path.file_name().unwrap());
    job
}

/// The file as the set holds it that is built on.
fn base_of(copied: Copied, checkpoint: Lsn) -> Arc<BaseFile> {
    let entry = crate::spaces::entry(copied, Some(SpaceId(5))).unwrap();
    Arc::new(BaseFile { covered: reseed_repository::Covered::by(&entry), entry, checkpoint })
}

#[test]
fn pages_that_are_others_than_the_parents_without_a_newer_lsn_are_noticed() {
    let bench = Bench::new();
    let mut bytes = tablespace(5, 300);
    let path = bench.file("t.ibd", &bytes);
    let base = base_of(bench.copy(vec![job(&path, FoundKind::Space)]).unwrap().remove(0), Lsn(2000));
    let mut put = |no: u32, fill: u8, lsn: u64| {
        let page = page_of(5, no, fill, Lsn(lsn));
        bytes[no as usize * PAGE..][..PAGE].copy_from_slice(&page);
        fs::write(&path, &bytes).unwrap();
    };
    let copy = |base: &Arc<BaseFile>| {
        let job = Job { base: Some(Arc::clone(base)), ..job(&path, FoundKind::Space) };
        bench.copy(vec![job]).map(|mut copied| copied.remove(0))
    };
    assert_eq!(copy(&base).unwrap().runs, []);
    put(150, 8, 2000);
    let second = copy(&base).unwrap();
    assert_eq!((stored(&second), second.runs[0].at), (PAGE as u64, 150 * PAGE as u64));
    // The other read of the file has no page that is stored.
    put(10, 9, 900);
    let error = copy(&base).unwrap_err();
    assert!(matches!(&error, BackupError::NotAsBefore { page: 0, space: SpaceId(5), .. }), "{error}");
    assert!(error.to_string().contains("t.ibd"), "{error}");
    put(10, 7, 1000);

    // On the second set: its page is the newest, and the older set's run is no longer all there is.
    let mut joined = base.entry.clone();
    let newer = second.runs.into_iter().map(|run| Run { pack: run.pack + 9, ..run });
    joined.runs.extend(newer);
    joined.runs.sort_by_key(|run| (run.at, run.pack));
    let both =
        BaseFile { covered: reseed_repository::Covered::by(&joined), entry: joined, checkpoint: Lsn(3000) };
    let both = Arc::new(both);
    assert_eq!(copy(&both).unwrap().runs, []);
    put(150, 7, 1000);
    assert!(matches!(copy(&both).unwrap_err(), BackupError::NotAsBefore { page: 150, .. }));

    // Other flags: another file, which is stored whole.
    let mut other = base.entry.clone();
    other.flags = Some(FLAGS ^ 1);
    let other =
        BaseFile { covered: reseed_repository::Covered::by(&other), entry: other, checkpoint: Lsn(2000) };
    let whole = copy(&Arc::new(other)).unwrap();
    assert_eq!((stored(&whole), whole.parent), (300 * PAGE as u64, None));
}

#[test]
fn what_an_earlier_copy_has_is_not_read_again() {
    let bench = Bench::new();
    let path = bench.file("aria_log.00000001", &vec![b'a'; 5 * READ]);
    let first = bench.copy(vec![job_unread(&path)]).unwrap().remove(0);
    fs::write(&path, vec![b'b'; 5 * READ + 100]).unwrap();
    let mut again = job_unread(&path);
    again.kept = Kept::of(1..4 * READ as u64 + 7, &first.runs);
    let (second, counters) = bench.copy_counting(vec![again]).unwrap();
    assert_eq!(counters.bytes_read.load(Ordering::Relaxed), 2 * READ as u64 + 100);
    let places: Vec<u64> = second[0].runs.iter().map(|run| run.at).collect();
    assert_eq!(places, (0..6).map(|at| at * READ as u64).collect::<Vec<_>>());
    assert_eq!(second[0].runs[1..4], first.runs[1..4]);
    assert_ne!(second[0].runs[4], first.runs[4]);
    assert!(Kept::of(1..READ as u64, &first.runs).is_none());
}
