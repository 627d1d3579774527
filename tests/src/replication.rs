//! Replication between two test servers: attaching, waiting, and the proof that nothing went wrong on the way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::layout::Family;
use crate::server::{REPLICATION_PASSWORD, REPLICATION_USER, Server};
use crate::session::Session;

const CATCH_UP_LIMIT: Duration = Duration::from_secs(300);

/// The statements that start replication of an empty replica from the source's very first event.
pub fn from_the_beginning(source: &Server) -> Vec<String> {
    from_the_beginning_at("127.0.0.1", source.port(), source.kind().family)
}

/// The same, for a source that listens elsewhere.
pub fn from_the_beginning_at(host: &str, port: u16, family: Family) -> Vec<String> {
    let password = REPLICATION_PASSWORD.replace('\'', "''");
    match family {
        Family::MariaDb => vec![
            "SET GLOBAL gtid_slave_pos=''".to_owned(),
            format!(
                "CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER='{REPLICATION_USER}', \
                 MASTER_PASSWORD='{password}', MASTER_USE_GTID=slave_pos"
            ),
            "START SLAVE".to_owned(),
        ],
        Family::MySql => vec![
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{host}', SOURCE_PORT={port}, \
                 SOURCE_USER='{REPLICATION_USER}', SOURCE_PASSWORD='{password}', GET_SOURCE_PUBLIC_KEY=1, \
                 SOURCE_LOG_FILE='binlog.000001', SOURCE_LOG_POS=4"
            ),
            "START REPLICA".to_owned(),
        ],
    }
}

/// Incident 1236: the replica stood still while the source wrote, and removed what it had written.
pub fn lose_the_place(source: &Server, replica: &Server) -> Result<()> {
    let (stop, start) = match source.kind().family {
        Family::MariaDb => ("STOP SLAVE", "START SLAVE"),
        Family::MySql => ("STOP REPLICA", "START REPLICA"),
    };
    replica.sql(&[stop])?;
    source.sql(&["CREATE DATABASE missed_by_the_replica", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS"])?;
    let logs = source.rows("SHOW BINARY LOGS")?;
    let newest = logs.last().and_then(|log| log.first()).context("no binary log")?;
    await_that("the source removes its binary logs", || {
        // The sender of the replica that was stopped may hold its log a little longer.
        source.sql(&[&format!("PURGE BINARY LOGS TO '{newest}'")])?;
        Ok(source.rows("SHOW BINARY LOGS")?.len() == 1)
    })?;
    replica.sql(&[start])?;
    let mut session = replica.session()?;
    await_that("the replica finds that its place is gone", || {
        let state = status(&mut session, source.kind().is_mariadb())?;
        Ok(state.get("Last_IO_Error").is_some_and(|error| error.contains("1236")))
    })
}

/// Looks again and again until it is so.
pub fn await_that(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let since = Instant::now();
    while !so()? {
        if since.elapsed() > CATCH_UP_LIMIT {
            bail!("waited too long until {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The replica's state, column names as the newer dialect has them.
pub fn status(session: &mut Session, mariadb: bool) -> Result<BTreeMap<String, String>> {
    let rows = session.named_rows(if mariadb { "SHOW SLAVE STATUS" } else { "SHOW REPLICA STATUS" })?;
    let row = rows.into_iter().next().context("the server is not a replica")?;
    Ok(row
        .into_iter()
        .map(|(name, value)| (name.replace("Slave", "Replica").replace("Master", "Source"), value))
        .collect())
}

/// Waits until the replica has applied all that the source has in its binary log now.
pub fn wait_until_caught_up(source: &Server, replica: &Server) -> Result<()> {
    let mariadb = source.kind().is_mariadb();
    let mut there = source.session()?;
    let sql = if mariadb { "SHOW MASTER STATUS" } else { "SHOW BINARY LOG STATUS" };
    let end = there.named_rows(sql)?.into_iter().next().context("the source writes no binary log")?;
    let file = end.get("File").context("no file in the source's status")?.clone();
    let position: u64 = end.get("Position").context("no position in the source's status")?.parse()?;
    let mut here = replica.session()?;
    let since = Instant::now();
    loop {
        let now = status(&mut here, mariadb)?;
        let word = |name: &str| now.get(name).map_or("", String::as_str);
        for error in ["Last_SQL_Error", "Last_IO_Error"] {
            if !word(error).is_empty() {
                bail!("replication broke: {}: {}", error, word(error));
            }
        }
        let at: u64 = word("Exec_Source_Log_Pos").parse().unwrap_or(0);
        let running = word("Replica_SQL_Running") == "Yes";
        if running && (word("Relay_Source_Log_File"), at) >= (file.as_str(), position) {
            return Ok(());
        }
        if since.elapsed() > CATCH_UP_LIMIT {
            bail!("the replica did not catch up with {file}:{position}: {now:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Nothing was skipped: neither on purpose nor by a lenient setting.
pub fn assert_nothing_skipped(replica: &Server) -> Result<()> {
    let mut session = replica.session()?;
    let mariadb = replica.kind().is_mariadb();
    let word = if mariadb { "slave" } else { "replica" };
    let mode = session.value(&format!("SELECT @@GLOBAL.{word}_exec_mode"))?;
    let errors = session.value(&format!("SELECT @@GLOBAL.{word}_skip_errors"))?;
    if mode != "STRICT" || errors != "OFF" {
        bail!("the replica is lenient: {word}_exec_mode={mode}, {word}_skip_errors={errors}");
    }
    if mariadb {
        let skipped = session.rows("SHOW GLOBAL STATUS LIKE 'Slave_skipped_errors'")?;
        if skipped.iter().any(|row| row.get(1).is_some_and(|count| count != "0")) {
            bail!("the replica skipped events: {skipped:?}");
        }
    }
    let skip = status(&mut session, mariadb)?.get("Skip_Counter").cloned().unwrap_or_default();
    if skip != "0" {
        bail!("Skip_Counter is {skip}");
    }
    Ok(())
}
