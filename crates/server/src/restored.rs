//! A server that was started on a restored datadir for no other reason than to look whether it is whole.

use std::time::{Duration, Instant};

use crate::error::ServerError;
use crate::quote;
use crate::server::Server;

/// What `CHECK TABLE` found.
#[derive(Debug, Default)]
pub struct CheckedTables {
    pub tables: u64,
    /// In the server's words, each with its table.
    pub complaints: Vec<String>,
}

/// Lines for `--init-file` that make an account of our own: the passwords of the restored ones are not known.
pub fn account_statements(user: &str, password: &str) -> String {
    let account = format!("{}@'localhost'", quote::plain(user));
    format!(
        "CREATE USER {account} IDENTIFIED BY {};\nGRANT ALL PRIVILEGES ON *.* TO {account};\n",
        quote::plain(password)
    )
}

impl Server {
    /// Has the server check every table, its own too, within `limit` in all.
    ///
    /// # Errors
    /// When the connection is lost, the time is up, or the caller wants to stop.
    pub fn check_tables(
        &self,
        limit: Duration,
        checked: &mut dyn FnMut(u64),
    ) -> Result<CheckedTables, ServerError> {
        let until = Instant::now() + limit;
        let rows = self.query(
            "SELECT table_schema, table_name FROM information_schema.tables \
             WHERE table_type IN ('BASE TABLE', 'SEQUENCE', 'SYSTEM VERSIONED') \
             AND table_schema NOT IN ('information_schema', 'performance_schema') ORDER BY 1, 2",
        )?;
        let mut found = CheckedTables::default();
        for row in rows {
            let (Some(schema), Some(name)) = (row.text(0), row.text(1)) else { continue };
            let table = format!("{}.{}", quote::name(&schema), quote::name(&name));
            let left = until.saturating_duration_since(Instant::now());
            match self.session().query_within(&format!("CHECK TABLE {table}"), left) {
                Ok(answers) => found.complaints.extend(answers.iter().filter_map(|answer| {
                    let (kind, text) = (answer.text(2)?, answer.text(3)?);
                    complaint(&kind, &text).then(|| format!("{schema}.{name}: {kind}: {text}"))
                })),
                Err(ServerError::Statement { message, code, .. }) => {
                    found.complaints.push(format!("{schema}.{name}: {message} (error {code})"));
                }
                Err(error) => return Err(error),
            }
            found.tables += 1;
            checked(found.tables);
        }
        Ok(found)
    }
}

/// Whether a row of `CHECK TABLE` says that something is wrong. Notes and warnings (of clients that did not close a
/// table, of statistics) come before the row that counts, which is the status.
fn complaint(kind: &str, text: &str) -> bool {
    match kind.to_ascii_lowercase().as_str() {
        "error" => true,
        "status" => text != "OK" && text != "Table is already up to date",
        // An engine that has no check says so in a note.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_a_complaint() {
        assert!(!complaint("status", "OK"));
        assert!(!complaint("status", "Table is already up to date"));
        assert!(!complaint("note", "The storage engine for the table doesn't support check"));
        assert!(!complaint("warning", "1 client is using or hasn't closed the table properly"));
        assert!(complaint("status", "Operation failed"));
        assert!(complaint("Error", "Table 'shop.t' doesn't exist in engine"));
    }
}
