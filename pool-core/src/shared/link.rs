//! One connection as the pool sees it.

use std::sync::Arc;

use crate::{
    engine::mutation::{self, Mutation},
    moment::Moment,
    observe::CloseReason,
};

#[derive(Debug)]
pub(super) struct Link<C> {
    pub(super) serial: u64,
    pub(super) phase: Phase,
    pub(super) connection: Option<Arc<C>>,
    pub(super) capacity: u32,
    pub(super) used: u32,
    pub(super) suspect: bool,
    /// When its open began.
    pub(super) began: Moment,
    pub(super) expires_at: Moment,
    /// Its time is over, and its replacement is being opened.
    pub(super) expired: bool,
    /// Since when the keeper has seen it without a share.
    pub(super) idle_since: Option<Moment>,
    pub(super) reason: CloseReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Free,
    Opening,
    Live,
    Draining,
    Dead,
    Closing,
}

/// Names a connection, also after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkId {
    pub(super) index: u32,
    pub(super) serial: u64,
}

/// One share of a connection. Whoever has it gives it back by [`Links::put`](super::links::Links::put).
#[derive(Debug)]
pub(super) struct Share<C> {
    pub(super) link: LinkId,
    pub(super) connection: Arc<C>,
}

impl<C> Link<C> {
    /// Does it go as soon as another is open?
    pub(super) fn is_replaced(&self) -> bool {
        self.expired && self.phase == Phase::Live
    }

    /// How many more shares it may give.
    #[inline]
    pub(super) fn room(&self) -> u32 {
        let takes =
            self.phase == Phase::Live && (!self.suspect || mutation::on(Mutation::ShareOfSuspect));
        if takes {
            self.capacity.saturating_sub(self.used)
        } else {
            0
        }
    }

    /// Is it less loaded than `other`, or loaded alike and younger?
    #[inline]
    pub(super) fn comes_before(&self, other: &Self) -> bool {
        let ours = u64::from(self.used) * u64::from(other.capacity);
        let theirs = u64::from(other.used) * u64::from(self.capacity);
        ours < theirs || (ours == theirs && self.serial > other.serial)
    }
}
