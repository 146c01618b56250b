//! Keeping: what is done on time's behalf, and what is done to the pool as a whole.

use std::{
    mem,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    kernel::{Kernel, Put, Refusal, Work},
    mutation::{self, Mutation},
    seat::{Holder, SeatState},
    slot::{Idle, Slot},
    stats::{Counters, Histograms},
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
    pub(crate) reclaim_after: Duration,
    /// Who has waited for so long keeps a timer of its own from then on.
    pub(crate) arm_after: Duration,
    /// How often the keeper comes by while somebody waits, or while the pool is being used.
    pub(crate) tick: Duration,
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
    pub(crate) counters: Counters,
    pub(crate) last_error: Option<E>,
}

impl<T, E: Clone> Kernel<T, E> {
    /// One round: takes back what nobody fetched, arms those who have waited for a while, retires, checks, opens.
    pub(crate) fn tick(this: &Arc<Self>, now: Moment, keeper: &Waker) -> Tick<T, E> {
        let keeping = this.limits.keeping;
        let mut work = Work::default();
        let mut state = this.lock();
        while !mutation::on(Mutation::GrantIsNeverReclaimed)
            && let Some(slot) = state.queue.reclaim(now, keeping.reclaim_after)
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
        state.retire_idle(this, now, &mut work);
        state.meet_demand(this, now, &mut work);
        // Nothing is that old in a pool that is younger.
        let since = keeping
            .leak_after
            .and_then(|after| now.earlier(nanos_of(after)));
        let leaks = since.map_or_else(Vec::new, |since| state.seats.report_before(since));
        let next = state.next_round(now, &keeping);
        state.keeper = Some(keeper.clone());
        state.keeper_next = next;
        Tick {
            work,
            leaks,
            next,
            activity: state.counters.gets + state.counters.returns,
        }
    }

    /// The keeper is gone (its runtime ended). Whoever is polled next starts another.
    pub(crate) fn keeper_left(&self) {
        let waker = {
            let mut state = self.lock();
            state.keeper = None;
            state.keeper_next = Moment::NEVER;
            state.queue.first_waker()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Asks the keeper to come by now.
    pub(crate) fn ring(&self) {
        let keeper = {
            let mut state = self.lock();
            state.keeper_next = Moment::from_nanos(0);
            state.keeper.take()
        };
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }

    /// Sets another size. What is too much goes: idle ones now, leased ones when they come back.
    pub(crate) fn resize(this: &Arc<Self>, max_size: u32, now: Moment) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.target = max_size;
        while state.in_use() > max_size
            && let Some(Idle { slot, .. }) = state.idle.pop_front()
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
        while let Some(Idle { slot, .. }) = state.idle.pop_front() {
            state.retire(slot, CloseReason::Reset, &mut work);
        }
        state.meet_demand(this, now, &mut work);
        work
    }

    /// Takes all idle ones out, so that they can be looked at unlocked. Each comes back by [`put_clean`](Self::put_clean), or
    /// is closed.
    pub(crate) fn take_idle(&self) -> Vec<Box<Slot<T, E>>> {
        let mut state = self.lock();
        let slots: Vec<_> = mem::take(&mut state.idle)
            .into_iter()
            .map(|idle| idle.slot)
            .collect();
        for slot in &slots {
            state.seats.set(slot.seat.index(), SeatState::Checking);
        }
        slots
    }

    /// Nobody gets anything from now on, and all who wait are told so. Idle ones are closed now, leased ones on return.
    pub(crate) fn close(&self) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.closed = true;
        work.wakers = if mutation::on(Mutation::CloseWakesOne) {
            state
                .queue
                .refuse_first(Refusal::Closed)
                .into_iter()
                .collect()
        } else {
            state.queue.refuse_all(|| Refusal::Closed)
        };
        while let Some(Idle { slot, .. }) = state.idle.pop_front() {
            state.retire(slot, CloseReason::PoolClosed, &mut work);
        }
        work.wakers.extend(state.keeper.take());
        work.wakers.append(&mut state.watchers);
        work
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ready when the pool is closed and everything it opened is gone.
    pub(crate) fn poll_drained(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closed && state.seats.taken() == 0 {
            return Poll::Ready(());
        }
        state.watch(context.waker());
        Poll::Pending
    }

    /// Opens the minimum idle; ready when so many are open or handed out, or when it is known that none can be.
    pub(crate) fn poll_warm(
        this: &Arc<Self>,
        now: Moment,
        context: &mut Context<'_>,
    ) -> (Poll<Result<(), Refusal<E>>>, Work<T, E>) {
        let mut work = Work::default();
        let mut state = this.lock();
        let poll = if state.closed {
            Poll::Ready(Err(Refusal::Closed))
        } else if state.seats.alive() >= this.limits.keeping.min_idle {
            Poll::Ready(Ok(()))
        } else if let Some(error) = state.gate.verdict(state.seats.alive()) {
            Poll::Ready(Err(Refusal::Connect(error)))
        } else {
            state.meet_demand(this, now, &mut work);
            state.watch(context.waker());
            Poll::Pending
        };
        (poll, work)
    }

    pub(crate) fn snapshot(&self) -> Snapshot<E> {
        let state = self.lock();
        let count = |of| state.seats.count(of);
        Snapshot {
            max_size: state.target,
            idle: count(SeatState::Idle),
            leased: count(SeatState::Leased),
            opening: count(SeatState::Opening),
            checking: count(SeatState::Checking),
            resetting: count(SeatState::Resetting),
            closing: count(SeatState::Closing),
            waiting: state.queue.len(),
            closed: state.closed,
            counters: state.counters,
            last_error: state.gate.last_error(),
        }
    }

    pub(crate) fn histograms(&self) -> Histograms {
        self.lock().histograms.clone()
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        self.lock().seats.holders().collect()
    }
}

impl<T, E: Clone> super::kernel::State<T, E> {
    /// Closes idle ones whose time is over and has those checked that have been idle for `keepalive`.
    fn retire_idle(&mut self, kernel: &Arc<Kernel<T, E>>, now: Moment, work: &mut Work<T, E>) {
        let keeping = kernel.limits.keeping;
        let mut index = 0;
        while index < self.idle.len() {
            let slot = &self.idle[index].slot;
            let lapsed = |since: Moment, after: Option<Duration>| {
                after.is_some_and(|after| now - since >= after)
            };
            let surplus = self.idle.len() > keeping.min_idle as usize;
            let (expired, unused) = (
                now >= slot.expires_at,
                surplus && lapsed(slot.idle_since, keeping.idle_timeout),
            );
            let stale = lapsed(slot.used_at, keeping.keepalive);
            if !(expired || unused || stale) {
                index += 1;
                continue;
            }
            // Out of the list while it is decided on: what counts as needed is what is needed without it.
            let Some(Idle { mut slot, .. }) = self.idle.remove(index) else {
                return;
            };
            if unused {
                self.retire(slot, CloseReason::IdleTimeout, work);
            } else if expired
                && !self.keeps_expired(&mut slot, now, &kernel.limits, &mut work.wakers)
            {
                self.retire(slot, CloseReason::Lifetime, work);
            } else if stale && self.seats.count(SeatState::Checking) < kernel.limits.max_opening {
                self.seats.set(slot.seat.index(), SeatState::Checking);
                work.checks.push(slot);
            } else {
                self.idle
                    .insert(index, Idle::new(slot, kernel.limits.check_after_nanos));
                index += 1;
            }
        }
    }

    fn watch(&mut self, waker: &Waker) {
        if !self.watchers.iter().any(|known| known.will_wake(waker)) {
            self.watchers.push(waker.clone());
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
            next = next.min(now + keeping.tick);
        }
        if let Some(next_try) = self.gate.next_try() {
            next = next.min(next_try);
        }
        let surplus = self.idle.len() > keeping.min_idle as usize;
        for Idle { slot, .. } in &self.idle {
            // What is kept although it expired is looked at every round.
            if slot.expires_at > now {
                next = next.min(slot.expires_at);
            }
            if let Some(after) = keeping.idle_timeout.filter(|_| surplus) {
                next = next.min(slot.idle_since + after);
            }
            if let Some(after) = keeping.keepalive {
                next = next.min(slot.used_at + after);
            }
        }
        next.max(now + MIN_ROUND)
    }
}

/// Rounds are at least so far apart, whatever falls due.
const MIN_ROUND: Duration = Duration::from_millis(1);
