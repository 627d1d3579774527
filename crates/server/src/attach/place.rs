//! Comparing how far a source is with how far a replica is.

use std::collections::BTreeMap;

use reseed_terms::{BinlogPosition, Coordinates, Flavour};

use crate::error::ServerError;
use crate::quote;
use crate::replica::ReplicaState;
use crate::server::Server;

/// Where a source was at the moment of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// MySQL: a set of GTIDs.
    GtidSet(String),
    /// MariaDB: a GTID position.
    GtidPos(String),
    File(BinlogPosition),
}

/// Asks the source; `None` when the account may not see a position by file, or there is none.
pub(super) fn ask(source: &Server, by_gtid: bool) -> Result<Option<Goal>, ServerError> {
    if by_gtid {
        let mut session = source.session();
        return Ok(match source.flavour() {
            Flavour::MySql => {
                session.value("SELECT @@GLOBAL.gtid_executed")?.map(|set| Goal::GtidSet(bare(&set)))
            }
            Flavour::MariaDb => session.value("SELECT @@GLOBAL.gtid_binlog_pos")?.map(Goal::GtidPos),
        });
    }
    match source.binlog_position() {
        Ok(position) => Ok(position.map(Goal::File)),
        Err(error) if error.is_privilege() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the replica has applied everything up to the goal.
pub(super) fn is_reached(replica: &Server, state: &ReplicaState, goal: &Goal) -> Result<bool, ServerError> {
    Ok(match goal {
        Goal::GtidSet(set) => {
            let statement = format!("SELECT GTID_SUBSET({}, @@GLOBAL.gtid_executed)", quote::plain(set));
            replica.session().value(&statement)?.as_deref() == Some("1")
        }
        Goal::GtidPos(goal) => {
            let here = replica.session().value("SELECT @@GLOBAL.gtid_slave_pos")?.unwrap_or_default();
            covers(&here, goal)
        }
        Goal::File(goal) => state.channel.applied.as_ref().is_some_and(|applied| at_least(applied, goal)),
    })
}

/// Sets as the server prints them, without the line breaks.
pub(super) fn bare(set: &str) -> String {
    set.split_whitespace().collect()
}

/// Sequence numbers of a MariaDB position by domain.
fn domains(position: &str) -> BTreeMap<u32, u64> {
    position
        .split(',')
        .filter_map(|gtid| {
            let mut parts = gtid.trim().split('-');
            let domain = parts.next()?.parse().ok()?;
            let _server = parts.next()?;
            Some((domain, parts.next()?.parse().ok()?))
        })
        .collect()
}

/// Whether position `here` holds all of `goal`.
pub(super) fn covers(here: &str, goal: &str) -> bool {
    let here = domains(here);
    domains(goal).iter().all(|(domain, wanted)| here.get(domain).is_some_and(|reached| reached >= wanted))
}

/// The number at the end of a binary log's name; names themselves stop sorting after 999999.
pub(super) fn file_number(file: &str) -> Option<u64> {
    file.rsplit_once('.')?.1.parse().ok()
}

fn at_least(applied: &BinlogPosition, goal: &BinlogPosition) -> bool {
    let key = |at: &BinlogPosition| (file_number(&at.file).unwrap_or(0), at.position);
    key(applied) >= key(goal)
}

/// Bytes between two positions in the same file.
pub(super) fn bytes_between(applied: Option<&BinlogPosition>, goal: Option<&BinlogPosition>) -> Option<u64> {
    let (applied, goal) = (applied?, goal?);
    (applied.file == goal.file).then(|| goal.position.saturating_sub(applied.position))
}

/// Where the replica will begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    pub coordinates: Coordinates,
    /// Of the server that was backed up: its binary logs mean nothing on another one.
    pub server_id: u32,
    pub by_gtid: bool,
}

impl Beginning {
    /// Why the source cannot be followed from here; `None` where it can, or does not tell this account.
    ///
    /// # Errors
    /// When the source cannot be asked.
    pub fn obstacle(&self, source: &Server) -> Result<Option<String>, ServerError> {
        let id = source.session().value("SELECT @@GLOBAL.server_id")?;
        let same = id.is_some_and(|id| id == self.server_id.to_string());
        let lacking = match (source.flavour(), self.by_gtid) {
            (Flavour::MySql, true) => source_lacks(source, &self.coordinates, true)?,
            (Flavour::MariaDb, true) if same => purged_by_gtid(source, &self.coordinates)?,
            (_, false) if same => source_lacks(source, &self.coordinates, false)?,
            _ => None,
        };
        match lacking {
            None if self.by_gtid => diverged(source, &self.coordinates),
            lacking => Ok(lacking),
        }
    }
}

impl Beginning {
    /// What may be wrong, and cannot be told for certain: transactions of other servers that the source does not have.
    /// They may be on their way to it, or were never meant to be. MariaDB's source refuses them by itself.
    ///
    /// # Errors
    /// When the source cannot be asked.
    pub fn doubt(&self, source: &Server) -> Result<Option<String>, ServerError> {
        if source.flavour() != Flavour::MySql || !self.by_gtid {
            return Ok(None);
        }
        let surplus = surplus(source, &self.coordinates)?;
        Ok((!surplus.is_empty()).then(|| {
            format!(
                "the data holds {surplus}, which the source does not have: unless it is still on its way there, the server                  that was backed up was written to, and the replica differs from its source"
            )
        }))
    }
}

/// MySQL: the transactions of the data that the source does not have.
fn surplus(source: &Server, coordinates: &Coordinates) -> Result<String, ServerError> {
    let set = quote::plain(&coordinates.gtid);
    let statement = format!("SELECT GTID_SUBTRACT({set}, @@GLOBAL.gtid_executed)");
    Ok(bare(&source.session().value(&statement)?.unwrap_or_default()))
}

/// MariaDB tells anyone the GTID position at the beginning of a binary log, and nothing where there is no such log.
fn purged_by_gtid(source: &Server, coordinates: &Coordinates) -> Result<Option<String>, ServerError> {
    let Some(needed) = &coordinates.binlog else { return Ok(None) };
    let beginning = |file: &str| match source
        .session()
        .value(&format!("SELECT BINLOG_GTID_POS({}, 4)", quote::plain(file)))
    {
        Err(ServerError::Statement { .. }) => Ok(None),
        told => told,
    };
    if beginning(&needed.file)?.is_some() {
        return Ok(None);
    }
    // Nothing may have followed in that log: then the next one is enough.
    let next = needed.file.rsplit_once('.').and_then(|(base, number)| {
        let following = number.parse::<u64>().ok()? + 1;
        Some(format!("{base}.{following:0width$}", width = number.len()))
    });
    if let Some(next) = next
        && let Some(position) = beginning(&next)?
        && covers(&coordinates.gtid, &position)
    {
        return Ok(None);
    }
    Ok(Some(format!("the source no longer has {}", needed.file)))
}

/// Whether the data holds transactions that the source itself made and no longer has: it was restored, or lost a part of
/// its binary log. What other servers made may still be on its way to it.
fn diverged(source: &Server, coordinates: &Coordinates) -> Result<Option<String>, ServerError> {
    let surplus = match source.flavour() {
        Flavour::MySql => {
            let uuid = source.session().value("SELECT @@GLOBAL.server_uuid")?.unwrap_or_default();
            let surplus = surplus(source, coordinates)?;
            let own = |part: &&str| !uuid.is_empty() && part.starts_with(&uuid);
            surplus.split(',').find(own).map(str::to_owned)
        }
        Flavour::MariaDb => {
            let id = source.session().value("SELECT @@GLOBAL.server_id")?.unwrap_or_default();
            let there = source.session().value("SELECT @@GLOBAL.gtid_binlog_pos")?.unwrap_or_default();
            let domain = |gtid: &str| gtid.trim().split('-').next().map(str::to_owned);
            // A server that has written nothing in a domain since it was restored or begun lets any replica go on there.
            let has_domain = |gtid: &str| there.split(',').any(|one| domain(one) == domain(gtid));
            let own = |gtid: &&str| {
                gtid.split('-').nth(1) == Some(id.as_str()) && has_domain(gtid) && !covers(&there, gtid)
            };
            coordinates.gtid.split(',').map(str::trim).find(own).map(str::to_owned)
        }
    };
    Ok(surplus.map(|surplus| {
        format!("histories have diverged: the data holds {surplus}, which the source does not have")
    }))
}

/// Whether a source has already removed binary logs that a replica at `coordinates` would need; the text says which.
/// Worth asking before a restore is begun.
///
/// # Errors
/// When the source cannot be asked.
pub fn source_lacks(
    source: &Server,
    coordinates: &Coordinates,
    by_gtid: bool,
) -> Result<Option<String>, ServerError> {
    if by_gtid && source.flavour() == Flavour::MySql {
        let purged = bare(&source.session().value("SELECT @@GLOBAL.gtid_purged")?.unwrap_or_default());
        let statement =
            format!("SELECT GTID_SUBTRACT({}, {})", quote::plain(&purged), quote::plain(&coordinates.gtid));
        let lacking = bare(&source.session().value(&statement)?.unwrap_or_default());
        return Ok((!lacking.is_empty()).then(|| {
            format!("the source has purged transactions that the backup does not hold: {lacking}")
        }));
    }
    let Some(needed) = &coordinates.binlog else {
        return Ok(None);
    };
    let logs = match source.binary_logs() {
        Ok(logs) => logs,
        Err(error) if error.is_privilege() => return Ok(None),
        Err(error) => return Err(error),
    };
    if logs.iter().any(|(file, _)| *file == needed.file) {
        return Ok(None);
    }
    let oldest = logs.first().map_or("none at all", |(file, _)| file.as_str());
    Ok(Some(format!("the source no longer has {}; its oldest binary log is {oldest}", needed.file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_by_domain() {
        assert!(covers("0-1-10,5-2-7", "0-9-10"));
        assert!(covers("0-1-11", ""));
        assert!(!covers("0-1-9,5-2-7", "0-1-10"));
        assert!(!covers("", "7-1-1"));
    }

    #[test]
    fn files_beyond_a_million() {
        let at = |file: &str, position| BinlogPosition { file: file.to_owned(), position };
        assert!(at_least(&at("b.1000000", 4), &at("b.999999", 900)));
        assert!(!at_least(&at("b.000002", 4), &at("b.000002", 5)));
        assert_eq!(bytes_between(Some(&at("b.1", 4)), Some(&at("b.1", 10))), Some(6));
        assert_eq!(bytes_between(Some(&at("b.1", 4)), Some(&at("b.2", 10))), None);
    }
}
