//! When a shared pool is published through the `metrics` facade.

use super::{SharedManager, inner::Inner};
use crate::{
    moment::Moment,
    observe::{INTERVAL, Shares, Snapshot, Status},
};

impl<M: SharedManager> Inner<M> {
    /// Publishes, if the last time is long enough ago. When to come again: who takes a share wakes nobody, so as long as anything is
    /// open.
    pub(super) fn publish_if_due(&self, now: Moment) -> Moment {
        let next = self
            .publisher
            .publish_if_due(&self.name, now, || self.for_publishing());
        if next == Moment::NEVER && self.status().open > 0 {
            now + INTERVAL
        } else {
            next
        }
    }

    /// Publishes now.
    pub(super) fn publish(&self) {
        self.publisher.publish(&self.name, || self.for_publishing());
    }

    fn for_publishing(&self) -> Snapshot {
        let of = self.status();
        let shares = Shares {
            used: of.shares,
            free: of.available,
        };
        let open = of.open + of.draining + of.dead;
        let status = Status {
            max_size: of.max_size,
            open,
            idle: of.unused,
            leased: open - of.unused,
            ..Self::in_shares(of)
        };
        Snapshot {
            status,
            timings: self.links.timings(),
            min_idle: self.config.min_idle,
            shares: Some(shares),
        }
    }
}

impl<M: SharedManager> Drop for Inner<M> {
    /// The last share was given back and the last connection closed: what nobody was told yet, and that nothing is left.
    fn drop(&mut self) {
        self.publisher.retire(&self.name, || self.for_publishing());
    }
}
