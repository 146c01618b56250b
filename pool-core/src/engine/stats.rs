//! The kernel's counters and histograms. They are written under the lock, which the kernel holds anyway.

use std::time::Duration;

use crate::observe::{CloseReason, Histogram, Phase};

/// Counts since the pool was built. They only rise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Leases after a wait in the queue. The number of all leases is [`Seats::uses`](super::seat::Seats::uses).
    pub(crate) waited: u64,
    pub(crate) opened: u64,
    pub(crate) open_failures: u64,
    pub(crate) closed: [u64; CloseReason::ALL.len()],
    pub(crate) timeouts: [u64; Phase::ALL.len()],
    pub(crate) overloaded: u64,
    pub(crate) shed: u64,
    pub(crate) reclaimed: u64,
    pub(crate) cancelled: u64,
    /// Gets that were refused at once because the backend was known to be down.
    pub(crate) failed_fast: u64,
    /// Resources that were dropped without a close: with the task or the runtime that held them, or detached.
    pub(crate) dropped: u64,
}

/// A lease or a wait that was timed. `weight` is how many it stands for: itself, and those since the last sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) lasted: Duration,
    pub(crate) weight: u64,
}

/// Durations since the pool was built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histograms {
    /// The waits of gets in the queue, from joining it to fetching the grant.
    pub(crate) wait: Histogram,
    pub(crate) used: Histogram,
    pub(crate) create: Histogram,
    pub(crate) check: Histogram,
    pub(crate) reset: Histogram,
}
