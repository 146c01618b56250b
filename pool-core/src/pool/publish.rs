//! When a pool is published through the `metrics` facade.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Manager, caught::caught, shared::Shared};
use crate::{
    moment::Moment,
    observe::{MetricNames, Publisher, Snapshot},
};

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

impl<M: Manager> Shared<M> {
    pub(super) fn published_as(mut self, names: MetricNames) -> Self {
        self.publisher = Desk::new(names);
        self
    }

    /// Publishes, if the last time is long enough ago. When to come again; never, if the next use of the pool brings the keeper.
    pub(super) fn publish_if_due(&self, now: Moment) -> Moment {
        let snapshot = || self.for_publishing();
        self.publisher.publish_if_due(&self.name, now, snapshot)
    }

    /// Publishes now.
    pub(super) fn publish(&self) {
        self.publisher.publish(&self.name, || self.for_publishing());
    }

    fn for_publishing(&self) -> Snapshot {
        Snapshot {
            status: self.status(),
            timings: self.timings(),
            min_idle: self.config.min_idle,
            shares: None,
        }
    }
}

impl<M: Manager> Drop for Shared<M> {
    /// The last lease was given back and the last resource closed: what nobody was told yet, and that nothing is left.
    fn drop(&mut self) {
        self.publisher.retire(&self.name, || self.for_publishing());
    }
}
