//! What another machine's program does, on this one: by emulation, against real servers of this one. That tells whether
//! it computes what it should; how fast it is, and what that machine's kernel and file systems do, it cannot tell.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::ARM64;
use super::cross::Tools;
use crate::{ci, servers, workspace};

/// Libraries that only compute: their own tests say all.
const COMPUTING: &[&str] = &["reseed-terms", "reseed-innodb", "reseed-redo", "reseed-zlib"];
/// Backup, restore, hand-over and replica of both families under load; verification of every kind.
const JOURNEYS: &[(&str, &str)] = &[
    ("mariadb_replica", "mariadb_10_11_second_seed"),
    ("mysql_replica", "mysql_9_7_gtid_first_seed"),
    ("verify_restore", "on_mariadb"),
];

pub fn run(tools: &Tools, program: &Path) -> Result<()> {
    let emulator = tools.emulator()?;
    let wrapper = workspace::root().join("target/cross/reseed");
    let text = format!("#!/bin/sh\nexec {emulator} '{}' \"$@\"\n", program.display());
    fs::write(&wrapper, text).with_context(|| format!("cannot write {}", wrapper.display()))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let version = workspace::stdout(Command::new(&wrapper).arg("--version"))?;
    let help = workspace::stdout(Command::new(&wrapper).arg("--help"))?;
    if !version.starts_with("reseed ") || !help.contains("Usage: reseed") {
        bail!("the program says {version:?} and {help:?}");
    }
    let mut units = Command::new(workspace::cargo());
    units.current_dir(workspace::root()).args(["test", "--lib", "--tests", "--locked", "--target", ARM64]);
    units.args(COMPUTING.iter().flat_map(|name| ["--package", name]));
    units.envs(tools.environment()).env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", &emulator);
    ci::run(&mut units)?;
    servers::fetch(&["mariadb-10.11".to_owned(), "mysql-9.7".to_owned()])?;
    for (file, name) in JOURNEYS {
        let mut test = Command::new(workspace::cargo());
        test.current_dir(workspace::root()).env("RESEED_BIN", &wrapper);
        test.args(["test", "--locked", "--package", "reseed-tests", "--test", file, name]);
        ci::run(&mut test)?;
    }
    Ok(())
}
