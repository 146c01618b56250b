//! Holds the publisher of a pool.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{Host, Hosted, caught};
use crate::{
    moment::Moment,
    observe::{MetricNames, Publisher},
};

/// Holds the publisher of a pool, across its keepers. A thread that publishes takes the publisher out, so no recorder is called
/// with this locked. A thread that finds it taken out does nothing, because the other thread publishes.
pub(crate) struct Desk {
    publisher: Mutex<Option<Publisher>>,
    /// Whether it was published that the pool is closed.
    closed: AtomicBool,
}

/// A pool that is published.
pub(crate) trait Published: Hosted {
    /// Publishes if the last time is long enough ago. Also publishes once, at once, when the pool is `closed`. Returns when to come
    /// again; never, if the pool is at rest, because its next use brings the keeper.
    fn publish_if_due(&self, now: Moment, closed: bool) -> Moment {
        let Host { desk, name, .. } = self.host();
        let publish = |publisher: &mut Publisher| {
            publisher.publish_if_due(name, now, || self.for_publishing())
        };
        let next = desk.with(publish).unwrap_or(Moment::NEVER);
        // Ordering: Relaxed. The second thread has nothing to do.
        if closed && !desk.closed.swap(true, Relaxed) {
            self.publish();
        }
        next
    }

    /// Publishes now.
    fn publish(&self) {
        let Host { desk, name, .. } = self.host();
        desk.with(|publisher| publisher.publish(name, self.for_publishing()));
    }

    /// Publishes for the last time, when the last lease was returned and the last resource closed: what was not published yet, and
    /// that nothing is left.
    fn retire(&self) {
        let Host { desk, name, .. } = self.host();
        desk.with(|publisher| publisher.retire(name, self.for_publishing()));
    }
}

impl<P: Hosted> Published for P {}

impl Desk {
    pub(crate) fn new(names: MetricNames) -> Self {
        Self {
            publisher: Mutex::new(Some(Publisher::new(names))),
            closed: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Publisher>> {
        self.publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if the recorder panicked, or another thread is publishing.
    fn with<T>(&self, publish: impl FnOnce(&mut Publisher) -> T) -> Option<T> {
        let mut publisher = self.lock().take()?;
        let outcome = caught(|| publish(&mut publisher));
        *self.lock() = Some(publisher);
        outcome.ok()
    }
}
