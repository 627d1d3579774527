//! `cargo xtask test`, `demo` and `ci`: the order of the steps, and how cargo is called.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{servers, tidy, workspace};

/// End-to-end tests start servers: more at once than cores only makes each slower.
const TEST_THREADS: &str = "--test-threads=2";

/// fmt, clippy, tidy, all tests; the cheap ones first.
pub fn ci() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    tidy::run(false)?;
    test(None)
}

/// All tests, or those whose name contains the filter.
pub fn test(filter: Option<&str>) -> Result<()> {
    servers::fetch(&[])?;
    let binary = build_binary()?;
    let mut command = Command::new(workspace::cargo());
    command.current_dir(workspace::root()).env("RESEED_BIN", &binary);
    // One failure must not hide the others: a run costs minutes.
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    command.args(filter).args(["--", TEST_THREADS]);
    run(&mut command)
}

/// The main job for real, told step by step.
pub fn demo(server: &str) -> Result<()> {
    if servers::fetch(&[server.to_owned()])?.is_empty() {
        bail!("{server} is not to be had");
    }
    let binary = build_binary()?;
    let mut command = Command::new(workspace::cargo());
    command.current_dir(workspace::root()).env("RESEED_BIN", &binary);
    command.args(["run", "--quiet", "--locked", "--package", "reseed-tests", "--bin", "demo", "--", server]);
    run(&mut command)
}

/// Builds the program once for all end-to-end tests and says where it is.
pub fn build_binary() -> Result<PathBuf> {
    build(&[])
}

/// With more options for cargo.
pub fn build(options: &[&str]) -> Result<PathBuf> {
    eprintln!("+ cargo build --package reseed");
    let mut command = Command::new(workspace::cargo());
    command.current_dir(workspace::root()).stderr(Stdio::inherit());
    command.args(["build", "--locked", "--package", "reseed", "--bin", "reseed", "--message-format=json"]);
    command.args(options);
    let out = command.stdin(Stdio::null()).output().context("cannot run cargo")?;
    if !out.status.success() {
        bail!("the program does not build");
    }
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if message.pointer("/target/name").is_none_or(|name| name != "reseed") {
            continue;
        }
        if let Some(path) = message.get("executable").and_then(|path| path.as_str()) {
            return Ok(PathBuf::from(path));
        }
    }
    bail!("cargo built the program and did not say where")
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run(Command::new(workspace::cargo()).current_dir(workspace::root()).args(arguments))
}

/// With the output where the user sees it.
pub fn run(command: &mut Command) -> Result<()> {
    let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    eprintln!("+ cargo {}", words.join(" "));
    let status = command.stdin(Stdio::null()).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} failed: {status}", words.join(" "));
    }
    Ok(())
}
