//! What an error of replication means, and what to do. Skipping the event is never the answer.

use reseed_terms::Flavour;

use crate::error::ServerError;
use crate::facts::Variables;
use crate::server::Server;

/// What a source can tell about itself to an account that may see little.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceFacts {
    pub server_id: u32,
    pub server_uuid: Option<String>,
    /// The oldest binary log that it still has.
    pub oldest_log: Option<String>,
    pub newest_log: Option<String>,
    /// Seconds after which it removes binary logs.
    pub keeps_seconds: Option<u64>,
    /// MySQL.
    pub gtid_purged: String,
}

impl SourceFacts {
    /// Asks the source; what the account may not see stays empty.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn ask(source: &Server) -> Result<SourceFacts, ServerError> {
        let variables = Variables::read(&mut source.session())?;
        let logs = match source.binary_logs() {
            Ok(logs) => logs,
            Err(ServerError::Statement { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let gtid_purged = match source.flavour() {
            Flavour::MySql => super::place::bare(
                &source.session().value("SELECT @@GLOBAL.gtid_purged")?.unwrap_or_default(),
            ),
            Flavour::MariaDb => String::new(),
        };
        Ok(SourceFacts {
            server_id: variables.number("server_id").unwrap_or(0),
            server_uuid: variables.get("server_uuid").map(str::to_owned),
            oldest_log: logs.first().map(|(file, _)| file.clone()),
            newest_log: logs.last().map(|(file, _)| file.clone()),
            keeps_seconds: crate::facts::expire_seconds(&variables),
            gtid_purged,
        })
    }
}

/// Why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub cause: String,
    pub remedy: String,
}

/// Explains an error of replication by its number and the server's text.
pub fn explain(number: u32, message: &str, source: Option<&SourceFacts>) -> Explanation {
    let (cause, remedy) = match number {
        1236 | 1789 | 13114 => lost_place(message, source),
        1062 | 1022 | 1859 => (
            "a row that the source inserts is here already: the replica began at an earlier position than its data has, \
             or it was written to"
                .to_owned(),
            "do not skip the event; restore the backup again and run its own hand-over, and keep super_read_only or \
             read_only on"
                .to_owned(),
        ),
        1032 | 1146 | 1054 | 1049 | 1091 | 1050 | 1007 | 1008 | 1051 | 1060 | 1061 => (
            "what the source changes is not here as it was there: the replica began at another position than its data \
             has, or it was written to, or it filters what it replicates"
                .to_owned(),
            "do not skip the event; restore the backup again and run its own hand-over; compare replication filters and \
             lower_case_table_names of both servers"
                .to_owned(),
        ),
        1593 | 13117 => same_identity(message, source),
        1045 | 1698 | 1044 | 1130 | 1227 | 1820 | 3118 | 4151 => (
            "the source refuses the replication account: wrong user or password, the account is not allowed from this \
             host, or it lacks the privilege"
                .to_owned(),
            "on the source: SHOW GRANTS FOR the account must show REPLICATION SLAVE for this replica's host; then run the \
             hand-over with the right password"
                .to_owned(),
        ),
        2061 | 2059 => (
            "the source's account logs in with caching_sha2_password, which needs TLS or the source's public key".to_owned(),
            "use GET_SOURCE_PUBLIC_KEY = 1 or SOURCE_SSL = 1 in CHANGE REPLICATION SOURCE TO, as the hand-over has it"
                .to_owned(),
        ),
        2026 => (
            "the encrypted connection to the source cannot be made: it has no TLS, or its certificate is not trusted here"
                .to_owned(),
            "run the hand-over with TLS off for this source, or install its certificate authority".to_owned(),
        ),
        2002 | 2003 | 2005 | 2006 | 2013 | 1158..=1161 => (
            "the source cannot be reached from this host".to_owned(),
            "check its host name, port, bind-address and firewall; replication goes on by itself once it answers"
                .to_owned(),
        ),
        1677 => (
            "a column's type differs between source and replica and the row events cannot be converted".to_owned(),
            "SET GLOBAL slave_type_conversions = 'ALL_NON_LOSSY' (replica_type_conversions from MySQL 8.0.26 on) lets the \
             replica widen values; then START the applier again"
                .to_owned(),
        ),
        1594 | 13121 | 1595 | 1872 | 1871 => (
            "the relay log is damaged or belongs to another life of this server".to_owned(),
            "with relay_log_recovery = ON a restart fetches it again from the source; else restore and run the hand-over"
                .to_owned(),
        ),
        1950 | 1955 | 1951 => (
            "the source's GTIDs and this server's do not follow from one another: one of them wrote events that the \
             other does not have"
                .to_owned(),
            "restore a backup of the present source and run its hand-over; keep read_only on afterwards".to_owned(),
        ),
        1776..=1782 => (
            "GTIDs are switched differently on source and replica".to_owned(),
            "set gtid_mode = ON and enforce_gtid_consistency = ON on both, or hand over by file and position".to_owned(),
        ),
        1837 | 1785 | 1786 => (
            "the source runs statements that GTIDs cannot carry safely".to_owned(),
            "see enforce_gtid_consistency on the source".to_owned(),
        ),
        1205 | 1213 | 3572 => (
            "another session here holds locks that the applier needs".to_owned(),
            "end that session (SHOW PROCESSLIST), then START the applier again; nothing is lost".to_owned(),
        ),
        1114 | 1021 | 3 | 28 => ("there is no space left here".to_owned(), "make space and START the applier again".to_owned()),
        0 => (
            "replication does not run, and the server gives no reason: it was not started, or someone stopped it".to_owned(),
            "run the hand-over, or start it: START REPLICA, in MariaDB START SLAVE".to_owned(),
        ),
        _ => (
            "the server's own words are all that is known".to_owned(),
            "read the replica's error log; do not skip events".to_owned(),
        ),
    };
    Explanation { cause, remedy }
}

/// Error 1236 is many errors; its text tells them apart.
fn lost_place(message: &str, source: Option<&SourceFacts>) -> (String, String) {
    let lower = message.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if says(&[
        "more gtids than the source has",
        "more gtids than the master has",
        "diverged",
        "not found in the source's binlog",
    ]) {
        return (
            "this replica has transactions that the source does not have: the source was restored or failed over, or \
             the replica was written to"
                .to_owned(),
            "find out which history is right; then restore a backup of that server and run its hand-over".to_owned(),
        );
    }
    if says(&[
        "impossible position",
        "binlog truncated",
        "client requested master to start replication from",
        "event too small",
    ]) {
        return (
            "the source's binary log does not hold the position asked for: it crashed without sync_binlog = 1, or the \
             position is of another server"
                .to_owned(),
            "take a new backup of the source and run its hand-over".to_owned(),
        );
    }
    if says(&["max_allowed_packet"]) {
        return (
            "an event is larger than max_allowed_packet".to_owned(),
            "raise max_allowed_packet on the source and replica_max_allowed_packet (slave_max_allowed_packet) here, then \
             start again"
                .to_owned(),
        );
    }
    if says(&["binary logging not enabled", "binlog is not open", "binary log is not open"]) {
        return (
            "the source writes no binary log".to_owned(),
            "set log_bin there and take a new backup".to_owned(),
        );
    }
    let mut cause = "the source has already removed binary logs that this replica still needs".to_owned();
    if let Some(source) = source {
        if let (Some(oldest), Some(newest)) = (&source.oldest_log, &source.newest_log) {
            cause.push_str(&format!("; it has {oldest} to {newest}"));
        }
        if !source.gtid_purged.is_empty() {
            cause.push_str(&format!("; it has purged {}", source.gtid_purged));
        }
        match source.keeps_seconds {
            Some(seconds) => cause.push_str(&format!("; it removes them after {}", lasting(seconds))),
            None => cause.push_str("; it removes them by hand only, or by size"),
        }
    }
    let remedy = "take a new backup of the source, restore it and run its hand-over; before that, keep binary logs for longer \
                  than backup, restore and catching up take: binlog_expire_logs_seconds (expire_logs_days)"
        .to_owned();
    (cause, remedy)
}

fn same_identity(message: &str, source: Option<&SourceFacts>) -> (String, String) {
    let lower = message.to_ascii_lowercase();
    if lower.contains("uuid") {
        return (
            "source and replica have the same server_uuid: auto.cnf was copied".to_owned(),
            "stop this server, remove auto.cnf from its datadir and start it again: it makes a new one"
                .to_owned(),
        );
    }
    if lower.contains("server_id") || lower.contains("server id") {
        let id = source.map(|source| format!(" ({})", source.server_id)).unwrap_or_default();
        return (
            format!("source and replica have the same server_id{id}"),
            "give this server a server_id of its own in its option file (SET GLOBAL server_id = N until then), then run \
             the hand-over"
                .to_owned(),
        );
    }
    (
        "the receiver found the source unfit to replicate from".to_owned(),
        "see the server's own words".to_owned(),
    )
}

/// Seconds as people say them.
fn lasting(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(number: u32, message: &str, source: Option<&SourceFacts>) -> String {
        let Explanation { cause, remedy } = explain(number, message, source);
        format!("{cause}\n=> {remedy}")
    }

    #[test]
    fn purged_logs_are_named() {
        let source = SourceFacts {
            oldest_log: Some("binlog.000028".to_owned()),
            newest_log: Some("binlog.000031".to_owned()),
            keeps_seconds: Some(86_400),
            ..SourceFacts::default()
        };
        insta::assert_snapshot!(told(1236, "Could not find first log file name in binary log index file", Some(&source)), @r"
the source has already removed binary logs that this replica still needs; it has binlog.000028 to binlog.000031; it removes them after 24 h
=> take a new backup of the source, restore it and run its hand-over; before that, keep binary logs for longer than backup, restore and catching up take: binlog_expire_logs_seconds (expire_logs_days)
");
    }

    #[test]
    fn the_many_meanings_of_1236() {
        insta::assert_snapshot!(told(1236, "Replica has more GTIDs than the source has, using the source's SERVER_UUID", None), @r"
this replica has transactions that the source does not have: the source was restored or failed over, or the replica was written to
=> find out which history is right; then restore a backup of that server and run its hand-over
");
        insta::assert_snapshot!(told(1236, "Client requested source to start replication from impossible position", None), @r"
the source's binary log does not hold the position asked for: it crashed without sync_binlog = 1, or the position is of another server
=> take a new backup of the source and run its hand-over
");
        insta::assert_snapshot!(told(1236, "Binary log is not open", None), @r"
the source writes no binary log
=> set log_bin there and take a new backup
");
    }

    #[test]
    fn equal_identities() {
        let source = SourceFacts { server_id: 7, ..SourceFacts::default() };
        insta::assert_snapshot!(told(1593, "source and replica have equal MySQL server ids", Some(&source)), @r"
source and replica have the same server_id (7)
=> give this server a server_id of its own in its option file (SET GLOBAL server_id = N until then), then run the hand-over
");
        insta::assert_snapshot!(told(1593, "source and replica have equal MySQL server UUIDs", None), @r"
source and replica have the same server_uuid: auto.cnf was copied
=> stop this server, remove auto.cnf from its datadir and start it again: it makes a new one
");
    }

    #[test]
    fn nothing_ever_advises_to_skip() {
        for number in 0..4200 {
            let text = told(number, "", None).to_ascii_lowercase();
            assert!(!text.contains("skip") || text.contains("do not skip"), "{number}: {text}");
        }
    }
}
