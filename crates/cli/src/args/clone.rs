use clap::Args;
use reseed_repository::Compression;

use super::backup::LockArgs;
use super::restore::TargetArgs;
use super::{CloneAttachArgs, ConnectionArgs, SourceArgs};
use crate::units::Size;

/// Copy a running server from another host straight into a datadir here
///
/// Starts `reseed backup --to -` on the source's host through the system's own ssh, and restores while receiving. The
/// connection options, and files that they name, are those of the source's host. Nothing appears under the datadir's
/// name before the copy is whole. The statements that make the copy a replica are printed at the end, or run with
/// --attach; --source-host is the host of --from unless given.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  Rebuild a broken replica from its source, until it has caught up:
    reseed clone --from root@10.0.0.5 --datadir /var/lib/mysql --move-aside --source-user repl \\
        --source-password-file /etc/reseed/repl.pw --attach --start 'systemctl start mariadb'
  The same, and the server is started by hand when reseed asks for it:
    reseed clone --from root@10.0.0.5 --datadir /var/lib/mysql --move-aside --source-user repl \\
        --source-password-file /etc/reseed/repl.pw --attach --start-wait 1h
  Only copy, and print the statements:
    reseed clone --from root@10.0.0.5 --datadir /var/lib/mysql --move-aside --source-user repl \\
        --source-password-file /etc/reseed/repl.pw > hand-over.sql
  Through a jump host, with an account that may use sudo:
    reseed clone --from dba@db1 --ssh 'ssh -J gate' --remote-command 'sudo reseed' --datadir /var/lib/mysql
  A copy of a server on this very host:
    reseed clone --from local --socket /run/mysqld/mysqld.sock --datadir /srv/copy")]
pub struct CloneArgs {
    /// Host of the server to copy, or `local`
    #[arg(long, value_name = "[USER@]HOST")]
    pub from: String,

    #[command(flatten)]
    pub target: TargetArgs,

    /// How to call ssh, with options of its own
    #[arg(long, value_name = "COMMAND", default_value = "ssh")]
    pub ssh: String,

    /// How to call reseed on the source's host
    #[arg(long, value_name = "COMMAND", default_value = "reseed")]
    pub remote_command: String,

    /// Copying threads on the source's host
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub remote_threads: Option<u16>,

    /// Read at most this many bytes a second on the source's host, e.g. 200M
    #[arg(long, value_name = "SIZE")]
    pub rate: Option<Size>,

    /// Compression on the way: zstd, zstd:LEVEL (1 to 19) or none
    #[arg(long, value_name = "METHOD", default_value = "zstd")]
    pub compress: Compression,

    /// Print the result as one JSON document on stdout
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub source: SourceArgs,

    #[command(flatten)]
    pub attach: CloneAttachArgs,

    #[command(flatten)]
    pub locks: LockArgs,

    #[command(flatten)]
    pub connection: ConnectionArgs,
}
