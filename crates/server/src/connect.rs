//! Opening one connection: the login, and its encryption.

use std::pin::pin;
use std::time::Instant;

use mysql_async::{Conn, DriverError, Error, IoError, OptsBuilder, SslOpts};

use crate::error::ServerError;
use crate::options::{ConnectOptions, Target, Tls, TlsMode};
use crate::session::{Stop, Waited, wait};

/// The server does not let this account in, or nobody, without encryption.
const WANTS_TLS: [u16; 2] = [3159, 1835];

/// # Errors
/// When the server cannot be reached in time, refuses the login, or cannot be talked to as encrypted as asked.
pub(crate) async fn connect(options: &ConnectOptions, stop: &Stop) -> Result<Conn, ServerError> {
    let tls = match &options.target {
        Target::Socket(_) => None,
        Target::Tcp { .. } => ssl_opts(&options.tls),
    };
    let encrypted = tls.is_some();
    match once(options, tls, stop).await? {
        Err(error) if encrypted && options.tls.mode == TlsMode::Preferred && is_of_tls(&error) => {
            tracing::debug!("{}: no encrypted connection ({error}), so an open one", options.target);
            once(options, None, stop).await?.map_err(|error| refusal(options, error))
        }
        outcome => outcome.map_err(|error| refusal(options, error)),
    }
}

/// One try. The inner error is the driver's.
async fn once(
    options: &ConnectOptions,
    tls: Option<SslOpts>,
    stop: &Stop,
) -> Result<Result<Conn, Error>, ServerError> {
    let builder = OptsBuilder::default()
        .user(Some(options.user.clone()))
        .pass(options.password.as_ref().map(|password| password.reveal().to_owned()))
        .prefer_socket(false)
        .stmt_cache_size(0)
        .ssl_opts(tls)
        // Both are asked of the server otherwise, in a statement of its own.
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(28_800));
    let builder = match &options.target {
        Target::Socket(path) => builder.socket(Some(path.to_string_lossy().into_owned())),
        Target::Tcp { host, port } => builder.ip_or_hostname(host.clone()).tcp_port(*port),
    };
    let target = options.target.to_string();
    let mut work = pin!(Conn::new(builder));
    match wait(&mut work, Instant::now() + options.connect_limit, stop).await {
        Waited::Done(outcome) => Ok(outcome),
        Waited::TooLong => {
            let reason = format!("no answer within {}", crate::error::seconds(&options.connect_limit));
            Err(ServerError::Connect { target, reason })
        }
        Waited::Stopped => Err(ServerError::Stopped { statement: format!("a connection to {target}") }),
    }
}

fn ssl_opts(tls: &Tls) -> Option<SslOpts> {
    match tls.mode {
        TlsMode::Disabled => None,
        TlsMode::Preferred | TlsMode::Required => Some(
            SslOpts::default()
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        ),
        TlsMode::VerifyCa | TlsMode::VerifyIdentity => Some(
            SslOpts::default()
                .with_root_certs(tls.authorities.iter().map(|path| path.clone().into()).collect())
                .with_disable_built_in_roots(tls.authorities.is_some()),
        ),
    }
}

/// Whether it is the encryption that failed. A certificate that is refused comes as an I/O error of invalid data.
fn is_of_tls(error: &Error) -> bool {
    match error {
        Error::Driver(DriverError::NoClientSslFlagFromServer) | Error::Io(IoError::Tls(_)) => true,
        Error::Io(IoError::Io(error)) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn refusal(options: &ConnectOptions, error: Error) -> ServerError {
    let target = options.target.to_string();
    if is_of_tls(&error) {
        let mut reason = match &error {
            Error::Driver(DriverError::NoClientSslFlagFromServer) => "the server has no TLS".to_owned(),
            Error::Io(error) => error.to_string(),
            other => other.to_string(),
        };
        if let Some(place) = &options.tls.asked_by {
            reason = format!("{reason}; encryption was asked for by {place}");
        }
        return ServerError::Tls { target, reason };
    }
    match error {
        Error::Server(error) if WANTS_TLS.contains(&error.code) => ServerError::Tls {
            target,
            reason: format!("the server wants it, and here it is off: {}", error.message),
        },
        Error::Server(error) => ServerError::Login {
            target,
            user: options.user.clone(),
            code: error.code,
            message: error.message,
        },
        Error::Driver(DriverError::UnknownAuthPlugin { name }) => {
            ServerError::AuthPlugin { target, plugin: name }
        }
        Error::Driver(DriverError::CleartextPluginDisabled) => ServerError::AuthPlugin {
            target,
            plugin: "mysql_clear_password (the password would be sent readable)".to_owned(),
        },
        Error::Io(IoError::Io(error)) => ServerError::Connect { target, reason: error.to_string() },
        other => ServerError::Connect { target, reason: other.to_string() },
    }
}
