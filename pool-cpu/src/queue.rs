//! The jobs that wait for a worker.
//!
//! Normal jobs go through a bounded channel that takes no lock. Background jobs wait in a line of their own, and so do normal
//! ones that were taken out of the channel to sort out dead ones: a job that was cancelled leaves its empty shell in the queue,
//! and shells must not fill it.
//!
//! A background job runs when no normal one waits. Once the oldest has waited for longer than the age, it takes one pick in
//! [`AGED_SHARE`] from the normal ones: late, but never starved, and a pile of aged ones does not push the normal ones out. Shells of
//! background jobs take no such pick.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use crate::{
    job::Run,
    mutation::{self, Mutation},
    sync::{Arc, AtomicUsize, Channel, Mutex, Ordering},
};

/// All that wait for a worker of one pool.
pub(crate) struct Queue {
    normal: Channel<Arc<dyn Run>>,
    /// Older than everything in `normal`.
    front: Line,
    background: Line,
    /// Shells in `normal`, about.
    dead: AtomicUsize,
    /// So many shells may lie in `normal` before they are cleared out.
    slack: usize,
    age: Duration,
    picks: AtomicUsize,
}

/// A line under a lock. No other lock is taken under it, but for a job's slot.
struct Line {
    jobs: Mutex<VecDeque<Arc<dyn Run>>>,
    /// How many, to be read without the lock.
    len: AtomicUsize,
}

impl Queue {
    /// Room for `places` jobs of each priority.
    pub(crate) fn new(places: usize, age: Duration) -> Self {
        let slack = places.clamp(MIN_SLACK, MAX_SLACK);
        Self {
            normal: Channel::bounded(places + 2 * slack),
            front: Line::new(),
            background: Line::new(),
            dead: AtomicUsize::new(0),
            slack,
            age,
            picks: AtomicUsize::new(0),
        }
    }

    /// Appends a job. Its place is its right to be here, so there is room; but for shells, which are cleared out if need be.
    #[inline]
    pub(crate) fn push(&self, job: Arc<dyn Run>, background: bool) {
        if background {
            self.background.push(job);
            return;
        }
        let mut job = job;
        while let Err(full) = self.normal.push(job) {
            job = full;
            self.sweep(|_| {});
        }
    }

    /// The next job, or the shell of one.
    #[inline]
    pub(crate) fn pop(&self, now: impl FnOnce() -> Instant) -> Option<Arc<dyn Run>> {
        if self.background.is_empty() {
            return self.pop_normal();
        }
        if self
            .picks
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(AGED_SHARE)
        {
            // A shell would be old enough, and cost the next one that lives a turn.
            self.clear_front_of_background();
            let aged = self
                .background
                .pop_if(|job| now().saturating_duration_since(job.head().asked_at) >= self.age);
            if aged.is_some() {
                return aged;
            }
        }
        self.pop_normal()
            .or_else(|| self.background.pop_if(|_| true))
    }

    #[inline]
    fn pop_normal(&self) -> Option<Arc<dyn Run>> {
        if !self.front.is_empty() {
            let first = self.front.pop_if(|_| true);
            if first.is_some() {
                return first;
            }
        }
        self.normal.pop()
    }

    fn clear_front_of_background(&self) {
        while self.background.pop_if(|job| !job.is_queued()).is_some() {
            self.note_buried();
        }
    }

    /// Is there nothing to pop?
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wait, shells included.
    pub(crate) fn len(&self) -> usize {
        self.normal.len() + self.front.len() + self.background.len()
    }

    /// How many wait, without the shells, about.
    pub(crate) fn live(&self) -> usize {
        self.len().saturating_sub(self.dead.load(Ordering::Relaxed))
    }

    /// A job in here has just become a shell. Is it time for a [`sweep`](Self::sweep)?
    pub(crate) fn note_dead(&self) -> bool {
        self.dead.fetch_add(1, Ordering::Relaxed) + 1 >= self.slack
    }

    /// A worker has met a shell.
    pub(crate) fn note_buried(&self) {
        let less = |dead: usize| dead.checked_sub(1);
        // A sweep may have counted it already.
        self.dead
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
    }

    /// Shows every job that waits to `each`, and clears out those that are shells after that.
    pub(crate) fn sweep(&self, each: impl Fn(&Arc<dyn Run>)) {
        let mut shells = Vec::new();
        {
            let mut front = self.front.jobs.lock();
            self.dead.store(0, Ordering::Relaxed);
            // No more than are in it now: others go on pushing. Counted before they move: a worker that looks for work meanwhile
            // must not find them in neither place.
            let moving = self.normal.len();
            if !mutation::on(Mutation::SweepHidesJobs) {
                self.front
                    .len
                    .store(front.len() + moving, Ordering::Relaxed);
            }
            for _ in 0..moving {
                let Some(job) = self.normal.pop() else { break };
                front.push_back(job);
            }
            self.front.len.store(front.len(), Ordering::Relaxed);
        }
        for line in [&self.front, &self.background] {
            // `each` is called without the lock: it may wake and drop what belongs to users.
            let jobs: Vec<_> = line.jobs.lock().iter().cloned().collect();
            jobs.iter().for_each(&each);
            let mut waiting = line.jobs.lock();
            for job in mem::take(&mut *waiting) {
                if job.is_queued() {
                    waiting.push_back(job)
                } else {
                    shells.push(job)
                }
            }
            line.len.store(waiting.len(), Ordering::Relaxed);
        }
    }
}

impl Line {
    fn new() -> Self {
        Self {
            jobs: Mutex::new(VecDeque::new()),
            len: AtomicUsize::new(0),
        }
    }

    fn push(&self, job: Arc<dyn Run>) {
        let mut jobs = self.jobs.lock();
        jobs.push_back(job);
        self.len.store(jobs.len(), Ordering::Relaxed);
    }

    fn pop_if(&self, test: impl FnOnce(&dyn Run) -> bool) -> Option<Arc<dyn Run>> {
        let mut jobs = self.jobs.lock();
        let first = jobs
            .front()
            .is_some_and(|job| test(&**job))
            .then(|| jobs.pop_front())
            .flatten();
        self.len.store(jobs.len(), Ordering::Relaxed);
        first
    }

    #[inline]
    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An aged background job takes one pick in so many.
const AGED_SHARE: usize = 4;

const MIN_SLACK: usize = 16;
const MAX_SLACK: usize = 1024;
