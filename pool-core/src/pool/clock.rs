//! What time it is, to the precision that it is needed.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::moment::Moment;

/// The clock of one pool: exact where that matters, and a coarse tick for the hot path.
///
/// Reading the clock costs as much as getting and giving back a resource. So while the pool is in use its keeper advances a
/// tick, every 10 ms, and the hot path reads that. When nothing happened between two ticks the tick stops, and the next
/// reader takes the exact time and starts it again: an unused pool wakes nobody.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    tick: AtomicU64,
}

/// The tick stands still.
const STOPPED: u64 = u64::MAX;

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            tick: AtomicU64::new(STOPPED),
        }
    }

    /// The exact time.
    pub(crate) fn now(&self) -> Moment {
        Moment::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The tick, if it runs.
    #[inline]
    pub(crate) fn ticked(&self) -> Option<Moment> {
        // Ordering: the value is all there is; nothing else is published with it.
        let nanos = self.tick.load(Ordering::Relaxed);
        (nanos != STOPPED).then(|| Moment::from_nanos(nanos))
    }

    /// Starts the tick at `now`. Was it standing still?
    pub(crate) fn start(&self, now: Moment) -> bool {
        let stopped = self.tick.compare_exchange(
            STOPPED,
            now.as_nanos(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        stopped.is_ok()
    }

    /// Advances the tick. It may stand still: then it stays so.
    pub(crate) fn advance(&self, now: Moment) {
        let running = |nanos| (nanos != STOPPED).then_some(now.as_nanos());
        let _ = self
            .tick
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, running);
    }

    /// Stops the tick.
    pub(crate) fn stop(&self) {
        self.tick.store(STOPPED, Ordering::Relaxed);
    }

    /// When that is on the runtime's clock. Never is in 30 years.
    pub(crate) fn instant(&self, at: Moment) -> Instant {
        const FAR: std::time::Duration = std::time::Duration::from_secs(30 * 365 * 86_400);
        self.epoch + at.since(Moment::from_nanos(0)).min(FAR)
    }

    /// What a time on the runtime's clock is here.
    pub(crate) fn moment(&self, at: Instant) -> Moment {
        Moment::from_nanos(0) + at.saturating_duration_since(self.epoch)
    }
}
