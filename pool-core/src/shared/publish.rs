//! When a shared pool is published through the `metrics` facade.

use std::sync::Arc;

use super::{SharedManager, inner::Inner};
use crate::{
    moment::Moment,
    observe::{Desk, INTERVAL, Published, Shares, Snapshot, Status},
};

impl<M: SharedManager> Inner<M> {
    /// As [`publish_if_due`](Published::publish_if_due). Who takes a share wakes nobody: so it comes again as long as anything is open.
    pub(super) fn publish_round(&self, now: Moment) -> Moment {
        let next = self.publish_if_due(now, self.links.is_closed());
        if next == Moment::NEVER && self.links.alive() > 0 {
            now + INTERVAL
        } else {
            next
        }
    }
}

impl<M: SharedManager> Published for Inner<M> {
    fn desk(&self) -> &Desk {
        &self.publisher
    }

    fn name(&self) -> &Arc<str> {
        &self.name
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
        self.retire();
    }
}
