//! The statistics of a pool.

use std::time::{Duration, Instant};

use pool_core::observe::Histogram;

use crate::{Workers, engine::Core};

/// A snapshot of a pool. [`Workers::status`] returns it.
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
    /// How many workers the pool may have.
    pub max_workers: usize,
    /// How many workers the pool has now.
    pub workers: usize,
    /// How many workers run a job now.
    pub busy: usize,
    /// How many jobs have a place and wait for a worker. A job that ended without running may still be counted for a moment after
    /// its caller got the error.
    pub queued: usize,
    /// How many jobs wait for a place.
    pub waiting: usize,
    /// How many jobs ran and returned a result.
    pub completed: u64,
    /// How many jobs ran and panicked.
    pub panicked: u64,
    /// How many jobs were cancelled by their callers before they ran, in the queue or while they waited for a place.
    pub cancelled: u64,
    /// How many jobs waited longer than their queue timeout, and never ran.
    pub expired: u64,
    /// How many jobs ran longer than their budget. When such a job ends, it also counts as completed or panicked.
    pub overrun: u64,
    /// How many jobs were rejected at once: `try_run` found no place, or `max_waiters` jobs already waited for a place.
    pub rejected: u64,
    /// How many jobs in the queue a shutdown dropped without running them.
    pub dropped: u64,
    /// How many jobs were cancelled by their callers while they ran. When such a job ends, it also counts as completed or panicked.
    pub given_up: u64,
    /// How many jobs were refused because of a shutdown: they came later, or were waiting for a place.
    pub refused: u64,
    /// How often the system failed to start a thread.
    pub failed_starts: u64,
    /// How long the pool has existed.
    pub age: Duration,
    /// How long the workers have run jobs, in total.
    pub busy_time: Duration,
    /// The jobs that ran, by label, in the order in which the labels were first seen.
    pub jobs: Vec<JobStatus>,
}

/// The jobs of one label that ran.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobStatus {
    /// The label of the jobs, which is empty for jobs without a label.
    pub label: &'static str,
    /// How many of the jobs returned a result.
    pub completed: u64,
    /// How many of the jobs panicked.
    pub panicked: u64,
    /// How long the jobs waited for a place and a worker.
    pub wait: Histogram,
    /// How long the jobs ran.
    pub run: Histogram,
}

impl Status {
    /// Returns the share of the workers' time that jobs took since the pool was built, from 0 to 1.
    pub fn utilization(&self) -> f64 {
        share(self.busy_time, self.age, self.max_workers)
    }

    /// Returns the share of the workers' time that jobs took since an earlier snapshot, from 0 to 1.
    pub fn utilization_since(&self, earlier: &Self) -> f64 {
        let busy = self.busy_time.saturating_sub(earlier.busy_time);
        share(busy, self.age.saturating_sub(earlier.age), self.max_workers)
    }

    /// Returns the jobs with this label, if any of them ran.
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
    /// Returns a snapshot of the pool.
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
