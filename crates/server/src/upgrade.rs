//! Which version of a server may start on the files of which other one. Rules of the servers' own manuals, for files
//! whose redo log is clean, as a restore leaves it.
//!
//! | data of | may be used by |
//! |---|---|
//! | MariaDB | any patch of the same series, any later series |
//! | MySQL, a long-term series (8.4, 9.7) | any patch of it, later ones up to the next long-term series |
//! | MySQL, any other (8.0, 8.1, 9.0 …) | the same or a later patch, later ones up to the next long-term series |
//!
//! Sources: MariaDB Knowledge Base, "Upgrading Between Major MariaDB Versions" and "Downgrading between Versions of
//! MariaDB"; MySQL Reference Manual, "Upgrade Paths" and "Downgrading MySQL".

use reseed_terms::{Flavour, ServerVersion};

/// The long-term series of MySQL, in which a downgrade within the series is allowed.
const LONG_TERM: &[(u16, u16)] = &[(8, 4), (9, 7)];

/// Why a server cannot use the data of another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("{server} cannot use the files of {data}")]
    Flavour { data: ServerVersion, server: ServerVersion },
    #[error(
        "{server} is older than {data}, and the files of a later version cannot be used by an earlier one"
    )]
    Older { data: ServerVersion, server: ServerVersion },
    #[error("{data} must be upgraded to MySQL {}.{} before {server} can use its files", .over.0, .over.1)]
    TooFar { data: ServerVersion, server: ServerVersion, over: (u16, u16) },
}

/// Whether `server` may start on the files of `data`.
///
/// # Errors
/// When it may not, with the rule.
pub fn may_use(server: &ServerVersion, data: &ServerVersion) -> Result<(), Misfit> {
    let pair = || (data.clone(), server.clone());
    if server.flavour != data.flavour {
        let (data, server) = pair();
        return Err(Misfit::Flavour { data, server });
    }
    let series = |version: &ServerVersion| (version.major, version.minor);
    let (from, to) = (series(data), series(server));
    let patches_are_alike = server.flavour == Flavour::MariaDb || LONG_TERM.contains(&from);
    let older = to < from || (to == from && !patches_are_alike && server.patch < data.patch);
    if older {
        let (data, server) = pair();
        return Err(Misfit::Older { data, server });
    }
    let next = LONG_TERM.iter().find(|series| **series > from);
    match next {
        Some(over) if server.flavour == Flavour::MySql && to > *over => {
            let (data, server) = pair();
            Err(Misfit::TooFar { data, server, over: *over })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(data: &str, server: &str) -> String {
        let parse = |text: &str| ServerVersion::parse(text).unwrap();
        may_use(&parse(server), &parse(data)).map_or_else(|misfit| misfit.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn what_the_servers_allow_is_allowed() {
        for (data, server) in [
            ("10.5.28-MariaDB", "10.5.29-MariaDB"),
            ("10.11.14-MariaDB", "10.11.6-MariaDB"),
            ("10.5.28-MariaDB", "11.8.2-MariaDB"),
            ("8.0.40", "8.0.41"),
            ("8.0.40", "8.4.0"),
            ("8.0.40", "8.3.0"),
            ("8.4.6", "8.4.2"),
            ("8.4.6", "9.7.0"),
            ("9.1.0", "9.7.0"),
            ("9.7.3", "9.7.0"),
        ] {
            assert_eq!(judged(data, server), "fine", "{data} to {server}");
        }
    }

    #[test]
    fn what_they_refuse_is_refused_with_the_rule() {
        insta::assert_snapshot!(judged("10.11.14-MariaDB", "9.7.0"), @"MySQL 9.7.0 cannot use the files of MariaDB 10.11.14");
        insta::assert_snapshot!(judged("10.11.14-MariaDB", "10.6.20-MariaDB"), @"MariaDB 10.6.20 is older than MariaDB 10.11.14, and the files of a later version cannot be used by an earlier one");
        insta::assert_snapshot!(judged("8.0.41", "8.0.40"), @"MySQL 8.0.40 is older than MySQL 8.0.41, and the files of a later version cannot be used by an earlier one");
        insta::assert_snapshot!(judged("8.0.41", "9.7.0"), @"MySQL 8.0.41 must be upgraded to MySQL 8.4 before MySQL 9.7.0 can use its files");
    }
}
