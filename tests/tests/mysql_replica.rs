//! The replica oracle on MySQL: as on MariaDB, with GTID on and off. AUTO_INCREMENT counters do not go back,
//! prepared XA transactions are there, uncommitted ones are not.

mod common;

use anyhow::Result;
use common::ReplicaCase;

fn plain(seed: u64) -> ReplicaCase {
    ReplicaCase::new("mysql-9.7", seed)
}

#[test]
fn mysql_9_7_gtid_first_seed() -> Result<()> {
    ReplicaCase { also_apply_by_server: true, ..plain(404) }.run()
}

#[test]
fn mysql_9_7_gtid_second_seed_small_pages() -> Result<()> {
    ReplicaCase { page_size: 4096, backup: vec!["--compress=none", "--threads=1"], ..plain(505) }.run()
}

#[test]
fn mysql_9_7_no_gtid_third_seed_large_pages_undo_truncation() -> Result<()> {
    ReplicaCase {
        page_size: 65536,
        gtid: false,
        by_file_and_position: true,
        options: vec!["innodb_max_undo_log_size=10M", "innodb_purge_rseg_truncate_frequency=1"],
        restore: vec!["--memory=16M"],
        ..plain(606)
    }
    .run()
}
