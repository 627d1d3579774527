//! What makes a backup wait, a restore drag on or a replica differ, found before it does: each finding is one small
//! function that asks what a DBA would ask, judges the answer, and says what it means. Nothing is changed.

use std::fmt;

use reseed_terms::Flavour;
use serde::Serialize;

use crate::error::ServerError;
use crate::facts::ServerFacts;
use crate::handover::advice;
use crate::locks::{Blocker, blockers};
use crate::pause;
use crate::replica::ThreadState;
use crate::server::Server;
use crate::session::Session;

const MANY_TABLES: u64 = 100_000;
const LONG_HISTORY: u64 = 100_000;
const MANY_ROWS: u64 = 1_000_000;
const LONG_TRANSACTION_SECONDS: u64 = 60;
const SHORT_RETENTION_SECONDS: u64 = 86_400;
const LISTED: usize = 5;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Fine,
    /// Works, and takes longer or is less safe than it could be.
    Slow,
    /// Stops a backup, a restore or a replica.
    Blocks,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A short name that does not change: what a script may look for.
    pub name: &'static str,
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What it means for backup, restore or replica; empty when all is well.
    pub means: String,
    /// The query that shows it.
    pub query: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.found)?;
        if self.means.is_empty() { Ok(()) } else { write!(f, "; {}", self.means) }
    }
}

impl Finding {
    fn fine(name: &'static str, found: impl Into<String>, query: &str) -> Finding {
        Finding {
            name,
            verdict: Verdict::Fine,
            found: found.into(),
            means: String::new(),
            query: query.to_owned(),
        }
    }

    fn bad(self, verdict: Verdict, means: impl Into<String>) -> Finding {
        Finding { verdict, means: means.into(), ..self }
    }
}

impl Server {
    /// Looks at everything that is known to make a backup, a restore or a replica drag on. What the account may not
    /// see is left out.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn findings(&self, facts: &ServerFacts) -> Result<Vec<Finding>, ServerError> {
        let mut findings = vec![binary_log(facts), encryption(facts), other_engines(facts)];
        findings.extend(replication(facts));
        let mut session = self.session();
        for look in [
            temporary_tables,
            prepared_xa,
            tables,
            history,
            uncommitted_rows,
            long_transactions,
            ddl_in_flight,
        ] {
            match look(&mut session, facts) {
                Ok(finding) => findings.push(finding),
                Err(ServerError::Statement { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(findings)
    }
}

fn binary_log(facts: &ServerFacts) -> Finding {
    let query =
        "SHOW VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_expire_logs_seconds')";
    let Some(binlog) = &facts.binlog else {
        return Finding::fine("binary-log", "the server writes no binary log", query).bad(
            Verdict::Blocks,
            "nothing can replicate from it, and no point in time after a backup can be restored",
        );
    };
    let kept = binlog
        .expire_seconds
        .map_or_else(|| "until they are purged".to_owned(), |s| format!("for {} h", s / 3600));
    let finding =
        Finding::fine("binary-log", format!("format {}, binary logs are kept {kept}", binlog.format), query);
    if binlog.expire_seconds.is_some_and(|seconds| seconds < SHORT_RETENTION_SECONDS) {
        return finding.bad(
            Verdict::Slow,
            "a replica that is rebuilt for longer than that finds its place gone (error 1236)",
        );
    }
    if binlog.format != "ROW" {
        return finding.bad(
            Verdict::Slow,
            "statements may have another effect on a replica: binlog_format = ROW is safe",
        );
    }
    finding
}

fn encryption(facts: &ServerFacts) -> Finding {
    let query = "SHOW VARIABLES LIKE '%encrypt%'";
    let innodb = &facts.innodb;
    let found: Vec<&str> = [
        (innodb.redo_encrypted, "the redo log"),
        (innodb.undo_encrypted, "undo tablespaces"),
        (innodb.tables_encrypted_by_default, "new tables"),
        (facts.aria_encrypted, "Aria tables"),
    ]
    .iter()
    .filter_map(|(on, what)| on.then_some(*what))
    .collect();
    if found.is_empty() {
        return Finding::fine("encryption", "nothing is encrypted by default", query);
    }
    Finding::fine("encryption", format!("encrypted: {}", found.join(", ")), query)
        .bad(Verdict::Blocks, "reseed does not read what the server encrypts")
}

fn other_engines(facts: &ServerFacts) -> Finding {
    let query =
        "SELECT engine, COUNT(*) FROM information_schema.tables WHERE engine <> 'InnoDB' GROUP BY engine";
    let found: Vec<String> =
        facts.other_engines.iter().map(|(engine, count)| format!("{engine} {count}")).collect();
    if found.is_empty() {
        return Finding::fine("engines", "all tables of users are in InnoDB", query);
    }
    Finding::fine("engines", format!("tables outside InnoDB: {}", found.join(", ")), query)
        .bad(Verdict::Slow, "writes to them wait while they are copied at the end of a backup")
}

fn replication(facts: &ServerFacts) -> Vec<Finding> {
    let query = match facts.flavour() {
        Flavour::MariaDb => "SHOW ALL SLAVES STATUS",
        Flavour::MySql => "SHOW REPLICA STATUS",
    };
    let mut findings = Vec::new();
    for state in facts.replicas.iter().flatten() {
        let channel = &state.channel;
        let named = if channel.name.is_empty() { String::new() } else { format!(" ({})", channel.name) };
        let behind =
            state.seconds_behind.map_or_else(|| "an unknown lag".to_owned(), |s| format!("{s} s behind"));
        let finding = Finding::fine(
            "replication",
            format!("replica of {}:{}{named}, {behind}", channel.source_host, channel.source_port),
            query,
        );
        let error = [&state.applier_error, &state.receiver_error].into_iter().find(|error| error.number != 0);
        findings.push(match error {
            Some(error) => {
                let why = crate::attach::explain(error.number, &error.text, None);
                finding.bad(Verdict::Blocks, format!("error {}: {}; {}", error.number, why.cause, why.remedy))
            }
            None if state.receiver == ThreadState::Running && state.applier == ThreadState::Running => {
                finding
            }
            None => finding.bad(
                Verdict::Blocks,
                "it does not run, and gives no error: someone stopped it, or a backup --safe that was killed; \
                 START REPLICA (MariaDB: START ALL SLAVES) lets it run again",
            ),
        });
        for setting in advice::living(&facts.version, &facts.variables, channel.by_gtid) {
            findings.push(
                Finding::fine("crash-safe", setting.sql, "SHOW VARIABLES")
                    .bad(Verdict::Slow, setting.comment),
            );
        }
    }
    findings
}

fn temporary_tables(session: &mut Session, facts: &ServerFacts) -> Result<Finding, ServerError> {
    let query = match facts.flavour() {
        Flavour::MariaDb => "SHOW GLOBAL STATUS LIKE 'Slave_open_temp_tables'",
        Flavour::MySql => "SHOW GLOBAL STATUS LIKE 'Replica_open_temp_tables'",
    };
    let open = pause::open_temporary_tables(session)?;
    let finding =
        Finding::fine("temporary-tables", format!("{open} temporary tables of replicated statements"), query);
    if open == 0 {
        return Ok(finding);
    }
    Ok(finding.bad(
        Verdict::Slow,
        "a replica made from a backup that is taken now lacks them, and stops at the next statement that uses one: \
         backup --safe waits until they are closed",
    ))
}

fn prepared_xa(session: &mut Session, _: &ServerFacts) -> Result<Finding, ServerError> {
    let query = "XA RECOVER";
    let count = session.query(query)?.len();
    if count == 0 {
        return Ok(Finding::fine("prepared-xa", "no prepared transaction", query));
    }
    Ok(Finding::fine("prepared-xa", format!("{count} prepared XA transactions"), query).bad(
        Verdict::Slow,
        "they survive backup, restore and restarts, with their locks, until someone commits them or rolls them back",
    ))
}

fn tables(session: &mut Session, facts: &ServerFacts) -> Result<Finding, ServerError> {
    let query = match facts.flavour() {
        Flavour::MariaDb => "SELECT COUNT(*) FROM information_schema.innodb_sys_tablespaces",
        Flavour::MySql => "SELECT COUNT(*) FROM information_schema.innodb_tablespaces",
    };
    let count = number(session, query)?;
    let finding = Finding::fine("tables", format!("{count} tablespaces"), query);
    if count < MANY_TABLES {
        return Ok(finding);
    }
    Ok(finding.bad(
        Verdict::Slow,
        "each is a file to scan, to copy and to open at the start of the restored server",
    ))
}

fn history(session: &mut Session, _: &ServerFacts) -> Result<Finding, ServerError> {
    let query = "SELECT count FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len'";
    let length = number(session, query)?;
    let finding = Finding::fine("history", format!("history list length {length}"), query);
    if length < LONG_HISTORY {
        return Ok(finding);
    }
    Ok(finding.bad(
        Verdict::Slow,
        "undo that no purge has removed makes the copy larger and the start of the restored server slower: an old \
         transaction holds it, see long-transactions",
    ))
}

fn uncommitted_rows(session: &mut Session, _: &ServerFacts) -> Result<Finding, ServerError> {
    let query = "SELECT trx_mysql_thread_id, trx_rows_modified FROM information_schema.innodb_trx \
                 ORDER BY trx_rows_modified DESC LIMIT 1";
    let row = session.first(query)?;
    let value = |index| row.as_ref().and_then(|row| row.text(index)?.parse::<u64>().ok()).unwrap_or(0);
    let (id, rows) = (value(0), value(1));
    let finding =
        Finding::fine("uncommitted-rows", format!("at most {rows} rows changed and not committed"), query);
    if rows < MANY_ROWS {
        return Ok(finding);
    }
    Ok(finding.bad(
        Verdict::Slow,
        format!(
            "connection {id}: a backup taken now makes the restored server roll this back at its start, which takes \
             several times as long as it has run"
        ),
    ))
}

fn long_transactions(session: &mut Session, facts: &ServerFacts) -> Result<Finding, ServerError> {
    let query = "SELECT trx_mysql_thread_id, trx_started, trx_query FROM information_schema.innodb_trx ORDER BY trx_started";
    let mut found = blockers::list(session, &facts.version, &[])?;
    found.retain(|blocker| blocker.state.starts_with("idle") && blocker.seconds >= LONG_TRANSACTION_SECONDS);
    if found.is_empty() {
        return Ok(Finding::fine("long-transactions", "no session sits in an old transaction", query));
    }
    Ok(Finding::fine("long-transactions", told(&found), query).bad(
        Verdict::Slow,
        "they hold metadata locks: DDL, and every lock of a backup that waits for DDL, waits for them",
    ))
}

fn ddl_in_flight(session: &mut Session, _: &ServerFacts) -> Result<Finding, ServerError> {
    let query = "SHOW FULL PROCESSLIST";
    let mut found = blockers::list_all(session)?;
    found.retain(|blocker| is_ddl(&blocker.statement));
    if found.is_empty() {
        return Ok(Finding::fine("ddl", "no DDL is running", query));
    }
    Ok(Finding::fine("ddl", told(&found), query)
        .bad(Verdict::Slow, "a backup's lock on DDL waits for its end, and is given up at its limit"))
}

fn is_ddl(statement: &str) -> bool {
    let mut words = statement.split_whitespace().map(str::to_ascii_uppercase);
    let first = words.next().unwrap_or_default();
    matches!(
        first.as_str(),
        "ALTER" | "CREATE" | "DROP" | "TRUNCATE" | "RENAME" | "OPTIMIZE" | "REPAIR" | "ANALYZE"
    )
}

fn told(blockers: &[Blocker]) -> String {
    let mut text: Vec<String> = blockers.iter().take(LISTED).map(Blocker::to_string).collect();
    if blockers.len() > LISTED {
        text.push(format!("and {} more", blockers.len() - LISTED));
    }
    text.join("; ")
}

fn number(session: &mut Session, query: &str) -> Result<u64, ServerError> {
    Ok(session.value(query)?.and_then(|value| value.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ddl_is_known_by_its_first_word() {
        assert!(is_ddl("alter table t add b int") && is_ddl("OPTIMIZE TABLE t"));
        assert!(!is_ddl("SELECT * FROM alter_log") && !is_ddl(""));
    }

    #[test]
    fn a_finding_is_one_line() {
        let finding = Finding::fine("ddl", "no DDL is running", "SHOW FULL PROCESSLIST");
        assert_eq!(finding.to_string(), "ddl: no DDL is running");
        let finding = finding.bad(Verdict::Blocks, "it waits");
        assert_eq!(finding.to_string(), "ddl: no DDL is running; it waits");
    }
}
