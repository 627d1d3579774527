//! Named places at which tests make things go wrong.
//!
//! They do nothing unless the environment variable `RESEED_FAILPOINTS` names them when the process starts:
//! `name=action[,name=action...]`. Actions:
//!
//! | action | effect |
//! |---|---|
//! | `error` | an error of no special kind |
//! | `enospc` | no space left on the device |
//! | `eio` | input/output error |
//! | `kill` | the process kills itself with SIGKILL |
//! | `pause:FILE` | makes FILE.reached, then waits until FILE exists |
//! | `sleep:MS` | waits that many milliseconds |
//! | `room:BYTES` | where bytes are written: so many in all, then no space left on the device |
//!
//! `action@N` acts from the Nth time on (counted from 1) that the place is passed.
//! The one place where a library reads the environment: a failpoint must reach code that no option reaches.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub const VARIABLE: &str = "RESEED_FAILPOINTS";

#[derive(Debug)]
struct Point {
    action: Action,
    from: u64,
    passed: AtomicU64,
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    Error,
    NoSpace,
    Eio,
    Kill,
    Pause(PathBuf),
    Sleep(Duration),
    Room(u64),
}

/// The variable holds something that is not a list of failpoints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE}: {text:?} is not NAME=ACTION[@N] with a known action")]
pub struct BadFailpoint {
    pub text: String,
}

static POINTS: OnceLock<Option<HashMap<String, Point>>> = OnceLock::new();

/// Checks the variable; binaries call this once at their start, so that a misspelt failpoint is loud.
///
/// # Errors
/// When the variable cannot be understood.
pub fn check_environment() -> Result<(), BadFailpoint> {
    match std::env::var(VARIABLE) {
        Ok(text) => parse(&text).map(|_| ()),
        Err(_) => Ok(()),
    }
}

fn from_environment() -> Option<HashMap<String, Point>> {
    let text = std::env::var(VARIABLE).ok()?;
    parse(&text).ok().filter(|points| !points.is_empty())
}

/// Passes the failpoint `name`. Costs one load where none is set.
///
/// # Errors
/// What the failpoint was told to fail with.
pub fn hit(name: &str) -> io::Result<()> {
    match POINTS.get_or_init(from_environment) {
        None => Ok(()),
        Some(points) => points.get(name).map_or(Ok(()), |point| point.pass(name)),
    }
}

/// How many of these bytes still have room at the place `name`; all where no failpoint is set.
pub fn room(name: &str, wanted: usize) -> usize {
    let points = POINTS.get_or_init(from_environment);
    let Some(point) = points.as_ref().and_then(|points| points.get(name)) else { return wanted };
    let Action::Room(room) = point.action else { return wanted };
    let written = point.passed.fetch_add(wanted as u64, Ordering::Relaxed);
    room.saturating_sub(written).min(wanted as u64) as usize
}

impl Point {
    fn pass(&self, name: &str) -> io::Result<()> {
        if matches!(self.action, Action::Room(_)) {
            // It counts bytes and not passages.
            return Ok(());
        }
        let nth = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if nth < self.from {
            return Ok(());
        }
        match &self.action {
            Action::Error => Err(io::Error::other(format!("failpoint {name}"))),
            Action::NoSpace => Err(io::Error::from_raw_os_error(nix::libc::ENOSPC)),
            Action::Eio => Err(io::Error::from_raw_os_error(nix::libc::EIO)),
            Action::Kill => {
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
                Err(io::Error::other("the process outlived its own SIGKILL"))
            }
            Action::Pause(file) => {
                wait_for(file);
                Ok(())
            }
            Action::Sleep(pause) => {
                std::thread::sleep(*pause);
                Ok(())
            }
            Action::Room(_) => Ok(()),
        }
    }
}

fn wait_for(file: &Path) {
    let mut reached = file.as_os_str().to_owned();
    reached.push(".reached");
    // Without it the test waits in vain, and says so.
    let _ = std::fs::write(&reached, "");
    while !file.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn parse(text: &str) -> Result<HashMap<String, Point>, BadFailpoint> {
    let mut points = HashMap::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let bad = || BadFailpoint { text: item.to_owned() };
        let (name, action) = item.split_once('=').ok_or_else(bad)?;
        let (action, from) = match action.rsplit_once('@') {
            Some((action, from)) => (action, from.parse().map_err(|_| bad())?),
            None => (action, 1),
        };
        let action = match action.split_once(':') {
            None => match action {
                "error" => Action::Error,
                "enospc" => Action::NoSpace,
                "eio" => Action::Eio,
                "kill" => Action::Kill,
                _ => return Err(bad()),
            },
            Some(("pause", file)) if !file.is_empty() => Action::Pause(file.into()),
            Some(("sleep", ms)) => Action::Sleep(Duration::from_millis(ms.parse().map_err(|_| bad())?)),
            Some(("room", bytes)) => Action::Room(bytes.parse().map_err(|_| bad())?),
            Some(_) => return Err(bad()),
        };
        points.insert(name.to_owned(), Point { action, from, passed: AtomicU64::new(0) });
    }
    Ok(points)
}

/// `failpoint!("name")` passes a failpoint and yields `io::Result<()>`.
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::failpoint::hit($name)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_understood() {
        let points = parse("a=error, b=enospc@3,c=eio,d=kill,e=pause:/tmp/x,f=sleep:20,g=room:7,").unwrap();
        assert_eq!(points["a"].action, Action::Error);
        assert_eq!((&points["b"].action, points["b"].from), (&Action::NoSpace, 3));
        assert_eq!(points["e"].action, Action::Pause("/tmp/x".into()));
        assert_eq!(points["f"].action, Action::Sleep(Duration::from_millis(20)));
        assert_eq!(points["g"].action, Action::Room(7));
        for bad in ["a", "a=", "a=explode", "a=sleep:x", "a=pause:", "a=error@x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_acts_from_the_nth_passage_on() {
        let points = parse("b=enospc@3").unwrap();
        let point = &points["b"];
        assert!(point.pass("b").is_ok() && point.pass("b").is_ok());
        assert_eq!(point.pass("b").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(point.pass("b").is_err());
        assert!(hit("nowhere").is_ok());
    }
}
