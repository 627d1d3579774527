//! The options by which the clients of both families find their server. No password is ever taken from the command
//! line: it would stand in the process list.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use reseed_server::options::TlsMode;

use crate::units;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Read options from this file only
    ///
    /// The groups [client], [client-server], [client-mariadb] and [reseed] are read, by the rules of the servers'
    /// own clients. Without this option the usual files are read: /etc/my.cnf, /etc/mysql/my.cnf, ~/.my.cnf.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["defaults_extra_file", "no_defaults"])]
    pub defaults_file: Option<PathBuf>,

    /// Read this file after the usual option files
    #[arg(long, value_name = "FILE", conflicts_with = "no_defaults")]
    pub defaults_extra_file: Option<PathBuf>,

    /// Also read the groups with this suffix, e.g. [client_db1] for `_db1`
    #[arg(long, value_name = "SUFFIX")]
    pub defaults_group_suffix: Option<String>,

    /// Read no option file at all
    #[arg(long)]
    pub no_defaults: bool,

    /// Host of the server; `localhost` means the Unix socket
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,

    /// TCP port of the server
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Unix socket of the server
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,

    /// Connect by this means, whatever the host says
    #[arg(long, value_name = "PROTOCOL", value_parser = ["tcp", "socket"])]
    pub protocol: Option<String>,

    /// Account to log in with
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,

    /// File whose first line is the password
    ///
    /// An option file does as well. There is no --password: it would stand in the process list.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Encryption of a TCP connection; default: where the server can
    ///
    /// As in the clients: preferred and required take any certificate, verify_identity wants one for this host, of an
    /// authority that --ssl-ca names or that is publicly known. verify_ca wants the same here. A Unix socket is never
    /// encrypted. An option file may say it too: ssl-mode, ssl-ca, ssl, skip-ssl, ssl-verify-server-cert.
    #[arg(long, value_name = "MODE", value_parser = tls_modes(), ignore_case = true)]
    pub ssl_mode: Option<TlsMode>,

    /// Certificates (PEM) of the authorities that sign the server's; without a mode it means verify_ca
    #[arg(long, value_name = "FILE")]
    pub ssl_ca: Option<PathBuf>,

    /// Give up connecting after this time; default 10s
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub connect_timeout: Option<Duration>,
}

fn tls_modes() -> impl TypedValueParser<Value = TlsMode> {
    PossibleValuesParser::new(TlsMode::ALL.map(TlsMode::name))
        .map(|word| TlsMode::parse(&word).unwrap_or_default())
}
