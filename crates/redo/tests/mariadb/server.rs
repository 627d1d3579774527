//! Makes redo files as a server does.

use reseed_redo::mariadb::LogFile;
use reseed_redo::{ChangeKind, LogParser, LogVisitor, Lsn, MtrSpan, PageChange, PageId, SpaceEvent};

pub const RING_START: usize = 12288;
pub const BLOCKS_START: usize = 2048;

/// A record of a page: kind, address, the rest.
pub fn page_record(kind: u8, space: u8, page: u8, rest: &[u8]) -> Vec<u8> {
    assert!(space < 128 && page < 128, "one-byte numbers only");
    let mut body = vec![space, page];
    body.extend_from_slice(rest);
    record(kind << 4, &body)
}

/// A record of the same page as the one before.
pub fn same_page(kind: u8, rest: &[u8]) -> Vec<u8> {
    record(0x80 | kind << 4, rest)
}

pub fn file_record(kind: u8, space: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![space, 0];
    body.extend_from_slice(rest);
    record(kind << 4, &body)
}

fn record(head: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match body.len() {
        0 => panic!("a record is never so short"),
        length @ 1..=15 => out.push(head | length as u8),
        // The length counts its own one byte.
        length @ 16..=141 => out.extend_from_slice(&[head, (length + 1 - 15) as u8]),
        length => {
            let value = length + 2 - 15 - 128;
            out.extend_from_slice(&[head, 0x80 | (value >> 8) as u8, value as u8]);
        }
    }
    out.extend_from_slice(body);
    out
}

/// WRITE of `bytes` at `offset`.
pub fn write(space: u8, page: u8, offset: u8, bytes: &[u8]) -> Vec<u8> {
    let mut rest = vec![offset];
    rest.extend_from_slice(bytes);
    page_record(3, space, page, &rest)
}

pub fn checkpoint(lsn: u64) -> Vec<u8> {
    file_record(0xF, 0, &lsn.to_be_bytes())
}

fn seal(block: &mut [u8]) {
    let at = block.len() - 4;
    let sum = crc32c::crc32c(&block[..at]);
    block[at..].copy_from_slice(&sum.to_be_bytes());
}

/// A server with a ring.
#[derive(Clone)]
pub struct Ring {
    pub file: Vec<u8>,
    pub first: u64,
    pub lsn: u64,
}

impl Ring {
    pub fn new(first: u64, capacity: usize) -> Ring {
        let mut file = vec![0; RING_START + capacity];
        file[..4].copy_from_slice(b"Phys");
        file[8..16].copy_from_slice(&first.to_be_bytes());
        file[16..31].copy_from_slice(b"MariaDB 10.11.6");
        seal(&mut file[..512]);
        let mut ring = Ring { file, first, lsn: first };
        ring.checkpoint_block(0, first, first);
        ring
    }

    pub fn capacity(&self) -> u64 {
        (self.file.len() - RING_START) as u64
    }

    pub fn checkpoint_block(&mut self, slot: usize, lsn: u64, end: u64) {
        let at = 4096 * (slot + 1);
        self.file[at..at + 8].copy_from_slice(&lsn.to_be_bytes());
        self.file[at + 8..at + 16].copy_from_slice(&end.to_be_bytes());
        seal(&mut self.file[at..at + 64]);
    }

    fn put(&mut self, byte: u8) {
        let at = RING_START + ((self.lsn - self.first) % self.capacity()) as usize;
        self.file[at] = byte;
        self.lsn += 1;
    }

    /// Writes a mini-transaction and returns how it looks in a capture.
    pub fn mtr(&mut self, records: &[Vec<u8>]) -> Vec<u8> {
        let body = records.concat();
        body.iter().for_each(|byte| self.put(*byte));
        let lap = u8::from(((self.lsn - self.first) / self.capacity()).is_multiple_of(2));
        self.put(lap);
        let sum = crc32c::crc32c(&body).to_be_bytes();
        sum.iter().for_each(|byte| self.put(*byte));
        // The server marks the end.
        let end = self.lsn;
        self.put(0);
        self.lsn = end;
        [&body[..], &[1], &sum[..]].concat()
    }

    pub fn log(&self) -> LogFile {
        LogFile::parse(&self.file[..RING_START], self.file.len() as u64).unwrap()
    }
}

/// A server with blocks.
pub struct Blocks {
    pub file: Vec<u8>,
    pub lsn: u64,
    first: u64,
}

impl Blocks {
    /// `first` is a block's LSN; redo starts 12 bytes later.
    pub fn new(first: u64, blocks: usize) -> Blocks {
        assert_eq!(first % 512, 0);
        let mut file = vec![0; BLOCKS_START + 512 * blocks];
        file[..4].copy_from_slice(b"PHYS");
        file[4..8].copy_from_slice(&2_u32.to_be_bytes());
        file[16..31].copy_from_slice(b"MariaDB 10.5.23");
        seal(&mut file[..512]);
        let mut server = Blocks { file, lsn: first + 12, first };
        server.checkpoint_block(0, first + 12);
        server.close();
        server
    }

    pub fn checkpoint_block(&mut self, number: u64, lsn: u64) {
        let at = if number.is_multiple_of(2) { 512 } else { 1536 };
        let offset = self.offset(lsn) as u64;
        self.file[at..at + 8].copy_from_slice(&number.to_be_bytes());
        self.file[at + 8..at + 16].copy_from_slice(&lsn.to_be_bytes());
        self.file[at + 16..at + 24].copy_from_slice(&offset.to_be_bytes());
        seal(&mut self.file[at..at + 512]);
    }

    pub fn offset(&self, lsn: u64) -> usize {
        BLOCKS_START + (lsn - self.first) as usize % (self.file.len() - BLOCKS_START)
    }

    fn close_block(&mut self, lsn: u64, used: usize) {
        let at = self.offset(lsn);
        let number = ((lsn / 512) & 0x3FFF_FFFF) as u32 + 1;
        let block = &mut self.file[at..at + 512];
        block[..4].copy_from_slice(&number.to_be_bytes());
        block[4..6].copy_from_slice(&(used as u16).to_be_bytes());
        seal(block);
    }

    fn close(&mut self) {
        self.close_block(self.lsn / 512 * 512, (self.lsn % 512) as usize);
    }

    pub fn mtr(&mut self, records: &[Vec<u8>]) {
        for byte in records.concat().iter().chain(&[0]) {
            let at = self.offset(self.lsn);
            self.file[at] = *byte;
            self.lsn += 1;
            if self.lsn % 512 == 508 {
                self.close_block(self.lsn / 512 * 512, 512);
                self.lsn += 16;
                let next = self.offset(self.lsn / 512 * 512);
                self.file[next..next + 512].fill(0);
            }
        }
        self.close();
    }

    pub fn log(&self) -> LogFile {
        LogFile::parse(&self.file[..BLOCKS_START], self.file.len() as u64).unwrap()
    }
}

/// What a visitor saw, in a form to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saw {
    Page { id: PageId, start: u64, end: u64, kind: ChangeKind, bytes: Vec<u8> },
    Event(String),
}

#[derive(Debug, Default)]
pub struct Watcher(pub Vec<Saw>);

impl LogVisitor for Watcher {
    fn page(&mut self, change: PageChange<'_>) {
        self.0.push(Saw::Page {
            id: change.id,
            start: change.start.0,
            end: change.end.0,
            kind: change.kind,
            bytes: change.bytes.to_vec(),
        });
    }

    fn space(&mut self, _: &MtrSpan, event: SpaceEvent<'_>) {
        let text = match event {
            SpaceEvent::Rename { space, from, to } => {
                format!("rename {space} {} {}", String::from_utf8_lossy(from), String::from_utf8_lossy(to))
            }
            SpaceEvent::Create { space, path } => format!("create {space} {}", String::from_utf8_lossy(path)),
            SpaceEvent::Modify { space, path } => format!("modify {space} {}", String::from_utf8_lossy(path)),
            SpaceEvent::Delete { space, path } => format!("delete {space} {}", String::from_utf8_lossy(path)),
            SpaceEvent::Trim { space, first_gone } => format!("trim {space} {first_gone}"),
            SpaceEvent::Checkpoint { checkpoint } => format!("checkpoint {checkpoint}"),
            other => format!("{other:?}"),
        };
        self.0.push(Saw::Event(text));
    }
}

/// Reads everything that can be read, and says where that ends.
pub fn drain(parser: &mut LogParser, watcher: &mut Watcher) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    while let Some(MtrSpan(span)) = parser.next_mtr(watcher).unwrap() {
        spans.push((span.start.0, span.end.0));
    }
    spans
}

pub fn everything() -> Lsn {
    Lsn(u64::MAX)
}
