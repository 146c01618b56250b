//! Where the publisher of a pool lies.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{MetricNames, Publisher, Snapshot};
use crate::{moment::Moment, pool::caught};

/// Where the publisher of a pool lies, for one keeper after the other. Whoever publishes takes it off meanwhile: no recorder is
/// called with this locked. Who finds it taken off has nothing to tell: the other one does.
pub(crate) struct Desk(Mutex<Option<Publisher>>);

impl Desk {
    pub(crate) fn new(names: MetricNames) -> Self {
        Self(Mutex::new(Some(Publisher::new(names))))
    }

    /// Publishes, if the last time is long enough ago. When to come again; never, if the pool is at rest.
    pub(crate) fn publish_if_due(
        &self,
        pool: &Arc<str>,
        now: Moment,
        snapshot: impl FnOnce() -> Snapshot,
    ) -> Moment {
        let publish = |publisher: &mut Publisher| publisher.publish_if_due(pool, now, snapshot);
        self.with(publish).unwrap_or(Moment::NEVER)
    }

    /// Publishes now.
    pub(crate) fn publish(&self, pool: &Arc<str>, snapshot: impl FnOnce() -> Snapshot) {
        self.with(|publisher| publisher.publish(pool, snapshot()));
    }

    /// Publishes for the last time: the pool is gone.
    pub(crate) fn retire(&self, pool: &Arc<str>, snapshot: impl FnOnce() -> Snapshot) {
        self.with(|publisher| publisher.retire(pool, snapshot()));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Publisher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when the recorder panicked, or another one is at it.
    fn with<T>(&self, publish: impl FnOnce(&mut Publisher) -> T) -> Option<T> {
        let mut publisher = self.lock().take()?;
        let outcome = caught(|| publish(&mut publisher));
        *self.lock() = Some(publisher);
        outcome.ok()
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new(MetricNames::default())
    }
}
