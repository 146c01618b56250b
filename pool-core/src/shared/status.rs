//! The counts of a shared pool.

use crate::observe::{Closes, Phase};

/// All counts of a [`SharedPool`](super::SharedPool), taken together at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedStatus {
    /// How many connections may be open.
    pub max_size: u32,
    /// Open connections that take shares, including those that are full or suspect.
    pub open: u32,
    /// Open connections that are suspect.
    pub suspect: u32,
    /// Open connections without shares.
    pub unused: u32,
    /// Connections that take no more shares and wait for their last share to end.
    pub draining: u32,
    /// Connections that died and still have shares. They take no place.
    pub dead: u32,
    /// Connections that are being opened.
    pub opening: u32,
    /// Connections that are being closed.
    pub closing: u32,
    /// How many shares the open connections can have in total.
    pub capacity: u32,
    /// Shares that are out, of any connection, including shares that were handed to a get that has not fetched them yet.
    pub shares: u32,
    /// Shares that are free now.
    pub available: u32,
    /// Gets in the queue.
    pub waiting: usize,
    /// Whether the pool was closed.
    pub is_closed: bool,
    /// Shares handed out. This counter and all that follow count since the pool was built.
    pub gets: u64,
    /// Shares whose get had to wait.
    pub waited: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Opens that failed.
    pub open_failures: u64,
    /// Connections that were closed, by reason. A connection is closed after its last share, or, as
    /// [`Broken`](crate::observe::CloseReason::Broken), when it dies.
    pub closed: Closes,
    /// Connections that died.
    pub died: u64,
    /// Gets that reached their deadline while all open connections were full.
    pub timeouts_wait: u64,
    /// Gets that reached their deadline while a connection was being opened.
    pub timeouts_create: u64,
    /// Gets that were refused because the queue was full.
    pub overloaded: u64,
    /// Gets that failed at once because no connection was open and opens failed.
    pub failed_fast: u64,
    /// Gets whose future was dropped while it waited.
    pub cancelled: u64,
    /// Grants that were taken back because the future was not polled.
    pub reclaimed: u64,
    /// The error of the last open, while opens fail.
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
