//! What is wrong with the configuration file is a wrong command line in another place.

use super::Failure;
use crate::config::ConfigError;
use crate::exit::Outcome;

pub fn config(error: &ConfigError) -> Failure {
    let failure = Failure::of(Outcome::Usage, error);
    match hint(error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn hint(error: &ConfigError) -> Option<String> {
    Some(match error {
        ConfigError::Open { file } => format!("chmod o-w {}", file.display()),
        ConfigError::Owner { file, .. } => format!("chown root {}", file.display()),
        ConfigError::Password { .. } => {
            "Name an option file with the account (defaults-file) or a file with the password (password-file), mode 0600."
                .to_owned()
        }
        ConfigError::UnknownKey { .. }
        | ConfigError::UnknownSection { .. }
        | ConfigError::NotOfCommand { .. }
        | ConfigError::NotOfRepository { .. }
        | ConfigError::CommandLineOnly { .. } => "docs/reference/config.md and reseed.toml(5) list every key.".to_owned(),
        ConfigError::NoRepository { name, .. } => {
            format!("Where the configuration names repositories, a directory of this name is --repo ./{name}.")
        }
        ConfigError::WhichServer { .. } => "Say which one with --name.".to_owned(),
        ConfigError::UnknownRepository { .. } | ConfigError::NoPath { .. } => {
            "As in: [repository.nas] and below it path = \"/mnt/nas/mysql\"; then repo = \"nas\".".to_owned()
        }
        ConfigError::RepositoryName { .. }
        | ConfigError::SamePath { .. }
        | ConfigError::Read { .. }
        | ConfigError::Syntax { .. }
        | ConfigError::ServerName { .. }
        | ConfigError::Type { .. }
        | ConfigError::RelativePath { .. }
        | ConfigError::Value { .. } => return None,
    })
}
