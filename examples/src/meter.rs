//! Counts what is opened, and how much of it is open at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one kind of thing: connections, or threads at work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    opened: AtomicU64,
    open: AtomicU64,
    peak: AtomicU64,
}

/// One open thing; it counts as open until this is dropped.
#[derive(Debug)]
pub(crate) struct Opened(Arc<Counters>);

impl Meter {
    /// Counts one more.
    pub(crate) fn open(&self) -> Opened {
        // Ordering: Relaxed throughout. These are statistics; nothing is published through them.
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        let open = self.0.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.peak.fetch_max(open, Ordering::Relaxed);
        Opened(Arc::clone(&self.0))
    }

    /// Counts one more that stays open.
    pub(crate) fn open_for_good(&self) {
        std::mem::forget(self.open());
    }

    /// Tells how many were opened since the start.
    pub(crate) fn opens(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let counters = Arc::clone(&self.0);
        move || counters.opened.load(Ordering::Relaxed)
    }

    /// Tells how many are open now.
    pub(crate) fn open_now(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Tells the most that were open at once.
    pub(crate) fn peaks(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let counters = Arc::clone(&self.0);
        move || counters.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_stays_when_things_close() {
        let meter = Meter::default();
        let first = meter.open();
        drop(meter.open());
        drop(first);
        let _third = meter.open();
        assert_eq!(
            (meter.opens()(), meter.open_now(), meter.peaks()()),
            (3, 1, 2)
        );
    }
}
