//! Keeping: what is done on time's behalf, and what is done to the pool as a whole.

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

/// The bounds that time enforces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    pub(crate) min_idle: u32,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) leak_after: Option<Duration>,
    /// A grant that nobody fetched for so long goes to the next in line.
    pub(crate) reclaim_after_nanos: u64,
    /// Who has waited for so long keeps a timer of its own from then on.
    pub(crate) arm_after: Duration,
    /// How often the keeper comes by while somebody waits, or while the pool is being used.
    pub(crate) tick_nanos: u64,
    /// How often it comes by at least while anything is open.
    pub(crate) rounds: Duration,
}

/// What a round of the keeper found.
#[derive(Debug)]
#[must_use]
pub(crate) struct Tick<T, E: Clone> {
    pub(crate) work: Work<T, E>,
    /// Leases that have lasted for too long, each told once.
    pub(crate) leaks: Vec<Holder>,
    /// When to come by again.
    pub(crate) next: Moment,
    /// Was the pool closed?
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "for publishing"))]
    pub(crate) closed: bool,
    /// Leases and returns so far: has anything happened since the last round?
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
    /// Leases handed out so far.
    pub(crate) gets: u64,
    pub(crate) counters: Counters,
    pub(crate) last_error: Option<E>,
}

impl Keeping {
    /// When what becomes idle `now` may fall due first, but for the end of its lifetime.
    pub(super) fn first_due(&self, now: Moment) -> Moment {
        let spans = [self.idle_timeout, self.keepalive];
        let shortest = spans.into_iter().flatten().min();
        shortest.map_or(Moment::NEVER, |span| now + span)
    }

    /// When this one falls due if it stays idle, but for the end of its lifetime.
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
    /// One round of the keeper that has this number: takes back what nobody fetched, arms those who have waited for a while, retires,
    /// checks, opens. `None`: it was replaced, or the pool is over.
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

    /// One round, whoever the keeper is.
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
            // Those who kept their place when their grant was taken back: nothing comes to it any more.
            let told = state.queue.refuse_all(|| Refusal::Closed);
            work.wakers.extend(told);
        }
        // Nearly every wait is over long before that; who is still there keeps a timer from now on.
        let before = Moment::from_nanos(now.as_nanos().saturating_sub(nanos_of(keeping.arm_after)));
        state.queue.arm(before, &mut work.wakers);
        if now >= state.sweep_at {
            state.sweep(this, now, &mut work);
        }
        state.meet_demand(this, now, &mut work);
        // Nothing is that old in a pool that is younger.
        let since = keeping
            .leak_after
            .and_then(|after| now.earlier(nanos_of(after)));
        let leaks = since.map_or_else(Vec::new, |since| state.seats.report_before(since));
        let next = state.next_round(now, &keeping);
        let spent = state.bell.answer(keeper, next);
        let gets = state.seats.uses();
        // Gets and returns: what was got and is not out any more was returned.
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

    /// Sets how many may wait in line, from now on: those who are in it stay.
    pub(crate) fn bound_line(&self, max_waiters: usize) {
        self.lock().max_waiters = max_waiters;
    }

    /// Sets another size. What is too much goes: idle ones now, leased ones when they come back.
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

    /// Everything that is open now is closed: idle ones now, leased ones when they come back.
    pub(crate) fn retire_all(this: &Arc<Self>, now: Moment) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.generation += 1;
        this.begin_generation(state.generation);
        for slot in state.idle.take_all() {
            state.retire(slot, CloseReason::Retired, &mut work);
        }
        // What was laid down just before the new generation was known: nobody gets it, and the next round closes it.
        let soon = now.later(this.limits.keeping.tick_nanos);
        state.sweep_by(soon);
        work.wakers.extend(state.bell.call(soon));
        state.meet_demand(this, now, &mut work);
        work
    }

    /// Takes all idle ones out, so that they can be looked at unlocked. Each comes back by [`put_unused`](Self::put_unused), or
    /// is closed.
    pub(crate) fn take_idle(&self) -> Vec<Box<Slot<T, E>>> {
        let mut state = self.lock();
        let slots = state.idle.take_all();
        for slot in &slots {
            state.seats.set(slot.seat.index(), SeatState::Checking);
        }
        slots
    }

    /// Nobody gets anything from now on, and all who wait are told so. Idle ones are closed now, leased ones on return.
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

    /// Something that is no waiter gave up at its deadline.
    pub(crate) fn count_timeout(&self, phase: Phase) {
        self.lock().counters.timeouts[phase.index()] += 1;
    }

    /// A lease ended after so long, and what it held is about to be closed or was taken out.
    pub(crate) fn count_use(&self, lasted: Sample) {
        self.lock().returned(Some(lasted));
    }

    pub(crate) fn snapshot(&self) -> Snapshot<E> {
        let mut state = self.lock();
        state.hear();
        // Meanwhile gets and returns come to the lock: nothing is laid down where it was looked already, and taken where it was not.
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
    /// Looks through all idle ones: closes those whose time is over, has those checked that have been idle for `keepalive`, and
    /// notes when the next one falls due.
    fn sweep(&mut self, kernel: &Arc<Kernel<T, E>>, now: Moment, work: &mut Work<T, E>) {
        let keeping = kernel.limits.keeping;
        // Those that are due and find too many being checked are looked at again when one of these checks ends (`overdue`).
        let lapsed = |since: Moment, after: Option<Duration>| {
            after.is_some_and(|after| now - since >= after)
        };
        // What is leased now becomes idle later, and its lifetime is known already.
        self.sweep_at = keeping.first_due(now).min(self.seats.next_expiry(now));
        let slots = self.idle.take_all();
        let mut left = slots.len();
        for mut slot in slots {
            // Those that are not decided on yet, and those that stay: what counts as needed is what is needed without this one.
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
                // It is needed still; when its replacement is open it is looked at again, and every round until then.
                if now >= slot.expires_at {
                    self.sweep_by(now + keeping.rounds);
                }
                self.idle.lay(slot);
                left += 1;
            }
        }
    }

    fn next_round(&self, now: Moment, keeping: &Keeping) -> Moment {
        // A closed pool is kept until the last one has come back: what nobody fetches is taken back, and leaks are told.
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
        // What is past was done, or waits for something that calls the keeper when it comes: the end of an attempt, or room.
        if let Some(next_try) = self.gate.next_try().filter(|at| *at > now) {
            next = next.min(next_try);
        }
        // If one is late then, another is opened.
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

/// Rounds are at least so far apart, whatever falls due.
const MIN_ROUND: Duration = Duration::from_millis(1);
