//! One start, one question, one stop: an unpacked server that does not run is found at once, not in a test.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Family, Recipe, unpack};
use crate::workspace;

const START_LIMIT: Duration = Duration::from_secs(120);

/// Returns what the server says its version is.
pub fn run_once(recipe: &Recipe, home: &Path) -> Result<String> {
    if recipe.family == Family::OpenSsh {
        // It tells on stderr.
        let output = workspace::output(Command::new(home.join("bin/ssh")).arg("-V"))?;
        let version = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return expected(recipe, version);
    }
    if recipe.family == Family::FakeTime {
        let time = format!("{} 12:00:00", unpack::FAKED);
        let date = workspace::stdout(unpack::with_time(home, "date", &time).arg("+%F"))?;
        return expected(recipe, date.trim().to_owned());
    }
    // Sockets have short names only (108 bytes): not below the workspace, which may lie deep.
    let dir = std::env::temp_dir().join(format!("reseed-prove-{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let proved = prove_in(recipe, home, &dir);
    let log = fs::read_to_string(dir.join("error.log")).unwrap_or_default();
    let _ = fs::remove_dir_all(&dir);
    let version = proved.with_context(|| format!("{} does not run; its log:\n{log}", recipe.name))?;
    expected(recipe, version)
}

fn expected(recipe: &Recipe, version: String) -> Result<String> {
    if !version.starts_with(recipe.version) {
        bail!(
            "suite {} now has {version} where {} was expected: the recipe of {} needs a look",
            recipe.suite,
            recipe.version,
            recipe.name
        );
    }
    Ok(version)
}

fn prove_in(recipe: &Recipe, home: &Path, dir: &Path) -> Result<String> {
    let bin = home.join("bin");
    let datadir = format!("--datadir={}", dir.join("data").display());
    let (server, client, admin) = match recipe.family {
        Family::MariaDb => {
            // Temporary tables of two servers in one folder have the same names.
            let temporary = format!("--tmpdir={}", dir.display());
            workspace::output(
                Command::new(bin.join("mariadb-install-db")).args([&datadir, &temporary]).arg("--user=root"),
            )?;
            ("mariadbd", "mariadb", "mariadb-admin")
        }
        Family::MySql => {
            let log = format!("--log-error={}", dir.join("error.log").display());
            workspace::output(
                Command::new(bin.join("mysqld"))
                    .args(["--no-defaults", "--initialize-insecure", "--user=root"])
                    .args([&datadir, &log]),
            )?;
            ("mysqld", "mysql", "mysqladmin")
        }
        Family::OpenSsh | Family::FakeTime => bail!("{} has no database to ask", recipe.name),
    };
    let socket = format!("--socket={}", dir.join("s").display());
    let mut command = Command::new(bin.join(server));
    command
        .args(["--no-defaults", "--user=root", "--skip-networking"])
        .args([&datadir, &socket, &format!("--pid-file={}", dir.join("pid").display())])
        .arg(format!("--tmpdir={}", dir.display()))
        .arg(format!("--log-error={}", dir.join("error.log").display()));
    if recipe.family == Family::MySql {
        command.arg("--mysqlx=OFF");
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let asked = ask(&mut child, &bin.join(client), &socket);
    let stopped = workspace::output(Command::new(bin.join(admin)).args([
        "--no-defaults",
        "-uroot",
        &socket,
        "shutdown",
    ]));
    if asked.is_err() || stopped.is_err() {
        let _ = child.kill();
    }
    child.wait().context("cannot wait for the server")?;
    stopped?;
    asked
}

fn ask(child: &mut Child, client: &Path, socket: &str) -> Result<String> {
    let since = Instant::now();
    loop {
        let mut command = Command::new(client);
        command.args(["--no-defaults", "-uroot", socket, "-N", "-B", "-e", "SELECT VERSION()"]);
        match workspace::stdout(&mut command) {
            Ok(text) => return Ok(text.trim().to_owned()),
            Err(error) if since.elapsed() > START_LIMIT => return Err(error),
            Err(_) => {}
        }
        if let Some(status) = child.try_wait()? {
            bail!("the server ended at once: {status}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
