//! A small set with everything in it, written through the same trait to a directory or a stream.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reseed_io::{Cancel, Silent};
use reseed_repository::*;
use reseed_terms::*;

pub const REDO: usize = 3_000_000;

pub fn name() -> ServerName {
    "db1".parse().unwrap()
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn start() -> Timestamp {
    time("2026-11-20T06:00:00Z")
}

pub fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Waits a little: a process that another test's thread has just forked holds all locks of this one until it executes
/// its program.
pub fn lock(repository: &Repository) -> NameLock {
    repository.lock(&name(), "testing", Duration::from_secs(60), &Cancel::new()).unwrap()
}

/// Bytes that compress a little and differ everywhere.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state & 0x7f) as u8 | 1
    };
    (0..len).map(|_| next()).collect()
}

pub fn facts(redo: usize) -> SetFacts {
    SetFacts {
        server: ServerFacts {
            version: ServerVersion::parse("10.11.6-MariaDB").unwrap(),
            uuid: "u".into(),
            server_id: 1,
            datadir: AbsPath::new("/var/lib/mysql").unwrap(),
            page_size: 16384,
            settings: BTreeMap::from([("innodb_data_file_path".into(), "ibdata1:12M:autoextend".into())]),
        },
        capture: Capture {
            format: RedoFormat::MariadbRing,
            first: Lsn(1000),
            checkpoint: Lsn(1000),
            checkpoint_end: Lsn(1000),
            end: Lsn(1000 + redo as u64),
            bytes: redo as u64,
            creator: "MariaDB 10.11.6".into(),
        },
        coordinates: Coordinates::default(),
        end: start() + Duration::from_secs(60),
        locks: vec![LockTimes { lock: "BACKUP STAGE BLOCK_COMMIT".into(), waited: 0.001, held: 0.018 }],
        notes: vec![],
        owner: None,
        scan: String::new(),
    }
}

pub type FileList = Vec<(RelPath, FileKind, Vec<u8>)>;

/// What the small set holds: files and redo.
pub fn contents(redo: usize) -> (FileList, Vec<u8>) {
    // Stored sets hold these very bytes: whoever changes them breaks the tests that read those.
    let mut sparse = noise(1, 200_000);
    sparse[20_000..150_000].fill(0);
    let long = format!("{}/{}.ibd", "d".repeat(90), "t".repeat(200));
    let odd = RelPath::new(b"d\xff/odd%name\n.frm").unwrap();
    let files = vec![
        (path("ibdata1"), FileKind::SystemTablespace, noise(2, 3 * 16384)),
        (path("test/sparse.ibd"), FileKind::Tablespace, sparse),
        (path(&long), FileKind::Tablespace, noise(3, 16384)),
        (odd, FileKind::Other, noise(4, 777)),
        (path("test/empty.CSV"), FileKind::Other, vec![]),
        (path("test/hole.ibd"), FileKind::Tablespace, vec![0; 65536]),
    ];
    (files, noise(5, redo))
}

/// Writes the small set; `spoil` may change what is handed over at the end.
pub fn fill(sink: Box<dyn Sink>, redo: usize) -> Result<Published, RepositoryError> {
    let (files, redo_bytes) = contents(redo);
    let mut redo_sink = sink.redo()?;
    let mut packs = [sink.pack()?, sink.pack()?];
    let mut entries = Vec::new();
    for (i, (path, kind, bytes)) in files.into_iter().enumerate() {
        let pack = &mut packs[i % 2];
        // A first copy that is given up, as when DDL has got in between.
        if kind == FileKind::SystemTablespace {
            let stale = sink.copy(&path);
            pack.append(&stale, 0, &noise(99, bytes.len() / 2), &mut Vec::new())?;
        }
        let copy = sink.copy(&path);
        let mut entry = FileEntry::new(path, kind);
        entry.size = bytes.len() as u64;
        for (nth, piece) in bytes.chunks(100_000).enumerate() {
            pack.append(&copy, nth as u64 * 100_000, piece, &mut entry.runs)?;
            redo_sink.write(&[])?;
        }
        entries.push(entry);
    }
    entries.push(FileEntry::new(path("test"), FileKind::Directory));
    for piece in redo_bytes.chunks(123_457) {
        redo_sink.write(piece)?;
    }
    redo_sink.finish()?;
    for pack in packs {
        pack.finish()?;
    }
    sink.finish(facts(redo), entries)
}

pub fn publish(repository: &Repository, compression: Compression, redo: usize) -> Published {
    let new = NewSet { compression, ..NewSet::full(start()) };
    let writer = repository.begin(&lock(repository), new, &Silent, &Cancel::new()).unwrap();
    fill(Box::new(writer), redo).unwrap()
}

/// Reads everything back, as a restore would.
pub fn read_all(set: &SetReader) -> Result<(FileList, Vec<u8>), RepositoryError> {
    let mut runs = set.runs()?;
    let mut raw = Vec::new();
    let mut files = Vec::new();
    for entry in set.files()? {
        let entry = entry?;
        let mut bytes = vec![0; entry.size as usize];
        for run in &entry.runs {
            runs.read(&entry.path, run, &mut raw)?;
            bytes[run.at as usize..][..raw.len()].copy_from_slice(&raw);
        }
        if entry.kind != FileKind::Directory {
            files.push((entry.path, entry.kind, bytes));
        }
    }
    let mut redo = Vec::new();
    set.redo()?.read_to_end(&mut redo).map_err(|e| e.downcast::<RepositoryError>().unwrap())?;
    Ok((files, redo))
}

pub fn sorted(redo: usize) -> (FileList, Vec<u8>) {
    let (mut files, redo) = contents(redo);
    files.sort_by(|a, b| a.0.cmp(&b.0));
    (files, redo)
}

/// A way out whose bytes can be looked at afterwards.
#[derive(Clone, Default)]
pub struct Collect(pub Arc<Mutex<Vec<u8>>>);

impl Write for Collect {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn stream(compression: Compression, redo: usize) -> (Vec<u8>, Published) {
    let out = Collect::default();
    let new = NewSet { compression, ..NewSet::full(start()) };
    let writer = StreamWriter::new(Box::new(out.clone()), &name(), new).unwrap();
    let published = fill(Box::new(writer), redo).unwrap();
    let bytes = std::mem::take(&mut *out.0.lock().unwrap());
    (bytes, published)
}
