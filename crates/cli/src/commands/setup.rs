//! `reseed setup`: from an account that may make others to everything that `reseed backup --name` needs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reseed_io::write::{self, set_owner};
use reseed_repository::Repository;
use reseed_server::{Password, Purpose, Server, ServerError, Stop, Target, account};
use serde::Serialize;

use super::summary::line;
use super::{Session, connect, restore};
use crate::args::{ConnectionArgs, SetupArgs};
use crate::config::{self, ConfigFile, DEFAULT_FILE};
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;

/// Only its owner may read the option file; there is nothing secret in the configuration.
const OPTION_FILE_MODE: u32 = 0o600;
const CONFIG_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;
/// What the server says of an account that is there already.
const USER_EXISTS: u16 = 1396;

/// Where everything is to be.
struct Places {
    config: PathBuf,
    option_file: PathBuf,
    owner: Option<(u32, u32)>,
}

pub fn run(args: &SetupArgs, config: Option<&Path>, session: &Session) -> Result<Outcome, Failure> {
    let config = config.unwrap_or(Path::new(DEFAULT_FILE)).to_owned();
    let option_file = match &args.option_file {
        Some(file) => file.clone(),
        None => config.with_file_name(format!("{}.cnf", args.name)),
    };
    let owner = args.owner.as_deref().map(restore::owner).transpose()?;
    let places = Places { config, option_file, owner };
    let admin = open(&args.connection, session)?;
    admin.facts().and_then(|facts| facts.check_supported()).map_err(|error| failure::server(&error))?;
    let statements = account::statements(admin.version(), &args.account, None);
    if !args.run {
        if !args.json {
            out::text(statements.iter().map(|statement| format!("{statement};\n")).collect::<String>())?;
        }
        session
            .drawer
            .say("Nothing was done. With --run this is run, with a password of its own making, and written:");
    } else {
        make_account(args, &places, &admin)?;
        test_account(&places, session)?;
        make_repository(args, &places)?;
        add_section(args, &places)?;
    }
    if args.json {
        out::json(&Document {
            done: args.run,
            server: admin.version().as_str(),
            account: &args.account,
            statements: &statements,
            option_file: &places.option_file,
            configuration: &places.config,
            repository: &args.repo,
        })?;
    }
    for text in summary(args, &places, &admin) {
        session.drawer.say(&text);
    }
    Ok(Outcome::Done)
}

fn open(connection: &ConnectionArgs, session: &Session) -> Result<Server, Failure> {
    let cancel = session.cancel.clone();
    let stop = Stop::when(move || cancel.is_cancelled());
    Server::connect(connect::options(connection)?, stop).map_err(|error| failure::server(&error))
}

/// The option file first: a password that is in force and written nowhere helps nobody.
fn make_account(args: &SetupArgs, places: &Places, admin: &Server) -> Result<(), Failure> {
    let file = &places.option_file;
    if file.exists() {
        return Ok(());
    }
    let password = make_password().map_err(|error| failed("make a password from", "/dev/urandom", &error))?;
    let socket = socket(admin)?;
    let text = format!(
        "# Account for backups of {}, made by reseed setup.\n[client]\nuser={}\npassword={}\nsocket={}\n",
        args.name,
        args.account,
        password.reveal(),
        socket.display()
    );
    make_dirs(file)?;
    create(file, &text, OPTION_FILE_MODE, places.owner)?;
    admin.create_account(&args.account, &password).map_err(|error| {
        let _ = fs::remove_file(file);
        let exists = matches!(&error, ServerError::Statement { code, .. } if *code == USER_EXISTS);
        let failure = failure::server(&error);
        match exists {
            true => failure.hint(format!(
                "There is an account {0}@localhost. Take another name with --account, or write {0} and its password into {1} \
                 (mode 0600, as any client's option file) and run this again.",
                args.account,
                file.display()
            )),
            false => failure,
        }
    })
}

/// Backups run on the server's host, through its socket.
fn socket(admin: &Server) -> Result<PathBuf, Failure> {
    if let Target::Socket(path) = &admin.options().target {
        return Ok(path.clone());
    }
    let facts = admin.facts().map_err(|error| failure::server(&error))?;
    facts.socket.filter(|path| path.exists()).ok_or_else(|| {
        Failure::new(Outcome::CannotConnect, "the server's Unix socket is not on this host")
            .hint("reseed reads the server's files: run it on the server's host.")
    })
}

/// Logs in as the backups will.
fn test_account(places: &Places, session: &Session) -> Result<(), Failure> {
    let as_backups = ConnectionArgs { defaults_file: Some(places.option_file.clone()), ..Default::default() };
    let server = open(&as_backups, session)?;
    server.require(Purpose::backup()).map_err(|error| failure::server(&error))
}

fn make_repository(args: &SetupArgs, places: &Places) -> Result<(), Failure> {
    let is_new = !args.repo.exists();
    Repository::create(&args.repo).map_err(|error| failure::repository(&error))?;
    match places.owner {
        // Somebody else's directory is not given away.
        Some((user, group)) if is_new => {
            set_owner(&args.repo, user, group).map_err(|error| failed("give away", &args.repo, &error))
        }
        _ => Ok(()),
    }
}

/// Adds the server's section to the configuration, unless it has one.
fn add_section(args: &SetupArgs, places: &Places) -> Result<(), Failure> {
    let path = &places.config;
    let root = config::root();
    let read = |path: &Path| ConfigFile::read(&root, path).map_err(|error| failure::config(&error));
    let mut text = String::new();
    let mut repo = args.repo.display().to_string();
    let mut rules = "keep-hourly = 24\nkeep-daily = 14\nkeep-weekly = 8\n";
    if path.exists() {
        let file = read(path)?;
        if file.servers().any(|server| server == args.name.as_str()) {
            return Ok(());
        }
        text = fs::read_to_string(path).map_err(|error| failed("read", path, &error))?;
        if let Some(repository) = file.repository_at(&args.repo, Some(args.name.as_str())) {
            repo.clone_from(&repository.name);
            if file.has_retention(repository) {
                rules = "";
            }
        }
    }
    // A JSON string is one of TOML too.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    text.push_str(&format!(
        "\n[server.\"{}\"]\nrepo = {}\ndefaults-file = {}\n{rules}",
        args.name,
        quoted(&repo),
        quoted(&places.option_file.display().to_string())
    ));
    ConfigFile::parse(&root, path, &text).map_err(|error| failure::config(&error))?;
    make_dirs(path)?;
    let mode = fs::metadata(path).map_or(CONFIG_MODE, |metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.mode() & 0o777
    });
    let fresh = path.with_extension("toml.new");
    let _ = fs::remove_file(&fresh);
    create(&fresh, &text, mode, None)?;
    fs::rename(&fresh, path).map_err(|error| failed("replace", path, &error))
}

fn make_dirs(file: &Path) -> Result<(), Failure> {
    let dir = file.parent().unwrap_or(Path::new("/"));
    write::make_dirs(dir, DIR_MODE).map_err(|error| failed("make", dir, &error))
}

/// Writes a file that is not there yet.
fn create(path: &Path, text: &str, mode: u32, owner: Option<(u32, u32)>) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        if let Some((user, group)) = owner {
            std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
        }
        file.sync_all()
    };
    write().map_err(|error| failed("write", path, &error))
}

/// 24 random bytes in letters and digits, with one of each kind that a server's policy may ask for.
fn make_password() -> io::Result<Password> {
    let mut bytes = [0; 24];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Password::new(format!("{hex}_Rs1")))
}

fn failed(what: &str, path: impl AsRef<Path>, error: &impl std::error::Error) -> Failure {
    let path = path.as_ref().display();
    Failure::new(Outcome::Failed, format!("cannot {what} {path}")).cause(error.to_string())
}

fn summary(args: &SetupArgs, places: &Places, admin: &Server) -> Vec<String> {
    let version = admin.version().as_str();
    vec![
        line(
            "account",
            format_args!("{}@localhost on {version}, to take backups and nothing else", args.account),
        ),
        line("option file", places.option_file.display()),
        line("repository", args.repo.display()),
        line("configured", format_args!("[server.{}] in {}", args.name, places.config.display())),
        line("next", format_args!("reseed backup --name {}", args.name)),
    ]
}

#[derive(Serialize)]
struct Document<'a> {
    done: bool,
    server: &'a str,
    account: &'a str,
    statements: &'a [String],
    option_file: &'a Path,
    configuration: &'a Path,
    repository: &'a Path,
}
