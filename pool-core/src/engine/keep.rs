//! Keeping: what is done on time's behalf, and what is done to the pool as a whole.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    kernel::{Kernel, Put, Refusal, Work},
    mutation::{self, Mutation},
    seat::SeatState,
    slot::Slot,
    stats::{Counters, Histograms},
    tag::Holder,
};
use crate::{
    moment::{Moment, nanos_of},
    observe::CloseReason,
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
}

impl<T, E: Clone> Kernel<T, E> {
    /// One round: takes back what nobody fetched, arms those who have waited for a while, retires, checks, opens.
    pub(crate) fn tick(this: &Arc<Self>, now: Moment, keeper: Waker) -> Tick<T, E> {
        let keeping = this.limits.keeping;
        let mut work = Work::default();
        // Declared before the guard, so dropped after it.
        let _spent;
        let mut state = this.lock();
        state.hear();
        while !mutation::on(Mutation::GrantIsNeverReclaimed)
            && let Some(slot) = state.queue.reclaim(now, keeping.reclaim_after_nanos)
        {
            state.counters.reclaimed += 1;
            match state.settle(slot, now, &this.limits) {
                Put::Kept => {}
                Put::Wake(waker) => work.wakers.push(waker),
                Put::Close(slot, reason) => work.closes.push((slot, reason)),
                Put::Work(mut more) => work.wakers.append(&mut more.wakers),
            }
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
        _spent = state.bell.answer(keeper, next);
        let gets = state.seats.uses();
        Tick {
            work,
            leaks,
            next,
            // Gets and returns: what was got and is not out any more was returned.
            activity: (gets * 2).saturating_sub(state.leased().into()),
        }
    }

    /// The keeper is gone.
    pub(crate) fn keeper_left(&self) {
        self.post.vacate(
            || self.lock().bell.unhang(),
            || self.lock().queue.all_wakers(),
        );
    }

    /// Asks the keeper to come by now.
    pub(crate) fn ring(&self) {
        let keeper = self.lock().bell.ring();
        if let Some(keeper) = keeper {
            keeper.wake();
        }
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
        state.meet_demand(this, now, &mut work);
        work
    }

    /// Everything that is open now is closed: idle ones now, leased ones when they come back.
    pub(crate) fn reset_all(this: &Arc<Self>, now: Moment) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.generation += 1;
        this.begin_generation(state.generation);
        for slot in state.idle.take_all() {
            state.retire(slot, CloseReason::Reset, &mut work);
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
        work.wakers.append(&mut state.watchers);
        work
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ready when the pool is closed and everything it opened is gone.
    pub(crate) fn poll_drained(&self, context: &mut Context<'_>) -> Poll<()> {
        // Declared before the guard: if it is not needed it is dropped after it.
        let mut waker = Some(context.waker().clone());
        let mut state = self.lock();
        if state.closed && state.seats.taken() == 0 {
            return Poll::Ready(());
        }
        state.watch(&mut waker);
        Poll::Pending
    }

    /// Opens the minimum idle; ready when so many are open or handed out, or when it is known that none can be.
    pub(crate) fn poll_warm(
        this: &Arc<Self>,
        now: Moment,
        context: &mut Context<'_>,
    ) -> (Poll<Result<(), Refusal<E>>>, Work<T, E>) {
        let mut work = Work::default();
        let mut waker = Some(context.waker().clone());
        let mut state = this.lock();
        let poll = if state.closed {
            Poll::Ready(Err(Refusal::Closed))
        } else if state.seats.alive() >= this.limits.keeping.min_idle {
            Poll::Ready(Ok(()))
        } else if let Some(error) = state.gate.verdict(state.seats.alive()) {
            Poll::Ready(Err(Refusal::Connect(error)))
        } else {
            state.meet_demand(this, now, &mut work);
            state.watch(&mut waker);
            Poll::Pending
        };
        (poll, work)
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
                self.retire(slot, CloseReason::Reset, work);
            } else if surplus && lapsed(slot.idle_since, keeping.idle_timeout) {
                self.retire(slot, CloseReason::IdleTimeout, work);
            } else if now >= slot.expires_at
                && !self.keeps_expired(&mut slot, now, left, &kernel.limits, &mut work.wakers)
            {
                self.retire(slot, CloseReason::Lifetime, work);
            } else if lapsed(slot.used_at, keeping.keepalive)
                && self.seats.count(SeatState::Checking) < kernel.limits.max_opening
            {
                self.seats.set(slot.seat.index(), SeatState::Checking);
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

    fn watch(&mut self, waker: &mut Option<Waker>) {
        let known = |waker: &mut Waker| self.watchers.iter().any(|known| known.will_wake(waker));
        if let Some(waker) = waker.take_if(|waker| !known(waker)) {
            self.watchers.push(waker);
        }
    }

    fn next_round(&self, now: Moment, keeping: &Keeping) -> Moment {
        if self.closed {
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
        if let Some(next_try) = self.gate.next_try() {
            next = next.min(next_try);
        }
        if let Some(began) = self.seats.first_opening()
            && self.queue.waiting() > 0
        {
            // If it is late then, another one is opened; if it is late already, that was done.
            next = next.min(
                Some(began + self.patience())
                    .filter(|late| *late > now)
                    .unwrap_or(next),
            );
        }
        if self.sweep_at > now {
            next = next.min(self.sweep_at);
        }
        next.max(now + MIN_ROUND)
    }
}

/// Rounds are at least so far apart, whatever falls due.
const MIN_ROUND: Duration = Duration::from_millis(1);
