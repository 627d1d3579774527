//! The host's clock as reseed sees it, while the server beside it goes by the right one. Only the time of day is
//! another: what waits, and what measures how long something took, does not notice.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};

use crate::layout;
use crate::tool::{self, Reseed};

const PACKAGE: &str = "libfaketime";

#[derive(Debug)]
pub struct Clock {
    /// A setting of the library.
    setting: String,
}

impl Clock {
    /// Off by so much, as in `-3h` and `+365d`.
    pub fn off_by(much: &str) -> Clock {
        Clock { setting: format!("FAKETIME={much}") }
    }

    /// Stands still at this time in UTC, as in `2026-11-20 06:00:00`.
    pub fn standing_at(time: &str) -> Clock {
        Clock { setting: format!("FAKETIME={time}") }
    }

    /// Off by what stands in the file, also when that changes during a run.
    pub fn by_file(file: &Path) -> Clock {
        Clock { setting: format!("FAKETIME_TIMESTAMP_FILE={}", file.display()) }
    }

    /// reseed, on a host with this clock.
    pub fn reseed<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Reseed> {
        if !layout::ensure(PACKAGE)? {
            bail!("{PACKAGE} is not to be had");
        }
        let library = layout::target().join("servers").join(PACKAGE).join("libfaketime.so");
        let settings = [
            &format!("LD_PRELOAD={}", library.display()),
            &self.setting,
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            // The times of files are the file system's, which has them from the kernel.
            "NO_FAKE_STAT=1",
            "TZ=UTC",
        ];
        Ok(Reseed::of(&settings, &tool::binary()?, args))
    }
}
