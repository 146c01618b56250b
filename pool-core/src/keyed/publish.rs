//! When a keyed pool is published through the `metrics` facade: as one, all keys together.

use std::sync::Arc;

use super::{
    KeyedManager,
    inner::{Inner, status_of},
};
use crate::observe::{Desk, MetricNames, Published, Snapshot};

impl<K, M: KeyedManager<K>> Inner<K, M> {
    pub(super) fn published_as(mut self, names: MetricNames) -> Self {
        self.publisher = Desk::new(names);
        self
    }
}

impl<K, M: KeyedManager<K>> Published for Inner<K, M> {
    fn desk(&self) -> &Desk {
        &self.publisher
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn for_publishing(&self) -> Snapshot {
        Snapshot {
            status: status_of(&self.kernel.snapshot()),
            timings: self.timings(),
            min_idle: 0,
            shares: None,
        }
    }
}

impl<K, M: KeyedManager<K>> Drop for Inner<K, M> {
    /// The last lease was given back and the last resource closed: what nobody was told yet, and that nothing is left.
    fn drop(&mut self) {
        self.retire();
    }
}
