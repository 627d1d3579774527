//! Making things go wrong on purpose, and the proof that nothing was left behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::server::{Kit, Server};
use crate::tool::{Reseed, Running};

const LIMIT: Duration = Duration::from_secs(120);

/// A small server with something in it: 8000 rows in `shop.t`, and `shop.m`, which InnoDB does not keep.
pub fn small(name: &str) -> Result<Server> {
    let server = Kit::server(name)?.start()?;
    server.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, c VARBINARY(1000)) ENGINE=InnoDB",
        "INSERT INTO shop.t (c) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
         SELECT REPEAT('x', 900) FROM n",
    ])?;
    for _ in 0..3 {
        server.sql(&["INSERT INTO shop.t (c) SELECT c FROM shop.t"])?;
    }
    server.sql(&["CREATE TABLE shop.m (id INT PRIMARY KEY) ENGINE=MyISAM"])?;
    Ok(server)
}

/// Files of a directory, byte by byte.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every file below a directory.
pub fn files(dir: &Path) -> Result<Files> {
    let mut found = Files::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.is_file() {
                found.insert(path.clone(), std::fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

/// A failpoint that holds a run until it is let go.
#[derive(Debug)]
pub struct Pause {
    file: PathBuf,
    name: String,
    nth: u32,
}

impl Pause {
    pub fn at(name: &str, dir: &Path) -> Pause {
        Pause::at_nth(name, 1, dir)
    }

    /// Holds the run when it has passed there so many times.
    pub fn at_nth(name: &str, nth: u32, dir: &Path) -> Pause {
        Pause { file: dir.join(format!("go-{name}")), name: name.to_owned(), nth }
    }

    /// Sets the failpoint for a run.
    pub fn on(&self, reseed: Reseed) -> Reseed {
        self.on_also(reseed, &[])
    }

    /// Sets it together with others that hold the run until the same moment.
    pub fn on_also(&self, reseed: Reseed, others: &[&str]) -> Reseed {
        let names = others.iter().copied().chain([self.name.as_str()]);
        let points: Vec<String> =
            names.map(|name| format!("{name}=pause:{}@{}", self.file.display(), self.nth)).collect();
        reseed.env("RESEED_FAILPOINTS", points.join(","))
    }

    /// Waits until the run is held.
    pub fn wait(&self, run: &mut Running) -> Result<()> {
        let mut reached = self.file.as_os_str().to_owned();
        reached.push(".reached");
        let since = Instant::now();
        while !Path::new(&reached).exists() {
            ensure!(!run.has_ended()?, "the run ended before it came to {}", self.name);
            ensure!(since.elapsed() < LIMIT, "the run never came to {}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn let_go(&self) -> Result<()> {
        Ok(std::fs::write(&self.file, "")?)
    }
}

/// Nobody but the caller is connected, and whatever a lock of a backup blocks goes through at once.
pub fn assert_nothing_left(server: &Server) -> Result<()> {
    let mut session = server.session()?;
    // The server learns of a killed client by itself, in its own time.
    let since = Instant::now();
    loop {
        let others = session.rows(
            "SELECT id, user, command, COALESCE(state, ''), COALESCE(info, '') FROM information_schema.processlist \
             WHERE id <> CONNECTION_ID() AND command NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID') \
             AND user NOT IN ('system user', 'event_scheduler')",
        )?;
        if others.is_empty() {
            break;
        }
        if since.elapsed() > LIMIT {
            bail!("still connected: {others:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for sql in [
        "SET SESSION lock_wait_timeout=5",
        "CREATE DATABASE IF NOT EXISTS left_over",
        "CREATE TABLE left_over.t (id INT PRIMARY KEY) ENGINE=InnoDB",
        "CREATE TABLE left_over.m (id INT PRIMARY KEY) ENGINE=MyISAM",
        "INSERT INTO left_over.t VALUES (1)",
        "INSERT INTO left_over.m VALUES (1)",
        "ALTER TABLE left_over.t ADD COLUMN c INT",
        "DROP DATABASE left_over",
    ] {
        session.exec(sql)?;
    }
    Ok(())
}
