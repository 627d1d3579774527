//! What was typed. Every option is defined once, here: parser, help, man pages, completions and
//! docs/reference/options.md all come from these definitions. What the options *mean* (a plan of a backup, of a
//! restore) is made in `commands`; nothing here opens a file or a connection.

mod attach;
mod backup;
mod check;
mod clone;
mod config;
mod connection;
mod expire;
mod export;
mod hooks;
mod hours;
mod meta;
mod restore;
mod sets;
mod setup;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reseed_repository::{NameError, ServerName, Which};

use crate::exit;

pub use attach::{AttachArgs, CloneAttachArgs};
pub use backup::{BackupArgs, KillArg, KindArgs, LockArg, LockArgs, TypeArg};
pub use check::CheckArgs;
pub use clone::CloneArgs;
pub use config::{ConfigArgs, ConfigCommand, ConfigShowArgs};
pub use connection::ConnectionArgs;
pub use expire::ExpireArgs;
pub use export::ExportArgs;
pub use hooks::HookArgs;
pub use hours::Hours;
pub use meta::{CompletionsArgs, ManArgs, ReferenceArgs, ReferencePage};
pub use restore::{
    ApplyArg, DialectArg, HandOverArgs, OfArg, OutsideArg, PositionArg, RestoreArgs, SourceArgs, TargetArgs,
    TlsArg,
};
pub use sets::{ListArgs, PinArgs, ShowArgs, UnpinArgs, VerifyArgs, VerifyWhich};
pub use setup::SetupArgs;

/// Hot physical backups of MySQL and MariaDB: take them, restore them, make replicas of them
#[derive(Debug, Parser)]
#[command(
    name = "reseed",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_long_help = after_help()
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub global: GlobalArgs,
}

fn after_help() -> String {
    let mut text = String::from(
        "Examples:\n\
        \x20 reseed backup --repo /backup --name db1\n\
        \x20 reseed list --repo /backup\n\
        \x20 reseed restore --repo /backup --name db1 latest --datadir /var/lib/mysql --move-aside\n\
        \x20 reseed hand-over --repo /backup --name db1 latest --source-host 10.0.0.5 --source-user repl\n\n\
        Exit codes:\n",
    );
    for (_, code, meaning) in exit::TABLE {
        text.push_str(&format!("  {code:>3}  {meaning}\n"));
    }
    text
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub struct GlobalArgs {
    /// Print nothing but results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,

    /// Configuration file; default: /etc/reseed/reseed.toml if it is there
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        value_parser = absolute,
        env = "RESEED_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,

    /// How much this run counts against others that want processor and disk
    #[arg(long, global = true, value_name = "PRIORITY", value_enum, default_value_t = Priority::Normal)]
    pub priority: Priority,

    /// How much to log on stderr
    #[arg(long, global = true, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Warn)]
    pub log_level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Priority {
    /// That of whoever runs reseed
    Normal,
    /// Behind others: niceness 10, and the lowest priority for I/O that still gets some
    Low,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Setup(SetupArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Clone(Box<CloneArgs>),
    HandOver(HandOverArgs),
    Attach(AttachArgs),
    List(ListArgs),
    Show(ShowArgs),
    Verify(VerifyArgs),
    Export(ExportArgs),
    Pin(PinArgs),
    Unpin(UnpinArgs),
    Expire(ExpireArgs),
    Check(CheckArgs),
    Config(ConfigArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    #[command(hide = true)]
    Reference(ReferenceArgs),
}

impl Command {
    /// The command's result is a JSON document, so that its failure is one too.
    pub fn wants_json(&self) -> bool {
        match self {
            Command::Setup(args) => args.json,
            Command::Backup(args) => args.json,
            Command::Restore(args) => args.json,
            Command::Clone(args) => args.json,
            Command::HandOver(args) => args.json,
            Command::Attach(args) => args.json,
            Command::List(args) => args.json,
            Command::Show(args) => args.json,
            Command::Verify(args) => args.json,
            Command::Export(args) => args.json,
            Command::Expire(args) => args.json,
            Command::Check(args) => args.json,
            Command::Config(ConfigArgs { what: ConfigCommand::Show(args) }) => args.json,
            Command::Pin(_)
            | Command::Unpin(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Reference(_) => false,
        }
    }
}

/// One backup set of a repository.
#[derive(Debug, Clone, Args)]
pub struct SetArgs {
    /// Directory of the repository, or the name that the configuration gives it
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    pub repo: PathBuf,

    /// Name of the server in the repository
    #[arg(long, value_name = "SERVER")]
    pub name: ServerName,

    /// The set: its id as `reseed list` shows it, or `latest`
    #[arg(value_name = "ID", value_parser = which)]
    pub which: Which,
}

fn which(text: &str) -> Result<Which, NameError> {
    text.parse()
}

/// A path as the user means it, before anything changes the working directory.
fn absolute(text: &str) -> std::io::Result<PathBuf> {
    std::path::absolute(text)
}
