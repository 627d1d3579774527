use std::time::Duration;

use clap::Args;

use super::{ConnectionArgs, SetArgs, SourceArgs};
use crate::units;

/// Make a restored, running server a replica and follow it until it has caught up
///
/// Runs the hand-over of the set on the server that the connection options name, then follows replication: both
/// threads running, no lag, and everything applied that the source had when it was asked. What goes wrong is explained
/// with cause and remedy. No event is ever skipped. The exit code is 13 when the replica is sound but still behind at
/// the deadline, 14 when replication is broken.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  reseed attach --repo /backup --name db1 latest --source-host 10.0.0.5 --source-user repl \\
      --source-password-file /etc/reseed/repl.pw
  Give up watching after an hour:
    reseed attach --repo /backup --name db1 latest --source-host 10.0.0.5 --source-user repl \\
        --source-password-file /etc/reseed/repl.pw --deadline 1h --socket /run/mysqld/mysqld.sock")]
pub struct AttachArgs {
    #[command(flatten)]
    pub set: SetArgs,

    /// Stop following after this time; replication goes on
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub deadline: Option<Duration>,

    /// Clear replication that is set up on the server already
    #[arg(long)]
    pub replace: bool,

    /// Print the result as one JSON document on stdout
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub source: SourceArgs,

    #[command(flatten)]
    pub connection: ConnectionArgs,
}
