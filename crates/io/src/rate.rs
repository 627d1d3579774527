//! A limit in bytes per second that several threads share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cancel::{Cancel, Cancelled};

/// Cheap to clone; all clones share one budget.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    limit: Option<Arc<Limit>>,
}

#[derive(Debug)]
struct Limit {
    bytes_per_second: u64,
    /// When everything that was granted so far will have been paid for.
    paid_at: Mutex<Option<Instant>>,
}

impl Rate {
    pub fn unlimited() -> Rate {
        Rate::default()
    }

    /// 0 means no limit.
    pub fn per_second(bytes: u64) -> Rate {
        let limit =
            (bytes > 0).then(|| Arc::new(Limit { bytes_per_second: bytes, paid_at: Mutex::new(None) }));
        Rate { limit }
    }

    /// Waits until `bytes` more may be moved.
    ///
    /// # Errors
    /// When the work was told to stop meanwhile.
    pub fn take(&self, bytes: u64, cancel: &Cancel) -> Result<(), Cancelled> {
        let Some(limit) = &self.limit else { return cancel.check() };
        let pause = limit.reserve(Instant::now(), bytes);
        if pause.is_zero() { cancel.check() } else { cancel.sleep(pause) }
    }
}

impl Limit {
    /// The wait before these bytes may be moved: until the bytes granted earlier are paid for.
    fn reserve(&self, now: Instant, bytes: u64) -> Duration {
        let cost = Duration::from_nanos(
            u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second))
                .unwrap_or(u64::MAX),
        );
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = paid_at.map_or(now, |at| at.max(now));
        *paid_at = start.checked_add(cost).or(Some(start));
        start.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_bytes_wait_for_earlier_ones() {
        let limit = Limit { bytes_per_second: 1000, paid_at: Mutex::new(None) };
        let now = Instant::now();
        assert_eq!(limit.reserve(now, 500), Duration::ZERO);
        assert_eq!(limit.reserve(now, 1000), Duration::from_millis(500));
        assert_eq!(limit.reserve(now, 1), Duration::from_millis(1500));
        let later = now + Duration::from_secs(10);
        assert_eq!(limit.reserve(later, 1000), Duration::ZERO, "an idle time is not saved up");
        assert_eq!(limit.reserve(later, 1), Duration::from_secs(1));
    }

    #[test]
    fn no_limit_never_waits_but_watches() {
        let cancel = Cancel::new();
        assert!(Rate::unlimited().take(u64::MAX, &cancel).is_ok());
        assert!(Rate::per_second(0).take(u64::MAX, &cancel).is_ok());
        cancel.cancel("x");
        assert!(Rate::unlimited().take(1, &cancel).is_err());
        let rate = Rate::per_second(1);
        assert!(rate.take(1, &cancel).is_err());
        assert!(rate.take(1, &cancel).is_err());
    }
}
