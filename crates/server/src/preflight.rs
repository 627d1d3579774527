//! Which privileges the account lacks, found before anything is done, all at once, with the statements that grant
//! them.

use std::collections::BTreeSet;

use reseed_terms::{Flavour, ServerVersion};

use crate::error::ServerError;
use crate::server;
use crate::session::Session;

/// What the account is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    /// The server is a replica whose own coordinates are wanted.
    pub replica: bool,
    /// `--safe`: the applier is stopped and started.
    pub pause_applier: bool,
    /// Blocking statements may be killed.
    pub kill: bool,
    /// MySQL: the redo log consumer or the instance lock are used.
    pub backup_lock: bool,
    /// Replication is set up and followed here, rather than a backup taken.
    pub attach: bool,
    /// Replicas log in with the account, and nothing else is done with it.
    pub replicate: bool,
}

impl Purpose {
    /// A backup with everything at its default.
    pub fn backup() -> Purpose {
        Purpose {
            replica: true,
            pause_applier: false,
            kill: false,
            backup_lock: true,
            attach: false,
            replicate: false,
        }
    }

    /// The hand-over on a restored server.
    pub fn attach() -> Purpose {
        Purpose { backup_lock: false, attach: true, ..Purpose::backup() }
    }

    /// The account that a replica logs in with, on its source.
    pub fn replicate() -> Purpose {
        Purpose { backup_lock: false, replicate: true, ..Purpose::backup() }
    }
}

/// A privilege that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub privilege: String,
    /// `*.*` or a table.
    pub on: String,
    /// What it is needed for.
    pub why: String,
    /// The statement that grants it to this account.
    pub grant: String,
}

struct Need {
    privilege: &'static str,
    on: &'static str,
    why: &'static str,
    /// Having one of these is as good.
    or: &'static [&'static str],
}

pub(crate) fn missing(
    session: &mut Session,
    version: &ServerVersion,
    purpose: Purpose,
) -> Result<Vec<Missing>, ServerError> {
    let account = server::account(session)?;
    let mut statement = "SHOW GRANTS".to_owned();
    if version.flavour == Flavour::MySql {
        // What active roles give is shown only when they are named; MariaDB shows it by itself.
        if let Some(roles) =
            session.value("SELECT CURRENT_ROLE()")?.filter(|roles| !matches!(roles.as_str(), "" | "NONE"))
        {
            statement = format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}");
        }
    }
    let grants: Vec<String> = session.query(&statement)?.iter().filter_map(|row| row.text(0)).collect();
    Ok(judge(&needs(version, purpose), &grants, &account))
}

/// The names of all privileges that the purpose needs.
pub(crate) fn privileges(version: &ServerVersion, purpose: Purpose) -> Vec<&'static str> {
    needs(version, purpose).into_iter().map(|need| need.privilege).collect()
}

fn needs(version: &ServerVersion, purpose: Purpose) -> Vec<Need> {
    if purpose.replicate {
        let why = "replicas that log in with it";
        return vec![Need { privilege: "REPLICATION SLAVE", on: ALL, why, or: &[] }];
    }
    match version.flavour {
        Flavour::MariaDb => mariadb_needs(version, purpose),
        Flavour::MySql => mysql_needs(purpose),
    }
}

const ALL: &str = "*.*";

fn mariadb_needs(version: &ServerVersion, purpose: Purpose) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut need = |privilege, why, or| needs.push(Need { privilege, on: ALL, why, or });
    if purpose.attach {
        need("REPLICATION SLAVE ADMIN", "CHANGE MASTER TO, START SLAVE, gtid_slave_pos", &["SUPER"]);
        need("SLAVE MONITOR", "the replica's own state", &["SUPER", "REPLICATION SLAVE ADMIN"]);
        need("RELOAD", "RESET MASTER", &[]);
        need("PROCESS", "replicas that this server has itself", &[]);
        return needs;
    }
    need("RELOAD", "BACKUP STAGE, FLUSH TABLES WITH READ LOCK, FLUSH ENGINE LOGS", &[]);
    need("PROCESS", "sessions in the way of a lock, encrypted tablespaces", &[]);
    need("LOCK TABLES", "BACKUP LOCK", &[]);
    need("SELECT", "the list of tables that InnoDB does not keep", &[]);
    need("BINLOG MONITOR", "position in the binary log", &["SUPER", "REPLICATION CLIENT"]);
    if purpose.replica {
        // Split from SUPER and REPLICATION CLIENT in 10.5.
        let or: &'static [&'static str] =
            if version.at_least(10, 5, 0) { &["SUPER"] } else { &["SUPER", "REPLICATION CLIENT"] };
        need("SLAVE MONITOR", "the replica's own state", or);
    }
    if purpose.pause_applier {
        need("REPLICATION SLAVE ADMIN", "STOP SLAVE SQL_THREAD", &["SUPER"]);
    }
    if purpose.kill {
        need("CONNECTION ADMIN", "KILL QUERY", &["SUPER"]);
    }
    needs
}

fn mysql_needs(purpose: Purpose) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut need = |privilege, on, why, or| needs.push(Need { privilege, on, why, or });
    if purpose.attach {
        need(
            "REPLICATION_SLAVE_ADMIN",
            ALL,
            "CHANGE REPLICATION SOURCE TO, START REPLICA",
            &["SUPER"] as &'static [&'static str],
        );
        need("REPLICATION CLIENT", ALL, "SHOW REPLICA STATUS", &["SUPER"]);
        need("RELOAD", ALL, "RESET BINARY LOGS AND GTIDS, RESET REPLICA", &[]);
        need("SYSTEM_VARIABLES_ADMIN", ALL, "SET GLOBAL gtid_purged", &["SUPER"]);
        need("PROCESS", ALL, "replicas that this server has itself", &[]);
        return needs;
    }
    if purpose.backup_lock {
        need("BACKUP_ADMIN", ALL, "LOCK INSTANCE FOR BACKUP, log_status, the redo log consumer", &[]);
    }
    need("RELOAD", ALL, "FLUSH ENGINE LOGS, FLUSH TABLES WITH READ LOCK", &[]);
    need("PROCESS", ALL, "information_schema.innodb_tablespaces, sessions in the way of a lock", &[]);
    need("REPLICATION CLIENT", ALL, "position in the binary log, the replica's own state", &["SUPER"]);
    need("SELECT", ALL, "the list of tables that InnoDB does not keep, performance_schema", &[]);
    if purpose.pause_applier {
        need("REPLICATION_SLAVE_ADMIN", ALL, "STOP REPLICA SQL_THREAD", &["SUPER"]);
    }
    if purpose.kill {
        need("CONNECTION_ADMIN", ALL, "KILL QUERY", &["SUPER"]);
    }
    needs
}

fn judge(needs: &[Need], grants: &[String], account: &str) -> Vec<Missing> {
    let held = held_globally(grants);
    let has = |privilege: &str| held.contains("ALL PRIVILEGES") || held.contains(privilege);
    needs
        .iter()
        .filter(|need| !has(need.privilege) && !need.or.iter().any(|other| has(other)))
        .map(|need| Missing {
            privilege: need.privilege.to_owned(),
            on: need.on.to_owned(),
            why: need.why.to_owned(),
            grant: format!("GRANT {} ON {} TO {account};", need.privilege, need.on),
        })
        .collect()
}

/// Names of the privileges that the lines of SHOW GRANTS give on `*.*`.
fn held_globally(grants: &[String]) -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    for grant in grants {
        let Some(list) = grant.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON *.* TO ")) else {
            continue;
        };
        held.extend(list.0.split(',').map(|privilege| privilege.trim().to_ascii_uppercase()));
    }
    // MariaDB still shows names of old versions.
    for (old, new) in [
        ("REPLICATION CLIENT", "BINLOG MONITOR"),
        ("REPLICATION MASTER ADMIN", "REPLICATION SOURCE ADMIN"),
        ("REPLICA MONITOR", "SLAVE MONITOR"),
        ("REPLICATION REPLICA", "REPLICATION SLAVE"),
        ("REPLICATION REPLICA ADMIN", "REPLICATION SLAVE ADMIN"),
    ] {
        if held.contains(old) {
            held.insert(new.to_owned());
        }
    }
    held
}

/// One statement for all that is missing on `*.*`.
pub fn grant_statement(missing: &[Missing]) -> Option<String> {
    let first = missing.first()?;
    let account = first.grant.rsplit_once(" TO ")?.1;
    let list: Vec<&str> = missing.iter().map(|missing| missing.privilege.as_str()).collect();
    Some(format!("GRANT {} ON *.* TO {account}", list.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing_for(version: &str, purpose: Purpose, grants: &[&str]) -> Vec<Missing> {
        let grants: Vec<String> = grants.iter().map(|grant| (*grant).to_owned()).collect();
        judge(&needs(&ServerVersion::parse(version).unwrap(), purpose), &grants, "'b'@'localhost'")
    }

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let missing = missing_for(
            "10.11.6-MariaDB",
            Purpose::backup(),
            &[
                "GRANT RELOAD, LOCK TABLES ON *.* TO `b`@`localhost`",
                "GRANT SELECT ON `x`.* TO `b`@`localhost`",
            ],
        );
        insta::assert_snapshot!(grant_statement(&missing).unwrap(), @"GRANT PROCESS, SELECT, BINLOG MONITOR, SLAVE MONITOR ON *.* TO 'b'@'localhost';");
        let missing = missing_for("9.7.4", Purpose::backup(), &["GRANT USAGE ON *.* TO `b`@`localhost`"]);
        insta::assert_snapshot!(grant_statement(&missing).unwrap(), @"GRANT BACKUP_ADMIN, RELOAD, PROCESS, REPLICATION CLIENT, SELECT ON *.* TO 'b'@'localhost';");
        assert_eq!(missing[0].grant, "GRANT BACKUP_ADMIN ON *.* TO 'b'@'localhost';");
    }

    #[test]
    fn a_replication_account_may_replicate() {
        for version in ["10.11.6-MariaDB", "9.7.4"] {
            let lacks = |grant: &str| !missing_for(version, Purpose::replicate(), &[grant]).is_empty();
            assert!(lacks("GRANT USAGE ON *.* TO `r`@`%`"));
            assert!(lacks("GRANT REPLICATION SLAVE ADMIN ON *.* TO `r`@`%`"));
            assert!(!lacks("GRANT SELECT, REPLICATION SLAVE ON *.* TO `r`@`%` REQUIRE SSL"));
            assert!(!lacks("GRANT ALL PRIVILEGES ON *.* TO `r`@`%`"));
        }
        let missing = missing_for("9.7.4", Purpose::replicate(), &["GRANT USAGE ON *.* TO `r`@`%`"]);
        insta::assert_snapshot!(grant_statement(&missing).unwrap(), @"GRANT REPLICATION SLAVE ON *.* TO 'b'@'localhost';");
    }

    #[test]
    fn whoever_has_all_lacks_nothing() {
        let all = ["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"];
        assert!(missing_for("10.5.23-MariaDB", Purpose::attach(), &all).is_empty());
        let mysql = [
            "GRANT SELECT, RELOAD, PROCESS, SUPER, REPLICATION CLIENT ON *.* TO `root`@`localhost`",
            "GRANT BACKUP_ADMIN,REPLICATION_SLAVE_ADMIN ON *.* TO `root`@`localhost` WITH GRANT OPTION",
        ];
        assert!(missing_for("8.0.36", Purpose::backup(), &mysql).is_empty());
    }
}
