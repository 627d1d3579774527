//! The procedures of Amazon RDS and Aurora, which stand in the place of statements that a managed server refuses.

use reseed_terms::{Coordinates, Flavour, ServerVersion};

use super::sources::{Place, Source};
use super::{Dialect, Handover, HandoverError, HandoverOptions, Of, Statement, Tls};
use crate::quote;

pub(super) fn statements(
    coordinates: &Coordinates,
    target: &ServerVersion,
    dialect: Dialect,
    options: &HandoverOptions,
    sources: &[Source],
) -> Result<Handover, HandoverError> {
    let [source] = sources else {
        return Err(HandoverError::OneChannelOnly { dialect: dialect.name() });
    };
    if !source.channel.is_empty() && options.of == Of::Server {
        return Err(HandoverError::OneChannelOnly { dialect: dialect.name() });
    }
    // "source" in the names since RDS for MySQL 8.4 and Aurora MySQL 3.
    let word = match dialect {
        Dialect::AuroraMysql => "source",
        Dialect::RdsMysql if target.at_least(8, 4, 0) => "source",
        _ => "master",
    };
    let gtid = match (target.flavour, options.of) {
        (Flavour::MariaDb, Of::Source) => &coordinates.gtid_slave,
        _ => &coordinates.gtid,
    };
    let ssl = u8::from(options.tls == Tls::On);
    let account = [
        quote::plain(&source.host),
        source.port.to_string(),
        quote::plain(&source.user),
        options.password_literal(),
    ]
    .join(", ");
    let call = |name: &str, arguments: String| format!("CALL mysql.{name}({arguments})");

    let mut handover = Handover::default();
    let mut then = |sql: String, comment: &str| handover.statements.push(Statement::new(sql, comment));
    then("CALL mysql.rds_stop_replication".to_owned(), "Stop what replicates now");
    then(format!("CALL mysql.rds_reset_external_{word}"), "Forget the source that it knew");
    match (&source.place, dialect) {
        (Place::Gtid, Dialect::RdsMariadb) => {
            let arguments = format!("{account}, {}, {ssl}", quote::plain(gtid));
            then(call("rds_set_external_master_gtid", arguments), "The source and where to begin");
        }
        (Place::Gtid, Dialect::AuroraMysql) => {
            then(call("rds_gtid_purged", quote::plain(gtid)), "What the data contains");
            then(
                call("rds_set_external_source_with_auto_position", format!("{account}, {ssl}")),
                "The source; it begins at the first transaction that is not in gtid_purged",
            );
        }
        (Place::Gtid, _) => {
            if gtid_purged_is_settable(target) {
                for range in ranges(gtid)? {
                    then(call("rds_set_external_source_gtid_purged", range), "What the data contains");
                }
            }
            then(
                call(&format!("rds_set_external_{word}_with_auto_position"), format!("{account}, {ssl}, 0")),
                "The source; it begins at the first transaction that is not in gtid_purged",
            );
        }
        (Place::File(at), _) => {
            let arguments = format!("{account}, {}, {}, {ssl}", quote::plain(&at.file), at.position);
            then(call(&format!("rds_set_external_{word}"), arguments), "The source and where to begin");
        }
    }
    then("CALL mysql.rds_start_replication".to_owned(), "Go");
    if source.place == Place::Gtid && dialect == Dialect::RdsMysql && !gtid_purged_is_settable(target) {
        handover.notes.push(format!(
            "Amazon RDS for MySQL before 8.0.37 has no call that sets gtid_purged; SELECT @@gtid_purged there must give {gtid} \
             before replication starts, else use --position file"
        ));
    }
    handover.notes.push(
        "the first two calls say that nothing was set up when that is so; they are needed only where something was"
            .to_owned(),
    );
    if ssl == 0 && dialect.flavour() == Flavour::MySql {
        handover.notes.push(
            "an account of the plugin caching_sha2_password needs an encrypted connection: the last argument but the \
             delay is then 1"
                .to_owned(),
        );
    }
    handover.advice = vec![Statement::new(
        "CALL mysql.rds_set_configuration('binlog retention hours', 24)",
        "on a managed source: keep binary logs for longer than the load of the data takes",
    )];
    Ok(handover)
}

/// Whether RDS for MySQL of this version has `mysql.rds_set_external_source_gtid_purged(server_uuid, start_pos, end_pos)`
/// (Amazon RDS User Guide, "Configuring, starting, and stopping binary log replication").
fn gtid_purged_is_settable(target: &ServerVersion) -> bool {
    target.at_least(8, 0, 37)
}

/// The arguments of one call for each range of a GTID set: the call takes no more than one.
fn ranges(gtid: &str) -> Result<Vec<String>, HandoverError> {
    let mut calls = Vec::new();
    for part in gtid.split(',') {
        let mut words = part.trim().split(':');
        let uuid = words.next().unwrap_or_default().trim();
        for range in words {
            let range = range.trim();
            let (start, end) = range.split_once('-').unwrap_or((range, range));
            match (start.parse::<u64>(), end.parse::<u64>()) {
                (Ok(start), Ok(end)) => calls.push(format!("{}, {start}, {end}", quote::plain(uuid))),
                _ => return Err(HandoverError::TaggedGtid { part: part.trim().to_owned() }),
            }
        }
    }
    Ok(calls)
}
