//! What all workers of one pool share.
//!
//! [`submit`](Core::submit) and what [`work`](crate::worker::work) does are in `flow.rs`, parallel work is in `help.rs`, the
//! shutdown in `close.rs`, what is due at a time in `look.rs`. Why no job stays behind is written out in `PROTOCOL.md` of the
//! crate's sources.

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

/// The inside of a pool. On cache lines of its own: the counts of the handles, which each handle of a job changes, are before it.
#[repr(align(128))]
pub(crate) struct Core {
    plan: Plan,
    places: Places,
    background_places: Places,
    hasher: RandomState,
    queue: Queue,
    idle: Idle,
    keeper: Keeper,
    /// By when the first job in the queue has to be begun, as [`Keeper::nanos`], or earlier.
    expiry: AtomicU64,
    patience: Patience,
    crew: Crew,
    workers: Box<[Worker]>,
    counters: Counters,
    #[cfg(feature = "metrics")]
    meters: crate::meters::Meters,
    /// [`OPEN`](close::OPEN) and what comes after.
    stage: AtomicU8,
    /// Calls of `Ctx::parallel` that go on.
    parallel: AtomicUsize,
    /// So many calls for help are still to be made because a piece of parallel work was found outside of a job. No more than `helps` of a
    /// worker for the models to explore.
    calls: std::sync::atomic::AtomicUsize,
    mourners: Mutex<Mourners>,
    born: Instant,
}

/// What a pool is made with.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: Arc<str>,
    /// At most.
    pub(crate) workers: usize,
    pub(crate) queue: usize,
    /// How many may wait for a place.
    pub(crate) max_waiting: Option<usize>,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) background_age: Duration,
    pub(crate) idle_yields: usize,
    /// Is there rayon under the workers, so that idle ones can help?
    pub(crate) helpful: bool,
    pub(crate) nice: Nice,
    pub(crate) hooks: Hooks,
}

/// What the workers do not count.
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

/// A number that only grows. A statistic, not part of what the models explore.
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

    /// Tells pools apart, as long as they live.
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

    /// What stands for a tenant. Seeded at random, so that nobody can make up two that share a turn.
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

    /// The error of a job that was not let into the line for a place, or sent out of it.
    pub(crate) fn refused(&self, label: &'static str, refused: &LimitError) -> Error {
        if refused.is_overloaded() {
            return self.overloaded(label);
        }
        self.closed(label)
    }

    /// The error of a job that has no place, and gets none any more.
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
