//! What a watchdog sees.

use std::{fmt, time::Duration};

/// A worker that does not come back to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stall {
    /// The number of the worker, from 0, as tokio's metrics count them.
    pub worker: usize,
    /// For how long it has had no scheduler checkpoint.
    pub lasted: Duration,
    /// What it takes that time for, as far as the system says.
    pub cause: Cause,
}

/// Why a worker does not come back to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Something in a task computes or blocks. Also where nobody knows: elsewhere than on Linux, and for a worker that was held before
    /// the watchdog could meet it.
    Task,
    /// Its thread waits for a core: others have them. What its tasks do takes less than the threshold.
    Cores,
}

/// What a [`Watchdog`](super::Watchdog) has seen.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use = "only these say which workers are held"]
pub struct Stalls {
    /// How many stalls there were by something in a task.
    pub count: u64,
    /// How many there were because cores were short. One of them that turns out to be by a task after all is counted there as well.
    pub short_of_cores: u64,
    /// The longest by something in a task, as far as it has come.
    pub longest: Duration,
    /// Those that go on.
    pub now: Vec<Stall>,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, lasted, .. } = self;
        let why = match self.cause {
            Cause::Task => "something in a task computes or blocks",
            Cause::Cores => "it waits for a core, which others have",
        };
        write!(
            f,
            "worker {worker} of the runtime has had no scheduler checkpoint for {lasted:.0?}: {why}"
        )
    }
}
