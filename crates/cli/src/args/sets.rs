use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use reseed_repository::{NameError, ServerName, Which};

use super::SetArgs;
use crate::units;

/// List the backup sets of a repository
///
/// Sets that are damaged and backups that did not finish are listed too.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  reseed list --repo /backup
  reseed list --repo /backup --name db1 --json")]
pub struct ListArgs {
    /// Directory of the repository, or the name that the configuration gives it
    #[arg(long, value_name = "DIR", value_parser = super::absolute)]
    pub repo: PathBuf,

    /// Only the sets of this server
    #[arg(long, value_name = "SERVER")]
    pub name: Option<ServerName>,

    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Show one backup set: server, sizes, locks, coordinates
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  reseed show --repo /backup --name db1 latest
  reseed show --repo /backup --name db1 20261120T060000Z-full --json")]
pub struct ShowArgs {
    #[command(flatten)]
    pub set: SetArgs,

    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Read backup sets back and check every byte of them
///
/// With an incremental set all that it builds on is read too. The result is kept beside the set, and `reseed list` shows
/// it. The exit code is 10 when damage was found.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  reseed verify --repo /backup --name db1 latest
  reseed verify --repo /backup --name db1 all --quick
  reseed verify --repo /backup --name db1 latest --pages
  Every set that was not verified in the last week:
    reseed verify --repo /backup --name db1 all --since 7d
  Restore it, start a server on it, check all tables, and take everything away again:
    reseed verify --repo /backup --name db1 latest --restore-test --scratch /srv/scratch")]
pub struct VerifyArgs {
    /// Directory of the repository, or the name that the configuration gives it
    #[arg(long, value_name = "DIR", value_parser = super::absolute)]
    pub repo: PathBuf,

    /// Name of the server in the repository
    #[arg(long, value_name = "SERVER")]
    pub name: ServerName,

    /// The set: its id, `latest`, or `all`
    #[arg(value_name = "ID")]
    pub which: VerifyWhich,

    /// Check only that manifest and index are whole and that every file is there with its size
    #[arg(long, conflicts_with = "pages")]
    pub quick: bool,

    /// Also check every page's own checksum and LSN, and read all of the redo
    #[arg(long)]
    pub pages: bool,

    /// Also restore it into a scratch directory, start a server on it and have every table checked
    ///
    /// The server listens on a socket in the scratch directory only. Nothing is left of it afterwards.
    #[arg(long, conflicts_with = "quick")]
    pub restore_test: bool,

    /// Program of the server for --restore-test; default: one of the set's version that is found on this host
    #[arg(long, value_name = "FILE", value_parser = super::absolute)]
    pub server_binary: Option<PathBuf>,

    /// Directory for --restore-test, with room for the whole datadir
    #[arg(long, value_name = "DIR", value_parser = super::absolute, default_value = "/var/tmp")]
    pub scratch: PathBuf,

    /// Give up when --restore-test takes longer
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "6h")]
    pub restore_test_limit: Duration,

    /// Leave out what was verified as closely within this time, and found good
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub since: Option<Duration>,

    /// Threads that read; default: one for each processor, at most 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// One set or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyWhich {
    All,
    One(Which),
}

impl FromStr for VerifyWhich {
    type Err = NameError;

    fn from_str(text: &str) -> Result<VerifyWhich, NameError> {
        if text == "all" { Ok(VerifyWhich::All) } else { text.parse().map(VerifyWhich::One) }
    }
}

/// Keep a set, and all that it builds on, from being removed by retention
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  reseed pin --repo /backup --name db1 20261120T060000Z-full --reason 'before the upgrade'")]
pub struct PinArgs {
    #[command(flatten)]
    pub set: SetArgs,

    /// Why, for whoever finds it later
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// Take the pin off a set
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  reseed unpin --repo /backup --name db1 20261120T060000Z-full")]
pub struct UnpinArgs {
    #[command(flatten)]
    pub set: SetArgs,
}
