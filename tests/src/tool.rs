//! The built binary, run as a user runs it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::layout;
use crate::server::Server;

/// No run of a test takes this long; a hang is a failure with its output, not a stuck build.
const RUN_LIMIT: Duration = Duration::from_secs(600);
/// A killed run takes no signal any more.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Finished {
    pub fn expect_code(self, code: i32) -> Result<Finished> {
        if self.code != Some(code) {
            bail!(
                "reseed ended with {:?} instead of {code}\nstdout:\n{}\nstderr:\n{}",
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self)
    }

    pub fn expect_success(self) -> Result<Finished> {
        self.expect_code(0)
    }
}

/// The path of the binary: RESEED_BIN where the caller built it, else built once by each test process (cargo
/// does nothing when it is fresh).
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| find_or_build().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn find_or_build() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("RESEED_BIN") {
        return Ok(PathBuf::from(given));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo)
        .current_dir(layout::root())
        .args(["build", "--quiet", "--package", "reseed", "--bin", "reseed", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !out.status.success() {
        bail!("the binary does not build");
    }
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let of_ours = message.pointer("/target/name").is_some_and(|name| name == "reseed");
        if let (true, Some(path)) = (of_ours, message.get("executable").and_then(|path| path.as_str())) {
            return Ok(PathBuf::from(path));
        }
    }
    bail!("cargo built the binary and did not say where")
}

/// A command line under construction.
#[derive(Debug)]
pub struct Reseed {
    command: Command,
}

impl Reseed {
    pub fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Reseed> {
        Ok(Reseed::of(&[], &binary()?, args))
    }

    /// Another binary than the built one, run by `prefix`, a command that runs a command.
    pub fn of<S: AsRef<OsStr>>(prefix: &[&str], binary: &Path, args: impl IntoIterator<Item = S>) -> Reseed {
        // A test must not depend on who runs it: a shell's background job ignores SIGINT, and so would its children.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT,TERM").args(prefix).arg(binary);
        for name in ["RESEED_FAILPOINTS", "RESEED_SOURCE_PASSWORD", "MYSQL_PWD", "MYSQL_HOST", "RUST_LOG"] {
            command.env_remove(name);
        }
        // Nor on a configuration that this machine may have.
        command.env("HOME", "/nonexistent").env("RESEED_CONFIG", "/dev/null").args(args);
        Reseed { command }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Reseed {
        self.command.arg(arg);
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Reseed {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Reseed {
        self.command.env(name, value);
        self
    }

    /// Runs in this directory.
    pub fn within(mut self, dir: &Path) -> Reseed {
        self.command.current_dir(dir);
        self
    }

    /// Connection options of a test server.
    pub fn to(self, server: &Server) -> Reseed {
        let socket = format!("--socket={}", server.socket().display());
        self.args(["--user=root".to_owned(), socket])
    }

    pub fn spawn(mut self) -> Result<Running> {
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run reseed")?;
        Ok(Running { child, since: Instant::now() })
    }

    pub fn run(self) -> Result<Finished> {
        self.spawn()?.wait()
    }
}

/// A run that goes on.
#[derive(Debug)]
pub struct Running {
    child: Child,
    since: Instant,
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends a signal and waits until it was taken, or the run has ended.
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        let before = self.waits_for_signals();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal)
            .context("cannot signal reseed")?;
        let since = Instant::now();
        while before.is_some() && self.waits_for_signals() == before && since.elapsed() < SIGNAL_LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// How often its thread for signals has begun to wait; `None` when there is none.
    fn waits_for_signals(&self) -> Option<u64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).ok()?;
        for task in tasks.flatten() {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            if read("comm").trim() == "signals" {
                let status = read("status");
                let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
                return line.trim().parse().ok();
            }
        }
        None
    }

    /// The most memory that it has had so far; `None` once it has ended.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib << 10)
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("cannot look after reseed")?.is_some())
    }

    pub fn wait(mut self) -> Result<Finished> {
        let stdout = read_all(self.child.stdout.take());
        let stderr = read_all(self.child.stderr.take());
        let mut hung = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for reseed")? {
                break status;
            }
            if self.since.elapsed() > RUN_LIMIT {
                hung = true;
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let took = self.since.elapsed();
        let text = |reader: std::thread::JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
        };
        let finished = Finished { code: status.code(), stdout: text(stdout), stderr: text(stderr), took };
        if hung {
            bail!("reseed hung\nstdout:\n{}\nstderr:\n{}", finished.stdout, finished.stderr);
        }
        Ok(finished)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}
