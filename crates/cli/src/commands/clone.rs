//! `reseed clone`: `backup --to -` there, `restore --from -` here, joined by a pipe or by ssh.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use reseed_repository::{RepositoryError, ServerName, StreamError};
use reseed_restore::RestoreError;

use super::{Session, restore};
use crate::args::{CloneArgs, ConnectionArgs, LockArgs};
use crate::draw::Drawer;
use crate::exit::Outcome;
use crate::failure::{self, Failure};

const LOCAL: &str = "local";
/// The copy's name in the stream where the host's is none.
const NAMELESS: &str = "clone";
/// What ssh ends with when it fails itself, and a shell that does not find the command.
const SSH_FAILED: i32 = 255;
const NOT_FOUND: i32 = 127;
/// How long a sender that closed its stream may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

pub fn run(args: &CloneArgs, session: &Session) -> Result<Outcome, Failure> {
    let mut source = args.source.clone();
    if source.source_host.is_none() && source.source_user.is_some() {
        source.source_host = Some(host(&args.from).to_owned());
    }
    let options = restore::options(&args.target, &source)?;
    let mut sender = Sender::new(command(args)?, session.drawer.clone());
    match reseed_restore::restore_stream(&mut sender, &options, &session.drawer, &session.cancel) {
        Ok(report) => {
            sender.end();
            restore::tell(&report, args.json, session)?;
            Ok(Outcome::Done)
        }
        Err(error) => Err(sender.explain(&error, &args.from)),
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
    let mut words = args.ssh.split_whitespace();
    let program = words.next().ok_or_else(|| Failure::new(Outcome::Usage, "--ssh is empty"))?;
    let mut command = Command::new(program);
    // The far side's shell takes the line apart again.
    let quoted: Vec<String> = backup.iter().map(|word| quoted(&word.to_string_lossy())).collect();
    command.args(words).arg(&args.from).arg(format!("{} {}", args.remote_command, quoted.join(" ")));
    Ok(command)
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

/// The sending process. It is started when its first byte is wanted, which is after the target was looked at.
#[derive(Debug)]
struct Sender {
    command: Command,
    drawer: Drawer,
    running: Option<Running>,
    /// Why the process could not be started.
    unstarted: Option<io::Error>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<JoinHandle<()>>,
}

impl Read for Sender {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.running.is_none() {
            match self.start() {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    let kind = error.kind();
                    self.unstarted = Some(error);
                    return Err(kind.into());
                }
            }
        }
        match self.running.as_mut().and_then(|running| running.stdout.as_mut()) {
            Some(stdout) => stdout.read(buffer),
            None => Ok(0),
        }
    }
}

impl Sender {
    fn new(command: Command, drawer: Drawer) -> Sender {
        Sender { command, drawer, running: None, unstarted: None }
    }

    fn start(&mut self) -> io::Result<Running> {
        let mut child =
            self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let drawer = self.drawer.clone();
        let stderr = child.stderr.take().map(|stderr| {
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    drawer.tell(&format!("source: {line}"));
                }
            })
        });
        Ok(Running { stdout: child.stdout.take(), stderr, child })
    }

    /// Waits for the end of a sender that has nothing more to say, and ends one that goes on.
    fn end(&mut self) -> Option<ExitStatus> {
        let mut running = self.running.take()?;
        drop(running.stdout.take());
        let since = Instant::now();
        let status = loop {
            match running.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if since.elapsed() < ENDS_WITHIN => thread::sleep(Duration::from_millis(20)),
                _ => {
                    let _ = running.child.kill();
                    let _ = running.child.wait();
                    break None;
                }
            }
        };
        if let Some(stderr) = running.stderr.take() {
            let _ = stderr.join();
        }
        status
    }

    /// Where the stream broke off because its sender failed, that failure is the one to tell.
    fn explain(&mut self, error: &RestoreError, from: &str) -> Failure {
        let cut = matches!(
            error.cause(),
            RestoreError::Repository(RepositoryError::Stream(
                StreamError::Short { .. } | StreamError::NotOurs | StreamError::Aborted { .. },
            ))
        );
        if let Some(unstarted) = &self.unstarted {
            let program = self.command.get_program().to_string_lossy();
            return Failure::new(Outcome::Failed, format!("cannot start {program}: {unstarted}"));
        }
        let here = failure::restore(error);
        if !cut {
            if let Some(running) = &mut self.running {
                let _ = running.child.kill();
            }
            self.end();
            return here;
        }
        match self.end().and_then(|status| status.code()) {
            None | Some(0) => here,
            Some(SSH_FAILED) => Failure::new(Outcome::CannotConnect, format!("ssh to {from} failed"))
                .hint("Try `ssh HOST true` by hand; ssh's own options can be given in --ssh."),
            Some(NOT_FOUND) => Failure::new(Outcome::Failed, format!("there is no reseed on {from}"))
                .hint("Install it there, or say how it is called with --remote-command."),
            Some(code) => Failure::new(
                Outcome::of_code(code),
                format!("the backup on {from} failed with exit code {code}; it said why above"),
            )
            .hint(what_is_here(error)),
        }
    }
}

fn what_is_here(error: &RestoreError) -> &'static str {
    match error {
        RestoreError::UsedUp { .. } => {
            "The old datadir is used up in part; the same command, given again, goes on from there."
        }
        _ => "Nothing was changed here.",
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
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
