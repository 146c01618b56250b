//! When a pool is published through the `metrics` facade.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Manager, caught::caught, shared::Shared};
use crate::{
    moment::Moment,
    observe::{MetricNames, Publisher, Snapshot},
};

/// Where the publisher of a pool lies, for one keeper after the other. Whoever publishes takes it off meanwhile: no recorder is
/// called with this locked.
#[derive(Default)]
pub(super) struct Desk(Mutex<Publisher>);

impl Desk {
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
        self.publisher = Desk(Mutex::new(Publisher::new(names)));
        self
    }

    /// Publishes, if the last time is long enough ago. When to come again; never, if the next use of the pool brings the keeper.
    pub(super) fn publish_if_due(&self, now: Moment) -> Moment {
        let publish = |publisher: &mut Publisher| {
            publisher.publish_if_due(&self.name, now, || self.for_publishing())
        };
        self.publisher.with(publish).unwrap_or(Moment::NEVER)
    }

    /// Publishes now.
    pub(super) fn publish(&self) {
        let publish = |publisher: &mut Publisher| {
            publisher.publish(&self.name, self.for_publishing());
        };
        self.publisher.with(publish);
    }

    fn for_publishing(&self) -> Snapshot {
        Snapshot {
            status: self.status(),
            timings: self.timings(),
            min_idle: self.config.min_idle,
        }
    }
}

impl<M: Manager> Drop for Shared<M> {
    /// The last lease was given back and the last resource closed: what nobody was told yet, and that nothing is left.
    fn drop(&mut self) {
        let retire = |publisher: &mut Publisher| {
            publisher.retire(&self.name, self.for_publishing());
        };
        self.publisher.with(retire);
    }
}
