use reseed_terms::{Coordinates, ServerVersion};

use super::sources::{Place, Source};
use super::{Handover, HandoverOptions, Statement, Tls, advice};
use crate::quote;

pub(super) fn statements(
    coordinates: &Coordinates,
    target: &ServerVersion,
    options: &HandoverOptions,
    sources: &[Source],
) -> Handover {
    let mut statements = vec![
        Statement::new("STOP REPLICA", "Nothing that came along with the data may replicate"),
        Statement::new("RESET REPLICA ALL", "Forget the sources and channels that it knew"),
    ];
    if coordinates.gtid_mode || !coordinates.gtid.is_empty() {
        let reset = if target.at_least(8, 2, 0) { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
        statements.push(Statement::new(reset, "Forget the GTIDs that were written while the server started"));
        statements.push(Statement::new(
            format!("SET GLOBAL gtid_purged = {}", quote::plain(&coordinates.gtid)),
            "What the data contains",
        ));
    }
    for source in sources {
        let place = match &source.place {
            Place::Gtid => "the first transaction that is not in gtid_purged".to_owned(),
            Place::File(at) => format!("{} {}", at.file, at.position),
        };
        statements.push(Statement::new(
            change_source(source, options),
            format!("The source and where to begin: {}", place),
        ));
    }
    for source in sources {
        statements.push(Statement::new(format!("START REPLICA{}", channel(source)), "Go"));
    }
    let mut handover = Handover { statements, ..Handover::default() };
    handover.notes.push(
        "start the restored server with skip-replica-start and event-scheduler=DISABLED, with a server_id of its own"
            .to_owned(),
    );
    if sources.iter().any(|source| source.place == Place::Gtid) {
        handover
            .notes
            .push("the restored server needs gtid_mode=ON and enforce_gtid_consistency=ON".to_owned());
    }
    handover.advice = advice::mysql(sources);
    handover
}

fn channel(source: &Source) -> String {
    if source.channel.is_empty() {
        String::new()
    } else {
        format!(" FOR CHANNEL {}", quote::plain(&source.channel))
    }
}

fn change_source(source: &Source, options: &HandoverOptions) -> String {
    let mut parts = vec![
        format!("SOURCE_HOST = {}", quote::plain(&source.host)),
        format!("SOURCE_PORT = {}", source.port),
        format!("SOURCE_USER = {}", quote::plain(&source.user)),
        format!("SOURCE_PASSWORD = {}", options.password_literal()),
    ];
    match &source.place {
        Place::Gtid => parts.push("SOURCE_AUTO_POSITION = 1".to_owned()),
        Place::File(at) => {
            parts.push("SOURCE_AUTO_POSITION = 0".to_owned());
            parts.push(format!("SOURCE_LOG_FILE = {}", quote::plain(&at.file)));
            parts.push(format!("SOURCE_LOG_POS = {}", at.position));
        }
    }
    match options.tls {
        // caching_sha2_password sends no password over an open line without the source's key.
        Tls::Default => parts.push("GET_SOURCE_PUBLIC_KEY = 1".to_owned()),
        Tls::Off => parts.push("SOURCE_SSL = 0,\n  GET_SOURCE_PUBLIC_KEY = 1".to_owned()),
        Tls::On => parts.push("SOURCE_SSL = 1".to_owned()),
    }
    format!("CHANGE REPLICATION SOURCE TO\n  {}{}", parts.join(",\n  "), channel(source))
}
