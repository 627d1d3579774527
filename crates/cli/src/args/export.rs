use std::path::PathBuf;

use clap::Args;

use super::SetArgs;

/// Lay a set out as mariadb-backup or xtrabackup leave an unprepared backup
///
/// For interchange, and for a second opinion: no redo is applied. The other tool must prepare the directory before it
/// is of any use to a server; how it is called is printed at the end.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  reseed export --repo /backup --name db1 latest --raw /tmp/db1
  mariadb-backup --prepare --target-dir=/tmp/db1")]
pub struct ExportArgs {
    #[command(flatten)]
    pub set: SetArgs,

    /// Directory to lay it out in; it must be missing or empty
    #[arg(long, value_name = "DIR", value_parser = super::absolute)]
    pub raw: PathBuf,

    /// Threads that write; default: two for each processor, at most 16
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// Print the result as one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}
