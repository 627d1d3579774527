use std::path::PathBuf;
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

/// What `clone` does once the datadir is in place.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Attach")]
pub struct CloneAttachArgs {
    /// Make the restored server a replica and follow it until it has caught up
    ///
    /// Runs the hand-over that is printed otherwise. The source is asked with the replication account before anything
    /// is copied, so that a wrong password shows now and not at the end.
    #[arg(long)]
    pub attach: bool,

    /// How to start the server on the new datadir, run by sh; without it reseed waits until you have started it
    #[arg(long, value_name = "COMMAND", requires = "attach")]
    pub start: Option<String>,

    /// How long the server may take to start, until it answers
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "10m", requires = "attach")]
    pub start_wait: Duration,

    /// Stop following after this time; replication goes on
    #[arg(long, value_name = "DURATION", value_parser = units::duration, requires = "attach")]
    pub deadline: Option<Duration>,

    /// Option file with the connection options of the restored server; default: the usual files of this host
    #[arg(long, value_name = "FILE", requires = "attach")]
    pub target_defaults_file: Option<PathBuf>,

    /// Unix socket of the restored server
    #[arg(long, value_name = "FILE", requires = "attach")]
    pub target_socket: Option<PathBuf>,

    /// Host of the restored server, where it is not reached by its socket
    #[arg(long, value_name = "HOST", requires = "attach")]
    pub target_host: Option<String>,

    /// TCP port of the restored server
    #[arg(long, value_name = "PORT", requires = "attach")]
    pub target_port: Option<u16>,

    /// Account on the restored server; its accounts are those of the source
    #[arg(long, value_name = "USER", requires = "attach")]
    pub target_user: Option<String>,

    /// File whose first line is that account's password
    #[arg(long, value_name = "FILE", requires = "attach")]
    pub target_password_file: Option<PathBuf>,
}

impl CloneAttachArgs {
    /// How to reach the restored server.
    pub fn connection(&self) -> ConnectionArgs {
        ConnectionArgs {
            defaults_file: self.target_defaults_file.clone(),
            socket: self.target_socket.clone(),
            host: self.target_host.clone(),
            port: self.target_port,
            user: self.target_user.clone(),
            password_file: self.target_password_file.clone(),
            ..ConnectionArgs::default()
        }
    }
}
