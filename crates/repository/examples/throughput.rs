//! How fast the set's own machinery is: `cargo run --release --example throughput DIR [MIB] [THREADS]` writes, reads
//! and verifies a set of made-up pages in DIR and says bytes per second for each, without and with compression.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::Instant;

#[path = "../tests/common/mod.rs"]
mod common;

use common::*;
use reseed_io::{Cancel, Silent};
use reseed_repository::*;

const RUN: usize = 1 << 20;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("a directory to work in");
    let mib: usize = args.next().map_or(512, |n| n.parse().unwrap());
    let threads: usize = args.next().map_or(2, |n| n.parse().unwrap());
    for compression in [Compression::None, Compression::Zstd(1)] {
        let root = Path::new(&dir).join(format!("throughput-{compression}"));
        let repository = Repository::create(&root).unwrap();
        let rate = |what: &str, begun: Instant| {
            let seconds = begun.elapsed().as_secs_f64();
            println!("{compression} {what}: {:.0} MiB/s", mib as f64 / seconds);
        };

        let begun = Instant::now();
        let new = NewSet { compression, ..NewSet::full(start()) };
        let sink: Box<dyn Sink> =
            Box::new(repository.begin(&lock(&repository), new, &Silent, &Cancel::new()).unwrap());
        let entries: Vec<FileEntry> = std::thread::scope(|scope| {
            let sink = sink.as_ref();
            let start = |thread| scope.spawn(move || one_file(sink, thread, mib / threads));
            let workers: Vec<_> = (0..threads).map(start).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        sink.redo().unwrap().finish().unwrap();
        let published = sink.finish(facts(0), entries).unwrap();
        rate("write", begun);

        let set = repository.open_set(&name(), &published.manifest.id).unwrap();
        let files = set.load_files().unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for file in &files {
                let set = &set;
                scope.spawn(move || {
                    let mut runs = set.runs().unwrap();
                    let mut raw = Vec::new();
                    for run in &file.runs {
                        runs.read(&file.path, run, &mut raw).unwrap();
                    }
                });
            }
        });
        rate("read", begun);

        let begun = Instant::now();
        assert!(verify(&set, Level::Full, threads, &Silent, &Cancel::new()).unwrap().is_good());
        rate("verify", begun);
        drop(set);
        std::fs::remove_dir_all(root).unwrap();
    }
}

/// Pages that compress about as rows do: half of each is noise, half repeats.
fn one_file(sink: &dyn Sink, thread: usize, mib: usize) -> FileEntry {
    let mut buf = noise(thread as u64, RUN);
    for page in buf.chunks_mut(16384) {
        page[8192..].fill(b'r');
    }
    let mut entry = FileEntry::new(path(&format!("test/t{thread}.ibd")), FileKind::Tablespace);
    entry.size = (mib * RUN) as u64;
    let mut pack = sink.pack().unwrap();
    let copy = sink.copy(&entry.path);
    for nth in 0..mib {
        buf[..8].copy_from_slice(&(nth as u64 + 1).to_le_bytes());
        pack.append(&copy, (nth * RUN) as u64, &buf, &mut entry.runs).unwrap();
    }
    pack.finish().unwrap();
    entry
}
