//! Watching a replica until it has caught up, or cannot.

use std::time::{Duration, Instant};

use super::explain::{Explanation, SourceFacts, explain};
use super::place::{self, Goal};
use super::{AttachOptions, Broken, Outcome, Step};
use crate::error::ServerError;
use crate::facts::Variables;
use crate::handover::advice;
use crate::replica::{ReplicaState, ThreadState};
use crate::server::Server;

/// A goal older than this says too little about now: when it is reached, the source is asked once more.
const GOAL_IS_FRESH: Duration = Duration::from_secs(10);
/// Without a source to ask, this many looks in a row must show nothing left to do.
const QUIET_LOOKS: u32 = 3;

/// Errors while connecting that more tries cannot cure: refused accounts, hosts and plugins, certificates.
const NO_USE_WAITING: &[u32] =
    &[1044, 1045, 1129, 1130, 1227, 1698, 2026, 2054, 2059, 2061, 4151, 3118, 1820];

pub(super) fn until_caught_up(
    replica: &Server,
    source: Option<&Server>,
    options: &AttachOptions,
    started: Instant,
    tell: &mut dyn FnMut(&Step),
) -> Result<Outcome, ServerError> {
    let mut watch = Watch { started, goal: None, quiet: 0, unreachable_since: None, pace: Pace::default() };
    loop {
        let states = replica.replica_states()?;
        if let Some(broken) = watch.broken(replica, source, &states, options)? {
            return Ok(Outcome::Broken(broken));
        }
        if watch.has_caught_up(replica, source, &states)? {
            return Ok(Outcome::CaughtUp { after: started.elapsed(), advice: settings(replica, &states)? });
        }
        let behind = states.iter().filter_map(|state| state.seconds_behind).max();
        let eta = watch.pace.eta(behind, started.elapsed());
        tell(&Step::Following {
            seconds_behind: behind,
            bytes_left: watch.bytes_left(&states),
            eta,
            doing: states.first().map(|state| state.applier_doing.clone()).unwrap_or_default(),
        });
        if options.deadline.is_some_and(|deadline| started.elapsed() >= deadline) {
            return Ok(Outcome::Behind { seconds_behind: behind, eta });
        }
        if replica.stop().is_asked() {
            return Err(ServerError::Stopped { statement: "the replica to catch up".to_owned() });
        }
        std::thread::sleep(options.every);
    }
}

struct Watch {
    started: Instant,
    goal: Option<(Goal, Instant)>,
    quiet: u32,
    unreachable_since: Option<Instant>,
    pace: Pace,
}

impl Watch {
    fn has_caught_up(
        &mut self,
        replica: &Server,
        source: Option<&Server>,
        states: &[ReplicaState],
    ) -> Result<bool, ServerError> {
        if states.is_empty() || !states.iter().all(ReplicaState::is_running) {
            self.quiet = 0;
            return Ok(false);
        }
        // With several sources the one that can be asked does not speak for the others.
        if let (Some(source), [state]) = (source, states) {
            if self.goal.is_none() {
                self.goal = place::ask(source, state.channel.by_gtid)?.map(|goal| (goal, Instant::now()));
            }
            if let Some((goal, asked)) = &self.goal {
                if !place::is_reached(replica, state, goal)? {
                    return Ok(false);
                }
                if asked.elapsed() > GOAL_IS_FRESH {
                    self.goal = None;
                    return Ok(false);
                }
                return Ok(state.seconds_behind == Some(0));
            }
        }
        let quiet = states.iter().all(|state| {
            state.seconds_behind == Some(0)
                && (state.channel.applied == state.received || state.channel.by_gtid)
                && state.receiver_doing.starts_with("Waiting for")
        });
        self.quiet = if quiet { self.quiet + 1 } else { 0 };
        Ok(self.quiet >= QUIET_LOOKS)
    }

    fn bytes_left(&self, states: &[ReplicaState]) -> Option<u64> {
        let [state] = states else {
            return None;
        };
        let end = match &self.goal {
            Some((Goal::File(goal), _)) => Some(goal),
            _ => state.received.as_ref(),
        };
        place::bytes_between(state.channel.applied.as_ref(), end)
    }

    fn broken(
        &mut self,
        replica: &Server,
        source: Option<&Server>,
        states: &[ReplicaState],
        options: &AttachOptions,
    ) -> Result<Option<Broken>, ServerError> {
        if states.is_empty() {
            return Ok(Some(explained(source, "", 0, "no replication is set up")));
        }
        let mut unreachable = None;
        for state in states {
            let name = &state.channel.name;
            if state.applier == ThreadState::Stopped {
                if state.applier_error.number != 0 {
                    let error = worker_error(replica, state)?;
                    return Ok(Some(explained(source, name, error.0, &error.1)));
                }
                // The threads take a moment to start.
                if self.started.elapsed() > options.patience {
                    return Ok(Some(explained(
                        source,
                        name,
                        0,
                        "the applier does not run and gives no error",
                    )));
                }
            }
            let error = &state.receiver_error;
            if error.number == 0 {
                if state.receiver == ThreadState::Stopped && self.started.elapsed() > options.patience {
                    return Ok(Some(explained(
                        source,
                        name,
                        0,
                        "the receiver does not run and gives no error",
                    )));
                }
                continue;
            }
            let number = inner_number(error.number, &error.text);
            if state.receiver == ThreadState::Stopped || NO_USE_WAITING.contains(&number) {
                return Ok(Some(explained(source, name, number, &error.text)));
            }
            if state.receiver == ThreadState::Connecting {
                unreachable = Some((name, number, &error.text));
            }
        }
        let Some((name, number, text)) = unreachable else {
            self.unreachable_since = None;
            return Ok(None);
        };
        let since = *self.unreachable_since.get_or_insert_with(Instant::now);
        Ok((since.elapsed() >= options.patience).then(|| explained(source, name, number, text)))
    }
}

fn explained(source: Option<&Server>, channel: &str, error: u32, message: &str) -> Broken {
    let facts = source.and_then(|source| SourceFacts::ask(source).ok());
    let Explanation { cause, remedy } = explain(error, message, facts.as_ref());
    Broken { channel: channel.to_owned(), error, message: message.to_owned(), cause, remedy }
}

/// MySQL wraps what the source or the client library said into numbers of its own (13114, 13117 and others), with the
/// true number in the text: "Got fatal error 1236 from source", "error_code: MY-001045", "Error_code: 1062".
pub(super) fn inner_number(number: u32, text: &str) -> u32 {
    if number < 10_000 && !text.contains("fatal error 1236") {
        return number;
    }
    if text.contains("fatal error 1236") {
        return 1236;
    }
    let lower = text.to_ascii_lowercase();
    if lower.contains("equal mysql server ids") || lower.contains("equal mysql server uuids") {
        return 1593;
    }
    let Some((_, rest)) = lower.split_once("error_code: ") else {
        return number;
    };
    let digits: String = rest.trim_start_matches("my-").chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|inner| *inner != 0).unwrap_or(number)
}

/// With parallel appliers the status tells only that some worker failed; the worker tells of what.
fn worker_error(replica: &Server, state: &ReplicaState) -> Result<(u32, String), ServerError> {
    let own = (
        inner_number(state.applier_error.number, &state.applier_error.text),
        state.applier_error.text.clone(),
    );
    if !state.applier_error.text.contains("worker") {
        return Ok(own);
    }
    let rows = replica.query(
        "SELECT last_error_number, last_error_message FROM performance_schema.replication_applier_status_by_worker \
         WHERE last_error_number <> 0 ORDER BY last_error_timestamp LIMIT 1",
    );
    match rows {
        Ok(rows) => Ok(rows
            .first()
            .and_then(|row| {
                let text = row.text(1)?;
                Some((inner_number(row.text(0)?.parse().ok()?, &text), text))
            })
            .unwrap_or(own)),
        Err(ServerError::Statement { .. }) => Ok(own),
        Err(error) => Err(error),
    }
}

fn settings(
    replica: &Server,
    states: &[ReplicaState],
) -> Result<Vec<crate::handover::Statement>, ServerError> {
    let variables = Variables::read(&mut replica.session())?;
    let by_gtid = states.iter().all(|state| state.channel.by_gtid);
    Ok(advice::living(replica.version(), &variables, by_gtid))
}

/// How fast the lag shrinks.
#[derive(Debug, Default)]
struct Pace {
    first: Option<(u64, Duration)>,
}

impl Pace {
    fn eta(&mut self, behind: Option<u64>, now: Duration) -> Option<Duration> {
        let behind = behind?;
        let (most, since) = *self.first.get_or_insert((behind, now));
        if behind > most {
            self.first = Some((behind, now));
            return None;
        }
        let spent = now.saturating_sub(since).as_secs_f64();
        let won = (most - behind) as f64;
        if won <= 0.0 || spent <= 0.0 {
            return None;
        }
        Duration::try_from_secs_f64(behind as f64 * spent / won).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_inside_the_text_counts() {
        assert_eq!(
            inner_number(13114, "Got fatal error 1236 from source when reading data from binary log: 'x'"),
            1236
        );
        assert_eq!(inner_number(1236, "Got fatal error 1236 from master"), 1236);
        assert_eq!(
            inner_number(
                13117,
                "Fatal error: The replica I/O thread stops because source and replica have equal MySQL server UUIDs"
            ),
            1593
        );
        assert_eq!(inner_number(1045, "error connecting to source"), 1045);
        assert_eq!(inner_number(10_000, "Could not execute; Error_code: MY-001062"), 1062);
    }

    #[test]
    fn the_lag_tells_when_it_will_be_gone() {
        let mut pace = Pace::default();
        let at = Duration::from_secs;
        assert_eq!(pace.eta(Some(100), at(0)), None);
        assert_eq!(pace.eta(Some(50), at(10)), Some(at(10)));
        assert_eq!(pace.eta(Some(120), at(20)), None);
        assert_eq!(pace.eta(Some(60), at(30)), Some(at(10)));
        assert_eq!(pace.eta(None, at(31)), None);
    }
}
