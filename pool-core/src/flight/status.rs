//! The counts of a flight.

/// All counts of a [`Flight`](super::Flight), taken together at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlightStatus {
    /// Keys with a computation that runs or is being stopped.
    pub keys: usize,
    /// Calls that wait.
    pub waiting: usize,
    /// Computations that were started. This counter and all that follow count since the flight was made.
    pub started: u64,
    /// Calls that joined a running computation.
    pub joined: u64,
    /// Computations that returned a value.
    pub succeeded: u64,
    /// Computations that returned an error or panicked.
    pub failed: u64,
    /// Computations that were stopped because no call waited any more.
    pub stopped: u64,
    /// Calls that were refused because too many calls waited.
    pub overloaded: u64,
    /// Calls that would have waited for themselves.
    pub reentrant: u64,
}
