//! One connection as the pool sees it.

use crate::{
    engine::mutation::{self, Mutation},
    moment::Moment,
    observe::CloseReason,
};

/// What is known of it under the lock. Itself it is on its [place](super::places), and so is the count of its shares.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) serial: u64,
    pub(super) phase: Phase,
    pub(super) capacity: u32,
    pub(super) suspect: bool,
    /// When its open began.
    pub(super) began: Moment,
    pub(super) expires_at: Moment,
    /// It goes as soon as it is open: nobody wants it any more.
    pub(super) unwanted: Option<CloseReason>,
    /// Its time is over, and its replacement is being opened.
    pub(super) expired: bool,
    /// Since when the keeper has seen it without a share.
    pub(super) idle_since: Option<Moment>,
    /// How many shares of it had been taken without the lock then.
    pub(super) gets_before: u64,
    pub(super) reason: CloseReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Free,
    Opening,
    /// It died before it was open.
    Stillborn,
    Live,
    Draining,
    Dead,
    Closing,
}

/// Names a connection, also after it has gone: no two connections of a program have the same serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkId {
    pub(super) index: u32,
    pub(super) serial: u64,
}

/// How loaded one is, to choose by.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) used: u32,
    /// How many may share it. Not 0.
    pub(super) of: u32,
    pub(super) serial: u64,
}

impl Load {
    /// Is it less loaded than `other`, or loaded alike and younger?
    #[inline]
    pub(super) fn comes_before(self, other: Self) -> bool {
        let ours = u64::from(self.used) * u64::from(other.of);
        let theirs = u64::from(other.used) * u64::from(self.of);
        ours < theirs || (ours == theirs && self.serial > other.serial)
    }
}

impl Link {
    /// Does it go as soon as another is open?
    pub(super) fn is_replaced(&self) -> bool {
        self.expired && self.phase == Phase::Live
    }

    /// How many may share it as it is now.
    pub(super) fn takes(&self) -> u32 {
        let trusted = !self.suspect || mutation::on(Mutation::ShareOfSuspect);
        if self.phase == Phase::Live && trusted {
            self.capacity
        } else {
            0
        }
    }
}
