//! A limiter at one moment.

/// All counts of a [`Limiter`](super::Limiter), taken together at one moment, so that they add up: `available + in_use` is
/// `limit`, but for a limiter that was just made smaller, where more are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimiterStatus {
    /// How many permits there are.
    pub limit: u32,
    /// How many are free.
    pub available: u32,
    /// How many are out, or handed to a future that has not fetched them yet.
    pub in_use: u32,
    /// Acquires in line.
    pub waiting: usize,
    /// Was it closed?
    pub is_closed: bool,
    /// Acquires that got their permits after standing in line, since the limiter was made; as all that follow.
    pub waited: u64,
    /// Acquires that reached their deadline.
    pub timeouts: u64,
    /// Acquires that found the line full.
    pub overloaded: u64,
    /// Acquires whose future was dropped while it waited.
    pub cancelled: u64,
    /// Grants that were taken back because nobody polled.
    pub reclaimed: u64,
}
