//! Commands of the user's that are run around a backup, told by environment variables what is going on.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use reseed_backup::Report;
use reseed_io::Cancel;
use reseed_io::process::{Ended, Group};

use crate::args::{BackupArgs, HookArgs};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::units::Time;

/// The hooks of one run.
#[derive(Debug)]
pub struct Hooks<'a> {
    args: &'a HookArgs,
    facts: Vec<(&'static str, String)>,
}

impl<'a> Hooks<'a> {
    pub fn new(args: &'a BackupArgs) -> Hooks<'a> {
        let mut facts = vec![("RESEED_NAME", args.name.to_string())];
        facts.extend(args.repo.iter().map(|repo| ("RESEED_REPO", repo.display().to_string())));
        Hooks { args: &args.hooks, facts }
    }

    /// # Errors
    /// When the hook failed, or took longer than it may: nothing is to be done then.
    pub fn before(&self, cancel: &Cancel) -> Result<(), Failure> {
        let Some(command) = &self.args.hook_before else { return Ok(()) };
        let ended = self.run("before", command, &[], cancel);
        match ended {
            Ok(Ended::Code(0)) => Ok(()),
            Ok(Ended::Cancelled) => {
                Err(Failure::new(Outcome::Interrupted, "interrupted while --hook-before ran"))
            }
            other => Err(Failure::new(Outcome::HookFailed, format!("--hook-before {}", self.told(&other)))
                .cause(format!("its command: {command}"))),
        }
    }

    /// Whatever it comes to, the backup is what it is.
    pub fn after(&self, seconds: f64, result: Result<&Report, &Failure>) {
        let mut facts = vec![("RESEED_SECONDS", format!("{seconds:.3}"))];
        let (when, command) = match result {
            Ok(report) => {
                let path = report.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
                facts.extend([
                    ("RESEED_EXIT_CODE", Outcome::Done.code().to_string()),
                    ("RESEED_SET", report.id.to_string()),
                    ("RESEED_SET_PATH", path),
                    ("RESEED_BYTES_READ", report.bytes_read.to_string()),
                    ("RESEED_BYTES_STORED", report.bytes_stored.to_string()),
                    ("RESEED_REDO_BYTES", report.redo_bytes.to_string()),
                ]);
                ("after", &self.args.hook_after)
            }
            Err(failure) => {
                facts.extend([
                    ("RESEED_EXIT_CODE", failure.outcome.code().to_string()),
                    ("RESEED_ERROR", failure.to_string().trim_end().to_owned()),
                ]);
                ("failure", &self.args.hook_failure)
            }
        };
        let Some(command) = command else { return };
        // Not the run's own token: after an interrupt the hook is all the more wanted, and it has its limit.
        let ended = self.run(when, command, &facts, &Cancel::new());
        if !matches!(ended, Ok(Ended::Code(0))) {
            tracing::warn!("--hook-{when} {}", self.told(&ended));
        }
    }

    fn run(
        &self,
        when: &str,
        command: &str,
        facts: &[(&'static str, String)],
        cancel: &Cancel,
    ) -> std::io::Result<Ended> {
        // Standard output may be a stream of pages or a JSON document.
        let stderr =
            || std::io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from);
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(stderr()).stderr(stderr());
        shell.env("RESEED_HOOK", when);
        for (name, value) in self.facts.iter().chain(facts) {
            // No variable can hold a zero byte.
            shell.env(name, value.replace('\0', ""));
        }
        Group::spawn(&mut shell)?.wait(self.args.hook_limit, cancel)
    }

    fn told(&self, ended: &std::io::Result<Ended>) -> String {
        match ended {
            Ok(Ended::Code(code)) => format!("ended with code {code}"),
            Ok(Ended::Limit) => {
                format!("took longer than {} and was killed (--hook-limit)", Time(self.args.hook_limit))
            }
            Ok(Ended::Cancelled) => "was interrupted".to_owned(),
            Err(error) => format!("could not be run: {error}"),
        }
    }
}
