//! Processes that we start: never longer than they may take, and with all that they have started in turn.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cancel::Cancel;

const POLL: Duration = Duration::from_millis(10);

/// A child in a process group of its own; the group dies with this value.
#[derive(Debug)]
pub struct Group {
    child: Child,
    ended: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code; 128 and the signal's number where a signal ended it.
    Code(i32),
    /// It took longer than it may, and was killed with its group.
    Limit,
    /// We were told to stop, and it was killed with its group.
    Cancelled,
}

impl Group {
    /// # Errors
    /// When it cannot be started.
    #[allow(unsafe_code)]
    pub fn spawn(command: &mut Command) -> io::Result<Group> {
        // It ends with the thread that started it, even when that is killed.
        let die_with_us = || nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from);
        // SAFETY: between fork and exec it makes one system call, and neither allocates nor takes a lock.
        unsafe { command.pre_exec(die_with_us) };
        Ok(Group { child: command.process_group(0).spawn()?, ended: false })
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn poll(&mut self) -> io::Result<Option<i32>> {
        let status = self.child.try_wait()?;
        self.ended |= status.is_some();
        Ok(status.map(code))
    }

    /// Waits for its end, and ends it when the time is up or we are told to stop.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&mut self, limit: Duration, cancel: &Cancel) -> io::Result<Ended> {
        let until = Instant::now().checked_add(limit);
        loop {
            if let Some(code) = self.poll()? {
                return Ok(Ended::Code(code));
            }
            if cancel.sleep(POLL).is_err() {
                self.kill();
                return Ok(Ended::Cancelled);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                self.kill();
                return Ok(Ended::Limit);
            }
        }
    }

    /// Asks the process, not its group, to end.
    pub fn ask_to_end(&self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    fn kill(&mut self) {
        if self.ended {
            return;
        }
        // The child is not waited for yet: its number, and that of its group, cannot belong to anybody else.
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
        self.ended = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn the_code_is_told() {
        let cancel = Cancel::new();
        let run = |script: &str| {
            Group::spawn(&mut shell(script)).unwrap().wait(Duration::from_secs(60), &cancel).unwrap()
        };
        assert_eq!(run("exit 7"), Ended::Code(7));
        assert_eq!(run("kill -TERM $$"), Ended::Code(143));
    }

    #[test]
    fn whatever_it_started_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        // The grandchild says who it is before it is killed.
        let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let mut group = Group::spawn(&mut shell(&script)).unwrap();
        while !file.exists() {
            assert_eq!(group.poll().unwrap(), None);
            std::thread::sleep(POLL);
        }
        assert_eq!(group.wait(Duration::ZERO, &Cancel::new()).unwrap(), Ended::Limit);
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let gone = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            status.is_empty() || status.contains(") Z ")
        };
        while !gone() {
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn it_ends_when_we_are_told_to_stop() {
        let cancel = Cancel::new();
        cancel.cancel("interrupted");
        let mut group = Group::spawn(&mut shell("sleep 600")).unwrap();
        assert_eq!(group.wait(Duration::from_secs(600), &cancel).unwrap(), Ended::Cancelled);
    }
}
