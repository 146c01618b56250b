//! Getting and giving back, by key: the part that is model-checked. No runtime, no clock, no user code under the lock.
//!
//! One lock guards everything. Each method decides under it and returns what is left to do. The state, and how a place finds the
//! key whose turn it is, are in [`state`](super::state).

use std::{
    mem,
    sync::Arc as StdArc,
    task::{Poll, Waker},
    time::Duration,
};

use super::{
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
    moment::Moment,
    observe::{CloseReason, Phase},
    sync::{Arc, KernelGuard, KernelMutex},
};

/// The bounds of one keyed pool, all keys together. Those of one key are its [`Terms`].
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) max_total: u32,
    pub(super) max_waiters: usize,
    /// Hand out the one that has been idle longest, not the one that was used last.
    pub(super) fifo: bool,
    pub(super) backoff: Backoff,
    pub(super) leak_after: Option<Duration>,
    /// A grant that nobody fetched for so long goes to the next in line.
    pub(super) reclaim_after: Duration,
    /// Who has waited for so long keeps a timer of its own from then on.
    pub(super) arm_after: Duration,
    /// How often the keeper comes by while somebody waits.
    pub(super) tick: Duration,
    /// How often it comes by at least while anything is open.
    pub(super) rounds: Duration,
}

/// The state machine of one keyed pool, over resources `T` of keys `K`, with open failures kept as `E`.
#[derive(Debug)]
pub(super) struct Kernel<K, T, E: Clone> {
    /// The only lock. Nothing else is locked and no user code runs while it is held: no key is hashed, compared, cloned or dropped.
    pub(super) state: KernelMutex<State<K, T, E>>,
    pub(super) post: Post,
    pub(super) limits: Limits,
}

/// Which key is asked for.
#[derive(Debug)]
pub(super) enum Asked<'a, K> {
    /// One that was there.
    Known(Place),
    /// One that was not among those that have its hash.
    New {
        hash: u64,
        /// The youngest of those.
        youngest: Option<Place>,
        key: &'a StdArc<K>,
        terms: &'a StdArc<Terms>,
    },
}

/// What came of looking for a resource.
#[derive(Debug)]
pub(super) enum Take<K, T, E: Clone> {
    Ready(Box<Slot<K, T, E>>),
    Queued(Queued<K, T, E>),
    /// And what that leaves to do: who asks for a key that cannot be opened has it tried again.
    Refused(Refusal<E>, Work<K, T, E>),
    /// Keys have come or gone: look again which one is meant.
    Changed,
}

/// Names one who waits.
pub(super) type Ticket<K, T, E> = lanes::Ticket<Box<Slot<K, T, E>>, Refusal<E>>;

/// A place in line.
#[derive(Debug)]
pub(super) struct Queued<K, T, E: Clone> {
    pub(super) ticket: Ticket<K, T, E>,
    /// Is it known exactly when it joined?
    pub(super) timed: bool,
    pub(super) acquire_timeout: Duration,
    pub(super) work: Work<K, T, E>,
}

/// What a waiter is told when it is polled.
#[derive(Debug)]
pub(super) enum Polled<K, T, E: Clone> {
    Granted(Box<Slot<K, T, E>>),
    Refused(Refusal<E>),
    /// Not yet. `armed`: keep a timer for the deadline from now on.
    Pending {
        armed: bool,
    },
}

/// What a waiter finds at its deadline.
#[derive(Debug)]
pub(super) enum TimedOut<K, T, E: Clone> {
    /// It was handed one meanwhile.
    Granted(Box<Slot<K, T, E>>),
    /// It was told no meanwhile.
    Refused(Refusal<E>),
    /// What it was waiting for did not end.
    Late(Phase),
}

impl<K, T, E: Clone> Kernel<K, T, E> {
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

    /// Is this thread unwinding from a panic under this very lock?
    pub(super) fn unwinds_here(&self) -> bool {
        self.state.unwinds_here()
    }

    /// Takes an idle one of the key with this hash that needs nothing done to it, if nobody stands in its line. Whether it is the
    /// key that is meant, the caller finds out: two keys may have one hash, if hardly ever.
    #[inline]
    pub(super) fn take(
        &self,
        hash: u64,
        now: Moment,
        holder: Holder,
    ) -> Option<Box<Slot<K, T, E>>> {
        let mut state = self.lock();
        let key = state.table.only(hash)?;
        state.take(key, now, holder, self.limits.fifo)
    }

    /// The same for a key that was found.
    pub(super) fn take_of(
        &self,
        place: Place,
        now: Moment,
        holder: Holder,
    ) -> Option<Box<Slot<K, T, E>>> {
        let mut state = self.lock();
        if !state.table.is_there(place) {
            return None;
        }
        state.take(place.index, now, holder, self.limits.fifo)
    }

    /// How long a get of this key may take, if it is there.
    pub(super) fn acquire_timeout(&self, place: Place) -> Option<Duration> {
        let state = self.lock();
        let there = state.table.is_there(place);
        there.then(|| state.table.at(place.index).terms().acquire_timeout)
    }

    /// A get of this key, if it is there, gave up without having waited.
    pub(super) fn count_timeout(&self, place: Option<Place>, phase: Phase) {
        let mut state = self.lock();
        match place.filter(|place| state.table.is_there(*place)) {
            Some(place) => state.count(place.index, |counters| {
                counters.timeouts[phase.index()] += 1;
            }),
            None => state.counters.timeouts[phase.index()] += 1,
        }
    }

    /// The keys that have this hash.
    pub(super) fn seen(&self, hash: u64) -> Seen<K> {
        self.lock().table.seen(hash)
    }

    /// Takes an idle one, or joins the line of its key. `now` may be rough, `exact` is not.
    ///
    /// Both under one lock: a return either finds the waiter in line, or the waiter finds what was returned.
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
        if let Some(slot) = state.take(key, now, holder, this.limits.fifo) {
            return Take::Ready(slot);
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

    /// Has a waiter its answer? After that its ticket is spent. How long a grant was waited for is said when it is known to be good
    /// ([`time_wait`](Self::time_wait)).
    pub(super) fn poll(
        this: &Arc<Self>,
        ticket: &Ticket<K, T, E>,
        waker: &Waker,
        holder: Holder,
    ) -> (Polled<K, T, E>, Work<K, T, E>) {
        let (now, key) = (holder.since, ticket.key);
        let mut work = Work::default();
        // Cloned when it is first needed, with nothing locked, and so is the one before dropped.
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
                    // What it was handed before the close was taken back after it.
                    state.refuse_line(key, &mut work);
                }
                state.meet(this, key, now, &mut work);
                answer = state.lanes.answer(ticket);
            }
            let polled = match answer {
                Poll::Pending => Polled::Pending {
                    armed: state.lanes.is_armed(ticket),
                },
                Poll::Ready(Ok(slot)) => {
                    state.fetched(key, &slot, holder);
                    state.left(key, &mut work);
                    Polled::Granted(slot)
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

    /// A waiter gives up at its deadline. A grant is timed as that of [`poll`](Self::poll).
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
            Some(Ok(slot)) => {
                state.fetched(key, &slot, holder);
                TimedOut::Granted(slot)
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

    /// A waiter goes away. What was handed to it goes to the next in its line, or to the key whose turn it is.
    pub(super) fn cancel(this: &Arc<Self>, ticket: Ticket<K, T, E>, now: Moment) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        let key = ticket.key;
        let (answer, spent) = state.lanes.cancel(ticket);
        if !matches!(answer, Some(Err(_))) {
            // One that was refused was counted as what it was told.
            state.count(key, |counters| counters.cancelled += 1);
        }
        let refused = match answer {
            Some(Ok(slot)) if mutation::on(Mutation::KeyCancelServesNobody) => {
                state.lay_down(key, slot, &mut work);
                None
            }
            Some(Ok(slot)) => {
                state.settle(this, slot, now, &mut work);
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

    /// Gives one back after use. `lasted` is how long the lease was, when that was measured.
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
        state.returned(lasted);
        if state.lies_still(key, &slot, now) {
            state.lay(key, slot);
            return None;
        }
        let mut work = Work::default();
        state.settle(this, slot, now, &mut work);
        Some(work)
    }

    /// Gives one back that nobody used.
    pub(super) fn put_unused(
        this: &Arc<Self>,
        slot: Box<Slot<K, T, E>>,
        now: Moment,
    ) -> Work<K, T, E> {
        let mut work = Work::default();
        this.lock().settle(this, slot, now, &mut work);
        work
    }

    /// One that was being checked or reset is good.
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
            SeatState::Checking => state.histograms.check.record(took),
            SeatState::Resetting => state.histograms.reset.record(took),
            _ => {}
        }
        state.settle(this, slot, now, &mut work);
        work
    }

    /// Something was opened on this seat.
    pub(super) fn opened(
        this: &Arc<Self>,
        seat: Seat<K, T, E>,
        opened: Opened<T>,
        now: Moment,
    ) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        let key = state.seats.key(seat.index());
        // It may have been called off: it came in time.
        state.set(seat.index(), SeatState::Opening);
        let gate = &mut state.table.cold_mut(key).gate;
        if gate.is_doubted(now) {
            gate.opened(now);
            let next = gate.next_try().unwrap_or(now);
            state.count(key, |counters| counters.opened += 1);
            // If it goes before that, somebody has to look whether another can be opened.
            state.look_at_failing(key, next);
            state.call_keeper(next, &mut work);
        } else {
            state.succeeded(key, &this.limits, &mut work);
        }
        state.histograms.create.record(opened.took);
        // That of when it was begun: what a reset is about may be in it already.
        let generation = if mutation::on(Mutation::KeyOpenIsStampedLate) {
            state.generation
        } else {
            state.seats.begun(seat.index()).generation
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
            seat,
        });
        state.settle(this, slot, now, &mut work);
        state.call_keeper(now + this.limits.rounds, &mut work);
        work
    }

    /// Nothing could be opened on this seat. `jitter` is uniform in `0.0..1.0`.
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

    /// What was on this seat is closed: the seat goes to the key whose turn it is.
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

    /// A lease ended, and what it held is about to be made clean.
    pub(super) fn begin_reset(&self, slot: &mut Slot<K, T, E>, lasted: Option<Duration>) {
        slot.served = true;
        let mut state = self.lock();
        state.returned(lasted);
        state.set(slot.seat.index(), SeatState::Resetting);
    }

    /// One is about to be closed, for a reason that the kernel does not see for itself. Those who counted on it are seen to.
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

    /// What was counted as handed out, after a wait or not, was broken: nobody had it.
    pub(super) fn uncount(&self, slot: &Slot<K, T, E>, waited: bool) {
        let mut state = self.lock();
        let key = state.seats.key(slot.seat.index());
        state.table.at_mut(key).gets -= 1;
        state.counters.gets -= 1;
        if waited {
            state.waits_on(key);
        }
    }

    /// What a waiter was handed is good, and its wait was timed.
    pub(super) fn time_wait(&self, lasted: Duration) {
        self.lock().timed_wait(lasted);
    }

    /// A get that was handed a broken one after a wait found this one idle.
    pub(super) fn count_wait(&self, slot: &Slot<K, T, E>, lasted: Option<Duration>) {
        let mut state = self.lock();
        let key = state.seats.key(slot.seat.index());
        state.waited(key);
        if let Some(lasted) = lasted {
            state.timed_wait(lasted);
        }
    }

    /// A lease of what goes now lasted so long, if that was timed.
    pub(super) fn count_use(&self, lasted: Option<Duration>) {
        self.lock().returned(lasted);
    }

    /// One that is about to be closed broke before anybody could use it, just after it was opened: that is no better than a failed open,
    /// and the next is not made at once.
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

    /// Gives a holder a name.
    pub(super) fn relabel(&self, slot: &Slot<K, T, E>, label: &'static str) {
        self.lock().seats.relabel(slot.seat.index(), label);
    }

    /// Called by the drop of a seat.
    pub(super) fn vacate(&self, index: u32) {
        let mut work: Work<K, T, E> = Work::default();
        {
            let mut state = self.lock();
            let key = state.seats.key(index);
            let was = state.vacate(index, &mut work);
            let dropped = !matches!(was, SeatState::Closing | SeatState::Opening);
            state.count(key, |counters| counters.dropped += u64::from(dropped));
            // Whoever is polled next opens something; here may be no runtime to do it on.
            if !mutation::on(Mutation::KeyFreePlaceServesNobody) {
                state.tell_of_room(&mut work);
            }
            state.forget(key, &mut work);
        }
        work.wakers.wake();
    }
}
