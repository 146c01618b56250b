//! When a pool is published through the `metrics` facade.

use std::sync::Arc;

use super::{Manager, shared::Shared};
use crate::observe::{Desk, MetricNames, Published, Snapshot};

impl<M: Manager> Shared<M> {
    pub(super) fn published_as(mut self, names: MetricNames) -> Self {
        self.publisher = Desk::new(names);
        self
    }
}

impl<M: Manager> Published for Shared<M> {
    fn desk(&self) -> &Desk {
        &self.publisher
    }

    fn name(&self) -> &Arc<str> {
        &self.name
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
        self.retire();
    }
}
