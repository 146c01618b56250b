//! The state that the handles, leases and tasks of a pool share.

use std::{fmt, num::NonZero, sync::Arc, task::Context, time::Duration};

use super::Manager;
use crate::{
    config::{Config, ConfigError, IdleOrder},
    engine::{
        self, Backoff, Fast, Holder, Kernel, Limits, Put, Refusal, Sample,
        mutation::{self, Mutation},
    },
    host::{
        self, ARM_AFTER, Failure, Host, Hosted, Kind, OpenError, Opens, Polled, Round, Setup,
        TICK_NANOS, Tends, Terms, Usage, Verdict, Waits, caught, counted, is_interrupted, kind_of,
        lease_info, rounds, thread_number, timings_of, verdict,
    },
    moment::{Moment, nanos_of},
    observe::{CloseReason, LeaseInfo, Phase, Status, Timings},
};

pub(crate) type Slot<M> = engine::Slot<Held<M>, Failure<<M as Manager>::Error>>;
pub(crate) type Seat<M> = engine::Seat<Held<M>, Failure<<M as Manager>::Error>>;
pub(crate) type Work<M> = engine::Work<Held<M>, Failure<<M as Manager>::Error>>;
type Ticket<M> = engine::Ticket<Held<M>, Failure<<M as Manager>::Error>>;
type Handed<M> = Put<Held<M>, Failure<<M as Manager>::Error>>;

/// A resource and a reference to its pool. The resource keeps the reference for its whole life, so gets and returns count no
/// references. An idle resource and the pool keep each other alive until the pool is closed, which happens when its last handle is
/// dropped.
pub(crate) struct Held<M: Manager> {
    pub(crate) resource: M::Resource,
    /// The outer `Arc` belongs to this resource alone. To keep the pool alive for a moment, a return clones it, and does not touch
    /// a count that all threads share.
    #[expect(clippy::redundant_allocation, reason = "the outer count is its own")]
    pub(crate) home: Arc<Arc<Inner<M>>>,
}

/// The state of one pool. Handles, leases and running tasks keep it alive; its keeper does not.
pub(crate) struct Inner<M: Manager> {
    pub(crate) kernel: engine::Arc<Kernel<Held<M>, Failure<M::Error>>>,
    pub(crate) manager: M,
    pub(crate) config: Config,
    pub(crate) host: Host,
}

/// The resource that a waiter is handed. It may have broken since it was returned: `fit` is what the manager says of it now.
pub(crate) struct Grant<M: Manager> {
    pub(super) slot: Box<Slot<M>>,
    pub(super) fit: bool,
}

impl<M: Manager> Inner<M> {
    pub(super) fn new(manager: M, config: Config, setup: Setup) -> Self {
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
            open_ends_nanos: nanos_of(config.create_timeout.saturating_add(Duration::from_secs(1))),
            shed_target: config.shed_target,
            backoff: Backoff::default(),
            keeping,
        };
        Self {
            kernel: engine::Arc::new(Kernel::new(limits)),
            manager,
            config,
            host: Host::new(setup),
        }
    }

    /// Takes an idle resource that is not known to be broken, if no waiter is in the queue.
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

    /// Takes an idle resource that needs no check, if that is possible without the lock.
    #[inline]
    pub(crate) fn take(self: &Arc<Self>, now: Moment) -> Option<Box<Slot<M>>> {
        match self.kernel.take(now, thread_number()) {
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

    /// Ends a lease.
    #[inline]
    pub(crate) fn give_back(mut slot: Box<Slot<M>>) {
        let (now, lasted) = lasted(&mut slot);
        let Held { resource, home } = &mut slot.item;
        slot.tainted |= is_interrupted(|| home.manager.is_interrupted(resource));
        let usage = usage_of(&slot, now);
        let Held { resource, home } = &mut slot.item;
        let verdict = verdict(
            resource,
            usage.tainted && !mutation::on(Mutation::TaintIsForgotten),
            |resource| home.manager.is_broken(resource),
            |resource| home.manager.needs_reset(resource, &usage),
        );
        if verdict == Verdict::Keep && lasted.is_none() {
            match Kernel::put_fast(slot, now) {
                Ok(()) => return,
                Err(back) => slot = back,
            }
        }
        Self::give_back_slowly(slot, now, lasted, verdict);
    }

    /// Ends a lease when there is something to do, to decide or to count.
    #[inline(never)]
    fn give_back_slowly(slot: Box<Slot<M>>, now: Moment, lasted: Option<Sample>, verdict: Verdict) {
        let home = Arc::clone(&slot.item.home);
        let inner = &*home;
        match verdict {
            Verdict::Keep => inner.settle(inner.kernel.put(slot, now, lasted)),
            Verdict::Reset => {
                if let Some(reason) = inner.kernel.begin_reset(&slot, lasted) {
                    return inner.close_slot(slot, reason);
                }
                match inner.host.runtime() {
                    Some(runtime) => drop(runtime.spawn(host::reset(Arc::clone(inner), slot))),
                    None => inner.discard(slot, CloseReason::NoRuntime),
                }
            }
            Verdict::Close(reason) => {
                inner.count_use(lasted);
                inner.discard(slot, reason);
            }
        }
    }

    /// Counts how long the last lease of a resource took, if that was measured. The resource leaves the pool now.
    #[cold]
    pub(crate) fn count_use(&self, lasted: Option<Sample>) {
        if let Some(lasted) = lasted {
            self.kernel.count_use(lasted);
        }
    }

    /// Returns a resource that no caller has used.
    pub(crate) fn lay_back(self: &Arc<Self>, slot: Box<Slot<M>>) {
        self.perform_work(Kernel::put_unused(&self.kernel, slot, self.rough_now()));
    }

    /// Performs what is left to do after a return.
    #[inline]
    pub(crate) fn settle(self: &Arc<Self>, put: Handed<M>) {
        match put {
            Put::Kept => {}
            Put::Wake(waker) => waker.wake(),
            Put::Close(slot, reason) => self.close_slot(slot, reason),
            Put::Work(work) => self.perform_work(*work),
        }
    }

    /// Performs what a decision of the kernel left to do. Nothing is locked.
    pub(crate) fn perform_work(self: &Arc<Self>, work: Work<M>) {
        for waker in work.wakers {
            waker.wake();
        }
        if work.opens.is_empty() && work.checks.is_empty() && work.closes.is_empty() {
            return;
        }
        for (slot, reason) in work.closes {
            self.close_slot(slot, reason);
        }
        // Without a runtime the seats are dropped, which frees them. The next waiter that is polled finds the room.
        let Some(runtime) = self.host.runtime() else {
            return;
        };
        for slot in work.checks {
            drop(runtime.spawn(host::check(Arc::clone(self), slot)));
        }
        for seat in work.opens {
            drop(runtime.spawn(host::open(Arc::clone(self), seat)));
        }
    }

    /// Closes the resource and then frees its seat, on a task if there is a runtime.
    fn close_slot(self: &Arc<Self>, slot: Box<Slot<M>>, reason: CloseReason) {
        self.tell(&(), |observer, pool| observer.closed(pool, reason));
        match self.host.runtime() {
            Some(runtime) => drop(runtime.spawn(host::close(Arc::clone(self), slot))),
            None => drop(caught(|| drop(slot))),
        }
    }

    pub(crate) fn close(self: &Arc<Self>) {
        let work = self.kernel.close();
        self.host.calls.notify_waiters();
        self.perform_work(work);
    }

    pub(crate) fn error_of(
        &self,
        kind: Kind,
        waited: Duration,
        failure: Option<Failure<M::Error>>,
    ) -> super::Error<M::Error> {
        let (status, last) = self.snapshot();
        let counts = (status, host::Words::Resources);
        self.error(&(), kind, waited, failure.or(last), counts)
    }

    /// The error for a refusal by the kernel.
    pub(crate) fn refused(
        &self,
        refusal: Refusal<Failure<M::Error>>,
        waited: Duration,
    ) -> super::Error<M::Error> {
        let (kind, failure) = kind_of(refusal);
        self.error_of(kind, waited, failure)
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

    /// Changes the size of the pool.
    pub(super) fn resize(self: &Arc<Self>, max_size: u32) -> Result<(), ConfigError> {
        let config = self.config.clone().max_size(max_size);
        config.validate()?;
        self.kernel.bound_line(config.waiters());
        self.perform_work(Kernel::resize(&self.kernel, max_size, self.now()));
        Ok(())
    }
}

impl<M: Manager> Hosted for Inner<M> {
    type Kernel = Kernel<Held<M>, Failure<M::Error>>;
    type Error = M::Error;
    type Key = ();
    type Work = Option<Box<Work<M>>>;

    fn host(&self) -> &Host {
        &self.host
    }

    fn kernel(&self) -> &Self::Kernel {
        &self.kernel
    }

    fn name_of(&self, (): &()) -> Arc<str> {
        match &self.host.key {
            Some(key) => format!("{}/{key}", self.host.name).into(),
            None => Arc::clone(&self.host.name),
        }
    }

    fn key_name(&self, (): &()) -> Option<String> {
        self.host.key.as_deref().map(str::to_owned)
    }

    #[cfg(feature = "tracing")]
    fn slow_get(&self) -> Option<Duration> {
        self.config.slow_get
    }

    fn status(&self) -> Status {
        self.snapshot().0
    }

    fn timings(&self) -> Timings {
        timings_of(self.kernel.histograms())
    }

    fn leases(&self) -> Vec<LeaseInfo> {
        let now = self.now();
        let holders = self.kernel.holders().into_iter();
        holders.map(|holder| lease_info(holder, now)).collect()
    }

    fn perform(self: &Arc<Self>, work: Self::Work) {
        if let Some(work) = work {
            self.perform_work(*work);
        }
    }

    fn round(self: &Arc<Self>, number: u64, now: Moment, context: &Context<'_>) -> Option<Round> {
        let waker = context.waker().clone();
        let tick = Kernel::round(&self.kernel, number, now, waker)?;
        for holder in tick.leaks {
            self.leaked(&(), &lease_info(holder, now));
        }
        self.perform_work(tick.work);
        Some(Round {
            next: tick.next,
            closed: tick.closed,
            activity: tick.activity,
        })
    }

    #[cfg(feature = "metrics")]
    fn min_idle(&self) -> u32 {
        self.config.min_idle
    }
}

impl<M: Manager> Waits for Inner<M> {
    type Ticket = Ticket<M>;
    type Grant = Grant<M>;

    #[inline]
    fn since(ticket: &Ticket<M>) -> Moment {
        ticket.since()
    }

    #[inline]
    fn look(
        &self,
        ticket: &Ticket<M>,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> Option<Result<Grant<M>, Refusal<Failure<M::Error>>>> {
        let mut fit = false;
        let look = |slot: &mut Box<Slot<M>>| {
            fit = self.is_fit(slot);
            fit
        };
        let answer = ticket.fetch_if(look, lasted)?;
        Some(answer.map(|slot| Grant { slot, fit }))
    }

    fn poll(
        self: &Arc<Self>,
        ticket: &Ticket<M>,
        waker: &std::task::Waker,
        holder: Holder,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> (Polled<Self>, Self::Work) {
        match Kernel::poll(&self.kernel, ticket, waker, holder.since) {
            engine::Polled::Granted(slot) => (Polled::Told(Ok(self.fetched(slot, lasted))), None),
            engine::Polled::Refused(refusal) => (Polled::Told(Err(refusal)), None),
            engine::Polled::Pending { work, armed } => (Polled::Pending { armed }, work),
        }
    }

    fn time_out(
        self: &Arc<Self>,
        ticket: Ticket<M>,
        _: Holder,
        lasted: Duration,
    ) -> Result<Result<Grant<M>, Refusal<Failure<M::Error>>>, Phase> {
        match self.kernel.time_out(ticket, lasted) {
            Ok(slot) => Ok(Ok(self.fetched(slot, || Some(lasted)))),
            Err((Some(refusal), _)) => Ok(Err(refusal)),
            Err((None, phase)) => Err(phase),
        }
    }

    fn cancel(self: &Arc<Self>, ticket: Ticket<M>) {
        self.settle(self.kernel.cancel(ticket, || self.now()));
    }
}

impl<M: Manager> Inner<M> {
    /// Counts a wait whose grant was fetched under the lock, if the resource is still good.
    fn fetched(
        &self,
        mut slot: Box<Slot<M>>,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> Grant<M> {
        let fit = self.is_fit(&mut slot);
        if fit {
            self.kernel.count_wait(lasted());
        }
        Grant { slot, fit }
    }
}

impl<M: Manager> Opens for Inner<M> {
    type Seat = Seat<M>;
    type Item = M::Resource;

    fn key_of(&self, _: &Seat<M>) -> Arc<()> {
        Arc::new(())
    }

    fn terms(&self, _: &Seat<M>) -> Terms {
        Terms {
            create_timeout: self.config.create_timeout,
            max_lifetime: self.config.max_lifetime,
            lifetime_jitter: self.config.lifetime_jitter,
        }
    }

    fn is_wanted(&self, seat: &Seat<M>, begins: bool) -> bool {
        if begins {
            self.kernel.begin_open(seat, self.now())
        } else {
            !engine::Kept::is_closed(&*self.kernel)
        }
    }

    async fn create(&self, _: &Seat<M>) -> Result<M::Resource, M::Error> {
        self.manager.create().await
    }

    fn is_broken(&self, item: &mut M::Resource) -> bool {
        self.manager.is_broken(item)
    }

    fn opened(
        self: &Arc<Self>,
        seat: Seat<M>,
        opened: engine::Opened<M::Resource>,
        now: Moment,
    ) -> Result<(), (Seat<M>, M::Resource)> {
        let item = Held {
            resource: opened.item,
            home: Arc::new(Arc::clone(self)),
        };
        let opened = engine::Opened {
            item,
            expires_at: opened.expires_at,
            took: opened.took,
        };
        let (put, work) = Kernel::opened(&self.kernel, seat, opened, now);
        self.settle(put);
        self.perform_work(work);
        Ok(())
    }

    fn open_failed(
        self: &Arc<Self>,
        seat: Seat<M>,
        error: Failure<M::Error>,
        now: Moment,
        jitter: f64,
    ) {
        let is_full = matches!(&*error, OpenError::Manager(error) if self.manager.__is_full(error));
        self.perform_work(if is_full {
            Kernel::found_no_room(&self.kernel, seat, error, now, jitter)
        } else {
            Kernel::open_failed(&self.kernel, seat, error, now, jitter)
        });
    }

    async fn close(&self, item: M::Resource) {
        self.manager.close(item).await;
    }

    fn close_timeout(&self) -> Duration {
        self.config.close_timeout
    }
}

impl<M: Manager> Tends for Inner<M> {
    type Slot = Box<Slot<M>>;
    type Closing = Seat<M>;

    fn item(slot: &mut Box<Slot<M>>) -> &mut M::Resource {
        &mut slot.item.resource
    }

    fn usage(slot: &Box<Slot<M>>, now: Moment) -> Usage {
        usage_of(slot, now)
    }

    fn check_timeout(&self) -> Duration {
        self.config.check_timeout
    }

    fn reset_timeout(&self) -> Duration {
        self.config.reset_timeout
    }

    async fn check(&self, item: &mut M::Resource, usage: &Usage) -> Result<(), M::Error> {
        self.manager.check(item, usage).await
    }

    async fn reset(&self, item: &mut M::Resource, usage: &Usage) -> Result<(), M::Error> {
        self.manager.reset(item, usage).await
    }

    fn was_reset(slot: &mut Box<Slot<M>>, now: Moment) {
        slot.tainted = false;
        slot.idle_since = now;
    }

    fn put_clean(self: &Arc<Self>, slot: Box<Slot<M>>, now: Moment, took: Duration) {
        self.settle(self.kernel.put_clean(slot, now, took));
    }

    #[cold]
    fn discard(self: &Arc<Self>, slot: Box<Slot<M>>, reason: CloseReason) {
        let now = self.now();
        let stillborn = reason == CloseReason::Broken
            && slot.tag.uses() == 0
            && now - slot.opened_at < host::STILLBORN;
        // This comes before the close, which makes room for the next open.
        if stillborn {
            let error = Arc::new(OpenError::Broken);
            let jitter = fastrand::f64();
            self.perform_work(Kernel::was_stillborn(&self.kernel, error, now, jitter));
        }
        let work = Kernel::begin_close(&self.kernel, &slot, reason, now);
        self.close_slot(slot, reason);
        self.perform_work(work);
    }

    fn part(slot: Box<Slot<M>>) -> (M::Resource, Seat<M>) {
        let Slot::<M> { item, seat, .. } = *slot;
        (item.resource, seat)
    }
}

#[cfg(feature = "metrics")]
impl<M: Manager> Drop for Inner<M> {
    fn drop(&mut self) {
        host::Published::retire(self);
    }
}

impl<M: Manager> fmt::Debug for Inner<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("name", &self.host.name)
            .finish_non_exhaustive()
    }
}

impl<M: Manager> fmt::Debug for Held<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// Returns the time at the end of a lease, and how long the lease was if it was timed.
#[inline]
pub(super) fn lasted<M: Manager>(slot: &mut Slot<M>) -> (Moment, Option<Sample>) {
    let Some(from) = slot.timed_from.take() else {
        // If this tick is old, the resource is checked or closed a little earlier than necessary.
        return (slot.item.home.last_tick(), None);
    };
    let (now, uses) = (slot.item.home.now(), slot.tag.uses());
    let sample = Sample {
        lasted: now - from,
        weight: uses - slot.weighed,
    };
    slot.weighed = uses;
    (now, Some(sample))
}

#[inline]
pub(super) fn usage_of<T, E: Clone>(slot: &engine::Slot<T, E>, now: Moment) -> Usage {
    Usage {
        opened_at: slot.opened_at,
        idle_since: slot.idle_since,
        now,
        leases: slot.tag.uses(),
        check_due: now >= slot.check_due_at,
        tainted: slot.tainted,
    }
}

/// The least number of parts of the board: one for each core, at most 8, and at most one for 4 seats, so that a pool with little
/// traffic uses few resources.
fn parts(max_size: u32) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(cores)
        .unwrap_or(8)
        .min(max_size / 4)
        .clamp(1, 8)
}
