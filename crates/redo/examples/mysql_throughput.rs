//! How fast MySQL redo is parsed: `cargo run --release -p reseed-redo --example mysql_throughput -- FILE...`
//!
//! The files are `#ib_redoN` of a stopped server, in order. Reads from the first file's start to the log's end.

use std::error::Error;
use std::time::Instant;

use reseed_redo::mysql::MysqlParser;
use reseed_redo::mysql::block::Block;
use reseed_redo::mysql::file::{FileHead, HEAD};
use reseed_redo::{Capture, LogVisitor, Lsn, MtrSpan, PageChange, RedoFormat, SpaceEvent};

#[derive(Debug, Default)]
struct Counts {
    changes: u64,
    bytes: u64,
    events: u64,
}

impl LogVisitor for Counts {
    fn page(&mut self, change: PageChange<'_>) {
        self.changes += 1;
        self.bytes += change.bytes.len() as u64;
    }

    fn space(&mut self, _: &MtrSpan, _: SpaceEvent<'_>) {
        self.events += 1;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut run = Vec::new();
    let mut first = None;
    for path in std::env::args().skip(1) {
        let file = std::fs::read(path)?;
        let start = FileHead::parse(&file)?.header.start;
        first = first.or(Some(start));
        for (n, block) in file.get(HEAD..).unwrap_or_default().chunks_exact(512).enumerate() {
            if Block::check(block, Lsn(start.0 + n as u64 * 512)).is_err() {
                break;
            }
            run.extend_from_slice(block);
        }
    }
    let first = first.ok_or("no file given")?;
    let mut parser = MysqlParser::new(&Capture {
        format: RedoFormat::MysqlBlocks,
        first,
        checkpoint: first,
        checkpoint_end: first,
        end: Lsn(u64::MAX),
        bytes: run.len() as u64,
        creator: String::new(),
    });
    let mut counts = Counts::default();
    let mut mtrs = 0u64;
    let since = Instant::now();
    for part in run.chunks(1 << 20) {
        parser.push(part)?;
        while parser.next_mtr(&mut counts)?.is_some() {
            mtrs += 1;
        }
    }
    let seconds = since.elapsed().as_secs_f64();
    let rate = run.len() as f64 / seconds / 1e6;
    println!("{} bytes, {mtrs} mini-transactions, {counts:?}: {rate:.0} MB/s", run.len());
    Ok(())
}
