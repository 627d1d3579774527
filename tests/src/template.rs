//! Empty datadirs, made once for each server and page size and then copied: making one takes seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::layout::{Family, ServerKind};

/// Returns the template for these options of a server's first start.
pub fn datadir(kind: ServerKind, page_size: u32, init: &[String]) -> Result<PathBuf> {
    let dir = kind.home().join("templates");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut key = format!("page-{page_size}");
    for option in init {
        key.push('+');
        key.extend(option.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    }
    let template = dir.join(&key);
    if template.exists() {
        return Ok(template);
    }
    let lock_path = dir.join(format!("{key}.lock"));
    let lock =
        fs::File::create(&lock_path).with_context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    if template.exists() {
        return Ok(template);
    }
    let unfinished = dir.join(format!("{key}.new"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    initialise(kind, &unfinished, page_size, init)?;
    // Every copy is a server of its own.
    let _ = fs::remove_file(unfinished.join("auto.cnf"));
    fs::rename(&unfinished, &template).context("cannot publish the template")?;
    Ok(template)
}

fn initialise(kind: ServerKind, datadir: &Path, page_size: u32, init: &[String]) -> Result<()> {
    let mut command = match kind.family {
        Family::MariaDb => Command::new(kind.program("mariadb-install-db")),
        Family::MySql => {
            let mut command = Command::new(kind.daemon());
            command.args(["--no-defaults", "--initialize-insecure"]);
            command
        }
    };
    command.arg(format!("--datadir={}", datadir.display())).arg(format!("--innodb-page-size={page_size}"));
    command.arg("--innodb-flush-log-at-trx-commit=0").args(init.iter().map(|option| format!("--{option}")));
    // Temporary tables of two servers in one folder have the same names.
    let temporary = crate::server::scratch()?;
    command.arg(format!("--tmpdir={}", temporary.path().display()));
    if nix::unistd::geteuid().is_root() {
        command.arg("--user=root");
    }
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot initialise a {kind}"))?;
    if !out.status.success() {
        bail!("a {kind} cannot be initialised: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}

/// Copies a folder with all that is in it.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot copy to {}", target.display()))?;
        }
    }
    Ok(())
}
