//! One connection as the pool sees it.

use crate::{
    engine::mutation::{self, Mutation},
    moment::Moment,
    observe::CloseReason,
};

/// What the pool knows of a connection under the lock. The connection itself, and the count of its shares, are on its
/// [place](super::places).
#[derive(Debug)]
pub(super) struct Link {
    pub(super) serial: u64,
    pub(super) phase: Phase,
    pub(super) capacity: u32,
    pub(super) suspect: bool,
    /// When the open of the connection began.
    pub(super) began: Moment,
    pub(super) opened_at: Moment,
    /// Whether a share was ever taken under the lock.
    pub(super) shared: bool,
    /// How many shares had been taken without the lock, at this place, when the connection was opened.
    pub(super) gets_at_open: u64,
    pub(super) expires_at: Moment,
    /// Why the connection is to be drained as soon as it is open, if it is not wanted any more.
    pub(super) unwanted: Option<CloseReason>,
    /// Whether the lifetime is over and a replacement is being opened.
    pub(super) expired: bool,
    /// Since when the keeper has seen the connection without shares.
    pub(super) idle_since: Option<Moment>,
    /// How many shares had been taken without the lock when the keeper last saw a change.
    pub(super) gets_before: u64,
    pub(super) reason: CloseReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Free,
    Opening,
    /// The connection died before it was open.
    Stillborn,
    Live,
    Draining,
    Dead,
    Closing,
}

impl Link {
    /// Whether the connection is drained as soon as another is open.
    pub(super) fn is_replaced(&self) -> bool {
        self.expired && self.phase == Phase::Live
    }

    /// Returns how many shares the connection takes in its present state.
    pub(super) fn takes(&self) -> u32 {
        let trusted = !self.suspect || mutation::on(Mutation::ShareOfSuspect);
        if self.phase == Phase::Live && trusted {
            self.capacity
        } else {
            0
        }
    }
}
