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
    /// When this lease began, if it is being timed.
    pub(crate) timed_from: Option<Moment>,
    /// The tick at which a lease was timed last.
    pub(crate) timed_at: Moment,
    /// Leases so far.
    pub(crate) uses: u64,
    pub(crate) generation: u64,
    pub(crate) tainted: bool,
    /// A replacement was ordered; it goes when that one is there.
    pub(crate) replaced: bool,
    pub(crate) seat: Seat<T, E>,
}

/// An idle slot, with what decides whether it can be handed out as it is: the slot itself may be in another core's cache.
#[derive(Debug)]
pub(super) struct Idle<T, E: Clone> {
    pub(super) slot: Box<Slot<T, E>>,
    pub(super) seat: u32,
    /// From then on it must be checked first, or its lifetime is over.
    pub(super) ready_until: Moment,
}

impl<T, E: Clone> Idle<T, E> {
    #[inline]
    pub(super) fn new(slot: Box<Slot<T, E>>, check_after_nanos: u64) -> Self {
        let ready_until = slot.used_at.later(check_after_nanos).min(slot.expires_at);
        Self {
            seat: slot.seat.index(),
            ready_until,
            slot,
        }
    }
}
