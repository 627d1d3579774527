//! What errors of the server crate mean to a script, and what to do about them.

use reseed_server::attach::AttachError;
use reseed_server::handover::HandoverError;
use reseed_server::options::OptionsError;
use reseed_server::{Missing, ServerError, preflight};

use super::Failure;
use crate::exit::Outcome;

pub fn options(error: &OptionsError) -> Failure {
    match error {
        OptionsError::NoSocket { .. } => Failure::of(Outcome::CannotConnect, error)
            .hint("Name the server's socket with --socket, or its address with --host and --port."),
        OptionsError::OpenPassword { file } => {
            Failure::of(Outcome::Usage, error).hint(format!("chmod 600 {}", file.display()))
        }
        OptionsError::Read { .. }
        | OptionsError::NoGroup { .. }
        | OptionsError::BadGroup { .. }
        | OptionsError::Value { .. } => Failure::of(Outcome::Usage, error),
    }
}

pub fn server(error: &ServerError) -> Failure {
    if let ServerError::Privileges { missing } = error {
        return missing_privileges("the account", missing);
    }
    let failure = Failure::of(outcome(error), error);
    match hint(error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// All that the account lacks, each on a line of its own, and the one statement that gives it.
pub fn missing_privileges(account: &str, missing: &[Missing]) -> Failure {
    let mut message = format!("{account} lacks privileges that are needed");
    for Missing { privilege, on, why, .. } in missing {
        message.push_str(&format!("\n  {privilege} on {on}: {why}"));
    }
    let failure = Failure::new(Outcome::MissingPrivilege, message);
    match preflight::grant_statement(missing) {
        Some(grant) => failure.hint(format!("Run this in the server, as an account that may:\n{grant}")),
        None => failure,
    }
}

fn outcome(error: &ServerError) -> Outcome {
    match error {
        ServerError::Connect { .. }
        | ServerError::Login { .. }
        | ServerError::AuthPlugin { .. }
        | ServerError::Tls { .. }
        | ServerError::NoSocket { .. } => Outcome::CannotConnect,
        ServerError::Privileges { .. } => Outcome::MissingPrivilege,
        ServerError::Statement { .. } if error.is_privilege() => Outcome::MissingPrivilege,
        ServerError::LockWait { .. } | ServerError::TemporaryTables { .. } => Outcome::LockWaitLimit,
        ServerError::Stopped { .. } => Outcome::Interrupted,
        ServerError::Unsupported { .. } => Outcome::Unsupported,
        ServerError::Statement { .. }
        | ServerError::ConnectionLost { .. }
        | ServerError::Timeout { .. }
        | ServerError::Answer { .. }
        | ServerError::Runtime(_) => Outcome::Failed,
    }
}

fn hint(error: &ServerError) -> Option<&'static str> {
    Some(match error {
        ServerError::Connect { .. } => {
            "Does the server run? Name it with --socket, or --host and --port, or an option file (--defaults-file)."
        }
        ServerError::Login { .. } => {
            "Check --user and the password: --password-file, or [client] in an option file (--defaults-file)."
        }
        ServerError::AuthPlugin { .. } => {
            "Use an account that logs in with a password, or one of the Unix socket's."
        }
        ServerError::Tls { .. } => {
            "A certificate must be for the very host that is named. See ssl-mode and ssl-ca (--ssl-mode, --ssl-ca, or \
             [client] in an option file). The server's Unix socket (--socket) needs no encryption."
        }
        ServerError::NoSocket { .. } => {
            "Name the server's socket with --socket, or its address with --host and --port."
        }
        ServerError::LockWait { .. } => {
            "Nothing of reseed is left in the server. Run it again when what was in the way has ended, give it more \
             time with --lock-wait, or let it kill what blocks (--kill-blockers-after)."
        }
        ServerError::TemporaryTables { .. } => {
            "The applier runs again. Run the backup when the source uses no temporary tables, give it more time with \
             --lock-wait, or let the source write rows (binlog_format = ROW)."
        }
        ServerError::ConnectionLost { .. } => {
            "Look into the server's error log: was it stopped, or the session killed?"
        }
        ServerError::Privileges { .. }
        | ServerError::Stopped { .. }
        | ServerError::Statement { .. }
        | ServerError::Timeout { .. }
        | ServerError::Answer { .. }
        | ServerError::Unsupported { .. }
        | ServerError::Runtime(_) => return None,
    })
}

pub fn handover(error: &HandoverError) -> Failure {
    let (outcome, hint) = match error {
        HandoverError::NoHost => (Outcome::Usage, "Say where the source is: --source-host."),
        HandoverError::NoUser => (Outcome::Usage, "Say which account replicates: --source-user."),
        HandoverError::Flavour { .. } => {
            (Outcome::Usage, "Leave --dialect away, or name one of the flavour that was backed up.")
        }
        HandoverError::NoBinlog => (
            Outcome::Failed,
            "Switch the binary log on (log_bin) and take a new backup; or make it a replica of that server's own \
             source (--of source).",
        ),
        HandoverError::NoGtid => {
            (Outcome::Failed, "Use the binary log's file and position: --position file.")
        }
        HandoverError::NoPosition { .. } => {
            (Outcome::Failed, "Use GTIDs (--position gtid), if the backup has them.")
        }
        HandoverError::NotAReplica => {
            (Outcome::Failed, "Make it a replica of the server itself: --of server.")
        }
        HandoverError::NoChannel { .. } => (Outcome::Usage, "Name one of those with --channel."),
        HandoverError::TaggedGtid { .. } => {
            (Outcome::Usage, "--position file names the place by file and position.")
        }
        HandoverError::OneChannelOnly { .. } => (Outcome::Usage, "Choose one with --channel."),
    };
    Failure::of(outcome, error).hint(hint)
}

pub fn attach(error: &AttachError) -> Failure {
    match error {
        AttachError::Server(below) => server(below),
        AttachError::NoPassword => Failure::of(Outcome::Usage, error).hint(
            "Give it with --source-password-file, or in the environment variable RESEED_SOURCE_PASSWORD.",
        ),
        AttachError::AlreadyReplica { .. } => Failure::of(Outcome::Failed, error)
            .hint("Is this the restored server? If it is, give --replace to clear what is set up."),
        AttachError::FeedsReplicas { .. } => Failure::of(Outcome::Failed, error)
            .hint("Name the restored server: --socket, or --host and --port."),
    }
}
