//! Where the fetched servers lie and what each of them is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    MariaDb,
    MySql,
}

/// One of the servers that `cargo xtask servers` fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerKind {
    pub name: &'static str,
    pub family: Family,
}

pub const SERVERS: [ServerKind; 4] = [
    ServerKind { name: "mariadb-10.5", family: Family::MariaDb },
    ServerKind { name: "mariadb-10.11", family: Family::MariaDb },
    ServerKind { name: "mariadb-11.8", family: Family::MariaDb },
    ServerKind { name: "mysql-9.7", family: Family::MySql },
];

impl ServerKind {
    pub fn named(name: &str) -> Result<ServerKind> {
        SERVERS
            .into_iter()
            .find(|kind| kind.name == name)
            .with_context(|| format!("no server is called {name}"))
    }

    pub fn home(&self) -> PathBuf {
        target().join("servers").join(self.name)
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.home().join("bin").join(name)
    }

    pub fn daemon(&self) -> PathBuf {
        self.program(match self.family {
            Family::MariaDb => "mariadbd",
            Family::MySql => "mysqld",
        })
    }

    pub fn is_mariadb(&self) -> bool {
        self.family == Family::MariaDb
    }

    /// Fetches the server where it is missing. `false`: the mirror no longer has its suite, said loudly, and
    /// allowed for the oldest server only.
    pub fn ensure(&self) -> Result<bool> {
        ensure(self.name)
    }
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Fetches what `cargo xtask servers` knows under this name, where it is missing; tells whether it is there.
pub fn ensure(name: &str) -> Result<bool> {
    let ready = target().join("servers").join(name).join("READY");
    if ready.exists() {
        return Ok(true);
    }
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root())
        .args(["run", "--quiet", "--package", "xtask", "--", "servers", name])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("{name} could not be fetched");
    }
    Ok(ready.exists())
}

/// The workspace's folder.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let mut dir = here.as_path();
    // The crate that runs may lie one or two folders deep.
    while let Some(parent) = dir.parent() {
        if parent.join("xtask").is_dir() && parent.join("Cargo.lock").exists() {
            return parent.to_owned();
        }
        dir = parent;
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Servers lie here whatever CARGO_TARGET_DIR says: they are no build products.
pub fn target() -> PathBuf {
    root().join("target")
}
