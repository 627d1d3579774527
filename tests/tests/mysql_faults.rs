//! What only a MySQL server can do to a backup.

use anyhow::{Result, ensure};
use reseed_tests::faults::{Pause, assert_nothing_left};
use reseed_tests::{Kit, Server, ServerKind, Trip};

const NAME: &str = "mysql-9.7";
const FAILED: i32 = 1;
const UNSUPPORTED: i32 = 12;

fn server() -> Result<Option<Server>> {
    if !ServerKind::named(NAME)?.ensure()? {
        eprintln!("SKIPPED: {NAME} is not to be had");
        return Ok(None);
    }
    Kit::server(NAME)?.redo_mib(48).start().map(Some)
}

/// DDL may run once the instance lock is lost, so what is copied from then on is for nothing: the copy, which would
/// take ten minutes at this rate, ends.
#[test]
fn a_lost_instance_lock_is_noticed_during_the_copy() -> Result<()> {
    let Some(server) = server()? else { return Ok(()) };
    let trip = Trip::new()?;
    let copying = Pause::at("backup.copy", &trip.place(""));
    let mut run = copying.on(trip.backup(&server)?.args(["--rate=64K", "--threads=1"])).spawn()?;
    copying.wait(&mut run)?;
    let holder = server.value(
        "SELECT t.processlist_id FROM performance_schema.metadata_locks AS l \
         JOIN performance_schema.threads AS t ON t.thread_id = l.owner_thread_id \
         WHERE l.object_type = 'BACKUP LOCK' AND l.lock_type = 'SHARED'",
    )?;
    server.sql(&[&format!("KILL {holder}")])?;
    copying.let_go()?;
    let ended = run.wait()?.expect_code(FAILED)?;
    ensure!(
        ended.stderr.contains("the session that held LOCK INSTANCE FOR BACKUP was lost"),
        "{}",
        ended.stderr
    );
    ensure!(trip.sets()?.is_empty(), "published: {:?}", trip.sets()?);
    assert_nothing_left(&server)
}

#[test]
fn a_redo_log_without_checksums_is_refused_before_the_copy() -> Result<()> {
    let Some(server) = server()? else { return Ok(()) };
    let trip = Trip::new()?;
    server.sql(&["SET GLOBAL innodb_log_checksums = OFF"])?;
    // It would never come to the copy.
    let refused = trip
        .backup(&server)?
        .env("RESEED_FAILPOINTS", "backup.follower=kill")
        .run()?
        .expect_code(UNSUPPORTED)?;
    ensure!(refused.stderr.contains("innodb_log_checksums is OFF"), "{}", refused.stderr);
    ensure!(refused.stderr.contains("SET GLOBAL innodb_log_checksums = ON"), "{}", refused.stderr);
    ensure!(!trip.repo().join("source").exists(), "nothing was begun");
    Ok(())
}
