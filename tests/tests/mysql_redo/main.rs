//! The byte oracle of MySQL redo apply: pages that we make from a cleanly stopped base and the redo of the killed
//! server, against those that the server's own recovery makes from the same two.
//!
//! How the two start from the same state: the base's content of each tablespace under the paths of the killed server;
//! tablespaces that the base does not have, or that got pages without redo, as the killed server left them. The redo's
//! checkpoint is set back to the base's. The server recovers with `innodb_force_recovery=5`: no rollback, no purge,
//! nothing but redo.
//!
//! `RESEED_REDO_MIB` and `RESEED_REDO_SEED` make the load larger or other than in CI.

mod compare;
mod crash;
mod own;
mod restored;
mod tables;
mod workload;

use std::fs;

use anyhow::{Result, ensure};

fn setting(name: &str, default: u64) -> Result<u64> {
    Ok(match std::env::var(name) {
        Ok(text) => text.parse()?,
        Err(_) => default,
    })
}

fn differential(page_size: u32) -> Result<()> {
    let seed = setting("RESEED_REDO_SEED", u64::from(page_size))?;
    let mib = setting("RESEED_REDO_MIB", 3)?;
    let crash = crash::Crash::make(page_size, seed, mib << 20)?;
    let own = own::apply(&crash)?;
    let recovered = crash.recover()?;
    let report = compare::compare(&crash, &own, recovered.datadir())?;
    fs::remove_dir_all(recovered.datadir())?;
    println!("page size {page_size}, seed {seed}: {own}, {report}");
    ensure!(report.differing.is_empty(), "pages differ:\n{}", report.differing.join("\n"));
    ensure!(report.compared > 500, "only {} pages were compared", report.compared);
    ensure!(report.newer < 20, "the server changed {} pages after its recovery", report.newer);
    for event in ["create", "delete", "rename", "extend", "index load", "metadata", "undo truncation"] {
        ensure!(own.events.contains_key(event), "the load had no {event}");
    }
    ensure!(own.records > mib * 5_000, "only {} records in {mib} MiB", own.records);
    if page_size == 16384 {
        restored::check(&crash, &own)?;
    }
    Ok(())
}

#[test]
fn our_pages_are_the_servers_at_4k() -> Result<()> {
    differential(4096)
}

#[test]
fn our_pages_are_the_servers_at_8k() -> Result<()> {
    differential(8192)
}

#[test]
fn our_pages_are_the_servers_at_16k() -> Result<()> {
    differential(16384)
}

#[test]
fn our_pages_are_the_servers_at_32k() -> Result<()> {
    differential(32768)
}

#[test]
fn our_pages_are_the_servers_at_64k() -> Result<()> {
    differential(65536)
}
