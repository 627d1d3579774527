//! Where a server stands in the replication streams and in its redo, read so that the parts belong to one instant.

use std::time::{Duration, Instant};

use reseed_terms::{BinlogPosition, Coordinates, Flavour, Lsn, ReplicaChannel, ServerVersion};

use crate::error::ServerError;
use crate::replica;
use crate::server::RedoPosition;
use crate::session::Session;

/// How often coordinates are read anew when they change under our hands before that is an error.
const TRIES: u32 = 20;
/// A replica with parallel appliers and no GTIDs publishes its low-water mark about three times a second.
const SETTLE: Duration = Duration::from_millis(400);
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// MySQL's `performance_schema.log_status`: the server stops its logs for a moment to fill it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStatus {
    pub server_uuid: String,
    pub binlog: Option<BinlogPosition>,
    pub gtid_executed: String,
    pub lsn: Lsn,
    pub checkpoint: Lsn,
}

pub(crate) fn read(
    session: &mut Session,
    version: &ServerVersion,
) -> Result<(Coordinates, Lsn), ServerError> {
    match version.flavour {
        Flavour::MariaDb => mariadb(session, version),
        Flavour::MySql => mysql(session, version),
    }
}

fn channels(session: &mut Session, version: &ServerVersion) -> Result<Vec<ReplicaChannel>, ServerError> {
    let states = replica::states(session, version)?;
    Ok(states
        .into_iter()
        .map(|state| state.channel)
        .filter(|channel| !channel.source_host.is_empty())
        .collect())
}

fn unsettled(statement: &str) -> ServerError {
    ServerError::Answer {
        statement: statement.to_owned(),
        reason: "the coordinates kept changing while they were read; is the lock still held?".to_owned(),
    }
}

fn mariadb(session: &mut Session, version: &ServerVersion) -> Result<(Coordinates, Lsn), ServerError> {
    let mut before = mariadb_once(session, version)?;
    for _ in 0..TRIES {
        // The LSN is read after the coordinates: what they count is then in the redo before it.
        let lsn = redo_position(session)?.current;
        let after = mariadb_once(session, version)?;
        if after == before {
            return Ok((after, lsn));
        }
        before = after;
    }
    Err(unsettled("SHOW MASTER STATUS"))
}

fn mariadb_once(session: &mut Session, version: &ServerVersion) -> Result<Coordinates, ServerError> {
    let binlog = binlog_position(session, version)?;
    let row = session
        .first("SELECT @@GLOBAL.gtid_binlog_pos, @@GLOBAL.gtid_current_pos, @@GLOBAL.gtid_slave_pos")?;
    let text = |index| row.as_ref().and_then(|row| row.text(index)).unwrap_or_default();
    Ok(Coordinates {
        gtid: if binlog.is_some() { text(0) } else { String::new() },
        gtid_current: text(1),
        gtid_slave: text(2),
        gtid_mode: false,
        channels: channels(session, version)?,
        binlog,
    })
}

pub(crate) fn binlog_position(
    session: &mut Session,
    version: &ServerVersion,
) -> Result<Option<BinlogPosition>, ServerError> {
    let statement = match version.flavour {
        Flavour::MySql if version.at_least(8, 2, 0) => "SHOW BINARY LOG STATUS",
        _ => "SHOW MASTER STATUS",
    };
    let Some(row) = session.first(statement)? else {
        return Ok(None);
    };
    let (Some(file), Some(position)) =
        (row.get("File").filter(|file| !file.is_empty()), row.number("Position"))
    else {
        return Ok(None);
    };
    Ok(Some(BinlogPosition { file, position }))
}

fn mysql(session: &mut Session, version: &ServerVersion) -> Result<(Coordinates, Lsn), ServerError> {
    let gtid_mode = session.value("SELECT @@GLOBAL.gtid_mode")?.is_some_and(|mode| mode == "ON");
    let mut before = settled_channels(session, version)?;
    for _ in 0..TRIES {
        let status = log_status(session)?;
        let after = channels(session, version)?;
        // A channel that finds its place by GTID is in `gtid_executed`; one that goes by file must stand still.
        let by_file = |channels: &[ReplicaChannel]| {
            channels.iter().filter(|channel| !channel.by_gtid).cloned().collect::<Vec<_>>()
        };
        if by_file(&before) == by_file(&after) {
            let coordinates = Coordinates {
                binlog: status.binlog,
                gtid: status.gtid_executed,
                gtid_mode,
                channels: after,
                ..Coordinates::default()
            };
            return Ok((coordinates, status.lsn));
        }
        before = after;
    }
    Err(unsettled("SELECT FROM performance_schema.log_status"))
}

/// The channels once their positions have stopped moving, where a position is all they have.
fn settled_channels(
    session: &mut Session,
    version: &ServerVersion,
) -> Result<Vec<ReplicaChannel>, ServerError> {
    let mut seen = channels(session, version)?;
    let deadline = Instant::now() + SETTLE_LIMIT;
    while seen.iter().any(|channel| !channel.by_gtid) {
        std::thread::sleep(SETTLE);
        let again = channels(session, version)?;
        if again == seen {
            break;
        }
        if Instant::now() >= deadline {
            return Err(unsettled("SHOW REPLICA STATUS"));
        }
        seen = again;
    }
    Ok(seen)
}

pub(crate) fn log_status(session: &mut Session) -> Result<LogStatus, ServerError> {
    let statement = "SELECT server_uuid, local, storage_engines FROM performance_schema.log_status";
    let row = session.first(statement)?;
    let row = row.ok_or_else(|| answer(statement, "it has no row"))?;
    let text = |index| row.text(index).ok_or_else(|| answer(statement, "a column is NULL"));
    parse_log_status(text(0)?, &text(1)?, &text(2)?)
}

fn answer(statement: &str, reason: impl Into<String>) -> ServerError {
    ServerError::Answer { statement: statement.to_owned(), reason: reason.into() }
}

fn parse_log_status(server_uuid: String, local: &str, engines: &str) -> Result<LogStatus, ServerError> {
    let statement = "SELECT FROM performance_schema.log_status";
    let json = |text: &str| {
        serde_json::from_str::<serde_json::Value>(text).map_err(|error| answer(statement, error.to_string()))
    };
    let (local, engines) = (json(local)?, json(engines)?);
    let text = |name: &str| local.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    let file = text("binary_log_file");
    let position = local.get("binary_log_position").and_then(serde_json::Value::as_u64).unwrap_or(0);
    let innodb = engines.get("InnoDB").ok_or_else(|| answer(statement, "InnoDB is missing"))?;
    let lsn = |name: &str| {
        innodb
            .get(name)
            .and_then(serde_json::Value::as_u64)
            .map(Lsn)
            .ok_or_else(|| answer(statement, format!("InnoDB's {name} is missing")))
    };
    Ok(LogStatus {
        server_uuid,
        binlog: (!file.is_empty()).then_some(BinlogPosition { file, position }),
        // The server breaks long sets into lines.
        gtid_executed: text("gtid_executed").split_whitespace().collect(),
        lsn: lsn("LSN")?,
        checkpoint: lsn("LSN_checkpoint")?,
    })
}

pub(crate) fn redo_position(session: &mut Session) -> Result<RedoPosition, ServerError> {
    let statement = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_lsn_current', 'Innodb_lsn_flushed', \
                     'Innodb_lsn_last_checkpoint', 'Innodb_redo_log_current_lsn', \
                     'Innodb_redo_log_flushed_to_disk_lsn', 'Innodb_redo_log_checkpoint_lsn')";
    let rows = session.query(statement)?;
    let find = |names: [&str; 2]| {
        rows.iter()
            .find(|row| {
                row.text(0).is_some_and(|name| names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)))
            })
            .and_then(|row| row.text(1)?.parse().ok())
            .map(Lsn)
            .ok_or_else(|| {
                answer("SHOW GLOBAL STATUS", format!("neither {} nor {} is there", names[0], names[1]))
            })
    };
    Ok(RedoPosition {
        current: find(["Innodb_lsn_current", "Innodb_redo_log_current_lsn"])?,
        flushed: find(["Innodb_lsn_flushed", "Innodb_redo_log_flushed_to_disk_lsn"])?,
        checkpoint: find(["Innodb_lsn_last_checkpoint", "Innodb_redo_log_checkpoint_lsn"])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_status_as_the_server_writes_it() {
        let status = parse_log_status(
            "u".to_owned(),
            r#"{"gtid_executed": "a:1-5,\nb:1", "binary_log_file": "binlog.000005", "binary_log_position": 198}"#,
            r#"{"InnoDB": {"LSN": 177547083, "LSN_checkpoint": 177547000}}"#,
        )
        .unwrap();
        assert_eq!(status.binlog, Some(BinlogPosition { file: "binlog.000005".into(), position: 198 }));
        assert_eq!(status.gtid_executed, "a:1-5,b:1");
        assert_eq!((status.lsn, status.checkpoint), (Lsn(177_547_083), Lsn(177_547_000)));
    }

    #[test]
    fn a_log_status_without_innodb_is_refused() {
        let error = parse_log_status(String::new(), "{}", "{}").unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"the server's answer to SELECT FROM performance_schema.log_status is not understood: InnoDB is missing");
        assert!(parse_log_status(String::new(), "{", "{}").is_err());
    }
}
