//! Our pages and a clean log as a datadir: the server starts on it and has what its own recovery has.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use reseed_innodb::{fsp, set_flush_lsn};
use reseed_redo::mysql::{TableMetadata, clean_log};
use reseed_terms::ServerVersion;
use reseed_tests::Server;

use crate::crash::{Crash, REDO, builder, copy_files};
use crate::own::Own;

/// Lays out the datadir that a restore would.
fn lay_out(crash: &Crash, own: &Own, dir: &Path) -> Result<()> {
    copy_files(crash.start.path(), dir, |path| !path.starts_with("recovered"))?;
    for ((path, page), bytes) in &own.pages {
        let file = fs::File::options().write(true).open(dir.join(path))?;
        file.write_all_at(bytes, u64::from(*page) * bytes.len() as u64)?;
    }
    let mut metadata = TableMetadata::default();
    for (table, version, kind, payload) in &own.metadata {
        metadata.add(*table, *version, *kind, payload)?;
    }
    let version = ServerVersion::parse(crash.creator.trim_start_matches("MySQL "))?;
    let log = clean_log(&version, own.end, u64::from(crash.page_size), &metadata)?;
    fs::create_dir_all(dir.join(REDO))?;
    fs::write(dir.join(REDO).join(log.name), &log.bytes)?;
    for (path, format) in &own.formats {
        let file = fs::File::options().read(true).write(true).open(dir.join(path))?;
        let mut page0 = vec![0; format.physical().bytes()];
        file.read_exact_at(&mut page0, 0)?;
        let size = u64::from(fsp::size(&page0)) * format.physical().as_u64();
        if file.metadata()?.len() < size {
            file.set_len(size)?;
        }
        if path.starts_with("ibdata1") {
            set_flush_lsn(&mut page0, format, log.flush_lsn)?;
            file.write_all_at(&page0, 0)?;
        }
    }
    Ok(())
}

/// What the two servers must have in common.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    checksums: Vec<(String, String)>,
    documents: Vec<Vec<String>>,
    counters: Vec<Vec<String>>,
    prepared: Vec<Vec<String>>,
}

fn content(server: &Server) -> Result<Content> {
    let mut session = server.session()?;
    session.exec("SET SESSION information_schema_stats_expiry=0")?;
    Ok(Content {
        // With a multi-valued index the statement gives another sum each time: those rows are asked for below.
        checksums: server.checksums()?.into_iter().filter(|(table, _)| table != "`t`.`js`").collect(),
        documents: session.rows("SELECT id, SHA2(CAST(j AS CHAR), 256), a FROM t.js ORDER BY id")?,
        counters: session.rows(
            "SELECT TABLE_NAME, AUTO_INCREMENT FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA='t' AND AUTO_INCREMENT IS NOT NULL ORDER BY 1",
        )?,
        prepared: session.rows("XA RECOVER")?,
    })
}

/// The server on our pages, against the server that recovers by itself.
pub fn check(crash: &Crash, own: &Own) -> Result<()> {
    let dir = crash.start.path().join("recovered");
    crash.lay_out_redo(&dir)?;
    let mut theirs = builder(crash.page_size, 128)?.on_datadir(&dir).prepare()?;
    theirs.start()?;
    let expected = content(&theirs)?;
    theirs.kill()?;
    fs::remove_dir_all(&dir)?;

    lay_out(crash, own, &dir)?;
    let mut ours = builder(crash.page_size, 128)?.on_datadir(&dir).prepare()?;
    ours.start()?;
    let found = content(&ours)?;
    ensure!(found == expected, "on our pages: {found:?}\nby its own recovery: {expected:?}");
    let counter = found.counters.iter().find(|row| row.first().is_some_and(|name| name == "chi"));
    let counter = counter.and_then(|row| row.get(1)).context("no counter of chi")?;
    ensure!(counter == "900001", "a counter that only redo carries is {counter}");
    ensure!(found.prepared.len() == 1, "prepared transactions: {:?}", found.prepared);
    let bad = ours.check_tables()?;
    ensure!(bad.is_empty(), "CHECK TABLE: {bad:?}");
    let lines = ours.unexpected_log_lines();
    ensure!(lines.is_empty(), "the server complains:\n{}", lines.join("\n"));
    Ok(())
}
