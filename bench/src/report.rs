//! Medians, ratios, and their place in docs/performance.md.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::measure::Cost;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    Backup,
    Restore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Plain,
    Compressed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Reseed,
    Peer,
    PeerMoving,
    Copy,
}

impl Tool {
    fn shown(self, job: Job, form: Form) -> &'static str {
        match (self, job, form) {
            (Tool::Reseed, _, _) => "reseed",
            (Tool::Peer, Job::Backup, Form::Plain) => "mariadb-backup",
            (Tool::Peer, Job::Backup, Form::Compressed) => "mariadb-backup, mbstream, zstd",
            (Tool::Peer, Job::Restore, Form::Plain) => "mariadb-backup: prepare, copy back",
            (Tool::Peer, Job::Restore, Form::Compressed) => {
                "zstd, mbstream, mariadb-backup: prepare, move back"
            }
            (Tool::PeerMoving, _, _) => "the same, moved back: the backup is used up",
            (Tool::Copy, _, _) => "cp -r",
        }
    }
}

/// All rounds of all commands.
#[derive(Debug, Default)]
pub struct Series {
    costs: BTreeMap<(Job, Form, Tool), Vec<Cost>>,
}

/// What the numbers belong to.
#[derive(Debug)]
pub struct Setting {
    /// With its version.
    pub server: String,
    pub mib: u64,
    pub rounds: usize,
    pub pace: u32,
    pub threads: usize,
    pub processors: usize,
    pub command: String,
}

impl Series {
    pub fn add(&mut self, job: Job, form: Form, tool: Tool, cost: Cost) {
        let what = format!("{job:?}, {form:?}").to_lowercase();
        eprintln!("  {what}, {}: {:.2} s", tool.shown(job, form), cost.seconds);
        self.costs.entry((job, form, tool)).or_default().push(cost);
    }

    /// Of the ratios within each round, so that a machine that is slow for a while is slow for both sides.
    fn ratio(&self, job: Job, form: Form, tool: Tool) -> Option<f64> {
        let (ours, theirs) = (self.costs.get(&(job, form, tool))?, self.costs.get(&(job, form, Tool::Peer))?);
        median(ours.iter().zip(theirs).map(|(our, their)| our.seconds / their.seconds))
    }

    pub fn table(&self, setting: &Setting) -> String {
        let load = match setting.pace {
            0 => "no load".to_owned(),
            pace => format!("{pace} transactions a second during each backup"),
        };
        let mut text = format!(
            "`{}`: {}, {} MiB in 8 tables, {load}, {} rounds in turn, {} threads, {} processors.\n\n\
             | job | tool | seconds | to mariadb-backup | processor seconds | peak memory, MiB |\n\
             |---|---|---:|---:|---:|---:|\n",
            setting.command, setting.server, setting.mib, setting.rounds, setting.threads, setting.processors
        );
        for ((job, form, tool), costs) in &self.costs {
            let of = |what: fn(&Cost) -> f64| median(costs.iter().map(what)).unwrap_or(f64::NAN);
            let ratio = match tool {
                Tool::Peer => "1".to_owned(),
                _ => self.ratio(*job, *form, *tool).map_or(String::new(), |ratio| format!("{ratio:.2}")),
            };
            text.push_str(&format!(
                "| {} | {} | {:.2} | {ratio} | {:.2} | {:.0} |\n",
                format!("{job:?}, {form:?}").to_lowercase(),
                tool.shown(*job, *form),
                of(|cost| cost.seconds),
                of(|cost| cost.cpu_seconds),
                of(|cost| cost.peak_mib)
            ));
        }
        text
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

const END: &str = "<!-- end -->";

/// Puts the table in the place of the former one of the same benchmark, which is named as one calls it.
pub fn write(path: &Path, benchmark: &str, table: &str) -> Result<()> {
    let shown = path.display();
    let page = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let page =
        replaced(&page, benchmark, table).with_context(|| format!("{shown} has no place for the table"))?;
    std::fs::write(path, page).with_context(|| format!("cannot write {shown}"))
}

fn replaced(page: &str, benchmark: &str, table: &str) -> Option<String> {
    let begin = format!("<!-- made by cargo xtask {benchmark} --write -->\n");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{begin}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(seconds: f64) -> Cost {
        Cost { seconds, cpu_seconds: 1.0, peak_mib: 10.0 }
    }

    #[test]
    fn the_table_holds_medians_and_the_median_of_the_rounds_ratios() {
        let mut series = Series::default();
        for (ours, theirs) in [(1.0, 2.0), (9.0, 10.0), (2.0, 8.0)] {
            series.add(Job::Backup, Form::Plain, Tool::Reseed, cost(ours));
            series.add(Job::Backup, Form::Plain, Tool::Peer, cost(theirs));
        }
        let text = series.table(&Setting {
            server: "MariaDB 11.8".into(),
            mib: 100,
            rounds: 3,
            pace: 0,
            threads: 2,
            processors: 2,
            command: "c".into(),
        });
        assert!(text.contains("| backup, plain | reseed | 2.00 | 0.50 | 1.00 | 10 |"), "{text}");
        assert!(text.contains("| backup, plain | mariadb-backup | 8.00 | 1 | 1.00 | 10 |"), "{text}");
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
    }

    #[test]
    fn only_the_table_of_the_page_changes() {
        let place =
            |name: &str, text| format!("<!-- made by cargo xtask {name} --write -->\n\n{text}\n{END}\n");
        let page =
            |text| format!("before\n{}between\n{}after\n", place("bench", "old"), place("bench more", text));
        let new = replaced(&page("old"), "bench more", "new").unwrap();
        assert_eq!(new, page("new"));
        assert_eq!(replaced("no place", "bench", "new"), None);
    }
}
