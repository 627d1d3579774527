//! Attaching a restored server to its source: runs the hand-over, follows the replica until it has caught up, and
//! explains what is wrong when it cannot. It never skips an event.

mod explain;
mod follow;
mod place;

use std::time::{Duration, Instant};

use reseed_terms::{Flavour, ReplicaChannel};

use crate::error::ServerError;
use crate::handover::{Handover, Statement};
use crate::options::ConnectOptions;
use crate::replica::{ReplicaState, ThreadState};
use crate::server::Server;

pub use explain::{Explanation, SourceFacts, explain};
pub use place::{Beginning, source_lacks};

/// How to attach.
#[derive(Debug, Clone)]
pub struct AttachOptions {
    /// Give up following after this long; `None`: never.
    pub deadline: Option<Duration>,
    /// How to ask the source where it is. Without it the replica's own word must do. The replication account will do
    /// when it positions by GTID.
    pub source: Option<ConnectOptions>,
    /// Pause between two looks.
    pub every: Duration,
    /// How long the source may be out of reach before that counts as broken.
    pub patience: Duration,
    /// Channels of the server that was backed up: found here, stopped, they came along with the data and are cleared.
    pub leftovers: Vec<ReplicaChannel>,
    /// Clear whatever replication is set up here.
    pub replace: bool,
    /// Compared with what the source still has before anything is changed.
    pub beginning: Option<Beginning>,
}

impl Default for AttachOptions {
    fn default() -> AttachOptions {
        AttachOptions {
            deadline: None,
            source: None,
            every: Duration::from_millis(500),
            patience: Duration::from_secs(30),
            leftovers: Vec::new(),
            replace: false,
            beginning: None,
        }
    }
}

/// What is told on the way.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A statement of the hand-over is about to run; the comment says what it does.
    Running(String),
    /// Something that a person should know.
    Note(String),
    Following {
        seconds_behind: Option<u64>,
        /// Bytes of the source's binary log not applied yet, where both ends lie in the same file.
        bytes_left: Option<u64>,
        eta: Option<Duration>,
        /// What the replica says that it is doing.
        doing: String,
    },
}

/// How it ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Both threads run, no lag, and everything is applied that the source had when it was asked.
    CaughtUp { after: Duration, advice: Vec<Statement> },
    /// Still behind at the deadline, and sound.
    Behind { seconds_behind: Option<u64>, eta: Option<Duration> },
    /// Replication stopped, or cannot start.
    Broken(Broken),
}

/// Replication that does not run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub channel: String,
    /// The server's error number; 0 where it gave none.
    pub error: u32,
    /// What the server said.
    pub message: String,
    pub cause: String,
    pub remedy: String,
}

/// Why the hand-over was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("the hand-over lacks the password of the replication account")]
    NoPassword,
    #[error("replication is set up here already: {}", .channels.join(", "))]
    AlreadyReplica { channels: Vec<String> },
    #[error("{count} replicas replicate from this server, so it is not one that was just restored")]
    FeedsReplicas { count: usize },
}

impl Server {
    /// Runs `handover` on this server, which was just restored, and follows until it has caught up.
    ///
    /// # Errors
    /// When replication is set up already, a statement is refused or the connection is lost. Broken replication is an
    /// `Outcome`, not an error.
    pub fn attach(
        &self,
        handover: &Handover,
        options: &AttachOptions,
        tell: &mut dyn FnMut(&Step),
    ) -> Result<Outcome, AttachError> {
        if handover.has_placeholder {
            return Err(AttachError::NoPassword);
        }
        self.refuse_if_in_use(options)?;
        let source = options
            .source
            .as_ref()
            .and_then(|source| Server::connect(source.clone(), self.stop().clone()).ok());
        let facts = source.as_ref().and_then(|source| SourceFacts::ask(source).ok());
        if let Some(broken) = self.same_server(facts.as_ref())? {
            return Ok(Outcome::Broken(broken));
        }
        if let (Some(source), Some(beginning)) = (&source, &options.beginning)
            && let Some(message) = beginning.obstacle(source)?
        {
            let Explanation { cause, remedy } = explain(1236, &message, facts.as_ref());
            return Ok(Outcome::Broken(Broken {
                channel: String::new(),
                error: 1236,
                message,
                cause,
                remedy,
            }));
        }
        if let (Some(source), Some(beginning)) = (&source, &options.beginning)
            && let Some(note) = beginning.doubt(source)?
        {
            tell(&Step::Note(note));
        }
        self.forget_own_binlog(tell)?;
        for statement in &handover.statements {
            tell(&Step::Running(statement.comment.clone()));
            self.execute(&statement.sql)?;
        }
        Ok(follow::until_caught_up(self, source.as_ref(), options, Instant::now(), tell)?)
    }

    /// Follows a replica that is set up and running until it has caught up.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn follow(
        &self,
        options: &AttachOptions,
        tell: &mut dyn FnMut(&Step),
    ) -> Result<Outcome, AttachError> {
        let source = options
            .source
            .as_ref()
            .and_then(|source| Server::connect(source.clone(), self.stop().clone()).ok());
        Ok(follow::until_caught_up(self, source.as_ref(), options, Instant::now(), tell)?)
    }

    fn refuse_if_in_use(&self, options: &AttachOptions) -> Result<(), AttachError> {
        let feeds = self.query("SHOW PROCESSLIST")?;
        let count = feeds
            .iter()
            .filter(|row| row.get("Command").is_some_and(|command| command.starts_with("Binlog Dump")))
            .count();
        if count > 0 {
            return Err(AttachError::FeedsReplicas { count });
        }
        if options.replace {
            return Ok(());
        }
        let channels: Vec<String> = self
            .replica_states()?
            .iter()
            .filter(|state| !state.channel.source_host.is_empty() && !is_leftover(state, &options.leftovers))
            .map(|state| {
                let channel = &state.channel;
                format!("from {}:{} (channel {:?})", channel.source_host, channel.source_port, channel.name)
            })
            .collect();
        if channels.is_empty() { Ok(()) } else { Err(AttachError::AlreadyReplica { channels }) }
    }

    /// Source and replica with one `server_id` or one UUID cannot tell their own events from the other's.
    fn same_server(&self, source: Option<&SourceFacts>) -> Result<Option<Broken>, ServerError> {
        let Some(source) = source else {
            return Ok(None);
        };
        let id = self.session().value("SELECT @@GLOBAL.server_id")?.and_then(|id| id.parse::<u32>().ok());
        let uuid = match self.flavour() {
            Flavour::MySql => self.session().value("SELECT @@GLOBAL.server_uuid")?,
            Flavour::MariaDb => None,
        };
        let message = if id == Some(source.server_id) {
            format!("source and replica both have server_id {}", source.server_id)
        } else if uuid.is_some() && uuid == source.server_uuid {
            format!("source and replica both have the server_uuid {}", uuid.unwrap_or_default())
        } else {
            return Ok(None);
        };
        let Explanation { cause, remedy } = explain(1593, &message, Some(source));
        Ok(Some(Broken { channel: String::new(), error: 1593, message, cause, remedy }))
    }

    /// MariaDB: events that the restored server wrote by itself since its start would stand in the way of those of
    /// the source with the same domain. MySQL's hand-over resets them in words of its own.
    fn forget_own_binlog(&self, tell: &mut dyn FnMut(&Step)) -> Result<(), ServerError> {
        if self.flavour() != Flavour::MariaDb {
            return Ok(());
        }
        let state = self.session().value("SELECT @@GLOBAL.gtid_binlog_state")?;
        if state.is_some_and(|state| !state.is_empty()) {
            tell(&Step::Running("Forget the events that were written while the server started".to_owned()));
            self.execute("STOP ALL SLAVES")?;
            self.execute("RESET MASTER")?;
        }
        Ok(())
    }
}

/// Stopped, and one of those that the backed up server had.
fn is_leftover(state: &ReplicaState, leftovers: &[ReplicaChannel]) -> bool {
    let stopped = state.receiver == ThreadState::Stopped && state.applier == ThreadState::Stopped;
    stopped
        && leftovers.iter().any(|left| {
            left.name == state.channel.name
                && left.source_host == state.channel.source_host
                && left.source_port == state.channel.source_port
        })
}
