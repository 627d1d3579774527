//! `cargo xtask bench`: its options; the work is the package reseed-bench's, so that this program stays quick to
//! build.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{ci, servers, workspace};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A MariaDB server
    #[arg(long, default_value = "mariadb-11.8")]
    server: String,
    /// How often each tool has its turn
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Size of the data
    #[arg(long, value_name = "N", default_value_t = 1024)]
    mib: u32,
    /// Transactions a second while a backup runs
    #[arg(long, value_name = "N", default_value_t = 100)]
    load: u32,
    /// Put the table into docs/performance.md too
    #[arg(long)]
    write: bool,
}

/// The release build beside its peers.
pub fn run(args: &Args) -> Result<()> {
    if servers::fetch(std::slice::from_ref(&args.server))?.is_empty() {
        bail!("{} is not to be had", args.server);
    }
    let binary = ci::build(&["--release"])?;
    let options = [
        ("--server", args.server.clone()),
        ("--rounds", args.rounds.to_string()),
        ("--mib", args.mib.to_string()),
        ("--load", args.load.to_string()),
    ];
    let mut shown = "cargo xtask bench".to_owned();
    let mut command = Command::new(workspace::cargo());
    command.current_dir(workspace::root()).env("RESEED_BIN", &binary);
    command.args(["run", "--quiet", "--locked", "--package", "reseed-bench", "--"]);
    for (name, value) in &options {
        shown.push_str(&format!(" {name} {value}"));
        command.args([name, value.as_str()]);
    }
    command.args(["--command", &shown]);
    if args.write {
        command.arg("--write").arg(workspace::root().join("docs/performance.md"));
    }
    ci::run(&mut command)
}
