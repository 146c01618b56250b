//! The shutdown of a pool, in bounded time.

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

/// What a shutdown does with the jobs that wait for a worker. Jobs that wait for a place are always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Runs the waiting jobs.
    Drain,
    /// Drops the waiting jobs without running them. Their callers get an error.
    DropQueued,
}

/// The result of a shutdown.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "only the report says whether everything has ended"]
pub struct Report {
    /// How many jobs were dropped without running.
    pub dropped: u64,
    /// The jobs that did not end in time. Their threads continue until the jobs end.
    pub still_running: Vec<StillRunning>,
    /// How many threads did not end in time: the threads of these jobs, and threads that hang elsewhere, as in a hook or in the
    /// `Drop` of their state.
    pub threads: usize,
}

/// A job that did not end in time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StillRunning {
    /// The number of the worker that runs the job.
    pub worker: usize,
    /// The label of the job, which is empty if none was set.
    pub label: &'static str,
    /// How long the job had been running when the report was made.
    pub running_for: Duration,
}

impl Report {
    /// Whether everything ended in time and no job was dropped.
    ///
    /// This covers everything that the pool runs on its threads: jobs, their state, and `on_thread_stop`. A thread-local that a job
    /// has set up itself is dropped as its thread ends. The report does not wait for that, because such a wait would block a
    /// thread. Put values that must be dropped by then into [`with_state`](crate::Workers::with_state).
    pub fn is_clean(&self) -> bool {
        self.dropped == 0 && self.still_running.is_empty() && self.threads == 0
    }
}

/// Converts the number of threads that are left. The jobs are left out, because they have no leases.
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
    // Checked only once, so that a thread that is being started for a refused job does not count.
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

/// Waits until the last worker has left (`true`), or until the deadline, or until the only workers left are waiting here too.
async fn gone(core: &Core, deadline: Option<Instant>) -> bool {
    let mourner = Mourner::new(core);
    let (mut timer, mut clock) = (None, Clock::None);
    poll_fn(|cx| {
        // A job of the pool does not wait for its own end, and two such jobs do not wait for each other.
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
