//! A shared pool at one moment.

use crate::observe::{Closes, Phase};

/// All counts of a [`SharedPool`](super::SharedPool), taken together at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedStatus {
    /// How many connections there may be.
    pub max_size: u32,
    /// Connections that take shares, or would if they were not full or suspect.
    pub open: u32,
    /// Of those: suspect.
    pub suspect: u32,
    /// Of those: nobody shares them.
    pub unused: u32,
    /// Connections that take no more and wait for their last share.
    pub draining: u32,
    /// Connections that died and are still held by those who shared them. They take no place.
    pub dead: u32,
    /// Being opened.
    pub opening: u32,
    /// Being closed.
    pub closing: u32,
    /// Shares that the open connections can take, in all.
    pub capacity: u32,
    /// Shares that are out, of any connection, or handed to somebody who has not fetched them yet.
    pub shares: u32,
    /// Shares that can be had at once.
    pub available: u32,
    /// Gets in line.
    pub waiting: usize,
    /// Was the pool closed?
    pub is_closed: bool,
    /// Shares handed out, since the pool was built; as all that follow.
    pub gets: u64,
    /// Of those, how many had to be waited for.
    pub waited: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Opens that failed.
    pub open_failures: u64,
    /// Connections that were closed, by reason: after their last share, or as [`Broken`](crate::observe::CloseReason::Broken) when they
    /// died.
    pub closed: Closes,
    /// Connections that died.
    pub died: u64,
    /// Gets that reached their deadline while all that was open was full.
    pub timeouts_wait: u64,
    /// Gets that reached their deadline while one was being opened.
    pub timeouts_create: u64,
    /// Gets that found the line full.
    pub overloaded: u64,
    /// Gets that were told at once that nothing can be opened.
    pub failed_fast: u64,
    /// Gets whose future was dropped while it waited.
    pub cancelled: u64,
    /// Grants that were taken back because nobody polled.
    pub reclaimed: u64,
    /// What the last attempt to open died of, while attempts fail.
    pub last_error: Option<String>,
}

impl SharedStatus {
    /// Gets that reached their deadline, in any phase.
    pub const fn timeouts(&self) -> u64 {
        self.timeouts_wait + self.timeouts_create
    }

    pub(super) const fn set_timeouts(&mut self, by_phase: [u64; Phase::ALL.len()]) {
        self.timeouts_wait = by_phase[Phase::Wait.index()];
        self.timeouts_create = by_phase[Phase::Create.index()];
    }
}
