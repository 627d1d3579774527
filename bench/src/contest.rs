//! The contestants: what each runs to make a backup and to have a datadir again. All of them as their manuals say,
//! with the same number of threads and the same memory, all until the result is durable.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use reseed_tests::Server;
use reseed_tests::server::scratch;
use reseed_tests::trip::on_restored;

use crate::data;
use crate::load::Load;
use crate::measure::{self, Cost};
use crate::report::{Form, Job, Series, Tool};

/// What is the same for all.
#[derive(Debug)]
pub struct Contest<'a> {
    pub server: &'a Server,
    pub mib: u32,
    /// Transactions a second during each backup.
    pub pace: u32,
    pub threads: usize,
    /// Start a server on each restored datadir and count the rows.
    pub prove: bool,
}

type Run = fn(&Contest<'_>, &Path, &mut Series) -> Result<()>;

/// In this order, each round beginning with another.
const RUNS: [Run; 5] = [reseed_plain, peer_plain, reseed_compressed, peer_compressed, floor];

impl Contest<'_> {
    pub fn round(&self, number: usize, series: &mut Series) -> Result<()> {
        for at in 0..RUNS.len() {
            let Some(run) = RUNS.get((number + at) % RUNS.len()) else { continue };
            let dir = scratch()?;
            run(self, dir.path(), series)?;
        }
        Ok(())
    }

    /// A backup with the load beside it, whose transactions are numbered from `first` on.
    pub fn backup(&self, dir: &Path, first: u64, command: &str) -> Result<Cost> {
        measure::forget(&[self.server.datadir(), dir])?;
        let load = Load::start(self.server, self.pace, data::rows(self.mib), first)?;
        let cost = measure::run(command);
        load.stop()?;
        cost
    }

    pub fn restore(&self, dir: &Path, command: &str) -> Result<Cost> {
        measure::forget(&[dir])?;
        measure::run(command)
    }

    pub fn prove(&self, datadir: &Path) -> Result<()> {
        if !self.prove {
            return Ok(());
        }
        let mut copy = on_restored(self.server, datadir, 9).start().context("the copy does not start")?;
        data::assert_whole(&copy, self.mib)?;
        copy.stop()
    }

    fn socket(&self) -> String {
        format!("--socket={}", quoted(&self.server.socket()))
    }

    fn peer(&self) -> String {
        format!("{} --no-defaults", quoted(&self.server.kind().program("mariadb-backup")))
    }

    pub fn peer_backup(&self) -> String {
        format!("{} --backup --user=root {} --parallel={}", self.peer(), self.socket(), self.threads)
    }

    pub fn peer_prepare(&self, from: &Path) -> String {
        format!("{} --prepare --use-memory=1G --target-dir={}", self.peer(), quoted(from))
    }

    /// `how`: copy-back or move-back.
    pub fn peer_back(&self, how: &str, from: &Path, datadir: &Path) -> String {
        format!(
            "{} --{how} --parallel={} --target-dir={} --datadir={}",
            self.peer(),
            self.threads,
            quoted(from),
            quoted(datadir)
        )
    }

    /// A backup into the repository; `how`: compression, kind.
    pub fn reseed_backup(&self, repo: &Path, how: &str) -> Result<String> {
        Ok(format!(
            "{} backup --repo {} --name bench --quiet {how} --threads {} --no-defaults --user=root {} && {}",
            quoted(&reseed_tests::tool::binary()?),
            quoted(repo),
            self.threads,
            self.socket(),
            durable(repo)
        ))
    }

    /// `set`: an id or latest.
    pub fn reseed_restore(&self, repo: &Path, set: &str, datadir: &Path) -> Result<String> {
        Ok(format!(
            "{} restore --repo {} --name bench --quiet {set} --memory 1G --datadir {} && {}",
            quoted(&reseed_tests::tool::binary()?),
            quoted(repo),
            quoted(datadir),
            durable(datadir)
        ))
    }

    fn reseed(&self, dir: &Path, series: &mut Series, form: Form, compress: &str) -> Result<()> {
        let (repo, datadir) = (dir.join("repo"), dir.join("data"));
        let command = self.reseed_backup(&repo, compress)?;
        series.add(Job::Backup, form, Tool::Reseed, self.backup(dir, 0, &command)?);
        let command = self.reseed_restore(&repo, "latest", &datadir)?;
        series.add(Job::Restore, form, Tool::Reseed, self.restore(dir, &command)?);
        self.prove(&datadir)
    }
}

fn reseed_plain(contest: &Contest<'_>, dir: &Path, series: &mut Series) -> Result<()> {
    contest.reseed(dir, series, Form::Plain, "--compress none")
}

fn reseed_compressed(contest: &Contest<'_>, dir: &Path, series: &mut Series) -> Result<()> {
    contest.reseed(dir, series, Form::Compressed, "--compress zstd:1")
}

/// The backup stays what a backup is for when it is copied back; moving it back uses it up, and is shown beside.
fn peer_plain(contest: &Contest<'_>, dir: &Path, series: &mut Series) -> Result<()> {
    let (set, copied, moved) = (dir.join("set"), dir.join("copied"), dir.join("moved"));
    let command = format!("{} --target-dir={} && {}", contest.peer_backup(), quoted(&set), durable(&set));
    series.add(Job::Backup, Form::Plain, Tool::Peer, contest.backup(dir, 0, &command)?);
    let prepared = contest.restore(dir, &contest.peer_prepare(&set))?;
    let command = format!("{} && {}", contest.peer_back("copy-back", &set, &copied), durable(&copied));
    let back = measure::run(&command)?;
    series.add(Job::Restore, Form::Plain, Tool::Peer, prepared.then(back));
    contest.prove(&copied)?;
    let command = format!("{} && {}", contest.peer_back("move-back", &set, &moved), durable(&moved));
    series.add(Job::Restore, Form::Plain, Tool::PeerMoving, prepared.then(measure::run(&command)?));
    Ok(())
}

fn peer_compressed(contest: &Contest<'_>, dir: &Path, series: &mut Series) -> Result<()> {
    let (stream, unpacked, datadir) = (dir.join("set.zst"), dir.join("unpacked"), dir.join("data"));
    let mbstream = quoted(&contest.server.kind().program("mbstream"));
    let threads = contest.threads;
    let command = format!(
        "{} --stream=mbstream --target-dir={} | zstd -q -1 -T{threads} > {} && sync {}",
        contest.peer_backup(),
        quoted(&dir.join("temporary")),
        quoted(&stream),
        quoted(&stream)
    );
    series.add(Job::Backup, Form::Compressed, Tool::Peer, contest.backup(dir, 0, &command)?);
    // What was unpacked is nobody's backup: it may be moved.
    let command = format!(
        "mkdir {here} && zstd -q -d -c {} | {mbstream} -x -p {threads} -C {here} && {} && {} && {}",
        quoted(&stream),
        contest.peer_prepare(&unpacked),
        contest.peer_back("move-back", &unpacked, &datadir),
        durable(&datadir),
        here = quoted(&unpacked)
    );
    series.add(Job::Restore, Form::Compressed, Tool::Peer, contest.restore(dir, &command)?);
    contest.prove(&datadir)
}

/// What no tool can do without: each file read once and written once. Without the redo and binary logs, which no
/// backup copies whole. A copy of a running server's files is no backup.
fn floor(contest: &Contest<'_>, dir: &Path, series: &mut Series) -> Result<()> {
    let (copy, datadir) = (dir.join("copy"), dir.join("data"));
    let command = format!(
        "mkdir {to} && cd {} && cp -r $(ls -A | grep -vE '^(ib_logfile|binlog|ibtmp)') {to} && {}",
        quoted(contest.server.datadir()),
        durable(&copy),
        to = quoted(&copy)
    );
    measure::forget(&[contest.server.datadir()])?;
    series.add(Job::Backup, Form::Plain, Tool::Copy, measure::run(&command)?);
    let command = format!("cp -r {} {} && {}", quoted(&copy), quoted(&datadir), durable(&datadir));
    series.add(Job::Restore, Form::Plain, Tool::Copy, contest.restore(dir, &command)?);
    fs::remove_dir_all(&datadir).context("cannot remove the floor's copy")
}

/// fsync of every file and folder.
pub fn durable(tree: &Path) -> String {
    format!("find {} -exec sync {{}} +", quoted(tree))
}

pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}
