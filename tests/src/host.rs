//! A host as documents know one: a server that `systemctl` starts and stops, the clients, `reseed`, a home with an
//! option file, a folder of its own. Nothing of it lies outside of that folder.

use std::fs;
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::layout::Family;
use crate::server::{Builder, REPLICATION_PASSWORD, Server, scratch};
use crate::service::Service;
use crate::table::Table;
use crate::tool;
use crate::workload::Random;

const RUN_LIMIT: Duration = Duration::from_secs(600);
/// The port that commands mean that name none.
const DEFAULT_PORT: u16 = 3306;

/// How commands on a host ended, and what they printed.
#[derive(Debug, Clone, Default)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Debug)]
pub struct Host {
    name: String,
    family: Family,
    address: String,
    service: Service,
    table: Table,
    dir: TempDir,
}

/// An address of loopback on which the servers' own port is free: commands that name no port reach the server there.
pub fn free_address() -> Result<Ipv4Addr> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut random = Random::new(clock.as_nanos() as u64, u64::from(std::process::id()));
    for _ in 0..50 {
        let mut part = || random.between(1, 250) as u8;
        let address = Ipv4Addr::new(127, part(), part(), part());
        if TcpListener::bind((address, DEFAULT_PORT)).is_ok() {
            return Ok(address);
        }
    }
    bail!(
        "port {DEFAULT_PORT} is taken on all addresses of loopback: a server that listens everywhere runs here"
    )
}

impl Host {
    /// Starts a server on an address of its own, at the default port, and makes a host around it.
    pub fn start(name: &str, builder: Builder) -> Result<Host> {
        let address = free_address()?;
        let builder =
            builder.option(&format!("bind-address={address}")).option(&format!("port={DEFAULT_PORT}"));
        Host::around(name, builder.start()?, &address.to_string())
    }

    fn around(name: &str, server: Server, address: &str) -> Result<Host> {
        let dir = scratch()?;
        let place = |name: &str| dir.path().join(name);
        for sub in ["bin", "home", "etc/reseed", "etc/mysql", "backup", "run"] {
            fs::create_dir_all(place(sub))?;
        }
        let kind = server.kind();
        let mut table = Table::default();
        for (known, meaning) in [
            ("/var/lib/mysql", server.datadir().to_owned()),
            ("/run/mysqld/mysqld.sock", server.socket()),
            ("/backup", place("backup")),
            ("/mnt/nas/mysql", place("nas")),
            ("/etc/reseed", place("etc/reseed")),
            ("/etc/mysql", place("etc/mysql")),
            ("/dev/null", "/dev/null".into()),
        ] {
            table.set(known, meaning.display().to_string());
        }
        let my_cnf = format!("[client]\nuser=root\nsocket={}\n", server.socket().display());
        write_with_mode(&place("home/.my.cnf"), &my_cnf, 0o600)?;
        write_with_mode(&place("etc/reseed/repl.pw"), REPLICATION_PASSWORD, 0o600)?;
        // The package brings one, with nothing in force.
        write_with_mode(&place("etc/reseed/reseed.toml"), "", 0o644)?;
        let service = Service::new(server, &place("run"))?;
        let host = Host {
            name: name.to_owned(),
            family: kind.family,
            address: address.to_owned(),
            service,
            table,
            dir,
        };
        let client = match kind.family {
            Family::MariaDb => kind.program("mariadb"),
            Family::MySql => kind.program("mysql"),
        };
        // Under both names: documents say `mariadb`, and that it is called `mysql` elsewhere.
        for name in ["mariadb", "mysql"] {
            host.program(name, &format!("exec '{}' \"$@\"", client.display()))?;
        }
        let dump = match kind.family {
            Family::MariaDb => "mariadb-dump",
            Family::MySql => "mysqldump",
        };
        host.program(dump, &format!("exec '{}' \"$@\"", kind.program(dump).display()))?;
        host.program("reseed", &format!("exec '{}' \"$@\"", tool::binary()?.display()))?;
        host.program("systemctl", host.service.systemctl())?;
        Ok(host)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn family(&self) -> Family {
        self.family
    }

    /// Where the server listens, at the default port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The server; it may stand still. Commands that start or stop it wait while this is held.
    pub fn server(&self) -> MutexGuard<'_, Server> {
        self.service.server()
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Says what a name in a document stands for on this host.
    pub fn name_in_documents(&mut self, name: &str, meaning: impl Into<String>) {
        self.table.set(name, meaning);
    }

    /// A place in the host's folder, which is where its commands run.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a script of `sh` on the host's path.
    pub fn program(&self, name: &str, body: &str) -> Result<()> {
        write_with_mode(&self.place("bin").join(name), &format!("#!/bin/sh\nset -eu\n{body}\n"), 0o755)
    }

    /// The environment of commands on this host.
    pub fn environment(&self) -> Vec<(String, String)> {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", self.place("bin").display());
        let home = self.place("home").display().to_string();
        let config = self.place("etc/reseed/reseed.toml").display().to_string();
        let pairs =
            [("PATH", path), ("HOME", home), ("LC_ALL", "C.UTF-8".to_owned()), ("RESEED_CONFIG", config)];
        pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// Writes a file that a document shows.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = Path::new(path);
        if !path.starts_with(self.dir.path()) {
            bail!("{} lies outside of the host", path.display());
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        write_with_mode(path, text, 0o600)
    }

    /// Runs a script, until its first command that fails.
    pub fn sh(&self, script: &str) -> Result<Ran> {
        self.run(Command::new("env").args(["--default-signal=HUP,INT,TERM", "sh", "-euc", script]), "")
    }

    /// Runs statements with the server's client, until the first one that fails.
    pub fn sql(&self, statements: &str) -> Result<Ran> {
        self.run(Command::new("sh").args(["-euc", "exec mariadb --batch"]), statements)
    }

    fn run(&self, command: &mut Command, input: &str) -> Result<Ran> {
        let (out, err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let mut stdin = tempfile::tempfile()?;
        stdin.write_all(input.as_bytes())?;
        stdin.rewind()?;
        let mut child = command
            .current_dir(self.dir.path())
            .env_clear()
            .envs(self.environment())
            .stdin(stdin)
            .stdout(out.try_clone()?)
            .stderr(err.try_clone()?)
            .spawn()
            .context("cannot run sh")?;
        let since = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if since.elapsed() > RUN_LIMIT {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        // Files, not pipes: a server that was started in the background would keep a pipe open.
        let text = |mut file: fs::File| -> Result<String> {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (stdout, stderr) = (text(out)?, text(err)?);
        match status {
            Some(status) => Ok(Ran { code: status.code(), stdout, stderr }),
            None => bail!("still running after {RUN_LIMIT:?}\nstdout:\n{stdout}\nstderr:\n{stderr}"),
        }
    }
}

fn write_with_mode(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}
