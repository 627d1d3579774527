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
    /// Print the page of this command; without it that of reseed itself
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub command: Option<String>,

    /// Write the pages of all commands into this directory
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
}
