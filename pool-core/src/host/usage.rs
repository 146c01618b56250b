//! The history of a resource.

use std::time::Duration;

use crate::moment::Moment;

/// The history of a resource, as far as the pool knows it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Usage {
    pub(crate) opened_at: Moment,
    pub(crate) idle_since: Moment,
    pub(crate) now: Moment,
    /// How often the resource was leased.
    pub leases: u64,
    /// Whether `check_after` has passed since the resource was opened, checked or reset. It may have been returned a moment ago; if
    /// [`is_broken`](crate::Manager::is_broken) does not detect a dead connection, a return says nothing about its health.
    pub check_due: bool,
    /// Whether the last call on the resource was dropped before it ended, or a caller tainted the resource.
    pub tainted: bool,
}

impl Usage {
    /// How long ago the resource was opened.
    pub fn age(&self) -> Duration {
        self.now - self.opened_at
    }

    /// How long ago the resource was last used: returned, or opened. In [`needs_reset`](crate::Manager::needs_reset) and
    /// [`reset`](crate::Manager::reset), this counts from before the lease that has just ended.
    pub fn idle(&self) -> Duration {
        self.now - self.idle_since
    }
}
