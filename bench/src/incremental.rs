//! `cargo xtask bench incremental`: a full backup and a chain of incremental ones, where it can beside those of
//! mariadb-backup, of the same server in turn; the last set of the chain restored, and a full one that was taken at the same moment.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use reseed_tests::server::scratch;

use crate::chain_report::{ChainSeries, Step};
use crate::contest::{Contest, durable, quoted};
use crate::report::Tool;
use crate::{data, load};

/// Transactions of the load beside a backup get numbers of their own: no backup takes this many.
const BESIDE: u64 = 1 << 20;

/// What is the same for both tools.
#[derive(Debug)]
pub struct Chain<'a> {
    pub contest: Contest<'a>,
    /// Incremental sets on one full.
    pub sets: u32,
    /// Transactions between two sets.
    pub change: u64,
}

/// What one tool has of the round.
#[derive(Debug)]
struct Side {
    tool: Tool,
    dir: PathBuf,
}

impl Chain<'_> {
    /// Numbers of transactions go on from round to round, so that each set finds other pages changed.
    pub fn round(&self, number: usize, series: &mut ChainSeries) -> Result<()> {
        let scratch = scratch()?;
        // The peer is MariaDB's; of MySQL only the chain and the full set are compared.
        let tools: &[Tool] = match self.contest.server.kind().is_mariadb() {
            true => &[Tool::Reseed, Tool::Peer],
            false => &[Tool::Reseed],
        };
        let side = |tool: &Tool| Side { tool: *tool, dir: scratch.path().join(format!("{tool:?}")) };
        let mut sides: Vec<Side> = tools.iter().map(side).collect();
        for side in &sides {
            fs::create_dir(&side.dir)?;
        }
        let mut next = 2 * BESIDE * (1 + number as u64) * (2 + u64::from(self.sets));
        for set in 0..=self.sets + 1 {
            // The first one who copies finds more to be written out by the server than the second.
            sides.reverse();
            let step = match set {
                0 => Step::Full,
                set if set <= self.sets => Step::Incremental,
                _ => Step::LastFull,
            };
            if step == Step::Incremental {
                load::change(self.contest.server, data::rows(self.contest.mib), next, self.change)?;
                next += self.change;
                load::settle(self.contest.server)?;
            }
            for side in &sides {
                self.backup(side, step, set, next, series)
                    .with_context(|| format!("set {set}, {:?}", side.tool))?;
                next += BESIDE;
            }
        }
        if number % 2 == 1 {
            sides.reverse();
        }
        for side in &sides {
            let mut steps = [Step::RestoreLastFull, Step::RestoreChain];
            if number % 2 == 1 {
                steps.reverse();
            }
            for step in steps {
                self.restore(side, step, series)?;
            }
        }
        Ok(())
    }

    fn backup(&self, side: &Side, step: Step, set: u32, first: u64, series: &mut ChainSeries) -> Result<()> {
        let contest = &self.contest;
        let (command, stored) = match side.tool {
            Tool::Reseed => {
                let kind = if step == Step::Incremental { "incremental" } else { "full" };
                (contest.reseed_backup(&side.dir, &format!("--compress none --type {kind}"))?, None)
            }
            _ => {
                let into = side.peer(step, set);
                let mut command = format!("{} --target-dir={}", contest.peer_backup(), quoted(&into));
                if step == Step::Incremental {
                    let basis = if set == 1 { side.peer(Step::Full, 0) } else { side.peer(step, set - 1) };
                    command.push_str(&format!(" --incremental-basedir={}", quoted(&basis)));
                }
                (format!("{command} && {}", durable(&into)), Some(into))
            }
        };
        let cost = contest.backup(&side.dir, first, &command)?;
        let stored = match stored {
            Some(stored) => stored,
            None => newest_own(side, step)?,
        };
        series.add(step, side.tool, cost, Some(allocated(&stored)?));
        Ok(())
    }

    fn restore(&self, side: &Side, step: Step, series: &mut ChainSeries) -> Result<()> {
        let contest = &self.contest;
        let datadir = side.dir.join("restored");
        let command = match side.tool {
            Tool::Reseed => {
                let set = newest_own(side, step)?;
                let id = set.file_name().unwrap_or_default().to_string_lossy().into_owned();
                contest.reseed_restore(&side.dir, &id, &datadir)?
            }
            _ => self.peer_restore(side, step, &datadir),
        };
        let cost = contest.restore(&side.dir, &command)?;
        series.add(step, side.tool, cost, None);
        contest.prove(&datadir)?;
        fs::remove_dir_all(&datadir).context("cannot remove what was restored")
    }

    /// As the manual has it: the full prepared, each incremental merged into it in order, the result copied back.
    fn peer_restore(&self, side: &Side, step: Step, datadir: &Path) -> String {
        let contest = &self.contest;
        let mut steps = Vec::new();
        let full = match step {
            Step::RestoreChain => {
                let full = side.peer(Step::Full, 0);
                let prepare = contest.peer_prepare(&full);
                steps.push(prepare.clone());
                for set in 1..=self.sets {
                    let merge = quoted(&side.peer(Step::Incremental, set));
                    steps.push(format!("{prepare} --incremental-dir={merge}"));
                }
                full
            }
            _ => {
                let full = side.peer(Step::LastFull, 0);
                steps.push(contest.peer_prepare(&full));
                full
            }
        };
        steps.push(contest.peer_back("copy-back", &full, datadir));
        steps.push(durable(datadir));
        steps.join(" && ")
    }
}

impl Side {
    /// Where mariadb-backup puts a set.
    fn peer(&self, step: Step, set: u32) -> PathBuf {
        self.dir.join(match step {
            Step::Incremental => format!("incremental-{set}"),
            Step::LastFull => "last-full".to_owned(),
            _ => "full".to_owned(),
        })
    }
}

/// The folder of reseed's newest set of the kind that the step makes or restores. Two sets of different kinds may be of the
/// same second.
fn newest_own(side: &Side, step: Step) -> Result<PathBuf> {
    let kind = if matches!(step, Step::Incremental | Step::RestoreChain) { "-incr" } else { "-full" };
    let mut sets = Vec::new();
    for entry in fs::read_dir(side.dir.join("bench")).context("cannot read the repository")? {
        let entry = entry?;
        if entry.path().join("manifest.json").exists() && entry.file_name().to_string_lossy().contains(kind) {
            sets.push(entry.path());
        }
    }
    sets.sort();
    sets.pop().context("reseed left no such set")
}

/// Bytes that a tree takes on the disk.
fn allocated(tree: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(tree).with_context(|| format!("cannot read {}", tree.display()))? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { allocated(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(bytes)
}
