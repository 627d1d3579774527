use clap::{Args, Subcommand};
use reseed_repository::ServerName;

/// Look at the configuration
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  reseed config show
  reseed config show --server db1 --json")]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub what: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    Show(ConfigShowArgs),
}

/// Print the values that are in force, and where each comes from
///
/// For each option that the configuration file may hold: what the file gives, or the default. A line that names a
/// command is about that command alone.
#[derive(Debug, Args)]
pub struct ConfigShowArgs {
    /// As they are for this server; without it what counts for every server
    #[arg(long, value_name = "SERVER")]
    pub server: Option<ServerName>,

    /// Only what the file gives
    #[arg(long)]
    pub given: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}
