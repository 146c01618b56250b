//! What a pool has done, and what it is doing.

use std::time::{Duration, Instant};

use pool_core::observe::Histogram;

use crate::{Workers, engine::Core};

/// A snapshot of a pool. From [`Workers::status`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::Error> {
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
/// cpu.job("thumbnail").run(|| ()).await?;
/// let status = cpu.status();
/// assert_eq!((status.completed, status.busy, status.queued), (1, 0, 0));
/// assert_eq!(status.jobs[0].label, "thumbnail");
/// println!("p99 of the wait: {:?}", status.jobs[0].wait.percentile(99.0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// How many workers there may be.
    pub max_workers: usize,
    /// How many there are.
    pub workers: usize,
    /// How many run a job.
    pub busy: usize,
    /// Jobs that have a place and wait for a worker. One that was just ended unrun may still be counted for a moment after its caller
    /// was told.
    pub queued: usize,
    /// Jobs that wait for a place.
    pub waiting: usize,
    /// Jobs that ran and gave a result.
    pub completed: u64,
    /// Jobs that ran and panicked.
    pub panicked: u64,
    /// Jobs that were given up by their callers before they ran, in the queue or in line for a place.
    pub cancelled: u64,
    /// Jobs that waited for longer than their queue timeout, and never ran.
    pub expired: u64,
    /// Jobs that ran for longer than their budget. They are among those that completed or panicked
    /// as well, once they have.
    pub overrun: u64,
    /// Jobs that were turned away at once: `try_run` found no place, or `run` found the line for one full.
    pub rejected: u64,
    /// Jobs in the queue that a shutdown dropped unrun.
    pub dropped: u64,
    /// Jobs that were given up by their callers while they ran. They are among those that completed or panicked as well, once they
    /// have.
    pub given_up: u64,
    /// Jobs that a pool which is shut down did not take: they came later, or were in line for a place.
    pub refused: u64,
    /// Threads that the system did not start.
    pub failed_starts: u64,
    /// How long the pool has existed.
    pub age: Duration,
    /// How long its workers have run jobs, in all.
    pub busy_time: Duration,
    /// Those that ran, by label, in the order in which the labels were first seen.
    pub jobs: Vec<JobStatus>,
}

/// The jobs of one label that ran.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobStatus {
    /// Their label; empty for jobs that were given none.
    pub label: &'static str,
    /// How many gave a result.
    pub completed: u64,
    /// How many panicked.
    pub panicked: u64,
    /// How long they waited for a place and a worker.
    pub wait: Histogram,
    /// How long they ran.
    pub run: Histogram,
}

impl Status {
    /// The share of the workers' time that jobs took, 0 to 1, since the pool was made.
    pub fn utilization(&self) -> f64 {
        share(self.busy_time, self.age, self.max_workers)
    }

    /// The share of the workers' time that jobs took, 0 to 1, since an earlier snapshot.
    pub fn utilization_since(&self, earlier: &Self) -> f64 {
        let busy = self.busy_time.saturating_sub(earlier.busy_time);
        share(busy, self.age.saturating_sub(earlier.age), self.max_workers)
    }

    /// The jobs with this label, if any ran.
    pub fn job(&self, label: &str) -> Option<&JobStatus> {
        self.jobs.iter().find(|job| job.label == label)
    }
}

impl JobStatus {
    pub(crate) const fn new(label: &'static str) -> Self {
        Self {
            label,
            completed: 0,
            panicked: 0,
            wait: Histogram::new(),
            run: Histogram::new(),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.completed += other.completed;
        self.panicked += other.panicked;
        self.wait.merge(&other.wait);
        self.run.merge(&other.run);
    }
}

impl Workers {
    /// What the pool has done, and what it is doing.
    pub fn status(&self) -> Status {
        self.core().stats(Instant::now())
    }
}

impl Core {
    pub(crate) fn stats(&self, now: Instant) -> Status {
        let counters = self.counters();
        let mut status = Status {
            max_workers: self.workers().len(),
            workers: self.crew().alive(),
            busy: 0,
            queued: self.queued(),
            waiting: self.waiting(),
            completed: 0,
            panicked: 0,
            cancelled: counters.cancelled.get(),
            expired: counters.expired.get(),
            overrun: counters.overrun.get(),
            rejected: counters.rejected.get(),
            dropped: counters.dropped.get(),
            given_up: counters.given_up.get(),
            refused: counters.refused.get(),
            failed_starts: counters.failed_starts.get(),
            age: now.saturating_duration_since(self.born()),
            busy_time: Duration::ZERO,
            jobs: Vec::new(),
        };
        for worker in self.workers() {
            let book = worker.book.lock();
            status.busy_time += book.busy;
            if let Some(running) = &book.running {
                status.busy += 1;
                status.busy_time += now.saturating_duration_since(running.since);
            }
            for page in &book.jobs {
                status.completed += page.completed;
                status.panicked += page.panicked;
                match status.jobs.iter_mut().find(|job| job.label == page.label) {
                    Some(job) => job.merge(page),
                    None => status.jobs.push(page.clone()),
                }
            }
        }
        status
    }
}

fn share(busy: Duration, age: Duration, workers: usize) -> f64 {
    let whole = age.as_secs_f64() * workers as f64;
    if whole > 0.0 {
        (busy.as_secs_f64() / whole).min(1.0)
    } else {
        0.0
    }
}
