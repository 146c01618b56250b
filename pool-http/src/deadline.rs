//! The whole time that one request may take.

use std::time::Duration;

use tokio::time::Instant;

/// When a request must be done, its body included, and how long it was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) of: Duration,
}

impl Deadline {
    /// From now. None for a time so long that no clock shows it.
    pub(crate) fn after(of: Duration) -> Option<Self> {
        Instant::now().checked_add(of).map(|at| Self { at, of })
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}
