use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reseed_repository::ServerName;

use super::ConnectionArgs;
use crate::units;

/// Tell a person or a monitoring system how old the newest backup is, and what will get in the way of the next
///
/// One line, findings below it, and an exit code in the convention of Nagios' plugins: 0 OK, 1 WARNING, 2 CRITICAL,
/// 3 UNKNOWN. With --age: the age of the newest restorable set; one that is damaged, or whose chain is broken, does
/// not count. With --server: what in the running server will make a backup wait, a restore drag on or a replica
/// differ; the session to look at, what it means, and the query that shows it.
#[derive(Debug, Args)]
#[command(
    override_usage = "reseed check [--age <DURATION> --repo <DIR> --name <SERVER>] [--server] [OPTIONS]",
    after_long_help = "\
Examples:
  reseed check --repo /backup --name db1 --age 90m
  reseed check --repo /backup --name db1 --warn-age 90m --age 3h
  reseed check --server --socket /run/mysqld/mysqld.sock"
)]
pub struct CheckArgs {
    /// Directory of the repository, or the name that the configuration gives it
    #[arg(long, value_name = "DIR", value_parser = super::absolute)]
    pub repo: Option<PathBuf>,

    /// Name of the server in the repository
    #[arg(long, value_name = "SERVER")]
    pub name: Option<ServerName>,

    /// CRITICAL when the newest restorable set is older
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub age: Option<Duration>,

    /// WARNING when it is older than this
    #[arg(long, value_name = "DURATION", value_parser = units::duration, requires = "age")]
    pub warn_age: Option<Duration>,

    /// Look at the running server
    #[arg(long)]
    pub server: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub connection: ConnectionArgs,
}
