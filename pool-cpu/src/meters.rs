//! Publishes the pool's metrics through the `metrics` facade. The guide has this table for users.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `pool.cpu.job.wait`, `pool.cpu.job.run` | histogram, seconds | the wait and run time of each job, by `job` (its label) |
//! | `pool.cpu.jobs` | counter | jobs by `outcome`: completed, panicked, cancelled, expired, overrun, rejected, dropped, given_up, refused |
//! | `pool.cpu.workers`, `pool.cpu.workers.busy` | gauge | all threads, and threads that run a job |
//! | `pool.cpu.queued`, `pool.cpu.waiting` | gauge | jobs that wait for a worker, and jobs that wait for a place |
//!
//! All metrics have the label `pool.name`. Histograms are recorded as jobs end. The other metrics are updated once a second while
//! there is work, once after that, and when the pool ends. The recorder must be installed before the first job.
//!
//! Counters and gauges are published as differences, so that pools of the same name add up, whether they exist at the same time or
//! one after another. A pool that has ended has no threads and no jobs, so its share of each gauge is zero.

use std::{
    mem,
    time::{Duration, Instant},
};

use metrics::{
    Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::{Status, quiet::contain, sync::Arc};

/// The metrics of one pool.
pub(crate) struct Meters {
    pool: Arc<str>,
    state: std::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: Vec<(&'static str, Timers)>,
    published: Option<Instant>,
    /// The values that were published last.
    figures: Option<Figures>,
    described: bool,
}

/// All values except the histograms: the number of jobs by outcome, and the gauges.
type Figures = ([(&'static str, u64); 9], [(&'static str, usize); 4]);

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

    /// Records a job that has ended.
    pub(crate) fn record(&self, label: &'static str, wait: Duration, run: Duration) {
        let known = {
            let state = self.lock();
            let found = state.jobs.iter().find(|(known, _)| *known == label);
            found.map(|(_, timers)| timers.clone())
        };
        // Recorders are user code, so they run without the lock.
        let timers = known.unwrap_or_else(|| {
            let timers = Timers {
                wait: histogram!("pool.cpu.job.wait", "pool.name" => self.pool.to_string(), "job" => label),
                run: histogram!("pool.cpu.job.run", "pool.name" => self.pool.to_string(), "job" => label),
            };
            self.lock().jobs.push((label, timers.clone()));
            timers
        });
        timers.wait.record(wait);
        timers.run.record(run);
    }

    /// Updates all metrics except the histograms, if the period is over or this is the `last` update. Returns when the next update
    /// is due. Returns `None` if nothing has changed and no job waits or runs; then the next update is due after the next job
    /// begins.
    pub(crate) fn keep(
        &self,
        now: Instant,
        last: bool,
        status: impl FnOnce() -> Status,
    ) -> Option<Instant> {
        let published = self.lock().published;
        if let Some(again) = published.map(|at| at + PERIOD)
            && now < again
            && !last
        {
            // Something may have changed since the last update.
            return Some(again);
        }
        let status = status();
        let figures = figures(&status);
        let (told, first) = {
            let mut state = self.lock();
            state.published = Some(now);
            let first = !mem::replace(&mut state.described, true);
            (state.figures.replace(figures), first)
        };
        // Recorders are user code, so they run without the lock.
        contain(|| {
            if first {
                describe();
            }
            self.publish(&figures, told.as_ref());
        });
        let goes_on = status.busy + status.queued + status.waiting > 0;
        (goes_on || told != Some(figures)).then(|| now + PERIOD)
    }

    /// Publishes by how much each value has changed since the last update.
    fn publish(&self, (outcomes, gauges): &Figures, told: Option<&Figures>) {
        let pool = || self.pool.to_string();
        for (at, (outcome, count)) in outcomes.iter().enumerate() {
            let before = told.map_or(0, |(outcomes, _)| outcomes[at].1);
            let counter = counter!("pool.cpu.jobs", "pool.name" => pool(), "outcome" => *outcome);
            counter.increment(count.saturating_sub(before));
        }
        for (at, (name, value)) in gauges.iter().enumerate() {
            let before = told.map_or(0, |(_, gauges)| gauges[at].1);
            let gauge = gauge!(*name, "pool.name" => pool());
            if *value >= before {
                gauge.increment((value - before) as f64);
            } else {
                gauge.decrement((before - value) as f64);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn figures(status: &Status) -> Figures {
    let outcomes = [
        ("completed", status.completed),
        ("panicked", status.panicked),
        ("cancelled", status.cancelled),
        ("expired", status.expired),
        ("overrun", status.overrun),
        ("rejected", status.rejected),
        ("dropped", status.dropped),
        ("given_up", status.given_up),
        ("refused", status.refused),
    ];
    let gauges = [
        ("pool.cpu.workers", status.workers),
        ("pool.cpu.workers.busy", status.busy),
        ("pool.cpu.queued", status.queued),
        ("pool.cpu.waiting", status.waiting),
    ];
    (outcomes, gauges)
}

fn describe() {
    for (name, what) in [
        (
            "pool.cpu.job.wait",
            "The time that jobs waited for a place and a worker",
        ),
        ("pool.cpu.job.run", "The time that jobs ran"),
    ] {
        describe_histogram!(name, Unit::Seconds, what);
    }
    describe_counter!("pool.cpu.jobs", Unit::Count, "Jobs that ended, by outcome");
    for (name, what) in [
        ("pool.cpu.workers", "Threads of the pool"),
        ("pool.cpu.workers.busy", "Threads that run a job"),
        ("pool.cpu.queued", "Jobs that wait for a worker"),
        ("pool.cpu.waiting", "Jobs that wait for a place"),
    ] {
        describe_gauge!(name, Unit::Count, what);
    }
}

/// The shortest time between two updates.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);
