//! MySQL's redo log consumer: while one is registered, the server waits rather than overwrite redo that it has not
//! been told to be done with. It waits without limit, so whoever registers must either advance or unregister soon.
//! The registration belongs to its session and ends with it.

use reseed_terms::Lsn;

use crate::error::ServerError;
use crate::session::Session;

/// The name under which reseed registers where the server wants one.
const NAME: &str = "reseed";

/// A registered consumer. Unregistered on drop.
#[derive(Debug)]
pub struct RedoConsumer {
    session: Session,
    registered: bool,
}

impl RedoConsumer {
    pub(crate) fn register(mut session: Session) -> Result<RedoConsumer, ServerError> {
        // MySQL takes no argument, Percona Server takes a name.
        let answer = match session.value("SELECT innodb_redo_log_consumer_register()") {
            Err(ServerError::Statement { code, .. }) if code != 1227 && code != 1305 => {
                session.value(&format!("SELECT innodb_redo_log_consumer_register('{NAME}')"))
            }
            other => other,
        };
        let mut consumer = RedoConsumer { session, registered: false };
        consumer.expect_done(
            answer?,
            "innodb_redo_log_consumer_register()",
            "another consumer is registered",
        )?;
        consumer.registered = true;
        Ok(consumer)
    }

    /// Tells the server that everything before `lsn` has been read.
    ///
    /// # Errors
    /// When the server refuses, or the session is lost and with it the registration.
    pub fn advance(&mut self, lsn: Lsn) -> Result<(), ServerError> {
        let answer = self.session.value(&format!("SELECT innodb_redo_log_consumer_advance({lsn})"))?;
        self.expect_done(answer, "innodb_redo_log_consumer_advance()", "the LSN was not accepted")
    }

    /// Ends the registration.
    ///
    /// # Errors
    /// When the session is lost; the registration has then ended too.
    pub fn unregister(mut self) -> Result<(), ServerError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), ServerError> {
        if !self.registered {
            return Ok(());
        }
        self.registered = false;
        self.session.execute("SELECT innodb_redo_log_consumer_unregister()")
    }

    /// The functions return 0 when done, other numbers when not.
    fn expect_done(&self, answer: Option<String>, statement: &str, reason: &str) -> Result<(), ServerError> {
        match answer.as_deref() {
            Some("0") => Ok(()),
            other => Err(ServerError::Answer {
                statement: statement.to_owned(),
                reason: format!("{reason} (it returned {})", other.unwrap_or("NULL")),
            }),
        }
    }
}

impl Drop for RedoConsumer {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
