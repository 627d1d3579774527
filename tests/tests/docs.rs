//! The documents' own commands, run as they are printed.

use anyhow::{Result, ensure};
use reseed_tests::docs::Kind;
use reseed_tests::{Document, Host, Kit, Stage, replication};

/// Documents that a test below runs.
const RUN: &[&str] = &["docs/runbooks/error-1236.md"];

/// A source and its replica, in step.
fn pair(name: &str) -> Result<Stage> {
    let source = Host::start("source", Kit::server(name)?.server_id(1))?;
    let mut replica = Host::start("replica", Kit::server(name)?.server_id(2))?;
    replica.name_in_documents("10.0.0.5", source.address());
    for statement in replication::from_the_beginning_at(source.address(), 3306, source.family()) {
        replica.server().sql(&[&statement])?;
    }
    source.server().sql(&["CREATE DATABASE shop", "CREATE TABLE shop.t (a INT PRIMARY KEY)"])?;
    replication::wait_until_caught_up(&source.server(), &replica.server())?;
    Ok(Stage::new(vec![replica, source]))
}

fn error_1236(name: &str) -> Result<()> {
    let stage = pair(name)?;
    let (source, replica) = (stage.host("source")?, stage.host("replica")?);
    replication::lose_the_place(&source.server(), &replica.server())?;
    let ran = stage.play(&Document::read("docs/runbooks/error-1236.md")?)?;
    let told =
        ran.iter().find(|(block, _)| block.text.contains("STATUS")).map(|(_, ran)| ran.stdout.as_str());
    ensure!(told.is_some_and(|told| told.contains("1236")), "{told:?}");
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
fn all_blocks_of_these_documents_are_run_or_say_why_not() -> Result<()> {
    for path in RUN {
        let document = Document::read(path)?;
        let run = document.blocks.iter().filter(|block| !matches!(block.kind, Kind::NotRun(_))).count();
        ensure!(run > 0, "{path} has no block that is run");
    }
    Ok(())
}
