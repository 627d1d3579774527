//! Progress on stderr: one block that redraws itself on a terminal, a line now and then elsewhere, nothing when asked
//! to be quiet. The libraries only report through [`Progress`]; what that looks like is decided here and nowhere else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use reseed_io::Progress;
use tracing_subscriber::fmt::MakeWriter;

use crate::units::{Size, Time};

/// A run that is over sooner never flickers.
const FIRST_DRAW: Duration = Duration::from_millis(250);
const REDRAW: Duration = Duration::from_millis(200);
/// Without a terminal: how often a line is written.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// An ETA made of less than this is a guess.
const ETA_AFTER: Duration = Duration::from_secs(1);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Terminal,
    Lines,
    Nothing,
}

impl Style {
    /// What fits this process's stderr.
    pub fn of_stderr(quiet: bool) -> Style {
        if quiet {
            Style::Nothing
        } else if io::stderr().is_terminal() {
            Style::Terminal
        } else {
            Style::Lines
        }
    }
}

/// The one drawer of a process. Clones draw on the same block.
#[derive(Debug, Clone)]
pub struct Drawer {
    style: Style,
    bar: ProgressBar,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    done: AtomicU64,
    signs: AtomicU64,
    phase: Mutex<Phase>,
    over: Condvar,
}

#[derive(Debug, Clone, Default)]
struct Phase {
    name: String,
    total: Option<u64>,
    since: Option<Instant>,
    /// Where the phase stands, for phases that are not measured in bytes.
    status: String,
    gauges: BTreeMap<&'static str, u64>,
    /// The process has nothing more to show.
    closed: bool,
}

impl Drawer {
    pub fn new(style: Style) -> Drawer {
        let drawer = Drawer {
            style,
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            shared: Arc::default(),
        };
        drawer.set_style(None);
        if style != Style::Nothing {
            let clock = drawer.clone();
            // Without this thread there is just no progress to be seen.
            let _ = thread::Builder::new().name("progress".to_owned()).spawn(move || clock.run());
        }
        drawer
    }

    /// Takes the block away for good, so that what follows stands on clean lines.
    pub fn close(&self) {
        self.phase().closed = true;
        self.shared.over.notify_all();
        self.bar.finish_and_clear();
    }

    /// A line of the summary: shown unless the user wants quiet.
    pub fn say(&self, text: &str) {
        if self.style != Style::Nothing {
            self.line(text);
        }
    }

    /// A line that is shown even to who wants quiet: somebody else's error.
    pub fn tell(&self, text: &str) {
        self.line(text);
    }

    /// Says in words where the phase stands.
    pub fn status(&self, text: &str) {
        self.sign_of_life();
        text.clone_into(&mut self.phase().status);
    }

    /// Where the run stands, in a line; empty between phases.
    pub fn describe(&self) -> String {
        let phase = self.phase().clone();
        let Some(since) = phase.since else { return String::new() };
        let done = self.shared.done.load(Ordering::Relaxed);
        let elapsed = since.elapsed();
        let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
        format!("{}: {}", phase.name, describe(&phase, done, rate, elapsed))
    }

    /// Grows whenever the run has come a step further.
    pub fn signs_of_life(&self) -> u64 {
        self.shared.signs.load(Ordering::Relaxed)
    }

    fn sign_of_life(&self) {
        self.shared.signs.fetch_add(1, Ordering::Relaxed);
    }

    /// Does something with the block out of the way.
    pub fn hidden<T>(&self, what: impl FnOnce() -> T) -> T {
        self.bar.suspend(what)
    }

    /// Writes a line that stays, above the block.
    fn line(&self, text: &str) {
        // stderr may be gone; there is nobody left to tell.
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock of the process: reveals the block on a terminal, writes the lines elsewhere.
    fn run(self) {
        let wait = if self.style == Style::Terminal { FIRST_DRAW } else { LINE_EVERY };
        loop {
            let held = self.phase();
            let (held, _) = self
                .shared
                .over
                .wait_timeout_while(held, wait, |phase| !phase.closed)
                .unwrap_or_else(PoisonError::into_inner);
            if held.closed {
                return;
            }
            drop(held);
            if self.style == Style::Terminal {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
                self.bar.enable_steady_tick(REDRAW);
                return;
            }
            let text = self.describe();
            if !text.is_empty() {
                self.line(&text);
            }
        }
    }

    fn set_style(&self, total: Option<u64>) {
        let template = match total {
            Some(_) => "{prefix} [{bar:12}] {figures}",
            None => "{prefix} {spinner} {figures}",
        };
        let shared = Arc::clone(&self.shared);
        let figures = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let phase = shared.phase.lock().unwrap_or_else(PoisonError::into_inner);
            let elapsed = phase.since.map(|since| since.elapsed()).unwrap_or_default();
            // A failed write leaves a line short; the next one is drawn in a moment.
            let _ = out.write_str(&describe(&phase, state.pos(), state.per_sec(), elapsed));
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> ").tick_chars("|/-\\ ").with_key("figures", figures));
        }
    }
}

/// `1.2 GiB of 3.4 GiB (35 %), 210 MiB/s, 7 s left, redo lag 1.2 MiB`
fn describe(phase: &Phase, done: u64, rate: f64, elapsed: Duration) -> String {
    let mut text = String::new();
    match phase.total {
        Some(total) if total > 0 => {
            let percent = (done as f64 / total as f64 * 100.0).min(100.0);
            let _ = write!(text, "{} of {} ({percent:.0} %)", Size(done), Size(total));
        }
        _ if !phase.status.is_empty() => text.push_str(&phase.status),
        _ if done > 0 => {
            let _ = write!(text, "{}", Size(done));
        }
        _ => {
            let _ = write!(text, "for {} s", elapsed.as_secs());
        }
    }
    if done > 0 && rate >= 1.0 {
        let _ = write!(text, ", {}/s", Size(rate as u64));
        if let Some(left) = phase.total.and_then(|total| total.checked_sub(done))
            && left > 0
            && elapsed >= ETA_AFTER
        {
            let seconds = (left as f64 / rate).ceil();
            let _ = match seconds < 60.0 {
                true => write!(text, ", {seconds} s left"),
                false => write!(text, ", {} left", Time::seconds(seconds)),
            };
        }
    }
    for (name, value) in phase.gauges.iter().filter(|(_, value)| **value > 0) {
        let _ = write!(text, ", {name} {}", Size(*value));
    }
    text
}

impl Progress for Drawer {
    fn start(&self, phase: &str, total: Option<u64>) {
        self.sign_of_life();
        {
            let mut now = self.phase();
            *now = Phase {
                name: phase.to_owned(),
                total,
                since: Some(Instant::now()),
                closed: now.closed,
                ..Phase::default()
            };
            self.shared.done.store(0, Ordering::Relaxed);
        }
        if self.style == Style::Terminal {
            self.bar.reset();
            self.set_style(total);
            self.bar.set_length(total.unwrap_or(0));
            self.bar.set_prefix(phase.to_owned());
        }
    }

    fn advance(&self, bytes: u64) {
        self.sign_of_life();
        self.shared.done.fetch_add(bytes, Ordering::Relaxed);
        if self.style == Style::Terminal {
            self.bar.inc(bytes);
        }
    }

    fn set_total(&self, total: u64) {
        self.phase().total = Some(total);
        if self.style == Style::Terminal {
            self.bar.set_length(total);
        }
    }

    fn gauge(&self, name: &'static str, value: u64) {
        if self.phase().gauges.insert(name, value) != Some(value) {
            self.sign_of_life();
        }
    }

    fn note(&self, text: &str) {
        self.sign_of_life();
        self.say(text);
    }

    fn finish(&self) {
        self.sign_of_life();
        self.phase().since = None;
    }
}

/// Log lines go through the drawer, so that they never land inside the block.
#[derive(Debug)]
pub struct LogLine {
    drawer: Drawer,
    line: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        self.drawer.bar.suspend(|| {
            let _ = io::stderr().lock().write_all(&self.line);
        });
    }
}

impl<'a> MakeWriter<'a> for Drawer {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine { drawer: self.clone(), line: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_how_far_and_how_long() {
        let phase =
            Phase { total: Some(4 << 30), gauges: [("redo lag", 1 << 20)].into(), ..Phase::default() };
        let half = describe(&phase, 2 << 30, f64::from(256 << 20), Duration::from_secs(8));
        assert_eq!(half, "2 GiB of 4 GiB (50 %), 256 MiB/s, 8 s left, redo lag 1 MiB");
        let unknown = describe(&Phase::default(), 0, 0.0, Duration::from_secs(12));
        assert_eq!(unknown, "for 12 s");
        // More than was expected must not show "left" or 101 %.
        let over = describe(&Phase { total: Some(10), ..Phase::default() }, 11, 5.0, Duration::from_secs(2));
        assert_eq!(over, "11 B of 10 B (100 %), 5 B/s");
    }
}
