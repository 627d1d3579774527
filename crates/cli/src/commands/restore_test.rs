//! The last word on a set: restored into a scratch directory, a server started on it, every table checked, and
//! everything taken away again.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reseed_io::process::{Ended, Group};
use reseed_io::{FileLock, IoError, Progress, place, write};
use reseed_repository::{Manifest, Repository, SetReader};
use reseed_restore::{Options, SetSource};
use reseed_server::options::ConnectOptions;
use reseed_server::{Server, ServerError, Stop, restored};
use reseed_terms::{Flavour, ServerVersion};

use super::{Session, now};
use crate::args::VerifyArgs;
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::units::Time;

/// Where servers lie that are in nobody's PATH.
const USUAL_PLACES: [&str; 6] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/usr/local/libexec",
    "/usr/local/mysql/bin",
    "/usr/bin",
];
const VERSION_WITHIN: Duration = Duration::from_secs(30);
const STOPS_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// Lines of the server's log that are told when it does not start.
const LOG_LINES: usize = 12;
const PREFIX: &str = "reseed-restore-test-";
const MEMORY: u64 = 1 << 30;

/// What the server found wrong with its tables.
///
/// # Errors
/// When it does not come to that: no server, no room, a set that cannot be restored, a server that does not start.
pub fn run(
    repository: &Repository,
    set: &SetReader,
    args: &VerifyArgs,
    session: &Session,
) -> Result<Vec<String>, Failure> {
    let manifest = set.manifest();
    let until = Instant::now() + args.restore_test_limit;
    let binary = server_for(&manifest.server.version, args.server_binary.as_deref(), session)?;
    let scratch = Scratch::make(&args.scratch, session)?;
    let datadir = scratch.dir.join("data");
    restore(repository, set, &datadir, args, session)?;
    let running = Running::start(&binary, manifest, &scratch.dir, &datadir, until, session)?;
    let found = running.check(until, session)?;
    running.stop(session)?;
    Ok(found)
}

fn restore(
    repository: &Repository,
    set: &SetReader,
    datadir: &Path,
    args: &VerifyArgs,
    session: &Session,
) -> Result<(), Failure> {
    let options = Options {
        threads: args.threads.map_or(0, usize::from),
        ..Options::into_new(datadir.to_owned(), MEMORY, now())
    };
    SetSource::new(repository, set)
        .and_then(|source| reseed_restore::run(&source, &options, &session.drawer, &session.cancel))
        .map(drop)
        .map_err(|error| failure::restore(&error))
}

/// A directory that is gone with this value, and that a later run removes when this one is killed.
#[derive(Debug)]
struct Scratch {
    dir: PathBuf,
    _lock: FileLock,
}

impl Scratch {
    fn make(parent: &Path, session: &Session) -> Result<Scratch, Failure> {
        let make = || -> Result<Scratch, IoError> {
            remove_leftovers(parent, session)?;
            let name = format!("{PREFIX}{}", std::process::id());
            // Under its name only when it is locked: else another run would take it for a leftover.
            let (unlocked, dir) = (parent.join(format!(".{name}")), parent.join(&name));
            write::make_dir(&unlocked, 0o700)?;
            let lock = lock(&unlocked, session)?;
            write::rename_durable(&unlocked, &dir)?;
            Ok(Scratch { dir, _lock: lock })
        };
        make().map_err(|error| failure::repository(&error.into()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = write::remove_tree(&self.dir) {
            tracing::warn!("the scratch directory was not removed: {error}");
        }
    }
}

fn lock(dir: &Path, session: &Session) -> Result<FileLock, IoError> {
    FileLock::acquire(&dir.join("lock"), &now(), "restore test", Duration::ZERO, &session.cancel)
}

/// Whoever gets the lock of a scratch directory has proved that its run is dead.
fn remove_leftovers(parent: &Path, session: &Session) -> Result<(), IoError> {
    for name in place::names(parent)? {
        let dir = parent.join(&name);
        let ours = name.to_string_lossy().starts_with(PREFIX)
            && place::owner(&dir).is_ok_and(|owner| owner.uid == place::effective_user());
        if ours && let Ok(_lock) = lock(&dir, session) {
            write::remove_tree(&dir)?;
        }
    }
    Ok(())
}

/// A server of the set's own series, named or found.
fn server_for(wanted: &ServerVersion, named: Option<&Path>, session: &Session) -> Result<PathBuf, Failure> {
    let fits = |found: &ServerVersion| {
        (found.flavour, found.major, found.minor) == (wanted.flavour, wanted.major, wanted.minor)
    };
    if let Some(binary) = named {
        let found = version(binary, session)?;
        if !fits(&found) {
            return Err(Failure::new(
                Outcome::Unsupported,
                format!("{} is {found}, and the set is of {wanted}", binary.display()),
            )
            .hint("Another series would upgrade the data before it could be checked. Name a server of the same one."));
        }
        return Ok(binary.to_owned());
    }
    let names: &[&str] = match wanted.flavour {
        Flavour::MariaDb => &["mariadbd", "mysqld"],
        Flavour::MySql => &["mysqld"],
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> =
        std::env::split_paths(&path).chain(USUAL_PLACES.iter().map(PathBuf::from)).collect();
    let mut others = Vec::new();
    for binary in dirs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name))) {
        if !binary.is_file() {
            continue;
        }
        match version(&binary, session) {
            Ok(found) if fits(&found) => return Ok(binary),
            Ok(found) => others.push(format!("{} is {found}", binary.display())),
            Err(failure) => others.push(failure.to_string().trim_end().to_owned()),
        }
    }
    others.sort();
    others.dedup();
    let failure =
        Failure::new(Outcome::Unsupported, format!("there is no server like {wanted} on this host"))
            .hint("Install one, or name it with --server-binary.");
    Err(others.into_iter().fold(failure, Failure::cause))
}

/// The version that a server's program says it has.
fn version(binary: &Path, session: &Session) -> Result<ServerVersion, Failure> {
    let failed =
        |why: String| Failure::new(Outcome::Usage, format!("{} is no server: {why}", binary.display()));
    let mut command = Command::new(binary);
    command
        .args(["--no-defaults", "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let ask = || -> std::io::Result<(Ended, String)> {
        let mut group = Group::spawn(&mut command)?;
        let ended = group.wait(VERSION_WITHIN, &session.cancel)?;
        let mut text = String::new();
        if let (Ended::Code(_), Some(mut stdout)) = (ended, group.child().stdout.take()) {
            stdout.read_to_string(&mut text)?;
        }
        Ok((ended, text))
    };
    match { ask }() {
        Err(error) => Err(failed(error.to_string())),
        Ok((Ended::Cancelled, _)) => Err(interrupted()),
        Ok((_, text)) => {
            let version = text.split_once("Ver ").and_then(|(_, rest)| rest.split_whitespace().next());
            let version = version.and_then(|version| ServerVersion::parse(version).ok());
            version.ok_or_else(|| failed("it does not say which version it is".to_owned()))
        }
    }
}

fn interrupted() -> Failure {
    Failure::new(Outcome::Interrupted, "interrupted during the restore test")
}

/// The server on the restored datadir. It dies with this value.
#[derive(Debug)]
struct Running {
    group: Group,
    connect: ConnectOptions,
    log: PathBuf,
}

impl Running {
    fn start(
        binary: &Path,
        manifest: &Manifest,
        dir: &Path,
        datadir: &Path,
        until: Instant,
        session: &Session,
    ) -> Result<Running, Failure> {
        session.drawer.start("starting the server", None);
        let (socket, log, init) = (dir.join("s"), dir.join("error.log"), dir.join("init.sql"));
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::new(Outcome::Failed, format!("cannot {what}: {error}"))
        };
        let secret = secret().map_err(|error| failed("make a password", &error))?;
        let user = "reseed_restore_test";
        write::make_dir(&dir.join("tmp"), 0o700).map_err(|error| failed("make a directory", &error))?;
        write::write_atomic(&init, restored::account_statements(user, &secret).as_bytes(), 0o600)
            .map_err(|error| failed("write the init file", &error))?;
        let mut command = Command::new(binary);
        command.args(options(manifest, &[("datadir", datadir), ("socket", &socket), ("log-error", &log)]));
        command.args(options_of_paths(&[
            ("pid-file", &dir.join("pid")),
            ("init-file", &init),
            ("tmpdir", &dir.join("tmp")),
        ]));
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let group = Group::spawn(&mut command)
            .map_err(|error| failed(&format!("start {}", binary.display()), &error))?;
        let connect = ConnectOptions::socket(&socket, user).with_password(secret);
        let mut running = Running { group, connect, log };
        running.wait_until_ready(until, session)?;
        Ok(running)
    }

    fn server(&self, session: &Session) -> Result<Server, ServerError> {
        let cancel = session.cancel.clone();
        Server::connect(self.connect.clone(), Stop::when(move || cancel.is_cancelled()))
    }

    fn wait_until_ready(&mut self, until: Instant, session: &Session) -> Result<(), Failure> {
        loop {
            match self.server(session) {
                Ok(_) => return Ok(()),
                Err(ServerError::Stopped { .. }) => return Err(interrupted()),
                Err(error) => {
                    if let Ok(Some(code)) = self.group.poll() {
                        let message = format!("the server ended with code {code} instead of starting");
                        return Err(self.with_log(Failure::new(Outcome::Failed, message)));
                    }
                    if Instant::now() >= until {
                        let message = format!("the server did not start in time: {error}");
                        return Err(self
                            .with_log(Failure::new(Outcome::Failed, message))
                            .hint("--restore-test-limit gives it more time."));
                    }
                }
            }
            session.cancel.sleep(POLL).map_err(|_| interrupted())?;
        }
    }

    fn check(&self, until: Instant, session: &Session) -> Result<Vec<String>, Failure> {
        session.drawer.start("checking tables", None);
        let left = until.saturating_duration_since(Instant::now());
        let checked = self
            .server(session)
            .and_then(|server| server.check_tables(left, &mut |_| session.drawer.advance(1)))
            .map_err(|error| match error {
                ServerError::Stopped { .. } => interrupted(),
                ServerError::Timeout { .. } => {
                    Failure::new(Outcome::Failed, format!("the tables were not all checked in time: {error}"))
                        .hint("--restore-test-limit gives it more time.")
                }
                error => self.with_log(Failure::of(Outcome::Failed, &error)),
            })?;
        session.drawer.finish();
        tracing::info!(tables = checked.tables, "checked");
        Ok(checked.complaints)
    }

    fn stop(mut self, session: &Session) -> Result<(), Failure> {
        session.drawer.start("stopping the server", None);
        let since = Instant::now();
        self.group.ask_to_end();
        match self.group.wait(STOPS_WITHIN, &session.cancel) {
            Ok(Ended::Code(0)) => Ok(()),
            Ok(Ended::Cancelled) => Err(interrupted()),
            Ok(Ended::Code(code)) => Err(self.with_log(Failure::new(
                Outcome::Failed,
                format!("the server ended with code {code} when it was asked to stop"),
            ))),
            Ok(Ended::Limit) => {
                tracing::warn!("the server was killed: it did not stop within {}", Time(since.elapsed()));
                Ok(())
            }
            Err(error) => Err(Failure::new(Outcome::Failed, format!("cannot wait for the server: {error}"))),
        }
    }

    /// What the server itself said last.
    fn with_log(&self, failure: Failure) -> Failure {
        let text =
            fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        if last.is_empty() {
            failure
        } else {
            failure.cause(format!("its log ends with\n{}", last.join("\n")))
        }
    }
}

/// The least that a server needs to start on a datadir of this set, alone and unheard.
fn options(manifest: &Manifest, paths: &[(&str, &Path)]) -> Vec<std::ffi::OsString> {
    let mut options: Vec<String> = vec![
        // This one must come first.
        "--no-defaults".to_owned(),
        "--skip-networking".to_owned(),
        "--skip-log-bin".to_owned(),
        "--event-scheduler=OFF".to_owned(),
        "--innodb-buffer-pool-size=128M".to_owned(),
        format!("--innodb-page-size={}", manifest.server.page_size),
        format!("--server-id={}", manifest.server.server_id),
    ];
    options.push(match manifest.server.version.flavour {
        Flavour::MariaDb => "--skip-slave-start".to_owned(),
        Flavour::MySql => "--skip-replica-start".to_owned(),
    });
    if manifest.server.version.flavour == Flavour::MySql {
        options.push("--mysqlx=OFF".to_owned());
    }
    if place::effective_user() == 0 {
        options.push("--user=root".to_owned());
    }
    let mut kept = vec!["innodb_data_file_path", "lower_case_table_names"];
    if manifest.server.version.flavour == Flavour::MariaDb {
        kept.extend(["innodb_undo_tablespaces", "innodb_log_file_size", "innodb_checksum_algorithm"]);
    }
    for name in kept {
        // Files that lay elsewhere lie in the datadir now.
        if let Some(value) = manifest.server.settings.get(name).filter(|value| !value.contains('/')) {
            options.push(format!("--{}={value}", name.replace('_', "-")));
        }
    }
    let mut options: Vec<std::ffi::OsString> = options.into_iter().map(Into::into).collect();
    options.extend(options_of_paths(paths));
    options
}

fn options_of_paths(paths: &[(&str, &Path)]) -> Vec<std::ffi::OsString> {
    let option = |(name, path): &(&str, &Path)| {
        let mut option = std::ffi::OsString::from(format!("--{name}="));
        option.push(AsRef::<OsStr>::as_ref(path));
        option
    };
    paths.iter().map(option).collect()
}

/// A password that a server's own rules do not refuse.
fn secret() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold("Rt-9".to_owned(), |text, byte| format!("{text}{byte:02x}")))
}
