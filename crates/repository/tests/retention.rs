//! Thirty days of hourly runs under a moved clock, each followed by an expiry: what is there afterwards is exactly what
//! the rules say of everything that was ever taken. The rules are said a second time here, by other means.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use common::{lock, name, noise, path};
use jiff::{Timestamp, tz::TimeZone};
use proptest::prelude::*;
use reseed_io::{Cancel, Silent};
use reseed_repository::*;

mod common;

const DAYS: u64 = 30;
const HOURS: u64 = DAYS * 24;

/// Hours after the clock's beginning, which is in the last days of a year so that all kinds of borders are passed.
fn at(hours: u64, minute: u64) -> Timestamp {
    let base: Timestamp = "2025-12-20T00:00:00Z".parse().unwrap();
    base + Duration::from_secs(hours * 3600 + minute * 60)
}

/// What the documentation says the rules keep, read word by word. All sets are good and none is pinned.
fn said(rules: &Rules, taken: &[Candidate], now: Timestamp) -> BTreeSet<SetId> {
    let all = || taken.iter().map(|set| set.id.clone()).collect();
    if rules.is_empty() {
        return all();
    }
    let mut kept: BTreeSet<SetId> = taken.last().map(|set| set.id.clone()).into_iter().collect();
    if let Some(within) = rules.within {
        kept.extend(taken.iter().filter(|set| set.start >= now - within).map(|set| set.id.clone()));
    }
    for (count, names) in [
        (rules.hourly, "%Y-%m-%d %H"),
        (rules.daily, "%Y-%m-%d"),
        (rules.weekly, "%G week %V"),
        (rules.monthly, "%Y-%m"),
        (rules.yearly, "%Y"),
    ] {
        // The last set of each stretch of time; then the last so many stretches. A clock that went back may show a
        // stretch a second time: it counts from then on.
        let mut last_of: Vec<(String, SetId)> = Vec::new();
        for set in taken {
            let stretch = set.start.to_zoned(TimeZone::UTC).strftime(names).to_string();
            last_of.retain(|(known, _)| *known != stretch);
            last_of.push((stretch, set.id.clone()));
        }
        kept.extend(last_of.into_iter().rev().take(count as usize).map(|(_, id)| id));
    }
    let parents: HashMap<&SetId, Option<&SetId>> =
        taken.iter().map(|set| (&set.id, set.parent.as_ref())).collect();
    let root = |id: &SetId| {
        let mut id = id.clone();
        while let Some(Some(parent)) = parents.get(&id) {
            id = (*parent).clone();
        }
        id
    };
    let fulls = taken.iter().rev().filter(|set| set.kind == SetKind::Full).take(rules.fulls as usize);
    let fulls: BTreeSet<SetId> = fulls.map(|set| set.id.clone()).collect();
    kept.extend(taken.iter().map(|set| &set.id).filter(|id| fulls.contains(&root(id))).cloned());
    for id in kept.clone() {
        let mut id = &id;
        while let Some(Some(parent)) = parents.get(id) {
            kept.insert((*parent).clone());
            id = parent;
        }
    }
    kept
}

/// What happens in an hour.
#[derive(Debug, Clone, Copy)]
struct Hour {
    /// No run: the host was down.
    missed: bool,
    full: bool,
    minute: u64,
    /// So many hours go by a second time: the clock was ahead and was set right.
    back: u64,
}

fn any_hours() -> impl Strategy<Value = Vec<Hour>> {
    let back = prop_oneof![99 => Just(0), 1 => 1..200_u64];
    let hour = (0..10_u8, 0..30_u8, 0..60_u64, back).prop_map(|(missed, full, minute, back)| Hour {
        missed: missed == 0,
        full: full == 0,
        minute,
        back,
    });
    proptest::collection::vec(hour, HOURS as usize)
}

prop_compose! {
    fn any_rules()(
        fulls in 0..5_u32, within in proptest::option::of(0..300_u64), hourly in 0..50_u32, daily in 0..20_u32,
        weekly in 0..6_u32, monthly in 0..3_u32, yearly in 0..3_u32,
    ) -> Rules {
        let within = within.map(|hours| Duration::from_secs(hours * 3600));
        Rules { fulls, within, hourly, daily, weekly, monthly, yearly }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn thirty_days_keep_exactly_what_the_rules_say(hours in any_hours(), rules in any_rules()) {
        let mut taken: Vec<Candidate> = Vec::new();
        let mut there: Vec<Candidate> = Vec::new();
        let mut rules = rules;
        if hours.iter().any(|hour| hour.back > 0) {
            // What went when its time was over does not come back with the time.
            rules.within = None;
        }
        let mut clock = HOURS;
        for (hour, run) in (0..).zip(hours) {
            clock = (clock + 1).saturating_sub(run.back);
            let now = at(clock, run.minute);
            if !run.missed {
                let parent = if run.full { None } else { there.last().map(|set| set.id.clone()) };
                let kind = if parent.is_some() { SetKind::Incremental } else { SetKind::Full };
                let id = SetId::new(now, kind, hour as u32 + 2);
                let set = Candidate { id, kind, parent, start: now, good: true, pinned: false };
                taken.push(set.clone());
                there.push(set);
            }
            let verdicts = rules.judge(&there, now);
            let kept: BTreeSet<SetId> =
                verdicts.into_iter().filter(Verdict::is_kept).map(|verdict| verdict.id).collect();
            there.retain(|set| kept.contains(&set.id));
            let orphan = there.iter().find(|set| set.parent.as_ref().is_some_and(|parent| !kept.contains(parent)));
            prop_assert!(orphan.is_none(), "{orphan:?} lacks its parent");
            if hour % 120 == 119 {
                prop_assert_eq!(&kept, &said(&rules, &taken, now), "on day {}", hour / 24);
            }
        }
    }
}

/// A set of a few bytes, on `parent` where one is given.
fn take(repository: &Repository, parent: Option<&SetReader>, start: Timestamp) -> Manifest {
    let new = NewSet { parent: parent.map(SetReader::as_parent), read_back: false, ..NewSet::full(start) };
    let writer = repository.begin(&lock(repository), new, &Silent, &Cancel::new()).unwrap();
    let mut pack = writer.pack().unwrap();
    let mut entry = FileEntry::new(path("ibdata1"), FileKind::SystemTablespace);
    entry.size = 16384;
    entry.page_size = Some(16384);
    let copy = writer.copy(&entry.path);
    match parent {
        None => pack.append(&copy, 0, &noise(3, 16384), &mut entry.runs).unwrap(),
        Some(_) => {
            entry.parent = Some(path("ibdata1"));
            let page = [reseed_terms::PageNo(0)];
            entry.runs.push(pack.append_pages(&copy, 16384, &page, &noise(4, 16384)).unwrap());
        }
    }
    pack.finish().unwrap();
    writer.redo().unwrap().finish().unwrap();
    (Box::new(writer) as Box<dyn Sink>).finish(common::facts(0), vec![entry]).unwrap().manifest
}

#[test]
fn thirty_days_in_a_real_repository() {
    // In memory where that is to be had: a disk that makes each of some thousand files durable takes its time.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let repository = Repository::create(dir.path().join("repo")).unwrap();
    let rules = Rules { hourly: 12, daily: 7, weekly: 3, monthly: 2, fulls: 2, ..Rules::default() };
    let cancel = Cancel::new();
    let mut taken: Vec<Candidate> = Vec::new();
    for hour in 0..HOURS {
        let now = at(hour, 5);
        // A full one every six hours, but for a day on which the timer of the full ones was off.
        let full = hour % 6 == 0 && hour / 24 != 11;
        let parent = if full { None } else { Some(repository.resolve(&name(), &Which::Latest).unwrap()) };
        let manifest = take(&repository, parent.as_ref(), now);
        drop(parent);
        taken.push(Candidate {
            id: manifest.id.clone(),
            kind: manifest.kind,
            parent: manifest.parent.map(|parent| parent.id),
            start: manifest.start,
            good: true,
            pinned: false,
        });
        let expiry = repository.expire(&lock(&repository), &rules, now, &cancel).unwrap();
        assert_eq!(expiry.in_use, []);
        if hour % 24 == 23 {
            let listing = repository.sets(&name()).unwrap();
            assert!(listing.damaged.is_empty() && listing.leftovers.is_empty());
            assert!(listing.sets.iter().all(|set| set.chain_complete && set.is_good()));
            let there: BTreeSet<SetId> = listing.sets.iter().map(|set| set.id().clone()).collect();
            assert_eq!(there, said(&rules, &taken, now), "on day {}", hour / 24);
        }
    }
    let newest = repository.resolve(&name(), &Which::Latest).unwrap();
    assert_eq!(repository.chain(&newest).unwrap().sets().len(), 6);
}
