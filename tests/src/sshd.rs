//! A real sshd on loopback that lets one key in, onto one host of a test. It runs as whoever runs the test, on a port,
//! with keys and with an account of its own; nothing of the machine's ssh is used or changed.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::host::Host;
use crate::layout;
use crate::server::scratch;

const PACKAGES: &str = "openssh";
const START_LIMIT: Duration = Duration::from_secs(60);
/// The account that sshd lets in; it has the powers of whoever runs the test.
const ACCOUNT: &str = "admin";
const ACCOUNT_ID: u32 = 4242;

#[derive(Debug)]
pub struct Sshd {
    child: Child,
    dir: TempDir,
    port: u16,
}

impl Sshd {
    /// Starts an sshd whose sessions run on `host`.
    pub fn start(host: &Host) -> Result<Sshd> {
        layout::ensure(PACKAGES)?;
        let dir = scratch()?;
        let place = |name: &str| dir.path().join(name);
        for key in ["host_key", "id"] {
            let made = Command::new(program("ssh-keygen"))
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
                .arg(place(key))
                .stdin(Stdio::null())
                .output()
                .context("cannot run ssh-keygen")?;
            if !made.status.success() {
                bail!("ssh-keygen: {}", String::from_utf8_lossy(&made.stderr));
            }
        }
        let home = dir.path().display();
        fs::write(place("passwd"), format!("{ACCOUNT}:x:{ACCOUNT_ID}:{ACCOUNT_ID}::{home}:/bin/sh\n"))?;
        fs::write(place("group"), format!("{ACCOUNT}:x:{ACCOUNT_ID}:\n"))?;
        let environment: Vec<String> =
            host.environment().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let log = fs::File::options().create(true).append(true).open(place("log"))?;
        let since = Instant::now();
        loop {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let config = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {home}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n\
                 PasswordAuthentication no\nAuthorizedKeysFile {home}/id.pub\nMaxStartups 100\nSetEnv {}\n",
                environment.join(" ")
            );
            fs::write(place("sshd_config"), config)?;
            let mut child = Command::new(program("sshd"))
                .args(["-D", "-r", "-e", "-f"])
                .arg(place("sshd_config"))
                .env("NSS_WRAPPER_PASSWD", place("passwd"))
                .env("NSS_WRAPPER_GROUP", place("group"))
                .env("UID_WRAPPER", "1")
                .env("UID_WRAPPER_INITIAL_RUID", ACCOUNT_ID.to_string())
                .env("UID_WRAPPER_INITIAL_EUID", ACCOUNT_ID.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log.try_clone()?)
                .spawn()
                .context("cannot run sshd")?;
            loop {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return Ok(Sshd { child, dir, port });
                }
                // Another process may have taken the port: then with another one.
                if child.try_wait()?.is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            if since.elapsed() > START_LIMIT {
                bail!("sshd does not start:\n{}", fs::read_to_string(place("log")).unwrap_or_default());
            }
        }
    }

    /// Gives a host an `ssh` that reaches this sshd under `address`, with its key.
    pub fn reachable_from(&self, host: &Host, address: &str) -> Result<()> {
        let dir = self.dir.path().display();
        let config = format!(
            "Host {address}\n  HostName 127.0.0.1\n  Port {}\n  IdentityFile {dir}/id\n  IdentitiesOnly yes\n\
             \x20 BatchMode yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile {dir}/known_hosts\n  LogLevel ERROR\n",
            self.port
        );
        host.write(&host.place("home/.ssh/config").display().to_string(), &config)?;
        let config = host.place("home/.ssh/config");
        // The client takes its configuration from the account's real home, whatever HOME says.
        host.program("ssh", &format!("exec '{}' -F '{}' \"$@\"", program("ssh").display(), config.display()))
    }

    /// Ends all sessions from the outside, as a line that breaks does; sshd itself goes on. Tells how many processes
    /// of sshd that were.
    pub fn break_off(&self) -> Result<usize> {
        // What runs in a session has to notice by itself: only sshd's own processes are ended, which are of its program.
        let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
        let own = program(self.child.id()).context("sshd does not run")?;
        let processes = processes()?;
        let mut session = vec![self.child.id()];
        let mut ended = 0;
        while let Some(parent) = session.pop() {
            for (pid, _) in processes.iter().filter(|(_, above)| *above == parent) {
                session.push(*pid);
                if program(*pid).is_some_and(|program| program == own) {
                    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)
                        .context("cannot end a session")?;
                    ended += 1;
                }
            }
        }
        Ok(ended)
    }

    /// Who logs in: `ACCOUNT@address` stands for `root@…` in documents.
    pub fn account(&self) -> &'static str {
        ACCOUNT
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All processes: number, and parent's number.
fn processes() -> Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        if let Some(Ok(parent)) = parent.map(|parent| parent.trim().parse()) {
            found.push((pid, parent));
        }
    }
    Ok(found)
}

fn program(name: &str) -> PathBuf {
    Path::new(&layout::target()).join("servers").join(PACKAGES).join("bin").join(name)
}
