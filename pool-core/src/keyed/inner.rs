//! What a keyed pool, its leases and its tasks have in common.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    KeyedManager,
    builder::Says,
    keep::Snapshot,
    keeper,
    kernel::{Kernel, Limits},
    limits::{KeyLimits, Terms},
    seats::{self, SeatState},
    table::Place,
    task,
    work::Work,
};
#[cfg(feature = "metrics")]
use crate::observe::Desk;
use crate::{
    config::{Config, ConfigError, IdleOrder},
    engine::{self, Backoff, Holder, Refusal},
    moment::Moment,
    observe::{CloseReason, LeaseInfo, Observer, Status, Timings},
    pool::{
        ARM_AFTER, Clock, Error, Failure, Home, Kind, OpenError, TICK, TICK_NANOS, Usage, caught,
        counted, lease_info, rounds,
    },
    rt,
};

pub(super) type Slot<K, M> =
    seats::Slot<K, <M as KeyedManager<K>>::Resource, Failure<<M as KeyedManager<K>>::Error>>;
pub(super) type Seat<K, M> =
    seats::Seat<K, <M as KeyedManager<K>>::Resource, Failure<<M as KeyedManager<K>>::Error>>;
pub(super) type Left<K, M> =
    Work<K, <M as KeyedManager<K>>::Resource, Failure<<M as KeyedManager<K>>::Error>>;
pub(super) type Cells<K, M> =
    Kernel<K, <M as KeyedManager<K>>::Resource, Failure<<M as KeyedManager<K>>::Error>>;

/// One keyed pool. Handles, leases and running tasks keep it alive; its keeper does not.
pub(super) struct Inner<K, M: KeyedManager<K>> {
    pub(super) kernel: engine::Arc<Cells<K, M>>,
    pub(super) manager: M,
    pub(super) config: Config,
    pub(super) name: Arc<str>,
    pub(super) clock: Clock,
    /// Tells opens that are under way to look whether they are still wanted.
    pub(super) calls: Notify,
    /// The tick at which a lease was timed last.
    timed_at: AtomicU64,
    says: Says<K>,
    /// What holds for keys of which nothing else is said.
    terms: Arc<Terms>,
    hasher: RandomState,
    observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    pub(super) publisher: Desk,
    /// The keeper's runtime, for returns on threads that have none. Locked for a clone, and nothing is locked under it.
    runtime: Mutex<Option<Handle>>,
    /// Which that is.
    home: Home,
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> Inner<K, M> {
    pub(super) fn new(
        manager: M,
        name: String,
        config: Config,
        max_total: u32,
        max_waiters: usize,
        says: Says<K>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let limits = Limits {
            max_total,
            max_waiters,
            fifo: config.idle_order == IdleOrder::Fifo,
            backoff: Backoff::default(),
            leak_after: config.leak_after,
            reclaim_after: config.reclaim_after,
            arm_after: ARM_AFTER,
            tick: TICK,
            rounds: rounds(&config),
        };
        Self {
            kernel: engine::Arc::new(Kernel::new(limits)),
            manager,
            terms: Arc::new(Terms::new(&config, KeyLimits::new())),
            config,
            name: name.into(),
            clock: Clock::new(),
            calls: Notify::new(),
            timed_at: AtomicU64::new(u64::MAX),
            says,
            hasher: RandomState::new(),
            observer,
            #[cfg(feature = "metrics")]
            publisher: Desk::default(),
            runtime: Mutex::new(None),
            home: Home::new(),
        }
    }

    #[inline]
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    /// What holds for this key. Runs user code.
    pub(super) fn terms_of(&self, key: &K) -> Result<Arc<Terms>, ConfigError> {
        let limits = match &self.says.limits {
            Some(limits) => limits(key),
            None => return Ok(Arc::clone(&self.terms)),
        };
        limits.validate()?;
        let terms = Terms::new(&self.config, limits);
        Ok(if terms == *self.terms {
            Arc::clone(&self.terms)
        } else {
            Arc::new(terms)
        })
    }

    /// The error for a get of a key whose limits cannot be used.
    pub(super) fn unusable<Q>(&self, key: &Q, error: ConfigError) -> Error<M::Error>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let failure = OpenError::Limits(error);
        self.error(key, Kind::Connect, Duration::ZERO, Some(Arc::new(failure)))
    }

    /// Where this key is, if it is there. Compares with nothing locked.
    pub(super) fn find<Q>(&self, key: &Q) -> (Option<Place>, Option<Place>)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let seen = self.kernel.seen(self.hash(key));
        let is_it = |(place, known): &(Place, Arc<K>)| {
            let known: &K = known;
            (known.borrow() == key).then_some(*place)
        };
        let found = seen.first.iter().chain(&seen.more).find_map(is_it);
        (found, seen.youngest())
    }

    /// What time it is, within a tick.
    #[inline]
    pub(super) fn rough_now(&self) -> Moment {
        match self.clock.ticked() {
            Some(tick) => tick,
            None => self.start_tick(),
        }
    }

    /// Is this lease one that is timed exactly? One in each tick is, of whichever key.
    #[inline]
    pub(super) fn times(&self, tick: Moment) -> bool {
        let nanos = tick.as_nanos();
        // Ordering: nothing is published with it; that two see the same tick costs a reading of the clock.
        let times = self.timed_at.load(Ordering::Relaxed) != nanos;
        if times {
            self.timed_at.store(nanos, Ordering::Relaxed);
        }
        times
    }

    #[cold]
    fn start_tick(&self) -> Moment {
        self.clock
            .start_for(&self.kernel.post, || self.kernel.ring())
    }

    /// An idle one of this key that is not known to be broken, if nobody stands in its line.
    #[inline]
    pub(super) fn take_fit<Q>(
        self: &Arc<Self>,
        key: &Q,
        hash: u64,
        now: Moment,
        holder: Holder,
    ) -> Option<Box<Slot<K, M>>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        loop {
            let mut slot = self.kernel.take(hash, now, holder)?;
            let mut same = false;
            let fit = caught(|| {
                let known: &K = slot.seat.key();
                same = known.borrow() == key;
                same && !self.manager.is_broken(&mut slot.item)
            });
            match fit {
                Ok(true) => return Some(slot),
                _ if same => self.discard(slot, CloseReason::Broken),
                Ok(_) => {
                    // Another key has the same hash.
                    self.lay_back(slot);
                    return None;
                }
                Err(message) => {
                    self.lay_back(slot);
                    // It was the comparison that panicked: that is the caller's.
                    resume_unwind(Box::new(message));
                }
            }
        }
    }

    #[inline]
    pub(super) fn is_fit(&self, slot: &mut Slot<K, M>) -> bool {
        caught(|| !self.manager.is_broken(&mut slot.item)).unwrap_or(false)
    }

    /// A lease ends. `timed_from`: when it began, if it is timed exactly; else never.
    #[inline]
    pub(super) fn give_back(self: &Arc<Self>, mut slot: Box<Slot<K, M>>, timed_from: Moment) {
        if !self.is_fit(&mut slot) {
            return self.discard(slot, CloseReason::Broken);
        }
        let (now, lasted) = match timed_from {
            // Not timed exactly; known well enough if it was a long one.
            Moment::NEVER => {
                let now = self.rough_now();
                let long = now.is_past(slot.used_at, TICK_NANOS);
                (now, long.then(|| now - slot.used_at))
            }
            from => {
                let now = self.clock.now();
                (now, Some(now - from))
            }
        };
        let usage = usage_of(&slot, now);
        match caught(|| self.manager.needs_reset(&mut slot.item, &usage)) {
            Ok(false) if !slot.tainted => {
                if let Some(work) = Kernel::put(&self.kernel, slot, now, lasted) {
                    self.perform(work);
                }
            }
            Ok(false) => self.discard(slot, CloseReason::Tainted),
            Ok(true) => {
                self.kernel.begin_reset(&mut slot, lasted);
                match self.runtime() {
                    Some(runtime) => drop(runtime.spawn(task::reset(Arc::clone(self), slot))),
                    None => self.discard(slot, CloseReason::NoRuntime),
                }
            }
            Err(_) => self.discard(slot, CloseReason::ResetFailed),
        }
    }

    /// One that nobody used goes back.
    pub(super) fn lay_back(self: &Arc<Self>, slot: Box<Slot<K, M>>) {
        let now = self.clock.now();
        self.perform(Kernel::put_unused(&self.kernel, slot, now));
    }

    /// Closes one for a reason that the kernel did not find itself.
    #[cold]
    pub(super) fn discard(self: &Arc<Self>, slot: Box<Slot<K, M>>, reason: CloseReason) {
        self.kernel.begin_close(&slot, reason);
        self.close_slot(slot, reason);
    }

    /// Does what a decision of the kernel left to do. Nothing is locked.
    pub(super) fn perform(self: &Arc<Self>, work: Left<K, M>) {
        let Work {
            wakers,
            opens,
            checks,
            closes,
            gone,
            called_off,
        } = work;
        wakers.wake();
        drop(gone);
        if called_off {
            self.calls.notify_waiters();
        }
        if opens.is_empty() && checks.is_empty() && closes.is_empty() {
            return;
        }
        for (slot, reason) in closes {
            self.close_slot(slot, reason);
        }
        // Without a runtime the seats are dropped, which frees them: whoever is polled next finds the room.
        let Some(runtime) = self.runtime() else {
            return;
        };
        for slot in checks {
            drop(runtime.spawn(task::check(Arc::clone(self), slot)));
        }
        for (seat, terms) in opens {
            drop(runtime.spawn(task::open(Arc::clone(self), seat, terms)));
        }
    }

    /// Closes the resource and then frees its seat, on a task if there is a runtime for it.
    fn close_slot(self: &Arc<Self>, slot: Box<Slot<K, M>>, reason: CloseReason) {
        self.tell(slot.seat.key(), |observer, pool| {
            observer.closed(pool, reason)
        });
        match self.runtime() {
            Some(runtime) => drop(runtime.spawn(task::close(Arc::clone(self), slot))),
            None => drop(caught(|| drop(slot))),
        }
    }

    /// This thread's runtime, or the keeper's.
    pub(super) fn runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| {
            let kept = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
            kept.clone()
        })
    }

    pub(super) fn keeper_runs(&self) -> bool {
        self.kernel.post.is_filled()
    }

    /// A timer on this thread's runtime, or on the keeper's.
    pub(super) fn sleep_until(&self, at: Instant) -> Pin<Box<Sleep>> {
        let runtime = self.runtime();
        let _entered = runtime.as_ref().map(Handle::enter);
        Box::pin(sleep_until(at))
    }

    /// Is the keeper on another runtime than this thread, which may be on a thread that is busy, or that nobody drives?
    pub(super) fn keeper_is_elsewhere(&self) -> bool {
        let here = || Handle::try_current().ok().map(|here| here.id());
        self.home.is_elsewhere(here)
    }

    /// Makes sure that there is a keeper. Called by gets that have to wait, on their runtime.
    pub(super) fn ensure_keeper(self: &Arc<Self>, runtime: &Handle) {
        if !self.kernel.post.fill() {
            return;
        }
        let kept = Some(runtime.clone());
        *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        self.home.set(runtime.id(), rt::drives_itself(runtime));
        drop(runtime.spawn(keeper::keep(self)));
    }

    pub(super) fn close(self: &Arc<Self>) {
        let work = self.kernel.close();
        self.calls.notify_waiters();
        self.perform(work);
    }

    /// The error for a get of `key`, which is at `place` if it is there.
    pub(super) fn error<Q>(
        &self,
        key: &Q,
        kind: Kind,
        waited: Duration,
        failure: Option<Failure<M::Error>>,
    ) -> Error<M::Error>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let name = match &self.says.name {
            Some(_) => self.name_of(&key.to_owned()),
            None => Arc::clone(&self.name),
        };
        match kind {
            Kind::Timeout(phase) => {
                self.tell_as(&name, |observer, pool| {
                    observer.timed_out(pool, phase, waited)
                });
            }
            Kind::Overloaded | Kind::Shed => self.tell_as(&name, Observer::overloaded),
            Kind::Closed | Kind::Connect | Kind::Busy | Kind::NoRuntime => {}
        }
        let place = self.find(key).0;
        let of = place.and_then(|place| self.kernel.snapshot_of(place));
        let of = of.unwrap_or_else(|| self.empty(&key.to_owned()));
        let failure = failure.or_else(|| of.last_error.clone());
        Error::new(name, kind, waited, status_of(&of), failure)
    }

    /// The error for a refusal of the kernel's.
    pub(super) fn refused<Q>(
        &self,
        key: &Q,
        refusal: Refusal<Failure<M::Error>>,
        waited: Duration,
    ) -> Error<M::Error>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (kind, failure) = match refusal {
            Refusal::Closed => (Kind::Closed, None),
            Refusal::Overloaded => (Kind::Overloaded, None),
            Refusal::Shed => (Kind::Shed, None),
            Refusal::Connect(failure) => (Kind::Connect, Some(failure)),
        };
        self.error(key, kind, waited, failure)
    }

    /// A key that is not there.
    fn empty(&self, key: &K) -> Snapshot<Failure<M::Error>> {
        Snapshot {
            // What cannot be used allows none.
            max_size: self.terms_of(key).map_or(0, |terms| terms.max_size),
            counts: [0; SeatState::COUNT],
            waiting: 0,
            closed: self.kernel.is_closed(),
            counters: super::counts::Counts::default(),
            last_error: None,
        }
    }

    /// A get that began to wait at `since` got one.
    #[inline]
    pub(super) fn waited(&self, key: &K, since: Moment) {
        if self.observer.is_some() {
            let waited = self.clock.now() - since;
            self.tell(key, |observer, pool| observer.waited(pool, waited));
        }
    }

    /// A lease has lasted too long.
    pub(super) fn leaked(&self, key: &K, lease: &LeaseInfo) {
        #[cfg(feature = "tracing")]
        crate::pool::trace::leaked(&self.name, self.key_name(key).as_deref(), lease);
        self.tell(key, |observer, pool| observer.leaked(pool, lease));
    }

    pub(super) fn leases(&self, of: Option<Place>) -> Vec<(Arc<K>, LeaseInfo)> {
        let now = self.clock.now();
        let holders = self.kernel.holders(of).into_iter();
        holders
            .map(|(key, holder)| (key, lease_info(holder, now)))
            .collect()
    }

    /// What a key is called: the name of the pool and that of the key, if it has one.
    fn name_of(&self, key: &K) -> Arc<str> {
        match self.key_name(key) {
            Some(of_key) => format!("{}/{of_key}", self.name).into(),
            None => Arc::clone(&self.name),
        }
    }

    /// The name of the key alone, if it has one. Runs user code.
    pub(super) fn key_name(&self, key: &K) -> Option<String> {
        let name = self.says.name.as_ref()?;
        caught(|| name(key)).ok()
    }

    /// May keys have names?
    #[cfg(feature = "tracing")]
    pub(super) const fn names_keys(&self) -> bool {
        self.says.name.is_some()
    }

    /// Tells the observer of something of this key, if there is one.
    #[inline]
    pub(super) fn tell(&self, key: &K, event: impl FnOnce(&dyn Observer, &str)) {
        if self.observer.is_some() {
            self.tell_as(&self.name_of(key), event);
        }
    }

    fn tell_as(&self, name: &str, event: impl FnOnce(&dyn Observer, &str)) {
        if let Some(observer) = &self.observer {
            drop(caught(|| event(&**observer, name)));
        }
    }
}

impl<K, M: KeyedManager<K>> Inner<K, M> {
    pub(super) fn timings(&self) -> Timings {
        let of = self.kernel.histograms();
        Timings {
            wait: of.wait,
            used: of.used,
            create: of.create,
            check: of.check,
            reset: of.reset,
        }
    }
}

impl<K, M: KeyedManager<K>> fmt::Debug for Inner<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[inline]
pub(super) fn usage_of<K, T, E: Clone>(slot: &seats::Slot<K, T, E>, now: Moment) -> Usage {
    Usage {
        opened_at: slot.opened_at,
        idle_since: slot.idle_since,
        now,
        leases: slot.uses.into(),
        check_due: now >= slot.check_due_at,
        tainted: slot.tainted,
    }
}

pub(super) fn status_of<E: fmt::Display>(of: &Snapshot<E>) -> Status {
    let [idle, leased, checking, resetting] = [
        SeatState::Idle,
        SeatState::Leased,
        SeatState::Checking,
        SeatState::Resetting,
    ]
    .map(|state| of.count(state));
    Status {
        max_size: of.max_size,
        open: idle + leased + checking + resetting,
        idle,
        leased,
        checking,
        resetting,
        opening: of.count(SeatState::Opening),
        closing: of.count(SeatState::Closing),
        waiting: of.waiting,
        is_closed: of.closed,
        gets: of.counters.gets,
        last_error: of.last_error.as_ref().map(ToString::to_string),
        ..counted(&of.counters)
    }
}
