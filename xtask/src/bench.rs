//! `cargo xtask bench`: its options; the work is the package reseed-bench's, so that this program stays quick to
//! build.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{ci, servers, workspace};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Full backups and their restores
    Full,
    /// Chains of incremental backups and the restore of their last set
    Incremental,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to measure
    #[arg(value_enum, default_value_t = What::Full)]
    what: What,
    /// A server; MySQL for incremental only, since mariadb-backup cannot read it
    #[arg(long, default_value = "mariadb-11.8")]
    server: String,
    /// How often each tool has its turn
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Size of the data
    #[arg(long, value_name = "N", default_value_t = 1024)]
    mib: u32,
    /// Transactions a second while a backup runs [default: 100; for incremental 20]
    #[arg(long, value_name = "N")]
    load: Option<u32>,
    /// Incremental sets of a chain
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    sets: u32,
    /// Transactions between two sets of a chain
    #[arg(long, value_name = "N", default_value_t = 100)]
    change: u32,
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
    // What changes during the backups counts among what changes between two sets of a chain.
    let load = if args.what == What::Incremental { 20 } else { 100 };
    let mut options = vec![
        ("--server", args.server.clone()),
        ("--rounds", args.rounds.to_string()),
        ("--mib", args.mib.to_string()),
        ("--load", args.load.unwrap_or(load).to_string()),
    ];
    let mut shown = "cargo xtask bench".to_owned();
    if args.what == What::Incremental {
        shown.push_str(" incremental");
        options.extend([("--sets", args.sets.to_string()), ("--change", args.change.to_string())]);
    }
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
