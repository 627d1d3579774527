//! What chains cost: medians, ratios within each round, and how much longer a chain takes than a full set.

use std::collections::BTreeMap;

use crate::measure::Cost;
use crate::report::{Setting, Tool, median};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Full,
    Incremental,
    /// A full set of the moment of the last incremental one.
    LastFull,
    RestoreLastFull,
    RestoreChain,
}

/// All rounds of all commands.
#[derive(Debug, Default)]
pub struct ChainSeries {
    costs: BTreeMap<(Step, Tool), Vec<Sample>>,
}

#[derive(Debug)]
struct Sample {
    cost: Cost,
    /// Bytes of the set.
    stored: Option<u64>,
}

/// The shape of the chain.
#[derive(Debug)]
pub struct Shape {
    pub sets: u32,
    pub change: u64,
}

impl Step {
    fn shown(self, sets: u32) -> String {
        match self {
            Step::Full => "backup, full".to_owned(),
            Step::Incremental => "backup, incremental".to_owned(),
            Step::LastFull => "backup, full, at the end".to_owned(),
            Step::RestoreLastFull => "restore of that full one".to_owned(),
            Step::RestoreChain => format!("restore of incremental {sets}"),
        }
    }
}

impl ChainSeries {
    /// `stored`: bytes of the set.
    pub fn add(&mut self, step: Step, tool: Tool, cost: Cost, stored: Option<u64>) {
        let size = stored.map(|bytes| format!(", {:.1} MiB", mib(bytes))).unwrap_or_default();
        eprintln!("  {step:?}, {tool:?}: {:.2} s{size}", cost.seconds);
        self.costs.entry((step, tool)).or_default().push(Sample { cost, stored });
    }

    fn seconds(&self, step: Step, tool: Tool) -> impl Iterator<Item = f64> {
        self.costs.get(&(step, tool)).into_iter().flatten().map(|sample| sample.cost.seconds)
    }

    fn ratio(&self, one: (Step, Tool), other: (Step, Tool)) -> Option<f64> {
        let pairs = self.seconds(one.0, one.1).zip(self.seconds(other.0, other.1));
        median(pairs.map(|(one, other)| one / other))
    }

    pub fn table(&self, setting: &Setting, shape: &Shape) -> String {
        let mut text = format!(
            "`{}`: {}, {} MiB in 8 tables, {} incremental sets with {} transactions before each and {} a \
             second beside it, {} rounds in turn, {} threads, {} processors.\n\n\
             | job | tool | MiB | seconds | to mariadb-backup | processor seconds | peak memory, MiB |\n\
             |---|---|---:|---:|---:|---:|---:|\n",
            setting.command,
            setting.server,
            setting.mib,
            shape.sets,
            shape.change,
            setting.pace,
            setting.rounds,
            setting.threads,
            setting.processors
        );
        for ((step, tool), costs) in &self.costs {
            let of = |what: fn(&Cost) -> f64| {
                median(costs.iter().map(|sample| what(&sample.cost))).unwrap_or(f64::NAN)
            };
            let stored = median(costs.iter().filter_map(|sample| sample.stored.map(mib)));
            let ratio = match tool {
                Tool::Peer => Some("1".to_owned()),
                _ => self.ratio((*step, *tool), (*step, Tool::Peer)).map(|ratio| format!("{ratio:.2}")),
            };
            text.push_str(&format!(
                "| {} | {} | {} | {:.2} | {} | {:.2} | {:.0} |\n",
                step.shown(shape.sets),
                if *tool == Tool::Reseed { "reseed" } else { "mariadb-backup" },
                stored.map(|stored| format!("{stored:.0}")).unwrap_or_default(),
                of(|cost| cost.seconds),
                ratio.unwrap_or_default(),
                of(|cost| cost.cpu_seconds),
                of(|cost| cost.peak_mib)
            ));
        }
        let longer = |(tool, name)| {
            let ratio = self.ratio((Step::RestoreChain, tool), (Step::RestoreLastFull, tool))?;
            Some(format!("{ratio:.2} with {name}"))
        };
        let longer: Vec<String> = [(Tool::Reseed, "reseed"), (Tool::Peer, "mariadb-backup")]
            .into_iter()
            .filter_map(longer)
            .collect();
        text.push_str(&format!(
            "\nThe chain's restore to that of the full set of the same moment: {}.\n",
            longer.join(", ")
        ));
        text
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_what_was_done_side_by_side() {
        let mut series = ChainSeries::default();
        let cost = |seconds| Cost { seconds, cpu_seconds: 1.0, peak_mib: 10.0 };
        for (full, chain) in [(1.0, 1.2), (10.0, 11.0), (2.0, 3.0)] {
            series.add(Step::RestoreLastFull, Tool::Reseed, cost(full), None);
            series.add(Step::RestoreChain, Tool::Reseed, cost(chain), None);
            series.add(Step::Incremental, Tool::Reseed, cost(1.0), Some(3 << 20));
            series.add(Step::Incremental, Tool::Peer, cost(4.0), Some(6 << 20));
        }
        let setting = Setting {
            server: "MariaDB 11.8".into(),
            mib: 100,
            rounds: 3,
            pace: 5,
            threads: 2,
            processors: 2,
            command: "c".into(),
        };
        let text = series.table(&setting, &Shape { sets: 24, change: 9 });
        assert!(text.contains("| backup, incremental | reseed | 3 | 1.00 | 0.25 | 1.00 | 10 |"), "{text}");
        assert!(text.contains("same moment: 1.20 with reseed."), "{text}");
    }
}
