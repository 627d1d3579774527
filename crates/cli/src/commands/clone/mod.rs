//! `reseed clone`: `backup --to -` there, `restore --from -` here, joined by a pipe or by ssh; with `--attach` also the
//! start of the server and the hand-over.

mod attach;
mod sender;
mod start;

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use reseed_repository::{RepositoryError, ServerName};
use reseed_restore::RestoreError;
use reseed_server::options::TlsMode;

use self::attach::Attach;
use self::sender::Sender;
use super::{Session, restore};
use crate::args::{CloneArgs, ConnectionArgs, LockArgs};
use crate::exit::Outcome;
use crate::failure::Failure;

const LOCAL: &str = "local";
/// The copy's name in the stream where the host's is none.
const NAMELESS: &str = "clone";

pub fn run(args: &CloneArgs, session: &Session) -> Result<Outcome, Failure> {
    let mut source = args.source.clone();
    if source.source_host.is_none() && (source.source_user.is_some() || args.attach.attach) {
        source.source_host = Some(host(&args.from).to_owned());
    }
    let mut options = restore::options(&args.target, &source)?;
    let attach = args.attach.attach.then(|| Attach::new(args, &mut options, session)).transpose()?;
    let mut sender = Sender::new(command(args)?, session);
    let restored = reseed_restore::restore_stream(&mut sender, &options, &session.drawer, &session.cancel);
    let report = match restored {
        Ok(report) => report,
        Err(error) => {
            let failure = sender.explain(&error, &args.from);
            return Err(other_version(args, &error, failure));
        }
    };
    sender.end();
    match attach {
        Some(attach) => attach.run(&report, args.json),
        None => {
            restore::tell(&report, true, args.json, session)?;
            Ok(Outcome::Done)
        }
    }
}

fn host(from: &str) -> &str {
    match from {
        LOCAL => "127.0.0.1",
        from => from.rsplit_once('@').map_or(from, |(_, host)| host),
    }
}

/// The command that sends the stream.
fn command(args: &CloneArgs) -> Result<Command, Failure> {
    let name = host(&args.from).parse::<ServerName>().map_or(NAMELESS.to_owned(), |name| name.to_string());
    let mut backup: Vec<OsString> =
        ["backup", "--to", "-", "--quiet", "--name", &name].iter().map(OsString::from).collect();
    push(&mut backup, "--compress", Some(args.compress.to_string()));
    push(&mut backup, "--threads", args.remote_threads.map(|threads| threads.to_string()));
    push(&mut backup, "--rate", args.rate.map(|rate| rate.0.to_string()));
    push_locks(&mut backup, &args.locks);
    push_connection(&mut backup, &args.connection);
    if args.from == LOCAL {
        let own = std::env::current_exe().map_err(|error| {
            Failure::new(Outcome::Failed, format!("cannot find this program's file: {error}"))
        })?;
        let mut command = Command::new(own);
        command.args(backup);
        return Ok(command);
    }
    if args.from.starts_with('-') || args.from.is_empty() {
        return Err(Failure::new(Outcome::Usage, format!("{:?} is no host", args.from)));
    }
    // The far side's shell takes the line apart again.
    let quoted: Vec<String> = backup.iter().map(|word| quoted(&word.to_string_lossy())).collect();
    remote(args, &quoted.join(" "))
}

/// ssh with reseed's arguments for the far side.
fn remote(args: &CloneArgs, arguments: &str) -> Result<Command, Failure> {
    let mut words = args.ssh.split_whitespace();
    let program = words.next().ok_or_else(|| Failure::new(Outcome::Usage, "--ssh is empty"))?;
    let mut command = Command::new(program);
    command.args(words).arg(&args.from).arg(format!("{} {arguments}", args.remote_command));
    Ok(command)
}

/// Where the two ends may not understand each other, their versions are what a person wants to know first.
fn other_version(args: &CloneArgs, error: &RestoreError, failure: Failure) -> Failure {
    let newer = matches!(error.cause(), RestoreError::Repository(RepositoryError::NewerFormat { .. }));
    if args.from == LOCAL || !(newer || failure.outcome == Outcome::Usage) {
        return failure;
    }
    let there = remote(args, "--version").ok().and_then(|mut command| {
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.starts_with("reseed ").then_some(text)
    });
    match there {
        Some(there) => {
            failure.cause(format!("{} has {there}, here is reseed {}", args.from, env!("CARGO_PKG_VERSION")))
        }
        None => failure,
    }
}

fn push(words: &mut Vec<OsString>, option: &str, value: Option<impl Into<OsString>>) {
    if let Some(value) = value {
        words.push(option.into());
        words.push(value.into());
    }
}

fn push_locks(words: &mut Vec<OsString>, locks: &LockArgs) {
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    if locks.safe {
        words.push("--safe".into());
    }
    push(words, "--lock", name_of(&locks.lock));
    push(words, "--lock-wait", Some(millis(locks.lock_wait)));
    push(words, "--stall-budget", Some(millis(locks.stall_budget)));
    if let Some(after) = locks.kill_blockers_after {
        push(words, "--kill-blockers-after", Some(millis(after)));
        push(words, "--kill-blockers", name_of(&locks.kill_blockers));
    }
}

fn name_of(value: &impl ValueEnum) -> Option<String> {
    value.to_possible_value().map(|value| value.get_name().to_owned())
}

fn push_connection(words: &mut Vec<OsString>, connection: &ConnectionArgs) {
    push(words, "--defaults-file", connection.defaults_file.clone());
    push(words, "--defaults-extra-file", connection.defaults_extra_file.clone());
    push(words, "--defaults-group-suffix", connection.defaults_group_suffix.clone());
    if connection.no_defaults {
        words.push("--no-defaults".into());
    }
    push(words, "--host", connection.host.clone());
    push(words, "--port", connection.port.map(|port| port.to_string()));
    push(words, "--socket", connection.socket.clone());
    push(words, "--protocol", connection.protocol.clone());
    push(words, "--user", connection.user.clone());
    push(words, "--password-file", connection.password_file.clone());
    push(words, "--ssl-mode", connection.ssl_mode.map(TlsMode::name));
    push(words, "--ssl-ca", connection.ssl_ca.clone());
    push(
        words,
        "--connect-timeout",
        connection.connect_timeout.map(|limit| format!("{}ms", limit.as_millis())),
    );
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for word in ["plain", "/run/my sql.sock", "it's", "", "$HOME `x` \"y\"", "a\nb"] {
            let output =
                Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(word))).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    #[test]
    fn hosts_are_taken_out_of_what_ssh_wants() {
        assert_eq!(host("root@db1.example"), "db1.example");
        assert_eq!(host("db1"), "db1");
        assert_eq!(host("local"), "127.0.0.1");
    }
}
