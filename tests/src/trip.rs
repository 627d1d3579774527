//! A backup's whole way, in reseed's command line as the documentation has it: backup, restore, start, hand over.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::layout::Family;
use crate::server::{Builder, REPLICATION_PASSWORD, REPLICATION_USER, Server, scratch};
use crate::tool::{Finished, Reseed};

/// The name under which tests keep their sets.
pub const NAME: &str = "source";

/// A repository and room for datadirs, gone with the handle.
#[derive(Debug)]
pub struct Trip {
    dir: TempDir,
}

impl Trip {
    pub fn new() -> Result<Trip> {
        Ok(Trip { dir: scratch()? })
    }

    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// A place in the trip's folder that does not exist yet.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn set(&self, command: &str) -> Result<Reseed> {
        Ok(Reseed::new([command])?.arg("--repo").arg(self.repo()).args(["--name", NAME]))
    }

    /// `reseed backup` of the server; more options may follow.
    pub fn backup(&self, server: &Server) -> Result<Reseed> {
        Ok(self.set("backup")?.to(server))
    }

    /// `reseed restore … latest --datadir …`; more options may follow.
    pub fn restore(&self, datadir: &Path) -> Result<Reseed> {
        Ok(self.set("restore")?.arg("latest").arg("--datadir").arg(datadir))
    }

    /// `reseed export … latest --raw …`.
    pub fn export(&self, into: &Path) -> Result<Finished> {
        self.set("export")?.arg("latest").arg("--raw").arg(into).run()?.expect_success()
    }

    /// The statements that make a restored server a replica of the source.
    pub fn hand_over(&self, source: &Server, more: &[&str]) -> Result<String> {
        let finished = self
            .set("hand-over")?
            .args(["latest", "--source-host", "127.0.0.1", "--source-user", REPLICATION_USER])
            .args(["--source-port", &source.port().to_string()])
            .args(more)
            .env("RESEED_SOURCE_PASSWORD", REPLICATION_PASSWORD)
            .run()?
            .expect_success()?;
        Ok(finished.stdout)
    }

    /// Ids of the published sets.
    pub fn sets(&self) -> Result<Vec<String>> {
        let dir = self.repo().join(NAME);
        let Ok(entries) = std::fs::read_dir(&dir) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.path().join("manifest.json").exists()
                && !entry.file_name().to_string_lossy().contains(".partial")
            {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        if std::env::var_os("RESEED_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.dir.path().display());
            self.dir.disable_cleanup(true);
        }
    }
}

/// A server like this one, with an identity of its own, on a restored datadir.
pub fn on_restored(like: &Server, datadir: &Path, server_id: u32) -> Builder {
    like.builder().clone().server_id(server_id).on_datadir(datadir)
}

/// Runs a script with the server's own client, as a user pipes the hand-over into it.
pub fn pipe_into_client(server: &Server, script: &str) -> Result<()> {
    let client = server.kind().program(match server.kind().family {
        Family::MariaDb => "mariadb",
        Family::MySql => "mysql",
    });
    let mut child = Command::new(client)
        .args(["--no-defaults", "--user=root", "--batch"])
        .arg(format!("--socket={}", server.socket().display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run the client")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A client that ended early says why on its stderr.
        let _ = stdin.write_all(script.as_bytes());
    }
    let out = child.wait_with_output().context("cannot wait for the client")?;
    if !out.status.success() {
        bail!("the client refused the script: {}\n{script}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}
