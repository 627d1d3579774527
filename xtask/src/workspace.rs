//! Where things lie, and how child processes are run. Knows no command by name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// The folder of the root Cargo.toml. Cargo tells it at run time: a tree that was moved after the build
/// must not be written to at its old place.
pub fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// The cargo that runs this, so that a toolchain chosen on the command line holds for all steps.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs to the end and returns what it printed; a failure carries its last lines.
pub fn output(command: &mut Command) -> Result<Output> {
    let shown = Path::new(command.get_program()).display().to_string();
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
    if !out.status.success() {
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(12)).copied().collect::<Vec<_>>().join("\n");
        bail!("{shown}: {}\n{tail}", out.status);
    }
    Ok(out)
}

/// stdout of a command that must succeed.
pub fn stdout(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?.stdout).into_owned())
}
