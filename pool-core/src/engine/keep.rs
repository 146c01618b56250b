//! The keeper's round, and the operations on the pool as a whole: resize, reset, close, snapshot.

use std::{task::Waker, time::Duration};

use super::{
    kernel::{Kernel, Put, Refusal, Work},
    lock::Locked,
    mutation::{self, Mutation},
    post::{Bell, Kept, Post},
    seat::SeatState,
    slot::Slot,
    stats::{Counters, Histograms, Sample},
    tag::Holder,
};
use crate::{
    moment::{Moment, nanos_of},
    observe::{CloseReason, Phase},
    sync::Arc,
};

/// The bounds that depend on time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    pub(crate) min_idle: u32,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) leak_after: Option<Duration>,
    /// A grant that is not fetched within this time goes to the next waiter.
    pub(crate) reclaim_after_nanos: u64,
    /// A waiter that has waited this long keeps a timer of its own from then on.
    pub(crate) arm_after: Duration,
    /// The time between two rounds while a waiter is in the queue, or while the pool is in use.
    pub(crate) tick_nanos: u64,
    /// The longest time between two rounds while anything is open.
    pub(crate) rounds: Duration,
}

/// The outcome of one round of the keeper.
#[derive(Debug)]
#[must_use]
pub(crate) struct Tick<T, E: Clone> {
    pub(crate) work: Work<T, E>,
    /// Leases that have lasted too long. Each is reported once.
    pub(crate) leaks: Vec<Holder>,
    /// When the next round is due.
    pub(crate) next: Moment,
    /// Whether the pool was closed.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "for publishing"))]
    pub(crate) closed: bool,
    /// How many leases and returns there were so far: the keeper compares it with the last round's.
    pub(crate) activity: u64,
}

/// All counts, as they were at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot<E> {
    pub(crate) max_size: u32,
    pub(crate) idle: u32,
    pub(crate) leased: u32,
    pub(crate) opening: u32,
    pub(crate) checking: u32,
    pub(crate) resetting: u32,
    pub(crate) closing: u32,
    pub(crate) waiting: usize,
    pub(crate) closed: bool,
    /// How many leases were handed out so far.
    pub(crate) gets: u64,
    pub(crate) counters: Counters,
    pub(crate) last_error: Option<E>,
}

impl Keeping {
    /// The earliest time at which a slot that becomes idle `now` may fall due. Its lifetime is not considered.
    pub(super) fn first_due(&self, now: Moment) -> Moment {
        let spans = [self.idle_timeout, self.keepalive];
        let shortest = spans.into_iter().flatten().min();
        shortest.map_or(Moment::NEVER, |span| now + span)
    }

    /// When this slot falls due if it stays idle. Its lifetime is not considered.
    pub(super) fn due<T, E: Clone>(&self, slot: &Slot<T, E>) -> Moment {
        let at =
            |since: Moment, span: Option<Duration>| span.map_or(Moment::NEVER, |span| since + span);
        at(slot.idle_since, self.idle_timeout).min(at(slot.used_at, self.keepalive))
    }
}

impl<T, E: Clone> Kept for Kernel<T, E> {
    fn post(&self) -> &Post {
        &self.post
    }

    fn with_bell<R>(&self, look: impl FnOnce(&mut Bell) -> R) -> R {
        look(&mut self.lock().bell)
    }

    fn all_in_line(&self) -> Vec<Waker> {
        self.lock().queue.all_wakers()
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    fn is_poisoned(&self) -> bool {
        self.state.0.is_poisoned()
    }
}

impl<T, E: Clone> Kernel<T, E> {
    /// Runs one round of the keeper with this number. The round takes back grants that were not fetched, arms the waiters that have
    /// waited for a while, and retires, checks and opens resources. Returns `None` if the keeper was replaced, or if the pool is
    /// drained.
    pub(crate) fn round(
        this: &Arc<Self>,
        number: u64,
        now: Moment,
        keeper: Waker,
    ) -> Option<Tick<T, E>> {
        let state = this.lock();
        if !this.post.is_held_by(number) || state.is_over() {
            return None;
        }
        Some(Self::tick_locked(this, state, now, keeper))
    }

    /// Runs one round, whichever keeper holds the post.
    #[cfg(test)]
    pub(crate) fn tick(this: &Arc<Self>, now: Moment, keeper: Waker) -> Tick<T, E> {
        Self::tick_locked(this, this.lock(), now, keeper)
    }

    fn tick_locked(
        this: &Arc<Self>,
        mut state: Locked<'_, T, E>,
        now: Moment,
        keeper: Waker,
    ) -> Tick<T, E> {
        let keeping = this.limits.keeping;
        let mut work = Work::default();
        state.bell.comes_by();
        state.hear();
        if !mutation::on(Mutation::GrantIsNeverReclaimed) {
            let after = keeping.reclaim_after_nanos;
            for slot in state.queue.reclaim(now, after, &mut work.wakers) {
                state.counters.reclaimed += 1;
                match state.settle(slot, now, &this.limits) {
                    Put::Kept => {}
                    Put::Wake(waker) => work.wakers.push(waker),
                    Put::Close(slot, reason) => work.closes.push((slot, reason)),
                    Put::Work(mut more) => work.wakers.append(&mut more.wakers),
                }
            }
        }
        if state.closed {
            // After a close, no grant comes to a waiter that kept its place when its grant was taken back.
            let told = state.queue.refuse_all(|| Refusal::Closed);
            work.wakers.extend(told);
        }
        // Nearly every wait is shorter than `arm_after`. A waiter that is still in the queue keeps a timer from now on.
        let before = Moment::from_nanos(now.as_nanos().saturating_sub(nanos_of(keeping.arm_after)));
        state.queue.arm(before, &mut work.wakers);
        if now >= state.sweep_at {
            state.sweep(this, now, &mut work);
        }
        state.meet_demand(this, now, &mut work);
        // `earlier` returns `None` in a pool that is younger than `leak_after`: no lease can be that old.
        let since = keeping
            .leak_after
            .and_then(|after| now.earlier(nanos_of(after)));
        let leaks = since.map_or_else(Vec::new, |since| state.seats.report_before(since));
        let next = state.next_round(now, &keeping);
        let spent = state.bell.answer(keeper, next);
        let gets = state.seats.uses();
        // Counts gets and returns: a resource that was leased and is not any more was returned.
        let activity = (gets * 2).saturating_sub(state.leased().into());
        let closed = state.closed;
        drop(state);
        drop(spent);
        Tick {
            work,
            leaks,
            next,
            closed,
            activity,
        }
    }

    /// Sets how many waiters may be in the queue. Waiters that are in it already stay.
    pub(crate) fn bound_line(&self, max_waiters: usize) {
        self.lock().max_waiters = max_waiters;
    }

    /// Sets another size. Surplus resources are closed: idle ones now, leased ones when they are returned.
    pub(crate) fn resize(this: &Arc<Self>, max_size: u32, now: Moment) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.target = max_size;
        state.call();
        while state.in_use() > max_size
            && let Some(slot) = state.idle.pop_last()
        {
            state.retire(slot, CloseReason::Shrunk, &mut work);
        }
        state.forget_replacements();
        state.meet_demand(this, now, &mut work);
        work
    }

    /// Closes every resource that is open now: idle ones now, leased ones when they are returned.
    pub(crate) fn retire_all(this: &Arc<Self>, now: Moment) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.generation += 1;
        this.begin_generation(state.generation);
        for slot in state.idle.take_all() {
            state.retire(slot, CloseReason::Retired, &mut work);
        }
        // A return may have laid down a slot just before it knew the new generation: no get hands this slot out, and the next round
        // closes it.
        let soon = now.later(this.limits.keeping.tick_nanos);
        state.sweep_by(soon);
        work.wakers.extend(state.bell.call(soon));
        state.meet_demand(this, now, &mut work);
        work
    }

    /// Takes all idle slots out, to be looked at with nothing locked. The caller returns each by [`put_unused`](Self::put_unused),
    /// or closes it.
    pub(crate) fn take_idle(&self) -> Vec<Box<Slot<T, E>>> {
        let mut state = self.lock();
        let slots = state.idle.take_all();
        for slot in &slots {
            state.seats.set(slot.seat.index(), SeatState::Checking);
        }
        slots
    }

    /// Closes the pool: refuses all waiters and all later gets. Idle resources are closed now, leased ones when they are returned.
    pub(crate) fn close(&self) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = self.lock();
        if !mutation::on(Mutation::CloseCallsLate) {
            state.closed = true;
            state.call();
        }
        work.wakers = if mutation::on(Mutation::CloseWakesOne) {
            state
                .queue
                .refuse_first(Refusal::Closed)
                .into_iter()
                .collect()
        } else {
            state.queue.refuse_all(|| Refusal::Closed)
        };
        for slot in state.idle.take_all() {
            state.retire(slot, CloseReason::PoolClosed, &mut work);
        }
        state.closed = true;
        work.wakers.extend(state.bell.ring());
        work.wakers.append(&mut state.watchers.take());
        work
    }

    /// Counts a timeout of a get that was not in the queue.
    pub(crate) fn count_timeout(&self, phase: Phase) {
        self.lock().counters.timeouts[phase.index()] += 1;
    }

    /// Counts the end of a lease whose resource is about to be closed, or was detached.
    pub(crate) fn count_use(&self, lasted: Sample) {
        self.lock().returned(Some(lasted));
    }

    pub(crate) fn snapshot(&self) -> Snapshot<E> {
        let mut state = self.lock();
        state.hear();
        // Gets and returns must take the lock meanwhile. Else a return could set down in a word that was counted already, and a get
        // could take from a word that was not counted yet.
        state.idle.hold_still();
        let count = |of| state.seats.count(of);
        let idle = (state.idle.len() as u32).min(count(SeatState::Open));
        Snapshot {
            max_size: state.target,
            idle,
            leased: count(SeatState::Open) - idle,
            opening: count(SeatState::Opening),
            checking: count(SeatState::Checking),
            resetting: count(SeatState::Resetting),
            closing: count(SeatState::Closing),
            waiting: state.queue.len(),
            closed: state.closed,
            gets: state.seats.uses(),
            counters: state.counters,
            last_error: state.gate.last_error(),
        }
    }

    pub(crate) fn histograms(&self) -> Histograms {
        let mut state = self.lock();
        state.hear();
        state.histograms.clone()
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        self.lock().seats.holders().collect()
    }
}

impl<T, E: Clone> super::state::State<T, E> {
    /// Looks through all idle slots. Closes those whose time is over, has those checked that were not known to be good for
    /// `keepalive`, and notes when the next slot falls due.
    fn sweep(&mut self, kernel: &Arc<Kernel<T, E>>, now: Moment, work: &mut Work<T, E>) {
        let keeping = kernel.limits.keeping;
        // A slot that is due, but finds too many checks running, is looked at again when one of these checks ends (`overdue`).
        let lapsed = |since: Moment, after: Option<Duration>| {
            after.is_some_and(|after| now - since >= after)
        };
        // A resource that is leased now becomes idle later, and its lifetime is known already.
        self.sweep_at = keeping.first_due(now).min(self.seats.next_expiry(now));
        let slots = self.idle.take_all();
        let mut left = slots.len();
        for mut slot in slots {
            // `left` counts the slots that are not decided yet and those that stay. So a slot is surplus if enough are left without
            // it.
            left -= 1;
            let surplus = left >= keeping.min_idle as usize;
            if slot.generation != self.generation {
                self.retire(slot, CloseReason::Retired, work);
            } else if surplus && lapsed(slot.idle_since, keeping.idle_timeout) {
                self.retire(slot, CloseReason::IdleTimeout, work);
            } else if now >= slot.expires_at
                && !self.keeps_expired(&mut slot, now, left, &kernel.limits, &mut work.wakers)
            {
                self.retire(slot, CloseReason::Lifetime, work);
            } else if lapsed(slot.used_at, keeping.keepalive)
                && self.seats.count(SeatState::Checking) < kernel.limits.max_opening
            {
                self.seats.check(slot.seat.index(), now);
                work.checks.push(slot);
            } else {
                if surplus && let Some(after) = keeping.idle_timeout {
                    self.sweep_by(slot.idle_since + after);
                }
                if let Some(after) = keeping.keepalive {
                    self.sweep_by(slot.used_at + after);
                }
                // The slot is still needed. It is looked at again when its replacement is open, and in every round until then.
                if now >= slot.expires_at {
                    self.sweep_by(now + keeping.rounds);
                }
                self.idle.lay(slot);
                left += 1;
            }
        }
    }

    fn next_round(&self, now: Moment, keeping: &Keeping) -> Moment {
        // A closed pool keeps its keeper until the last resource is gone: the keeper takes back grants that are not fetched, and
        // reports leaks.
        if self.is_over() {
            return Moment::NEVER;
        }
        let mut next = if self.seats.taken() > 0 || keeping.min_idle > 0 {
            now + keeping.rounds
        } else {
            Moment::NEVER
        };
        if self.queue.wants_ticks() {
            next = next.min(now.later(keeping.tick_nanos));
        }
        // A time in the past was acted on already, or the attempt waits for something that calls the keeper: the end of another
        // attempt, or room.
        if let Some(next_try) = self.gate.next_try().filter(|at| *at > now) {
            next = next.min(next_try);
        }
        // If an open or a check is late at that time, the round opens another resource.
        if self.queue.waiting() > 0
            && let Some(late) = self.next_late(now)
        {
            next = next.min(late);
        }
        if self.sweep_at > now {
            next = next.min(self.sweep_at);
        }
        next.max(now + MIN_ROUND)
    }
}

/// The shortest time between two rounds.
const MIN_ROUND: Duration = Duration::from_millis(1);
