//! Which sets are kept. Rules and history in, verdicts out; nothing is touched here.
//!
//! A kept set keeps all that it builds on. The newest good set is always kept, pinned ones too, and where there is no
//! rule everything is. Sets that are known to be damaged count for no rule; they go once nothing as old is kept.
//! Times are UTC, those at which the sets were begun. Which set is newer is told by the order in which they were taken,
//! never by those times: a clock that was ahead and went back must not make new sets look old.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::id::{SetId, SetKind};

/// How much is to be kept. A set stays if any rule keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// The newest so many full sets, with everything that builds on them.
    pub fulls: u32,
    /// Everything begun within this time before now.
    pub within: Option<Duration>,
    /// The newest set of each of the newest so many hours that have one; and so on.
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
}

/// A set as far as the rules care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: SetId,
    pub kind: SetKind,
    pub parent: Option<SetId>,
    pub start: Timestamp,
    /// It can be restored as far as is known.
    pub good: bool,
    pub pinned: bool,
}

/// Why a set is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    NoRules,
    Pinned,
    NewestGood,
    /// Number of its full set among the kept ones, counted from 1.
    Full(u32),
    Within,
    Hourly(u32),
    Daily(u32),
    Weekly(u32),
    Monthly(u32),
    Yearly(u32),
    /// That kept set builds on it.
    Needed(SetId),
    /// No good any more, but newer than something that is kept: for a person to look at.
    Damaged,
}

/// What becomes of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub id: SetId,
    /// Empty: it goes.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoRules => f.write_str("no rule is set"),
            Reason::Pinned => f.write_str("pinned"),
            Reason::NewestGood => f.write_str("newest good set"),
            Reason::Full(n) => write!(f, "full {n}"),
            Reason::Within => f.write_str("within the period"),
            Reason::Hourly(n) => write!(f, "hourly {n}"),
            Reason::Daily(n) => write!(f, "daily {n}"),
            Reason::Weekly(n) => write!(f, "weekly {n}"),
            Reason::Monthly(n) => write!(f, "monthly {n}"),
            Reason::Yearly(n) => write!(f, "yearly {n}"),
            Reason::Needed(id) => write!(f, "{id} builds on it"),
            Reason::Damaged => f.write_str("damaged, newer than what is kept"),
        }
    }
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        *self == Rules::default()
    }

    /// A verdict for each set, in the order given, which is the order in which they were taken.
    pub fn judge(&self, sets: &[Candidate], now: Timestamp) -> Vec<Verdict> {
        let mut kept = Kept { sets, reasons: vec![Vec::new(); sets.len()] };
        if self.is_empty() {
            kept.add_where(|_| true, |_| Reason::NoRules);
            return kept.verdicts();
        }
        kept.add_where(|set| set.pinned, |_| Reason::Pinned);
        if let Some(newest) = sets.iter().rposition(|set| set.good) {
            kept.add(newest, Reason::NewestGood);
        }
        if let Some(within) = self.within {
            let since = now.checked_sub(within).unwrap_or(Timestamp::MIN);
            kept.add_where(|set| set.good && set.start >= since, |_| Reason::Within);
        }
        kept.fulls(self.fulls);
        kept.buckets(self.hourly, hour, Reason::Hourly);
        kept.buckets(self.daily, day, Reason::Daily);
        kept.buckets(self.weekly, week, Reason::Weekly);
        kept.buckets(self.monthly, month, Reason::Monthly);
        kept.buckets(self.yearly, year, Reason::Yearly);
        if let Some(oldest) = kept.first() {
            for (i, _) in sets.iter().enumerate().filter(|(i, set)| !set.good && *i > oldest) {
                kept.add(i, Reason::Damaged);
            }
        }
        kept.close();
        kept.verdicts()
    }
}

/// What names the hour, day, ... of a time.
type Bucket = (i32, i32, i32);

fn hour(time: DateTime) -> Bucket {
    (i32::from(time.year()), i32::from(time.day_of_year()), i32::from(time.hour()))
}

fn day(time: DateTime) -> Bucket {
    (i32::from(time.year()), i32::from(time.day_of_year()), 0)
}

fn week(time: DateTime) -> Bucket {
    let week = time.date().iso_week_date();
    (i32::from(week.year()), i32::from(week.week()), 0)
}

fn month(time: DateTime) -> Bucket {
    (i32::from(time.year()), i32::from(time.month()), 0)
}

fn year(time: DateTime) -> Bucket {
    (i32::from(time.year()), 0, 0)
}

struct Kept<'a> {
    sets: &'a [Candidate],
    reasons: Vec<Vec<Reason>>,
}

impl Kept<'_> {
    fn add(&mut self, i: usize, reason: Reason) {
        if let Some(reasons) = self.reasons.get_mut(i) {
            reasons.push(reason);
        }
    }

    fn add_where(&mut self, which: impl Fn(&Candidate) -> bool, reason: impl Fn(&Candidate) -> Reason) {
        for (set, reasons) in self.sets.iter().zip(&mut self.reasons) {
            if which(set) {
                reasons.push(reason(set));
            }
        }
    }

    /// The oldest that is kept so far.
    fn first(&self) -> Option<usize> {
        self.reasons.iter().position(|reasons| !reasons.is_empty())
    }

    fn fulls(&mut self, count: u32) {
        let fulls = self.sets.iter().rev().filter(|set| set.good && set.kind == SetKind::Full);
        let numbers: HashMap<&SetId, u32> = fulls.take(count as usize).map(|set| &set.id).zip(1..).collect();
        let mut belongs: HashMap<&SetId, u32> = HashMap::new();
        for (i, set) in self.sets.iter().enumerate() {
            let own = numbers.get(&set.id).copied();
            let number = own.or_else(|| belongs.get(set.parent.as_ref()?).copied());
            if let Some(number) = number {
                belongs.insert(&set.id, number);
                if set.good {
                    self.add(i, Reason::Full(number));
                }
            }
        }
    }

    fn buckets(&mut self, count: u32, bucket: fn(DateTime) -> Bucket, reason: fn(u32) -> Reason) {
        let good: Vec<(usize, Timestamp)> =
            self.sets.iter().enumerate().filter(|(_, set)| set.good).map(|(i, set)| (i, set.start)).collect();
        let mut seen = HashSet::new();
        for (i, start) in good.into_iter().rev() {
            let this = bucket(TimeZone::UTC.to_datetime(start));
            if seen.contains(&this) {
                continue;
            }
            if seen.len() == count as usize {
                return;
            }
            seen.insert(this);
            self.add(i, reason(seen.len() as u32));
        }
    }

    /// Adds what kept sets build on.
    fn close(&mut self) {
        let index: HashMap<&SetId, usize> = self.sets.iter().map(|set| &set.id).zip(0..).collect();
        let starts: Vec<usize> = (0..self.sets.len()).rev().collect();
        for start in starts {
            if self.reasons.get(start).is_none_or(Vec::is_empty) {
                continue;
            }
            let mut seen = HashSet::from([start]);
            let mut at = start;
            while let Some(parent) = self.sets.get(at).and_then(|set| set.parent.as_ref()) {
                let Some(&next) = index.get(parent) else { break };
                if !seen.insert(next) {
                    break;
                }
                if self.reasons.get(next).is_some_and(Vec::is_empty)
                    && let Some(set) = self.sets.get(start)
                {
                    self.add(next, Reason::Needed(set.id.clone()));
                }
                at = next;
            }
        }
    }

    fn verdicts(self) -> Vec<Verdict> {
        let sets = self.sets.iter().zip(self.reasons);
        sets.map(|(set, reasons)| Verdict { id: set.id.clone(), reasons }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(hours: i64) -> Timestamp {
        let base: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        base + Duration::from_secs(hours as u64 * 3600)
    }

    /// A full every `every` hours, incrementals between, hourly.
    fn history(hours: i64, every: i64) -> Vec<Candidate> {
        let mut sets: Vec<Candidate> = Vec::new();
        for hour in 0..hours {
            let kind = if hour % every == 0 { SetKind::Full } else { SetKind::Incremental };
            let parent = (kind == SetKind::Incremental).then(|| sets[hour as usize - 1].id.clone());
            let id = SetId::new(at(hour), kind, 1);
            sets.push(Candidate { id, kind, parent, start: at(hour), good: true, pinned: false });
        }
        sets
    }

    fn kept(rules: Rules, sets: &[Candidate], now: i64) -> Vec<usize> {
        let verdicts = rules.judge(sets, at(now));
        verdicts.iter().enumerate().filter(|(_, verdict)| verdict.is_kept()).map(|(i, _)| i).collect()
    }

    #[test]
    fn no_rule_keeps_everything() {
        assert_eq!(kept(Rules::default(), &history(30, 24), 30).len(), 30);
    }

    #[test]
    fn fulls_keep_what_builds_on_them() {
        let sets = history(5 * 24 + 3, 24);
        let rules = Rules { fulls: 2, ..Rules::default() };
        assert_eq!(kept(rules, &sets, 123), (96..123).collect::<Vec<_>>());
        let verdicts = rules.judge(&sets, at(123));
        assert_eq!(verdicts[96].reasons, [Reason::Full(2)]);
        assert_eq!(verdicts[122].reasons, [Reason::NewestGood, Reason::Full(1)]);
    }

    #[test]
    fn a_kept_incremental_keeps_its_chain_and_no_more() {
        let sets = history(48, 24);
        let rules = Rules { daily: 2, ..Rules::default() };
        // The newest of each day is its last incremental, which needs the whole day.
        assert_eq!(kept(rules, &sets, 48).len(), 48);
        let rules = Rules { within: Some(Duration::from_secs(3600 * 3)), ..Rules::default() };
        assert_eq!(kept(rules, &sets, 48), (24..48).collect::<Vec<_>>());
        let sets = history(30, 24);
        let rules = Rules { hourly: 1, ..Rules::default() };
        assert_eq!(kept(rules, &sets, 30), (24..30).collect::<Vec<_>>());
        assert_eq!(rules.judge(&sets, at(30))[24].reasons, [Reason::Needed(sets[29].id.clone())]);
    }

    #[test]
    fn thirty_days_of_daily_fulls() {
        let sets: Vec<Candidate> = history(90 * 24, 1).into_iter().step_by(24).collect();
        let rules = Rules { daily: 7, weekly: 4, monthly: 2, yearly: 1, ..Rules::default() };
        let kept = kept(rules, &sets, 90 * 24);
        // 2026-03-31 is a Tuesday: days 83..=89; Sundays 87, 80, 73 and the newest, 89; months 89 and 58; year 89.
        assert_eq!(kept, [58, 73, 80, 83, 84, 85, 86, 87, 88, 89]);
    }

    #[test]
    fn damaged_sets_count_for_nothing() {
        let mut sets = history(4, 1);
        sets[3].good = false;
        sets[1].good = false;
        let rules = Rules { fulls: 1, ..Rules::default() };
        assert_eq!(kept(rules, &sets, 4), [2, 3], "the newest good one stays, the damaged one behind it too");
        let verdicts = rules.judge(&sets, at(4));
        assert_eq!(verdicts[3].reasons, [Reason::Damaged]);
        assert_eq!(verdicts[2].reasons, [Reason::NewestGood, Reason::Full(1)]);
    }

    #[test]
    fn a_clock_that_went_back_does_not_cost_the_new_sets() {
        // A day of sets by a clock that is a year ahead, and then a day by the right one.
        let ahead = history(24, 24).into_iter().map(|set| Candidate { start: set.start + 365 * DAY, ..set });
        let right = history(24, 24).into_iter().map(|set| {
            let id = SetId::new(set.start, set.kind, 2);
            let parent = set.parent.map(|parent| format!("{parent}-2").parse().unwrap());
            Candidate { id, parent, ..set }
        });
        let sets: Vec<Candidate> = ahead.chain(right).collect();
        let rules = Rules { hourly: 6, ..Rules::default() };
        assert_eq!(
            kept(rules, &sets, 24),
            (24..48).collect::<Vec<_>>(),
            "the newest six, and what they build on"
        );
        let rules = Rules { daily: 2, ..Rules::default() };
        assert_eq!(kept(rules, &sets, 24).len(), 48, "the day before is the one that the clock showed then");
    }

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn any_history() -> impl Strategy<Value = Vec<Candidate>> {
        let set = (0..400_i64, any::<bool>(), 0..10_u8, 0..10_u8, any::<prop::sample::Index>());
        proptest::collection::vec(set, 0..60).prop_map(|sets| {
            let mut all: Vec<Candidate> = Vec::new();
            for (nth, (hour, full, bad, pinned, on)) in sets.into_iter().enumerate() {
                let on = (!full && !all.is_empty()).then(|| all[on.index(all.len())].clone());
                let kind = if on.is_some() { SetKind::Incremental } else { SetKind::Full };
                let good = bad > 0 && on.as_ref().is_none_or(|on| on.good);
                let parent = on.map(|on| on.id);
                let id = SetId::new(at(hour), kind, nth as u32 + 2);
                all.push(Candidate { id, kind, parent, start: at(hour), good, pinned: pinned == 0 });
            }
            all
        })
    }

    prop_compose! {
        fn any_rules()(
            counts in proptest::array::uniform6(0..4_u32), within in proptest::option::of(0..200_u64),
        ) -> Rules {
            let [fulls, hourly, daily, weekly, monthly, yearly] = counts;
            let within = within.map(|hours| Duration::from_secs(hours * 3600));
            Rules { fulls, within, hourly, daily, weekly, monthly, yearly }
        }
    }

    proptest! {
        #[test]
        fn no_kept_set_lacks_an_ancestor(sets in any_history(), rules in any_rules(), now in 0..500_i64) {
            let verdicts = rules.judge(&sets, at(now));
            prop_assert_eq!(verdicts.len(), sets.len());
            let kept: HashSet<&SetId> =
                verdicts.iter().filter(|verdict| verdict.is_kept()).map(|verdict| &verdict.id).collect();
            for set in sets.iter().filter(|set| kept.contains(&set.id)) {
                if let Some(parent) = &set.parent {
                    prop_assert!(kept.contains(parent), "{} is kept without {}", set.id, parent);
                }
            }
            if let Some(newest) = sets.iter().rev().find(|set| set.good) {
                prop_assert!(kept.contains(&newest.id), "the newest good set is always kept");
            }
            prop_assert!(sets.iter().filter(|set| set.pinned).all(|set| kept.contains(&set.id)));
        }

        #[test]
        fn more_rules_never_keep_less(sets in any_history(), rules in any_rules(), now in 0..500_i64) {
            prop_assume!(!rules.is_empty());
            let more = Rules { daily: rules.daily + 1, fulls: rules.fulls + 1, ..rules };
            let good = |i: &usize| sets[*i].good;
            let less: Vec<usize> = kept(rules, &sets, now).into_iter().filter(good).collect();
            let more = kept(more, &sets, now);
            prop_assert!(less.iter().all(|i| more.contains(i)));
        }
    }
}
