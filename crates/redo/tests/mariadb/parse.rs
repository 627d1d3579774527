use proptest::prelude::*;
use reseed_redo::{Capture, ChangeKind, LogParser, Lsn, PageId, RedoError, RedoFormat};

use crate::server::{
    Ring, Saw, Watcher, checkpoint, drain, everything, file_record, page_record, same_page, write,
};

const FIRST: u64 = 20_000;

fn capture(end: Lsn) -> Capture {
    Capture {
        format: RedoFormat::MariadbRing,
        first: Lsn(FIRST),
        checkpoint: Lsn(FIRST),
        checkpoint_end: Lsn(FIRST),
        end,
        bytes: 0,
        creator: String::new(),
    }
}

fn parse(mtrs: &[Vec<Vec<u8>>]) -> Result<Vec<Saw>, RedoError> {
    let mut ring = Ring::new(FIRST, 1 << 20);
    let mut parser = LogParser::new(&capture(everything()))?;
    for records in mtrs {
        parser.push(&ring.mtr(records))?;
    }
    let mut watcher = Watcher::default();
    while parser.next_mtr(&mut watcher)?.is_some() {}
    Ok(watcher.0)
}

fn page(id: (u32, u32), kind: ChangeKind, records: &[Vec<u8>], span: (u64, u64)) -> Saw {
    let id = PageId::new(id.0, id.1);
    Saw::Page { id, start: span.0, end: span.1, kind, bytes: records.concat() }
}

#[test]
fn records_are_grouped_by_page() {
    let records = vec![
        write(3, 4, 50, &[1]),
        same_page(3, &[9, 2, 2]),
        write(3, 5, 50, &[3]),
        write(3, 4, 60, &[4]),
        page_record(1, 3, 6, &[]),
        same_page(2, &[1]),
        same_page(3, &[30, 7]),
        page_record(0, 3, 7, &[]),
    ];
    let length = records.concat().len() as u64 + 5;
    let span = (FIRST, FIRST + length);
    let saw = parse(std::slice::from_ref(&records)).unwrap();
    let expected = [
        page((3, 4), ChangeKind::Delta, &records[0..2], span),
        page((3, 5), ChangeKind::Delta, &records[2..3], span),
        page((3, 4), ChangeKind::Delta, &records[3..4], span),
        page((3, 6), ChangeKind::Init, &records[4..7], span),
        page((3, 7), ChangeKind::Free, &records[7..8], span),
    ];
    assert_eq!(saw, expected);
}

#[test]
fn a_page_freed_after_it_was_changed_in_one_mini_transaction() {
    let records = vec![write(3, 4, 50, &[1]), page_record(0, 3, 4, &[])];
    let saw = parse(&[records]).unwrap();
    let kinds: Vec<_> =
        saw.iter().map(|saw| matches!(saw, Saw::Page { kind: ChangeKind::Free, .. })).collect();
    assert_eq!(kinds, [false, true], "the free comes last, and voids what was before");
}

#[test]
fn what_happens_to_tablespaces() {
    let saw = parse(&[
        vec![file_record(0x8, 9, b"./d/a.ibd"), write(9, 0, 50, &[1])],
        vec![file_record(0xA, 9, b"./d/a.ibd\0./d/b.ibd")],
        vec![file_record(0x9, 9, b"./d/b.ibd")],
        vec![file_record(0xB, 8, b"/elsewhere/d/c.ibd"), checkpoint(FIRST)],
        // Nothing but filling.
        vec![vec![0xF2, 0, 0]],
        vec![page_record(2, 2, 64, &[10]), page_record(1, 2, 0, &[])],
    ]);
    let texts: Vec<_> = saw
        .unwrap()
        .into_iter()
        .map(|saw| match saw {
            Saw::Event(text) => text,
            Saw::Page { id, kind, .. } => format!("{kind:?} {id}"),
        })
        .collect();
    assert_eq!(
        texts,
        [
            "create 9 ./d/a.ibd",
            "Delta space 9 page 0",
            "rename 9 ./d/a.ibd ./d/b.ibd",
            "delete 9 ./d/b.ibd",
            "modify 8 /elsewhere/d/c.ibd",
            "checkpoint 20000",
            "trim 2 64",
            "Init space 2 page 0",
        ]
    );
}

#[test]
fn remarks_alone_are_no_change() {
    let option = page_record(7, 3, 4, &[0, 1, 2, 3, 4]);
    assert_eq!(parse(&[vec![option.clone()]]).unwrap(), []);
    let saw = parse(&[vec![option, same_page(3, &[50, 1])]]).unwrap();
    assert_eq!(saw.len(), 1);
}

#[test]
fn what_is_refused() {
    let cases: [(&str, Vec<Vec<u8>>); 9] = [
        ("unknown record", vec![page_record(6, 3, 4, &[1])]),
        ("unknown file record", vec![file_record(0xC, 3, b"./d/t.ibd")]),
        ("same page as none", vec![page_record(0, 3, 4, &[]), same_page(3, &[50, 1])]),
        ("a page begun without address", vec![write(3, 4, 50, &[1]), same_page(1, &[1])]),
        ("rename to nothing", vec![file_record(0xA, 3, b"./d/t.ibd")]),
        ("rename twice", vec![file_record(0xA, 3, b"./a\0./b\0./c")]),
        ("no path", vec![file_record(0x8, 3, b"")]),
        ("the system tablespace created", vec![file_record(0x8, 0, b"./d/t.ibd")]),
        ("a short checkpoint", vec![file_record(0xF, 0, &[0, 0, 1])]),
    ];
    for (what, records) in cases {
        let error = parse(&[records]).expect_err(what);
        let known = matches!(
            error,
            RedoError::UnknownRecord { lsn: Lsn(FIRST), .. } | RedoError::Corrupt { lsn: Lsn(FIRST), .. }
        );
        assert!(known, "{what}: {error}");
    }
}

#[test]
fn the_end_is_the_end() {
    let mut ring = Ring::new(FIRST, 5000);
    let one = ring.mtr(&[write(3, 4, 50, &[1])]);
    let middle = ring.lsn;
    let two = ring.mtr(&[write(3, 4, 50, &[2])]);
    let both = [one, two].concat();
    let mut parser = LogParser::new(&capture(Lsn(middle))).unwrap();
    parser.push(&both).unwrap();
    assert_eq!(drain(&mut parser, &mut Watcher::default()), [(FIRST, middle)]);
    assert_eq!(parser.position(), Lsn(middle));
    let mut parser = LogParser::new(&capture(Lsn(middle + 3))).unwrap();
    parser.push(&both).unwrap();
    assert!(parser.next_mtr(&mut Watcher::default()).is_ok());
    assert!(parser.next_mtr(&mut Watcher::default()).is_err(), "the end lies within a mini-transaction");
}

#[test]
fn any_changed_byte_is_found() {
    let mut ring = Ring::new(FIRST, 5000);
    let bytes = ring.mtr(&[write(3, 4, 50, &[1; 20]), same_page(3, &[1, 2, 3])]);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        let mut parser = LogParser::new(&capture(everything())).unwrap();
        parser.push(&damaged).unwrap();
        let seen = parser.next_mtr(&mut Watcher::default());
        assert!(!matches!(seen, Ok(Some(_))), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Bytes with a good frame and anything inside.
    #[test]
    fn no_records_make_the_parser_fall_over(body in proptest::collection::vec(any::<u8>(), 1..200)) {
        let _ = parse(&[vec![body]]);
    }

    #[test]
    fn pieces_of_any_size_read_the_same(
        lengths in proptest::collection::vec(1_usize..300, 1..30),
        cut in 1_usize..500,
    ) {
        let mut ring = Ring::new(FIRST, 1 << 16);
        let bytes: Vec<u8> = lengths.iter().flat_map(|length| ring.mtr(&[write(1, 2, 60, &vec![7; *length])])).collect();
        let mut parser = LogParser::new(&capture(Lsn(ring.lsn))).unwrap();
        let mut spans = Vec::new();
        for piece in bytes.chunks(cut) {
            parser.push(piece).unwrap();
            spans.extend(drain(&mut parser, &mut Watcher::default()));
        }
        prop_assert_eq!(spans.len(), lengths.len());
        prop_assert_eq!(parser.position(), Lsn(ring.lsn));
    }
}
