use std::time::Duration;

use clap::Args;

use crate::units;

/// Commands that are run around a backup.
#[derive(Debug, Args)]
#[command(next_help_heading = "Hooks")]
pub struct HookArgs {
    /// Run this by the shell before anything else; when it fails nothing is done and the exit code is 15
    ///
    /// All hooks are told what is going on by environment variables: RESEED_HOOK (before, after, failure),
    /// RESEED_NAME, RESEED_REPO; after the run also RESEED_EXIT_CODE and RESEED_SECONDS; after a good one RESEED_SET,
    /// RESEED_SET_PATH, RESEED_BYTES_READ, RESEED_BYTES_STORED and RESEED_REDO_BYTES; after a failed one RESEED_ERROR.
    /// What they print goes to stderr.
    #[arg(long, value_name = "COMMAND")]
    pub hook_before: Option<String>,

    /// Run this after a good backup; that it fails is only warned of
    #[arg(long, value_name = "COMMAND")]
    pub hook_after: Option<String>,

    /// Run this after a backup that failed; that it fails itself is only warned of
    #[arg(long, value_name = "COMMAND")]
    pub hook_failure: Option<String>,

    /// Kill a hook, and all that it has started, when it takes longer
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "60s")]
    pub hook_limit: Duration,
}
