//! A server as a replica: what it replicates from, how far it is and what is wrong with it, under the many names
//! that the servers have given to the same columns.

use reseed_terms::{BinlogPosition, DelayedBy, Flavour, ReplicaChannel, ServerVersion};

use crate::error::ServerError;
use crate::row::Row;
use crate::session::Session;

/// An error that a replication thread has stopped at; number 0 is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThreadError {
    pub number: u32,
    pub text: String,
}

/// State of a replication thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ThreadState {
    #[default]
    Stopped,
    /// The receiver, while it has no connection.
    Connecting,
    Running,
}

/// One channel (MySQL) or connection (MariaDB) at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaState {
    pub channel: ReplicaChannel,
    pub receiver: ThreadState,
    pub applier: ThreadState,
    pub receiver_doing: String,
    pub applier_doing: String,
    pub receiver_error: ThreadError,
    pub applier_error: ThreadError,
    pub seconds_behind: Option<u64>,
    /// File and position in the source's binary log up to which events have been received.
    pub received: Option<BinlogPosition>,
    pub source_server_id: u32,
    pub source_uuid: String,
    /// MySQL.
    pub retrieved_gtids: String,
    pub executed_gtids: String,
    /// MariaDB.
    pub gtid_io_pos: String,
    pub gtid_slave_pos: String,
    /// Temporary tables that replicated statements have open.
    pub open_temp_tables: u64,
    /// Bytes of relay log not applied yet, roughly.
    pub relay_log_bytes: u64,
    /// Seconds left of a deliberate delay.
    pub delay_left: Option<u64>,
}

impl ReplicaState {
    pub fn is_running(&self) -> bool {
        self.receiver == ThreadState::Running && self.applier == ThreadState::Running
    }
}

/// The statement that shows all channels.
pub(crate) fn status_statement(version: &ServerVersion) -> &'static str {
    match version.flavour {
        Flavour::MariaDb => "SHOW ALL SLAVES STATUS",
        Flavour::MySql if version.at_least(8, 0, 22) => "SHOW REPLICA STATUS",
        Flavour::MySql => "SHOW SLAVE STATUS",
    }
}

pub(crate) fn states(
    session: &mut Session,
    version: &ServerVersion,
) -> Result<Vec<ReplicaState>, ServerError> {
    let rows = session.query(status_statement(version))?;
    // Group replication's own channels are none that a new replica could take over.
    Ok(rows.iter().map(state).filter(|s| !s.channel.name.starts_with("group_replication_")).collect())
}

/// The columns that hold filters, old names and new.
const FILTERS: &[&str] = &[
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Rewrite_DB",
    "Replicate_Ignore_Server_Ids",
    "Replicate_Do_Domain_Ids",
    "Replicate_Ignore_Domain_Ids",
];

fn state(row: &Row) -> ReplicaState {
    let text = |names: &[&str]| row.any(names).unwrap_or_default();
    let number = |names: &[&str]| row.any(names).and_then(|value| value.trim().parse::<u64>().ok());
    let position = |file: &[&str], at: &[&str]| {
        let file = text(file);
        (!file.is_empty()).then(|| BinlogPosition { file, position: number(at).unwrap_or(0) })
    };
    let thread = |names: &[&str]| match text(names).as_str() {
        "Yes" => ThreadState::Running,
        "Connecting" | "Preparing" => ThreadState::Connecting,
        _ => ThreadState::Stopped,
    };
    let error = |numbers: &[&str], texts: &[&str]| ThreadError {
        number: number(numbers).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        text: text(texts),
    };
    let using_gtid = text(&["Using_Gtid"]);
    let by_gtid = text(&["Auto_Position"]) == "1" || !(using_gtid.is_empty() || using_gtid == "No");
    let using_gtid = if using_gtid == "No" { String::new() } else { using_gtid };
    let ignored_ids = row.any(&["Replicate_Ignore_Server_Ids"]).filter(|ids| !ids.trim().is_empty());
    let mut filters: Vec<(String, String)> = FILTERS
        .iter()
        .filter(|name| **name != "Replicate_Ignore_Server_Ids")
        .filter_map(|name| Some(((*name).to_owned(), row.get(name).filter(|value| !value.is_empty())?)))
        .collect();
    filters.extend(ignored_ids.map(|ids| ("Replicate_Ignore_Server_Ids".to_owned(), ids)));
    ReplicaState {
        channel: ReplicaChannel {
            name: text(&["Channel_Name", "Connection_name"]),
            source_host: text(&["Source_Host", "Master_Host"]),
            source_port: number(&["Source_Port", "Master_Port"])
                .and_then(|n| u16::try_from(n).ok())
                .unwrap_or(0),
            source_user: text(&["Source_User", "Master_User"]),
            applied: position(
                &["Relay_Source_Log_File", "Relay_Master_Log_File"],
                &["Exec_Source_Log_Pos", "Exec_Master_Log_Pos"],
            ),
            by_gtid,
            using_gtid,
            delay: DelayedBy(number(&["SQL_Delay"]).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)),
            filters,
        },
        receiver: thread(&["Replica_IO_Running", "Slave_IO_Running"]),
        applier: thread(&["Replica_SQL_Running", "Slave_SQL_Running"]),
        receiver_doing: text(&["Replica_IO_State", "Slave_IO_State"]),
        applier_doing: text(&["Replica_SQL_Running_State", "Slave_SQL_Running_State", "Slave_SQL_State"]),
        receiver_error: error(&["Last_IO_Errno"], &["Last_IO_Error"]),
        applier_error: error(&["Last_SQL_Errno"], &["Last_SQL_Error"]),
        seconds_behind: number(&["Seconds_Behind_Source", "Seconds_Behind_Master"]),
        received: position(
            &["Source_Log_File", "Master_Log_File"],
            &["Read_Source_Log_Pos", "Read_Master_Log_Pos"],
        ),
        source_server_id: number(&["Source_Server_Id", "Master_Server_Id"])
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(0),
        source_uuid: text(&["Source_UUID", "Master_UUID"]),
        retrieved_gtids: text(&["Retrieved_Gtid_Set"]),
        executed_gtids: text(&["Executed_Gtid_Set"]),
        gtid_io_pos: text(&["Gtid_IO_Pos"]),
        gtid_slave_pos: text(&["Gtid_Slave_Pos"]),
        open_temp_tables: 0,
        relay_log_bytes: number(&["Relay_Log_Space"]).unwrap_or(0),
        delay_left: number(&["SQL_Remaining_Delay"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_names_mean_the_same() {
        let new = Row::of(&[
            ("Replica_IO_State", Some("Waiting for source to send event")),
            ("Source_Host", Some("h")),
            ("Source_User", Some("repl")),
            ("Source_Port", Some("3306")),
            ("Source_Log_File", Some("b.2")),
            ("Read_Source_Log_Pos", Some("9")),
            ("Relay_Source_Log_File", Some("b.1")),
            ("Exec_Source_Log_Pos", Some("4")),
            ("Replica_IO_Running", Some("Yes")),
            ("Replica_SQL_Running", Some("No")),
            ("Last_SQL_Errno", Some("1062")),
            ("Last_SQL_Error", Some("Duplicate")),
            ("Seconds_Behind_Source", None),
            ("Auto_Position", Some("1")),
            ("Channel_Name", Some("c")),
            ("Replicate_Do_DB", Some("a,b")),
        ]);
        let old = Row::of(&[
            ("Connection_name", Some("c")),
            ("Slave_IO_State", Some("Waiting for source to send event")),
            ("Master_Host", Some("h")),
            ("Master_User", Some("repl")),
            ("Master_Port", Some("3306")),
            ("Master_Log_File", Some("b.2")),
            ("Read_Master_Log_Pos", Some("9")),
            ("Relay_Master_Log_File", Some("b.1")),
            ("Exec_Master_Log_Pos", Some("4")),
            ("Slave_IO_Running", Some("Yes")),
            ("Slave_SQL_Running", Some("No")),
            ("Last_SQL_Errno", Some("1062")),
            ("Last_SQL_Error", Some("Duplicate")),
            ("Seconds_Behind_Master", None),
            ("Using_Gtid", Some("Slave_Pos")),
            ("Replicate_Do_DB", Some("a,b")),
        ]);
        let new = state(&new);
        let mut old = state(&old);
        assert_eq!(old.channel.using_gtid, "Slave_Pos");
        old.channel.using_gtid.clear();
        assert_eq!(new, old);
        assert_eq!(new.channel.applied, Some(BinlogPosition { file: "b.1".into(), position: 4 }));
        assert_eq!(new.channel.filters, [("Replicate_Do_DB".to_owned(), "a,b".to_owned())]);
        assert_eq!((new.receiver, new.applier), (ThreadState::Running, ThreadState::Stopped));
        assert_eq!(new.applier_error, ThreadError { number: 1062, text: "Duplicate".to_owned() });
    }

    #[test]
    fn positions_by_file_are_no_gtid_positions() {
        assert!(!state(&Row::of(&[("Using_Gtid", Some("No"))])).channel.by_gtid);
        assert!(!state(&Row::of(&[("Auto_Position", Some("0"))])).channel.by_gtid);
    }
}
