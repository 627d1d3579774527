//! The replica oracle on MySQL: as on MariaDB, with GTID on and off. AUTO_INCREMENT counters do not go back,
//! prepared XA transactions are there, uncommitted ones are not.

mod common;

use anyhow::Result;
use common::ReplicaCase;

/// The same server and the same way to back it up, once with GTIDs and once by file and position.
fn case(seed: usize, gtid: bool) -> ReplicaCase {
    let number = [404, 505, 606].get(seed).copied().unwrap_or(707) + u64::from(!gtid);
    let plain = ReplicaCase { gtid, by_file_and_position: !gtid, ..ReplicaCase::new("mysql-9.7", number) };
    match seed {
        0 => ReplicaCase { also_apply_by_server: true, ..plain },
        1 => ReplicaCase { page_size: 4096, backup: vec!["--compress=none", "--threads=1"], ..plain },
        _ => ReplicaCase {
            page_size: 65536,
            options: vec!["innodb_max_undo_log_size=10M", "innodb_purge_rseg_truncate_frequency=1"],
            restore: vec!["--memory=16M"],
            ..plain
        },
    }
}

#[test]
fn mysql_9_7_gtid_first_seed() -> Result<()> {
    case(0, true).run()
}

#[test]
fn mysql_9_7_gtid_second_seed_small_pages() -> Result<()> {
    case(1, true).run()
}

#[test]
fn mysql_9_7_gtid_third_seed_large_pages_undo_truncation() -> Result<()> {
    case(2, true).run()
}

#[test]
fn mysql_9_7_no_gtid_first_seed() -> Result<()> {
    case(0, false).run()
}

#[test]
fn mysql_9_7_no_gtid_second_seed_small_pages() -> Result<()> {
    case(1, false).run()
}

#[test]
fn mysql_9_7_no_gtid_third_seed_large_pages_undo_truncation() -> Result<()> {
    case(2, false).run()
}
