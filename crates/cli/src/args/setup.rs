use std::path::PathBuf;

use clap::Args;
use reseed_repository::ServerName;

use super::ConnectionArgs;

/// Prepare the backups of a server: account, configuration, repository
///
/// Logs in with the connection options given here, as an account that may make others, and prints the statements that
/// make an account for backups: its privileges are those that a backup of this very server needs, and no more. With --run
/// it runs them, with a password of its own making, and writes what further commands need: an option file with the
/// account, a section of the configuration file (with rules of retention, unless the repository has its own there), the
/// repository. Then it logs in with the new account to see that it
/// will do. What is already there is kept and tested, so that it can be run again.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  See what would be run:
    reseed setup --repo /backup --name db1
  Do it:
    reseed setup --repo /backup --name db1 --run
  For units that run as the user reseed:
    reseed setup --repo /backup --name db1 --run --owner reseed
  Another instance on this host:
    reseed setup --repo /backup --name db2 --run --socket /run/mysqld/db2.sock")]
pub struct SetupArgs {
    /// Directory of the repository, or the name that the configuration gives it; with --run it is made if there is none
    #[arg(long, value_name = "DIR", value_parser = super::absolute)]
    pub repo: PathBuf,

    /// Name that the server is to have in the repository: letters, digits, `.`, `_` and `-`
    #[arg(long, value_name = "SERVER")]
    pub name: ServerName,

    /// Do it, instead of printing the statements
    #[arg(long)]
    pub run: bool,

    /// Name of the account for backups
    #[arg(long, value_name = "USER", default_value = "reseed")]
    pub account: String,

    /// Option file to write the account to; default: SERVER.cnf beside the configuration file
    #[arg(long, value_name = "FILE", value_parser = super::absolute)]
    pub option_file: Option<PathBuf>,

    /// Owner of the option file and of the repository, as USER[:GROUP]: who is going to run the backups
    #[arg(long, value_name = "USER[:GROUP]")]
    pub owner: Option<String>,

    /// Print the result as one JSON document on stdout
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub connection: ConnectionArgs,
}
