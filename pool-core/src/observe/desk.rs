//! Where the publisher of a pool lies.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{MetricNames, Publisher, Snapshot};
use crate::{moment::Moment, pool::caught};

/// Where the publisher of a pool lies, for one keeper after the other. Whoever publishes takes it off meanwhile: no recorder is
/// called with this locked.
#[derive(Default)]
pub(crate) struct Desk(Mutex<Publisher>);

impl Desk {
    pub(crate) fn new(names: MetricNames) -> Self {
        Self(Mutex::new(Publisher::new(names)))
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

    fn lock(&self) -> MutexGuard<'_, Publisher> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when the recorder panicked.
    fn with<T>(&self, publish: impl FnOnce(&mut Publisher) -> T) -> Option<T> {
        let mut publisher = mem::take(&mut *self.lock());
        let outcome = caught(|| publish(&mut publisher));
        *self.lock() = publisher;
        outcome.ok()
    }
}
