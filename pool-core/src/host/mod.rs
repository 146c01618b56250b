//! The parts that every pool has beside its kernel, written once: name, clock, keeper, tasks, the wait of a get, the drain, errors.
//!
//! A kernel decides under its lock, and knows neither runtime nor clock. A face (`pool/`, `keyed/`, `shared/`) has the manager, the
//! lease and the builder. Everything between the two is here, written over a few traits:
//!
//! | trait | implemented by | what this module provides |
//! |---|---|---|
//! | [`Kept`](crate::engine::Kept) | a kernel | a keeper that is started, called, replaced and ended ([`keeper`]) |
//! | [`Hosted`] | the state that the handles and tasks of a pool share | name, clock, observer, runtime, [`end`], tracing, metrics |
//! | [`Waits`] | the same, with the ticket of a waiter | deadline, timer and abandonment of a get ([`wait`]) |
//! | [`Opens`], [`Tends`] | the same, with the resources | opens, checks, resets and closes, with timeouts and with panics caught ([`task`]) |
//!
//! # Time
//! One rule holds for all pools: *a time that was read has an age*. No decision relies on a tick that may be old ([`clock`]). A
//! wait relies on a keeper only as long as the keeper comes by. A get that is refused performs what is due itself. See
//! `PROTOCOL.md`.

mod alarm;
mod boxed;
mod budget;
mod calls;
mod caught;
mod clock;
mod end;
mod error;
mod failure;
mod home;
pub(crate) mod keeper;
mod lend;
#[cfg(feature = "metrics")]
mod publish;
mod setup;
mod task;
#[cfg(all(test, pool_shuttle))]
mod tests;
mod thread;
mod timer;
#[cfg(feature = "tracing")]
pub(crate) mod trace;
mod usage;
mod wait;

use std::{fmt, sync::Arc, task::Context, time::Duration};

pub(crate) use alarm::Alarm;
pub use boxed::BoxError;
pub(crate) use budget::spend;
pub use calls::Calls;
pub(crate) use caught::{Caught, caught};
pub(crate) use clock::{Clock, FAR, LAG};
pub use end::Drained;
pub(crate) use end::drain;
pub use error::Error;
pub(crate) use error::{Kind, Words};
pub(crate) use failure::Failure;
pub use failure::OpenError;
pub(crate) use home::Home;
pub(crate) use keeper::Round;
pub(crate) use lend::{Verdict, is_interrupted, verdict};
#[cfg(feature = "metrics")]
pub(crate) use publish::{Desk, Published};
#[doc(hidden)]
pub use setup::__name_for;
pub(crate) use setup::{Setup, observing};
pub(crate) use task::{Opens, Tends, Terms, check, close, open, reset, say_goodbye, unless};
pub(crate) use thread::number as thread_number;
pub(crate) use timer::{NoRuntime, Timer};
#[cfg(feature = "tracing")]
pub(crate) use trace::Outage;
pub use usage::Usage;
pub(crate) use wait::{Ended, Limit, Polled, Queued, Wait, Waits};

use crate::{
    config::Config,
    engine::{Counters, Histograms, Holder, Kept, Refusal, Watched},
    moment::Moment,
    observe::{Closes, LeaseInfo, Observer, Status, Timings},
    rt::{Handle, Notify},
    sync::Mutex,
};

/// What a pool has beside its kernel.
pub(crate) struct Host {
    pub(crate) name: Arc<str>,
    /// The key of the whole pool, if it is one of several pools with one name.
    pub(crate) key: Option<Arc<str>>,
    pub(crate) clock: Clock,
    /// Notifies running opens to check whether they are still wanted.
    pub(crate) calls: Notify,
    observer: Option<Arc<dyn Observer>>,
    /// The keeper's runtime, for returns on threads that have none. Locked for a clone only; no other lock is taken under it.
    runtime: Mutex<Option<Handle>>,
    /// Which runtime that is.
    home: Home,
    #[cfg(feature = "tracing")]
    pub(crate) outage: Outage,
    #[cfg(feature = "metrics")]
    pub(crate) desk: Desk,
}

impl Host {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            name: setup.name,
            key: setup.key,
            clock: Clock::new(),
            calls: Notify::new(),
            observer: setup.observer,
            runtime: Mutex::new(None),
            home: Home::new(),
            #[cfg(feature = "tracing")]
            outage: Outage::default(),
            #[cfg(feature = "metrics")]
            desk: Desk::new(setup.metric_names),
        }
    }

    /// Returns this thread's runtime, or the keeper's.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        let here = Handle::try_current().ok();
        here.or_else(|| self.runtime.lock().clone())
    }

    /// Whether there is an observer.
    #[inline]
    pub(crate) const fn is_observed(&self) -> bool {
        self.observer.is_some()
    }
}

/// The state that the handles, leases and tasks of one pool share: a kernel, a manager, and the [`Host`]. Handles, leases and
/// running tasks keep it alive; its keeper does not.
pub(crate) trait Hosted: Sized + Send + Sync + 'static {
    type Kernel: Watched;
    /// The manager's error.
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;
    /// The key of a resource; `()` for pools without keys.
    type Key: Send + Sync + 'static;
    /// What a decision of the kernel leaves to do.
    type Work: Send;

    /// Whether the pool has keys.
    #[cfg(feature = "tracing")]
    const HAS_KEYS: bool = false;

    fn host(&self) -> &Host;
    fn kernel(&self) -> &Self::Kernel;
    #[cfg(feature = "tracing")]
    fn slow_get(&self) -> Option<Duration>;

    /// All counts, in the form of an exclusive pool's counts.
    fn status(&self) -> Status;
    fn timings(&self) -> Timings;
    fn leases(&self) -> Vec<LeaseInfo>;

    /// Performs what a decision of the kernel left to do. Nothing is locked.
    fn perform(self: &Arc<Self>, work: Self::Work);

    /// A round of the keeper of this number: does what is due. `None` if the keeper was replaced, or the pool is closed and empty.
    fn round(self: &Arc<Self>, number: u64, now: Moment, context: &Context<'_>) -> Option<Round>;

    /// How many places are taken, in whatever state.
    fn left(&self) -> u32 {
        let status = self.status();
        status.open + status.opening + status.closing
    }

    /// The counts that an error shows, and how its message describes them.
    fn counts(&self) -> (Status, Words) {
        (self.status(), Words::Resources)
    }

    /// The name for the observer: the name of the pool, and of the key if it has a name. May run user code.
    fn name_of(&self, key: &Self::Key) -> Arc<str> {
        let _ = key;
        Arc::clone(&self.host().name)
    }

    /// The name of the key alone. May run user code.
    fn key_name(&self, key: &Self::Key) -> Option<String> {
        let _ = key;
        None
    }

    /// How many idle resources the pool keeps.
    #[cfg(feature = "metrics")]
    fn min_idle(&self) -> u32 {
        0
    }

    /// The snapshot to publish. By default the snapshot of an exclusive pool.
    #[cfg(feature = "metrics")]
    fn for_publishing(&self) -> crate::observe::Snapshot {
        crate::observe::Snapshot {
            status: self.status(),
            timings: self.timings(),
            min_idle: self.min_idle(),
            shares: None,
        }
    }

    /// The time, at most [`LAG`] old.
    #[inline]
    fn rough_now(&self) -> Moment {
        let clock = &self.host().clock;
        clock.ticked().unwrap_or_else(|| {
            let kernel = self.kernel();
            clock.start_for(kernel.post(), || kernel.ring())
        })
    }

    /// The time of the last tick, for uses in which an old tick only makes something look older than it is.
    #[inline]
    fn last_tick(&self) -> Moment {
        let tick = self.host().clock.last_tick();
        tick.unwrap_or_else(|| self.rough_now())
    }

    /// The exact time.
    #[inline]
    fn now(&self) -> Moment {
        self.host().clock.now()
    }

    /// Notifies the observer, if there is one, of an event of this key.
    #[inline]
    fn tell(&self, key: &Self::Key, event: impl FnOnce(&dyn Observer, &str)) {
        if let Some(observer) = &self.host().observer {
            let name = self.name_of(key);
            drop(caught(|| event(&**observer, &name)));
        }
    }

    /// Notifies the observer that a get which began to wait at `since` got a resource.
    #[inline]
    fn waited(&self, key: &Self::Key, since: Moment) {
        if self.host().is_observed() {
            let waited = self.now() - since;
            self.tell(key, |observer, pool| observer.waited(pool, waited));
        }
    }

    /// Reports a lease that has lasted too long.
    fn leaked(&self, key: &Self::Key, lease: &LeaseInfo) {
        #[cfg(feature = "tracing")]
        trace::leaked(&self.host().name, self.key_name(key).as_deref(), lease);
        self.tell(key, |observer, pool| observer.leaked(pool, lease));
    }

    /// Makes the error of a get that ended without a resource, and notifies the observer.
    fn error(
        &self,
        key: &Self::Key,
        kind: Kind,
        waited: Duration,
        failure: Option<Failure<Self::Error>>,
        (status, words): (Status, Words),
    ) -> Error<Self::Error> {
        // A kernel that panicked reports that it is closed.
        let poisoned = kind == Kind::Closed && self.kernel().is_poisoned();
        let kind = if poisoned { Kind::Poisoned } else { kind };
        match kind {
            Kind::Timeout(phase) => self.tell(key, |observer, pool| {
                observer.timed_out(pool, phase, waited);
            }),
            Kind::Overloaded | Kind::Shed => self.tell(key, Observer::overloaded),
            Kind::Closed
            | Kind::Connect
            | Kind::Busy
            | Kind::NoRuntime
            | Kind::Poisoned
            | Kind::TooLarge(_) => {}
        }
        Error::new(self.name_of(key), kind, waited, status, words, failure)
    }
}

/// The error kind of a refusal by the kernel.
pub(crate) fn kind_of<E>(refusal: Refusal<Failure<E>>) -> (Kind, Option<Failure<E>>) {
    match refusal {
        Refusal::Closed => (Kind::Closed, None),
        Refusal::Overloaded => (Kind::Overloaded, None),
        Refusal::Shed => (Kind::Shed, None),
        Refusal::Connect(failure) => (Kind::Connect, Some(failure)),
    }
}

/// A status with the counters only, without the current counts.
pub(crate) fn counted(of: &Counters) -> Status {
    let mut status = Status {
        waited: of.waited,
        opened: of.opened,
        open_failures: of.open_failures,
        closed: Closes::new(of.closed),
        dropped: of.dropped,
        overloaded: of.overloaded,
        shed: of.shed,
        failed_fast: of.failed_fast,
        cancelled: of.cancelled,
        reclaimed: of.reclaimed,
        ..Status::default()
    };
    status.set_timeouts(of.timeouts);
    status
}

pub(crate) fn timings_of(of: Histograms) -> Timings {
    Timings {
        wait: of.wait,
        used: of.used,
        create: of.create,
        check: of.check,
        reset: of.reset,
    }
}

pub(crate) fn lease_info(holder: Holder, now: Moment) -> LeaseInfo {
    LeaseInfo {
        held_for: now - holder.since,
        place: holder.place,
        label: holder.label,
    }
}

/// How often the keeper must come by, so that nothing due waits long: a quarter of the shortest span, at most 30 s (HikariCP's
/// housekeeping period).
pub(crate) fn rounds(config: &Config) -> Duration {
    let spans = [
        config.idle_timeout,
        config.max_lifetime,
        config.keepalive,
        config.leak_after,
    ];
    rounds_of(spans)
}

pub(crate) fn rounds_of(spans: impl IntoIterator<Item = Option<Duration>>) -> Duration {
    let shortest = spans.into_iter().flatten().min().unwrap_or(Duration::MAX);
    (shortest / 4).clamp(TICK, Duration::from_secs(30))
}

/// A resource that breaks before its first lease and this soon after its open counts as a failed open.
pub(crate) const STILLBORN: Duration = Duration::from_secs(1);
/// How often the keeper comes by, and how often the tick of the coarse clock advances, while the pool is in use.
pub(crate) const TICK: Duration = Duration::from_nanos(TICK_NANOS);
pub(crate) const TICK_NANOS: u64 = 10_000_000;
/// A longer wait makes a timer for its deadline. Shorter waits, which are nearly all waits, never touch the timer.
pub(crate) const ARM_AFTER: Duration = Duration::from_millis(500);
