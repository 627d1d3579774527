use proptest::prelude::*;
use reseed_redo::mariadb::{Accepted, Cursor, LogFile, Stop};
use reseed_redo::{Lsn, RedoError, RedoFormat, UnsupportedLog};

use crate::server::{RING_START, Ring, checkpoint, everything, file_record, write};

const FIRST: u64 = 20_000;

fn window(cursor: &Cursor, file: &[u8], len: usize) -> Vec<u8> {
    let spans = cursor.spans(len);
    spans.iter().flat_map(|span| file[span.offset as usize..][..span.len].to_vec()).collect()
}

fn accept(cursor: &mut Cursor, ring: &Ring, limit: Lsn, capture: &mut Vec<u8>) -> Accepted {
    let window = window(cursor, &ring.file, 4096);
    cursor.accept(&window, limit, capture)
}

#[test]
fn follows_through_many_laps() {
    let mut ring = Ring::new(FIRST, 1000);
    let mut cursor = Cursor::new(ring.log());
    let (mut capture, mut expected) = (Vec::new(), Vec::new());
    for round in 0..200_u8 {
        // Lengths that make mini-transactions straddle the file's end at every byte.
        let bytes = vec![round; 1 + usize::from(round) * 7 % 100];
        expected.extend(ring.mtr(&[write(3, 4, 50, &bytes)]));
        if round % 3 == 2 {
            let accepted = accept(&mut cursor, &ring, Lsn(ring.lsn), &mut capture);
            assert_eq!(accepted.stop, Stop::Limit);
            cursor.check_lap(Lsn(ring.lsn - accepted.bytes as u64), Lsn(ring.lsn)).unwrap();
        }
    }
    accept(&mut cursor, &ring, Lsn(ring.lsn), &mut capture);
    assert_eq!(cursor.position(), Lsn(ring.lsn));
    assert!(capture == expected);
    assert_eq!(cursor.first(), Lsn(FIRST));
}

#[test]
fn a_window_that_cuts_a_mini_transaction_is_not_its_end() {
    let mut ring = Ring::new(FIRST, 5000);
    let first = ring.mtr(&[write(3, 4, 50, &[1; 50])]);
    let second = ring.mtr(&[write(3, 4, 50, &[2; 50])]);
    let mut cursor = Cursor::new(ring.log());
    let mut capture = Vec::new();
    let whole = window(&cursor, &ring.file, 4096);
    let cut = first.len() + second.len() - 1;
    let accepted = cursor.accept(&whole[..cut], everything(), &mut capture);
    assert_eq!(accepted, Accepted { bytes: first.len(), stop: Stop::WindowEnd });
    let accepted = cursor.accept(&whole[first.len()..], everything(), &mut capture);
    assert_eq!(accepted, Accepted { bytes: second.len(), stop: Stop::LogEnd });
    assert!(capture == [first, second].concat());
}

/// What a crashed server left behind its true end: whole mini-transactions, of this very lap, with good checksums.
#[test]
fn nothing_is_accepted_that_the_server_did_not_say_to_have_written() {
    let mut ring = Ring::new(FIRST, 5000);
    ring.mtr(&[write(3, 4, 50, &[1; 50])]);
    let written = ring.lsn;
    ring.mtr(&[write(3, 4, 50, &[2; 50])]);
    ring.mtr(&[write(3, 4, 50, &[3; 50])]);
    let mut cursor = Cursor::new(ring.log());
    let mut capture = Vec::new();
    assert_eq!(accept(&mut cursor, &ring, Lsn(written), &mut capture).stop, Stop::Limit);
    assert_eq!(cursor.position(), Lsn(written));
    // A limit within a mini-transaction does not take that one.
    assert_eq!(accept(&mut cursor, &ring, Lsn(written + 10), &mut capture).bytes, 0);
    // The server goes on from there, with other redo of the same length.
    ring.lsn = written;
    let right = ring.mtr(&[write(3, 4, 50, &[9; 50])]);
    accept(&mut cursor, &ring, Lsn(ring.lsn), &mut capture);
    assert!(capture.ends_with(&right));
}

#[test]
fn torn_redo_is_left_for_the_next_read() {
    let mut ring = Ring::new(FIRST, 5000);
    let mtr = ring.mtr(&[write(3, 4, 50, &[1; 50])]);
    let whole = ring.file.clone();
    for (damage, stop) in
        [(10, Stop::BadChecksum), (mtr.len() - 1, Stop::BadChecksum), (mtr.len() - 5, Stop::WrongLap)]
    {
        let mut cursor = Cursor::new(ring.log());
        let mut capture = Vec::new();
        ring.file[RING_START + damage] ^= 1;
        assert_eq!(accept(&mut cursor, &ring, everything(), &mut capture), Accepted { bytes: 0, stop });
        ring.file.clone_from(&whole);
        assert_eq!(accept(&mut cursor, &ring, everything(), &mut capture).bytes, mtr.len());
    }
}

#[test]
fn the_redo_of_the_lap_before_is_the_end_of_the_log() {
    let mut ring = Ring::new(FIRST, 1000);
    let mtr = ring.mtr(&[write(3, 4, 50, &[1; 80])]);
    while ring.lsn < FIRST + 1000 + mtr.len() as u64 {
        ring.mtr(&[write(3, 4, 50, &[1; 80])]);
    }
    let mut cursor = Cursor::new(ring.log());
    let accepted = accept(&mut cursor, &ring, everything(), &mut Vec::new());
    assert_eq!((accepted.bytes, cursor.position()), (0, Lsn(FIRST)));
    let lost = cursor.check_lap(Lsn(FIRST), Lsn(ring.lsn)).unwrap_err();
    assert!(
        matches!(lost, RedoError::Overrun { position: Lsn(FIRST), capacity: 1000, .. }),
        "the log was lapped: {lost}"
    );
}

#[test]
fn a_checkpoint_record_of_the_future_is_not_of_this_time() {
    let mut ring = Ring::new(FIRST, 5000);
    let modify = file_record(0xB, 5, b"./d/t.ibd");
    ring.mtr(&[modify.clone(), checkpoint(FIRST)]);
    let good = ring.lsn;
    ring.mtr(&[modify, checkpoint(good + 1)]);
    let mut cursor = Cursor::new(ring.log());
    let accepted = accept(&mut cursor, &ring, everything(), &mut Vec::new());
    assert_eq!((accepted.stop, cursor.position()), (Stop::ForeignCheckpoint, Lsn(good)));
}

/// The server writes old and new file from the same moment on, and renames at a checkpoint.
#[test]
fn a_resized_log_is_continued_in_the_new_file() {
    for drained in [false, true] {
        let mut old = Ring::new(FIRST, 3000);
        let mut expected = old.mtr(&[write(3, 4, 50, &[1; 90])]);
        // The new file starts at a write unit's begin, which can lie within a mini-transaction.
        let mut new = Ring::new(old.lsn - 7, 8000);
        new.lsn = old.lsn;
        for value in 2..9 {
            let records = [write(3, 4, 50, &[value; 90])];
            expected.extend(old.mtr(&records));
            new.mtr(&records);
        }
        // From here on the old file gets nothing, and what lies there is of another time.
        let rename = old.lsn;
        old.mtr(&[write(3, 4, 50, &[77; 90])]);
        expected.extend(new.mtr(&[write(3, 4, 50, &[10; 90])]));
        let mut cursor = Cursor::new(old.log());
        let mut capture = Vec::new();
        if drained {
            accept(&mut cursor, &old, Lsn(rename), &mut capture);
            assert_eq!(cursor.position(), Lsn(rename));
        }
        let switched = cursor.supersede(&new.log()).unwrap();
        assert_eq!(switched, drained);
        if !switched {
            let accepted = accept(&mut cursor, &old, Lsn(new.lsn), &mut capture);
            assert_eq!(accepted.stop, Stop::LogEnd, "no more than needed is taken from the old file");
            assert!(cursor.position().0 >= new.first && cursor.position().0 < rename);
            assert!(cursor.supersede(&new.log()).unwrap());
        }
        accept(&mut cursor, &new, Lsn(new.lsn), &mut capture);
        assert!(capture == expected, "drained: {drained}");
        assert_eq!((cursor.first(), cursor.log().checkpoint.lsn), (Lsn(FIRST), Lsn(FIRST)));
    }
}

#[test]
fn headers_say_what_the_log_is() {
    let ring = Ring::new(FIRST, 5000);
    let log = ring.log();
    assert_eq!(
        (log.format, log.creator.as_str(), log.capacity),
        (RedoFormat::MariadbRing, "MariaDB 10.11.6", 5000)
    );
    assert_eq!((log.first(), log.checkpoint.lsn), (Lsn(FIRST), Lsn(FIRST)));
    assert_eq!(log.offset(Lsn(FIRST + 5000 + 7)), RING_START as u64 + 7);

    let refused = |head: &[u8], size: u64| match LogFile::parse(head, size).unwrap_err() {
        RedoError::Unsupported(log) => log,
        other => panic!("{other}"),
    };
    let with = |at: usize, bytes: &[u8]| {
        let mut file = ring.file.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let sum = crc32c::crc32c(&file[..508]);
        file[508..512].copy_from_slice(&sum.to_be_bytes());
        file
    };
    let size = ring.file.len() as u64;
    assert_eq!(refused(&[], 0), UnsupportedLog::Empty);
    assert_eq!(refused(&with(48, &[0, 0, 0, 1]), size), UnsupportedLog::Encrypted);
    assert_eq!(refused(&with(0, &[0xF0, 0x9F, 0x97, 0x9D]), size), UnsupportedLog::Encrypted);
    assert_eq!(refused(&with(0, &[0xD0, 0x48, 0x59, 0x53]), size), UnsupportedLog::Encrypted);
    assert_eq!(refused(&with(0, &[0x80, 0, 0, 0x68]), size), UnsupportedLog::Encrypted);
    assert_eq!(refused(&with(0, &[0, 0, 0, 0x68]), size), UnsupportedLog::TooOld { format: 104 });
    assert_eq!(refused(&with(0, &[0, 0, 1, 0]), size), UnsupportedLog::Unknown { format: 256 });

    let mut torn = ring.file.clone();
    torn[100] = 1;
    assert!(matches!(LogFile::parse(&torn, size), Err(RedoError::Header { .. })));
    let mut none = ring.file.clone();
    none[4096 + 20] = 1;
    assert!(matches!(LogFile::parse(&none, size), Err(RedoError::NoCheckpoint)));
    assert!(LogFile::parse(&ring.file, 12288).is_err(), "no room");
}

#[test]
fn the_newest_checkpoint_wins_and_a_torn_one_does_not_count() {
    let mut ring = Ring::new(FIRST, 5000);
    ring.checkpoint_block(0, FIRST + 100, FIRST + 200);
    ring.checkpoint_block(1, FIRST + 50, FIRST + 60);
    assert_eq!(ring.log().checkpoint.lsn, Lsn(FIRST + 100));
    assert_eq!(ring.log().checkpoint.end, Lsn(FIRST + 200));
    let log = ring.log();
    ring.file[4096] ^= 1;
    assert_eq!(ring.log().checkpoint.lsn, Lsn(FIRST + 50));
    assert_eq!(log.newest_checkpoint(&ring.file[..RING_START]).unwrap().lsn, Lsn(FIRST + 50));
    ring.checkpoint_block(1, FIRST - 1, FIRST + 60);
    assert!(log.newest_checkpoint(&ring.file[..RING_START]).is_err(), "before the log's begin");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_bytes_make_the_cursor_fall_over(noise in proptest::collection::vec(any::<u8>(), 0..600), cut in 0_usize..600) {
        let mut ring = Ring::new(FIRST, 700);
        ring.file[RING_START..][..noise.len()].copy_from_slice(&noise);
        let mut cursor = Cursor::new(ring.log());
        let mut capture = Vec::new();
        let window = &window(&cursor, &ring.file, 4096);
        let accepted = cursor.accept(&window[..cut.min(window.len())], everything(), &mut capture);
        prop_assert_eq!(accepted.bytes, capture.len());
        prop_assert!(accepted.bytes <= cut);
    }

    #[test]
    fn no_header_makes_the_parser_fall_over(head in proptest::collection::vec(any::<u8>(), 0..700), size: u64) {
        let _ = LogFile::parse(&head, size);
        let mut known = head;
        for magic in [b"Phys", b"PHYS"] {
            if known.len() >= 512 {
                known[..4].copy_from_slice(magic);
                let sum = crc32c::crc32c(&known[..508]);
                known[508..512].copy_from_slice(&sum.to_be_bytes());
            }
            let _ = LogFile::parse(&known, size);
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_capture(
        lengths in proptest::collection::vec(1_usize..120, 1..40),
        step in 150_usize..400,
    ) {
        let mut ring = Ring::new(FIRST, 600);
        let mut cursor = Cursor::new(ring.log());
        let (mut capture, mut expected) = (Vec::new(), Vec::new());
        for length in lengths {
            expected.extend(ring.mtr(&[write(1, 2, 60, &vec![7; length])]));
            let read = window(&cursor, &ring.file, step);
            cursor.accept(&read, Lsn(ring.lsn), &mut capture);
        }
        while cursor.position() < Lsn(ring.lsn) {
            let read = window(&cursor, &ring.file, step);
            prop_assert!(cursor.accept(&read, Lsn(ring.lsn), &mut capture).bytes > 0);
        }
        prop_assert!(capture == expected);
    }
}
