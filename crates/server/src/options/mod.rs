//! How to reach a server: what was typed, what the option files say and what the environment adds, brought together
//! by the rules of the clients of both families. Nothing here reads the process's environment or its arguments by
//! itself, and a password never shows in a `Debug` text.

mod files;
mod line;
mod tls;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use files::{DefaultsChoice, OptionEntry, OptionFiles, OptionsError};
pub use tls::{Tls, TlsMode};

/// The groups that connection options are read from, weakest claim first only by their order in the files: as with
/// the clients, the entry that comes last wins, whichever group it stands in.
pub const CONNECTION_GROUPS: &[&str] = &["client", "client-server", "client-mariadb", "reseed"];

/// Where servers put their sockets: Debian's, Red Hat's, the upstream default.
const USUAL_SOCKETS: &[&str] = &[
    "/run/mysqld/mysqld.sock",
    "/var/run/mysqld/mysqld.sock",
    "/var/lib/mysql/mysql.sock",
    "/tmp/mysql.sock",
];

/// A password. Shown by nothing but `reveal`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// What the environment says, handed in by whoever may read it.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub home: Option<PathBuf>,
    /// Directories whose `my.cnf` is read after those under /etc: `MARIADB_HOME`, `MYSQL_HOME`.
    pub server_homes: Vec<PathBuf>,
    pub group_suffix: Option<String>,
    pub login: Option<String>,
    pub password: Option<Password>,
    pub host: Option<String>,
    pub socket: Option<PathBuf>,
    pub port: Option<u16>,
}

impl Environment {
    /// Reads the variables that the clients know through `variable`.
    pub fn from_vars(variable: impl Fn(&str) -> Option<OsString>) -> Environment {
        let text =
            |name: &str| variable(name).and_then(|value| value.into_string().ok()).filter(|v| !v.is_empty());
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Environment {
            home: path("HOME"),
            server_homes: ["MARIADB_HOME", "MYSQL_HOME"].into_iter().filter_map(path).collect(),
            group_suffix: text("MYSQL_GROUP_SUFFIX"),
            login: text("USER").or_else(|| text("LOGNAME")),
            password: text("MYSQL_PWD").map(Password),
            host: text("MYSQL_HOST"),
            socket: path("MYSQL_UNIX_PORT"),
            port: text("MYSQL_TCP_PORT").and_then(|port| port.parse().ok()),
        }
    }
}

/// Connection options as typed on the command line.
#[derive(Debug, Clone, Default)]
pub struct ConnectArgs {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub socket: Option<PathBuf>,
    pub user: Option<String>,
    /// From a file, a prompt or a variable; never from an argument, where every user of the machine could read it.
    pub password: Option<Password>,
    /// `tcp` or `socket`.
    pub protocol: Option<String>,
    pub tls_mode: Option<TlsMode>,
    pub tls_authorities: Option<PathBuf>,
    pub connect_timeout: Option<Duration>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Socket(PathBuf),
    Tcp { host: String, port: u16 },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Socket(path) => write!(f, "the server at {}", path.display()),
            Target::Tcp { host, port } if host.contains(':') => write!(f, "the server at [{host}]:{port}"),
            Target::Tcp { host, port } => write!(f, "the server at {host}:{port}"),
        }
    }
}

/// Everything that a connection needs.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub target: Target,
    pub user: String,
    pub password: Option<Password>,
    pub tls: Tls,
    /// An option file holds `password` with no value: the clients would ask for it on the terminal.
    pub ask_password: bool,
    pub connect_limit: Duration,
    /// Limit of every statement that has none of its own.
    pub statement_limit: Duration,
}

impl ConnectOptions {
    /// Options for a socket, as tests and tools on the same machine use them.
    pub fn socket(path: impl Into<PathBuf>, user: impl Into<String>) -> ConnectOptions {
        ConnectOptions::new(Target::Socket(path.into()), user.into(), None)
    }

    /// Options for a TCP port.
    pub fn tcp(host: impl Into<String>, port: u16, user: impl Into<String>) -> ConnectOptions {
        ConnectOptions::new(Target::Tcp { host: host.into(), port }, user.into(), None)
    }

    /// The same options with a password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> ConnectOptions {
        self.password = Some(Password::new(password));
        self
    }

    /// The same options with another way of encryption.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> ConnectOptions {
        self.tls = tls;
        self
    }

    fn new(target: Target, user: String, password: Option<Password>) -> ConnectOptions {
        ConnectOptions {
            target,
            user,
            password,
            tls: Tls::default(),
            ask_password: false,
            connect_limit: Duration::from_secs(10),
            statement_limit: Duration::from_secs(300),
        }
    }

    /// Brings together what was typed, what the files say and what the environment says, in this order of weight.
    ///
    /// # Errors
    /// When a value has no meaning, or a socket is to be used and none can be found.
    pub fn resolve(
        args: &ConnectArgs,
        files: &OptionFiles,
        environment: &Environment,
    ) -> Result<ConnectOptions, OptionsError> {
        ConnectOptions::resolve_with(args, files, environment, &|path| path.exists())
    }

    fn resolve_with(
        args: &ConnectArgs,
        files: &OptionFiles,
        environment: &Environment,
        exists: &dyn Fn(&Path) -> bool,
    ) -> Result<ConnectOptions, OptionsError> {
        let from_files = |name: &str| files.last(CONNECTION_GROUPS, name);
        let text =
            |name: &str| from_files(name).and_then(|entry| entry.value.clone()).filter(|v| !v.is_empty());
        let bad = |name: &str, entry: Option<&OptionEntry>, value: &str| OptionsError::Value {
            option: name.to_owned(),
            value: value.to_owned(),
            place: entry.map_or_else(|| "the command line".to_owned(), OptionEntry::place),
        };

        let port_in_files = match text("port") {
            Some(value) => Some(value.parse::<u16>().map_err(|_| bad("port", from_files("port"), &value))?),
            None => None,
        };
        let port = args.port.or(port_in_files).or(environment.port).filter(|port| *port != 0).unwrap_or(3306);
        let host = args.host.clone().or_else(|| text("host")).or_else(|| environment.host.clone());
        let socket = args.socket.clone().or_else(|| text("socket").map(PathBuf::from));
        let protocol = args.protocol.clone().or_else(|| text("protocol"));
        let local = host.as_deref().is_none_or(|host| host.is_empty() || host == "localhost");
        let over_socket = match protocol.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None => local && (args.socket.is_some() || args.port.is_none() || args.host.is_some()),
            Some("tcp") => false,
            Some("socket") => true,
            Some(other) => return Err(bad("protocol", from_files("protocol"), other)),
        };
        let target = if over_socket {
            let path =
                match socket.or_else(|| environment.socket.clone()) {
                    Some(path) => path,
                    None => USUAL_SOCKETS.iter().map(PathBuf::from).find(|path| exists(path)).ok_or_else(
                        || OptionsError::NoSocket {
                            looked_for: USUAL_SOCKETS.iter().map(PathBuf::from).collect(),
                        },
                    )?,
                };
            Target::Socket(path)
        } else {
            let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| "127.0.0.1".to_owned());
            Target::Tcp { host, port }
        };

        let user = args
            .user
            .clone()
            .or_else(|| text("user"))
            .or_else(|| environment.login.clone())
            .unwrap_or_else(|| "root".to_owned());
        let in_files = from_files("password");
        let password = args
            .password
            .clone()
            .or_else(|| in_files.and_then(|entry| entry.value.clone()).map(Password))
            .or_else(|| environment.password.clone())
            .filter(|password| !password.0.is_empty());
        let mut options = ConnectOptions::new(target, user, password);
        options.ask_password = args.password.is_none() && in_files.is_some_and(|entry| entry.value.is_none());
        options.tls = Tls::resolve(args, files)?;
        let limit_in_files = match text("connect-timeout") {
            Some(value) => Some(
                value
                    .parse::<u64>()
                    .map_err(|_| bad("connect-timeout", from_files("connect-timeout"), &value))?,
            ),
            None => None,
        };
        if let Some(limit) = args.connect_timeout.or(limit_in_files.map(Duration::from_secs)) {
            options.connect_limit = limit.max(Duration::from_millis(1));
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests;
