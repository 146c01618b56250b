//! The stalls that a watchdog reports.

use std::{fmt, time::Duration};

/// A worker that does not return to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stall {
    /// The number of the worker, from 0, as in tokio's metrics.
    pub worker: usize,
    /// How long the worker has had no scheduler checkpoint.
    pub lasted: Duration,
    /// Why the worker is held, as far as the system reports it.
    pub cause: Cause,
}

/// Why a worker does not return to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A task computes or blocks. This is also the cause if it is unknown: on systems other than Linux, and for a worker that was
    /// held before the watchdog had identified its thread.
    Task,
    /// The worker's thread waits for a core that other threads have. Its tasks take less than the threshold.
    Cores,
}

/// The stalls that a [`Watchdog`](super::Watchdog) has seen.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use = "only these say which workers are held"]
pub struct Stalls {
    /// How many stalls a task caused.
    pub count: u64,
    /// How many stalls a shortage of cores caused. If such a stall turns out to be caused by a task, it is counted in `count` too.
    pub short_of_cores: u64,
    /// The longest stall that a task caused, including stalls that still last.
    pub longest: Duration,
    /// The stalls that still last.
    pub now: Vec<Stall>,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, lasted, .. } = self;
        let why = match self.cause {
            Cause::Task => "something in a task computes or blocks",
            Cause::Cores => "its thread waits for a core that other threads have",
        };
        write!(
            f,
            "worker {worker} of the runtime has had no scheduler checkpoint for {lasted:.0?}: {why}"
        )
    }
}
