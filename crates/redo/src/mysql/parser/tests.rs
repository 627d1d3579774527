use proptest::prelude::*;
use reseed_terms::RedoFormat;

use super::super::block::build;
use super::super::lsn::PAYLOAD;
use super::*;

const FIRST: u64 = 8192;

#[derive(Debug, Default, PartialEq, Eq)]
struct Collected {
    pages: Vec<(PageId, u64, u64, ChangeKind, Vec<u8>)>,
    events: Vec<String>,
}

impl LogVisitor for Collected {
    fn page(&mut self, change: PageChange<'_>) {
        self.pages.push((change.id, change.start.0, change.end.0, change.kind, change.bytes.to_vec()));
    }

    fn space(&mut self, _: &MtrSpan, event: SpaceEvent<'_>) {
        self.events.push(format!("{event:?}"));
    }
}

fn capture(checkpoint: u64, end: u64) -> Capture {
    Capture {
        format: RedoFormat::MysqlBlocks,
        first: Lsn(FIRST),
        checkpoint: Lsn(checkpoint),
        checkpoint_end: Lsn(checkpoint),
        end: Lsn(end),
        bytes: 0,
        creator: "MySQL 9.7.4".to_owned(),
    }
}

/// Blocks from LSN 8192 on around `payload`; mini-transactions start at the payload offsets given.
fn blocks(payload: &[u8], starts: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, part) in payload.chunks(PAYLOAD as usize).enumerate() {
        let from = n * PAYLOAD as usize;
        let first = starts.iter().find(|at| (from..from + part.len()).contains(at));
        let first = first.map_or(0, |at| (at - from + 12) as u16);
        bytes.extend(build(Lsn(FIRST + n as u64 * 512), part, first));
    }
    bytes
}

/// WRITE_STRING of `len` bytes on page (space 5, `page`).
fn write(page: u8, len: u16, single: bool) -> Vec<u8> {
    let mut record = vec![30 | if single { 0x80 } else { 0 }, 5, page, 0, 100];
    record.extend(len.to_be_bytes());
    record.extend(vec![page; len.into()]);
    record
}

fn all(parser: &mut MysqlParser) -> (Collected, Vec<(u64, u64)>) {
    let mut seen = Collected::default();
    let mut spans = Vec::new();
    while let Some(MtrSpan(span)) = parser.next_mtr(&mut seen).unwrap() {
        spans.push((span.start.0, span.end.0));
    }
    (seen, spans)
}

#[test]
fn runs_of_one_page_are_one_change() {
    let mut payload = write(1, 10, false);
    payload.extend(write(1, 3, false));
    payload.extend(write(2, 3, false));
    payload.extend([59, 5, 2]);
    payload.extend(write(2, 4, false));
    payload.push(31);
    let len = payload.len() as u64;
    let mut parser = MysqlParser::new(&capture(FIRST + 12, FIRST + 12 + len));
    parser.push(&blocks(&payload, &[0])).unwrap();
    let (seen, spans) = all(&mut parser);
    assert_eq!(spans, [(FIRST + 12, FIRST + 12 + len)]);
    let short: Vec<_> = seen.pages.iter().map(|p| (p.0.page.0, p.1, p.3, p.4.len())).collect();
    let start = FIRST + 12;
    assert_eq!(
        short,
        [
            (1, start, ChangeKind::Delta, 27),
            (2, start + 27, ChangeKind::Delta, 10),
            (2, start + 37, ChangeKind::Init, 3 + 11)
        ]
    );
    assert_eq!(parser.finish(), Ok(()));
}

#[test]
fn a_checkpoint_in_the_middle_of_a_mini_transaction() {
    let first = write(1, 600, true);
    let second = write(2, 5, false);
    let third = write(3, 5, false);
    let mut payload = first.clone();
    payload.extend(&second);
    payload.extend(&third);
    payload.push(31);
    let bytes = blocks(&payload, &[0, first.len()]);
    // In the first block: everything is read, what starts before the checkpoint has no effect.
    let third_at = lsn::from_sn(lsn::to_sn(Lsn(FIRST)) + (first.len() + second.len()) as u64);
    let mut parser = MysqlParser::new(&capture(third_at.0, u64::MAX));
    parser.push(&bytes).unwrap();
    let (seen, spans) = all(&mut parser);
    assert_eq!(spans.len(), 1, "the checkpoint's block starts with the second mini-transaction");
    assert_eq!(seen.pages.iter().map(|p| p.0.page.0).collect::<Vec<_>>(), [3]);
    assert!(matches!(parser.finish(), Err(MysqlError::EndMissing { .. })));
}

#[test]
fn the_end_cuts_between_mini_transactions() {
    let one = write(1, 5, true);
    let mut payload = one.clone();
    payload.extend(&one);
    payload.extend(&one[..4]);
    let bytes = blocks(&payload, &[0]);
    let len = one.len() as u64;
    for (end, count) in [(len - 1, 0), (len, 1), (2 * len - 1, 1), (2 * len, 2), (1 << 40, 2)] {
        let mut parser = MysqlParser::new(&capture(FIRST + 12, FIRST + 12 + end));
        parser.push(&bytes).unwrap();
        assert_eq!(all(&mut parser).1.len(), count, "end {end}");
    }
}

#[test]
fn a_block_that_grows_may_come_again() {
    let one = write(1, 300, true);
    let mut payload = one.clone();
    payload.extend(&one);
    let whole = blocks(&payload, &[0, one.len()]);
    for checkpoint in [FIRST + 12, FIRST + 20] {
        let mut parser = MysqlParser::new(&capture(checkpoint, u64::MAX));
        let mut seen = 0;
        for len in [5, 100, one.len(), 400, 495, 496, 500, payload.len()] {
            let part = blocks(&payload[..len], &[0, one.len()]);
            let last = part.len() - 512;
            parser.push(if len == 500 { &part[512..] } else { &part[last..] }).unwrap();
            seen += all(&mut parser).1.len();
        }
        assert_eq!(seen, 2);
        assert_eq!(parser.position(), lsn::from_sn(lsn::to_sn(Lsn(FIRST)) + payload.len() as u64));
    }
    let mut parser = MysqlParser::new(&capture(FIRST, u64::MAX));
    parser.push(&build(Lsn(FIRST), b"", 12)).unwrap();
    let after = parser.push(&whole[512..]);
    assert!(matches!(after, Err(MysqlError::Block { source: BlockError::AfterPartial, .. })));
}

#[test]
fn events_and_empty_mini_transactions() {
    let mut payload = vec![31, 32, 32, 31];
    payload.extend([33, 9, 0, 0, 0, 0, 7, 0, 4, b'a', b'/', b'b', 0]);
    payload.extend([35, 9, 0, 0, 4, b'a', b'/', b'b', 0, 31]);
    payload.extend([62 | 0x80, 3, 2, 2, 0x85, 0]);
    payload.extend([65 | 0x80, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    let mut parser = MysqlParser::new(&capture(FIRST, u64::MAX));
    parser.push(&blocks(&payload, &[0])).unwrap();
    let (seen, spans) = all(&mut parser);
    assert_eq!(spans.len(), 5);
    assert!(seen.pages.is_empty());
    assert_eq!(seen.events.len(), 4);
    assert!(seen.events[0].starts_with("Create"), "{:?}", seen.events);
    assert_eq!(seen.events[2], "TableMetadata { table: 3, version: 2, kind: 2, payload: [133, 0] }");
}

#[test]
fn unknown_records_are_refused_by_number_and_lsn() {
    let mut parser = MysqlParser::new(&capture(FIRST, u64::MAX));
    parser.push(&blocks(&[31, 9, 0, 0], &[0])).unwrap();
    let mut seen = Collected::default();
    parser.next_mtr(&mut seen).unwrap();
    let error = parser.next_mtr(&mut seen).unwrap_err();
    assert_eq!(error.to_string(), "unknown redo record type 9 at LSN 8205 (log written by \"MySQL 9.7.4\")");
}

proptest! {
    #[test]
    fn cutting_the_run_changes_nothing(cuts in prop::collection::vec(1usize..700, 1..40), lens in prop::collection::vec(0u16..900, 1..20)) {
        let mut payload = Vec::new();
        let mut starts = Vec::new();
        for (n, len) in lens.iter().enumerate() {
            starts.push(payload.len());
            payload.extend(write(n as u8, *len, true));
        }
        let bytes = blocks(&payload, &starts);
        let mut whole = MysqlParser::new(&capture(FIRST, u64::MAX));
        whole.push(&bytes).unwrap();
        let expected = all(&mut whole);
        prop_assert_eq!(expected.1.len(), lens.len());
        let mut parser = MysqlParser::new(&capture(FIRST, u64::MAX));
        let mut seen = Collected::default();
        let mut spans = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            parser.push(part).unwrap();
            rest = after;
            while let Some(MtrSpan(span)) = parser.next_mtr(&mut seen).unwrap() {
                spans.push((span.start.0, span.end.0));
            }
        }
        prop_assert_eq!(&(seen, spans), &expected);
    }

    #[test]
    fn hostile_payload_does_no_harm(payload in prop::collection::vec(any::<u8>(), 1..2000)) {
        let mut parser = MysqlParser::new(&capture(FIRST, u64::MAX));
        parser.push(&blocks(&payload, &[0])).unwrap();
        let mut seen = Collected::default();
        while let Ok(Some(_)) = parser.next_mtr(&mut seen) {}
    }
}
