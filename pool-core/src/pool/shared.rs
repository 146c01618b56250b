//! What a pool, its leases and its tasks have in common.

use std::{fmt, num::NonZero, sync::Arc, task::Waker, time::Duration};

#[cfg(feature = "tracing")]
use super::trace;
use super::{
    Manager, Usage,
    caught::caught,
    clock::Clock,
    error::{Error, Kind},
    failure::Failure,
    home::Home,
    keeper, task, thread,
};
use crate::{
    config::{Config, IdleOrder},
    engine::{
        self, Backoff, Counters, Fast, Holder, Kernel, Limits, Put, Refusal,
        mutation::{self, Mutation},
    },
    moment::{Moment, nanos_of},
    observe::{CloseReason, Closes, LeaseInfo, Observer, Status, Timings},
    rt::{self, Handle, Notify},
    sync::Mutex,
};

pub(crate) type Slot<M> = engine::Slot<Held<M>, Failure<<M as Manager>::Error>>;
pub(crate) type Seat<M> = engine::Seat<Held<M>, Failure<<M as Manager>::Error>>;
pub(crate) type Work<M> = engine::Work<Held<M>, Failure<<M as Manager>::Error>>;
pub(crate) type Queue<M> = engine::Queued<Held<M>, Failure<<M as Manager>::Error>>;
pub(crate) type Ticket<M> = engine::Ticket<Held<M>, Failure<<M as Manager>::Error>>;
type Handed<M> = Put<Held<M>, Failure<<M as Manager>::Error>>;

/// A resource with its way home. It has that for its whole life, so that no get and no return counts references. An idle one and the
/// pool keep each other alive until the pool is closed, which the drop of its last handle does.
pub(crate) struct Held<M: Manager> {
    pub(crate) resource: M::Resource,
    /// Its own reference to the pool's: so that what has to keep the pool alive for a moment does not touch a count that all share.
    #[expect(clippy::redundant_allocation, reason = "the outer count is its own")]
    pub(crate) home: Arc<Arc<Shared<M>>>,
}

/// One pool. Handles, leases and running tasks keep it alive; its keeper does not.
pub(crate) struct Shared<M: Manager> {
    pub(crate) kernel: engine::Arc<Kernel<Held<M>, Failure<M::Error>>>,
    pub(crate) manager: M,
    pub(crate) config: Config,
    pub(crate) name: Arc<str>,
    pub(crate) clock: Clock,
    /// Tells opens that are under way that the pool was closed.
    pub(crate) closing: Notify,
    #[cfg(feature = "tracing")]
    pub(super) streak: trace::Streak,
    observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    pub(super) publisher: crate::observe::Desk,
    /// Which that is.
    home: Home,
    /// The keeper's runtime, for returns on threads that have none. Locked for a clone, and nothing is locked under it.
    runtime: Mutex<Option<Handle>>,
}

/// How often the keeper comes by, and the tick of the coarse clock advances, while the pool is in use.
pub(crate) const TICK: Duration = Duration::from_nanos(TICK_NANOS);
/// A wait that is longer keeps a timer for its deadline; a shorter one, as nearly all are, never touches the timer.
pub(crate) const ARM_AFTER: Duration = Duration::from_millis(500);
pub(crate) const TICK_NANOS: u64 = 10_000_000;

impl<M: Manager> Shared<M> {
    pub(crate) fn new(
        manager: M,
        name: String,
        config: Config,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let keeping = engine::Keeping {
            min_idle: config.min_idle,
            idle_timeout: config.idle_timeout,
            keepalive: config.keepalive,
            leak_after: config.leak_after,
            reclaim_after_nanos: nanos_of(config.reclaim_after),
            arm_after: ARM_AFTER,
            tick_nanos: TICK_NANOS,
            rounds: rounds(&config),
        };
        let limits = Limits {
            max_size: config.max_size,
            max_opening: config.max_opening,
            max_waiters: config.waiters(),
            fifo: config.idle_order == IdleOrder::Fifo,
            parts: parts(config.max_size),
            check_after_nanos: nanos_of(config.check_after),
            shed_target: config.shed_target,
            backoff: Backoff::default(),
            keeping,
        };
        Self {
            kernel: engine::Arc::new(Kernel::new(limits)),
            manager,
            config,
            name: name.into(),
            clock: Clock::new(),
            closing: Notify::new(),
            #[cfg(feature = "tracing")]
            streak: trace::Streak::default(),
            observer,
            #[cfg(feature = "metrics")]
            publisher: crate::observe::Desk::default(),
            home: Home::new(),
            runtime: Mutex::new(None),
        }
    }

    /// What time it is, within a tick.
    #[inline]
    pub(crate) fn rough_now(&self) -> Moment {
        match self.clock.ticked() {
            Some(tick) => tick,
            None => self.start_tick(),
        }
    }

    #[cold]
    fn start_tick(&self) -> Moment {
        self.clock
            .start_for(&self.kernel.post, || self.kernel.ring())
    }

    /// An idle one that is not known to be broken, if nobody stands in line.
    pub(crate) fn take_fit(self: &Arc<Self>, now: Moment) -> Option<Box<Slot<M>>> {
        loop {
            let mut slot = match self.take(now) {
                Some(slot) => slot,
                None => self.kernel.take_locked(now)?,
            };
            if self.is_fit(&mut slot) {
                return Some(slot);
            }
            self.discard(slot, CloseReason::Broken);
        }
    }

    /// An idle one that needs nothing done to it, if it can be had without the lock.
    #[inline]
    pub(crate) fn take(self: &Arc<Self>, now: Moment) -> Option<Box<Slot<M>>> {
        match self.kernel.take(now, thread::number()) {
            Fast::Ready(slot) => Some(slot),
            Fast::Stale(slot) => {
                self.lay_back(slot);
                None
            }
            Fast::Nothing => None,
        }
    }

    #[inline]
    pub(crate) fn is_fit(&self, slot: &mut Slot<M>) -> bool {
        caught(|| !self.manager.is_broken(&mut slot.item.resource)).unwrap_or(false)
    }

    /// A lease ends.
    #[inline]
    pub(crate) fn give_back(mut slot: Box<Slot<M>>) {
        let (now, lasted) = lasted(&slot);
        slot.timed_from = None;
        let mut asked = CloseReason::Broken;
        let verdict = caught(|| {
            let usage = usage_of(&slot, now);
            let Held { resource, home } = &mut slot.item;
            if home.manager.is_broken(resource) {
                return Err(CloseReason::Broken);
            }
            asked = CloseReason::ResetFailed;
            Ok(home.manager.needs_reset(resource, &usage))
        });
        let needs_reset = verdict.unwrap_or(Err(asked));
        slot.tainted &= !mutation::on(Mutation::TaintIsForgotten);
        if needs_reset == Ok(false) && !slot.tainted && lasted.is_none() {
            match Kernel::put_fast(slot, now) {
                Ok(()) => return,
                Err(back) => slot = back,
            }
        }
        Self::give_back_slowly(slot, now, lasted, needs_reset);
    }

    /// There is something to do, to decide or to count at the end of this lease.
    #[inline(never)]
    fn give_back_slowly(
        slot: Box<Slot<M>>,
        now: Moment,
        lasted: Option<Duration>,
        needs_reset: Result<bool, CloseReason>,
    ) {
        let home = Arc::clone(&slot.item.home);
        let shared = &*home;
        let kept = needs_reset.is_ok_and(|resets| resets || !slot.tainted);
        if !kept {
            shared.count_use(lasted);
        }
        match needs_reset {
            Ok(false) if !slot.tainted => shared.settle(shared.kernel.put(slot, now, lasted)),
            Ok(false) => shared.discard(slot, CloseReason::Tainted),
            Ok(true) => {
                if let Some(reason) = shared.kernel.begin_reset(&slot, lasted) {
                    return shared.close_slot(slot, reason);
                }
                match shared.runtime() {
                    Some(runtime) => drop(runtime.spawn(task::reset(Arc::clone(shared), slot))),
                    None => shared.discard(slot, CloseReason::NoRuntime),
                }
            }
            Err(reason) => shared.discard(slot, reason),
        }
    }

    /// A lease of what goes now lasted so long, if that was measured.
    #[cold]
    pub(crate) fn count_use(&self, lasted: Option<Duration>) {
        if let Some(lasted) = lasted {
            self.kernel.count_use(lasted);
        }
    }

    /// One that nobody used goes back.
    pub(crate) fn lay_back(self: &Arc<Self>, slot: Box<Slot<M>>) {
        self.perform(Kernel::put_unused(&self.kernel, slot, self.rough_now()));
    }

    /// Does what is left to do after one was given back.
    #[inline]
    pub(crate) fn settle(self: &Arc<Self>, put: Handed<M>) {
        match put {
            Put::Kept => {}
            Put::Wake(waker) => waker.wake(),
            Put::Close(slot, reason) => self.close_slot(slot, reason),
            Put::Work(work) => self.perform(*work),
        }
    }

    /// Closes one for a reason that the kernel did not find itself.
    #[cold]
    pub(crate) fn discard(self: &Arc<Self>, slot: Box<Slot<M>>, reason: CloseReason) {
        let work = Kernel::begin_close(&self.kernel, &slot, reason, self.rough_now());
        self.close_slot(slot, reason);
        self.perform(work);
    }

    /// Does what a decision of the kernel left to do. Nothing is locked.
    pub(crate) fn perform(self: &Arc<Self>, work: Work<M>) {
        for waker in work.wakers {
            waker.wake();
        }
        if work.opens.is_empty() && work.checks.is_empty() && work.closes.is_empty() {
            return;
        }
        for (slot, reason) in work.closes {
            self.close_slot(slot, reason);
        }
        // Without a runtime the seats are dropped, which frees them: whoever is polled next finds the room.
        let Some(runtime) = self.runtime() else {
            return;
        };
        for slot in work.checks {
            drop(runtime.spawn(task::check(Arc::clone(self), slot)));
        }
        for seat in work.opens {
            drop(runtime.spawn(task::open(Arc::clone(self), seat)));
        }
    }

    /// Closes the resource and then frees its seat, on a task if there is a runtime for it.
    fn close_slot(self: &Arc<Self>, slot: Box<Slot<M>>, reason: CloseReason) {
        self.tell(|observer, pool| observer.closed(pool, reason));
        match self.runtime() {
            Some(runtime) => drop(runtime.spawn(task::close(Arc::clone(self), slot))),
            None => drop(caught(|| drop(slot))),
        }
    }

    /// This thread's runtime, or the keeper's.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        Handle::try_current()
            .ok()
            .or_else(|| self.runtime.lock().clone())
    }

    #[inline]
    pub(crate) fn keeper_runs(&self) -> bool {
        self.kernel.post.is_filled()
    }

    /// Makes sure that there is a keeper. Called by gets that have to wait, on their runtime.
    pub(crate) fn ensure_keeper(self: &Arc<Self>, runtime: &Handle) {
        if let Some(number) = self.kernel.post.enter() {
            self.start_keeper(runtime, number);
        }
    }

    /// Whether the keeper is on another runtime than this thread, which may not be driven.
    #[inline]
    pub(crate) fn keeper_is_elsewhere(&self) -> bool {
        let here = || Handle::try_current().ok().map(|here| here.id());
        self.home.is_elsewhere(here)
    }

    /// Starts another keeper here if the one elsewhere does not come by any more.
    #[cold]
    pub(crate) fn look_after_keeper(self: &Arc<Self>, now: Moment) {
        let Ok(here) = Handle::try_current() else {
            return;
        };
        if self.home.is(here.id()) {
            return;
        }
        let stalled = self.clock.is_stalled(now);
        if let Some(number) = self.kernel.replace_keeper(now, stalled) {
            self.start_keeper(&here, number);
            // It is not late before it had its turn.
            self.clock.advance(now);
            // Those who relied on the last one look where this one is.
            self.kernel.all_in_line().into_iter().for_each(Waker::wake);
        }
    }

    #[cold]
    fn start_keeper(self: &Arc<Self>, runtime: &Handle, number: u64) {
        {
            let mut kept = self.runtime.lock();
            // Whoever has passed it on meanwhile comes after this, or has been here.
            if self.kernel.post.is_held_by(number) {
                *kept = Some(runtime.clone());
                self.home.set(runtime.id(), rt::drives_itself(runtime));
            }
        }
        drop(runtime.spawn(keeper::keep(self, number)));
    }

    pub(crate) fn close(self: &Arc<Self>) {
        let work = self.kernel.close();
        self.closing.notify_waiters();
        self.perform(work);
    }

    pub(crate) fn error(
        &self,
        kind: Kind,
        waited: Duration,
        failure: Option<Failure<M::Error>>,
    ) -> Error<M::Error> {
        let (status, last) = self.snapshot();
        match kind {
            Kind::Timeout(phase) => {
                self.tell(|observer, pool| observer.timed_out(pool, phase, waited))
            }
            Kind::Overloaded | Kind::Shed => self.tell(Observer::overloaded),
            Kind::Closed | Kind::Connect | Kind::Busy | Kind::NoRuntime => {}
        }
        Error::new(
            Arc::clone(&self.name),
            kind,
            waited,
            status,
            failure.or(last),
        )
    }

    /// The error for a refusal of the kernel's.
    pub(crate) fn refused(
        &self,
        refusal: Refusal<Failure<M::Error>>,
        waited: Duration,
    ) -> Error<M::Error> {
        let (kind, failure) = match refusal {
            Refusal::Closed => (Kind::Closed, None),
            Refusal::Overloaded => (Kind::Overloaded, None),
            Refusal::Shed => (Kind::Shed, None),
            Refusal::Connect(failure) => (Kind::Connect, Some(failure)),
        };
        self.error(kind, waited, failure)
    }

    pub(crate) fn status(&self) -> Status {
        self.snapshot().0
    }

    pub(crate) fn timings(&self) -> Timings {
        let of = self.kernel.histograms();
        Timings {
            wait: of.wait,
            used: of.used,
            create: of.create,
            check: of.check,
            reset: of.reset,
        }
    }

    fn snapshot(&self) -> (Status, Option<Failure<M::Error>>) {
        let of = self.kernel.snapshot();
        let status = Status {
            max_size: of.max_size,
            open: of.idle + of.leased + of.checking + of.resetting,
            idle: of.idle,
            leased: of.leased,
            checking: of.checking,
            resetting: of.resetting,
            opening: of.opening,
            closing: of.closing,
            waiting: of.waiting,
            is_closed: of.closed,
            gets: of.gets,
            last_error: of.last_error.as_ref().map(ToString::to_string),
            ..counted(&of.counters)
        };
        (status, of.last_error)
    }

    /// A get that began to wait at `since` got one.
    #[inline]
    pub(crate) fn waited(&self, since: Moment) {
        if self.observer.is_some() {
            let waited = self.clock.now() - since;
            self.tell(|observer, pool| observer.waited(pool, waited));
        }
    }

    /// A lease has lasted too long.
    pub(crate) fn leaked(&self, lease: &LeaseInfo) {
        #[cfg(feature = "tracing")]
        trace::leaked(&self.name, None, lease);
        self.tell(|observer, pool| observer.leaked(pool, lease));
    }

    pub(crate) fn leases(&self) -> Vec<LeaseInfo> {
        let now = self.clock.now();
        self.kernel
            .holders()
            .into_iter()
            .map(|holder| lease_info(holder, now))
            .collect()
    }

    /// Tells the observer, if there is one.
    #[inline]
    pub(crate) fn tell(&self, event: impl FnOnce(&dyn Observer, &str)) {
        if let Some(observer) = &self.observer {
            drop(caught(|| event(&**observer, &self.name)));
        }
    }
}

impl<M: Manager> fmt::Debug for Shared<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<M: Manager> fmt::Debug for Held<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// A status with what was counted, and nothing of what is now.
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

pub(crate) fn lease_info(holder: Holder, now: Moment) -> LeaseInfo {
    LeaseInfo {
        held_for: now - holder.since,
        place: holder.place,
        label: holder.label,
    }
}

/// What time it is at the end of a lease, and how long that was if it was measured, or was a long one.
#[inline]
pub(crate) fn lasted<M: Manager>(slot: &Slot<M>) -> (Moment, Option<Duration>) {
    let shared = &**slot.item.home;
    match slot.timed_from {
        Some(from) => {
            let now = shared.clock.now();
            (now, Some(now - from))
        }
        // Not timed exactly; known well enough if it was a long one.
        None => {
            let now = shared.rough_now();
            let long = now.is_past(slot.used_at, TICK_NANOS);
            (now, long.then(|| now - slot.used_at))
        }
    }
}

#[inline]
pub(crate) fn usage_of<T, E: Clone>(slot: &engine::Slot<T, E>, now: Moment) -> Usage {
    Usage {
        opened_at: slot.opened_at,
        idle_since: slot.idle_since,
        now,
        leases: slot.tag.uses(),
        check_due: now >= slot.check_due_at,
        tainted: slot.tainted,
    }
}

/// In how many parts idle ones lie at least: one a core, but no more than 8, nor of fewer than 4 seats, so that a pool that is little
/// used keeps few of them warm.
fn parts(max_size: u32) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(cores)
        .unwrap_or(8)
        .min(max_size / 4)
        .clamp(1, 8)
}

/// How often the keeper must come by, so that nothing falls due unseen for long: a quarter of the shortest span, 30 s at most
/// (HikariCP's housekeeping period).
pub(crate) fn rounds(config: &Config) -> Duration {
    let spans = [
        config.idle_timeout,
        config.max_lifetime,
        config.keepalive,
        config.leak_after,
    ];
    let shortest = spans.into_iter().flatten().min().unwrap_or(Duration::MAX);
    (shortest / 4).clamp(TICK, Duration::from_secs(30))
}
