//! A base, a crash, and the server's own recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reseed_redo::mysql::file::{FileHead, newest_checkpoint};
use reseed_redo::{Lsn, SpaceEvent};
use reseed_tests::server::scratch;
use reseed_tests::{Kit, Server};
use tempfile::TempDir;

use crate::own;
use crate::workload::Load;

pub const REDO: &str = "#innodb_redo";

/// One redo file: its name, head and bytes.
pub struct RedoFile {
    pub name: String,
    pub head: FileHead,
    pub bytes: Vec<u8>,
}

pub struct Crash {
    pub page_size: u32,
    pub checkpoint: Lsn,
    pub creator: String,
    pub redo: Vec<RedoFile>,
    /// What both sides start from; without redo.
    pub start: TempDir,
}

pub fn builder(page_size: u32, redo_mib: u32) -> Result<reseed_tests::server::Builder> {
    Ok(Kit::server("mysql-9.7")?
        .page_size(page_size)
        .binlog(false)
        .gtid(false)
        .redo_mib(redo_mib)
        .buffer_pool_mib(48)
        .option("innodb_use_native_aio=OFF")
        .option("innodb_doublewrite=OFF")
        .option("loose_innodb_change_buffering=all")
        .option("performance_schema=OFF"))
}

impl Crash {
    pub fn make(page_size: u32, seed: u64, redo_bytes: u64) -> Result<Crash> {
        // Nothing of the log may be recycled before the crash.
        let redo_mib = 128 + u32::try_from(redo_bytes >> 20)? * 8;
        let mut server = builder(page_size, redo_mib)?.start()?;
        Load::new(&server, seed)?.prepare_and_forget()?;
        server.stop()?;
        let base = scratch()?;
        copy_files(server.datadir(), base.path(), |path| !is_excluded(path))?;
        let checkpoint = newest(&redo_files(server.datadir())?)?;

        server.start()?;
        let mut load = Load::new(&server, seed ^ 0xc0ffee)?;
        load.continue_with_tables();
        load.run(redo_bytes).with_context(|| server.log_tail(30))?;
        load.leave_open();
        let stopped = Stopped::stop(&server)?;
        let redo = redo_files(server.datadir())?;
        let start = merged(base.path(), server.datadir(), &redo, checkpoint)?;
        drop(stopped);
        server.kill()?;
        let creator = redo.last().map(|file| file.head.header.creator.clone()).unwrap_or_default();
        Ok(Crash { page_size, checkpoint, creator, redo, start })
    }

    /// Lets the server recover; returns it stopped, all pages written.
    pub fn recover(&self) -> Result<Server> {
        let dir = self.start.path().join("recovered");
        self.lay_out_redo(&dir)?;
        let mut server = builder(self.page_size, 128)?
            .buffer_pool_mib(512)
            .option("innodb_force_recovery=5")
            .on_datadir(&dir)
            .prepare()?;
        server.start()?;
        let since = Instant::now();
        loop {
            let rows = server.rows("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")?;
            if rows.first().and_then(|row| row.get(1)).is_some_and(|dirty| dirty == "0") {
                break;
            }
            ensure!(since.elapsed() < Duration::from_secs(120), "recovered pages are not written");
            std::thread::sleep(Duration::from_millis(50));
        }
        server.kill()?;
        Ok(server)
    }

    /// The start and the redo, its checkpoint set back to the base's.
    pub fn lay_out_redo(&self, dir: &Path) -> Result<()> {
        copy_files(self.start.path(), dir, |path| !path.starts_with("recovered"))?;
        fs::create_dir_all(dir.join(REDO))?;
        for file in &self.redo {
            let mut bytes = file.bytes.clone();
            let size = bytes.len() as u64;
            let here = (file.head.header.start..file.head.end(size)).contains(&self.checkpoint);
            set_checkpoints(&mut bytes, if here { self.checkpoint } else { Lsn::ZERO })?;
            fs::write(dir.join(REDO).join(&file.name), bytes)?;
        }
        Ok(())
    }
}

/// A server all of whose threads stand still, none of them within a write.
struct Stopped(Pid);

impl Stopped {
    fn stop(server: &Server) -> Result<Stopped> {
        let pid = server.pid().context("the server does not run")?;
        let stopped = Stopped(Pid::from_raw(i32::try_from(pid)?));
        kill(stopped.0, Signal::SIGSTOP)?;
        let since = Instant::now();
        while !all_stopped(pid)? {
            ensure!(since.elapsed() < Duration::from_secs(30), "the server does not stand still");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

fn all_stopped(pid: u32) -> Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
        // The state follows the name, which is in parentheses.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if !matches!(state, Some('T' | 'Z' | 'X')) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_excluded(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.starts_with(REDO)
        || path.starts_with("#innodb_temp")
        || name == "ibtmp1"
        || name.ends_with(".dblwr")
        || name.ends_with(".bdblwr")
}

/// Copies files whose path below `from` passes `wanted`.
pub fn copy_files(from: &Path, to: &Path, wanted: impl Fn(&Path) -> bool) -> Result<()> {
    for path in files_below(from)? {
        if wanted(&path) {
            copy_file(&from.join(&path), &to.join(&path))?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// All files below a folder, as paths relative to it, sorted.
pub fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                todo.push(path);
            } else if entry.file_type()?.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

pub fn is_tablespace(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("ibdata")
        || name.starts_with("undo_0")
        || name.ends_with(".ibd")
        || name.ends_with(".ibu")
}

/// The tablespaces below a folder by their number.
pub fn tablespaces(root: &Path) -> Result<BTreeMap<u32, PathBuf>> {
    let mut found = BTreeMap::new();
    for path in files_below(root)? {
        if !is_tablespace(&path) {
            continue;
        }
        let bytes = fs::read(root.join(&path))?;
        let Some(id) = bytes.get(34..38).and_then(|bytes| bytes.first_chunk()) else { continue };
        found.insert(u32::from_be_bytes(*id), path);
    }
    Ok(found)
}

fn redo_files(datadir: &Path) -> Result<Vec<RedoFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(datadir.join(REDO))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with("_tmp") {
            continue;
        }
        let bytes = fs::read(datadir.join(REDO).join(&name))?;
        files.push(RedoFile { head: FileHead::parse(&bytes)?, name, bytes });
    }
    files.sort_by_key(|file| file.head.header.start);
    Ok(files)
}

fn newest(files: &[RedoFile]) -> Result<Lsn> {
    let heads: Vec<_> = files.iter().map(|file| (file.head.clone(), file.bytes.len() as u64)).collect();
    Ok(newest_checkpoint(&heads)?.checkpoint)
}

fn set_checkpoints(file: &mut [u8], checkpoint: Lsn) -> Result<()> {
    for at in [512, 1536] {
        let block = file.get_mut(at..at + 512).context("short redo file")?;
        block.fill(0);
        let (content, checksum) = block.split_at_mut(508);
        content.get_mut(8..16).context("short block")?.copy_from_slice(&checkpoint.0.to_be_bytes());
        checksum.copy_from_slice(&crc32c::crc32c(content).to_be_bytes());
    }
    Ok(())
}

/// The folder that both sides start from.
fn merged(base: &Path, crashed: &Path, redo: &[RedoFile], checkpoint: Lsn) -> Result<TempDir> {
    let start = scratch()?;
    let (before, after) = (tablespaces(base)?, tablespaces(crashed)?);
    let unlogged = spaces_without_redo(redo, checkpoint)?;
    for (space, path) in &after {
        let from = match before.get(space) {
            Some(old) if !unlogged.contains(space) => base.join(old),
            _ => crashed.join(path),
        };
        copy_file(&from, &start.path().join(path))?;
    }
    if !before.contains_key(&0) || before.len() < 5 {
        bail!("the base has only {} tablespaces", before.len());
    }
    copy_files(crashed, start.path(), |path| !is_tablespace(path) && !is_excluded(path))?;
    Ok(start)
}

/// Tablespaces that got pages without redo, so that their content in the base is of no use.
fn spaces_without_redo(redo: &[RedoFile], checkpoint: Lsn) -> Result<BTreeSet<u32>> {
    let mut spaces = BTreeSet::new();
    own::read(
        redo,
        checkpoint,
        "",
        |_| {},
        |event| {
            if let SpaceEvent::IndexLoad { space, .. } = event {
                spaces.insert(space.0);
            }
        },
    )?;
    Ok(spaces)
}
