//! The load itself, before it judges anything: plain replication from the first event must give equal tables on
//! every server, or a broken replica in the other tests would prove nothing.

use anyhow::Result;
use reseed_tests::workload::{Shape, Workload, from_environment};
use reseed_tests::{Kit, Server, ServerKind, oracle, replication};

/// Enough for each step of the DDL session; a soak sets RESEED_TEST_STATEMENTS and RESEED_TEST_SEED.
const STATEMENTS: u64 = 8_000;

fn proves_itself(name: &str, seed: u64, page_size: u32) -> Result<()> {
    let kind = ServerKind::named(name)?;
    if !kind.ensure()? {
        eprintln!("SKIPPED: {name} is not to be had");
        return Ok(());
    }
    let mut source = Kit::server(name)?.page_size(page_size).start()?;
    let mut replica = Kit::server(name)?.page_size(page_size).server_id(2).start()?;
    let goal = from_environment("RESEED_TEST_STATEMENTS", STATEMENTS);
    let workload = Workload::prepare(&source, Shape { mib: 8, ..Shape::seeded(seed) })?;
    let statements = replication::from_the_beginning(&source);
    replica.sql(&statements.iter().map(String::as_str).collect::<Vec<_>>())?;
    let running = workload.start()?;
    running.wait_for_statements(goal)?;
    let counts = running.stop()?;
    println!("{name} page size {page_size}: {counts:?}");
    assert!(counts.statements >= goal);
    replication::wait_until_caught_up(&source, &replica)?;
    replication::assert_nothing_skipped(&replica)?;
    let tables = oracle::assert_equal(&source, &replica)?;
    assert!(tables > 20, "only {tables} tables");
    for server in [&mut replica, &mut source] {
        clean(server)?;
    }
    Ok(())
}

fn clean(server: &mut Server) -> Result<()> {
    assert_eq!(server.check_tables()?, Vec::<String>::new());
    server.stop()?;
    assert_eq!(server.unexpected_log_lines(), Vec::<String>::new());
    Ok(())
}

#[test]
fn mariadb_10_5_replicates_the_load() -> Result<()> {
    proves_itself("mariadb-10.5", 1, 16384)
}

#[test]
fn mariadb_10_11_replicates_the_load_on_small_pages() -> Result<()> {
    proves_itself("mariadb-10.11", 2, 4096)
}

#[test]
fn mariadb_11_8_replicates_the_load_on_large_pages() -> Result<()> {
    proves_itself("mariadb-11.8", 3, 65536)
}

#[test]
fn mysql_9_7_replicates_the_load() -> Result<()> {
    proves_itself("mysql-9.7", 4, 16384)
}
