//! The jobs that wait for a worker.
//!
//! Normal jobs go through a bounded channel without a lock. Background jobs wait in a queue of their own. So do normal jobs that a
//! sweep has taken out of the channel: a cancelled job leaves its empty shell in the channel, and shells must not fill it.
//!
//! A background job runs when no normal job waits. Once the oldest background job has waited longer than `age`, it takes one pick
//! in [`AGED_SHARE`] from the normal jobs. So background jobs are late but never starve, and many aged jobs do not displace the
//! normal ones. A shell of a background job does not take such a pick.

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

/// All jobs that wait for a worker of one pool.
pub(crate) struct Queue {
    normal: Channel<Arc<dyn Run>>,
    /// Normal jobs that are older than all jobs in `normal`.
    front: Line,
    background: Line,
    /// Roughly how many shells are in `normal`.
    dead: AtomicUsize,
    /// How many shells may be in `normal` before a sweep clears them.
    slack: usize,
    age: Duration,
    picks: AtomicUsize,
}

/// A queue under a lock. Under the lock no other lock is taken, except for a job's slot.
struct Line {
    jobs: Mutex<VecDeque<Arc<dyn Run>>>,
    /// How many jobs the queue has, readable without the lock.
    len: AtomicUsize,
}

impl Queue {
    /// Makes a queue with room for `places` jobs of each priority.
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

    /// Appends a job. The job has a place, so there is room for it, unless shells take the room. Then a sweep clears them.
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

    /// Takes the next job, or the shell of a job.
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
            // A shell may be old enough too, and would take the turn of the next job that is still queued.
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

    /// Whether there is nothing to take.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many jobs wait, including shells.
    pub(crate) fn len(&self) -> usize {
        self.normal.len() + self.front.len() + self.background.len()
    }

    /// Roughly how many jobs wait, without shells.
    pub(crate) fn live(&self) -> usize {
        self.len().saturating_sub(self.dead.load(Ordering::Relaxed))
    }

    /// Counts a job in this queue that has just become a shell. Returns whether it is time for a [`sweep`](Self::sweep).
    pub(crate) fn note_dead(&self) -> bool {
        self.dead.fetch_add(1, Ordering::Relaxed) + 1 >= self.slack
    }

    /// Records that a worker has taken a shell.
    pub(crate) fn note_buried(&self) {
        let less = |dead: usize| dead.checked_sub(1);
        // A sweep may already have reset the count.
        self.dead
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
    }

    /// Passes every waiting job to `each`, and then removes the jobs that are shells.
    pub(crate) fn sweep(&self, each: impl Fn(&Arc<dyn Run>)) {
        let mut shells = Vec::new();
        {
            let mut front = self.front.jobs.lock();
            self.dead.store(0, Ordering::Relaxed);
            // Only the jobs that are in the channel now are moved, because other threads go on pushing. They are counted before
            // they move, so that a worker that looks for work meanwhile finds them in one of the two queues.
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
            // `each` runs without the lock, because it may wake and drop values of users.
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

/// One pick in this many goes to an aged background job.
const AGED_SHARE: usize = 4;

const MIN_SLACK: usize = 16;
const MAX_SLACK: usize = 1024;
