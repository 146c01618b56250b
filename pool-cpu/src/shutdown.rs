//! The end of a pool, in bounded time.

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use pool_core::Drained;

use crate::{
    clock::{self, Clock},
    engine::{Core, Mourner},
    sync::Arc,
    worker::number_in,
};

/// What becomes of the jobs that wait for a worker when a pool is shut down. Those that are in line for a place are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// They run.
    Drain,
    /// They are dropped unrun; their callers get an error.
    DropQueued,
}

/// How a shutdown went.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "only the report says whether everything has ended"]
pub struct Report {
    /// Jobs that were dropped unrun.
    pub dropped: u64,
    /// Jobs that did not end in time. Their threads go on until they do.
    pub still_running: Vec<StillRunning>,
    /// Threads that did not end in time: those of these jobs, and those that are at something else, as a hook or the `Drop` of what
    /// they kept.
    pub threads: usize,
}

/// A job that did not end in time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StillRunning {
    /// The number of its worker.
    pub worker: usize,
    /// Its label; empty if it was given none.
    pub label: &'static str,
    /// How long it had been running by then.
    pub running_for: Duration,
}

impl Report {
    /// Did everything end in time, and was nothing dropped?
    ///
    /// That is all that the pool does on its threads: jobs, their state, `on_thread_stop`. A thread-local of a job's own is dropped by the
    /// system's thread as it ends, which nobody can wait for without blocking one: it may be under way still. What must be gone by
    /// then belongs into [`with_state`](crate::Workers::with_state).
    pub fn is_clean(&self) -> bool {
        self.dropped == 0 && self.still_running.is_empty() && self.threads == 0
    }
}

/// How many threads are left. Without the jobs: they have no leases.
impl From<Report> for Drained {
    fn from(report: Report) -> Self {
        let left = report.threads.max(report.still_running.len());
        Self::__new(Vec::new(), u32::try_from(left).unwrap_or(u32::MAX))
    }
}

pub(crate) async fn shutdown(core: &Arc<Core>, how: Shutdown, within: Duration) -> Report {
    let dropped_before = core.counters().dropped.get();
    let deadline = Instant::now().checked_add(within);
    match how {
        Shutdown::Drain => core.close(),
        Shutdown::DropQueued => core.close_and_drop(),
    }
    // Looked at once: a thread that is being started for a job that came too late is none of this.
    let over = gone(core, deadline).await;
    if !over {
        core.abandon();
    }
    let now = Instant::now();
    let still_running = core
        .workers()
        .iter()
        .enumerate()
        .filter_map(|(worker, books)| {
            let running = books
                .book
                .lock()
                .running
                .as_ref()
                .map(|running| (running.label, running.since))?;
            Some(StillRunning {
                worker,
                label: running.0,
                running_for: now.saturating_duration_since(running.1),
            })
        });
    let threads = if over { 0 } else { core.crew().alive() };
    Report {
        still_running: still_running.collect(),
        threads,
        dropped: core.counters().dropped.get() - dropped_before,
    }
}

/// Waits until the last worker has left, `true`, or the deadline has come, or nobody is left but workers who wait here as well.
async fn gone(core: &Core, deadline: Option<Instant>) -> bool {
    let mourner = Mourner::new(core);
    let (mut timer, mut clock) = (None, Clock::None);
    poll_fn(|cx| {
        // A job of the pool itself does not wait for its own end, nor two of them for each other's.
        let worker = number_in(core);
        if !mourner.wait(cx.waker().clone(), worker) {
            return Poll::Ready(worker.is_none() || core.is_gone());
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Poll::Ready(false);
        }
        if matches!(clock, Clock::None) {
            clock = clock::hold();
        }
        timer = deadline.map(|deadline| core.keeper().timer(deadline, cx.waker().clone()));
        Poll::Pending
    })
    .await
}
