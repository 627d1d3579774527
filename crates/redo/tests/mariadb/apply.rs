use proptest::prelude::*;
use reseed_innodb::{Flavour, PageSize, SpaceFormat, fil, index, seal_page};
use reseed_redo::{Applied, Applier, Change, ChangeKind, Lsn, PageId, RedoError, RedoFormat};

use crate::server::{page_record, same_page, write};

const ID: (u8, u8) = (3, 4);

fn format() -> SpaceFormat {
    SpaceFormat::from_flags(0x13, Flavour::MariaDb).unwrap()
}

fn blank() -> Vec<u8> {
    vec![0; 4096]
}

/// One mini-transaction after the other, each of one LSN's length.
fn apply_all(page: &mut [u8], runs: &[(ChangeKind, Vec<u8>)]) -> Result<Applied, RedoError> {
    let mut applier = Applier::new(RedoFormat::MariadbRing, PageSize::new(4096).unwrap());
    let changes = runs.iter().enumerate().map(|(at, (kind, bytes))| {
        let start = 100 + 10 * at as u64;
        Change { start: Lsn(start), end: Lsn(start + 10), kind: *kind, bytes }
    });
    applier.apply(PageId::new(3, 4), &format(), page, changes)
}

fn apply(page: &mut [u8], records: &[Vec<u8>]) -> Result<Applied, RedoError> {
    apply_all(page, &[(ChangeKind::Delta, records.concat())])
}

fn delta(rest: &[u8]) -> (ChangeKind, Vec<u8>) {
    (ChangeKind::Delta, page_record(2, ID.0, ID.1, rest))
}

fn init() -> (ChangeKind, Vec<u8>) {
    (ChangeKind::Init, page_record(1, ID.0, ID.1, &[]))
}

#[test]
fn bytes_at_a_place() {
    let mut page = blank();
    apply(
        &mut page,
        &[
            write(3, 4, 50, &[1, 2, 3]),
            // Two bytes after the end of the last.
            same_page(3, &[2, 9]),
            // MEMSET of five bytes with a pattern of two.
            same_page(4, &[0, 5, 0xAB, 0xCD]),
            // MEMMOVE of three from 9 bytes before: source 2 * 8 + 1.
            same_page(5, &[0, 3, 23]),
            // MEMMOVE of one from the place that follows.
            same_page(5, &[1, 1, 0]),
        ],
    )
    .unwrap();
    let expected = [1, 2, 3, 0, 0, 9, 0xAB, 0xCD, 0xAB, 0xCD, 0xAB, 0, 1, 2, 0, 0];
    assert_eq!(&page[50..66], &expected, "12 back from 61 is 49, which holds 0");
}

#[test]
fn places_outside_are_refused() {
    let far = [0xC0, 0, 0];
    let cases = [
        write(3, 4, 7, &[1]),
        page_record(3, 3, 4, &far),
        // 4095 is the last place.
        page_record(3, 3, 4, &[0x8F, 0x7F, 1, 2]),
        page_record(3, 3, 4, &[0x8F, 0x80, 1]),
        page_record(4, 3, 4, &[50, 0xBF, 0xFF, 1]),
        page_record(4, 3, 4, &[50, 3]),
        page_record(5, 3, 4, &[50, 3, 0xFF]),
        page_record(5, 3, 4, &[50, 0x90, 0, 0]),
        page_record(5, 3, 4, &[50, 1, 101]),
        write(3, 4, 50, &[]),
        write(3, 5, 50, &[1]),
        page_record(0, 3, 4, &[]),
        vec![0x35, 3],
        vec![],
    ];
    for (at, record) in cases.iter().enumerate() {
        let mut page = blank();
        let outcome = apply(&mut page, std::slice::from_ref(record));
        if record.is_empty() {
            assert_eq!(outcome.unwrap().count, 1);
        } else {
            assert!(matches!(outcome, Err(RedoError::Apply { lsn: Lsn(100), .. })), "case {at}: {outcome:?}");
        }
    }
}

#[test]
fn a_page_is_not_given_what_it_has() {
    let mut page = blank();
    page[16..24].copy_from_slice(&110_u64.to_be_bytes());
    let runs: Vec<_> = (0..3).map(|at| (ChangeKind::Delta, write(3, 4, 50 + at, &[7]))).collect();
    let done = apply_all(&mut page, &runs).unwrap();
    assert_eq!(done, Applied { count: 2, skipped: 1, lsn: Some(Lsn(130)), freed: false });
    assert_eq!(&page[50..53], &[0, 7, 7]);
    page[16..24].copy_from_slice(&130_u64.to_be_bytes());
    let done = apply_all(&mut page, &runs).unwrap();
    assert_eq!(done, Applied { count: 0, skipped: 3, lsn: None, freed: false });
}

#[test]
fn a_page_that_begins_anew_has_nothing() {
    // What lies on disk can be torn, its LSN included.
    let mut page = vec![0xEE; 4096];
    let done = apply_all(&mut page, &[init(), (ChangeKind::Delta, write(3, 4, 50, &[7]))]).unwrap();
    assert_eq!(done, Applied { count: 2, skipped: 0, lsn: Some(Lsn(120)), freed: false });
    let mut expected = blank();
    expected[7] = 4;
    expected[8..16].fill(0xFF);
    expected[37] = 3;
    expected[50] = 7;
    assert!(page == expected);
}

#[test]
fn a_freed_page_is_said_to_be_so_until_it_begins_anew() {
    let free = (ChangeKind::Free, page_record(0, 3, 4, &[]));
    let done = apply_all(&mut blank(), &[init(), free.clone()]).unwrap();
    assert_eq!((done.freed, done.lsn), (true, Some(Lsn(120))));
    let done = apply_all(&mut blank(), &[free, init()]).unwrap();
    assert!(!done.freed);
}

#[test]
fn undo_pages() {
    let mut page = blank();
    apply_all(&mut page, &[init(), delta(&[2]), delta(&[3, 5, 6, 7]), delta(&[3, 8, 9, 10, 11])]).unwrap();
    assert_eq!(fil::page_type(&page), fil::PageType::UNDO);
    assert_eq!(&page[38..44], &[0, 0, 0, 56, 0, 71]);
    assert_eq!(&page[56..71], &[0, 63, 5, 6, 7, 0, 56, 0, 71, 8, 9, 10, 11, 0, 63]);
    assert!(apply(&mut page, &[page_record(2, 3, 4, &[3, 1, 2])]).is_err(), "too short for a record");
}

// ---- index pages against a model ----

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Insert behind the record at this share of the list, with so many bytes of data.
    Insert(u8, u8),
    Delete(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<u8>(), 1..60_u8).prop_map(|(at, size)| Step::Insert(at, size)),
        2 => any::<u8>().prop_map(Step::Delete),
    ]
}

fn word(page: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([page[at], page[at + 1]]))
}

/// A varint of one or two bytes.
fn number(value: usize) -> Vec<u8> {
    match value {
        0..128 => vec![value as u8],
        _ => vec![0x80 | ((value - 128) >> 8) as u8, (value - 128) as u8],
    }
}

struct Model {
    page: Vec<u8>,
    compact: bool,
    /// The places of the records, in list order, and their data.
    records: Vec<(usize, Vec<u8>)>,
    runs: usize,
}

impl Model {
    fn new(compact: bool) -> Model {
        let mut page = blank();
        apply_all(&mut page, &[init(), delta(&[u8::from(compact)])]).unwrap();
        Model { page, compact, records: Vec::new(), runs: 0 }
    }

    fn infimum(&self) -> usize {
        if self.compact { 99 } else { 101 }
    }

    fn previous(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(self.infimum(), |at| self.records[at].0)
    }

    fn extra(&self) -> usize {
        // COMPACT: a byte of NULL bits and a length. REDUNDANT: one end of two bytes.
        if self.compact { 7 } else { 8 }
    }

    fn insert(&mut self, share: u8, size: u8) {
        let at = usize::from(share) * (self.records.len() + 1) / 256;
        let previous = self.previous(at);
        self.runs += 1;
        let data: Vec<u8> =
            (0..size).map(|byte| byte.wrapping_mul(7).wrapping_add(self.runs as u8)).collect();
        let mut rest = Vec::new();
        let free = word(&self.page, index::FREE);
        let whole = self.extra() + data.len();
        let reuse = free != 0 && self.free_size(free) >= whole;
        let top = word(&self.page, index::HEAP_TOP);
        if !reuse && top + whole + 2 * (word(&self.page, index::N_DIR_SLOTS) + 1) + 8 > self.page.len() {
            return;
        }
        if self.compact {
            rest.push(if reuse { 7 } else { 6 });
            rest.extend(number(previous - 99));
            if reuse {
                rest.push(0);
            }
            rest.extend(number(2 << 3));
            rest.extend([0, 0]);
            rest.extend([size, 0]);
        } else {
            rest.push(if reuse { 5 } else { 4 });
            rest.extend(number(previous - 101));
            rest.extend([0, 0, 0]);
            rest.extend([0, size]);
        }
        rest.extend(&data);
        let done = apply_all(&mut self.page, &[delta(&rest)]).unwrap();
        assert_eq!(done.count, 1);
        let new = word(&self.page, index::LAST_INSERT);
        self.records.insert(at, (new, data));
    }

    /// The freed record's whole size: in this model, its data are zero and its header is kept.
    fn free_size(&self, free: usize) -> usize {
        if self.compact {
            7 + usize::from(self.page[free - 7])
        } else {
            8 + (word(&self.page, free - 8) & 0x3FFF)
        }
    }

    fn delete(&mut self, share: u8) {
        // The server makes a page anew when its last record goes.
        if self.records.len() < 2 {
            return;
        }
        let at = usize::from(share) * self.records.len() / 256;
        let previous = self.previous(at);
        let (_, data) = self.records.remove(at);
        let mut rest = Vec::new();
        if self.compact {
            rest.push(9);
            rest.extend(number(previous - 99));
            rest.extend([2, data.len() as u8]);
        } else {
            rest.push(8);
            rest.extend(number(previous - 101));
        }
        apply_all(&mut self.page, &[delta(&rest)]).unwrap();
    }

    fn next(&self, at: usize) -> usize {
        let stored = word(&self.page, at - 2);
        match (self.compact, stored) {
            (true, 1..) => (at + stored) & 0xFFFF,
            _ => stored,
        }
    }

    fn check(&self) {
        let page = &self.page;
        assert_eq!(word(page, index::N_RECS), self.records.len());
        let (fixed, supremum) = if self.compact { (5, 112) } else { (6, 116) };
        let mut at = self.infimum();
        let mut owned = 0;
        let mut slots = Vec::new();
        let mut seen = Vec::new();
        loop {
            owned += 1;
            let says = page[at - fixed] & 15;
            if says != 0 {
                assert_eq!(says, owned, "record at {at}");
                slots.push(at);
                owned = 0;
                let inner = at != supremum && slots.len() > 1;
                assert!(!inner || (4..=8).contains(&says), "a slot owns {says}");
            }
            if at == supremum {
                break;
            }
            at = self.next(at);
            seen.push(at);
        }
        seen.pop();
        let expected: Vec<_> = self.records.iter().map(|(at, _)| *at).collect();
        assert_eq!(seen, expected);
        assert_eq!(slots.len(), word(page, index::N_DIR_SLOTS));
        for (number, at) in slots.iter().enumerate() {
            assert_eq!(word(page, page.len() - 8 - 2 * (number + 1)), *at);
        }
        for (at, data) in &self.records {
            assert_eq!(&page[*at..at + data.len()], data);
        }
        let mut garbage = 0;
        let mut free = word(page, index::FREE);
        while free != 0 {
            garbage += self.free_size(free);
            free = self.next(free);
        }
        assert!(garbage <= word(page, index::GARBAGE), "left-over bytes are garbage too");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn index_pages_stay_whole(compact: bool, steps in proptest::collection::vec(step(), 1..150)) {
        let mut model = Model::new(compact);
        for step in steps {
            match step {
                Step::Insert(at, size) => model.insert(at, size),
                Step::Delete(at) => model.delete(at),
            }
            model.check();
        }
    }

    /// Any page, any operation.
    #[test]
    fn no_operation_makes_the_applier_fall_over(
        compact: bool,
        kind in 0_u8..12,
        rest in proptest::collection::vec(any::<u8>(), 0..30),
        damage in proptest::collection::vec((24_usize..220, any::<u8>()), 0..12),
        tail in proptest::collection::vec((1_usize..40, any::<u8>()), 0..6),
    ) {
        let mut model = Model::new(compact);
        for size in 1..30 {
            model.insert(size * 8, size);
        }
        let length = model.page.len();
        for (at, byte) in damage {
            model.page[at] = byte;
        }
        for (at, byte) in tail {
            model.page[length - at] = byte;
        }
        let mut operands = vec![kind];
        operands.extend(&rest);
        let _ = apply_all(&mut model.page, &[delta(&operands)]);
        let _ = apply_all(&mut model.page, &[(ChangeKind::Delta, page_record(kind % 8, 3, 4, &rest))]);
        let _ = apply_all(&mut model.page, &[(ChangeKind::Delta, rest)]);
    }
}

// ---- pages of a real server ----

/// Reads numbers and bytes from the front of a fixture.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        head
    }

    fn number(&mut self, length: usize) -> u64 {
        self.bytes(length).iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

/// Pages and redo of a mariadb-backup of 10.11.19, and what its `--prepare` made of them. Written by the example
/// `compare_prepared`; every operation on index and undo pages is among them.
#[test]
fn pages_of_a_real_server_come_out_as_it_writes_them() {
    let mut fixture = Vec::new();
    let stored = &include_bytes!("fixtures/pages-10.11-4k.zlib")[..];
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(stored), &mut fixture).unwrap();
    let mut reader = Reader(&fixture);
    let mut applier = Applier::new(RedoFormat::MariadbRing, PageSize::new(4096).unwrap());
    let mut cases = 0;
    while !reader.0.is_empty() {
        let id = PageId::new(reader.number(4) as u32, reader.number(4) as u32);
        let format = SpaceFormat::from_flags(reader.number(4) as u32, Flavour::MariaDb).unwrap();
        let (size, count) = (reader.number(4) as usize, reader.number(4) as usize);
        let mut page = reader.bytes(size).to_vec();
        let after = reader.bytes(size);
        let changes: Vec<Change<'_>> = (0..count)
            .map(|_| {
                let (start, end) = (Lsn(reader.number(8)), Lsn(reader.number(8)));
                let kind = [ChangeKind::Delta, ChangeKind::Init, ChangeKind::Free][reader.number(1) as usize];
                let length = reader.number(4) as usize;
                Change { start, end, kind, bytes: reader.bytes(length) }
            })
            .collect();
        let done = applier.apply(id, &format, &mut page, changes).unwrap();
        seal_page(&mut page, &format, id, done.lsn.unwrap()).unwrap();
        assert!(page == after, "{id}");
        cases += 1;
    }
    assert!(cases > 40, "{cases}");
}
