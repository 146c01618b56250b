//! What the handles, leases and tasks of a keyed pool have in common.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    panic::resume_unwind,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use super::{
    KeyedConfig,
    builder::Says,
    drives::{Drives, Item},
    get::Got,
    grant::{self, Lends, Token},
    keep::Snapshot,
    kernel::{self, Kernel, Limits, TimedOut},
    limits::{KeyLimits, Terms},
    reopen::{Outcome, Reserved},
    seats::{self, SeatState},
    table::Place,
    work::Work,
};
use crate::{
    config::{
        Config, ConfigError, IdleOrder,
        checks::{at_least_one, auto_waiters},
    },
    engine::{self, Backoff, Holder, Kept, Opened, Refusal},
    gauge::{Gauge, LinkId, Listens, Word},
    host::{
        self, ARM_AFTER, Error, Failure, Host, Hosted, Kind, OpenError, Opens, Polled, Round,
        Setup, TICK, Tends, Usage, Verdict, Waits, Words, caught, counted, is_interrupted, kind_of,
        lease_info, rounds, timings_of, verdict,
    },
    moment::Moment,
    observe::{CloseReason, LeaseInfo, Phase, Status, Timings},
};

type Failed<K, D> = Failure<<D as Drives<K>>::Error>;
pub(super) type Slot<K, D> = seats::Slot<K, Item<K, D>, Failed<K, D>>;
pub(super) type Seat<K, D> = seats::Seat<K, Item<K, D>, Failed<K, D>>;
pub(super) type Left<K, D> = Work<K, Item<K, D>, Failed<K, D>>;
pub(super) type Cells<K, D> = Kernel<K, Item<K, D>, Failed<K, D>>;
/// What a get receives.
pub(super) type Lent<K, D> = grant::Grant<K, Item<K, D>, Failed<K, D>>;

type Ticket<K, D> = kernel::Ticket<K, Item<K, D>, Failed<K, D>>;

/// Seeded anew for each pool, so that nobody can make keys with equal hashes.
#[cfg(not(pool_shuttle))]
type Hasher = std::hash::RandomState;
/// The same in each run of a schedule.
#[cfg(pool_shuttle)]
type Hasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// One keyed pool. Handles, leases and running tasks keep it alive; its keeper does not.
pub(super) struct Inner<K: Send + Sync + 'static, D: Drives<K>> {
    pub(super) kernel: engine::Arc<Cells<K, D>>,
    pub(super) manager: D,
    pub(super) config: Config,
    /// How many gets may wait in all queues together, if the user has set it.
    total_waiters: Option<usize>,
    pub(super) host: Host,
    /// The tick at which a lease was timed last.
    timed_at: AtomicU64,
    says: Says<K>,
    /// The limits of keys without limits of their own.
    terms: Arc<Terms>,
    hasher: Hasher,
    weak: Weak<Self>,
}

/// A grant that a waiter fetched. The resource may have broken since it was returned, so `fit` says whether it is usable.
pub(super) struct Grant<K: Send + Sync + 'static, D: Drives<K>> {
    pub(super) lent: Lent<K, D>,
    pub(super) fit: bool,
}

impl<K: Send + Sync + 'static, D: Drives<K>> Inner<K, D> {
    pub(super) fn new(manager: D, config: KeyedConfig, says: Says<K>, setup: Setup) -> Arc<Self> {
        let (max_total, max_waiters) = (config.total(), config.total_waiters());
        let total_waiters = config.get_max_total_waiters();
        let config = config.each;
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
        Arc::new_cyclic(|weak| Self {
            weak: Weak::clone(weak),
            kernel: engine::Arc::new(Kernel::new(limits)),
            manager,
            terms: Arc::new(Terms::new(&config, KeyLimits::new(), D::EXPECTED)),
            config,
            total_waiters,
            host: Host::new(setup),
            timed_at: AtomicU64::new(u64::MAX),
            says,
            hasher: Hasher::default(),
        })
    }

    /// Sets the bound in total. Also sets the bound of all queues together, unless the user has set it.
    pub(super) fn resize(self: &Arc<Self>, max_total: u32) -> Result<(), ConfigError> {
        at_least_one("max_total", max_total)?;
        let waiters = self
            .total_waiters
            .unwrap_or_else(|| auto_waiters(max_total));
        self.kernel.bound_lines(waiters);
        self.perform(Kernel::resize(&self.kernel, max_total, self.now()));
        Ok(())
    }

    #[inline]
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Returns the limits of this key. Runs user code.
    pub(super) fn terms_of(&self, key: &K) -> Result<Arc<Terms>, ConfigError> {
        let expected = self.manager.expects(key);
        let limits = match &self.says.limits {
            Some(limits) => limits(key),
            None if expected == self.terms.expected => return Ok(Arc::clone(&self.terms)),
            None => KeyLimits::new(),
        };
        limits.validate()?;
        let terms = Terms::new(&self.config, limits, expected);
        Ok(if terms == *self.terms {
            Arc::clone(&self.terms)
        } else {
            Arc::new(terms)
        })
    }

    /// Returns how many resources of this key there may be.
    pub(super) fn most_of<Q>(&self, key: &Q) -> u32
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let known = self.find(key).0;
        let known = known.and_then(|place| self.kernel.snapshot_of(place));
        let of_key = match known {
            Some(of) => of.max_size,
            None => self
                .terms_of(&key.to_owned())
                .map_or(0, |terms| terms.max_size),
        };
        of_key.min(self.kernel.snapshot().max_size)
    }

    /// Returns the counts of one key, if it is in use.
    pub(super) fn status_of<Q>(&self, key: &Q) -> Option<Status>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.snapshot_of(key).map(|of| status_of(&of))
    }

    /// Returns everything that is counted of one key, if it is in use.
    pub(super) fn snapshot_of<Q>(&self, key: &Q) -> Option<Snapshot<Failed<K, D>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.kernel.snapshot_of(self.find(key).0?)
    }

    /// Returns the place of this key, if it is in use, and the place of the youngest key with its hash. Compares with nothing
    /// locked.
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

    /// Whether a lease that begins in this tick is timed exactly. Of all keys together, one lease in each tick is.
    #[inline]
    pub(super) fn times(&self, tick: Moment) -> bool {
        let nanos = tick.as_nanos();
        // Ordering: Relaxed, since nothing is published with it. If two leases see the same tick, that costs one reading of the
        // clock.
        let times = self.timed_at.load(Ordering::Relaxed) != nanos;
        if times {
            self.timed_at.store(nanos, Ordering::Relaxed);
        }
        times
    }

    /// Takes an idle resource of this key that the manager does not call broken, or a share, if the key has no waiter.
    #[inline]
    pub(super) fn take_fit<Q>(
        self: &Arc<Self>,
        key: &Q,
        hash: u64,
        now: Moment,
        holder: Holder,
    ) -> Option<Lent<K, D>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        loop {
            let mut lent = self.kernel.take(hash, now, holder)?;
            let mut same = false;
            let fit = caught(|| {
                let known: &K = Self::key_of_lent(&lent);
                same = known.borrow() == key;
                same && self.is_usable(&mut lent)
            });
            match fit {
                Ok(true) => return Some(lent),
                _ if same => self.never_had(lent, false),
                Ok(_) => {
                    // Another key has the same hash.
                    self.uncount(lent);
                    return None;
                }
                Err(message) => {
                    self.uncount(lent);
                    // The comparison of the keys panicked. That panic is the caller's.
                    resume_unwind(Box::new(message));
                }
            }
        }
    }

    pub(super) fn key_of_lent(lent: &Lent<K, D>) -> &Arc<K> {
        match lent {
            Lent::<K, D>::One(slot) => slot.seat.key(),
            Lent::<K, D>::Many(token) => D::key_of(&token.share),
        }
    }

    pub(super) fn link_of(&self, lent: &Lent<K, D>) -> LinkId {
        match lent {
            Lent::<K, D>::One(slot) => self.kernel.link(&slot.seat),
            Lent::<K, D>::Many(token) => token.link,
        }
    }

    #[inline]
    fn is_usable(&self, lent: &mut Lent<K, D>) -> bool {
        match lent {
            Lent::<K, D>::One(slot) => !slot.ended && !self.manager.is_broken(slot.item.one_mut()),
            Lent::<K, D>::Many(token) => !D::is_dead(&token.share),
        }
    }

    #[inline]
    pub(super) fn is_fit(&self, lent: &mut Lent<K, D>) -> bool {
        caught(|| self.is_usable(lent)).unwrap_or(false)
    }

    /// Discards a broken resource that was counted as leased, and that no get received.
    #[cold]
    pub(super) fn never_had(self: &Arc<Self>, lent: Lent<K, D>, waited: bool) {
        match lent {
            Lent::<K, D>::One(slot) => {
                self.kernel.uncount(&slot, waited);
                self.discard(slot, CloseReason::Broken);
            }
            Lent::<K, D>::Many(token) => self.never_shared(token, waited),
        }
    }

    /// Puts back what was counted as lent, and was meant for another key.
    #[cold]
    fn uncount(self: &Arc<Self>, lent: Lent<K, D>) {
        match lent {
            Lent::<K, D>::One(slot) => {
                self.kernel.uncount(&slot, false);
                self.lay_back(slot);
            }
            Lent::<K, D>::Many(token) => self.never_shared(token, false),
        }
    }

    fn never_shared(self: &Arc<Self>, token: Token<D::Shared>, waited: bool) {
        let Token { link, share } = token;
        drop(share);
        self.perform(Kernel::never_shared(&self.kernel, link, waited, self.now()));
    }

    /// Something was taken. Opens what its key keeps idle.
    #[cold]
    fn refill(self: &Arc<Self>, lent: &Lent<K, D>) {
        let link = self.link_of(lent);
        self.perform(Kernel::refill(&self.kernel, link, self.now()));
    }

    /// Notes that a get has received this.
    #[inline]
    pub(super) fn handed_out(self: &Arc<Self>, lent: &Lent<K, D>) {
        if self.config.min_idle > 0 {
            self.refill(lent);
        }
    }

    /// Ends a share.
    #[inline]
    pub(super) fn give_share_back(self: &Arc<Self>, token: Token<D::Shared>) {
        let Token { link, share } = token;
        // Whoever closes the resource must be its last holder.
        drop(share);
        if let Some(work) = Kernel::put_share(&self.kernel, link, self.last_tick()) {
            self.perform(work);
        }
    }

    /// Ends a lease. `timed_from` is when it began if it is timed exactly, and else `NEVER`.
    #[inline]
    pub(super) fn give_back(self: &Arc<Self>, mut slot: Box<Slot<K, D>>, timed_from: Moment) {
        let (now, lasted) = self.lasted(timed_from);
        slot.tainted |= is_interrupted(|| self.manager.is_interrupted(slot.item.one_mut()));
        let usage = usage_of(&slot, now);
        let verdict = verdict(
            slot.item.one_mut(),
            usage.tainted,
            |item| self.manager.is_broken(item),
            |item| self.manager.needs_reset(item, &usage),
        );
        match verdict {
            Verdict::Keep => {
                if let Some(work) = Kernel::put(&self.kernel, slot, now, lasted) {
                    self.perform(work);
                }
            }
            Verdict::Reset => {
                self.kernel.begin_reset(&mut slot, lasted);
                match self.host.runtime() {
                    Some(runtime) => drop(runtime.spawn(host::reset(Arc::clone(self), slot))),
                    None => self.discard(slot, CloseReason::NoRuntime),
                }
            }
            Verdict::Close(reason) => {
                self.kernel.count_use(&slot, lasted);
                self.discard(slot, reason);
            }
        }
    }

    /// Returns the time at the end of a lease, and the duration of the lease if it was timed.
    #[inline]
    pub(super) fn lasted(&self, timed_from: Moment) -> (Moment, Option<Duration>) {
        match timed_from {
            // If the last tick is old, the resource is checked or closed a little earlier than it has to be.
            Moment::NEVER => (self.last_tick(), None),
            from => {
                let now = self.now();
                (now, Some(now - from))
            }
        }
    }

    /// Puts back a resource that was not used.
    pub(super) fn lay_back(self: &Arc<Self>, slot: Box<Slot<K, D>>) {
        let now = self.now();
        self.perform(Kernel::put_unused(&self.kernel, slot, now));
    }

    /// Closes the resource and then frees its seat, on a task if there is a runtime.
    fn close_slot(self: &Arc<Self>, slot: Box<Slot<K, D>>, reason: CloseReason) {
        self.tell(slot.seat.key(), |observer, pool| {
            observer.closed(pool, reason);
        });
        match self.host.runtime() {
            Some(runtime) => drop(runtime.spawn(host::close(Arc::clone(self), slot))),
            None => drop(caught(|| drop(slot))),
        }
    }

    pub(super) fn close(self: &Arc<Self>) {
        let work = self.kernel.close();
        self.host.calls.notify_waiters();
        self.perform(work);
    }

    /// Returns the error for a get of `key`.
    pub(super) fn error_of<Q>(
        &self,
        key: &Q,
        kind: Kind,
        waited: Duration,
        failure: Option<Failure<D::Error>>,
    ) -> Error<D::Error>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let place = self.find(key).0;
        let key = key.to_owned();
        let of = place.and_then(|place| self.kernel.snapshot_of(place));
        let of = of.unwrap_or_else(|| self.empty(&key));
        let failure = failure.or_else(|| of.last_error.clone());
        let counts = (status_of(&of), Words::Resources);
        self.error(&key, kind, waited, failure, counts)
    }

    /// Returns the error for a get of a key with invalid limits.
    pub(super) fn unusable<Q>(&self, key: &Q, error: ConfigError) -> Error<D::Error>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let failure = OpenError::Limits(error);
        self.error_of(key, Kind::Connect, Duration::ZERO, Some(Arc::new(failure)))
    }

    /// Returns the error for a refusal by the kernel.
    pub(super) fn refused<Q>(
        &self,
        key: &Q,
        refusal: Refusal<Failure<D::Error>>,
        waited: Duration,
    ) -> Error<D::Error>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (kind, failure) = kind_of(refusal);
        self.error_of(key, kind, waited, failure)
    }

    /// Returns the counts of a key that is not in use.
    fn empty(&self, key: &K) -> Snapshot<Failure<D::Error>> {
        Snapshot {
            // A key with invalid limits may have no resource.
            max_size: self.terms_of(key).map_or(0, |terms| terms.max_size),
            counts: [0; SeatState::COUNT],
            waiting: 0,
            closed: self.kernel.is_closed(),
            counters: super::counts::Counts::default(),
            last_error: None,
            links: super::keep::Links::default(),
        }
    }

    pub(super) fn leases_of(&self, of: Option<Place>) -> Vec<(Arc<K>, LeaseInfo)> {
        let now = self.now();
        let holders = self.kernel.holders(of).into_iter();
        holders
            .map(|(key, holder)| (key, lease_info(holder, now)))
            .collect()
    }

    /// Makes a grant of what a waiter fetched. `lasted` is the duration of the wait, if it was timed; it is recorded only if the
    /// resource is usable.
    fn granted(
        &self,
        mut lent: Lent<K, D>,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> Grant<K, D> {
        let fit = self.is_fit(&mut lent);
        if fit && let Some(lasted) = lasted() {
            self.kernel.time_wait(lasted);
        }
        Grant { lent, fit }
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>> Hosted for Inner<K, D> {
    type Kernel = Cells<K, D>;
    type Error = D::Error;
    type Key = K;
    type Work = Left<K, D>;

    #[cfg(feature = "tracing")]
    const HAS_KEYS: bool = true;

    fn host(&self) -> &Host {
        &self.host
    }

    fn kernel(&self) -> &Self::Kernel {
        &self.kernel
    }

    #[cfg(feature = "tracing")]
    fn slow_get(&self) -> Option<Duration> {
        self.config.slow_get
    }

    fn status(&self) -> Status {
        status_of(&self.kernel.snapshot())
    }

    fn timings(&self) -> Timings {
        timings_of(self.kernel.histograms())
    }

    #[cfg(feature = "metrics")]
    fn for_publishing(&self) -> crate::observe::Snapshot {
        let of = self.kernel.snapshot();
        let shares = crate::observe::Shares {
            used: of.links.used,
            free: of.links.free,
        };
        crate::observe::Snapshot {
            status: status_of(&of),
            timings: Hosted::timings(self),
            min_idle: self.min_idle(),
            shares: D::SHARES.then_some(shares),
        }
    }

    fn leases(&self) -> Vec<LeaseInfo> {
        let leases = self.leases_of(None).into_iter();
        leases.map(|(_, lease)| lease).collect()
    }

    fn perform(self: &Arc<Self>, work: Left<K, D>) {
        let Work {
            wakers,
            opens,
            checks,
            closes,
            deaths,
            gone,
            called_off,
        } = work;
        for shared in deaths {
            D::died(&shared);
        }
        wakers.wake();
        drop(gone);
        if called_off {
            self.host.calls.notify_waiters();
        }
        if opens.is_empty() && checks.is_empty() && closes.is_empty() {
            return;
        }
        for (slot, reason) in closes {
            self.close_slot(slot, reason);
        }
        // Without a runtime, the seats are dropped, which frees them. A waiter that is polled later finds the room.
        let Some(runtime) = self.host.runtime() else {
            return;
        };
        for slot in checks {
            drop(runtime.spawn(host::check(Arc::clone(self), slot)));
        }
        for (seat, terms) in opens {
            drop(runtime.spawn(host::open(
                Arc::clone(self),
                Opening {
                    seat,
                    terms,
                    to: None,
                },
            )));
        }
    }

    fn round(self: &Arc<Self>, number: u64, now: Moment, context: &Context<'_>) -> Option<Round> {
        let tick = Kernel::round(&self.kernel, number, now, context.waker().clone())?;
        for (key, holder) in tick.leaks {
            self.leaked(&key, &lease_info(holder, now));
        }
        self.perform(tick.work);
        Some(Round {
            next: tick.next,
            closed: tick.closed,
            activity: tick.activity,
        })
    }

    /// Returns the name of the pool, with the name of the key if the key has one.
    fn name_of(&self, key: &K) -> Arc<str> {
        match self.key_name(key) {
            Some(of_key) => format!("{}/{of_key}", self.host.name).into(),
            None => Arc::clone(&self.host.name),
        }
    }

    fn key_name(&self, key: &K) -> Option<String> {
        let name = self.says.name.as_ref()?;
        caught(|| name(key)).ok()
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>> Waits for Inner<K, D> {
    type Ticket = Ticket<K, D>;
    type Grant = Grant<K, D>;

    fn since(ticket: &Ticket<K, D>) -> Moment {
        ticket.since()
    }

    fn poll(
        self: &Arc<Self>,
        ticket: &Ticket<K, D>,
        waker: &Waker,
        holder: Holder,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> (Polled<Self>, Left<K, D>) {
        let (polled, work) = Kernel::poll(&self.kernel, ticket, waker, holder);
        let polled = match polled {
            kernel::Polled::Granted(lent) => Polled::Told(Ok(self.granted(lent, lasted))),
            kernel::Polled::Refused(refusal) => Polled::Told(Err(refusal)),
            kernel::Polled::Pending { armed } => Polled::Pending { armed },
        };
        (polled, work)
    }

    fn time_out(
        self: &Arc<Self>,
        ticket: Ticket<K, D>,
        holder: Holder,
        lasted: Duration,
    ) -> Result<Result<Grant<K, D>, Refusal<Failure<D::Error>>>, Phase> {
        let (outcome, work) = self.kernel.time_out(ticket, holder);
        self.perform(work);
        match outcome {
            TimedOut::Granted(lent) => Ok(Ok(self.granted(lent, || Some(lasted)))),
            TimedOut::Refused(refusal) => Ok(Err(refusal)),
            TimedOut::Late(phase) => Err(phase),
        }
    }

    fn cancel(self: &Arc<Self>, ticket: Ticket<K, D>) {
        self.perform(Kernel::cancel(&self.kernel, ticket, self.now()));
    }
}

/// The right to open a resource, with the limits of its key when that was decided.
pub(super) struct Opening<K: Send + Sync + 'static, D: Drives<K>> {
    seat: Seat<K, D>,
    terms: Arc<Terms>,
    /// The caller for whom it is opened, if it is for one alone.
    to: Option<Reserved<K, D>>,
}

impl<K: Send + Sync + 'static, D: Drives<K>> Opening<K, D> {
    pub(super) fn reserved(seat: Seat<K, D>, terms: Arc<Terms>, to: Reserved<K, D>) -> Self {
        Self {
            seat,
            terms,
            to: Some(to),
        }
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>> Opens for Inner<K, D> {
    type Seat = Opening<K, D>;
    type Item = Item<K, D>;

    fn key_of(&self, opening: &Opening<K, D>) -> Arc<K> {
        Arc::clone(opening.seat.key())
    }

    fn terms(&self, opening: &Opening<K, D>) -> host::Terms {
        host::Terms {
            create_timeout: opening.terms.create_timeout,
            max_lifetime: opening.terms.max_lifetime,
            lifetime_jitter: self.config.lifetime_jitter,
        }
    }

    fn is_wanted(&self, opening: &Opening<K, D>, _: bool) -> bool {
        self.kernel.is_wanted(&opening.seat)
    }

    async fn create(&self, opening: &Opening<K, D>) -> Result<Item<K, D>, D::Error> {
        let pool: Weak<dyn Listens> = self.weak.clone();
        let link = self.kernel.link(&opening.seat);
        let gauge = Gauge { pool, link };
        self.manager.create(opening.seat.key(), gauge).await
    }

    fn is_broken(&self, item: &mut Item<K, D>) -> bool {
        match item {
            Item::<K, D>::One(one) => self.manager.is_broken(one),
            // Its gauge says so.
            Item::<K, D>::Many(_) => false,
        }
    }

    fn opened(
        self: &Arc<Self>,
        opening: Opening<K, D>,
        opened: Opened<Item<K, D>>,
        now: Moment,
    ) -> Result<(), (Opening<K, D>, Item<K, D>)> {
        let Opening { seat, terms, to } = opening;
        let holder = to.as_ref().map(|to| to.holder);
        match Kernel::opened(&self.kernel, seat, opened, now, holder) {
            Ok((lent, work)) => {
                self.perform(work);
                if let Some(to) = to
                    && let Some(lent) = lent
                {
                    to.tell(Outcome::Opened(Got::new(lent, self, now)));
                }
                Ok(())
            }
            Err((seat, item)) => Err((Opening { seat, terms, to }, item)),
        }
    }

    fn open_failed(
        self: &Arc<Self>,
        opening: Opening<K, D>,
        error: Failure<D::Error>,
        now: Moment,
        jitter: f64,
    ) {
        let Opening { seat, to, .. } = opening;
        let failure = Arc::clone(&error);
        self.perform(Kernel::open_failed(&self.kernel, seat, error, now, jitter));
        if let Some(to) = to {
            to.tell(Outcome::Failed(failure));
        }
    }

    fn called_off(self: &Arc<Self>, opening: Opening<K, D>) {
        self.perform(Kernel::closed(&self.kernel, opening.seat, self.now()));
    }

    async fn close(&self, item: Item<K, D>) {
        self.manager.close(item).await;
    }

    fn close_timeout(&self) -> Duration {
        self.config.close_timeout
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>> Tends for Inner<K, D> {
    type Slot = Box<Slot<K, D>>;
    type Closing = Seat<K, D>;

    fn item(slot: &mut Box<Slot<K, D>>) -> &mut Item<K, D> {
        &mut slot.item
    }

    fn usage(slot: &Box<Slot<K, D>>, now: Moment) -> Usage {
        usage_of(slot, now)
    }

    fn check_timeout(&self) -> Duration {
        self.config.check_timeout
    }

    fn reset_timeout(&self) -> Duration {
        self.config.reset_timeout
    }

    async fn check(&self, item: &mut Item<K, D>, usage: &Usage) -> Result<(), D::Error> {
        self.manager.check(item.one_mut(), usage).await
    }

    async fn reset(&self, item: &mut Item<K, D>, usage: &Usage) -> Result<(), D::Error> {
        self.manager.reset(item.one_mut(), usage).await
    }

    fn was_reset(slot: &mut Box<Slot<K, D>>, now: Moment) {
        slot.tainted = false;
        slot.idle_since = now;
    }

    fn put_clean(self: &Arc<Self>, slot: Box<Slot<K, D>>, now: Moment, took: Duration) {
        self.perform(Kernel::put_clean(&self.kernel, slot, now, took));
    }

    #[cold]
    fn discard(self: &Arc<Self>, slot: Box<Slot<K, D>>, reason: CloseReason) {
        let now = self.now();
        let stillborn = reason == CloseReason::Broken && slot.is_stillborn(now);
        // Record the failed open before the close makes room for the next open.
        if stillborn {
            let (error, jitter) = (Arc::new(OpenError::Broken), fastrand::f64());
            let kernel = &self.kernel;
            self.perform(Kernel::was_stillborn(kernel, &slot, error, now, jitter));
        }
        let work = Kernel::begin_close(&self.kernel, &slot, reason, now);
        self.close_slot(slot, reason);
        self.perform(work);
    }

    fn part(slot: Box<Slot<K, D>>) -> (Item<K, D>, Seat<K, D>) {
        let Slot::<K, D> { item, seat, .. } = *slot;
        (item, seat)
    }

    fn closed(self: &Arc<Self>, seat: Seat<K, D>) {
        self.perform(Kernel::closed(&self.kernel, seat, self.now()));
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>> Listens for Inner<K, D> {
    fn said(&self, link: LinkId, word: Word) {
        let Some(inner) = self.weak.upgrade() else {
            return;
        };
        let (kernel, now) = (&self.kernel, self.now());
        inner.perform(match word {
            Word::Capacity(shares) => Kernel::set_capacity(kernel, link, shares, now),
            Word::Suspect(suspect) => Kernel::set_suspect(kernel, link, suspect, now),
            Word::Drain => {
                let (error, jitter) = (Arc::new(OpenError::Gone), fastrand::f64());
                Kernel::go_away(kernel, link, error, now, jitter)
            }
            Word::Dead => {
                let (error, jitter) = (Arc::new(OpenError::Broken), fastrand::f64());
                Kernel::die(kernel, link, error, now, jitter)
            }
        });
    }
}

#[cfg(feature = "metrics")]
impl<K: Send + Sync + 'static, D: Drives<K>> Drop for Inner<K, D> {
    fn drop(&mut self) {
        host::Published::retire(self);
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>> fmt::Debug for Inner<K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("name", &self.host.name)
            .finish_non_exhaustive()
    }
}

#[inline]
pub(super) fn usage_of<K, T: Lends, E: Clone>(slot: &seats::Slot<K, T, E>, now: Moment) -> Usage {
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
