//! The state that all workers of one pool share.
//!
//! `flow.rs` has [`submit`](Core::submit) and the steps of [`work`](crate::worker::work), `help.rs` the parallel work, `close.rs`
//! the shutdown, and `look.rs` what is due at a time. `PROTOCOL.md` in the crate's sources shows why no job stays behind.

mod close;
mod flow;
mod help;
mod look;
#[cfg(all(test, any(pool_loom, pool_shuttle)))]
mod tests;

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    time::{Duration, Instant},
};

pub(crate) use close::Mourner;
pub(crate) use flow::Rested;

use pool_core::LimitError;

use crate::{
    crew::Crew,
    error::{Error, Kind},
    hooks::Hooks,
    idle::Idle,
    job::Head,
    keeper::Keeper,
    nice::Nice,
    patience::Patience,
    places::Places,
    queue::Queue,
    sync::{Arc, AtomicU8, AtomicU64, AtomicUsize, Mutex},
    worker::Worker,
};
use close::Mourners;

/// The shared state of a pool. It has cache lines of its own, because each handle of a job changes the reference count before it.
#[repr(align(128))]
pub(crate) struct Core {
    plan: Plan,
    places: Places,
    background_places: Places,
    hasher: RandomState,
    queue: Queue,
    idle: Idle,
    keeper: Keeper,
    /// The earliest deadline of a job in the queue, as [`Keeper::nanos`], or an earlier time.
    expiry: AtomicU64,
    patience: Patience,
    crew: Crew,
    workers: Box<[Worker]>,
    counters: Counters,
    #[cfg(feature = "metrics")]
    meters: crate::meters::Meters,
    /// [`OPEN`](close::OPEN) or a later stage.
    stage: AtomicU8,
    /// How many calls of `Ctx::parallel` are running.
    parallel: AtomicUsize,
    /// How many calls for help are still to be made because a piece of parallel work was found outside of a job. Like the `turns`
    /// of a worker, this is not explored by the models.
    calls: std::sync::atomic::AtomicUsize,
    mourners: Mutex<Mourners>,
    born: Instant,
}

/// The settings of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: Arc<str>,
    /// The most workers that the pool may have.
    pub(crate) workers: usize,
    pub(crate) queue: usize,
    /// How many jobs may wait for a place.
    pub(crate) max_waiting: Option<usize>,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) background_age: Duration,
    pub(crate) idle_yields: usize,
    /// Whether the workers are rayon threads, so that idle workers can help.
    pub(crate) helpful: bool,
    pub(crate) nice: Nice,
    pub(crate) hooks: Hooks,
}

/// The counts that are not kept by the workers.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) cancelled: Count,
    pub(crate) expired: Count,
    pub(crate) overrun: Count,
    pub(crate) rejected: Count,
    pub(crate) dropped: Count,
    pub(crate) given_up: Count,
    pub(crate) refused: Count,
    pub(crate) failed_starts: Count,
}

/// A number that only grows. It is a statistic, which the models do not explore.
#[derive(Debug, Default)]
pub(crate) struct Count(std::sync::atomic::AtomicU64);

impl Core {
    pub(crate) fn new(plan: Plan, crew: Crew) -> Self {
        let places = plan.workers + plan.queue;
        let born = Instant::now();
        Self {
            places: Places::new(places, plan.max_waiting),
            background_places: Places::new(places, plan.max_waiting),
            hasher: RandomState::new(),
            queue: Queue::new(places, plan.background_age),
            idle: Idle::new(plan.workers),
            keeper: Keeper::new(born),
            expiry: AtomicU64::new(Keeper::NEVER),
            patience: Patience::new(),
            crew,
            workers: (0..plan.workers).map(|_| Worker::new()).collect(),
            counters: Counters::default(),
            #[cfg(feature = "metrics")]
            meters: crate::meters::Meters::new(&plan.name),
            stage: AtomicU8::new(close::OPEN),
            parallel: AtomicUsize::new(0),
            calls: std::sync::atomic::AtomicUsize::new(0),
            mourners: Mutex::new(Mourners::default()),
            born,
            plan,
        }
    }

    /// Identifies the pool, as long as it exists.
    #[inline]
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.plan.name
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
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

    pub(crate) fn patience(&self) -> &Patience {
        &self.patience
    }

    pub(crate) fn crew(&self) -> &Crew {
        &self.crew
    }

    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    /// Returns the hash that stands for a tenant. It is seeded at random, so that a tenant's name cannot be chosen to share the
    /// turn of another tenant.
    pub(crate) fn hash(&self, tenant: impl Hash) -> u64 {
        self.hasher.hash_one(tenant)
    }

    /// How many jobs wait for a worker.
    pub(crate) fn queued(&self) -> usize {
        self.queue.live()
    }

    /// How many jobs wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.places.status().waiting + self.background_places.status().waiting
    }

    pub(crate) fn places(&self, background: bool) -> &Places {
        if background {
            &self.background_places
        } else {
            &self.places
        }
    }

    #[cfg(all(test, any(pool_loom, pool_shuttle)))]
    pub(crate) fn all_places(&self) -> usize {
        self.plan.workers + self.plan.queue
    }

    /// How many normal jobs would find a place.
    #[cfg(all(test, any(pool_loom, pool_shuttle)))]
    pub(crate) fn free_places(&self) -> usize {
        self.places.status().available as usize
    }

    pub(crate) fn error(&self, label: &'static str, kind: Kind) -> Error {
        Error::new(&self.plan.name, label, kind)
    }

    pub(crate) fn overloaded(&self, label: &'static str) -> Error {
        self.counters.rejected.add();
        let (queue, waiting) = (self.plan.queue, self.waiting());
        self.error(label, Kind::Overloaded { queue, waiting })
    }

    /// The error of a job that may not wait for a place, or whose wait for a place was ended.
    pub(crate) fn refused(&self, label: &'static str, refused: &LimitError) -> Error {
        if refused.is_overloaded() {
            return self.overloaded(label);
        }
        self.closed(label)
    }

    /// The error of a job without a place in a closed pool.
    pub(crate) fn closed(&self, label: &'static str) -> Error {
        self.counters.refused.add();
        self.error(label, Kind::Closed)
    }

    pub(crate) fn queue_timed_out(&self, head: &Head, now: Instant) -> Error {
        let waited = now.saturating_duration_since(head.asked_at);
        self.error(
            head.label,
            Kind::QueueTimeout {
                waited,
                workers: self.plan.workers,
            },
        )
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("name", &self.plan.name)
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
