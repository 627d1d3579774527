//! The process that sends the stream, on this host or through ssh.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reseed_io::{Cancel, Pipe};
use reseed_repository::{RepositoryError, StreamError};
use reseed_restore::RestoreError;

use crate::commands::Session;
use crate::draw::Drawer;
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::units::Size;

/// What ssh ends with when it fails itself, and a shell that does not find the command.
const SSH_FAILED: i32 = 255;
const NOT_FOUND: i32 = 127;
/// How long a sender that closed its stream may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// The sending process. It is started when its first byte is wanted, which is after the target was looked at.
#[derive(Debug)]
pub struct Sender {
    command: Command,
    drawer: Drawer,
    cancel: Cancel,
    running: Option<Running>,
    received: u64,
    /// Why the process could not be started.
    unstarted: Option<io::Error>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    stdout: Option<Pipe<ChildStdout>>,
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
            Some(stdout) => {
                let read = stdout.read(buffer)?;
                self.received += read as u64;
                Ok(read)
            }
            None => Ok(0),
        }
    }
}

impl Sender {
    pub fn new(command: Command, session: &Session) -> Sender {
        let (drawer, cancel) = (session.drawer.clone(), session.cancel.clone());
        Sender { command, drawer, cancel, running: None, received: 0, unstarted: None }
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
        let stdout = child.stdout.take().map(|stdout| Pipe::new(stdout, self.cancel.clone()));
        Ok(Running { stdout, stderr, child })
    }

    /// Waits for the end of a sender that has nothing more to say, and ends one that goes on.
    pub fn end(&mut self) -> Option<ExitStatus> {
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
        // What it said last is waited for, but not for ever: a process that ssh left behind may hold the pipe.
        if let Some(stderr) = running.stderr.take() {
            while !stderr.is_finished() && since.elapsed() < ENDS_WITHIN {
                thread::sleep(Duration::from_millis(5));
            }
        }
        status
    }

    /// Where the stream broke off because its sender failed, that failure is the one to tell.
    pub fn explain(&mut self, error: &RestoreError, from: &str) -> Failure {
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
            Some(SSH_FAILED) if self.received > 0 => Failure::new(
                Outcome::CannotConnect,
                format!("ssh to {from} broke off after {}", Size(self.received)),
            )
            .hint(format!(
                "{} Keep-alives notice a dead line early: --ssh 'ssh -o ServerAliveInterval=15'.",
                what_is_here(error)
            )),
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
