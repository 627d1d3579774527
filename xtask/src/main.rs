//! Every developer command of reseed: `cargo xtask COMMAND`.
//!
//! This crate knows packages, cargo and processes. It must never know pages, redo or SQL beyond the one
//! statement that proves that a fetched server runs.

mod bench;
mod ci;
mod deb;
mod servers;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of reseed.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_version_flag = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch real servers into target/servers and prove that each runs (all of them by default)
    Servers {
        /// For example mariadb-10.11 or mysql-9.7
        names: Vec<String>,
    },
    /// Check crate graph, licences, banned crates, documentation of errors, file sizes
    Tidy {
        /// Make docs/reference/errors.md anew from the sources first
        #[arg(long)]
        write: bool,
    },
    /// Fetch the servers, build the program, run all tests
    Test {
        /// Only tests whose name contains this
        filter: Option<String>,
    },
    /// The main job for real: a source under load, backup, restore, replica attached, every table compared
    Demo {
        /// Which of the servers to show it on
        #[arg(long, default_value = "mariadb-11.8")]
        server: String,
    },
    /// reseed beside mariadb-backup and cp -r: medians and ratios of backup and restore
    Bench(bench::Args),
    /// The Debian package, and the proof of it in clean roots
    Deb(deb::Args),
    /// All that must pass before a change lands: fmt, clippy, tidy, test
    Ci,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Command::Servers { names } => servers::fetch(&names).map(|_| ()),
        Command::Tidy { write } => tidy::run(write),
        Command::Test { filter } => ci::test(filter.as_deref()),
        Command::Demo { server } => ci::demo(&server),
        Command::Bench(args) => bench::run(&args),
        Command::Deb(args) => deb::run(&args),
        Command::Ci => ci::ci(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
