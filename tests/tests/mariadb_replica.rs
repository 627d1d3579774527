//! The replica oracle: a backup taken under DML and DDL, restored and attached by the hand-over statements, must
//! catch up without an error or a skipped event, and every table must be equal to the source's.

mod common;

use anyhow::Result;
use common::ReplicaCase;

const SEEDS: [u64; 3] = [101, 202, 303];

/// Each seed stands for another kind of server and another way to back it up.
fn case(name: &'static str, seed: usize) -> ReplicaCase {
    let plain = ReplicaCase::new(name, SEEDS[seed]);
    match seed {
        0 => ReplicaCase { also_apply_by_server: true, ..plain },
        1 => ReplicaCase {
            page_size: 4096,
            options: vec!["innodb_undo_log_truncate=ON", "innodb_max_undo_log_size=10M"],
            init: vec!["innodb_undo_tablespaces=3"],
            backup: vec!["--lock=ftwrl", "--compress=none", "--threads=1"],
            ..plain
        },
        _ => ReplicaCase {
            page_size: 65536,
            backup: vec!["--threads=4", "--compress=zstd:3"],
            restore: vec!["--memory=16M", "--threads=1"],
            by_file_and_position: true,
            ..plain
        },
    }
}

#[test]
fn mariadb_10_5_first_seed() -> Result<()> {
    case("mariadb-10.5", 0).run()
}

#[test]
fn mariadb_10_5_second_seed_small_pages_undo_truncation_ftwrl() -> Result<()> {
    case("mariadb-10.5", 1).run()
}

#[test]
fn mariadb_10_5_third_seed_large_pages_little_memory() -> Result<()> {
    case("mariadb-10.5", 2).run()
}

#[test]
fn mariadb_10_11_first_seed() -> Result<()> {
    case("mariadb-10.11", 0).run()
}

#[test]
fn mariadb_10_11_second_seed_small_pages_undo_truncation_ftwrl() -> Result<()> {
    case("mariadb-10.11", 1).run()
}

#[test]
fn mariadb_10_11_third_seed_large_pages_little_memory() -> Result<()> {
    case("mariadb-10.11", 2).run()
}

#[test]
fn mariadb_10_11_redo_log_resized_twice_meanwhile() -> Result<()> {
    ReplicaCase { resize_redo: true, ..ReplicaCase::new("mariadb-10.11", 707) }.run()
}

#[test]
fn mariadb_11_8_first_seed() -> Result<()> {
    case("mariadb-11.8", 0).run()
}

#[test]
fn mariadb_11_8_second_seed_small_pages_undo_truncation_ftwrl() -> Result<()> {
    case("mariadb-11.8", 1).run()
}

#[test]
fn mariadb_11_8_third_seed_large_pages_little_memory() -> Result<()> {
    case("mariadb-11.8", 2).run()
}
