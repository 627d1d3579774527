//! Which sources a restored server gets, and where in each it begins.

use reseed_terms::{BinlogPosition, Coordinates, Flavour, ReplicaChannel};

use super::{Dialect, HandoverError, HandoverOptions, Of, Position};

/// Where replication begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// By the GTIDs that are set once for the whole server.
    Gtid,
    File(BinlogPosition),
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) channel: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) place: Place,
    /// What the channel was on the server that was backed up, where it was one.
    pub(super) was: Option<ReplicaChannel>,
}

pub(super) fn choose(
    coordinates: &Coordinates,
    dialect: Dialect,
    options: &HandoverOptions,
) -> Result<Vec<Source>, HandoverError> {
    match options.of {
        Of::Server => Ok(vec![of_server(coordinates, dialect, options)?]),
        Of::Source => of_source(coordinates, dialect, options),
    }
}

fn of_server(
    coordinates: &Coordinates,
    dialect: Dialect,
    options: &HandoverOptions,
) -> Result<Source, HandoverError> {
    let host = options.source_host.clone().filter(|host| !host.is_empty()).ok_or(HandoverError::NoHost)?;
    let user = options.source_user.clone().filter(|user| !user.is_empty()).ok_or(HandoverError::NoUser)?;
    let binlog = coordinates.binlog.clone().ok_or(HandoverError::NoBinlog)?;
    let has_gtid = match dialect.flavour() {
        // Without any GTID the place would be "the oldest binary log that is left".
        Flavour::MariaDb => !coordinates.gtid.is_empty(),
        Flavour::MySql => coordinates.gtid_mode,
    };
    // Amazon RDS for MySQL has no way to set gtid_purged.
    let by_gtid = has_gtid && dialect != Dialect::RdsMysql;
    let place = match options.position {
        Some(Position::Gtid) if !has_gtid => return Err(HandoverError::NoGtid),
        Some(Position::Gtid) => Place::Gtid,
        None if by_gtid => Place::Gtid,
        _ => Place::File(binlog),
    };
    Ok(Source {
        channel: options.channel.clone().unwrap_or_default(),
        host,
        port: options.source_port.unwrap_or(3306),
        user,
        place,
        was: None,
    })
}

fn of_source(
    coordinates: &Coordinates,
    dialect: Dialect,
    options: &HandoverOptions,
) -> Result<Vec<Source>, HandoverError> {
    if coordinates.channels.is_empty() {
        return Err(HandoverError::NotAReplica);
    }
    let chosen: Vec<&ReplicaChannel> = match &options.channel {
        None => coordinates.channels.iter().collect(),
        Some(name) => coordinates.channels.iter().filter(|channel| channel.name == *name).collect(),
    };
    if let (true, Some(name)) = (chosen.is_empty(), &options.channel) {
        let known = coordinates.channels.iter().map(|channel| format!("{:?}", channel.name)).collect();
        return Err(HandoverError::NoChannel { name: name.clone(), known });
    }
    let only = chosen.len() == 1;
    chosen
        .into_iter()
        .map(|channel| {
            let given = |value: &Option<String>| value.clone().filter(|value| only && !value.is_empty());
            let has_gtid = match dialect.flavour() {
                Flavour::MariaDb => !coordinates.gtid_slave.is_empty(),
                Flavour::MySql => coordinates.gtid_mode,
            };
            let by_gtid = has_gtid && channel.by_gtid && dialect != Dialect::RdsMysql;
            let place = match options.position {
                Some(Position::Gtid) if !has_gtid => return Err(HandoverError::NoGtid),
                Some(Position::Gtid) => Place::Gtid,
                None if by_gtid => Place::Gtid,
                _ => Place::File(
                    channel
                        .applied
                        .clone()
                        .ok_or_else(|| HandoverError::NoPosition { of: channel.source_host.clone() })?,
                ),
            };
            let user = given(&options.source_user).unwrap_or_else(|| channel.source_user.clone());
            Ok(Source {
                channel: channel.name.clone(),
                host: given(&options.source_host).unwrap_or_else(|| channel.source_host.clone()),
                port: options.source_port.filter(|_| only).unwrap_or(channel.source_port),
                user: if user.is_empty() { return Err(HandoverError::NoUser) } else { user },
                place,
                was: Some(channel.clone()),
            })
        })
        .collect()
}

/// What the server that was backed up did otherwise than the new one will.
pub(super) fn notes(sources: &[Source]) -> Vec<String> {
    let mut notes = Vec::new();
    for (source, was) in sources.iter().filter_map(|source| Some((source, source.was.as_ref()?))) {
        let named =
            if source.channel.is_empty() { String::new() } else { format!(" (channel {})", source.channel) };
        if was.delay.0 > 0 {
            notes.push(format!(
                "the server that was backed up stays {} s behind its source{named} on purpose; this replica will not",
                was.delay.0
            ));
        }
        for (name, value) in &was.filters {
            notes.push(format!(
                "the server that was backed up filters what it replicates{named}: {name} = {value}; set the same here, \
                 or rows will be changed that it does not have"
            ));
        }
    }
    notes
}
