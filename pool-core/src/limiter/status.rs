//! The counts of a limiter.

/// All counts of a [`Limiter`](super::Limiter), taken together at one moment, so that they add up: `available + in_use` is `limit`.
/// Just after the limit was lowered, more permits may be in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimiterStatus {
    /// How many permits there are.
    pub limit: u32,
    /// How many permits are free.
    pub available: u32,
    /// How many permits are held, or were handed to a future that has not fetched them yet.
    pub in_use: u32,
    /// Acquires in the queue.
    pub waiting: usize,
    /// Whether the limiter was closed.
    pub is_closed: bool,
    /// Acquires that waited in the queue and got their permits. This counter and all that follow count since the limiter was made.
    pub waited: u64,
    /// Acquires that reached their deadline.
    pub timeouts: u64,
    /// Acquires that were refused because the queue was full.
    pub overloaded: u64,
    /// Acquires whose future was dropped while it waited.
    pub cancelled: u64,
    /// Grants that were taken back because the future was not polled.
    pub reclaimed: u64,
}
