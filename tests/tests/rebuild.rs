//! What reseed is named for: one command from a dead datadir to a replica that has caught up, from a source under
//! load, through a real ssh.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use reseed_tests::faults::files;
use reseed_tests::host::Ran;
use reseed_tests::workload::{Shape, Workload};
use reseed_tests::{Host, Kit, Sshd, oracle, replication};

/// A source and a replica that can be rebuilt from it.
struct Night {
    source: Host,
    replica: Host,
    sshd: Sshd,
}

impl Night {
    fn new(name: &str) -> Result<Night> {
        let source = Host::start("source", Kit::server(name)?.server_id(1))?;
        let replica = Host::start("replica", Kit::server(name)?.server_id(2))?;
        let sshd = Sshd::start(&source)?;
        sshd.reachable_from(&replica, source.address())?;
        Ok(Night { source, replica, sshd })
    }

    /// `reseed clone … --attach` on the replica, and whatever else is given.
    fn clone(&self, more: &str) -> Result<Ran> {
        self.copy(&format!("--attach {more}"))
    }

    fn copy(&self, more: &str) -> Result<Ran> {
        let (account, address) = (self.sshd.account(), self.source.address());
        let datadir = self.replica.server().datadir().display().to_string();
        let password = self.replica.place("etc/reseed/repl.pw");
        self.replica.sh(&format!(
            "reseed clone --from {account}@{address} --datadir {datadir} --move-aside --source-user repl \
             --source-password-file {} {more}",
            password.display()
        ))
    }
}

/// Writes a little, now and then, until told to stop: a replica can keep up with it.
fn gentle_load(source: &Host, stop: Arc<AtomicBool>) -> Result<JoinHandle<Result<u64>>> {
    let mut session = source.server().session()?;
    session.exec("CREATE TABLE shop.gentle (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(100))")?;
    Ok(std::thread::spawn(move || {
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            session.exec("INSERT INTO shop.gentle (note) VALUES (UUID())")?;
            written += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(written)
    }))
}

fn one_command(name: &str) -> Result<()> {
    let night = Night::new(name)?;
    let Night { source, replica, .. } = &night;
    for statement in replication::from_the_beginning_at(source.address(), 3306, source.family()) {
        replica.server().sql(&[&statement])?;
    }
    let workload = Workload::prepare(&source.server(), Shape { sessions: 1, mib: 8, ..Shape::seeded(4) })?;
    replication::wait_until_caught_up(&source.server(), &replica.server())?;
    replication::lose_the_place(&source.server(), &replica.server())?;
    replica.sh("systemctl stop mariadb")?;
    let stop = Arc::new(AtomicBool::new(false));
    let gentle = gentle_load(source, Arc::clone(&stop))?;
    // As hard as it goes while the copy is made; a replica on the same machine would never catch up with that.
    let hard = workload.start()?;
    hard.wait_for_statements(200)?;
    let parent = replica.server().datadir().parent().context("no parent")?.to_owned();
    let hard = std::thread::spawn(move || {
        replication::await_that("the datadir is in place", || Ok(moved_aside(&parent)?.is_some()))
            .and_then(|()| hard.stop())
    });
    let ran = night.clone("--start 'systemctl start mariadb'");
    stop.store(true, Ordering::Relaxed);
    let (hard, gentle) = (hard.join(), gentle.join());
    let ran = ran?;
    ensure!(ran.code == Some(0), "{ran:?}\n{}", night.sshd.log());
    let join = |_| anyhow!("a load panicked");
    let (hard, gentle) = (hard.map_err(join)??.statements, gentle.map_err(join)??);
    println!("{hard} statements during the copy, {gentle} in all the time\n{}", ran.stderr);
    for word in ["(moved aside)", "caught up", "copy and restore", "catch up"] {
        ensure!(ran.stderr.contains(word), "{word:?} is not told:\n{}", ran.stderr);
    }
    ensure!(ran.stdout.is_empty(), "the hand-over was run, and printed too: {}", ran.stdout);
    let (source, replica) = (source.server(), replica.server());
    replication::wait_until_caught_up(&source, &replica)?;
    replication::assert_nothing_skipped(&replica)?;
    ensure!(oracle::assert_equal(&source, &replica).context("source and replica differ")? > 0);
    Ok(())
}

/// The datadir that was moved aside in this directory.
fn moved_aside(parent: &Path) -> Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        if path.to_string_lossy().contains(".reseed-aside-") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The line breaks off in the middle: nothing is changed here, nothing is left there, and the same command does it.
#[test]
fn a_line_that_breaks_off_changes_nothing() -> Result<()> {
    let night = Night::new("mariadb-10.11")?;
    let Night { source, replica, .. } = &night;
    source.server().sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.t (id INT PRIMARY KEY, c VARBINARY(1000))",
        "INSERT INTO shop.t SELECT seq, REPEAT(MD5(seq), 28) FROM shop.seq_1_to_20000",
    ])?;
    let datadir = replica.server().datadir().to_owned();
    replica.sh("systemctl stop mariadb")?;
    let before = files(&datadir)?;
    let incoming = datadir.with_file_name(format!(
        "{}.reseed-partial/incoming",
        datadir.file_name().context("no name")?.to_string_lossy()
    ));
    let ran = std::thread::scope(|scope| {
        // At this rate there is time enough for the line to break.
        let copying = scope.spawn(|| night.copy("--rate 1M"));
        let begun = replication::await_that("the copy begins", || {
            let mut entries = std::fs::read_dir(&incoming).into_iter().flatten().flatten();
            Ok(entries.any(|entry| entry.metadata().is_ok_and(|meta| meta.len() > 0)))
        });
        let broken = begun.and_then(|()| night.sshd.break_off());
        let ran = copying.join().map_err(|_| anyhow!("the copy panicked"))?;
        ensure!(broken? > 0, "no session of sshd was found:\n{}", night.sshd.log());
        ran
    })?;
    ensure!(ran.code == Some(3), "{ran:?}\n{}", night.sshd.log());
    for word in ["broke off after", "Nothing was changed here", "ServerAliveInterval"] {
        ensure!(ran.stderr.contains(word), "{word:?} is not told:\n{}", ran.stderr);
    }
    ensure!(files(&datadir)? == before, "the old datadir was changed");
    ensure!(!incoming.exists(), "left: {}", incoming.display());
    // A backup that went on at the source would be in the way of this one.
    let again = night.copy("--lock-wait 60s")?;
    ensure!(again.code == Some(0), "{again:?}\n{}", night.sshd.log());
    ensure!(again.stdout.contains("CHANGE MASTER"), "{again:?}");
    Ok(())
}

#[test]
fn one_command_rebuilds_a_mariadb_replica() -> Result<()> {
    one_command("mariadb-10.11")
}

#[test]
fn one_command_rebuilds_a_mysql_replica() -> Result<()> {
    one_command("mysql-9.7")
}
