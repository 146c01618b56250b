//! Flights at one moment.

/// All counts of a [`Flight`](super::Flight), taken together at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlightStatus {
    /// Keys for which a computation is under way, or is being stopped.
    pub keys: usize,
    /// Calls that wait.
    pub waiting: usize,
    /// Computations that were started, since the flight was made; as all that follow.
    pub started: u64,
    /// Calls that found a computation under way.
    pub joined: u64,
    /// Computations that gave a value.
    pub succeeded: u64,
    /// Computations that gave an error, or panicked.
    pub failed: u64,
    /// Computations that were stopped because nobody waited any more.
    pub stopped: u64,
    /// Calls that found too many waiting.
    pub overloaded: u64,
    /// Calls that would have waited for themselves.
    pub reentrant: u64,
}
