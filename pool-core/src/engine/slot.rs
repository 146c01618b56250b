//! The slot: an open resource, with what the pool knows about it.

use std::sync::Arc;

use super::{
    mutation::{self, Mutation},
    seat::Seat,
    tag::Tag,
};
use crate::moment::Moment;

/// An open resource on its seat. It moves as one box between the idle set, a waiter's mail, a lease and a task. Its drop frees the
/// seat.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot<T, E: Clone> {
    // Declared before `seat`, so the resource is dropped before its seat is free.
    pub(crate) item: T,
    pub(crate) opened_at: Moment,
    /// When the lifetime of the resource ends.
    pub(crate) expires_at: Moment,
    /// When the resource was last known to be good: opened, checked, reset or returned.
    pub(crate) used_at: Moment,
    /// From then on the resource must be checked, however busy it is: `check_after` after it was opened, checked or reset.
    pub(crate) check_due_at: Moment,
    /// When the resource was last in use: opened or returned. Keepalive checks do not count.
    pub(crate) idle_since: Moment,
    /// When the current lease began, if it is timed.
    pub(crate) timed_from: Option<Moment>,
    /// The tick of the last lease that was timed.
    pub(crate) timed_at: Moment,
    /// The number of leases when the last timed lease ended. The next sample stands for the leases since.
    pub(crate) weighed: u64,
    /// The holder, and how often the resource was leased.
    pub(crate) tag: Arc<Tag>,
    pub(crate) generation: u64,
    pub(crate) tainted: bool,
    /// A replacement was ordered. This resource is closed when the replacement is open.
    pub(crate) replaced: bool,
    pub(crate) seat: Seat<T, E>,
}

impl<T, E: Clone> Slot<T, E> {
    /// Whether the resource may be handed out as it is: it was known to be good within the last `check_after_nanos`, its lifetime
    /// is not over, and it is of this generation.
    #[inline]
    pub(super) fn is_ready(&self, now: Moment, check_after_nanos: u64, generation: u64) -> bool {
        !now.is_past(self.used_at, check_after_nanos)
            && now < self.expires_at
            && (self.generation == generation || mutation::on(Mutation::GetIgnoresGeneration))
    }
}
