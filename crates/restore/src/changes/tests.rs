use std::collections::BTreeMap;

use proptest::prelude::*;
use reseed_redo::{LogVisitor, Lsn, MtrSpan, PageChange, PageId, SpaceEvent};

use super::*;

type Plain = (u64, ChangeKind, Vec<u8>);

#[derive(Debug, Clone)]
enum Step {
    Change { space: u32, page: u32, kind: ChangeKind, length: usize },
    Delete { space: u32 },
    Trim { space: u32, first_gone: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let kind =
        prop_oneof![8 => Just(ChangeKind::Delta), 1 => Just(ChangeKind::Init), 1 => Just(ChangeKind::Free)];
    prop_oneof![
        60 => (0..3_u32, 0..40_u32, kind, prop_oneof![9 => 0..200_usize, 1 => 0..9000_usize])
            .prop_map(|(space, page, kind, length)| Step::Change { space, page, kind, length }),
        1 => (1..3_u32).prop_map(|space| Step::Delete { space }),
        1 => (0..2_u32, 1..40_u32).prop_map(|(space, first_gone)| Step::Trim { space, first_gone }),
    ]
}

/// What must come out, by the rules, without any grouping.
fn model(steps: &[Step]) -> BTreeMap<(u32, u32), Vec<Plain>> {
    let mut pages: BTreeMap<(u32, u32), Vec<Plain>> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        match *step {
            Step::Change { space, page, kind, length } => {
                let changes = pages.entry((space, page)).or_default();
                if kind != ChangeKind::Delta {
                    changes.clear();
                }
                changes.push((at as u64 + 1, kind, vec![at as u8; length]));
            }
            Step::Delete { space } => pages.retain(|(of, _), _| *of != space),
            // Undo tablespaces start anew; the system tablespace loses its end.
            Step::Trim { space, first_gone } => {
                pages.retain(|(of, page), _| *of != space || (space == 0 && *page < first_gone));
            }
        }
    }
    pages
}

fn collect(steps: &[Step], budget: &Budget) -> Changes {
    let mut collector = Collector::new(budget, Lsn(1));
    for (at, step) in steps.iter().enumerate() {
        let (start, end) = (Lsn(at as u64 + 1), Lsn(at as u64 + 2));
        let span = MtrSpan(start..end);
        match *step {
            Step::Change { space, page, kind, length } => {
                let bytes = vec![at as u8; length];
                collector.page(PageChange { id: PageId::new(space, page), start, end, kind, bytes: &bytes });
            }
            Step::Delete { space } => {
                collector.space(&span, SpaceEvent::Delete { space: SpaceId(space), path: b"./a/b.ibd" });
            }
            Step::Trim { space, first_gone } => {
                let first_gone = PageNo(first_gone);
                collector.space(&span, SpaceEvent::Trim { space: SpaceId(space), first_gone });
            }
        }
    }
    collector.finish().unwrap().0
}

/// Everything, asked for in ranges of `width` pages.
fn all(changes: &Changes, width: u64) -> BTreeMap<(u32, u32), Vec<Plain>> {
    let mut found = BTreeMap::new();
    let mut gathered = Gathered::new();
    for space in 0..3 {
        let mut from = 0;
        while from < 64 {
            let next = changes.gather(SpaceId(space), from..from + width, &mut gathered).unwrap();
            assert!(next > from, "it must go on");
            for (page, of_page) in gathered.pages() {
                assert!((from..next).contains(&u64::from(page.0)));
                let of_page = of_page.map(|change| (change.start.0, change.kind, change.bytes.to_vec()));
                let before = found.insert((space, page.0), of_page.collect::<Vec<_>>());
                assert!(before.is_none(), "a page came twice");
            }
            from = next;
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn grouped_in_memory_or_spilled_the_changes_are_those_of_the_log(
        steps in proptest::collection::vec(step(), 0..1500),
        width in 1..70_u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let expected = model(&steps);
        let memory = collect(&steps, &Budget { memory: 1 << 30, spill: dir.path().join("unused") });
        prop_assert_eq!(memory.spilled, 0);
        prop_assert_eq!(&all(&memory, width), &expected);
        // The smallest segments there are, and room for none of them.
        let spilled = collect(&steps, &Budget { memory: 0, spill: dir.path().join("spill") });
        prop_assert_eq!(spilled.spilled > 0, spilled.records > 0);
        prop_assert_eq!(&all(&spilled, width), &expected);
        // Some in memory, the rest spilled.
        let mixed = collect(&steps, &Budget { memory: 300 << 10, spill: dir.path().join("mixed") });
        prop_assert_eq!(&all(&mixed, width), &expected);
    }
}

#[test]
fn what_starts_before_the_checkpoint_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut collector =
        Collector::new(&Budget { memory: 1 << 20, spill: dir.path().join("spill") }, Lsn(100));
    for (start, end) in [(90, 110), (100, 120)] {
        let (start, end) = (Lsn(start), Lsn(end));
        let id = PageId::new(1, 1);
        collector.page(PageChange { id, start, end, kind: ChangeKind::Delta, bytes: b"x" });
    }
    let (changes, _) = collector.finish().unwrap();
    assert_eq!(changes.records, 1);
    assert_eq!(all(&changes, 64)[&(1, 1)], [(100, ChangeKind::Delta, b"x".to_vec())]);
}

#[test]
fn a_spill_file_that_cannot_be_made_is_an_error() {
    let budget = Budget { memory: 0, spill: "/nowhere/at/all".into() };
    let mut collector = Collector::new(&budget, Lsn(0));
    let bytes = vec![1; 100 << 10];
    let change = PageChange {
        id: PageId::new(1, 1),
        start: Lsn(1),
        end: Lsn(2),
        kind: ChangeKind::Delta,
        bytes: &bytes,
    };
    collector.page(change);
    assert!(collector.finish().is_err());
}
