//! SIGINT, SIGTERM and SIGHUP: the first asks the run to stop cleanly (locks given back, nothing published), the
//! second ends the process at once. A signal that was ignored when the process began stays so: that is how `nohup` and
//! a shell's background jobs are kept alive.

use std::fs;
use std::os::raw::c_int;
use std::thread;

use reseed_io::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Outcome;

/// Watches for signals on a thread of its own for the rest of the process.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn watch(cancel: &Cancel) -> std::io::Result<()> {
    let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_in(*signal, ignored));
    let mut signals = Signals::new(wanted.collect::<Vec<_>>())?;
    let cancel = cancel.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            if asked {
                std::process::exit(i32::from(Outcome::Interrupted.code()));
            }
            asked = true;
            let name = match signal {
                SIGINT => "SIGINT",
                SIGTERM => "SIGTERM",
                _ => "SIGHUP",
            };
            cancel.cancel(format!("interrupted by {name}"));
        }
    })?;
    Ok(())
}

/// The set of ignored signals in a process's status, one bit for each from the lowest.
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(signal: c_int, mask: u64) -> bool {
    u32::try_from(signal - 1).ok().and_then(|bit| mask.checked_shr(bit)).is_some_and(|bits| bits & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_is_seen() {
        let mask = ignored("Name:\treseed\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n");
        assert!(is_in(SIGHUP, mask) && !is_in(SIGINT, mask) && !is_in(SIGTERM, mask));
        assert_eq!(ignored(""), 0);
        assert!(!is_in(0, u64::MAX));
    }
}
