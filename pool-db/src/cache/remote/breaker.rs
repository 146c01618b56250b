//! Leaves a second layer alone whose operations fail.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// After so many failures in a row, one operation an interval is tried, and the others are not, until one succeeds.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    /// The time of the next try while it is shut, in nanoseconds; 0 while it is open.
    retry_at: AtomicU64,
}

impl Breaker {
    /// Whether an operation may be tried now. If it is shut, the next one may after `retry`.
    ///
    /// Ordering: Relaxed in all of it. It guards no data, and one operation more or less does no harm.
    pub(super) fn admits(&self, now: u64, retry: u64) -> bool {
        let at = self.retry_at.load(Relaxed);
        if at == 0 {
            return true;
        }
        let next = now.saturating_add(retry).max(1);
        now >= at
            && self
                .retry_at
                .compare_exchange(at, next, Relaxed, Relaxed)
                .is_ok()
    }

    pub(super) fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        if self.retry_at.load(Relaxed) != 0 {
            self.retry_at.store(0, Relaxed);
        }
    }

    pub(super) fn failed(&self, now: u64, retry: u64) {
        let before = self.failures.fetch_add(1, Relaxed);
        if before.saturating_add(1) >= FAILURES {
            self.retry_at
                .store(now.saturating_add(retry).max(1), Relaxed);
        }
    }

    pub(super) fn is_shut(&self) -> bool {
        self.retry_at.load(Relaxed) != 0
    }
}

/// So many failures in a row shut it.
const FAILURES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_shut_it_and_a_success_opens_it() {
        let breaker = Breaker::default();
        breaker.failed(0, 100);
        breaker.failed(0, 100);
        breaker.succeeded();
        for _ in 0..2 {
            breaker.failed(0, 100);
            assert!(breaker.admits(0, 100) && !breaker.is_shut());
        }
        breaker.failed(10, 100);
        assert!(!breaker.admits(109, 100));
        let tries = (0..5).filter(|_| breaker.admits(110, 100)).count();
        assert_eq!(tries, 1, "one finds out for all");
        assert!(!breaker.admits(209, 100));
        assert!(breaker.admits(210, 100));
        breaker.succeeded();
        assert!(breaker.admits(211, 100) && !breaker.is_shut());
    }
}
