//! What all workers of one pool share: places, queue, sleepers, shutdown.
//!
//! Submitting and shutting down race like this. A submitter puts its job into the queue and then asks whether the pool is
//! closed; a worker sees that the pool is closed and then looks into the queue once more before it leaves. Each has a `SeqCst`
//! fence between the two, so one of them sees what the other wrote: either a worker runs the job, or its submitter takes it out
//! again and the caller gets an error. It never stays behind.

use std::{
    fmt,
    task::Waker,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Kind},
    idle::Idle,
    job::{Head, Run},
    keeper::{Keeper, Look},
    mutation::{self, Mutation},
    places::Limiter,
    queue::Queue,
    sync::{Arc, AtomicU8, AtomicUsize, Mutex, Ordering, fence},
    worker::{Running, Worker},
};

/// The inside of a pool.
pub(crate) struct Core {
    name: Arc<str>,
    queue_bound: usize,
    queue_timeout: Option<Duration>,
    idle_yields: usize,
    places: Limiter,
    background_places: Limiter,
    queue: Queue,
    idle: Idle,
    keeper: Keeper,
    workers: Box<[Worker]>,
    counters: Counters,
    stage: AtomicU8,
    alive: AtomicUsize,
    /// Who waits for the last worker to leave.
    mourners: Mutex<Vec<Waker>>,
}

/// What the workers do not count.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) cancelled: Count,
    pub(crate) expired: Count,
    pub(crate) overrun: Count,
    pub(crate) rejected: Count,
    pub(crate) dropped: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(std::sync::atomic::AtomicU64);

/// What a pool is made with.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: Arc<str>,
    pub(crate) workers: usize,
    pub(crate) queue: usize,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) background_age: Duration,
    pub(crate) idle_yields: usize,
}

impl Core {
    pub(crate) fn new(plan: Plan) -> Self {
        let places = plan.workers + plan.queue;
        Self {
            name: plan.name,
            queue_bound: plan.queue,
            queue_timeout: plan.queue_timeout,
            idle_yields: plan.idle_yields,
            places: Limiter::new(places),
            background_places: Limiter::new(places),
            queue: Queue::new(places, plan.background_age),
            idle: Idle::new(plan.workers),
            keeper: Keeper::new(Instant::now()),
            workers: (0..plan.workers).map(|_| Worker::new()).collect(),
            counters: Counters::default(),
            stage: AtomicU8::new(OPEN),
            alive: AtomicUsize::new(plan.workers),
            mourners: Mutex::new(Vec::new()),
        }
    }

    /// Tells pools apart, as long as they live.
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn idle_yields(&self) -> usize {
        self.idle_yields
    }

    pub(crate) fn queue_timeout(&self) -> Option<Duration> {
        self.queue_timeout
    }

    pub(crate) fn workers(&self) -> &[Worker] {
        &self.workers
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(crate) fn places(&self, background: bool) -> &Limiter {
        if background {
            &self.background_places
        } else {
            &self.places
        }
    }

    pub(crate) fn error(&self, label: &'static str, kind: Kind) -> Error {
        Error::new(&self.name, label, kind)
    }

    pub(crate) fn overloaded(&self, label: &'static str) -> Error {
        self.counters.rejected.add();
        self.error(
            label,
            Kind::Overloaded {
                queue: self.queue_bound,
            },
        )
    }

    pub(crate) fn queue_timed_out(&self, head: &Head, now: Instant) -> Error {
        let waited = now.saturating_duration_since(head.asked_at);
        self.error(
            head.label,
            Kind::QueueTimeout {
                waited,
                workers: self.workers.len(),
            },
        )
    }

    /// Puts a job that has its place into the queue.
    #[inline]
    pub(crate) fn submit(&self, job: Arc<dyn Run>) {
        let deadline = job.head().deadline;
        if mutation::on(Mutation::WakesBeforePush) {
            self.idle.wake_one();
        }
        self.queue.push(Arc::clone(&job));
        // Pairs with the fences in `work_one` (closing), `Keeper::keep` (deadlines) and `Idle::sleep` (sleepers).
        fence(Ordering::SeqCst);
        if self.is_closed()
            && !mutation::on(Mutation::SubmitIgnoresClose)
            && job.end(self.error(job.head().label, Kind::Closed))
        {
            self.counters.dropped.add();
            self.queue.note_dead();
        }
        drop(job);
        if !mutation::on(Mutation::WakesBeforePush) {
            self.idle.wake_one();
        }
        if let Some(deadline) = deadline {
            self.keeper.look_at(deadline);
        }
    }

    /// A job that waited was given up by its caller.
    pub(crate) fn was_cancelled(&self) {
        self.counters.cancelled.add();
        self.queue.note_dead();
    }

    /// Takes one job from the queue and runs it, as worker `me`. `false` if there was none.
    #[inline]
    pub(crate) fn work_one(&self, me: usize) -> bool {
        let Some(job) = self.queue.pop(Instant::now) else {
            return false;
        };
        if self.stage() >= DROPPING {
            if job.end(self.error(job.head().label, Kind::Closed)) {
                self.counters.dropped.add();
            }
        } else if !self.expire(&job) {
            job.run(self, me);
        }
        true
    }

    /// Has this worker nothing to stay for?
    pub(crate) fn is_over(&self) -> bool {
        if !self.is_closed() {
            return false;
        }
        // Pairs with the fence in `submit`: see the top of the file.
        fence(Ordering::SeqCst);
        mutation::on(Mutation::LeavesWithoutLooking) || self.queue.is_empty()
    }

    /// Sleeps as worker `me` until there is work, or the time is over.
    pub(crate) fn sleep(&self, me: usize, at_most: Option<Duration>) {
        self.idle
            .sleep(me, at_most, || !self.queue.is_empty() || self.is_closed());
    }

    /// Worker `me` is about to run a job.
    pub(crate) fn began(&self, me: usize, head: &Head) {
        let since = Instant::now();
        self.workers[me].book.lock().running = Some(Running {
            label: head.label,
            since,
        });
    }

    /// Worker `me` has run a job.
    pub(crate) fn ended(&self, me: usize, _head: &Head, panicked: bool) {
        let now = Instant::now();
        let mut book = self.workers[me].book.lock();
        if let Some(running) = book.running.take() {
            book.busy += now.saturating_duration_since(running.since);
        }
        if panicked {
            book.panicked += 1;
        } else {
            book.completed += 1;
        }
    }

    /// No more jobs from here on. What waits is run, or with `drop_queued` ended.
    pub(crate) fn close(&self, drop_queued: bool) {
        self.stage.fetch_max(
            if drop_queued { DROPPING } else { DRAINING },
            Ordering::SeqCst,
        );
        self.places.close();
        self.background_places.close();
        if drop_queued {
            self.queue.sweep(|job| {
                if job.end(self.error(job.head().label, Kind::Closed)) {
                    self.counters.dropped.add();
                }
            });
        }
        self.idle.wake_all();
        self.keeper.look_now();
    }

    /// The shutdown has waited long enough: what runs is told, what waits is ended.
    pub(crate) fn abandon(&self) {
        self.stage.fetch_max(ABANDONED, Ordering::SeqCst);
        self.close(true);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.stage() == ABANDONED
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.stage() != OPEN
    }

    /// How many workers there are.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }

    /// Worker `me` is gone.
    pub(crate) fn left(&self, _me: usize) {
        if self.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mourners = std::mem::take(&mut *self.mourners.lock());
            mourners.into_iter().for_each(crate::quiet::wake_quietly);
            self.keeper.look_now();
        }
    }

    /// Wakes `waker` when the last worker has left. `false` if it has.
    pub(crate) fn mourn(&self, waker: Waker) -> bool {
        self.mourners.lock().push(waker);
        self.alive() > 0
    }

    /// What the keeper does when something may be due.
    pub(crate) fn look(&self, now: Instant) -> Look {
        if self.is_closed() && self.alive() == 0 {
            return Look::Over;
        }
        let next = std::cell::Cell::new(None::<Instant>);
        self.queue.sweep(|job| {
            if self.expire_at(job, now) {
                return;
            }
            if let Some(deadline) = job.head().deadline {
                next.set(Some(next.get().map_or(deadline, |next| next.min(deadline))));
            }
        });
        Look::Again(next.get())
    }

    fn expire(&self, job: &Arc<dyn Run>) -> bool {
        job.head().deadline.is_some() && self.expire_at(job, Instant::now())
    }

    /// Ends the job if its deadline has come before a worker.
    fn expire_at(&self, job: &Arc<dyn Run>, now: Instant) -> bool {
        if job.head().deadline.is_none_or(|deadline| now < deadline) {
            return false;
        }
        if job.end(self.queue_timed_out(job.head(), now)) {
            self.counters.expired.add();
        }
        true
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("name", &self.name)
            .field("queued", &self.queue.len())
            .finish_non_exhaustive()
    }
}

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Takes jobs.
const OPEN: u8 = 0;
/// Takes none any more; runs those that wait.
const DRAINING: u8 = 1;
/// Takes none any more; ends those that wait.
const DROPPING: u8 = 2;
/// As `DROPPING`, and nobody waits for those that run.
const ABANDONED: u8 = 3;
