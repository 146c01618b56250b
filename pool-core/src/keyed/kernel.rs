//! The model-checked part of gets and returns by key. It uses no runtime and no clock, and runs no user code under the lock.
//!
//! One lock guards everything. Each method decides under the lock and returns the work that is left to do. [`state`](super::state)
//! has the state, and the steps that give a place to the key whose turn it is.

use std::{
    mem,
    sync::Arc as StdArc,
    task::{Poll, Waker},
    time::Duration,
};

use super::{
    grant::{Grant, Lends},
    lanes,
    limits::Terms,
    seats::{Seat, SeatState, Slot},
    state::State,
    table::{Place, Seen},
    work::Work,
};
use crate::{
    engine::{
        Backoff, Holder, Opened, Post, Refusal,
        mutation::{self, Mutation},
    },
    gauge::LinkId,
    moment::Moment,
    observe::{CloseReason, Phase},
    sync::{Arc, KernelGuard, KernelMutex},
};

/// The bounds of one keyed pool, for all keys together. The bounds of one key are its [`Terms`].
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) max_total: u32,
    pub(super) max_waiters: usize,
    /// Whether a get takes the slot that was idle for longest, instead of the slot that was used last.
    pub(super) fifo: bool,
    pub(super) backoff: Backoff,
    pub(super) leak_after: Option<Duration>,
    /// After this time, an unfetched grant goes to the next waiter.
    pub(super) reclaim_after: Duration,
    /// A waiter that has waited this long keeps a timer of its own from then on.
    pub(super) arm_after: Duration,
    /// The time between rounds of the keeper while a get waits.
    pub(super) tick: Duration,
    /// The longest time between rounds of the keeper while anything is open.
    pub(super) rounds: Duration,
}

/// The state machine of one keyed pool, over resources `T` of keys `K`, with open failures kept as `E`.
#[derive(Debug)]
pub(super) struct Kernel<K, T: Lends, E: Clone> {
    /// The only lock. While it is held, nothing else is locked and no user code runs: no key is hashed, compared, cloned or
    /// dropped.
    pub(super) state: KernelMutex<State<K, T, E>>,
    pub(super) post: Post,
    pub(super) limits: Limits,
}

/// The key that a get asks for.
#[derive(Debug)]
pub(super) enum Asked<'a, K> {
    /// A key that was in use.
    Known(Place),
    /// A key that was not found among the keys with its hash.
    New {
        hash: u64,
        /// The youngest key with this hash at the time of the search.
        youngest: Option<Place>,
        key: &'a StdArc<K>,
        terms: &'a StdArc<Terms>,
    },
}

/// The result of [`take_or_wait`](Kernel::take_or_wait).
#[derive(Debug)]
pub(super) enum Take<K, T: Lends, E: Clone> {
    Ready(Grant<K, T, E>),
    Queued(Queued<K, T, E>),
    /// The get is refused, and there may be work: a get of a failing key lets the pool try the key again.
    Refused(Refusal<E>, Work<K, T, E>),
    /// Keys have come or gone: the caller has to find its key again.
    Changed,
}

/// Names a waiter.
pub(super) type Ticket<K, T, E> = lanes::Ticket<Grant<K, T, E>, Refusal<E>>;

/// What is lent of a resource that was opened for somebody, and what is left to do.
type Settled<K, T, E> = (Option<Grant<K, T, E>>, Work<K, T, E>);

/// A place in a queue.
#[derive(Debug)]
pub(super) struct Queued<K, T: Lends, E: Clone> {
    pub(super) ticket: Ticket<K, T, E>,
    /// Whether the time at which the waiter joined is exact.
    pub(super) timed: bool,
    pub(super) acquire_timeout: Duration,
    pub(super) work: Work<K, T, E>,
}

/// The answer that a waiter gets when it is polled.
#[derive(Debug)]
pub(super) enum Polled<K, T: Lends, E: Clone> {
    Granted(Grant<K, T, E>),
    Refused(Refusal<E>),
    /// There is no answer yet. If `armed`, the waiter keeps a timer for its deadline from now on.
    Pending {
        armed: bool,
    },
}

/// What a waiter finds at its deadline.
#[derive(Debug)]
pub(super) enum TimedOut<K, T: Lends, E: Clone> {
    /// A grant came in time.
    Granted(Grant<K, T, E>),
    /// A refusal came in time.
    Refused(Refusal<E>),
    /// There is no answer; the waiter was waiting for this phase to end.
    Late(Phase),
}

impl<K, T: Lends, E: Clone> Kernel<K, T, E> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            state: KernelMutex::new(State::new(&limits)),
            post: Post::new(),
            limits,
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> KernelGuard<'_, State<K, T, E>> {
        self.state.lock()
    }

    /// Whether this thread is unwinding from a panic under this very lock.
    pub(super) fn unwinds_here(&self) -> bool {
        self.state.unwinds_here()
    }

    /// Leases an idle slot of the key with this hash that is ready to be handed out, if the key has no waiter. The caller has to
    /// compare the key, since two keys may have the same hash, though that is rare.
    #[inline]
    pub(super) fn take(&self, hash: u64, now: Moment, holder: Holder) -> Option<Grant<K, T, E>> {
        let mut state = self.lock();
        let key = state.table.only(hash)?;
        state.take(key, now, holder, self.limits.fifo)
    }

    /// Like [`take`](Self::take), for a key that was found.
    pub(super) fn take_of(
        &self,
        place: Place,
        now: Moment,
        holder: Holder,
    ) -> Option<Grant<K, T, E>> {
        let mut state = self.lock();
        if !state.table.is_there(place) {
            return None;
        }
        state.take(place.index, now, holder, self.limits.fifo)
    }

    /// Returns how long a get of this key may take, if the key is in use.
    pub(super) fn acquire_timeout(&self, place: Place) -> Option<Duration> {
        let state = self.lock();
        let there = state.table.is_there(place);
        there.then(|| state.table.at(place.index).terms().acquire_timeout)
    }

    /// Counts a timeout of a get that gave up without waiting: for the key, if it is in use, and for the pool.
    pub(super) fn count_timeout(&self, place: Option<Place>, phase: Phase) {
        let mut state = self.lock();
        match place.filter(|place| state.table.is_there(*place)) {
            Some(place) => state.count(place.index, |counters| {
                counters.timeouts[phase.index()] += 1;
            }),
            None => state.counters.timeouts[phase.index()] += 1,
        }
    }

    /// Returns the keys with this hash.
    pub(super) fn seen(&self, hash: u64) -> Seen<K> {
        self.lock().table.seen(hash)
    }

    /// Takes an idle slot, or joins the queue of the key. `now` may be rough; `exact` reads the clock.
    ///
    /// Both steps happen under one lock. So either a return finds the waiter in the queue, or the waiter finds the returned slot.
    pub(super) fn take_or_wait(
        this: &Arc<Self>,
        asked: Asked<'_, K>,
        now: Moment,
        exact: impl FnOnce() -> Moment,
        holder: Holder,
        waker: Waker,
    ) -> Take<K, T, E> {
        let mut state = this.lock();
        state.now = state.now.max(now);
        if state.closed {
            return Take::Refused(Refusal::Closed, Work::default());
        }
        let (key, is_new) = match asked {
            Asked::Known(place) => {
                if !state.table.is_there(place) && !mutation::on(Mutation::KeyIsUsedAfterItWent) {
                    return Take::Changed;
                }
                (place.index, false)
            }
            Asked::New {
                hash,
                youngest,
                key,
                terms,
            } => {
                if state.table.youngest(hash) != youngest {
                    return Take::Changed;
                }
                let terms = StdArc::clone(terms);
                let backoff = this.limits.backoff;
                (
                    state.table.add(hash, StdArc::clone(key), terms, backoff),
                    true,
                )
            }
        };
        if let Some(grant) = state.take(key, now, holder, this.limits.fifo) {
            return Take::Ready(grant);
        }
        match state.wait(this, key, now, exact, waker) {
            Ok(queued) => Take::Queued(queued),
            Err(refusal) => {
                let mut work = Work::default();
                if is_new {
                    work.gone.keys.extend(state.table.remove(key));
                } else {
                    state.meet(this, key, now, &mut work);
                }
                Take::Refused(refusal, work)
            }
        }
    }

    /// Returns the answer of a waiter, if it has one; the ticket is then spent. The duration of a wait is not recorded here, but
    /// when the granted resource is known to be good ([`time_wait`](Self::time_wait)).
    pub(super) fn poll(
        this: &Arc<Self>,
        ticket: &Ticket<K, T, E>,
        waker: &Waker,
        holder: Holder,
    ) -> (Polled<K, T, E>, Work<K, T, E>) {
        let (now, key) = (holder.since, ticket.key);
        let mut work = Work::default();
        // The new waker is cloned only if it is needed, and with nothing locked. The old waker is dropped unlocked too.
        let mut new = None;
        loop {
            let mut state = this.lock();
            state.now = state.now.max(now);
            let mut answer = state.lanes.answer(ticket);
            if answer.is_pending() {
                let held = state.lanes.waker(ticket);
                let known = held.as_ref().is_some_and(|held| held.will_wake(waker));
                if !known {
                    if new.is_none() {
                        drop(state);
                        new = Some(waker.clone());
                        continue;
                    }
                    mem::swap(held, &mut new);
                }
                if state.closed {
                    // The waiter got a grant before the close, and the grant was taken back after it.
                    state.refuse_line(key, &mut work);
                }
                state.meet(this, key, now, &mut work);
                answer = state.lanes.answer(ticket);
            }
            let polled = match answer {
                Poll::Pending => Polled::Pending {
                    armed: state.lanes.is_armed(ticket),
                },
                Poll::Ready(Ok(mut grant)) => {
                    state.fetched(key, &mut grant, holder);
                    state.left(key, &mut work);
                    Polled::Granted(grant)
                }
                Poll::Ready(Err(refusal)) => {
                    state.left(key, &mut work);
                    Polled::Refused(refusal)
                }
            };
            drop(state);
            return (polled, work);
        }
    }

    /// A waiter gives up at its deadline. The wait for a grant is recorded as described at [`poll`](Self::poll).
    pub(super) fn time_out(
        &self,
        ticket: Ticket<K, T, E>,
        holder: Holder,
    ) -> (TimedOut<K, T, E>, Work<K, T, E>) {
        let mut work = Work::default();
        let mut state = self.lock();
        state.now = state.now.max(holder.since);
        let key = ticket.key;
        let (answer, spent) = state.lanes.cancel(ticket);
        let outcome = match answer {
            Some(Ok(mut grant)) => {
                state.fetched(key, &mut grant, holder);
                TimedOut::Granted(grant)
            }
            Some(Err(refusal)) => TimedOut::Refused(refusal),
            None => {
                let phase = state.phase(key);
                state.tell_another(&mut work);
                state.count(key, |counters| counters.timeouts[phase.index()] += 1);
                TimedOut::Late(phase)
            }
        };
        state.left(key, &mut work);
        drop(state);
        drop(spent);
        (outcome, work)
    }

    /// A waiter leaves. A grant that it did not fetch goes to the next waiter of its key, or its place to the key whose turn it is.
    pub(super) fn cancel(this: &Arc<Self>, ticket: Ticket<K, T, E>, now: Moment) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        let key = ticket.key;
        let (answer, spent) = state.lanes.cancel(ticket);
        if !matches!(answer, Some(Err(_))) {
            // A refused waiter was counted already, by the reason of its refusal.
            state.count(key, |counters| counters.cancelled += 1);
        }
        let refused = match answer {
            Some(Ok(Grant::One(slot))) if mutation::on(Mutation::KeyCancelServesNobody) => {
                state.lay_down(key, slot, &mut work);
                None
            }
            Some(Ok(Grant::Many(_))) if mutation::on(Mutation::MixedCancelKeepsShare) => None,
            Some(Ok(grant)) => {
                state.take_back(this, grant, now, &mut work);
                None
            }
            Some(Err(refusal)) => Some(refusal),
            None => {
                state.tell_another(&mut work);
                None
            }
        };
        state.left(key, &mut work);
        drop(state);
        drop((spent, refused));
        work
    }

    /// Returns a slot after use. `lasted` is the duration of the lease, if it was timed.
    #[inline]
    pub(super) fn put(
        this: &Arc<Self>,
        mut slot: Box<Slot<K, T, E>>,
        now: Moment,
        lasted: Option<Duration>,
    ) -> Option<Work<K, T, E>> {
        slot.used_at = now;
        slot.idle_since = now;
        slot.served = true;
        let mut state = this.lock();
        let key = state.seats.key(slot.seat.index());
        state.returned(key, lasted);
        if state.lies_still(key, &slot, now) {
            state.lay(key, slot);
            return None;
        }
        let mut work = Work::default();
        state.settle(this, slot, now, &mut work);
        Some(work)
    }

    /// Returns a share after use.
    #[inline]
    pub(super) fn put_share(this: &Arc<Self>, link: LinkId, now: Moment) -> Option<Work<K, T, E>> {
        let mut state = this.lock();
        state.counters.returns += 1;
        if state.lays_share_back(link, now) {
            return None;
        }
        let mut work = Work::default();
        state.put_share(this, link, now, &mut work);
        Some(work)
    }

    /// Takes back the count of a share that no get received, and the share.
    pub(super) fn never_shared(
        this: &Arc<Self>,
        link: LinkId,
        waited: bool,
        now: Moment,
    ) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.counters.gets -= 1;
        let there = state.seats.is_there(link);
        let key = there.then(|| state.seats.key(link.index));
        if let Some(key) = key {
            state.table.at_mut(key).gets -= 1;
        }
        if waited {
            state.waits_on(key);
        }
        state.put_share(this, link, now, &mut work);
        work
    }

    /// Something of this name was taken without a wait. Opens what its key keeps idle.
    pub(super) fn refill(this: &Arc<Self>, link: LinkId, now: Moment) -> Work<K, T, E> {
        Self::on_link(this, link, now, |state, work| {
            let key = state.seats.key(link.index);
            state.meet(this, key, now, work);
        })
    }

    /// What is opened, or open, by this name is to give no more shares and leases, and to close when nobody uses it.
    pub(super) fn drain(
        this: &Arc<Self>,
        link: LinkId,
        reason: CloseReason,
        now: Moment,
    ) -> Work<K, T, E> {
        Self::on_link(this, link, now, |state, work| {
            state.drain(this, link.index, reason, now, work);
        })
    }

    /// The backend of the resource of this name wants no more calls on it. `error` is as for [`die`](Self::die).
    pub(super) fn go_away(
        this: &Arc<Self>,
        link: LinkId,
        error: E,
        now: Moment,
        jitter: f64,
    ) -> Work<K, T, E> {
        Self::end(this, link, error, now, jitter, |state, work| {
            let reason = CloseReason::GoingAway;
            state.drain(this, link.index, reason, now, work);
        })
    }

    /// The resource of this name is dead. `error` is kept if it dies just after it was opened and before anybody used it: that
    /// counts as a failed open. `jitter` is uniform in `0.0..1.0`.
    pub(super) fn die(
        this: &Arc<Self>,
        link: LinkId,
        error: E,
        now: Moment,
        jitter: f64,
    ) -> Work<K, T, E> {
        Self::end(this, link, error, now, jitter, |state, work| {
            state.die(this, link.index, now, work);
        })
    }

    /// The resource of this name is of no more use, which `end` brings about.
    fn end(
        this: &Arc<Self>,
        link: LinkId,
        error: E,
        now: Moment,
        jitter: f64,
        end: impl FnOnce(&mut State<K, T, E>, &mut Work<K, T, E>),
    ) -> Work<K, T, E> {
        Self::on_link(this, link, now, |state, work| {
            let slot = state.seats.slot(link.index);
            let stillborn = slot.is_some_and(|slot| slot.is_stillborn(now));
            let key = state.seats.key(link.index);
            if stillborn {
                state.failed(key, error, now, jitter, work);
                state.table.cold_mut(key).gate.doubt(now);
                end(state, work);
                state.tell_of_outage(key, work);
            } else {
                work.gone.errors.push(error);
                end(state, work);
            }
        })
    }

    /// Sets how many may share the resource of this name.
    pub(super) fn set_capacity(
        this: &Arc<Self>,
        link: LinkId,
        capacity: u32,
        now: Moment,
    ) -> Work<K, T, E> {
        Self::on_link(this, link, now, |state, work| {
            state.set_capacity(this, link.index, capacity, now, work);
        })
    }

    /// Sets whether the resource of this name is suspect.
    pub(super) fn set_suspect(
        this: &Arc<Self>,
        link: LinkId,
        suspect: bool,
        now: Moment,
    ) -> Work<K, T, E> {
        Self::on_link(this, link, now, |state, work| {
            state.set_suspect(this, link.index, suspect, now, work);
        })
    }

    /// Does something to what is opened, or open, by this name. If it has gone, nothing is to be done.
    fn on_link(
        this: &Arc<Self>,
        link: LinkId,
        now: Moment,
        run: impl FnOnce(&mut State<K, T, E>, &mut Work<K, T, E>),
    ) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        let early = state.seats.state(link.index) == SeatState::Opening;
        if state.seats.is_there(link) && !(early && mutation::on(Mutation::MixedEarlyWordIsLost)) {
            run(&mut state, &mut work);
        }
        work
    }

    /// Returns the name of what is opened on this seat.
    pub(super) fn link(&self, seat: &Seat<K, T, E>) -> LinkId {
        self.lock().seats.link(seat.index())
    }

    /// Returns a slot that was not used.
    pub(super) fn put_unused(
        this: &Arc<Self>,
        slot: Box<Slot<K, T, E>>,
        now: Moment,
    ) -> Work<K, T, E> {
        let mut work = Work::default();
        this.lock().settle(this, slot, now, &mut work);
        work
    }

    /// Returns a slot that has passed its check or its reset.
    pub(super) fn put_clean(
        this: &Arc<Self>,
        mut slot: Box<Slot<K, T, E>>,
        now: Moment,
        took: Duration,
    ) -> Work<K, T, E> {
        let mut work = Work::default();
        slot.used_at = now;
        let mut state = this.lock();
        let key = state.seats.key(slot.seat.index());
        slot.check_due_at = now.due_after(state.table.at(key).terms().check_after_nanos);
        match state.seats.state(slot.seat.index()) {
            SeatState::Checking => {
                state.seats.set_suspect(slot.seat.index(), false);
                state.histograms.check.record(took);
            }
            SeatState::Resetting => state.histograms.reset.record(took),
            _ => {}
        }
        state.settle(this, slot, now, &mut work);
        work
    }

    /// A resource was opened on this seat. Returns it if it died, or is not to be used any more, already. If it is `reserved` for
    /// somebody, that one gets it.
    pub(super) fn opened(
        this: &Arc<Self>,
        seat: Seat<K, T, E>,
        opened: Opened<T>,
        now: Moment,
        reserved: Option<Holder>,
    ) -> Result<Settled<K, T, E>, (Seat<K, T, E>, T)> {
        let mut work = Work::default();
        let mut state = this.lock();
        let key = state.seats.key(seat.index());
        if state.seats.ends(seat.index()).is_some() {
            return Err((seat, opened.item));
        }
        // The open may have been called off meanwhile, but it was faster than that.
        state.set(seat.index(), SeatState::Opening);
        let gate = &mut state.table.cold_mut(key).gate;
        if gate.is_doubted(now) {
            gate.opened(now);
            let next = gate.next_try().unwrap_or(now);
            state.count(key, |counters| counters.opened += 1);
            // If this resource breaks before `next`, the keeper has to find out whether another can be opened.
            state.look_at_failing(key, next);
            state.call_keeper(next, &mut work);
        } else {
            state.succeeded(key, &this.limits, &mut work);
        }
        state.histograms.create.record(opened.took);
        // Use the generation in which the open began: the open may have used what the reset replaces.
        let generation = if mutation::on(Mutation::KeyOpenIsStampedLate) {
            state.generation
        } else {
            state.seats.begun(seat.index()).generation
        };
        let exclusive = !mutation::on(Mutation::MixedExpectsTooMuch);
        state.table.cold_mut(key).expected = if opened.item.is_shared() {
            state.seats.share(seat.index());
            state.seats.shares(seat.index()).0.max(1)
        } else {
            u32::from(exclusive)
        };
        let slot = Box::new(Slot {
            item: opened.item,
            opened_at: now,
            check_due_at: now.due_after(state.table.at(key).terms().check_after_nanos),
            expires_at: opened.expires_at,
            used_at: now,
            idle_since: now,
            uses: 0,
            generation,
            tainted: false,
            served: false,
            ended: false,
            seat,
        });
        let grant = match reserved {
            Some(holder) => state.lend(this, slot, now, holder, &mut work),
            None => {
                state.settle(this, slot, now, &mut work);
                None
            }
        };
        state.call_keeper(now + this.limits.rounds, &mut work);
        Ok((grant, work))
    }

    /// The resource of a lease is about to be closed, and another to be opened on its seat for the same caller. `None` if that may
    /// not be opened now: the pool is closed, the resource would have to make room, opens of its key fail, or as many as may be are
    /// under way. `lasted` is the duration of the lease, if it was timed.
    pub(super) fn begin_reopen(
        this: &Arc<Self>,
        slot: &Slot<K, T, E>,
        lasted: Option<Duration>,
        now: Moment,
    ) -> Option<(StdArc<Terms>, Work<K, T, E>)> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        let index = slot.seat.index();
        let key = state.seats.key(index);
        state.returned(key, lasted);
        state.may_reopen(key).then(|| {
            state.reopen(key, index, now, &mut work);
            (StdArc::clone(state.table.at(key).terms()), work)
        })
    }

    /// An open on this seat has failed. `jitter` is uniform in `0.0..1.0`.
    pub(super) fn open_failed(
        this: &Arc<Self>,
        seat: Seat<K, T, E>,
        error: E,
        now: Moment,
        jitter: f64,
    ) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        let key = state.seats.key(seat.index());
        state.count(key, |counters| counters.open_failures += 1);
        state.failed(key, error, now, jitter, &mut work);
        state.vacate(seat.index(), &mut work);
        state.tell_of_outage(key, &mut work);
        state.meet(this, key, now, &mut work);
        state.forget(key, &mut work);
        drop(state);
        seat.spent();
        work
    }

    /// The resource on this seat has been closed. The place goes to the key whose turn it is.
    pub(super) fn closed(this: &Arc<Self>, seat: Seat<K, T, E>, now: Moment) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        let key = state.seats.key(seat.index());
        state.vacate(seat.index(), &mut work);
        if !mutation::on(Mutation::KeyFreePlaceServesNobody) {
            state.meet(this, key, now, &mut work);
        }
        state.forget(key, &mut work);
        drop(state);
        seat.spent();
        work
    }

    /// A lease has ended, and its resource is about to be reset.
    pub(super) fn begin_reset(&self, slot: &mut Slot<K, T, E>, lasted: Option<Duration>) {
        slot.served = true;
        let mut state = self.lock();
        let key = state.seats.key(slot.seat.index());
        state.returned(key, lasted);
        state.set(slot.seat.index(), SeatState::Resetting);
    }

    /// The resource is about to be closed, for a reason that the kernel does not know by itself. Its key may now lack supply, so
    /// `meet` runs for the key.
    pub(super) fn begin_close(
        this: &Arc<Self>,
        slot: &Slot<K, T, E>,
        reason: CloseReason,
        now: Moment,
    ) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        let key = state.seats.key(slot.seat.index());
        state.count_close(slot, reason);
        state.meet(this, key, now, &mut work);
        work
    }

    /// Takes back the count of a lease whose resource was broken before the get received it. `waited`: also the count of the wait.
    pub(super) fn uncount(&self, slot: &Slot<K, T, E>, waited: bool) {
        let mut state = self.lock();
        let key = state.seats.key(slot.seat.index());
        state.table.at_mut(key).gets -= 1;
        state.counters.gets -= 1;
        if waited {
            state.waits_on(Some(key));
        }
    }

    /// Records the duration of a timed wait, now that the granted resource is known to be good.
    pub(super) fn time_wait(&self, lasted: Duration) {
        self.lock().timed_wait(lasted);
    }

    /// Counts the wait of a get that first received a broken resource, and then found this one idle, or with a free share.
    pub(super) fn count_wait(&self, link: LinkId, lasted: Option<Duration>) {
        let mut state = self.lock();
        if !state.seats.is_there(link) {
            // It died meanwhile.
            return;
        }
        let key = state.seats.key(link.index);
        state.waited(key);
        if let Some(lasted) = lasted {
            state.timed_wait(lasted);
        }
    }

    /// Counts the end of a lease whose slot is not put back. `lasted` is its duration, if it was timed.
    pub(super) fn count_use(&self, slot: &Slot<K, T, E>, lasted: Option<Duration>) {
        let mut state = self.lock();
        let key = state.seats.key(slot.seat.index());
        state.returned(key, lasted);
    }

    /// This slot is about to be closed, because its resource broke just after it was opened and before any get could use it. That
    /// counts as a failed open, so the next open is not begun at once.
    pub(super) fn was_stillborn(
        this: &Arc<Self>,
        slot: &Slot<K, T, E>,
        error: E,
        now: Moment,
        jitter: f64,
    ) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        let key = state.seats.key(slot.seat.index());
        state.failed(key, error, now, jitter, &mut work);
        state.table.cold_mut(key).gate.doubt(now);
        state.tell_of_outage(key, &mut work);
        work
    }

    /// Sets the label of the holder.
    pub(super) fn relabel(&self, slot: &Slot<K, T, E>, label: &'static str) {
        self.lock().seats.relabel(slot.seat.index(), label);
    }

    /// Frees a seat. Called when a seat is dropped.
    pub(super) fn vacate(&self, index: u32) {
        let mut work: Work<K, T, E> = Work::default();
        {
            let mut state = self.lock();
            let key = state.seats.key(index);
            let was = state.vacate(index, &mut work);
            let dropped = !matches!(was, SeatState::Closing | SeatState::Opening);
            state.count(key, |counters| counters.dropped += u64::from(dropped));
            // This thread may have no runtime. The keeper or a waiter opens what is missing when it is polled next.
            if !mutation::on(Mutation::KeyFreePlaceServesNobody) {
                state.tell_of_unchecked(key, &mut work);
                state.tell_of_room(&mut work);
            }
            state.forget(key, &mut work);
        }
        work.wakers.wake();
    }
}
