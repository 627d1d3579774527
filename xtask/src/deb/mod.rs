//! `cargo xtask deb`: the program, stripped, with all that is generated from its own definitions, as a Debian package.
//! What goes where stands in crates/cli/Cargo.toml, for cargo-deb.

mod copyright;
mod cross;
mod emulated;
mod prove;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use crate::{ci, workspace};

const CARGO_DEB: &str = "3.8.0";
/// That of the oldest Debian that is named: bookworm.
const NEWEST_GLIBC: (u32, u32) = (2, 36);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which machines
    #[arg(long, value_enum, default_value_t = Arch::Amd64)]
    arch: Arch,
    /// Then install, use, upgrade and remove it in clean roots of Debian, which needs root; for arm64: run its program by
    /// emulation, against real servers
    #[arg(long)]
    prove: bool,
    /// Of cargo; `dev` is built sooner, to try the package and not the program
    #[arg(long, default_value = "dist")]
    profile: String,
    /// Prove this package instead of building one
    #[arg(long, requires = "prove", value_name = "FILE", conflicts_with = "arch")]
    package: Option<PathBuf>,
    /// Only this root, e.g. bookworm
    #[arg(long, requires = "prove")]
    suite: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    fn name(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }
}

const ARM64: &str = "aarch64-unknown-linux-gnu";

pub fn run(args: &Args) -> Result<()> {
    let deb = match &args.package {
        Some(deb) => deb.clone(),
        None => build(args.arch, &args.profile)?,
    };
    eprintln!("{}", deb.display());
    match (args.prove, args.arch) {
        (false, _) => Ok(()),
        (true, Arch::Amd64) => prove::run(&deb, args.suite.as_deref()),
        (true, Arch::Arm64) => {
            let target = workspace::root().join("target");
            emulated::run(&cross::Tools::fetch(&target)?, &target.join("deb/stage/reseed"))
        }
    }
}

fn build(arch: Arch, profile: &str) -> Result<PathBuf> {
    let target = workspace::root().join("target");
    // Its completions, manual and configuration are those of the host's own program: the definitions are the same.
    let host = ci::build_binary()?;
    let stage = target.join("deb").join("stage");
    generate(&host, &stage)?;
    copyright::write(&stage.join("copyright"))?;
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()).args([
        "build",
        "--locked",
        "--package",
        "reseed",
        "--profile",
        profile,
    ]);
    let mut output = target.clone();
    let mut strip = "strip".to_owned();
    let mut pack = Command::new(cargo_deb(&target)?);
    if arch == Arch::Arm64 {
        let tools = cross::Tools::fetch(&target)?;
        strip = tools.tool("strip");
        cargo.args(["--target", ARM64]).envs(tools.environment());
        pack.args(["--target", ARM64]);
        output.push(ARM64);
    }
    ci::run(&mut cargo)?;
    let program = output.join(if profile == "dev" { "debug" } else { profile }).join("reseed");
    check_glibc(&program)?;
    // The build id stays: it is in a section that is loaded.
    workspace::output(
        Command::new(strip).args(["--strip-all", "-o"]).arg(stage.join("reseed")).arg(&program),
    )?;
    let deb = target.join("deb").join(format!("reseed_{}_{}.deb", env!("CARGO_PKG_VERSION"), arch.name()));
    pack.current_dir(workspace::root()).env("CARGO", workspace::cargo());
    pack.args(["--package", "reseed", "--profile", profile]);
    pack.args(["--no-build", "--no-strip", "--no-dbgsym", "--locked", "--output"]).arg(&deb);
    ci::run(&mut pack)?;
    Ok(deb)
}

fn generate(program: &Path, stage: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(stage);
    let man = stage.join("man");
    fs::create_dir_all(&man).with_context(|| format!("cannot create {}", man.display()))?;
    workspace::output(Command::new(program).arg("man").arg("--dir").arg(&man))?;
    for page in fs::read_dir(&man)?.flatten() {
        workspace::output(Command::new("gzip").args(["-9", "--no-name"]).arg(page.path()))?;
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = workspace::stdout(Command::new(program).args(["completions", shell]))?;
        fs::write(stage.join(format!("completion.{shell}")), script)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let changelog = format!(
        "reseed ({version}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {}  Thu, 01 Jan 2026 00:00:00 +0000\n",
        maintainer()?
    );
    fs::write(stage.join("changelog"), changelog)?;
    let upstream = stage.join("CHANGELOG.md");
    fs::copy(workspace::root().join("CHANGELOG.md"), &upstream).context("cannot copy CHANGELOG.md")?;
    workspace::output(Command::new("gzip").args(["-9", "--no-name"]).arg(&upstream))?;
    Ok(())
}

/// Who stands for the package, as crates/cli/Cargo.toml has it.
fn maintainer() -> Result<String> {
    let mut metadata = Command::new(workspace::cargo());
    metadata.current_dir(workspace::root()).args(["metadata", "--format-version=1", "--no-deps", "--locked"]);
    let metadata: Value = serde_json::from_str(&workspace::stdout(&mut metadata)?)?;
    let packages = metadata["packages"].as_array();
    let reseed = packages.into_iter().flatten().find(|package| package["name"] == "reseed");
    let maintainer = reseed.and_then(|package| package.pointer("/metadata/deb/maintainer")?.as_str());
    maintainer.map(str::to_owned).context("crates/cli/Cargo.toml names no maintainer")
}

/// The program runs where the C library has every symbol that it asks for.
fn check_glibc(program: &Path) -> Result<()> {
    let symbols = workspace::stdout(Command::new("readelf").args(["--wide", "--dyn-syms"]).arg(program))?;
    let newest = newest_glibc(&symbols).context("the program asks for no version of the C library")?;
    if newest > NEWEST_GLIBC {
        bail!("the program needs glibc {}.{}: build it on bookworm or older", newest.0, newest.1);
    }
    eprintln!(
        "the program needs glibc {}.{}; bookworm has {}.{}",
        newest.0, newest.1, NEWEST_GLIBC.0, NEWEST_GLIBC.1
    );
    Ok(())
}

fn newest_glibc(symbols: &str) -> Option<(u32, u32)> {
    let versions = symbols.split("@GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let mut parts = rest.get(..end)?.split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    });
    versions.max()
}

/// cargo-deb of the version that this was tried with, built once.
fn cargo_deb(target: &Path) -> Result<PathBuf> {
    let tools = target.join("tools");
    let program = tools.join("bin/cargo-deb");
    let is_it = |program: &Path| {
        workspace::stdout(Command::new(program).arg("--version")).is_ok_and(|text| text.contains(CARGO_DEB))
    };
    if !is_it(&program) {
        let mut install = Command::new(workspace::cargo());
        install.args([
            "install",
            "cargo-deb",
            "--version",
            CARGO_DEB,
            "--locked",
            "--no-default-features",
            "--debug",
        ]);
        install.arg("--root").arg(&tools).arg("--target-dir").arg(tools.join("build"));
        ci::run(&mut install)?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_counts() {
        let text =
            " 1: 0 FUNC GLOBAL DEFAULT UND memcpy@GLIBC_2.14 (2)\n 2: stat@GLIBC_2.33 (3)\n 3: x@GLIBC_2.9\n";
        assert_eq!(newest_glibc(text), Some((2, 33)));
        assert_eq!(newest_glibc(""), None);
    }
}
