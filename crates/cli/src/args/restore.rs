use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use reseed_repository::{ServerName, Which};
use reseed_restore::KeepPattern;

use super::SetArgs;
use crate::units::Size;

/// Restore a backup set into a datadir
///
/// One pass: pages are read from the set, the redo is applied to them in memory, and each is written once, checked. The
/// datadir appears under its name when it is whole, not before. A datadir that a running server uses is always refused.
/// No option file is read: the datadir is what you say. With --source-host (or --of source) the statements that make
/// the restored server a replica are printed at the end, and kept in a file beside the datadir.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  Into an empty or missing directory:
    reseed restore --repo /backup --name db1 latest --datadir /var/lib/mysql
  In the place of a broken datadir, which is renamed beside it:
    reseed restore --repo /backup --name db1 latest --datadir /var/lib/mysql --move-aside
  Into a replica that has fallen out, writing only what has changed since:
    reseed restore --repo /backup --name db1 latest --datadir /var/lib/mysql --delta
  The same, and its option file and certificates stay:
    reseed restore --repo /backup --name db1 latest --datadir /var/lib/mysql --delta \\
        --keep my.cnf --keep '*.pem'
  And make it a replica of 10.0.0.5 once it runs:
    reseed restore --repo /backup --name db1 latest --datadir /var/lib/mysql --move-aside \\
        --source-host 10.0.0.5 --source-user repl --source-password-file /etc/reseed/repl.pw
  From a stream, without a repository:
    ssh db1 reseed backup --to - --name db1 | reseed restore --from - --datadir /var/lib/mysql
  Tablespaces of DATA DIRECTORY = '/ssd' go to /data/ssd:
    reseed restore --repo /backup --name db1 latest --datadir /var/lib/mysql --map /ssd=/data/ssd")]
pub struct RestoreArgs {
    /// Directory of the repository, or the name that the configuration gives it
    #[arg(long, value_name = "DIR", value_parser = super::absolute, required_unless_present = "from")]
    pub repo: Option<PathBuf>,

    /// Name of the server in the repository
    #[arg(long, value_name = "SERVER", required_unless_present = "from")]
    pub name: Option<ServerName>,

    /// The set: its id as `reseed list` shows it, or `latest`
    #[arg(value_name = "ID", value_parser = super::which, required_unless_present = "from")]
    pub which: Option<Which>,

    /// Restore from a stream of `reseed backup --to -` instead; `-` is standard input
    #[arg(long, value_name = "-", value_parser = ["-"], conflicts_with_all = ["repo", "name", "which"])]
    pub from: Option<String>,

    #[command(flatten)]
    pub target: TargetArgs,

    /// Print the result as one JSON document on stdout
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// Where a datadir is made, and how.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// Directory to restore into
    #[arg(long, value_name = "DIR")]
    pub datadir: PathBuf,

    /// Rename what is in the datadir beside it first; put it back if the restore fails
    #[arg(long)]
    pub move_aside: bool,

    /// Make the new datadir out of the old one, writing only what differs; this uses the old one up
    ///
    /// For a replica that is to be rebuilt: its content is given up, and what is equal to the set's is not written
    /// again. Every byte is compared. Nothing is put back when the restore fails; the same command, given again, goes on
    /// from there. Files that the set does not have (binary and relay logs, auto.cnf, other tables) are not deleted: they
    /// are put beside the new datadir at the end.
    #[arg(long, conflicts_with = "move_aside")]
    pub delta: bool,

    /// Carry over files of the old datadir that fit, with --move-aside or --delta; may be given several times
    ///
    /// For what a datadir holds beside its data: `my.cnf`, `*.pem`. The pattern is a path below the datadir; `*` stops at a
    /// slash, `**` does not. Each file is copied with its owner and mode. Files that belong to the data (tables, logs,
    /// whatever the set has a file of that name for) are never carried over, nor is an auto.cnf with the UUID of the
    /// server that was backed up.
    #[arg(long, value_name = "PATTERN")]
    pub keep: Vec<KeepPattern>,

    /// Owner of what is written, as USER[:GROUP]; default: that of the datadir or its parent
    #[arg(long, value_name = "USER[:GROUP]")]
    pub owner: Option<String>,

    /// Server program that will run on the datadir, or `none` for one that is not on this host
    ///
    /// Its flavour and version are compared with those of the backup before anything is written. Default: mariadbd or
    /// mysqld, where this host has one; what that one cannot use is a warning, and with --attach refused.
    #[arg(long, value_name = "PROGRAM")]
    pub server_binary: Option<PathBuf>,

    /// Who applies the redo
    #[arg(long, value_name = "BY", value_enum, default_value_t = ApplyArg::Native)]
    pub apply: ApplyArg,

    /// Memory for redo; what does not fit is spilled to disk
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub memory: Size,

    /// Threads that write; default: two for each processor, at most 16
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// Where files go that lay outside the datadir
    #[arg(long, value_name = "WHERE", value_enum, default_value_t = OutsideArg::Inside)]
    pub outside: OutsideArg,

    /// Put files that lay under OLD, outside the datadir, under NEW; may be given several times
    #[arg(long, value_name = "OLD=NEW")]
    pub map: Vec<MapArg>,
}

impl RestoreArgs {
    /// The set that is meant; `None` where a stream is.
    pub fn set(&self) -> Option<SetArgs> {
        Some(SetArgs { repo: self.repo.clone()?, name: self.name.clone()?, which: self.which.clone()? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ApplyArg {
    /// reseed, while it writes
    Native,
    /// The server at its first start: the redo is laid down in its own format
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutsideArg {
    /// Into the datadir
    Inside,
    /// To where they lay; only right when no living server has files there
    Keep,
}

/// `OLD=NEW`, both absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapArg {
    pub old: PathBuf,
    pub new: PathBuf,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not of the form OLD=NEW with two absolute paths")]
pub struct MapError(String);

impl FromStr for MapArg {
    type Err = MapError;

    fn from_str(text: &str) -> Result<MapArg, MapError> {
        match text.split_once('=') {
            Some((old, new)) if old.starts_with('/') && new.starts_with('/') => {
                Ok(MapArg { old: PathBuf::from(old), new: PathBuf::from(new) })
            }
            _ => Err(MapError(text.to_owned())),
        }
    }
}

/// Print the statements that make a restored server a replica
///
/// They are made from the set's own coordinates, in the words of the restored server's flavour and version, and begin
/// by clearing whatever replication came along inside the data. Standard output carries the statements only. Nothing
/// is run.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  Look at them:
    reseed hand-over --repo /backup --name db1 latest --source-host 10.0.0.5 --source-user repl
  Run them on the restored server:
    reseed hand-over --repo /backup --name db1 latest --source-host 10.0.0.5 --source-user repl \\
        --source-password-file /etc/reseed/repl.pw | mariadb
  The backup was taken from a replica, and the new server is to replicate from the same source:
    reseed hand-over --repo /backup --name db1 latest --of source --source-user repl")]
pub struct HandOverArgs {
    #[command(flatten)]
    pub set: SetArgs,

    /// Print one JSON document on stdout, with each statement by itself
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// Where the new replica finds its source.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Hand-over")]
pub struct SourceArgs {
    /// Host of the source, as the replica reaches it
    #[arg(long, value_name = "HOST")]
    pub source_host: Option<String>,

    /// Port of the source; default 3306
    #[arg(long, value_name = "PORT")]
    pub source_port: Option<u16>,

    /// Replication account on the source
    #[arg(long, value_name = "USER")]
    pub source_user: Option<String>,

    /// File whose first line is the replication account's password
    ///
    /// The environment variable RESEED_SOURCE_PASSWORD does as well. Without either a marked placeholder stands in the
    /// password's place.
    #[arg(long, value_name = "FILE")]
    pub source_password_file: Option<PathBuf>,

    /// Encryption of the replication connection
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = TlsArg::Default)]
    pub source_tls: TlsArg,

    /// How the replica finds its place; default: by GTID where the backup has them
    #[arg(long, value_name = "BY", value_enum)]
    pub position: Option<PositionArg>,

    /// Whose replica it becomes
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t = OfArg::Server)]
    pub of: OfArg,

    /// Whose words to speak; default: those of the server that was backed up
    #[arg(long, value_name = "DIALECT", value_enum)]
    pub dialect: Option<DialectArg>,

    /// Channel (MySQL) or connection (MariaDB): name of the new one, or with `--of source` the only one to take
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsArg {
    /// As the server does it by itself
    Default,
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PositionArg {
    Gtid,
    /// Binary log file and position
    File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OfArg {
    /// Of the server that was backed up
    Server,
    /// Of that server's own source
    Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DialectArg {
    Mysql,
    Mariadb,
    RdsMysql,
    RdsMariadb,
    AuroraMysql,
}
