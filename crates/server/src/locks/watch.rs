//! A second pair of eyes while a session waits for a lock: lists who is in the way, kills where allowed, and sees
//! to it that a session that was given up is gone.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use reseed_terms::ServerVersion;

use super::blockers::{self, Blocker, KillPolicy};
use crate::options::ConnectOptions;
use crate::session::{Session, Stop};

/// What a look from outside needs.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) options: ConnectOptions,
    pub(super) version: ServerVersion,
    pub(super) stop: Stop,
}

#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) blockers: Vec<Blocker>,
    pub(super) killed: Vec<Blocker>,
}

/// Runs `wait`, which waits for a lock in session `id`; beside it the blockers are listed shortly before the limit
/// and killed by the policy. A lock that is granted at once costs nothing but a thread.
pub(super) fn while_waiting<T>(
    outside: &Outside,
    id: u32,
    limit: Duration,
    kill: &KillPolicy,
    wait: impl FnOnce() -> T,
) -> (T, Watched) {
    let (done, ended) = channel::<()>();
    thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let mut watched = Watched::default();
            let margin = (limit / 4).min(Duration::from_secs(1));
            let look_at = Instant::now() + limit.saturating_sub(margin);
            let mut kill_at = match kill {
                KillPolicy::Never => None,
                KillPolicy::Queries { after, .. } => Some(Instant::now() + *after),
            };
            let mut session = None;
            loop {
                let next = kill_at.map_or(look_at, |at| at.min(look_at));
                match ended.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return watched,
                }
                let look = |session: &mut Option<Session>| {
                    if session.is_none() {
                        *session = Session::open(&outside.options, &outside.stop).ok();
                    }
                    let session = session.as_mut()?;
                    blockers::list(session, &outside.version, &[id]).ok()
                };
                if Instant::now() >= look_at {
                    watched.blockers = look(&mut session).unwrap_or_default();
                    return watched;
                }
                for blocker in look(&mut session).unwrap_or_default() {
                    if !kill.allows(&blocker) {
                        continue;
                    }
                    let statement = format!("KILL QUERY {}", blocker.id);
                    if session.as_mut().is_some_and(|session| session.execute(&statement).is_ok()) {
                        tracing::warn!(blocker = %blocker, "killed a statement that held up the backup's lock");
                        watched.killed.push(blocker);
                    }
                }
                kill_at = Some(Instant::now() + Duration::from_secs(1));
            }
        });
        let result = wait();
        drop(done);
        (result, watcher.join().unwrap_or_default())
    })
}

/// Who is in the way now; nobody where that cannot be told.
pub(super) fn look(outside: &Outside, id: u32) -> Vec<Blocker> {
    Session::open(&outside.options, &outside.stop)
        .and_then(|mut session| blockers::list(&mut session, &outside.version, &[id]))
        .unwrap_or_default()
}

/// Waits until the server has no session `id` any more, killing it where it still has.
pub(super) fn until_gone(outside: &Outside, id: u32, limit: Duration) {
    let Ok(mut session) = Session::open(&outside.options, &outside.stop) else {
        return;
    };
    let deadline = Instant::now() + limit;
    let statement = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id}");
    while matches!(session.value(&statement), Ok(Some(count)) if count != "0") {
        if Instant::now() >= deadline {
            tracing::error!(id, "the server still has the session that was given up");
            return;
        }
        let _ = session.execute(&format!("KILL CONNECTION {id}"));
        thread::sleep(Duration::from_millis(20));
    }
}
