//! What a resource has been through.

use std::time::Duration;

use crate::moment::Moment;

/// What a resource has been through, as far as the pool knows.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Usage {
    pub(crate) opened_at: Moment,
    pub(crate) idle_since: Moment,
    pub(crate) now: Moment,
    /// How often it was leased.
    pub leases: u64,
    /// Has `check_after` passed since it was opened, checked or reset? It may have been given back a moment ago: where
    /// [`is_broken`](crate::Manager::is_broken) sees little, that says nothing about its health.
    pub check_due: bool,
    /// Was the last operation on it dropped half-way, or was it tainted by hand?
    pub tainted: bool,
}

impl Usage {
    /// How long ago it was opened.
    pub fn age(&self) -> Duration {
        self.now - self.opened_at
    }

    /// How long ago it was last used: given back, or opened. In [`needs_reset`](crate::Manager::needs_reset) and
    /// [`reset`](crate::Manager::reset) that is before the lease that has just ended.
    pub fn idle(&self) -> Duration {
        self.now - self.idle_since
    }
}
