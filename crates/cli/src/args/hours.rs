//! Hours of the day in which something may be done.

use std::fmt;
use std::str::FromStr;

/// One or more stretches of the day, in UTC: `20-6`, `0-5,12-13`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours(Vec<(u8, u8)>);

/// The text names no hours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} names no hours: write FROM-TO with hours from 0 to 24, as in 20-6 or 0-5,12-13")]
pub struct HoursError(String);

impl FromStr for Hours {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Hours, HoursError> {
        let error = || HoursError(text.to_owned());
        let hour = |text: &str| text.trim().parse::<u8>().ok().filter(|hour| *hour <= 24).ok_or_else(error);
        let stretch = |part: &str| {
            let (from, to) = part.split_once('-').ok_or_else(error)?;
            let (from, to) = (hour(from)?, hour(to)?);
            if from % 24 == to % 24 && to != 24 { Err(error()) } else { Ok((from, to)) }
        };
        text.split(',').map(stretch).collect::<Result<_, _>>().map(Hours)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (from, to)) in self.0.iter().enumerate() {
            write!(f, "{}{from}-{to}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Hours {
    /// Whether the hour that has begun at this hour belongs to them.
    pub fn hold(&self, hour: u8) -> bool {
        self.0.iter().any(
            |(from, to)| {
                if from < to { (*from..*to).contains(&hour) } else { hour >= *from || hour < *to }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_may_pass_midnight() {
        let held = |text: &str| {
            let hours: Hours = text.parse().unwrap();
            assert_eq!(hours.to_string(), text);
            (0..24).filter(|hour| hours.hold(*hour)).collect::<Vec<_>>()
        };
        assert_eq!(held("2-5"), [2, 3, 4]);
        assert_eq!(held("22-2"), [0, 1, 22, 23]);
        assert_eq!(held("0-2,12-13"), [0, 1, 12]);
        assert_eq!(held("0-24").len(), 24);
        assert_eq!(held("20-24"), [20, 21, 22, 23]);
        for bad in ["", "5", "5-5", "24-0", "1-25", "a-b", "-1-2", "1-2,"] {
            assert!(bad.parse::<Hours>().is_err(), "{bad}");
        }
    }
}
