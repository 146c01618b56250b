//! When a pool is published through the `metrics` facade.

use super::{Manager, shared::Shared};
use crate::{
    moment::Moment,
    observe::{Desk, MetricNames, Snapshot},
};

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
