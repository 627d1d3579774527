//! One connection to a server as plain blocking calls: mysql_async on a runtime of its own, each call bounded by
//! a limit and by the caller's wish to stop. It knows nothing of what the statements mean, and it never reconnects:
//! whoever holds a lock through a session must learn that it is gone.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Value};

use crate::connect::connect;
use crate::error::ServerError;
use crate::options::ConnectOptions;
use crate::row::Row;

/// How often a wait looks whether the caller wants to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a connection may take that is made only to tidy up.
const TIDY: Duration = Duration::from_secs(5);

/// The caller's wish to stop, asked again and again during every wait.
#[derive(Clone, Default)]
pub struct Stop(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Stop {
    /// Never stops.
    pub fn never() -> Stop {
        Stop(None)
    }

    /// Stops as soon as `asked` returns true.
    pub fn when(asked: impl Fn() -> bool + Send + Sync + 'static) -> Stop {
        Stop(Some(Arc::new(asked)))
    }

    pub fn is_asked(&self) -> bool {
        self.0.as_ref().is_some_and(|asked| asked())
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Stop(watched)" } else { "Stop(never)" })
    }
}

/// One connection. Closed when dropped.
pub struct Session {
    runtime: tokio::runtime::Runtime,
    conn: Option<Conn>,
    id: u32,
    options: ConnectOptions,
    stop: Stop,
    limit: Duration,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("open", &self.conn.is_some())
            .finish_non_exhaustive()
    }
}

pub(crate) enum Waited<T> {
    Done(T),
    TooLong,
    Stopped,
}

/// Waits for `work` no longer than until `deadline`, looking at `stop` in between. `work` is not given up: the
/// caller may go on waiting for it.
pub(crate) async fn wait<F: Future + Unpin>(
    work: &mut F,
    deadline: Instant,
    stop: &Stop,
) -> Waited<F::Output> {
    loop {
        if stop.is_asked() {
            return Waited::Stopped;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Waited::TooLong;
        }
        if let Ok(done) = tokio::time::timeout(left.min(LOOK_EVERY), &mut *work).await {
            return Waited::Done(done);
        }
    }
}

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// When the server cannot be reached within the options' limit, or refuses the login.
    pub fn open(options: &ConnectOptions, stop: &Stop) -> Result<Session, ServerError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServerError::Runtime)?;
        let mut conn = Err(ServerError::Stopped { statement: "a connection".to_owned() });
        // mysql_common takes a last zero byte of an ed25519 challenge for an end mark, so that one login in 256 is
        // refused with the right password.
        for _ in 0..2 {
            conn = runtime.block_on(connect(options, stop));
            if !matches!(conn, Err(ServerError::Login { code: 1045 | 1698, .. })) {
                break;
            }
        }
        let conn = conn?;
        let id = conn.id();
        Ok(Session {
            runtime,
            conn: Some(conn),
            id,
            options: options.clone(),
            stop: stop.clone(),
            limit: options.statement_limit,
        })
    }

    /// The connection's number in the server.
    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn is_open(&self) -> bool {
        self.conn.is_some()
    }

    /// Runs a statement and throws its rows away.
    ///
    /// # Errors
    /// When the server refuses it, the connection is lost, the limit passes or the caller wants to stop.
    pub fn execute(&mut self, sql: &str) -> Result<(), ServerError> {
        self.query(sql).map(drop)
    }

    /// Runs a statement and returns the rows of its first result.
    ///
    /// # Errors
    /// As `execute`.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>, ServerError> {
        self.query_within(sql, self.limit)
    }

    /// As `query`, with a limit of its own. Past it the statement is killed in the server; where that does not
    /// bring it back the session is closed.
    ///
    /// # Errors
    /// As `execute`.
    pub fn query_within(&mut self, sql: &str, limit: Duration) -> Result<Vec<Row>, ServerError> {
        let statement = shorten(sql);
        let lost = |reason: String| ServerError::ConnectionLost { statement: statement.clone(), reason };
        if self.conn.is_some() && self.stop.is_asked() {
            return Err(ServerError::Stopped { statement });
        }
        let Some(mut conn) = self.conn.take() else {
            return Err(lost("it is closed".to_owned()));
        };
        let (options, stop, id) = (&self.options, &self.stop, self.id);
        let deadline = Instant::now() + limit;
        let (answer, usable) = self.runtime.block_on(async {
            let mut work = pin!(conn.query::<mysql_async::Row, _>(sql));
            let given_up = match wait(&mut work, deadline, stop).await {
                Waited::Done(answer) => return (answer.map_err(Failed::Answered), true),
                Waited::TooLong => Failed::TooLong,
                Waited::Stopped => Failed::Stopped,
            };
            // The statement is ended from a second connection; our own is busy with it.
            let kill = async {
                let _ = kill(options, &format!("KILL QUERY {id}")).await;
                std::future::pending::<()>().await;
            };
            let ended = tokio::time::timeout(TIDY, async {
                tokio::select! {
                    answer = &mut work => Some(answer.is_ok()),
                    () = kill => None,
                }
            })
            .await;
            (Err(given_up), matches!(ended, Ok(Some(_))))
        });
        match answer {
            Ok(rows) => {
                self.conn = Some(conn);
                Ok(rows.into_iter().map(row).collect())
            }
            Err(Failed::Answered(Error::Server(error))) => {
                self.conn = Some(conn);
                // 1053 shutdown, 1927/4031 connection killed or idle too long: nothing more comes of this session.
                if matches!(error.code, 1053 | 1927 | 4031 | 3169) {
                    self.close();
                    return Err(lost(format!("{} (error {})", error.message, error.code)));
                }
                Err(ServerError::Statement {
                    statement,
                    code: error.code,
                    state: error.state,
                    message: error.message,
                })
            }
            Err(Failed::Answered(error)) => {
                self.conn = Some(conn);
                self.close();
                Err(lost(error.to_string()))
            }
            Err(given_up) => {
                self.conn = Some(conn);
                if !usable {
                    self.abandon();
                }
                Err(match given_up {
                    Failed::TooLong => ServerError::Timeout { statement, limit },
                    _ => ServerError::Stopped { statement },
                })
            }
        }
    }

    /// The first row.
    ///
    /// # Errors
    /// As `execute`.
    pub fn first(&mut self, sql: &str) -> Result<Option<Row>, ServerError> {
        Ok(self.query(sql)?.into_iter().next())
    }

    /// The first column of the first row.
    ///
    /// # Errors
    /// As `execute`.
    pub fn value(&mut self, sql: &str) -> Result<Option<String>, ServerError> {
        Ok(self.first(sql)?.and_then(|row| row.text(0)))
    }

    /// Asks whether the server still knows this session.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn ping(&mut self) -> Result<(), ServerError> {
        self.execute("DO 1")
    }

    /// Says good-bye and closes. What the session had locked is released by the server.
    pub fn close(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.runtime.block_on(async {
                let _ = tokio::time::timeout(TIDY, conn.disconnect()).await;
            });
        }
    }

    /// Closes a session whose statement is still running in the server, and ends it there.
    fn abandon(&mut self) {
        let (options, id) = (&self.options, self.id);
        let conn = self.conn.take();
        self.runtime.block_on(async {
            drop(conn);
            let _ = kill(options, &format!("KILL CONNECTION {id}")).await;
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

enum Failed {
    Answered(Error),
    TooLong,
    Stopped,
}

async fn kill(options: &ConnectOptions, statement: &str) -> Result<(), ServerError> {
    let work = async {
        let mut conn = connect(options, &Stop::never()).await?;
        // The session to be killed may be gone by now, which is as good.
        let _ = conn.query_drop(statement).await;
        let _ = conn.disconnect().await;
        Ok(())
    };
    tokio::time::timeout(TIDY, work).await.unwrap_or(Ok(()))
}

fn row(row: mysql_async::Row) -> Row {
    let columns = row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
    let values = row
        .unwrap_raw()
        .into_iter()
        .map(|value| match value {
            None | Some(Value::NULL) => None,
            Some(Value::Bytes(bytes)) => Some(bytes),
            Some(other) => Some(other.as_sql(true).trim_matches('\'').as_bytes().to_vec()),
        })
        .collect();
    Row::new(columns, values)
}

/// A statement short enough for an error line, on one line, with any password taken out.
pub(crate) fn shorten(sql: &str) -> String {
    let hidden = hide_passwords(sql);
    let mut short = String::new();
    for word in hidden.split_whitespace() {
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
        if short.chars().count() > 120 {
            let mut cut: String = short.chars().take(117).collect();
            cut.push_str("...");
            return cut;
        }
    }
    short
}

fn hide_passwords(sql: &str) -> String {
    let upper = sql.to_ascii_uppercase();
    let Some(start) =
        ["PASSWORD", "IDENTIFIED", "RDS_SET_EXTERNAL"].iter().filter_map(|word| upper.find(word)).min()
    else {
        return sql.to_owned();
    };
    // Everything from the first such word on is left out: taking quotes apart could get it wrong.
    format!("{}...", sql.get(..start).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_no_password() {
        let text = shorten("CHANGE MASTER TO\n MASTER_HOST='a', MASTER_PASSWORD='gehe''im', MASTER_PORT=1");
        assert_eq!(text, "CHANGE MASTER TO MASTER_HOST='a', MASTER_...");
    }

    #[test]
    fn long_statements_are_cut() {
        assert_eq!(shorten(&"x".repeat(500)).chars().count(), 120);
    }
}
