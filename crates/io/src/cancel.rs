//! One token that everything long-running watches. Whoever cancels gives the reason, and the first reason stays.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Cheap to clone; all clones are one token.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    reason: Mutex<Option<String>>,
    changed: Condvar,
    children: Mutex<Vec<Weak<Inner>>>,
}

/// The work was told to stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stopped: {reason}")]
pub struct Cancelled {
    pub reason: String,
}

impl Cancel {
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Tells everybody to stop. Later calls change nothing.
    pub fn cancel(&self, reason: impl Into<String>) {
        let mut held = self.inner.reason.lock().unwrap_or_else(PoisonError::into_inner);
        held.get_or_insert_with(|| reason.into());
        self.inner.cancelled.store(true, Ordering::Release);
        self.inner.changed.notify_all();
        let reason = held.clone().unwrap_or_default();
        drop(held);
        let children = std::mem::take(&mut *self.children());
        for inner in children.iter().filter_map(Weak::upgrade) {
            Cancel { inner }.cancel(reason.clone());
        }
    }

    /// A token that is cancelled with this one, and that can be cancelled alone: for a part that may fail.
    pub fn child(&self) -> Cancel {
        let child = Cancel::new();
        self.children().push(Arc::downgrade(&child.inner));
        // Who cancels meanwhile may have looked before.
        if let Err(Cancelled { reason }) = self.check() {
            child.cancel(reason);
        }
        child
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Inner>>> {
        self.inner.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.load(Ordering::Acquire)
    }

    /// # Errors
    /// When the work was told to stop.
    pub fn check(&self) -> Result<(), Cancelled> {
        if !self.is_cancelled() {
            return Ok(());
        }
        let held = self.inner.reason.lock().unwrap_or_else(PoisonError::into_inner);
        Err(Cancelled { reason: held.clone().unwrap_or_default() })
    }

    /// Sleeps for `pause`, and wakes at once when the work is told to stop.
    ///
    /// # Errors
    /// When the work was told to stop.
    pub fn sleep(&self, pause: Duration) -> Result<(), Cancelled> {
        let until = Instant::now() + pause;
        let mut held = self.inner.reason.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(reason) = held.as_ref() {
                return Err(Cancelled { reason: reason.clone() });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            held = self.inner.changed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let cancel = Cancel::new();
        assert_eq!(cancel.check(), Ok(()));
        let other = cancel.clone();
        other.cancel("interrupted");
        other.cancel("again");
        assert_eq!(cancel.check(), Err(Cancelled { reason: "interrupted".into() }));
        assert!(
            cancel.sleep(Duration::from_secs(3600)).is_err(),
            "a sleeper must not outlast the cancellation"
        );
    }

    #[test]
    fn a_child_goes_with_its_parent_and_not_the_other_way() {
        let parent = Cancel::new();
        let (one, other) = (parent.child(), parent.child());
        one.cancel("failed");
        assert!(!parent.is_cancelled() && !other.is_cancelled());
        let sleeper = std::thread::spawn({
            let other = other.clone();
            move || other.sleep(Duration::from_secs(3600))
        });
        parent.cancel("interrupted");
        assert_eq!(sleeper.join().unwrap(), Err(Cancelled { reason: "interrupted".into() }));
        assert_eq!(one.check(), Err(Cancelled { reason: "failed".into() }));
        assert!(parent.child().is_cancelled());
    }

    #[test]
    fn a_sleeper_is_woken() {
        let cancel = Cancel::new();
        let sleeper = std::thread::spawn({
            let cancel = cancel.clone();
            move || cancel.sleep(Duration::from_secs(3600))
        });
        cancel.cancel("enough");
        assert_eq!(sleeper.join().unwrap(), Err(Cancelled { reason: "enough".into() }));
    }
}
