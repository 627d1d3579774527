use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  reseed completions bash > /etc/bash_completion.d/reseed
  reseed completions zsh > /usr/local/share/zsh/site-functions/_reseed")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// Write the man pages
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  Read the page of one command:
    reseed man backup | man -l -
  Install them all:
    reseed man --dir /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Print the page of this command, or of `reseed.toml`; without it that of reseed itself
    #[arg(value_name = "TOPIC", conflicts_with = "dir")]
    pub topic: Option<String>,

    /// Write all pages into this directory: those of the commands end in .1, that of reseed.toml in .5
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Print a page of the reference
#[derive(Debug, Args)]
pub struct ReferenceArgs {
    #[arg(value_enum)]
    pub page: ReferencePage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReferencePage {
    Options,
    ExitCodes,
    /// The example of a configuration file
    Config,
    /// The keys of the configuration file
    Keys,
}
