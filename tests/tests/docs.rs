//! The documents' own commands, run as they are printed.

use anyhow::{Context, Result, ensure};
use reseed_tests::docs::Kind;
use reseed_tests::{Document, Host, Kit, Sshd, Stage, oracle, replication};

/// Documents that a test below runs.
const RUN: &[&str] = &[
    "docs/runbooks/error-1236.md",
    "docs/runbooks/rebuild-a-replica.md",
    "docs/runbooks/restore-on-another-host.md",
    "docs/runbooks/seed-a-managed-replica.md",
];

/// A source and another host, with one repository, the second reaching the first by ssh.
fn hosts(name: &str) -> Result<(Stage, Sshd)> {
    let source = Host::start("source", Kit::server(name)?.server_id(1))?;
    let mut replica = Host::start("replica", Kit::server(name)?.server_id(2))?;
    let sshd = Sshd::start(&source)?;
    sshd.reachable_from(&replica, source.address())?;
    replica.name_in_documents("10.0.0.5", source.address());
    replica.name_in_documents("root@10.0.0.5", format!("{}@{}", sshd.account(), source.address()));
    replica.name_in_documents("/backup", source.place("backup").display().to_string());
    source.server().sql(&["CREATE DATABASE shop", "CREATE TABLE shop.t (a INT PRIMARY KEY)"])?;
    source.server().sql(&["INSERT INTO shop.t VALUES (1), (2), (3)"])?;
    Ok((Stage::new(vec![replica, source]), sshd))
}

/// The second host is a replica in step, until it loses its place.
fn broken_replica(name: &str) -> Result<(Stage, Sshd)> {
    let (stage, sshd) = hosts(name)?;
    let (source, replica) = (stage.host("source")?, stage.host("replica")?);
    for statement in replication::from_the_beginning_at(source.address(), 3306, source.family()) {
        replica.server().sql(&[&statement])?;
    }
    replication::wait_until_caught_up(&source.server(), &replica.server())?;
    replication::lose_the_place(&source.server(), &replica.server())?;
    Ok((stage, sshd))
}

fn error_1236(name: &str) -> Result<()> {
    let (stage, _sshd) = broken_replica(name)?;
    let ran = stage.play(&Document::read("docs/runbooks/error-1236.md")?)?;
    let told =
        ran.iter().find(|(block, _)| block.text.contains("STATUS")).map(|(_, ran)| ran.stdout.as_str());
    ensure!(told.is_some_and(|told| told.contains("1236")), "{told:?}");
    Ok(())
}

fn rebuild(name: &str) -> Result<()> {
    let (stage, _sshd) = broken_replica(name)?;
    let (source, replica) = (stage.host("source")?, stage.host("replica")?);
    let document = Document::read("docs/runbooks/rebuild-a-replica.md")?;
    let mut written = 10;
    stage.play_between(&document, |_, _| {
        written += 1;
        source.server().sql(&[&format!("INSERT INTO shop.t VALUES ({written})")])
    })?;
    let (source, replica) = (source.server(), replica.server());
    replication::wait_until_caught_up(&source, &replica)?;
    replication::assert_nothing_skipped(&replica)?;
    ensure!(oracle::assert_equal(&source, &replica).context("source and replica differ")? > 0);
    Ok(())
}

fn move_a_host(name: &str) -> Result<()> {
    let (stage, _sshd) = hosts(name)?;
    let source = stage.host("source")?;
    let backup = source.sh("reseed backup --repo backup --name db1")?;
    ensure!(backup.code == Some(0), "{backup:?}");
    stage.play(&Document::read("docs/runbooks/restore-on-another-host.md")?)?;
    ensure!(oracle::assert_equal(&source.server(), &stage.host("replica")?.server())? > 0);
    Ok(())
}

fn seed_a_managed_replica(name: &str, calls: &[&str]) -> Result<()> {
    let (stage, _sshd) = hosts(name)?;
    let ran = stage.play(&Document::read("docs/runbooks/seed-a-managed-replica.md")?)?;
    let printed: String = ran.iter().map(|(_, ran)| ran.stdout.as_str()).collect();
    for call in calls {
        ensure!(printed.contains(call), "{call} is not printed:\n{printed}");
    }
    let dump = std::fs::read_to_string(stage.host("replica")?.place("dump.sql"))?;
    ensure!(dump.contains("INSERT INTO `t`"), "the dump has no rows:\n{dump}");
    Ok(())
}

#[test]
fn error_1236_mariadb() -> Result<()> {
    error_1236("mariadb-10.11")
}

#[test]
fn error_1236_mysql() -> Result<()> {
    error_1236("mysql-9.7")
}

#[test]
fn rebuild_mariadb() -> Result<()> {
    rebuild("mariadb-10.11")
}

#[test]
fn rebuild_mysql() -> Result<()> {
    rebuild("mysql-9.7")
}

#[test]
fn move_a_host_mariadb() -> Result<()> {
    move_a_host("mariadb-10.11")
}

#[test]
fn move_a_host_mysql() -> Result<()> {
    move_a_host("mysql-9.7")
}

#[test]
fn seed_a_managed_replica_mariadb() -> Result<()> {
    seed_a_managed_replica("mariadb-10.11", &["CALL mysql.rds_set_external_master_gtid"])
}

#[test]
fn seed_a_managed_replica_mysql() -> Result<()> {
    seed_a_managed_replica(
        "mysql-9.7",
        &["CALL mysql.rds_set_external_source(", "CALL mysql.rds_set_external_source_with_auto_position"],
    )
}

#[test]
fn all_blocks_of_these_documents_are_run_or_say_why_not() -> Result<()> {
    for path in RUN {
        let document = Document::read(path)?;
        let run = document.blocks.iter().filter(|block| !matches!(block.kind, Kind::NotRun(_))).count();
        ensure!(run > 0, "{path} has no block that is run");
    }
    Ok(())
}
