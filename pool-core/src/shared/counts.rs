//! Counts of a shared pool.

use crate::observe::{CloseReason, Histogram, Phase};

/// Counts since the pool was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) gets: u64,
    pub(super) waited: u64,
    pub(super) opened: u64,
    pub(super) open_failures: u64,
    pub(super) closed: [u64; CloseReason::ALL.len()],
    pub(super) died: u64,
    pub(super) timeouts: [u64; Phase::ALL.len()],
    pub(super) overloaded: u64,
    pub(super) failed_fast: u64,
    pub(super) cancelled: u64,
    pub(super) reclaimed: u64,
}

/// How long things took, since the pool was built.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    pub(super) wait: Histogram,
    pub(super) create: Histogram,
}

/// All counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) max_links: u32,
    pub(super) live: u32,
    /// Live connections without shares.
    pub(super) unused: u32,
    pub(super) suspect: u32,
    pub(super) draining: u32,
    pub(super) dead: u32,
    pub(super) opening: u32,
    pub(super) closing: u32,
    pub(super) capacity: u32,
    pub(super) used: u32,
    pub(super) available: u32,
    pub(super) waiting: usize,
    pub(super) closed: bool,
    pub(super) counters: Counters,
}
