//! The deadline of one request.

use std::time::Duration;

use tokio::time::Instant;

/// When a request must be complete, including the body of its response, and how long the request was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) of: Duration,
}

impl Deadline {
    /// The deadline at `of` from now. `None` if that time overflows the clock.
    pub(crate) fn after(of: Duration) -> Option<Self> {
        Instant::now().checked_add(of).map(|at| Self { at, of })
    }

    /// The time that is left until the deadline.
    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}
