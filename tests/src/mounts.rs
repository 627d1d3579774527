//! Runs of reseed among mounts of their own, which nobody else sees and which are gone with the run. Root needs nothing
//! for it, others a kernel that gives users namespaces; where it does not, the test fails.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::tool;
use crate::trip::Trip;

/// A step of a script that ran: its exit code and what it printed.
#[derive(Debug)]
pub struct Step {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a script of `sh` in the trip's folder, with the trip's configuration. `run LABEL WORDS…` in it runs reseed and
/// keeps how it ended, which `expect` reads.
pub fn script(trip: &Trip, script: &str) -> Result<()> {
    let text = format!(
        "set -eu; cd '{place}'
         run() {{ label=$1; shift; code=0; \"$RESEED\" \"$@\" > \"$label.out\" 2> \"$label.err\" || code=$?; echo $code > \"$label.code\"; }}
         {script}",
        place = trip.place("").display(),
    );
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", &text]).stdin(Stdio::null());
    command.env("RESEED", tool::binary()?).env("RESEED_CONFIG", trip.place("reseed.toml")).env("LC_ALL", "C");
    let output = command.output().context("cannot run unshare")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The step of this label, which must have ended so.
pub fn expect(trip: &Trip, label: &str, code: i32) -> Result<Step> {
    let read = |ending: &str| -> Result<String> {
        let path = trip.place(&format!("{label}.{ending}"));
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let step = Step { code: read("code")?.trim().parse()?, stdout: read("out")?, stderr: read("err")? };
    ensure!(step.code == code, "{label} ended with {} instead of {code}: {step:?}", step.code);
    Ok(step)
}
