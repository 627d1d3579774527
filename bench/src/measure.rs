//! What one command costs: time until its result is durable, processor, memory. Each runs below a process of its
//! own, since the kernel keeps the peak of memory per process tree and never forgets it.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cost {
    pub seconds: f64,
    /// Of all processes.
    pub cpu_seconds: f64,
    /// Of the largest process.
    pub peak_mib: f64,
}

impl Cost {
    /// Two steps, one after the other.
    pub fn then(self, next: Cost) -> Cost {
        Cost {
            seconds: self.seconds + next.seconds,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
            peak_mib: self.peak_mib.max(next.peak_mib),
        }
    }
}

/// Runs a shell command and accounts for it.
pub fn run(command: &str) -> Result<Cost> {
    let me = std::env::current_exe().context("where am I?")?;
    let out = Command::new(me)
        .args(["--measure", command])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot run the measuring child")?;
    if !out.status.success() {
        bail!("{command}\n{}", String::from_utf8_lossy(&out.stderr));
    }
    serde_json::from_slice(&out.stdout).context("the measuring child did not report")
}

/// The child's side.
pub fn as_child(command: &str) -> Result<()> {
    let since = Instant::now();
    let out = Command::new("bash")
        .args(["-o", "pipefail", "-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot run bash")?;
    let seconds = since.elapsed().as_secs_f64();
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        bail!(
            "{}\n{}",
            out.status,
            lines.iter().skip(lines.len().saturating_sub(15)).copied().collect::<Vec<_>>().join("\n")
        );
    }
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).context("no account of the children")?;
    let of = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cost = Cost {
        seconds,
        cpu_seconds: of(used.user_time()) + of(used.system_time()),
        peak_mib: used.max_rss() as f64 / 1024.0,
    };
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

/// What is left unwritten by earlier steps must not be on the next one's account, nor may it find its input in the
/// page cache. Only these trees are forgotten: it needs no rights and leaves the rest of the machine alone.
pub fn forget(trees: &[&Path]) -> Result<()> {
    let status = Command::new("sync").status().context("cannot run sync")?;
    if !status.success() {
        bail!("sync failed: {status}");
    }
    for tree in trees {
        forget_tree(tree)?;
    }
    Ok(())
}

fn forget_tree(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            forget_tree(&entry.path())?;
        } else if kind.is_file() {
            // A running server removes files as it likes.
            let Ok(file) = File::open(entry.path()) else { continue };
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                .with_context(|| format!("cannot forget {}", entry.path().display()))?;
        }
    }
    Ok(())
}
