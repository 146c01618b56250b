//! Where the publisher of a pool lies.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{Host, Hosted, caught};
use crate::{
    moment::Moment,
    observe::{MetricNames, Publisher},
};

/// Where the publisher of a pool lies, for one keeper after the other. Whoever publishes takes it off meanwhile: no recorder is
/// called with this locked. Who finds it taken off has nothing to tell: the other one does.
pub(crate) struct Desk {
    publisher: Mutex<Option<Publisher>>,
    /// It was told that the pool is closed.
    closed: AtomicBool,
}

/// A pool that is published.
pub(crate) trait Published: Hosted {
    /// Publishes, if the last time is long enough ago, and once when it is `closed`: that is told at once. When to come again; never,
    /// if the pool is at rest, and its next use brings the keeper.
    fn publish_if_due(&self, now: Moment, closed: bool) -> Moment {
        let Host { desk, name, .. } = self.host();
        let publish = |publisher: &mut Publisher| {
            publisher.publish_if_due(name, now, || self.for_publishing())
        };
        let next = desk.with(publish).unwrap_or(Moment::NEVER);
        // Ordering: Relaxed, whoever is second has nothing to do.
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

    /// Publishes for the last time: the last lease was given back and the last resource closed. What nobody was told yet, and that
    /// nothing is left.
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

    /// `None` when the recorder panicked, or another one is at it.
    fn with<T>(&self, publish: impl FnOnce(&mut Publisher) -> T) -> Option<T> {
        let mut publisher = self.lock().take()?;
        let outcome = caught(|| publish(&mut publisher));
        *self.lock() = Some(publisher);
        outcome.ok()
    }
}
