use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reseed_repository::{Compression, ServerName, SetId};

use super::{ConnectionArgs, HookArgs, Hours};
use crate::units::{self, Size};

/// Take a backup of a running server, a full or an incremental one
///
/// Copies the server's files while it runs, follows its redo log, takes the coordinates under a short lock, and
/// publishes the set only when everything is on disk. Run it on the server's host, as a user who may read the
/// datadir. The account needs few privileges; what is missing is named with the exact GRANT.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  Back up the local server, account and socket from ~/.my.cnf:
    reseed backup --repo /backup --name db1
  From a timer: at most 200 MiB/s, two threads, the result as JSON:
    reseed backup --repo /backup --name db1 --rate 200M --threads 2 --quiet --json
  Another instance on this host:
    reseed backup --repo /backup --name db2 --socket /run/mysqld/db2.sock \\
        --user backup --password-file /etc/reseed/db2.pw
  Every hour: what changed since the newest set, and a full set once a week or after 50 of those:
    reseed backup --repo /backup --name db1 --type auto --full-every 7d --full-after 50
  Straight into a datadir on another host, without a repository:
    reseed backup --to - --name db1 | ssh db2 reseed restore --from - --datadir /var/lib/mysql")]
pub struct BackupArgs {
    /// Directory of the repository, or the name that the configuration gives it; it is made if there is none
    #[arg(long, value_name = "DIR", value_parser = super::absolute, required_unless_present = "to")]
    pub repo: Option<PathBuf>,

    /// Send the backup as a stream instead; `-` is standard output
    #[arg(long, value_name = "-", value_parser = ["-"], conflicts_with_all = ["repo", "json", "wait_lock"])]
    pub to: Option<String>,

    /// Name of the server in the repository: letters, digits, `.`, `_` and `-`
    #[arg(long, value_name = "SERVER")]
    pub name: ServerName,

    #[command(flatten)]
    pub kind: KindArgs,

    /// Copying threads; default: one for each processor, at most 4
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// Read at most this many bytes a second, e.g. 200M
    #[arg(long, value_name = "SIZE")]
    pub rate: Option<Size>,

    /// Compression of the set: zstd, zstd:LEVEL (1 to 19) or none
    #[arg(long, value_name = "METHOD", default_value = "zstd")]
    pub compress: Compression,

    /// When another run works on the same name, wait for it this long instead of giving up at once
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "0s")]
    pub wait_lock: Duration,

    /// Do not read a sample of the set back before it is published
    #[arg(long)]
    pub no_read_back: bool,

    /// Begin only in these hours of the day, in UTC, e.g. 20-6 or 0-5,12-13; else do nothing, with exit code 16
    #[arg(long, value_name = "HOURS")]
    pub hours: Option<Hours>,

    /// Write what became of the run into this file, as JSON; default: status.json beside the sets
    #[arg(long, value_name = "FILE", value_parser = super::absolute, conflicts_with = "to")]
    pub status_file: Option<PathBuf>,

    /// Write the result of the run into this file, for Prometheus' textfile collector
    #[arg(long, value_name = "FILE", value_parser = super::absolute, conflicts_with = "to")]
    pub metrics_file: Option<PathBuf>,

    /// Print the result as one JSON document on stdout
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub hooks: HookArgs,

    #[command(flatten)]
    pub locks: LockArgs,

    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub struct KindArgs {
    /// Full or incremental set: an incremental one holds the pages that changed since the set that it builds on
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t = TypeArg::Full, conflicts_with = "to")]
    pub kind: TypeArg,

    /// The same as --type incremental
    #[arg(long, conflicts_with_all = ["kind", "to"])]
    pub incremental: bool,

    /// Build the incremental set on this one instead of on the newest good one; fail if that cannot be
    #[arg(long, value_name = "ID", conflicts_with = "to")]
    pub parent: Option<SetId>,

    /// With --type auto: a full set when the newest one is older than this
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "7d")]
    pub full_every: Duration,

    /// With --type auto: a full set after this many incremental ones
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub full_after: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypeArg {
    /// Everything
    Full,
    /// What changed since the newest good set; a full set, with the reason, where there is none to build on
    Incremental,
    /// Incremental, and now and then full: see --full-every and --full-after
    Auto,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Locks in the server")]
pub struct LockArgs {
    /// On a replica: stop its applier for the instant of the coordinates, once no replicated temporary table is open
    #[arg(long)]
    pub safe: bool,

    /// Which lock to take for the instant of the coordinates
    #[arg(long, value_name = "LOCK", value_enum, default_value_t = LockArg::Auto)]
    pub lock: LockArg,

    /// Give up when a lock is not to be had within this time
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "60s")]
    pub lock_wait: Duration,

    /// Kill the queries that still block a lock after this time; without it nothing is ever killed
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub kill_blockers_after: Option<Duration>,

    /// Which of them to kill
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = KillArg::Select, requires = "kill_blockers_after")]
    pub kill_blockers: KillArg,

    /// MySQL: how long, in all, the server may be made to wait so that no redo is lost; 0 to never make it wait
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "1s")]
    pub stall_budget: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LockArg {
    /// The one that disturbs least on this server
    Auto,
    /// MariaDB's BACKUP STAGE
    Stage,
    /// FLUSH TABLES WITH READ LOCK
    Ftwrl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KillArg {
    /// Only those that read
    Select,
    /// All
    All,
}
