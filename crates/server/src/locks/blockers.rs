//! Sessions that a lock has to wait for: who they are, and, where the user asked for it, their end.

use std::fmt;
use std::time::Duration;

use reseed_terms::{Flavour, ServerVersion};

use crate::error::ServerError;
use crate::row::Row;
use crate::session::{Session, shorten};

/// How many are listed; more would hide the first.
const LISTED: usize = 10;

/// What may be killed so that a lock is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KillPolicy {
    Never,
    /// Statements in our way are killed once we have waited for `after`.
    Queries {
        after: Duration,
        kind: QueryKind,
    },
}

/// Which statements may be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKind {
    /// Only those that read: nothing is lost but the reader's time.
    Select,
    All,
}

/// A session that stands in the way, or may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    pub id: u64,
    pub user: String,
    pub host: String,
    /// Seconds in the present state.
    pub seconds: u64,
    pub command: String,
    pub state: String,
    /// Shortened, on one line, without passwords. Empty for an idle session.
    pub statement: String,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} ({}", self.id, self.user)?;
        if !self.host.is_empty() {
            write!(f, "@{}", self.host)?;
        }
        write!(f, ", {} s", self.seconds)?;
        if !self.state.is_empty() {
            write!(f, ", {}", self.state)?;
        }
        f.write_str(")")?;
        if self.statement.is_empty() { Ok(()) } else { write!(f, ": {}", self.statement) }
    }
}

/// Sessions that run a statement or sit in an open transaction, longest first; without `own`, and without the
/// server's threads that no lock waits for.
pub(crate) fn list(
    session: &mut Session,
    version: &ServerVersion,
    own: &[u32],
) -> Result<Vec<Blocker>, ServerError> {
    let mut own: Vec<u64> = own.iter().map(|id| u64::from(*id)).collect();
    own.push(u64::from(session.id()));
    let holders = match version.flavour {
        Flavour::MySql => lock_holders(session)?,
        Flavour::MariaDb => Vec::new(),
    };
    let mut in_transaction = Vec::new();
    if let Ok(rows) = session.query(
        "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) FROM information_schema.innodb_trx",
    ) {
        in_transaction.extend(rows.iter().filter_map(|row| {
            Some((row.text(0)?.parse::<u64>().ok()?, row.text(1)?.parse::<u64>().ok()?))
        }));
    }
    let rows = session.query("SHOW FULL PROCESSLIST")?;
    let mut found: Vec<Blocker> = rows
        .iter()
        .filter_map(blocker)
        .filter(|blocker| !own.contains(&blocker.id))
        .filter_map(|mut blocker| {
            let idle = matches!(blocker.command.as_str(), "Sleep");
            if idle && holders.contains(&blocker.id) {
                blocker.state = "idle, holds a lock".to_owned();
                return Some(blocker);
            }
            if idle {
                let (_, seconds) = in_transaction.iter().find(|(id, _)| *id == blocker.id)?;
                blocker.state = "idle in a transaction".to_owned();
                blocker.seconds = *seconds;
            }
            Some(blocker)
        })
        .collect();
    // Where the server tells who holds what, only they are named.
    if found.iter().any(|blocker| holders.contains(&blocker.id)) {
        found.retain(|blocker| holders.contains(&blocker.id));
    }
    found.sort_by_key(|blocker| std::cmp::Reverse(blocker.seconds));
    found.truncate(LISTED);
    Ok(found)
}

/// Every session that runs a statement.
pub(crate) fn list_all(session: &mut Session) -> Result<Vec<Blocker>, ServerError> {
    let own = u64::from(session.id());
    let rows = session.query("SHOW FULL PROCESSLIST")?;
    Ok(rows.iter().filter_map(blocker).filter(|blocker| blocker.id != own).collect())
}

/// MySQL tells who holds metadata locks, where the account may look.
fn lock_holders(session: &mut Session) -> Result<Vec<u64>, ServerError> {
    let rows = session.query(
        "SELECT DISTINCT t.processlist_id FROM performance_schema.metadata_locks AS l \
         JOIN performance_schema.threads AS t ON t.thread_id = l.owner_thread_id \
         WHERE l.lock_status = 'GRANTED' AND l.object_type IN ('BACKUP LOCK', 'GLOBAL', 'COMMIT') \
         AND t.processlist_id IS NOT NULL",
    );
    match rows {
        Ok(rows) => Ok(rows.iter().filter_map(|row| row.text(0)?.parse().ok()).collect()),
        Err(ServerError::Statement { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn blocker(row: &Row) -> Option<Blocker> {
    let text = |name: &str| row.get(name).unwrap_or_default();
    let command = text("Command");
    let waits_for_nobody =
        matches!(command.as_str(), "Daemon" | "Binlog Dump" | "Binlog Dump GTID" | "Slave_IO");
    let user = text("User");
    if waits_for_nobody || user == "event_scheduler" {
        return None;
    }
    let idle_replication = user == "system user" && row.get("Info").is_none_or(|info| info.is_empty());
    if idle_replication {
        return None;
    }
    let host = text("Host");
    let host = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name).to_owned();
    Some(Blocker {
        id: text("Id").parse().ok()?,
        user,
        host,
        // MariaDB shows negative times for a clock that was set back.
        seconds: text("Time").parse::<i64>().ok().and_then(|time| u64::try_from(time).ok()).unwrap_or(0),
        state: text("State"),
        statement: shorten(&text("Info")),
        command,
    })
}

impl KillPolicy {
    /// Whether a blocker's statement may be killed.
    pub(crate) fn allows(&self, blocker: &Blocker) -> bool {
        let KillPolicy::Queries { kind, .. } = self else {
            return false;
        };
        if blocker.command != "Query" || blocker.user == "system user" {
            return false;
        }
        match kind {
            QueryKind::All => true,
            QueryKind::Select => {
                blocker.statement.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(command: &str, user: &str, info: Option<&str>) -> Option<Blocker> {
        blocker(&Row::of(&[
            ("Id", Some("17")),
            ("User", Some(user)),
            ("Host", Some("10.0.0.5:4711")),
            ("Command", Some(command)),
            ("Time", Some("42")),
            ("State", Some("Sending data")),
            ("Info", info),
        ]))
    }

    #[test]
    fn a_blocker_is_told_in_one_line() {
        let blocker = process("Query", "app", Some("SELECT *\n  FROM t")).unwrap();
        insta::assert_snapshot!(blocker.to_string(), @"connection 17 (app@10.0.0.5, 42 s, Sending data): SELECT * FROM t");
        assert!(process("Binlog Dump", "repl", None).is_none());
        assert!(process("Connect", "system user", None).is_none());
        assert!(process("Connect", "system user", Some("UPDATE t SET a = 1")).is_some());
    }

    #[test]
    fn only_what_the_user_allowed_is_killed() {
        let after = Duration::from_secs(1);
        let select = process("Query", "app", Some("select 1")).unwrap();
        let update = process("Query", "app", Some("UPDATE t SET a = 1")).unwrap();
        let applier = process("Query", "system user", Some("UPDATE t SET a = 1")).unwrap();
        let only_select = KillPolicy::Queries { after, kind: QueryKind::Select };
        let all = KillPolicy::Queries { after, kind: QueryKind::All };
        assert!(!KillPolicy::Never.allows(&select));
        assert!(only_select.allows(&select) && !only_select.allows(&update));
        assert!(all.allows(&update) && !all.allows(&applier));
    }
}
