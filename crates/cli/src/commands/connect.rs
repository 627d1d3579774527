//! From connection options as typed to what the server crate takes. The one place that reads the environment and a
//! password file for it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use reseed_server::options::{
    ConnectArgs, ConnectOptions, DefaultsChoice, Environment, OptionFiles, Password,
};

use crate::args::ConnectionArgs;
use crate::exit::Outcome;
use crate::failure::{self, Failure};

/// # Errors
/// When an option file or the password file cannot be used, or a value makes no sense.
pub fn options(args: &ConnectionArgs) -> Result<ConnectOptions, Failure> {
    let environment = Environment::from_vars(|name| std::env::var_os(name));
    let choice = DefaultsChoice {
        none: args.no_defaults,
        file: args.defaults_file.clone(),
        extra: args.defaults_extra_file.clone(),
        group_suffix: args.defaults_group_suffix.clone(),
    };
    let files = OptionFiles::read(&choice, &environment).map_err(|error| failure::options(&error))?;
    for warning in files.warnings() {
        tracing::warn!("{warning}");
    }
    let typed = ConnectArgs {
        host: args.host.clone(),
        port: args.port,
        socket: args.socket.clone(),
        user: args.user.clone(),
        password: args.password_file.as_deref().map(password_file).transpose()?,
        protocol: args.protocol.clone(),
        tls_mode: args.ssl_mode,
        tls_authorities: args.ssl_ca.clone(),
        connect_timeout: args.connect_timeout,
    };
    let options =
        ConnectOptions::resolve(&typed, &files, &environment).map_err(|error| failure::options(&error))?;
    if options.ask_password {
        // A backup runs unattended: a prompt would be a run that hangs.
        return Err(Failure::new(Outcome::Usage, "an option file asks for the password on the terminal")
            .hint("Write the password into the option file, or give --password-file."));
    }
    Ok(options)
}

/// The first line of a file that nobody but its owner and group may read.
///
/// # Errors
/// When it cannot be read, is empty, or is open to everybody.
pub fn password_file(path: &Path) -> Result<Password, Failure> {
    let failed = |error: io::Error| {
        Failure::new(Outcome::Usage, format!("cannot read the password file {}: {error}", path.display()))
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_file() && metadata.mode() & 0o007 != 0 {
        let name = path.display();
        return Err(Failure::new(Outcome::Usage, format!("the password file {name} is open to everybody"))
            .hint(format!("chmod 600 {name}")));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::new(
            Outcome::Usage,
            format!("the first line of the password file {} is empty", path.display()),
        ));
    }
    Ok(Password::new(line))
}
