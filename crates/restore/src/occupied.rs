//! Does a server run on this datadir? Asked of the kernel and of what a server leaves in its datadir, since a wrong
//! "no" would destroy a living database.

use std::fs;
use std::path::Path;

use reseed_io::place;

use crate::error::RestoreError;

/// Files that a running server keeps locked (`fcntl`), by the beginning of their names.
const LOCKED: [&str; 5] = ["ibdata", "ib_logfile", "aria_log_control", "undo", "mysql.ibd"];
/// MySQL 8.0.30 and later keep the redo log's files here.
const REDO_DIR: &str = "#innodb_redo";

/// Refuses when a server uses the datadir, going by its locks, its pid file, and who has files of it open.
///
/// # Errors
/// [`RestoreError::InUse`] with what gave the server away.
pub fn refuse_live_server(datadir: &Path) -> Result<(), RestoreError> {
    let Ok(names) = place::names(datadir) else { return Ok(()) };
    let in_use = |pid, evidence| Err(RestoreError::InUse { path: datadir.to_owned(), pid, evidence });
    for name in names.iter().filter(|name| is_locked_by_servers(&name.to_string_lossy())) {
        if let Some(pid) = holder(&datadir.join(name)) {
            let evidence = format!("{} is locked by {}", name.to_string_lossy(), who(pid));
            return in_use((pid != 0).then_some(pid), evidence);
        }
    }
    let redo = datadir.join(REDO_DIR);
    for name in place::names(&redo).unwrap_or_default() {
        if let Some(pid) = holder(&redo.join(&name)) {
            let evidence = format!("{REDO_DIR}/{} is locked by {}", name.to_string_lossy(), who(pid));
            return in_use((pid != 0).then_some(pid), evidence);
        }
    }
    for name in names.iter().filter(|name| name.to_string_lossy().ends_with(".pid")) {
        if let Some(pid) = living_server(&datadir.join(name)) {
            let evidence = format!("its pid file {} names {}", name.to_string_lossy(), who(pid));
            return in_use(Some(pid), evidence);
        }
    }
    match place::users_of(datadir).into_iter().find(|(_, command, _)| !is_bystander(command)) {
        Some((pid, _, file)) => in_use(Some(pid), format!("{} has {} open", who(pid), file.display())),
        None => Ok(()),
    }
}

fn is_locked_by_servers(name: &str) -> bool {
    LOCKED.iter().any(|beginning| name.starts_with(beginning))
}

fn holder(path: &Path) -> Option<u32> {
    let is_file = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    if is_file { place::posix_lock_holder(path).ok().flatten() } else { None }
}

/// The process that a pid file names, when it lives and is a server. A number that some other process has by now
/// means that the file is stale.
fn living_server(pid_file: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let command = place::command(pid);
    (command.contains("mysqld") || command.contains("mariadbd")).then_some(pid)
}

/// Programs that only look, and that people leave open on a datadir.
fn is_bystander(command: &str) -> bool {
    ["less", "tail", "more", "vi", "vim", "nano", "reseed"].contains(&command)
}

fn who(pid: u32) -> String {
    match pid {
        0 => "a process that is not visible from here".to_owned(),
        pid => match place::command(pid) {
            command if command.is_empty() => format!("process {pid}"),
            command => format!("process {pid} ({command})"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_missing_datadir_has_no_server() {
        let dir = tempfile::tempdir().unwrap();
        refuse_live_server(dir.path()).unwrap();
        refuse_live_server(&dir.path().join("missing")).unwrap();
    }

    #[test]
    fn a_stale_pid_file_is_no_server() {
        let dir = tempfile::tempdir().unwrap();
        // This very process lives, and is no server.
        fs::write(dir.path().join("host.pid"), format!("{}\n", std::process::id())).unwrap();
        fs::write(dir.path().join("other.pid"), "nonsense").unwrap();
        refuse_live_server(dir.path()).unwrap();
    }
}
