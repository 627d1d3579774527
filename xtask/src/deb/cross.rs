//! The tools that compile and link for arm64: Debian's own, unpacked below target/, with bookworm's C library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{servers, workspace};

const TRIPLE: &str = "aarch64-linux-gnu";
/// Libraries of the tools. No others are taken from the packages: they would stand in the way of the machine's own.
const LIBRARIES: &[&str] =
    &["libisl", "libmpc", "libmpfr", "libgmp", "libopcodes", "libbfd", "libctf", "libsframe", "libjansson"];

#[derive(Debug)]
pub struct Tools {
    root: PathBuf,
    libraries: PathBuf,
}

impl Tools {
    pub fn fetch(target: &Path) -> Result<Tools> {
        // Where rustup rules it has the standard library for arm64; elsewhere the build says that it is missing.
        let _ = workspace::output(Command::new("rustup").args(["target", "add", super::ARM64]));
        let home = target.join("cross");
        let tools = Tools { root: home.join("root"), libraries: home.join("lib") };
        if home.join("READY").exists() {
            return Ok(tools);
        }
        servers::unpack_packages(&tools.root, &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"], &[])?;
        fs::create_dir_all(&tools.libraries)?;
        for entry in fs::read_dir(tools.root.join("usr/lib/x86_64-linux-gnu"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if LIBRARIES.iter().any(|start| name.starts_with(start)) && entry.path().is_file() {
                fs::copy(entry.path(), tools.libraries.join(name))?;
            }
        }
        fs::write(home.join("READY"), "").context("cannot write the marker")?;
        Ok(tools)
    }

    pub fn tool(&self, name: &str) -> String {
        self.root.join("usr/bin").join(format!("{TRIPLE}-{name}")).display().to_string()
    }

    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", self.tool("gcc")),
            ("CC_aarch64_unknown_linux_gnu", self.tool("gcc")),
            ("AR_aarch64_unknown_linux_gnu", self.tool("gcc-ar")),
            ("LD_LIBRARY_PATH", self.libraries.display().to_string()),
        ]
    }
}
