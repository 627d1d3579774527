//! Logs: through tracing to stderr, above the progress block, coloured on a terminal only and never where NO_COLOR is
//! set. `--log-level` speaks of reseed's own crates; libraries below are heard from level `warn` on.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::args::LogLevel;
use crate::draw::Drawer;

pub fn start(level: LogLevel, drawer: &Drawer) {
    let filter = match level {
        LogLevel::Off => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "warn,reseed=info",
        LogLevel::Debug => "warn,reseed=debug",
        LogLevel::Trace => "warn,reseed=trace",
    };
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter_of(filter))
        .with_writer(drawer.clone())
        .with_ansi(colours)
        .with_target(false)
        .finish();
    // Fails only where a subscriber is set already, which then serves as well.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn filter_of(directives: &str) -> EnvFilter {
    EnvFilter::try_new(directives).unwrap_or_default()
}
