//! The byte oracle: the same set, laid out raw and prepared by mariadb-backup, and restored by reseed, gives the
//! same pages. What the formats allow to differ is counted and printed; anything else fails.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use reseed_tests::pages::{self, Side};
use reseed_tests::workload::{Shape, Workload};
use reseed_tests::{Kit, ServerKind, Trip};

/// Files of one run that mariadb-backup may lose by name; a fulltext index alone has eleven.
const MOST_BY_NAME: usize = 30;
/// Differences that are shown of one comparison.
const SHOWN: usize = 12;

fn bytes_are_equal(name: &str, page_size: u32) -> Result<()> {
    let kind = ServerKind::named(name)?;
    if !kind.ensure()? {
        eprintln!("SKIPPED: {name} is not to be had");
        return Ok(());
    }
    let source = Kit::server(name)?.page_size(page_size).start()?;
    let seed = u64::from(page_size) + 7;
    let workload =
        Workload::prepare(&source, Shape { mib: 16, other_engines: false, ..Shape::seeded(seed) })?;
    let running = workload.start()?;
    running.wait_for_statements(1000)?;
    let trip = Trip::new()?;
    trip.backup(&source)?.arg("--rate=16M").run()?.expect_success()?;
    running.stop()?;

    let (raw, ours) = (trip.place("raw"), trip.place("ours"));
    trip.export(&raw)?;
    trip.restore(&ours)?.run()?.expect_success()?;
    // Without the file it would take the pages for 16K.
    let out = Command::new(kind.program("mariadb-backup"))
        .arg(format!("--defaults-file={}", raw.join("backup-my.cnf").display()))
        .args(["--prepare", "--use-memory=128M"])
        .arg(format!("--target-dir={}", raw.display()))
        .output()
        .context("cannot run mariadb-backup")?;
    ensure!(
        out.status.success(),
        "mariadb-backup --prepare failed:\n{}",
        String::from_utf8_lossy(&out.stderr)
    );

    let found = pages::compare(&ours, &raw, page_size)?;
    println!(
        "{name} page size {page_size}: {} pages of {} files equal; exceptions {:?}; by name {:?}",
        found.pages, found.files, found.exceptions, found.by_name
    );
    // What only mariadb-backup kept must be gone from the source: else ours has lost it.
    for lost in found.by_name.iter().filter(|file| file.side == Side::Theirs) {
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.innodb_sys_tablespaces WHERE space = {}",
            lost.space
        );
        ensure!(source.value(&sql)? == "0", "{} is missing in ours", lost.path.display());
    }
    ensure!(found.by_name.len() <= MOST_BY_NAME, "{} files without a counterpart", found.by_name.len());
    let shown: Vec<&String> = found.differences.iter().take(SHOWN).collect();
    ensure!(found.differences.is_empty(), "{} differences: {shown:#?}", found.differences.len());
    Ok(())
}

macro_rules! byte_tests {
    ($($test:ident: $name:literal, $page_size:literal;)*) => {
        $(
            #[test]
            fn $test() -> Result<()> {
                bytes_are_equal($name, $page_size)
            }
        )*
    };
}

byte_tests! {
    mariadb_10_5_pages_of_4k: "mariadb-10.5", 4096;
    mariadb_10_5_pages_of_8k: "mariadb-10.5", 8192;
    mariadb_10_5_pages_of_16k: "mariadb-10.5", 16384;
    mariadb_10_5_pages_of_32k: "mariadb-10.5", 32768;
    mariadb_10_5_pages_of_64k: "mariadb-10.5", 65536;
    mariadb_10_11_pages_of_4k: "mariadb-10.11", 4096;
    mariadb_10_11_pages_of_8k: "mariadb-10.11", 8192;
    mariadb_10_11_pages_of_16k: "mariadb-10.11", 16384;
    mariadb_10_11_pages_of_32k: "mariadb-10.11", 32768;
    mariadb_10_11_pages_of_64k: "mariadb-10.11", 65536;
    mariadb_11_8_pages_of_4k: "mariadb-11.8", 4096;
    mariadb_11_8_pages_of_8k: "mariadb-11.8", 8192;
    mariadb_11_8_pages_of_16k: "mariadb-11.8", 16384;
    mariadb_11_8_pages_of_32k: "mariadb-11.8", 32768;
    mariadb_11_8_pages_of_64k: "mariadb-11.8", 65536;
}
