//! A small MariaDB datadir made by hand: pages with real headers and checksums, and redo in the ring format whose
//! effect is known because the same changes are made here on plain bytes.
#![allow(dead_code, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reseed_innodb::{Flavour, SpaceFormat, check_page, fsp, seal_page};
use reseed_io::{Cancel, Silent};
use reseed_repository::{
    AbsPath, Compression, FileEntry, FileKind, NewSet, RelPath, Repository, ServerFacts, SetFacts, Sink,
    StreamWriter, Which,
};
use reseed_restore::{Options, SetSource};
use reseed_terms::{Capture, Coordinates, Lsn, PageId, PageNo, RedoFormat, ServerVersion, SpaceId};

pub const PAGE: usize = 16384;
/// full_crc32, 16 KiB.
pub const FLAGS: u32 = 0x15;
/// Where the redo starts.
pub const CHECKPOINT: u64 = 100_000;
pub const NOW: &str = "2026-11-20T06:00:00Z";

pub fn format() -> SpaceFormat {
    SpaceFormat::from_flags(FLAGS, Flavour::MariaDb).unwrap()
}

/// Numbers as the redo writes them.
fn varint(value: u32, out: &mut Vec<u8>) {
    match value {
        0..0x80 => out.push(value as u8),
        0x80..0x4080 => out.extend_from_slice(&(0x8000 | (value - 0x80) as u16).to_be_bytes()),
        _ => {
            let value = value - 0x4080;
            out.extend_from_slice(&[0xC0 | (value >> 16) as u8, (value >> 8) as u8, value as u8]);
        }
    }
}

fn record(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    if body.len() <= 15 {
        out.push(kind | body.len() as u8);
    } else {
        out.push(kind);
        let own = if body.len() + 1 - 15 < 0x80 { 1 } else { 2 };
        varint((body.len() + own - 15) as u32, out);
    }
    out.extend_from_slice(body);
}

/// A tablespace's pages as they are to be after the restore.
#[derive(Debug, Clone, Default)]
pub struct Space {
    pub pages: BTreeMap<u32, Vec<u8>>,
}

/// The datadir as copied, its redo, and what it must become.
#[derive(Debug, Clone)]
pub struct Model {
    pub copied: BTreeMap<String, (u32, Vec<u8>)>,
    pub plain: BTreeMap<String, Vec<u8>>,
    pub redo: Vec<u8>,
    pub expected: BTreeMap<u32, Space>,
    touched: BTreeMap<(u32, u32), Lsn>,
}

/// A page with header, some content, LSN and checksum.
pub fn page(space: u32, number: u32, pages: u32, fill: u8, lsn: u64) -> Vec<u8> {
    let mut page = vec![fill; PAGE];
    page[..150].fill(0);
    page[4..8].copy_from_slice(&number.to_be_bytes());
    page[34..38].copy_from_slice(&space.to_be_bytes());
    if number == 0 {
        page[24..26].copy_from_slice(&8_u16.to_be_bytes());
        page[fsp::SPACE..fsp::SPACE + 4].copy_from_slice(&space.to_be_bytes());
        page[fsp::SIZE..fsp::SIZE + 4].copy_from_slice(&pages.to_be_bytes());
        page[fsp::FLAGS..fsp::FLAGS + 4].copy_from_slice(&FLAGS.to_be_bytes());
    }
    seal_page(&mut page, &format(), PageId::new(space, number), Lsn(lsn)).unwrap();
    page
}

impl Model {
    pub fn new() -> Model {
        Model {
            copied: BTreeMap::new(),
            plain: BTreeMap::new(),
            redo: Vec::new(),
            expected: BTreeMap::new(),
            touched: BTreeMap::new(),
        }
    }

    /// A tablespace of so many pages, all older than the redo.
    pub fn table(&mut self, path: &str, space: u32, pages: u32) {
        let all: Vec<Vec<u8>> =
            (0..pages).map(|number| page(space, number, pages, (space + number) as u8, 50_000)).collect();
        self.copied.insert(path.to_owned(), (space, all.concat()));
        let expected = self.expected.entry(space).or_default();
        expected.pages = (0..).zip(all).collect();
    }

    pub fn end(&self) -> Lsn {
        Lsn(CHECKPOINT + self.redo.len() as u64)
    }

    /// Ends a mini-transaction made of these records.
    fn mtr(&mut self, records: &[u8]) -> Lsn {
        self.redo.extend_from_slice(records);
        self.redo.push(1);
        self.redo.extend_from_slice(&crc32c::crc32c(records).to_be_bytes());
        self.end()
    }

    pub fn file_record(&mut self, kind: u8, space: u32, path: &str) {
        let mut body = Vec::new();
        varint(space, &mut body);
        body.push(0);
        body.extend_from_slice(path.as_bytes());
        let mut records = Vec::new();
        record(kind, &body, &mut records);
        self.mtr(&records);
    }

    /// Names the tablespace, as a server does before it changes it.
    pub fn modify(&mut self, space: u32, path: &str) {
        self.file_record(0xB0, space, path);
    }

    pub fn create(&mut self, space: u32, path: &str) {
        self.file_record(0x80, space, path);
    }

    pub fn delete(&mut self, space: u32, path: &str) {
        self.file_record(0x90, space, path);
    }

    /// Writes `bytes` at `offset` of a page, in the redo and in what is expected.
    pub fn write(&mut self, space: u32, number: u32, offset: u16, bytes: &[u8]) {
        let mut body = Vec::new();
        varint(space, &mut body);
        varint(number, &mut body);
        varint(u32::from(offset), &mut body);
        body.extend_from_slice(bytes);
        let mut records = Vec::new();
        record(0x30, &body, &mut records);
        let lsn = self.mtr(&records);
        let pages = &mut self.expected.entry(space).or_default().pages;
        let page = pages.entry(number).or_insert_with(|| vec![0; PAGE]);
        page[usize::from(offset)..usize::from(offset) + bytes.len()].copy_from_slice(bytes);
        self.touched.insert((space, number), lsn);
    }

    /// Starts a page anew.
    pub fn init(&mut self, space: u32, number: u32) {
        let mut body = Vec::new();
        varint(space, &mut body);
        varint(number, &mut body);
        let mut records = Vec::new();
        record(0x10, &body, &mut records);
        let lsn = self.mtr(&records);
        let mut page = vec![0; PAGE];
        page[4..8].copy_from_slice(&number.to_be_bytes());
        page[8..16].fill(0xFF);
        page[34..38].copy_from_slice(&space.to_be_bytes());
        self.expected.entry(space).or_default().pages.insert(number, page);
        self.touched.insert((space, number), lsn);
    }

    /// A page of a copied file as if the server had written it after all redo so far.
    pub fn flush(&mut self, path: &str, number: u32) {
        let (space, bytes) = self.copied.get_mut(path).unwrap();
        let page = self.expected[space].pages[&number].clone();
        let mut page = page;
        let lsn = self.touched[&(*space, number)];
        seal_page(&mut page, &format(), PageId::new(*space, number), lsn).unwrap();
        let at = number as usize * PAGE;
        if bytes.len() < at + PAGE {
            bytes.resize(at + PAGE, 0);
        }
        bytes[at..at + PAGE].copy_from_slice(&page);
    }

    /// What was written so far does not count.
    pub fn forget_touched(&mut self) {
        self.touched.clear();
    }

    /// The file's bytes after the restore, before it is grown to the size that its first page says.
    pub fn file(&self, space: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, page) in &self.expected[&space].pages {
            let mut page = page.clone();
            if let Some(lsn) = self.touched.get(&(space, *number)) {
                seal_page(&mut page, &format(), PageId::new(space, *number), *lsn).unwrap();
            }
            let at = *number as usize * PAGE;
            bytes.resize(at.max(bytes.len()), 0);
            bytes.truncate(at);
            bytes.extend_from_slice(&page);
        }
        let size = u32::from_be_bytes(bytes[fsp::SIZE..fsp::SIZE + 4].try_into().unwrap());
        bytes.resize(bytes.len().max(size as usize * PAGE), 0);
        bytes
    }

    pub fn facts(&self) -> SetFacts {
        let end = self.end();
        SetFacts {
            server: ServerFacts {
                version: ServerVersion::parse("10.11.19-MariaDB").unwrap(),
                uuid: String::new(),
                server_id: 1,
                datadir: AbsPath::new("/var/lib/mysql").unwrap(),
                page_size: PAGE as u32,
                settings: BTreeMap::new(),
            },
            capture: Capture {
                format: RedoFormat::MariadbRing,
                first: Lsn(CHECKPOINT),
                checkpoint: Lsn(CHECKPOINT),
                checkpoint_end: Lsn(CHECKPOINT),
                end,
                bytes: self.redo.len() as u64,
                creator: "MariaDB 10.11.19".into(),
            },
            coordinates: Coordinates::default(),
            end: NOW.parse().unwrap(),
            locks: Vec::new(),
            notes: Vec::new(),
            owner: None,
            scan: String::new(),
        }
    }

    /// Hands everything to a sink, and the list of files.
    fn send(&self, sink: Box<dyn Sink>) {
        let mut pack = sink.pack().unwrap();
        let mut files = Vec::new();
        for (path, (space, bytes)) in &self.copied {
            let kind =
                if path.starts_with("ibdata") { FileKind::SystemTablespace } else { FileKind::Tablespace };
            let mut entry = FileEntry::new(RelPath::new(path).unwrap(), kind);
            entry.size = bytes.len() as u64;
            if bytes.iter().any(|byte| *byte != 0) {
                entry.space_id = Some(SpaceId(*space));
                entry.flags = Some(FLAGS);
                entry.page_size = Some(PAGE as u32);
            }
            let copy = sink.copy(&entry.path);
            // Several runs for a file, so that it is cut into segments.
            for (at, piece) in bytes.chunks(3 * PAGE).enumerate() {
                pack.append(&copy, (at * 3 * PAGE) as u64, piece, &mut entry.runs).unwrap();
            }
            files.push(entry);
        }
        for (path, bytes) in &self.plain {
            let mut entry = FileEntry::new(RelPath::new(path).unwrap(), FileKind::Other);
            entry.size = bytes.len() as u64;
            let copy = sink.copy(&entry.path);
            pack.append(&copy, 0, bytes, &mut entry.runs).unwrap();
            files.push(entry);
        }
        let empty = FileEntry::new(RelPath::new("empty_database").unwrap(), FileKind::Directory);
        files.push(FileEntry { mode: 0o750, ..empty });
        pack.finish().unwrap();
        let mut redo = sink.redo().unwrap();
        redo.write(&self.redo).unwrap();
        redo.finish().unwrap();
        sink.finish(self.facts(), files).unwrap();
    }

    fn new_set() -> NewSet {
        NewSet { compression: Compression::Zstd(1), ..NewSet::full(NOW.parse().unwrap()) }
    }

    pub fn set(&self, repository: &Path) -> SetSource {
        let repository = Repository::create(repository).unwrap();
        let name = "db1".parse().unwrap();
        let lock = repository.lock(&name, "test", Duration::ZERO, &Cancel::new()).unwrap();
        self.send(Box::new(repository.begin(&lock, Model::new_set(), &Silent, &Cancel::new()).unwrap()));
        let set = repository.resolve(&name, &Which::Latest).unwrap();
        SetSource::new(&repository, &set).unwrap()
    }

    pub fn stream(&self) -> Vec<u8> {
        let bytes = Shared::default();
        let writer =
            StreamWriter::new(Box::new(bytes.clone()), &"db1".parse().unwrap(), Model::new_set()).unwrap();
        self.send(Box::new(writer));
        std::mem::take(&mut *bytes.0.lock().unwrap())
    }

    /// Compares a restored datadir with what it must be.
    pub fn assert_restored(&self, datadir: &Path) {
        for (path, (space, _)) in &self.copied {
            assert_file(&datadir.join(path), &self.file(*space));
        }
        for (path, bytes) in &self.plain {
            assert_eq!(&std::fs::read(datadir.join(path)).unwrap(), bytes, "{path}");
        }
        assert!(datadir.join("empty_database").is_dir());
        assert!(datadir.join("ib_logfile0").is_file());
    }
}

pub fn assert_file(path: &Path, expected: &[u8]) {
    let found = std::fs::read(path).unwrap();
    assert_eq!(found.len(), expected.len(), "size of {}", path.display());
    for (number, (found, expected)) in found.chunks(PAGE).zip(expected.chunks(PAGE)).enumerate() {
        check_page(found, &format(), PageNo(number as u32)).unwrap();
        assert!(found == expected, "page {number} of {} differs", path.display());
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn options(datadir: &Path) -> Options {
    Options { threads: 3, ..Options::into_new(datadir.to_owned(), 1 << 30, NOW.to_owned()) }
}

/// A datadir with an ordinary mix: changed pages, one that is newer than part of its redo, one started anew, one
/// behind the end of the copy, a table that was never flushed, one that is only in the redo, one that was dropped.
pub fn sample() -> Model {
    let mut model = Model::new();
    model.table("ibdata1", 0, 8);
    model.table("shop/orders.ibd", 5, 10);
    model.table("shop/quiet.ibd", 6, 4);
    model.plain.insert("shop/orders.frm".into(), b"not a page".to_vec());
    model.modify(5, "./shop/orders.ibd");
    model.write(0, 3, 200, b"system");
    model.write(5, 2, 300, b"first");
    model.write(5, 2, 302, b"second");
    model.write(5, 7, 4000, &[7; 2000]);
    model.flush("shop/orders.ibd", 7);
    model.write(5, 7, 4001, b"after the copy");
    model.write(5, 8, 100, b"void");
    model.init(5, 8);
    model.write(5, 8, 500, b"anew");
    // The file grows by two pages, of which one is used.
    model.write(5, 0, fsp::SIZE as u16, &12_u32.to_be_bytes());
    model.init(5, 11);
    model.write(5, 11, 600, b"behind the end");
    // Created, and copied before it was flushed.
    for (space, path) in [(300, "shop/new.ibd"), (20_000, "shop/late.ibd")] {
        model.create(space, &format!("./{path}"));
        model.init(space, 0);
        model.write(space, 0, fsp::SPACE as u16, &space.to_be_bytes());
        model.write(space, 0, fsp::SIZE as u16, &3_u32.to_be_bytes());
        model.write(space, 0, fsp::FLAGS as u16, &FLAGS.to_be_bytes());
        model.init(space, 2);
        model.write(space, 2, 1000, b"a row");
    }
    model.copied.insert("shop/new.ibd".into(), (300, vec![0; 4 * PAGE]));
    model.expected.get_mut(&300).unwrap().pages.insert(3, vec![0; PAGE]);
    // Dropped: its redo has no file, and needs none.
    model.modify(77, "./shop/dropped.ibd");
    let before = model.clone();
    model.write(77, 1, 100, b"gone");
    model.expected = before.expected;
    model.delete(77, "./shop/dropped.ibd");
    model
}

pub fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_owned();
            if path.is_dir() {
                all.insert(name, b"directory".to_vec());
                left.push(path);
            } else {
                all.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    all
}
