//! A real server in a folder of its own: made, started, asked, stopped, killed. It dies with its handle.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::layout::{Family, ServerKind};
use crate::session::Session;
use crate::{log, oracle, template};

const START_LIMIT: Duration = Duration::from_secs(180);
const STOP_LIMIT: Duration = Duration::from_secs(180);
const START_TRIES: u32 = 3;

/// The account that replicas use, with its password.
pub const REPLICATION_USER: &str = "repl";
pub const REPLICATION_PASSWORD: &str = "re'pl pass";

/// Where tests begin: `Kit::server("mariadb-10.11")`.
#[derive(Debug)]
pub struct Kit;

impl Kit {
    /// A builder with what all tests want: binary log in row format, small caches, loopback TCP.
    pub fn server(name: &str) -> Result<Builder> {
        let kind = ServerKind::named(name)?;
        if !kind.ensure()? {
            bail!("{name} is not to be had on this machine");
        }
        Ok(Builder {
            kind,
            page_size: 16384,
            redo_mib: 96,
            buffer_pool_mib: 64,
            server_id: 1,
            binlog: true,
            gtid: true,
            init: Vec::new(),
            extra: Vec::new(),
            datadir: None,
        })
    }
}

/// What a server is to be like.
#[derive(Debug, Clone)]
pub struct Builder {
    kind: ServerKind,
    page_size: u32,
    redo_mib: u32,
    buffer_pool_mib: u32,
    server_id: u32,
    binlog: bool,
    gtid: bool,
    init: Vec<String>,
    extra: Vec<String>,
    datadir: Option<PathBuf>,
}

impl Builder {
    pub fn page_size(mut self, bytes: u32) -> Self {
        self.page_size = bytes;
        self
    }

    pub fn redo_mib(mut self, mib: u32) -> Self {
        self.redo_mib = mib;
        self
    }

    pub fn buffer_pool_mib(mut self, mib: u32) -> Self {
        self.buffer_pool_mib = mib;
        self
    }

    pub fn server_id(mut self, id: u32) -> Self {
        self.server_id = id;
        self
    }

    pub fn binlog(mut self, on: bool) -> Self {
        self.binlog = on;
        self
    }

    /// MySQL: `gtid_mode`. MariaDB always has GTIDs.
    pub fn gtid(mut self, on: bool) -> Self {
        self.gtid = on;
        self
    }

    /// An option that counts when the datadir is made, e.g. `innodb_undo_tablespaces=3`; it is given at every
    /// start too.
    pub fn init(mut self, option: &str) -> Self {
        self.init.push(option.to_owned());
        self
    }

    /// One more line for `[mysqld]`.
    pub fn option(mut self, line: &str) -> Self {
        self.extra.push(line.to_owned());
        self
    }

    /// Runs on a datadir that lies there already, such as a restored one, instead of a new one.
    pub fn on_datadir(mut self, datadir: &Path) -> Self {
        self.datadir = Some(datadir.to_owned());
        self
    }

    /// Lays out the folder and starts the server.
    pub fn start(self) -> Result<Server> {
        let fresh = self.datadir.is_none();
        let mut server = self.prepare()?;
        server.start()?;
        if fresh {
            server.create_accounts()?;
        }
        Ok(server)
    }

    /// Lays out the folder without starting the server.
    pub fn prepare(self) -> Result<Server> {
        let dir = scratch()?;
        let datadir = match &self.datadir {
            Some(datadir) => datadir.clone(),
            None => {
                let datadir = dir.path().join("data");
                template::copy_tree(&template::datadir(self.kind, self.page_size, &self.init)?, &datadir)?;
                datadir
            }
        };
        Ok(Server { builder: self, dir, datadir, child: None, port: 0, log_read: 0 })
    }

    fn cnf(&self, dir: &Path, datadir: &Path, port: u16) -> String {
        let mut lines = vec![
            "[mysqld]".to_owned(),
            format!("datadir={}", datadir.display()),
            format!("socket={}", dir.join("s").display()),
            format!("pid-file={}", dir.join("pid").display()),
            format!("log-error={}", dir.join("error.log").display()),
            format!("tmpdir={}", dir.join("tmp").display()),
            format!("port={port}"),
            "bind-address=127.0.0.1".to_owned(),
            "skip-name-resolve".to_owned(),
            format!("server-id={}", self.server_id),
            format!("innodb_page_size={}", self.page_size),
            format!("innodb_buffer_pool_size={}M", self.buffer_pool_mib),
            "innodb_flush_log_at_trx_commit=2".to_owned(),
            "innodb_buffer_pool_dump_at_shutdown=OFF".to_owned(),
            "innodb_buffer_pool_load_at_startup=OFF".to_owned(),
            "max_allowed_packet=64M".to_owned(),
            "table_open_cache=400".to_owned(),
        ];
        if nix::unistd::geteuid().is_root() {
            lines.push("user=root".to_owned());
        }
        if self.binlog {
            lines.push("log-bin=binlog".to_owned());
            lines.push("sync_binlog=0".to_owned());
        }
        match self.kind.family {
            Family::MariaDb => {
                lines.push(format!("innodb_log_file_size={}M", self.redo_mib));
                lines.push("binlog_format=ROW".to_owned());
                lines.push("plugin-load-add=ha_archive".to_owned());
                lines.push("aria_pagecache_buffer_size=16M".to_owned());
                lines.push("key_buffer_size=8M".to_owned());
                lines.push("skip-slave-start".to_owned());
                lines.push("relay-log=relay".to_owned());
            }
            Family::MySql => {
                lines.push(format!("innodb_redo_log_capacity={}M", self.redo_mib));
                lines.push("mysqlx=OFF".to_owned());
                lines.push("skip-replica-start".to_owned());
                lines.push("relay-log=relay".to_owned());
                if !self.binlog {
                    lines.push("skip-log-bin".to_owned());
                }
                if self.gtid {
                    lines.push("gtid_mode=ON".to_owned());
                    lines.push("enforce_gtid_consistency=ON".to_owned());
                } else {
                    // 9.x has GTIDs on by default.
                    lines.push("gtid_mode=OFF".to_owned());
                    lines.push("enforce_gtid_consistency=OFF".to_owned());
                }
            }
        }
        lines.extend(self.init.iter().cloned());
        lines.extend(self.extra.iter().cloned());
        lines.join("\n") + "\n"
    }
}

/// A folder for sockets and datadirs. A socket's name has at most 108 bytes, so a deep TMPDIR will not do.
pub fn scratch() -> Result<TempDir> {
    let temp = std::env::temp_dir();
    let base = if temp.as_os_str().len() > 60 { PathBuf::from("/tmp") } else { temp };
    tempfile::Builder::new().prefix("rs-").tempdir_in(base).context("cannot create a scratch folder")
}

#[derive(Debug)]
pub struct Server {
    builder: Builder,
    dir: TempDir,
    datadir: PathBuf,
    child: Option<Child>,
    port: u16,
    /// How much of the error log earlier calls have looked at.
    log_read: usize,
}

impl Server {
    pub fn kind(&self) -> ServerKind {
        self.builder.kind
    }

    pub fn page_size(&self) -> u32 {
        self.builder.page_size
    }

    pub fn datadir(&self) -> &Path {
        &self.datadir
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    /// The server's own folder: a place for what belongs to it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn builder(&self) -> &Builder {
        &self.builder
    }

    /// The option file that the server runs with.
    pub fn option_file(&self) -> PathBuf {
        self.dir.path().join("my.cnf")
    }

    /// Starts the server and waits until it answers. The port is the kernel's choice; another process may take
    /// it before the server does, hence more than one try.
    pub fn start(&mut self) -> Result<()> {
        for _ in 1..START_TRIES {
            let before = self.log_text().len();
            match self.start_once() {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let log = self.log_text();
                    if !log.get(before..).unwrap_or_default().contains("Address already in use") {
                        return Err(error);
                    }
                }
            }
        }
        self.start_once()
    }

    fn start_once(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("the server runs already");
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        self.port = port.context("no free loopback port")?.port();
        fs::create_dir_all(self.dir.path().join("tmp"))?;
        let cnf = self.builder.cnf(self.dir.path(), &self.datadir, self.port);
        fs::write(self.option_file(), cnf).context("cannot write the option file")?;
        let _ = fs::remove_file(self.socket());
        let console =
            fs::File::options().create(true).append(true).open(self.dir.path().join("console.log"))?;
        let child = Command::new(self.builder.kind.daemon())
            .arg(format!("--defaults-file={}", self.option_file().display()))
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .spawn()
            .context("cannot start the server")?;
        self.child = Some(child);
        let since = Instant::now();
        loop {
            if Session::open(&self.socket()).is_ok() {
                return Ok(());
            }
            let ended = match self.child.as_mut() {
                Some(child) => child.try_wait()?,
                None => None,
            };
            if let Some(status) = ended {
                self.child = None;
                bail!("{} ended while starting: {status}\n{}", self.builder.kind, self.log_tail(40));
            }
            if since.elapsed() > START_LIMIT {
                self.kill()?;
                bail!("{} did not start in time\n{}", self.builder.kind, self.log_tail(40));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn create_accounts(&self) -> Result<()> {
        let mut session = self.session()?;
        session.exec("SET SESSION sql_log_bin=0")?;
        let password = REPLICATION_PASSWORD.replace('\'', "''");
        session.exec(&format!("CREATE USER {REPLICATION_USER}@'%' IDENTIFIED BY '{password}'"))?;
        session.exec(&format!("GRANT REPLICATION SLAVE ON *.* TO {REPLICATION_USER}@'%'"))
    }

    pub fn session(&self) -> Result<Session> {
        Session::open(&self.socket())
    }

    /// Statements on a session of their own.
    pub fn sql(&self, statements: &[&str]) -> Result<()> {
        let mut session = self.session()?;
        statements.iter().try_for_each(|sql| session.exec(sql))
    }

    pub fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        self.session()?.rows(sql)
    }

    pub fn value(&self, sql: &str) -> Result<String> {
        self.session()?.value(sql)
    }

    /// Asks the server to shut down and waits for its end.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let asked = self.session().and_then(|mut session| session.exec("SHUTDOWN"));
        let since = Instant::now();
        while since.elapsed() < STOP_LIMIT && asked.is_ok() {
            if let Some(status) = child.try_wait()? {
                if !status.success() {
                    bail!("{} ended badly: {status}\n{}", self.builder.kind, self.log_tail(30));
                }
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        asked?;
        bail!("{} did not stop in time\n{}", self.builder.kind, self.log_tail(30))
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("cannot kill the server")?;
            child.wait().context("cannot wait for the server")?;
        }
        Ok(())
    }

    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// The error log so far.
    pub fn log_text(&self) -> String {
        let bytes = fs::read(self.dir.path().join("error.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn log_tail(&self, lines: usize) -> String {
        let mut text = self.log_text();
        text.push_str(&fs::read_to_string(self.dir.path().join("console.log")).unwrap_or_default());
        let all: Vec<&str> = text.lines().collect();
        all.iter().skip(all.len().saturating_sub(lines)).copied().collect::<Vec<_>>().join("\n")
    }

    /// Warnings and errors in the log that no rule explains, since the last call.
    pub fn unexpected_log_lines(&mut self) -> Vec<String> {
        let text = self.log_text();
        let new = text.get(self.log_read..).unwrap_or_default();
        let found = log::unexpected(new);
        self.log_read = text.len();
        found
    }

    /// `CHECKSUM TABLE … EXTENDED` of every user table.
    pub fn checksums(&self) -> Result<BTreeMap<String, String>> {
        oracle::checksums(&mut self.session()?)
    }

    /// What `CHECK TABLE … EXTENDED` says that is not "OK".
    pub fn check_tables(&self) -> Result<Vec<String>> {
        oracle::check_tables(&mut self.session()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!(
                "log of the {} in {}:\n{}",
                self.builder.kind,
                self.dir.path().display(),
                self.log_tail(40)
            );
        }
        if std::env::var_os("RESEED_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.dir.path().display());
            self.dir.disable_cleanup(true);
        }
    }
}
