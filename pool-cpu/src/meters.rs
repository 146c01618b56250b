//! The pool through the `metrics` facade. The guide has this table too, for users.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `pool.cpu.job.wait`, `pool.cpu.job.run` | histogram, seconds | each job's, by `job` (its label) |
//! | `pool.cpu.jobs` | counter | by `outcome`: completed, panicked, cancelled, expired, overrun, rejected, dropped |
//! | `pool.cpu.workers`, `pool.cpu.workers.busy` | gauge | threads, and those that run a job |
//! | `pool.cpu.queued`, `pool.cpu.waiting` | gauge | jobs that wait for a worker, and for a place |
//!
//! All of them carry `pool`, its name. Histograms are recorded as jobs end; the rest is brought up
//! to date once a second while there is work, and at the end. The recorder has to be installed
//! before the first job.

use std::time::{Duration, Instant};

use metrics::{Histogram, counter, gauge, histogram};

use crate::{Stats, sync::Arc};

/// Where one pool's figures go.
pub(crate) struct Meters {
    pool: Arc<str>,
    state: std::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: Vec<(&'static str, Timers)>,
    published: Option<Instant>,
}

#[derive(Clone)]
struct Timers {
    wait: Histogram,
    run: Histogram,
}

impl Meters {
    pub(crate) fn new(pool: &Arc<str>) -> Self {
        Self {
            pool: Arc::clone(pool),
            state: std::sync::Mutex::default(),
        }
    }

    /// A job has ended.
    pub(crate) fn record(&self, label: &'static str, wait: Duration, run: Duration) {
        let known = {
            let state = self.lock();
            let found = state.jobs.iter().find(|(known, _)| *known == label);
            found.map(|(_, timers)| timers.clone())
        };
        // Recorders are user code: not under the lock.
        let timers = known.unwrap_or_else(|| {
            let timers = Timers {
                wait: histogram!("pool.cpu.job.wait", "pool" => self.pool.to_string(), "job" => label),
                run: histogram!("pool.cpu.job.run", "pool" => self.pool.to_string(), "job" => label),
            };
            self.lock().jobs.push((label, timers.clone()));
            timers
        });
        timers.wait.record(wait);
        timers.run.record(run);
    }

    /// Is it time to publish the rest?
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let fresh = state
            .published
            .is_some_and(|at| now.saturating_duration_since(at) < PERIOD);
        if !fresh {
            state.published = Some(now);
        }
        !fresh
    }

    /// Brings all that is no histogram up to date.
    pub(crate) fn publish(&self, stats: &Stats) {
        let pool = || self.pool.to_string();
        let outcomes = [
            ("completed", stats.completed),
            ("panicked", stats.panicked),
            ("cancelled", stats.cancelled),
            ("expired", stats.expired),
            ("overrun", stats.overrun),
            ("rejected", stats.rejected),
            ("dropped", stats.dropped),
        ];
        for (outcome, count) in outcomes {
            counter!("pool.cpu.jobs", "pool" => pool(), "outcome" => outcome).absolute(count);
        }
        gauge!("pool.cpu.workers", "pool" => pool()).set(stats.workers as f64);
        gauge!("pool.cpu.workers.busy", "pool" => pool()).set(stats.busy as f64);
        gauge!("pool.cpu.queued", "pool" => pool()).set(stats.queued as f64);
        gauge!("pool.cpu.waiting", "pool" => pool()).set(stats.waiting as f64);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// How often that is done.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);
