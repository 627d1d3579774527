use proptest::prelude::*;
use reseed_redo::mariadb::{Accepted, Cursor, Stop, cut_last_block};
use reseed_redo::{Capture, LogParser, Lsn, RedoError, RedoFormat};

use crate::server::{Blocks, Watcher, drain, everything, write};

const FIRST: u64 = 512 * 100;

fn window(cursor: &Cursor, server: &Blocks, len: usize) -> Vec<u8> {
    let spans = cursor.spans(len);
    spans.iter().flat_map(|span| server.file[span.offset as usize..][..span.len].to_vec()).collect()
}

fn accept(cursor: &mut Cursor, server: &Blocks, limit: Lsn, capture: &mut Vec<u8>) -> Accepted {
    let window = window(cursor, server, 1 << 14);
    cursor.accept(&window, limit, capture)
}

fn parser(cursor: &Cursor, end: Lsn) -> LogParser {
    let log = cursor.log();
    let capture = Capture {
        format: RedoFormat::MariadbBlocks,
        first: cursor.first(),
        checkpoint: log.checkpoint.lsn,
        checkpoint_end: log.checkpoint.end,
        end,
        bytes: 0,
        creator: log.creator.clone(),
    };
    LogParser::new(&capture).unwrap()
}

#[test]
fn follows_through_laps_and_the_parser_sees_every_mini_transaction() {
    let mut server = Blocks::new(FIRST, 8);
    let mut cursor = Cursor::new(server.log());
    let mut parser = parser(&cursor, everything());
    let mut watcher = Watcher::default();
    let (mut spans, mut expected) = (Vec::new(), Vec::new());
    for round in 0..120_usize {
        let start = server.lsn;
        // Now and then one that fills its block to the last byte, and one that spans several.
        let length = match round % 20 {
            7 => 508 - (server.lsn % 512) as usize,
            13 => 1100,
            _ => 30 + round,
        };
        let overhead = if length > 146 { 7 } else { 6 };
        server.mtr(&[write(3, 4, 50, &vec![1; length.saturating_sub(overhead).max(1)])]);
        expected.push((start, server.lsn));
        let mut capture = Vec::new();
        let accepted = accept(&mut cursor, &server, Lsn(server.lsn), &mut capture);
        assert_eq!(accepted.stop, Stop::Limit, "round {round}");
        assert_eq!(cursor.reached(), Lsn(server.lsn));
        parser.push(&capture).unwrap();
        // The last block comes again and again, until it is full.
        parser.push(cursor.partial().unwrap_or(&[])).unwrap();
        spans.extend(drain(&mut parser, &mut watcher));
        assert_eq!(parser.position(), Lsn(server.lsn));
    }
    assert_eq!(spans, expected);
    assert_eq!(watcher.0.len(), expected.len());
}

#[test]
fn a_checkpoint_within_a_block_starts_there() {
    let mut server = Blocks::new(FIRST, 8);
    server.mtr(&[write(3, 4, 50, &[1; 20])]);
    let checkpoint = server.lsn;
    server.checkpoint_block(1, checkpoint);
    server.mtr(&[write(3, 4, 50, &[2; 20])]);
    let mut cursor = Cursor::new(server.log());
    assert_eq!(cursor.log().checkpoint.lsn, Lsn(checkpoint));
    assert_eq!(cursor.first(), Lsn(FIRST));
    accept(&mut cursor, &server, Lsn(server.lsn), &mut Vec::new());
    let mut parser = parser(&cursor, Lsn(server.lsn));
    parser.push(cursor.partial().unwrap()).unwrap();
    assert_eq!(drain(&mut parser, &mut Watcher::default()), [(checkpoint, server.lsn)]);
}

#[test]
fn damage_stops_the_cursor_and_fails_the_parser() {
    let mut server = Blocks::new(FIRST, 8);
    while server.lsn < FIRST + 1000 {
        server.mtr(&[write(3, 4, 50, &[1; 50])]);
    }
    let whole = server.file.clone();
    for (at, stop) in [(600, Stop::BadChecksum), (515, Stop::WrongNumber)] {
        let mut cursor = Cursor::new(server.log());
        let mut capture = Vec::new();
        server.file[2048 + at] ^= 1;
        assert_eq!(accept(&mut cursor, &server, everything(), &mut capture), Accepted { bytes: 512, stop });
        let mut parser = parser(&cursor, everything());
        parser.push(&capture).unwrap();
        let block = server.file[2048 + 512..2048 + 1024].to_vec();
        assert!(matches!(parser.push(&block), Err(RedoError::Corrupt { lsn: Lsn(51_712), .. })));
        server.file.clone_from(&whole);
    }
}

#[test]
fn blocks_behind_the_limit_are_left_alone() {
    let mut server = Blocks::new(FIRST, 8);
    while server.lsn < FIRST + 2000 {
        server.mtr(&[write(3, 4, 50, &[1; 50])]);
    }
    let mut cursor = Cursor::new(server.log());
    let mut capture = Vec::new();
    assert_eq!(accept(&mut cursor, &server, Lsn(FIRST + 600), &mut capture).stop, Stop::Limit);
    assert_eq!(cursor.position(), Lsn(FIRST + 1024));
    assert_eq!(capture.len(), 1024);
}

#[test]
fn a_block_can_be_cut_at_the_end_of_a_mini_transaction() {
    let mut server = Blocks::new(FIRST, 8);
    server.mtr(&[write(3, 4, 50, &[1; 20])]);
    let end = server.lsn;
    while server.lsn < FIRST + 600 {
        server.mtr(&[write(3, 4, 50, &[2; 20])]);
    }
    let mut block = server.file[2048..2560].to_vec();
    let cursor = Cursor::new(server.log());
    cut_last_block(&mut block, Lsn(FIRST), Lsn(end)).unwrap();
    let mut parser = parser(&cursor, everything());
    parser.push(&block).unwrap();
    assert_eq!(drain(&mut parser, &mut Watcher::default()), [(FIRST + 12, end)]);
    let cut = block.clone();
    cut_last_block(&mut block, Lsn(FIRST), Lsn(end)).unwrap();
    cut_last_block(&mut block, Lsn(FIRST), Lsn(FIRST + 512)).unwrap();
    assert_eq!(block, cut, "a block that ends before is left as it is");
    assert!(cut_last_block(&mut block, Lsn(FIRST), Lsn(FIRST + 5)).is_err());
    assert!(cut_last_block(&mut block, Lsn(FIRST), Lsn(FIRST + 513)).is_err());
    assert!(cut_last_block(&mut block[1..], Lsn(FIRST), Lsn(end)).is_err());
}

#[test]
fn zeros_between_mini_transactions_are_skipped() {
    let mut server = Blocks::new(FIRST, 8);
    server.mtr(&[write(3, 4, 50, &[1; 20])]);
    server.mtr(&[vec![]]);
    server.mtr(&[vec![]]);
    let start = server.lsn;
    server.mtr(&[write(3, 4, 50, &[2; 20])]);
    let mut cursor = Cursor::new(server.log());
    accept(&mut cursor, &server, Lsn(server.lsn), &mut Vec::new());
    let mut parser = parser(&cursor, everything());
    parser.push(cursor.partial().unwrap()).unwrap();
    let spans = drain(&mut parser, &mut Watcher::default());
    assert_eq!(spans.last(), Some(&(start, server.lsn)));
    assert_eq!(spans.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_capture_cut_anywhere_reads_the_same(
        lengths in proptest::collection::vec(1_usize..400, 1..20),
        cut in 1_usize..700,
    ) {
        let mut server = Blocks::new(FIRST, 40);
        for length in lengths {
            server.mtr(&[write(1, 2, 60, &vec![7; length])]);
        }
        let mut cursor = Cursor::new(server.log());
        let mut capture = Vec::new();
        let read = window(&cursor, &server, 1 << 15);
        cursor.accept(&read, Lsn(server.lsn), &mut capture);
        capture.extend_from_slice(cursor.partial().unwrap_or(&[]));
        let (mut whole, mut pieces) = (parser(&cursor, Lsn(server.lsn)), parser(&cursor, Lsn(server.lsn)));
        whole.push(&capture).unwrap();
        let (mut one, mut other) = (Watcher::default(), Watcher::default());
        let spans = drain(&mut whole, &mut one);
        let mut found = Vec::new();
        for piece in capture.chunks(cut) {
            pieces.push(piece).unwrap();
            found.extend(drain(&mut pieces, &mut other));
        }
        prop_assert_eq!(spans, found);
        prop_assert_eq!(one.0, other.0);
        prop_assert_eq!(whole.position(), Lsn(server.lsn));
    }

    #[test]
    fn no_bytes_make_the_cursor_or_the_parser_fall_over(
        noise in proptest::collection::vec(any::<u8>(), 512..2000),
        payload in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut server = Blocks::new(FIRST, 8);
        // A block that is good in every way but its content.
        server.mtr(&[payload]);
        let mut cursor = Cursor::new(server.log());
        let mut capture = Vec::new();
        accept(&mut cursor, &server, everything(), &mut capture);
        capture.extend_from_slice(cursor.partial().unwrap_or(&[]));
        let mut parser = parser(&cursor, everything());
        let _ = parser.push(&capture);
        while let Ok(Some(_)) = parser.next_mtr(&mut Watcher::default()) {}
        let _ = parser.push(&noise);
        cursor.accept(&noise, everything(), &mut capture);
    }
}
