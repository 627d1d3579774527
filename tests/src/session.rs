//! One connection to a server, used from plain threads.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row, Value};
use tokio::runtime::{Builder, Runtime};

pub struct Session {
    runtime: Runtime,
    conn: Option<Conn>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.conn.as_ref().map(Conn::id)).finish()
    }
}

impl Session {
    /// As root, by socket: a fresh test server has no password.
    pub fn open(socket: &Path) -> Result<Session> {
        let opts = OptsBuilder::default()
            .socket(socket.to_str())
            .user(Some("root"))
            .prefer_socket(Some(false))
            .max_allowed_packet(Some(64 << 20));
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        let conn = runtime
            .block_on(Conn::new(opts))
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        Ok(Session { runtime, conn: Some(conn) })
    }

    /// The connection's number in the server.
    pub fn id(&self) -> u32 {
        self.conn.as_ref().map_or(0, Conn::id)
    }

    /// The bare call, for callers that look at the server's error code.
    pub fn run(&mut self, sql: &str) -> Result<(), mysql_async::Error> {
        match self.conn.as_mut() {
            Some(conn) => self.runtime.block_on(conn.query_drop(sql)),
            None => Err(mysql_async::Error::Driver(mysql_async::DriverError::ConnectionClosed)),
        }
    }

    pub fn exec(&mut self, sql: &str) -> Result<()> {
        self.run(sql).with_context(|| format!("failed: {}", shorten(sql)))
    }

    fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let Some(conn) = self.conn.as_mut() else { bail!("the connection is closed") };
        self.runtime.block_on(conn.query(sql)).with_context(|| format!("failed: {}", shorten(sql)))
    }

    /// Rows as text, NULL as `NULL`.
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        Ok(self.query(sql)?.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
    }

    /// Rows by column name, as `SHOW … STATUS` needs: its columns differ between versions.
    pub fn named_rows(&mut self, sql: &str) -> Result<Vec<BTreeMap<String, String>>> {
        let mut found = Vec::new();
        for row in self.query(sql)? {
            let names: Vec<String> =
                row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
            found.push(names.into_iter().zip(row.unwrap().into_iter().map(text)).collect());
        }
        Ok(found)
    }

    /// The one value of a query that gives one.
    pub fn value(&mut self, sql: &str) -> Result<String> {
        let rows = self.rows(sql)?;
        let first = rows.into_iter().next().and_then(|row| row.into_iter().next());
        first.with_context(|| format!("no row: {}", shorten(sql)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            // The server may be gone, which is what closing is for.
            let _ = self.runtime.block_on(conn.disconnect());
        }
    }
}

fn text(value: Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => other.as_sql(true).trim_matches('\'').to_owned(),
    }
}

/// The server's number of an error; 0 for one that is not the server's.
pub fn error_code(error: &mysql_async::Error) -> u16 {
    match error {
        mysql_async::Error::Server(server) => server.code,
        _ => 0,
    }
}

pub(crate) fn shorten(sql: &str) -> String {
    let mut short: String = sql.chars().take(300).collect();
    if short.len() < sql.len() {
        short.push('…');
    }
    short
}
