//! One open resource with what the pool knows of it.

use super::seat::Seat;
use crate::moment::Moment;

/// An open resource on its seat. It moves as one box: idle list, waiter, lease, task. Whoever drops it frees the seat.
#[derive(Debug)]
pub(crate) struct Slot<T, E: Clone> {
    // Before the seat: what is dropped first is gone when its place is given away.
    pub(crate) item: T,
    pub(crate) opened_at: Moment,
    /// When its lifetime ends.
    pub(crate) expires_at: Moment,
    /// When it was last known to be good: opened, checked or returned.
    pub(crate) used_at: Moment,
    /// When it was last used by somebody: opened or returned. Keepalive checks do not count.
    pub(crate) idle_since: Moment,
    /// When the lease that is being timed began (one in [`TIMED_EVERY`](super::stats::TIMED_EVERY) is).
    pub(crate) timed_from: Option<Moment>,
    /// Leases so far.
    pub(crate) uses: u64,
    pub(crate) generation: u64,
    pub(crate) tainted: bool,
    /// A replacement was ordered; it goes when that one is there.
    pub(crate) replaced: bool,
    pub(crate) seat: Seat<T, E>,
}
