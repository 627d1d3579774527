//! The appliers of a replica, stopped for a moment: so that the place in the source's binary log belongs to the data,
//! and no temporary table of replicated statements is open, which a restored server would not have.

use std::time::{Duration, Instant};

use reseed_terms::{Flavour, ServerVersion};

use crate::error::ServerError;
use crate::options::ConnectOptions;
use crate::replica::{self, ThreadState};
use crate::session::{Session, Stop};

/// How long appliers run on before it is looked again whether they have closed their temporary tables.
const BETWEEN: Duration = Duration::from_millis(200);
/// How often, and with which pauses, starting them again is tried when the server cannot be reached.
const START_TRIES: u32 = 5;
const START_PAUSE: Duration = Duration::from_millis(500);

/// Appliers that were stopped for a backup; those that ran before run again on drop, whatever happened in between.
/// A process that is killed cannot see to that: what it leaves is a replica whose applier was stopped without an error.
#[derive(Debug)]
pub struct PausedApplier {
    /// A session that no wish to stop keeps from starting them again.
    session: Session,
    options: ConnectOptions,
    flavour: Flavour,
    channels: Vec<String>,
    idle: Vec<String>,
    running: bool,
}

impl PausedApplier {
    pub(crate) fn pause(
        mut session: Session,
        options: &ConnectOptions,
        version: &ServerVersion,
        stop: &Stop,
        limit: Duration,
    ) -> Result<PausedApplier, ServerError> {
        let (ran, idle): (Vec<_>, Vec<_>) = replica::states(&mut session, version)?
            .into_iter()
            .filter(|state| !state.channel.source_host.is_empty())
            .partition(|state| state.applier == ThreadState::Running);
        let names =
            |states: Vec<replica::ReplicaState>| states.into_iter().map(|state| state.channel.name).collect();
        let mut paused = PausedApplier {
            session,
            options: options.clone(),
            flavour: version.flavour,
            channels: names(ran),
            idle: names(idle),
            running: true,
        };
        let deadline = Instant::now() + limit;
        loop {
            paused.stop(limit)?;
            let open =
                if paused.channels.is_empty() { 0 } else { open_temporary_tables(&mut paused.session)? };
            if open == 0 {
                return Ok(paused);
            }
            // The tables are closed by events to come: let some of them be applied.
            paused.start()?;
            if stop.is_asked() {
                let statement = "temporary tables of replicated statements to be closed".to_owned();
                return Err(ServerError::Stopped { statement });
            }
            if Instant::now() >= deadline {
                return Err(ServerError::TemporaryTables { open, limit });
            }
            std::thread::sleep(BETWEEN.min(limit));
        }
    }

    /// Channels (connections) whose applier was found stopped: they stay so.
    pub fn idle(&self) -> &[String] {
        &self.idle
    }

    fn each(&mut self, verb: &str, limit: Duration) -> Result<(), ServerError> {
        let mut result = Ok(());
        for channel in &self.channels {
            let channel = crate::quote::plain(channel);
            let sql = match self.flavour {
                Flavour::MariaDb => format!("{verb} SLAVE {channel} SQL_THREAD"),
                Flavour::MySql => format!("{verb} REPLICA SQL_THREAD FOR CHANNEL {channel}"),
            };
            // One that fails must not keep the others from being started.
            result = result.and(self.session.query_within(&sql, limit).map(drop));
        }
        result
    }

    /// An applier that is in the middle of a long statement stops after it: not waited for longer than `limit`.
    fn stop(&mut self, limit: Duration) -> Result<(), ServerError> {
        self.running = false;
        self.each("STOP", limit)
    }

    fn start(&mut self) -> Result<(), ServerError> {
        let mut tries = 0;
        while !self.running {
            tries += 1;
            match self.start_once() {
                Ok(()) => self.running = true,
                // The session was killed, or given up with its STOP; the appliers are to run all the same.
                Err(error) if tries < START_TRIES && !self.session.is_open() => {
                    tracing::warn!(%error, "starting the replica's applier again");
                    std::thread::sleep(START_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn start_once(&mut self) -> Result<(), ServerError> {
        if !self.session.is_open() {
            self.session = Session::open(&self.options, &Stop::never())?;
        }
        self.each("START", self.options.statement_limit)
    }

    /// Lets the appliers run again.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn resume(mut self) -> Result<(), ServerError> {
        self.start()
    }
}

impl Drop for PausedApplier {
    fn drop(&mut self) {
        if let Err(error) = self.start() {
            tracing::error!(%error, "the replica's applier could not be started again");
        }
    }
}

/// Temporary tables that replicated statements have open now.
pub(crate) fn open_temporary_tables(session: &mut Session) -> Result<u64, ServerError> {
    let rows = session.query(
        "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slave_open_temp_tables', 'Replica_open_temp_tables')",
    )?;
    Ok(rows.iter().filter_map(|row| row.text(1)?.parse::<u64>().ok()).max().unwrap_or(0))
}
