//! The account that backups log in with: the privileges that a backup needs on this server, and no others.

use reseed_terms::ServerVersion;

use crate::error::ServerError;
use crate::options::Password;
use crate::preflight::{self, Purpose};
use crate::quote;
use crate::server::Server;

/// Backups run on the server's host.
const HOST: &str = "localhost";
/// What stands where a password is to be filled in.
pub const PLACEHOLDER: &str = "<PASSWORD>";

/// The statements that make the account, in their order; without a password a placeholder stands in its place.
///
/// The account belongs to this one server, so nothing of it is written into the binary log: on a replica that would be
/// a transaction which the source does not have.
pub fn statements(version: &ServerVersion, user: &str, password: Option<&Password>) -> Vec<String> {
    let account = format!("{}@{}", quote::plain(user), quote::plain(HOST));
    let password = quote::plain(password.map_or(PLACEHOLDER, Password::reveal));
    let privileges = preflight::privileges(version, Purpose::backup());
    vec![
        "SET SESSION sql_log_bin = 0".to_owned(),
        format!("CREATE USER {account} IDENTIFIED BY {password}"),
        format!("GRANT {} ON *.* TO {account}", privileges.join(", ")),
        "SET SESSION sql_log_bin = 1".to_owned(),
    ]
}

impl Server {
    /// Makes the account. Where it cannot be given its privileges it is taken away again.
    ///
    /// # Errors
    /// When there is an account of this name, or this session may not make one.
    pub fn create_account(&self, user: &str, password: &Password) -> Result<(), ServerError> {
        let mut session = self.open_session()?;
        let mut made = false;
        for statement in statements(self.version(), user, Some(password)) {
            if let Err(error) = session.execute(&statement) {
                if made {
                    // The first error is the one to tell.
                    let _ =
                        session.execute(&format!("DROP USER {}@{}", quote::plain(user), quote::plain(HOST)));
                }
                return Err(error);
            }
            made |= statement.starts_with("CREATE USER");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str) -> String {
        statements(&ServerVersion::parse(version).unwrap(), "o'reseed", None).join(";\n")
    }

    #[test]
    fn each_server_has_its_own_privileges() {
        insta::assert_snapshot!(of("10.11.6-MariaDB"), @r"
        SET SESSION sql_log_bin = 0;
        CREATE USER 'o''reseed'@'localhost' IDENTIFIED BY '<PASSWORD>';
        GRANT RELOAD, PROCESS, LOCK TABLES, SELECT, BINLOG MONITOR, SLAVE MONITOR ON *.* TO 'o''reseed'@'localhost';
        SET SESSION sql_log_bin = 1
        ");
        insta::assert_snapshot!(of("9.7.0"), @r"
        SET SESSION sql_log_bin = 0;
        CREATE USER 'o''reseed'@'localhost' IDENTIFIED BY '<PASSWORD>';
        GRANT BACKUP_ADMIN, RELOAD, PROCESS, REPLICATION CLIENT, SELECT ON *.* TO 'o''reseed'@'localhost';
        SET SESSION sql_log_bin = 1
        ");
    }
}
