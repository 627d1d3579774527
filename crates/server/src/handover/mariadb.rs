use reseed_terms::{Coordinates, ServerVersion};

use super::sources::{Place, Source};
use super::{Handover, HandoverOptions, Of, Statement, Tls, advice};
use crate::quote;

pub(super) fn statements(
    coordinates: &Coordinates,
    target: &ServerVersion,
    options: &HandoverOptions,
    sources: &[Source],
) -> Handover {
    let mut statements = vec![
        Statement::new("STOP ALL SLAVES", "Nothing that came along with the data may replicate"),
        Statement::new("RESET SLAVE ALL", "Forget the sources that it knew"),
    ];
    let gtid = match options.of {
        Of::Server => &coordinates.gtid,
        Of::Source => &coordinates.gtid_slave,
    };
    statements.push(Statement::new(
        format!("SET GLOBAL gtid_slave_pos = {}", quote::text(gtid)),
        "What the data contains",
    ));
    for source in sources {
        statements.push(Statement::new(
            change_master(source, options),
            format!("The source and where to begin: {}", place_text(source, gtid)),
        ));
    }
    for source in sources {
        statements.push(Statement::new(format!("START SLAVE{}", name(source)), "Go"));
    }
    let mut handover = Handover { statements, ..Handover::default() };
    handover.notes.push(
        "start the restored server with skip-slave-start and event-scheduler=DISABLED, with a server_id of its own"
            .to_owned(),
    );
    if target.at_least(11, 4, 0) && options.tls == Tls::Default {
        handover.notes.push(
            "MariaDB 11.4 and later connect to the source with TLS and check its certificate; a source without TLS \
             needs MASTER_SSL = 0, MASTER_SSL_VERIFY_SERVER_CERT = 0"
                .to_owned(),
        );
    }
    handover.advice = advice::mariadb(sources);
    handover
}

fn name(source: &Source) -> String {
    if source.channel.is_empty() { String::new() } else { format!(" {}", quote::plain(&source.channel)) }
}

fn place_text(source: &Source, gtid: &str) -> String {
    match &source.place {
        Place::Gtid => format!("GTID {gtid}"),
        Place::File(at) => format!("{} {}", at.file, at.position),
    }
}

fn change_master(source: &Source, options: &HandoverOptions) -> String {
    let mut parts = vec![
        format!("MASTER_HOST = {}", quote::plain(&source.host)),
        format!("MASTER_PORT = {}", source.port),
        format!("MASTER_USER = {}", quote::plain(&source.user)),
        format!("MASTER_PASSWORD = {}", options.password_literal()),
    ];
    match &source.place {
        Place::Gtid => parts.push("MASTER_USE_GTID = slave_pos".to_owned()),
        Place::File(at) => {
            parts.push(format!("MASTER_LOG_FILE = {}", quote::plain(&at.file)));
            parts.push(format!("MASTER_LOG_POS = {}", at.position));
            // From 10.10 a GTID is used unless told otherwise.
            parts.push("MASTER_USE_GTID = no".to_owned());
        }
    }
    match options.tls {
        Tls::Default => {}
        Tls::Off => parts.push("MASTER_SSL = 0, MASTER_SSL_VERIFY_SERVER_CERT = 0".to_owned()),
        Tls::On => parts.push("MASTER_SSL = 1".to_owned()),
    }
    format!("CHANGE MASTER{} TO\n  {}", name(source), parts.join(",\n  "))
}
