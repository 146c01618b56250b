//! The stretch of time that counts.

use std::time::{Duration, Instant};

/// From the end of the warm-up to the end of the row. What measures takes only what falls into it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Window {
    /// A window that opens after `warm_up` and stays open for `length`.
    pub(crate) fn after(warm_up: Duration, length: Duration) -> Self {
        let start = Instant::now() + warm_up;
        Self {
            start,
            end: start + length,
        }
    }

    pub(crate) fn contains(&self, moment: Instant) -> bool {
        (self.start..self.end).contains(&moment)
    }
}
