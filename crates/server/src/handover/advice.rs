//! Settings that make a replica survive a crash with its place intact, and that keep it a replica. What is right
//! depends on the version and on how it replicates; here without a server to ask, so all of them are named.

use reseed_terms::{Flavour, ServerVersion};

use super::Statement;
use super::sources::{Place, Source};
use crate::facts::Variables;

pub(super) fn mariadb(sources: &[Source]) -> Vec<Statement> {
    let mut advice = vec![
        Statement::new(
            "SET GLOBAL read_only = ON",
            "a replica that is written to will differ from its source (also in the option file)",
        ),
        Statement::new(
            "SET GLOBAL gtid_strict_mode = ON",
            "an event out of order is then an error and not a silent difference (also in the option file)",
        ),
    ];
    if sources.iter().any(|source| source.place != Place::Gtid) {
        advice.push(Statement::new(
            "STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID = slave_pos; START SLAVE",
            "once it has caught up: a position by file is kept outside the data and is wrong after a crash",
        ));
        advice.push(Statement::new(
            "relay_log_recovery = ON",
            "option file: after a crash unread relay logs are fetched again instead of trusted",
        ));
    }
    advice.push(events());
    advice
}

pub(super) fn mysql(sources: &[Source]) -> Vec<Statement> {
    let mut advice = vec![
        Statement::new(
            "SET PERSIST super_read_only = ON",
            "a replica that is written to will differ from its source",
        ),
        Statement::new(
            "SET PERSIST_ONLY relay_log_recovery = ON",
            "after a crash unread relay logs are fetched again instead of trusted; counts from the next start",
        ),
    ];
    if sources.iter().any(|source| source.place != Place::Gtid) {
        advice.push(Statement::new(
            "SET PERSIST replica_preserve_commit_order = ON",
            "parallel appliers leave no gaps behind after a crash (the default since 8.0.27)",
        ));
    }
    advice.push(events());
    advice
}

fn events() -> Statement {
    Statement::new(
        "SELECT event_schema, event_name FROM information_schema.events WHERE status = 'ENABLED'",
        "events that run on the source were copied as enabled: ALTER EVENT ... DISABLE ON SLAVE before event_scheduler = ON",
    )
}

/// What to change on a living replica, by its own settings.
pub(crate) fn living(version: &ServerVersion, variables: &Variables, by_gtid: bool) -> Vec<Statement> {
    let mut advice = Vec::new();
    let off = |name: &str| variables.get(name).is_some() && !variables.is_on(name);
    let mut say = |sql: String, comment: &str| advice.push(Statement::new(sql, comment));
    let mysql = version.flavour == Flavour::MySql;
    if off("relay_log_recovery") && (mysql || !by_gtid) {
        let sql = if mysql { "SET PERSIST_ONLY relay_log_recovery = ON" } else { "relay_log_recovery = ON" };
        say(
            sql.to_owned(),
            "after a crash unread relay logs are fetched again instead of trusted; needs a restart",
        );
    }
    let read_only = variables.get("read_only").unwrap_or("OFF").to_ascii_uppercase();
    match version.flavour {
        Flavour::MySql if off("super_read_only") => {
            say(
                "SET PERSIST super_read_only = ON".to_owned(),
                "a replica that is written to will differ from its source",
            );
        }
        Flavour::MariaDb if matches!(read_only.as_str(), "OFF" | "0") => {
            say(
                "SET GLOBAL read_only = ON".to_owned(),
                "a replica that is written to will differ from its source",
            );
        }
        _ => {}
    }
    if mysql {
        mysql_living(version, variables, by_gtid, &mut say);
    } else {
        if off("gtid_strict_mode") {
            say(
                "SET GLOBAL gtid_strict_mode = ON".to_owned(),
                "an event out of order is then an error and not a silent difference",
            );
        }
        if !by_gtid {
            say(
                "STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID = slave_pos; START SLAVE".to_owned(),
                "a position by file is kept outside the data and is wrong after a crash",
            );
        }
    }
    let skipped = ["replica_skip_errors", "slave_skip_errors"].iter().find_map(|name| variables.get(name));
    if skipped.is_some_and(|value| !matches!(value, "" | "OFF")) {
        say(
            "slave_skip_errors = OFF".to_owned(),
            "skipped events make the replica differ from its source in silence",
        );
    }
    advice
}

fn mysql_living(
    version: &ServerVersion,
    variables: &Variables,
    by_gtid: bool,
    say: &mut impl FnMut(String, &str),
) {
    let workers: u64 = ["replica_parallel_workers", "slave_parallel_workers"]
        .iter()
        .find_map(|name| variables.number(name))
        .unwrap_or(0);
    let keeps_order =
        variables.is_on("replica_preserve_commit_order") || variables.is_on("slave_preserve_commit_order");
    if workers > 1 && !keeps_order && variables.get("sync_relay_log") != Some("1") {
        say(
            "SET PERSIST replica_preserve_commit_order = ON".to_owned(),
            "parallel appliers leave gaps behind after a crash; else set sync_relay_log = 1",
        );
    }
    let in_files = ["relay_log_info_repository", "master_info_repository"]
        .iter()
        .any(|name| variables.get(name).is_some_and(|value| value.eq_ignore_ascii_case("FILE")));
    if in_files && !by_gtid {
        say(
            "SET PERSIST relay_log_info_repository = 'TABLE'".to_owned(),
            "a position kept in a file is wrong after a crash",
        );
    }
    if by_gtid && !version.at_least(8, 0, 17) {
        for name in ["sync_binlog", "innodb_flush_log_at_trx_commit"] {
            if variables.get(name) != Some("1") {
                say(
                    format!("SET PERSIST {name} = 1"),
                    "before 8.0.17 a crash may lose GTIDs of applied transactions",
                );
            }
        }
    }
}
