//! The door to one live server: a session for questions, and the making of sessions that hold locks.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reseed_terms::{BinlogPosition, Coordinates, Flavour, Lsn, ServerVersion, SpaceId};

use crate::consumer::RedoConsumer;
use crate::coordinates::{self, LogStatus};
use crate::error::ServerError;
use crate::facts::{self, ServerFacts};
use crate::locks::{Blocker, LockOptions, LockSession, blockers};
use crate::options::ConnectOptions;
use crate::pause::{self, PausedApplier};
use crate::preflight::{self, Missing, Purpose};
use crate::quote;
use crate::replica::{self, ReplicaState};
use crate::row::Row;
use crate::session::{Session, Stop};

/// A table that InnoDB does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherTable {
    pub schema: String,
    pub name: String,
    pub engine: String,
    /// In a schema of the server's own.
    pub system: bool,
}

/// A file of one of InnoDB's tablespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablespaceFile {
    pub space: SpaceId,
    pub name: String,
    /// As the server stores it: often relative to the datadir.
    pub path: PathBuf,
}

/// Three positions in the redo log at about one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedoPosition {
    pub current: Lsn,
    pub flushed: Lsn,
    pub checkpoint: Lsn,
}

/// A connected server. Shared by threads: each question takes the one session for its time; locks have sessions of
/// their own.
#[derive(Debug)]
pub struct Server {
    options: ConnectOptions,
    stop: Stop,
    version: ServerVersion,
    session: Mutex<Session>,
}

impl Server {
    /// Connects and learns the version.
    ///
    /// # Errors
    /// When no usable connection comes about.
    pub fn connect(options: ConnectOptions, stop: Stop) -> Result<Server, ServerError> {
        let mut session = Session::open(&options, &stop)?;
        let statement = "SELECT VERSION()";
        let answer = |reason: String| ServerError::Answer { statement: statement.to_owned(), reason };
        let mut text = session.value(statement)?.ok_or_else(|| answer("it is empty".to_owned()))?;
        // A MariaDB built or configured under another version text is still known by its comment.
        if !text.contains("MariaDB") {
            let comment = session.value("SELECT @@version_comment")?.unwrap_or_default();
            if comment.to_ascii_lowercase().contains("mariadb") {
                text.push_str("-MariaDB");
            }
        }
        let version = ServerVersion::parse(&text).map_err(|error| answer(error.to_string()))?;
        settle(&mut session, &version)?;
        Ok(Server { options, stop, version, session: Mutex::new(session) })
    }

    pub fn version(&self) -> &ServerVersion {
        &self.version
    }

    pub fn flavour(&self) -> Flavour {
        self.version.flavour
    }

    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// A further session, set up like the first.
    ///
    /// # Errors
    /// When the server cannot be reached any more.
    pub fn open_session(&self) -> Result<Session, ServerError> {
        self.open_session_with(&self.stop)
    }

    pub(crate) fn open_session_with(&self, stop: &Stop) -> Result<Session, ServerError> {
        let mut session = Session::open(&self.options, stop)?;
        settle(&mut session, &self.version)?;
        Ok(session)
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    pub(crate) fn session(&self) -> MutexGuard<'_, Session> {
        // A panic elsewhere leaves a session at worst closed, and a closed one says so itself.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Any statement; the rows of its first result.
    ///
    /// # Errors
    /// When the server refuses it, or the connection is lost.
    pub fn query(&self, sql: &str) -> Result<Vec<Row>, ServerError> {
        self.session().query(sql)
    }

    /// Any statement whose rows do not matter.
    ///
    /// # Errors
    /// As `query`.
    pub fn execute(&self, sql: &str) -> Result<(), ServerError> {
        self.session().execute(sql)
    }

    /// The directory that the server runs on.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn datadir(&self) -> Result<PathBuf, ServerError> {
        let datadir = self.session().value("SELECT @@datadir")?.unwrap_or_default();
        Ok(PathBuf::from(datadir))
    }

    /// What the server is and how it is set up.
    ///
    /// # Errors
    /// When an answer is missing or malformed.
    pub fn facts(&self) -> Result<ServerFacts, ServerError> {
        facts::gather(&mut self.session(), &self.version)
    }

    /// The privileges that this account lacks for `purpose`, each with the statement that grants it.
    ///
    /// # Errors
    /// When the grants cannot be read.
    pub fn preflight(&self, purpose: Purpose) -> Result<Vec<Missing>, ServerError> {
        preflight::missing(&mut self.session(), &self.version, purpose)
    }

    /// As `preflight`, with anything missing as an error.
    ///
    /// # Errors
    /// `Privileges` when something is missing.
    pub fn require(&self, purpose: Purpose) -> Result<(), ServerError> {
        let missing = self.preflight(purpose)?;
        if missing.is_empty() { Ok(()) } else { Err(ServerError::Privileges { missing }) }
    }

    /// A session for locks, every wait bounded.
    ///
    /// # Errors
    /// When the server cannot be reached any more.
    pub fn lock_session(&self, options: LockOptions) -> Result<LockSession, ServerError> {
        LockSession::open(self, options)
    }

    /// MySQL: registers reseed as the consumer of the redo log, so that the server overwrites nothing unread.
    ///
    /// # Errors
    /// When another consumer is registered, the privilege is missing, or the server has no such function.
    pub fn redo_consumer(&self) -> Result<RedoConsumer, ServerError> {
        RedoConsumer::register(self.open_session()?)
    }

    /// Coordinates at one instant. They belong together only while the locks are held that the flavour needs
    /// (MariaDB: `BACKUP STAGE BLOCK_COMMIT` or a global read lock; MySQL: none, except that a replica positioned by
    /// file needs a global read lock).
    ///
    /// # Errors
    /// When an answer is missing, or does not stay the same although it should.
    pub fn coordinates(&self) -> Result<Coordinates, ServerError> {
        coordinates::read(&mut self.session(), &self.version).map(|(coordinates, _)| coordinates)
    }

    /// MySQL: `performance_schema.log_status` with the coordinates in it and the LSN that belongs to them.
    ///
    /// # Errors
    /// When the row is missing or malformed.
    pub fn log_status(&self) -> Result<LogStatus, ServerError> {
        coordinates::log_status(&mut self.session())
    }

    /// Coordinates together with the LSN that the redo must reach to hold everything before them.
    ///
    /// # Errors
    /// As `coordinates`.
    pub fn coordinates_with_lsn(&self) -> Result<(Coordinates, Lsn), ServerError> {
        coordinates::read(&mut self.session(), &self.version)
    }

    /// Current, flushed and checkpoint LSN.
    ///
    /// # Errors
    /// When the status variables are missing.
    pub fn redo_position(&self) -> Result<RedoPosition, ServerError> {
        coordinates::redo_position(&mut self.session())
    }

    /// Makes the server write its engines' logs to disk, without a word in the binary log.
    ///
    /// # Errors
    /// As `query`.
    pub fn flush_engine_logs(&self) -> Result<(), ServerError> {
        self.execute("FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS")
    }

    /// Starts a new binary log, so that the one in use is short.
    ///
    /// # Errors
    /// As `query`.
    pub fn flush_binary_logs(&self) -> Result<(), ServerError> {
        self.execute("FLUSH NO_WRITE_TO_BINLOG BINARY LOGS")
    }

    /// All tables that InnoDB does not keep, those of the server's own schemas too.
    ///
    /// # Errors
    /// As `query`.
    pub fn other_tables(&self) -> Result<Vec<OtherTable>, ServerError> {
        let rows = self.query(
            "SELECT table_schema, table_name, engine FROM information_schema.tables \
             WHERE engine IS NOT NULL AND engine NOT IN ('InnoDB', 'PERFORMANCE_SCHEMA', 'MEMORY') \
             AND table_type IN ('BASE TABLE', 'SEQUENCE') AND table_schema <> 'information_schema'",
        )?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                let schema = row.text(0)?;
                let system = matches!(schema.as_str(), "mysql" | "performance_schema" | "sys");
                Some(OtherTable { schema, name: row.text(1)?, engine: row.text(2)?, system })
            })
            .collect())
    }

    /// MariaDB: tables that are open and in use right now, as `(schema, table)`.
    ///
    /// # Errors
    /// As `query`.
    pub fn tables_in_use(&self) -> Result<Vec<(String, String)>, ServerError> {
        let rows = self.query("SHOW OPEN TABLES WHERE In_use > 0")?;
        Ok(rows.iter().filter_map(|row| Some((row.text(0)?, row.text(1)?))).collect())
    }

    /// Names of tablespaces that the server encrypts.
    ///
    /// # Errors
    /// As `query`; PROCESS is needed.
    pub fn encrypted_tablespaces(&self) -> Result<Vec<String>, ServerError> {
        let statement = match self.version.flavour {
            Flavour::MariaDb => {
                "SELECT name FROM information_schema.innodb_tablespaces_encryption WHERE encryption_scheme <> 0 LIMIT 100"
            }
            Flavour::MySql => {
                "SELECT name FROM information_schema.innodb_tablespaces WHERE encryption = 'Y' LIMIT 100"
            }
        };
        Ok(self.query(statement)?.iter().filter_map(|row| row.text(0)).collect())
    }

    /// This server as a replica, one entry a channel or connection.
    ///
    /// # Errors
    /// As `query`.
    pub fn replica_states(&self) -> Result<Vec<ReplicaState>, ServerError> {
        replica::states(&mut self.session(), &self.version)
    }

    /// File and position in the server's own binary log now; `None` when it writes none.
    ///
    /// # Errors
    /// As `query`.
    pub fn binlog_position(&self) -> Result<Option<BinlogPosition>, ServerError> {
        coordinates::binlog_position(&mut self.session(), &self.version)
    }

    /// MySQL: the files of InnoDB's tablespaces as the server knows them: number, name, path as stored.
    ///
    /// # Errors
    /// As `query`; PROCESS is needed.
    pub fn tablespace_files(&self) -> Result<Vec<TablespaceFile>, ServerError> {
        let rows = self.query(
            "SELECT d.space, s.name, d.path FROM information_schema.innodb_datafiles AS d \
             JOIN information_schema.innodb_tablespaces AS s ON s.space = d.space",
        )?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                let space = SpaceId(row.text(0)?.parse().ok()?);
                Some(TablespaceFile { space, name: row.text(1)?, path: PathBuf::from(row.text(2)?) })
            })
            .collect())
    }

    /// Sessions that import a tablespace right now: pages that come in so are in no redo.
    ///
    /// # Errors
    /// As `query`.
    pub fn importing(&self) -> Result<Vec<Blocker>, ServerError> {
        let mut found = blockers::list_all(&mut self.session())?;
        found.retain(|blocker| blocker.statement.to_ascii_uppercase().contains("IMPORT TABLESPACE"));
        Ok(found)
    }

    /// Binary logs that the server still has, oldest first, with their sizes. Empty when it writes none.
    ///
    /// # Errors
    /// As `query`.
    pub fn binary_logs(&self) -> Result<Vec<(String, u64)>, ServerError> {
        match self.query("SHOW BINARY LOGS") {
            Ok(rows) => {
                Ok(rows.iter().filter_map(|row| Some((row.text(0)?, row.text(1)?.parse().ok()?))).collect())
            }
            Err(error) if error.code() == Some(1381) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Sessions that a lock would have to wait for, longest first.
    ///
    /// # Errors
    /// As `query`.
    pub fn blockers(&self) -> Result<Vec<Blocker>, ServerError> {
        blockers::list(&mut self.session(), &self.version, &[])
    }

    /// Stops the applier of every channel and waits until replicated temporary tables are closed, so that a backup
    /// of a replica under statement-based replication is whole. The applier runs again when the guard is dropped.
    ///
    /// # Errors
    /// When it cannot be stopped, or temporary tables stay open for `limit`.
    pub fn pause_applier(&self, limit: Duration) -> Result<PausedApplier, ServerError> {
        let session = self.open_session_with(&Stop::never())?;
        PausedApplier::pause(session, &self.options, &self.version, &self.stop, limit)
    }

    /// Temporary tables that replicated statements have open now: a restored server does not have them.
    ///
    /// # Errors
    /// As `query`.
    pub fn open_temporary_tables(&self) -> Result<u64, ServerError> {
        pause::open_temporary_tables(&mut self.session())
    }

    /// The statement that `account` as the server knows it was logged in by, in quotes for a GRANT.
    ///
    /// # Errors
    /// As `query`.
    pub fn account(&self) -> Result<String, ServerError> {
        account(&mut self.session())
    }
}

pub(crate) fn account(session: &mut Session) -> Result<String, ServerError> {
    let user = session.value("SELECT CURRENT_USER()")?.unwrap_or_default();
    let (name, host) = user.rsplit_once('@').unwrap_or((&user, "%"));
    Ok(format!("{}@{}", quote::plain(name), quote::plain(host)))
}

/// Makes a session independent of what the server or its `init_connect` set for ordinary clients.
fn settle(session: &mut Session, version: &ServerVersion) -> Result<(), ServerError> {
    session.execute(
        "SET SESSION wait_timeout = 2147483, interactive_timeout = 2147483, net_read_timeout = 3600, \
         net_write_timeout = 3600, autocommit = 1, sql_mode = '', lock_wait_timeout = 60",
    )?;
    session.execute("SET NAMES utf8mb4")?;
    match version.flavour {
        Flavour::MariaDb => session.execute("SET SESSION max_statement_time = 0")?,
        Flavour::MySql => session.execute("SET SESSION max_execution_time = 0")?,
    }
    // A node of a cluster would make each question wait until it is in step; a server without Galera or Group
    // Replication does not know these.
    for optional in
        ["SET SESSION wsrep_sync_wait = 0", "SET SESSION group_replication_consistency = 'EVENTUAL'"]
    {
        match session.execute(optional) {
            Ok(()) | Err(ServerError::Statement { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
