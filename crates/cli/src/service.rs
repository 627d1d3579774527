//! What the service manager is told while it watches a run: that it began, where it stands, that it goes on, and how it
//! ended. Nothing is done where nobody watches, which is everywhere but in a unit of `Type=notify`.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::draw::Drawer;

/// How often the status line is brought up to date.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A manager that does not read its messages in this time will not do so any more.
const LAST_WORD: Duration = Duration::from_secs(2);

/// A run as the service manager sees it.
#[derive(Debug)]
pub struct Service(Option<Watched>);

#[derive(Debug)]
struct Watched {
    over: Sender<String>,
    told: Receiver<()>,
}

impl Service {
    /// Tells from now on what the drawer is told.
    pub fn start(drawer: &Drawer) -> Service {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Service(None);
        }
        let (over, ends) = mpsc::channel();
        let (tells, told) = mpsc::channel();
        let drawer = drawer.clone();
        // On a thread of its own: a manager that does not read must not stop the run.
        let thread = thread::Builder::new().name("service".to_owned()).spawn(move || {
            report(&drawer, &ends);
            // Whoever waited for it may have given up.
            let _ = tells.send(());
        });
        // Without the thread the manager takes the run for one that never began, and says so.
        Service(thread.ok().map(|_| Watched { over, told }))
    }

    /// Tells how it ended.
    pub fn end(self, how: String) {
        let Some(watched) = self.0 else { return };
        if watched.over.send(how).is_ok() {
            let _ = watched.told.recv_timeout(LAST_WORD);
        }
    }
}

fn report(drawer: &Drawer, ends: &Receiver<String>) {
    let watchdog = sd_notify::watchdog_enabled();
    let look_every = watchdog.map_or(LOOK_EVERY, |limit| LOOK_EVERY.min(limit / 4));
    tell(&[NotifyState::Ready]);
    let mut told = (String::new(), 0);
    let how = loop {
        match ends.recv_timeout(look_every) {
            Ok(how) => break how,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = (drawer.describe(), drawer.signs_of_life());
        if !now.0.is_empty() && now.0 != told.0 {
            tell(&[NotifyState::Status(&now.0)]);
        }
        // A run that hangs must not look alive: only a step forward is a sign of life.
        if watchdog.is_some() && now.1 != told.1 {
            tell(&[NotifyState::Watchdog]);
        }
        told = now;
    };
    tell(&[NotifyState::Stopping, NotifyState::Status(&how)]);
}

fn tell(state: &[NotifyState<'_>]) {
    // The manager may have gone away; the run goes on without it.
    let _ = sd_notify::notify(state);
}
