//! Sizes, rates and durations as people write and read them: `200M`, `1.5G`, `60s`, `1h30m`; `1.3 GiB`, `18 ms`.
//! Knows nothing of the options that carry them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. `K`, `M`, `G`, `T`, `P` are powers of 1024, as in the servers' own options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// The text is no size or duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnitError {
    #[error("{text:?} is not a size: write a number and one of K, M, G, T, P, as in 200M")]
    Size { text: String },
    #[error("{text:?} is not a duration: write numbers with ms, s, m, h, d or w, as in 60s or 1h30m")]
    Duration { text: String },
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Size, UnitError> {
        let error = || UnitError::Size { text: text.to_owned() };
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            "p" | "pb" | "pib" => 50,
            _ => return Err(error()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(Size).ok_or_else(error);
        }
        if !number.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(error());
        }
        let bytes = number.parse::<f64>().map_err(|_| error())? * (1u64 << shift) as f64;
        if bytes < 9e18 { Ok(Size(bytes as u64)) } else { Err(error()) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
            // The limit lies below 1024 so that rounding never shows "1024.0 MiB".
            if value < 1023.95 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        if value < 99.95 && value.fract() != 0.0 {
            write!(f, "{value:.1} {unit}")
        } else {
            write!(f, "{value:.0} {unit}")
        }
    }
}

/// Reads a duration: a bare number is seconds, otherwise numbers with units, largest first or not.
///
/// # Errors
/// When the text has no number, an unknown unit, or leaves the range.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError::Duration { text: text.to_owned() };
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds = match unit {
            "ms" => 0.001,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return Err(error()),
        };
        let part = number.parse::<f64>().map_err(|_| error())? * seconds;
        let part = Duration::try_from_secs_f64(part).map_err(|_| error())?;
        total = total.checked_add(part).ok_or_else(error)?;
        rest = tail.trim_start();
    }
    if text.trim().is_empty() { Err(error()) } else { Ok(total) }
}

/// A duration for people: the two largest units that matter.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub Duration);

impl Time {
    pub fn seconds(seconds: f64) -> Time {
        Time(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::ZERO))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.0.as_secs_f64();
        if exact < 0.000_95 {
            return write!(f, "{exact_ms:.1} ms", exact_ms = exact * 1000.0);
        }
        if exact < 0.9995 {
            return write!(f, "{:.0} ms", exact * 1000.0);
        }
        if exact < 59.95 {
            return write!(f, "{exact:.1} s");
        }
        let whole = exact.round() as u64;
        let (days, hours, minutes, seconds) =
            (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
        if days > 0 {
            write!(f, "{days} d {hours} h")
        } else if hours > 0 {
            write!(f, "{hours} h {minutes:02} min")
        } else {
            write!(f, "{minutes} min {seconds:02} s")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_servers_read_them() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("4k", 4096), ("200M", 200 << 20), ("1.5G", 3 << 29), ("2 GiB", 2 << 30)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "M", "-1", "1X", "1.2.3K", "99999999999P", "nan", "1e9"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("60", 60_000),
            ("60s", 60_000),
            ("250ms", 250),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2d", 172_800_000),
            ("0.5s", 500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "5x", "-3s", "1h30", "1..2s", "99999999999999999999w"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_shown_short() {
        assert_eq!(Size(1023).to_string(), "1023 B");
        assert_eq!(Size(1536).to_string(), "1.5 KiB");
        assert_eq!(Size(16 << 10).to_string(), "16 KiB");
        assert_eq!(Size((1 << 20) - 1).to_string(), "1.0 MiB");
        assert_eq!(Size(500 << 30).to_string(), "500 GiB");
        assert_eq!(Time::seconds(0.0184).to_string(), "18 ms");
        assert_eq!(Time::seconds(0.0004).to_string(), "0.4 ms");
        assert_eq!(Time::seconds(59.97).to_string(), "1 min 00 s");
        assert_eq!(Time::seconds(3725.0).to_string(), "1 h 02 min");
        assert_eq!(Time::seconds(90_000.0).to_string(), "1 d 1 h");
    }
}
