//! Chains of incremental sets, taken under DML and DDL: the last set restores to what the source was.

mod common;

use anyhow::Result;
use common::ReplicaCase;

fn case(name: &'static str, seed: u64) -> ReplicaCase {
    ReplicaCase { incrementals: 5, also_apply_by_server: true, ..ReplicaCase::new(name, seed) }
}

#[test]
fn mariadb_10_11_five_on_a_full_one() -> Result<()> {
    case("mariadb-10.11", 1101).run()
}

#[test]
fn mysql_9_7_five_on_a_full_one() -> Result<()> {
    case("mysql-9.7", 1102).run()
}
