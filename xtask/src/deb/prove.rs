//! The package in clean roots of Debian: installed beside a server, used by the README's own commands, upgraded over a
//! changed configuration, removed and purged. Needs root, for debootstrap and chroot; nothing outside of the roots is
//! changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::servers;
use crate::workspace;

const SUITES: &[&str] = &["bookworm", "trixie"];

pub fn run(deb: &Path, only: Option<&str>) -> Result<()> {
    for suite in SUITES.iter().filter(|suite| only.is_none_or(|only| only == **suite)) {
        eprintln!("{suite}: a clean root");
        let root = Root::new(suite)?;
        root.put(deb, "opt/reseed.deb")?;
        let readme = fs::read_to_string(workspace::root().join("README.md"))?;
        root.write("opt/first-backup.sh", &section(&readme, "## The first backup")?)?;
        root.write("opt/first-restore.sh", &section(&readme, "## The first restore")?)?;
        root.write("opt/prove.sh", include_str!("prove.sh"))?;
        root.run(&format!("sh /opt/prove.sh {suite}"))?;
        eprintln!("{suite}: proven");
    }
    Ok(())
}

/// The commands of a section of the README, as they are printed.
fn section(readme: &str, heading: &str) -> Result<String> {
    let text =
        readme.split(heading).nth(1).with_context(|| format!("the README has no section {heading}"))?;
    let text = text.split("\n## ").next().unwrap_or_default();
    let blocks: Vec<&str> =
        text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n")).collect();
    if blocks.is_empty() {
        bail!("the section {heading} of the README has no commands");
    }
    Ok(format!("set -eux\n{}", blocks.concat()))
}

/// A root of Debian that is gone with the handle.
#[derive(Debug)]
struct Root {
    dir: PathBuf,
}

impl Root {
    /// A copy of a clean root, which is made once for each suite.
    fn new(suite: &str) -> Result<Root> {
        let roots = workspace::root().join("target/deb/roots");
        fs::create_dir_all(&roots)?;
        let clean = roots.join(format!("{suite}.clean"));
        if !clean.exists() {
            let tools = roots.join("debootstrap");
            if !tools.exists() {
                servers::unpack_packages(&tools, &[], &["debootstrap"])?;
            }
            let unfinished = roots.join(format!("{suite}.unfinished"));
            let _ = fs::remove_dir_all(&unfinished);
            let (mirror, keyring) = servers::archive()?;
            workspace::output(
                Command::new(tools.join("usr/sbin/debootstrap"))
                    .env("DEBOOTSTRAP_DIR", tools.join("usr/share/debootstrap"))
                    .arg("--variant=minbase")
                    .arg(format!("--keyring={}", keyring.display()))
                    .arg(suite)
                    .arg(&unfinished)
                    .arg(mirror),
            )?;
            fs::rename(&unfinished, &clean)?;
        }
        let dir = roots.join(suite);
        let _ = fs::remove_dir_all(&dir);
        workspace::output(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&clean).arg(&dir))?;
        Ok(Root { dir })
    }

    fn put(&self, file: &Path, at: &str) -> Result<()> {
        fs::copy(file, self.dir.join(at)).with_context(|| format!("cannot copy {}", file.display()))?;
        Ok(())
    }

    fn write(&self, at: &str, text: &str) -> Result<()> {
        fs::write(self.dir.join(at), text).with_context(|| format!("cannot write {at}"))
    }

    /// In namespaces of its own: what it mounts and starts is gone when it ends.
    fn run(&self, script: &str) -> Result<()> {
        let status = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec"])
            .arg("mount --bind /dev \"$0/dev\" && mount -t proc proc \"$0/proc\" && exec chroot \"$0\" sh -c \"$1\"")
            .arg(&self.dir)
            .arg(script)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status()
            .context("cannot run unshare")?;
        if !status.success() {
            bail!("the proof failed in {}: {status}", self.dir.display());
        }
        Ok(())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
