//! The exit codes: one table, one function. Documented in docs/reference/exit-codes.md, which a test compares with
//! this table. A script may rely on every line of it; a code that is not in it means failure.

use std::process::ExitCode;

/// What a run came to, as far as a script should tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed,
    Usage,
    CannotConnect,
    MissingPrivilege,
    NameBusy,
    LockWaitLimit,
    RedoOverrun,
    CorruptPage,
    RepositoryFull,
    SetDamaged,
    DatadirInUse,
    Unsupported,
    StillBehind,
    ReplicationBroken,
    HookFailed,
    NotNow,
    NotStarted,
    Interrupted,
}

/// Every outcome with its code and its one line of documentation.
pub const TABLE: &[(Outcome, u8, &str)] = &[
    (Outcome::Done, 0, "Done."),
    (
        Outcome::Failed,
        1,
        "Failed for a reason that has no code of its own; the message on stderr says which.",
    ),
    (Outcome::Usage, 2, "The command line is wrong. Nothing was done."),
    (Outcome::CannotConnect, 3, "The server cannot be reached, or refuses the account."),
    (
        Outcome::MissingPrivilege,
        4,
        "The account lacks a privilege. The message holds the exact GRANT statements.",
    ),
    (Outcome::NameBusy, 5, "Another run works on the same server name in this repository."),
    (
        Outcome::LockWaitLimit,
        6,
        "A lock in the server was not to be had within --lock-wait. Nothing is left behind.",
    ),
    (Outcome::RedoOverrun, 7, "The server overwrote redo before it was read. Nothing was published."),
    (Outcome::CorruptPage, 8, "A page is corrupt on the server's disk. Nothing was published."),
    (Outcome::RepositoryFull, 9, "The place to write to is full or not writable."),
    (Outcome::SetDamaged, 10, "The backup set is damaged, incomplete or does not exist."),
    (Outcome::DatadirInUse, 11, "The target datadir is not empty, or a running server uses it."),
    (
        Outcome::Unsupported,
        12,
        "This server, its version or a feature in use is not supported. Nothing was done.",
    ),
    (Outcome::StillBehind, 13, "The replica works but was still behind at the deadline."),
    (Outcome::ReplicationBroken, 14, "Replication does not run. The message says why."),
    (Outcome::HookFailed, 15, "--hook-before failed, or took longer than it may. Nothing was done."),
    (Outcome::NotNow, 16, "It is not one of the --hours in which a backup may begin. Nothing was done."),
    (
        Outcome::NotStarted,
        17,
        "The datadir is restored and in place, and no server came up on it in time. The message says why.",
    ),
    (
        Outcome::Interrupted,
        130,
        "Interrupted by a signal. Nothing was published, no lock is left in the server.",
    ),
];

impl Outcome {
    /// What a code of another reseed means; a code that is not in the table is a failure.
    pub fn of_code(code: i32) -> Outcome {
        let known = TABLE.iter().find(|(_, known, _)| i32::from(*known) == code);
        known.map_or(Outcome::Failed, |(outcome, ..)| *outcome)
    }

    pub fn code(self) -> u8 {
        TABLE.iter().find(|(outcome, ..)| *outcome == self).map_or(1, |(_, code, _)| *code)
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(outcome.code())
    }
}

/// The table as it stands in the documentation.
pub fn documentation() -> String {
    let mut text = String::from(
        "# Exit codes\n\nEvery command of `reseed` ends with one of these codes. A code that is not listed here means failure.\n\n\
         | code | meaning |\n|-----:|---------|\n",
    );
    for (_, code, meaning) in TABLE {
        text.push_str(&format!("| {code} | {meaning} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        for (at, (outcome, code, _)) in TABLE.iter().enumerate() {
            assert_eq!(outcome.code(), *code);
            assert!(TABLE[..at].iter().all(|(_, other, _)| other != code), "{code} is used twice");
        }
    }
}
