use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use reseed_repository::ServerName;

use crate::units;

/// Remove the sets that the rules do not keep
///
/// A set stays if any rule keeps it, and with it everything that it builds on. Pinned sets and the newest good one
/// always stay, and so does a set that another process is reading. Times are UTC.
#[derive(Debug, Args)]
#[command(
    override_usage = "reseed expire --repo <DIR> --name <SERVER> --keep-... <N> [OPTIONS]",
    group = ArgGroup::new("rules").multiple(true).required(true),
    after_long_help = "\
Examples:
  What would go?
    reseed expire --repo /backup --name db1 --keep-hourly 24 --keep-daily 14 --keep-weekly 8 --dry-run
  Keep the newest seven:
    reseed expire --repo /backup --name db1 --keep-fulls 7"
)]
pub struct ExpireArgs {
    /// Directory of the repository, or the name that the configuration gives it
    #[arg(long, value_name = "DIR", value_parser = super::absolute)]
    pub repo: PathBuf,

    /// Name of the server in the repository
    #[arg(long, value_name = "SERVER")]
    pub name: ServerName,

    /// Keep the newest N full sets and everything that builds on them
    #[arg(long, value_name = "N", group = "rules")]
    pub keep_fulls: Option<u32>,

    /// Keep everything begun within this time, e.g. 7d
    #[arg(long, value_name = "DURATION", value_parser = units::duration, group = "rules")]
    pub keep_within: Option<Duration>,

    /// Keep the newest set of each of the newest N hours that have one
    #[arg(long, value_name = "N", group = "rules")]
    pub keep_hourly: Option<u32>,

    /// The same by days
    #[arg(long, value_name = "N", group = "rules")]
    pub keep_daily: Option<u32>,

    /// The same by weeks
    #[arg(long, value_name = "N", group = "rules")]
    pub keep_weekly: Option<u32>,

    /// The same by months
    #[arg(long, value_name = "N", group = "rules")]
    pub keep_monthly: Option<u32>,

    /// The same by years
    #[arg(long, value_name = "N", group = "rules")]
    pub keep_yearly: Option<u32>,

    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,

    /// When another run works on the same name, wait for it this long instead of giving up at once
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "0s")]
    pub wait_lock: Duration,

    /// Print the result as one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}
