//! One open resource with what the pool knows of it.

use std::sync::Arc;

use super::{
    mutation::{self, Mutation},
    seat::Seat,
    tag::Tag,
};
use crate::moment::Moment;

/// An open resource on its seat. It moves as one box: idle list, waiter, lease, task. Whoever drops it frees the seat.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot<T, E: Clone> {
    // Before the seat: what is dropped first is gone when its place is given away.
    pub(crate) item: T,
    pub(crate) opened_at: Moment,
    /// When its lifetime ends.
    pub(crate) expires_at: Moment,
    /// When it was last known to be good: opened, checked or returned.
    pub(crate) used_at: Moment,
    /// From then on it must be looked at, however busy it is: `check_after` after it was opened, checked or reset.
    pub(crate) check_due_at: Moment,
    /// When it was last used by somebody: opened or returned. Keepalive checks do not count.
    pub(crate) idle_since: Moment,
    /// When this lease began, if it is being timed.
    pub(crate) timed_from: Option<Moment>,
    /// The tick at which a lease was timed last.
    pub(crate) timed_at: Moment,
    /// How often it had been had when a timed lease ended last: those since are what the next stands for.
    pub(crate) weighed: u64,
    /// Who has it, and how often it was had.
    pub(crate) tag: Arc<Tag>,
    pub(crate) generation: u64,
    pub(crate) tainted: bool,
    /// A replacement was ordered; it goes when that one is there.
    pub(crate) replaced: bool,
    pub(crate) seat: Seat<T, E>,
}

impl<T, E: Clone> Slot<T, E> {
    /// May it be handed out as it is: known to be good not longer than `check_after_nanos` ago, within its lifetime, and of this
    /// generation?
    #[inline]
    pub(super) fn is_ready(&self, now: Moment, check_after_nanos: u64, generation: u64) -> bool {
        !now.is_past(self.used_at, check_after_nanos)
            && now < self.expires_at
            && (self.generation == generation || mutation::on(Mutation::GetIgnoresGeneration))
    }
}
