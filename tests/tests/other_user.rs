//! reseed as a user of its own, in the server's group, with an account that may take backups and nothing else: as the
//! package sets it up. Where the tests run as root it is another user indeed; elsewhere the users are the same.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use reseed_tests::trip::{NAME, on_restored};
use reseed_tests::{Kit, Reseed, Server, Trip, tool};

/// Numbers that no account has: nothing may depend on a name.
const USER: u32 = 64_123;
const GROUP: u32 = 64_124;

/// Every file and folder below, and the folder.
fn all(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![dir.to_owned()];
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => found.extend(all(&entry.path())?),
            false => found.push(entry.path()),
        }
    }
    Ok(found)
}

/// The datadir belongs to the group, whose members may read it as far as the server lets them: MySQL does by itself,
/// MariaDB's folders are to be opened.
fn give_to_group(server: &Server) -> Result<()> {
    for path in all(server.datadir())? {
        if nix::unistd::geteuid().is_root() {
            chown(&path, None, Some(GROUP))?;
        }
        let meta = fs::metadata(&path)?;
        let mode = meta.permissions().mode();
        // Folders hand their group on, as if the server had it.
        let more = if meta.is_dir() { 0o2050 } else { 0 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7770 | more))?;
    }
    Ok(())
}

/// Runs reseed as the user, in the groups.
fn run_as_user(trip: &Trip, program: &Path, groups: &str, words: &[&str]) -> Result<Output> {
    let mut command = match nix::unistd::geteuid().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg(groups).arg(program);
            command
        }
        false => Command::new(program),
    };
    command.args(words).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command.env("RESEED_CONFIG", trip.place("etc/reseed.toml")).stdin(Stdio::null());
    command.output().context("cannot run setpriv")
}

fn in_the_servers_group(name: &str) -> Result<()> {
    let server = Kit::server(name)?.start()?;
    server.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(200))",
        "INSERT INTO shop.orders VALUES (1, 'one'), (2, 'two')",
        "CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE=MyISAM",
    ])?;
    let trip = Trip::new()?;
    let is_root = nix::unistd::geteuid().is_root();
    for dir in [server.dir(), &trip.place("")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o711))?;
    }
    give_to_group(&server)?;
    // The build may lie where nobody else may enter.
    let program = trip.place("reseed");
    fs::copy(tool::binary()?, &program)?;
    Reseed::new(["setup", "--name", NAME, "--no-defaults", "--run", "--config"])?
        .arg(trip.place("etc/reseed.toml"))
        .arg("--repo")
        .arg(trip.repo())
        .args(is_root.then(|| format!("--owner={USER}:{USER}")))
        .to(&server)
        .run()?
        .expect_success()?;
    let elsewhere = trip.place("elsewhere");
    fs::create_dir(&elsewhere)?;
    if is_root {
        chown(&elsewhere, Some(USER), Some(USER))?;
    }
    let datadir = elsewhere.join("data");
    let datadir_text = datadir.display().to_string();
    let groups = format!("--groups={GROUP}");
    if is_root {
        let refused = run_as_user(&trip, &program, "--clear-groups", &["backup", "--name", NAME])?;
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(1), "outside of the group: {:?}: {told}", refused.status);
        ensure!(
            told.contains("Permission denied") && told.contains("in the group that owns the datadir"),
            "{told}"
        );
        ensure!(trip.sets()?.is_empty(), "published: {:?}", trip.sets()?);
    }
    for words in [
        &["backup", "--name", NAME][..],
        &["backup", "--name", NAME, "--type", "incremental"],
        &["verify", "--name", NAME, "all", "--pages"],
        &["restore", "--name", NAME, "latest", "--datadir", &datadir_text],
        &["list", "--name", NAME],
        &["pin", "--name", NAME, "latest"],
        &["expire", "--name", NAME],
        &["check", "--name", NAME, "--age", "1h"],
    ] {
        let ran = run_as_user(&trip, &program, &groups, words)?;
        ensure!(ran.status.success(), "{words:?}: {ran:?}");
    }
    for path in all(&trip.repo())?.into_iter().chain(all(&datadir)?) {
        use std::os::unix::fs::MetadataExt;
        let owner = fs::symlink_metadata(&path)?.uid();
        ensure!(!is_root || owner == USER, "{} belongs to {owner}", path.display());
    }
    let restored = on_restored(&server, &datadir, 2).start()?;
    ensure!(restored.checksums()? == server.checksums()?);
    Ok(())
}

#[test]
fn in_the_servers_group_on_mariadb() -> Result<()> {
    in_the_servers_group("mariadb-10.11")
}

#[test]
fn in_the_servers_group_on_mysql() -> Result<()> {
    in_the_servers_group("mysql-9.7")
}
