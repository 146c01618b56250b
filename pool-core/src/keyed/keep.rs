//! What one keeper does for all keys as time passes, and the operations on the pool as a whole.
//!
//! The cost of a round depends on what falls due in it, not on how much is open. The keeper looks at an idle slot when the first of
//! its timeouts can be over. Queues with waiters and failing keys are on lists of their own.

use std::{cmp::Reverse, mem, sync::Arc as StdArc, task::Waker, time::Duration};

use super::{
    counts::Counts,
    grant::{Grant, Lends},
    kernel::{Kernel, Limits},
    limits::Terms,
    seats::{Seat, SeatState, Slot},
    state::{LATE, REMEMBERED, State},
    table::{NIL, Place},
    work::Work,
};
use crate::{
    engine::{
        Bell, Histograms, Holder, Kept, Post, Refusal, Watched, Watchers,
        mutation::{self, Mutation},
    },
    moment::{Moment, nanos_of},
    observe::CloseReason,
    sync::{Arc, KernelGuard},
};

/// The result of one round of the keeper.
#[derive(Debug)]
#[must_use]
pub(super) struct Tick<K, T: Lends, E: Clone> {
    pub(super) work: Work<K, T, E>,
    /// Leases that have lasted too long, with their keys. Each lease is reported once.
    pub(super) leaks: Vec<Held<K>>,
    /// When the next round is due.
    pub(super) next: Moment,
    /// Whether the pool is closed.
    pub(super) closed: bool,
    /// The number of gets and returns so far. If it has not changed, nothing has happened since the last round.
    pub(super) activity: u64,
}

/// The holder of a lease, with the key.
pub(super) type Held<K> = (StdArc<K>, Holder);

/// All counts of one key, or of all keys together, at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot<E> {
    pub(super) max_size: u32,
    pub(super) counts: [u32; SeatState::COUNT],
    pub(super) waiting: usize,
    pub(super) closed: bool,
    pub(super) counters: Counts,
    pub(super) last_error: Option<E>,
    pub(super) links: Links,
}

/// Counts of shared resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    pub(super) open: u32,
    /// How many give no more shares, and are closed with their last.
    pub(super) draining: u32,
    pub(super) suspect: u32,
    /// Shares that are out, or granted.
    pub(super) used: u32,
    /// Shares that can be given.
    pub(super) free: u32,
}

impl<E> Snapshot<E> {
    pub(super) const fn count(&self, state: SeatState) -> u32 {
        self.counts[state as usize]
    }
}

impl<K, T: Lends, E: Clone> Kept for Kernel<K, T, E> {
    fn post(&self) -> &Post {
        &self.post
    }

    fn with_bell<R>(&self, look: impl FnOnce(&mut Bell) -> R) -> R {
        look(&mut self.lock().bell)
    }

    fn all_in_line(&self) -> Vec<Waker> {
        self.lock().lanes.all_wakers().collect()
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn is_over(&self) -> bool {
        self.lock().is_drained()
    }

    fn is_poisoned(&self) -> bool {
        self.state.is_poisoned()
    }
}

impl<K, T: Lends, E: Clone> Watched for Kernel<K, T, E> {
    fn with_watchers<R>(&self, look: impl FnOnce(&mut Watchers) -> R) -> R {
        look(&mut self.lock().watchers)
    }
}

impl<K, T: Lends, E: Clone> Kernel<K, T, E> {
    /// Runs a round of the keeper with this number. `None` if this keeper was replaced, or if the pool is closed and drained.
    pub(super) fn round(
        this: &Arc<Self>,
        number: u64,
        now: Moment,
        keeper: Waker,
    ) -> Option<Tick<K, T, E>> {
        let state = this.lock();
        if !this.post.is_held_by(number) || state.is_drained() {
            return None;
        }
        Some(Self::tick_locked(this, state, now, keeper))
    }

    /// Runs a round, whichever keeper runs.
    #[cfg(all(test, not(pool_shuttle)))]
    pub(super) fn tick(this: &Arc<Self>, now: Moment, keeper: Waker) -> Tick<K, T, E> {
        Self::tick_locked(this, this.lock(), now, keeper)
    }

    /// Takes back unfetched grants, arms waiters that have waited for a while, closes and checks idle slots, and gives out places.
    fn tick_locked(
        this: &Arc<Self>,
        mut state: KernelGuard<'_, State<K, T, E>>,
        now: Moment,
        keeper: Waker,
    ) -> Tick<K, T, E> {
        let limits = &this.limits;
        let mut work = Work::default();
        state.now = state.now.max(now);
        state.bell.comes_by();
        state.keep_lines(this, now, &mut work);
        state.keep_idle(this, now, &mut work);
        state.keep_opens(this, now, &mut work);
        state.keep_failing(this, now, &mut work);
        let leaks = state.leaks(limits, now);
        state.assign(this, now, &mut work);
        state.drain_for_turns(this, now, &mut work);
        let next = state.next_round(now, limits);
        let before = state.bell.answer(keeper, next);
        let activity = state.counters.gets + state.counters.returns;
        let closed = state.closed;
        drop(state);
        drop(before);
        Tick {
            work,
            leaks,
            next,
            closed,
            activity,
        }
    }

    /// Sets how many gets may wait in all queues together. Waiters that are in a queue already stay.
    pub(super) fn bound_lines(&self, max_waiters: usize) {
        self.lock().max_waiters = max_waiters;
    }

    /// Sets the bound in total. Surplus idle slots are closed now, the oldest first, and surplus leased slots when they are
    /// returned.
    pub(super) fn resize(this: &Arc<Self>, max_total: u32, now: Moment) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        state.max_total = max_total;
        while state.in_use() > max_total && state.retire_oldest(CloseReason::Shrunk, &mut work) {}
        state.drain_surplus(None);
        state.assign(this, now, &mut work);
        work
    }

    /// Sets the limits of a key, if it is still in use.
    pub(super) fn set_terms(
        this: &Arc<Self>,
        place: Place,
        terms: StdArc<Terms>,
        now: Moment,
    ) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        if !state.table.is_there(place) || state.closed {
            return work;
        }
        let key = place.index;
        let row = state.table.at_mut(key);
        row.set_terms(terms);
        let (most, lane) = (row.terms().max_size, row.lane);
        while state.held(key) > most
            && let Some(index) = state.idle_of(key).first().copied()
            && let Some(slot) = state.pick_up(key, index)
        {
            state.retire(slot, CloseReason::Shrunk, &mut work);
        }
        state.drain_surplus(Some(key));
        for index in state.idle_of(key) {
            state.look_again(index, &mut work);
        }
        if most == 0 {
            let mut wakers = state.lanes.refuse_all(lane, || Refusal::Overloaded);
            work.wakers.many().append(&mut wakers);
        }
        state.meet(this, key, now, &mut work);
        work
    }

    /// Retires all resources of one key, or of all keys: idle slots are closed now, leased slots when they are returned.
    pub(super) fn reset(this: &Arc<Self>, of: Option<Place>, now: Moment) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.now = state.now.max(now);
        let generation = state.generation + 1;
        match of {
            None => {
                state.oldest_generation = generation;
                while state.retire_oldest(CloseReason::Retired, &mut work) {}
                state.drain_all(None, CloseReason::Retired);
            }
            Some(place) if state.table.is_there(place) => {
                let key = place.index;
                state.table.at_mut(key).generation = generation;
                for index in state.idle_of(key) {
                    if let Some(slot) = state.pick_up(key, index) {
                        state.retire(slot, CloseReason::Retired, &mut work);
                    }
                }
                state.drain_all(Some(key), CloseReason::Retired);
                state.meet(this, key, now, &mut work);
            }
            Some(_) => return work,
        }
        state.generation = generation;
        state.assign(this, now, &mut work);
        work
    }

    /// Takes out the next idle slot, from seat `from` on, so that it can be looked at unlocked. The slot comes back by
    /// [`put_unused`](Self::put_unused), or is closed. Also returns the seat to go on from.
    pub(super) fn next_idle(&self, from: u32) -> Option<(u32, Box<Slot<K, T, E>>)> {
        let mut state = self.lock();
        let is_idle = |index: &u32| state.seats.state(*index) == SeatState::Idle;
        let index = (from..state.seats.len()).find(is_idle)?;
        let key = state.seats.key(index);
        let slot = state.pick_up(key, index)?;
        state.set(index, SeatState::Checking);
        Some((index + 1, slot))
    }

    /// Closes the pool. All waiters are refused, idle slots are closed now, and leased slots when they are returned.
    pub(super) fn close(&self) -> Work<K, T, E> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.closed = true;
        state.turns.clear();
        for key in 0..state.table.slots() {
            state.refuse_line(key, &mut work);
        }
        while state.retire_oldest(CloseReason::PoolClosed, &mut work) {}
        for key in 0..state.table.slots() {
            state.forget(key, &mut work);
        }
        work.wakers.push(state.bell.ring());
        let mut watchers = state.watchers.take();
        work.wakers.many().append(&mut watchers);
        work
    }

    /// Whether the open on this seat is to go on. It is not if the pool was closed, or if the open was called off.
    pub(super) fn is_wanted(&self, seat: &Seat<K, T, E>) -> bool {
        let state = self.lock();
        !state.closed && state.seats.state(seat.index()) == SeatState::Opening
    }

    /// Returns the counts of all keys together.
    pub(super) fn snapshot(&self) -> Snapshot<E> {
        let state = self.lock();
        Snapshot {
            max_size: state.max_total,
            counts: state.seats.counts(),
            waiting: state.lanes.len(),
            closed: state.closed,
            counters: state.counters,
            last_error: None,
            links: state.links(state.seats.all_shared()),
        }
    }

    /// Returns the counts of one key, if it is in use.
    pub(super) fn snapshot_of(&self, place: Place) -> Option<Snapshot<E>> {
        let state = self.lock();
        if !state.table.is_there(place) {
            return None;
        }
        Some(state.snapshot_of(place.index))
    }

    /// Returns the counts of some of the keys, from number `from` on, and the number to go on from; `None` at the end.
    pub(super) fn snapshots(&self, from: u32) -> Option<(u32, Vec<(StdArc<K>, Snapshot<E>)>)> {
        let state = self.lock();
        let end = state.table.slots().min(from.saturating_add(PART));
        if from >= end {
            return None;
        }
        let keys = (from..end).filter(|key| state.table.get(*key).is_some());
        let part = keys.map(|key| {
            let known = StdArc::clone(&state.table.cold(key).key);
            (known, state.snapshot_of(key))
        });
        Some((end, part.collect()))
    }

    /// Returns some of the keys, like [`snapshots`](Self::snapshots).
    pub(super) fn keys(&self, from: u32) -> Option<(u32, Vec<(Place, StdArc<K>)>)> {
        let state = self.lock();
        let end = state.table.slots().min(from.saturating_add(PART));
        if from >= end {
            return None;
        }
        let part = (from..end).filter_map(|key| {
            state.table.get(key)?;
            Some((
                state.table.place(key),
                StdArc::clone(&state.table.cold(key).key),
            ))
        });
        Some((end, part.collect()))
    }

    /// Returns how many keys are in use.
    pub(super) fn key_count(&self) -> usize {
        self.lock().table.len()
    }

    pub(super) fn histograms(&self) -> Histograms {
        self.lock().histograms.clone()
    }

    /// Returns the holders of all leases of one key, or of all keys.
    pub(super) fn holders(&self, of: Option<Place>) -> Vec<Held<K>> {
        let state = self.lock();
        if of.is_some_and(|place| !state.table.is_there(place)) {
            return Vec::new();
        }
        let meant = |key: u32| of.is_none_or(|place| place.index == key);
        let holders = state.seats.holders().filter(|(key, _)| meant(*key));
        holders
            .map(|(key, holder)| (StdArc::clone(&state.table.cold(key).key), holder))
            .collect()
    }
}

impl<K, T: Lends, E: Clone> State<K, T, E> {
    /// Takes back unfetched grants, and arms waiters that have waited for a while.
    fn keep_lines(&mut self, kernel: &Arc<Kernel<K, T, E>>, now: Moment, work: &mut Work<K, T, E>) {
        let Limits {
            reclaim_after,
            arm_after,
            ..
        } = kernel.limits;
        // Nearly every wait is over long before `arm_after`. A waiter that has waited that long keeps a timer of its own.
        let before = Moment::from_nanos(now.as_nanos().saturating_sub(nanos_of(arm_after)));
        let ticking = mem::take(&mut self.ticking);
        let there = ticking.into_iter().filter(|at| self.table.is_there(*at));
        let ticking: Vec<_> = there.collect();
        let mut unfetched = Vec::new();
        for place in &ticking {
            let lane = self.table.at(place.index).lane;
            let wakers = work.wakers.many();
            for grant in self.lanes.reclaim(lane, now, reclaim_after, wakers) {
                self.count(place.index, |counters| counters.reclaimed += 1);
                unfetched.push(grant);
            }
        }
        if !unfetched.is_empty() && !mutation::on(Mutation::ReclaimParksOne) {
            // A free place may go to any key, and the waiters of other keys may be unpolled too.
            for key in self.lanes.park_all(work.wakers.many()) {
                self.refresh(key);
            }
        }
        for grant in unfetched {
            if matches!(grant, Grant::Many(_)) && mutation::on(Mutation::MixedReclaimKeepsShare) {
                continue;
            }
            self.take_back(kernel, grant, now, work);
        }
        for place in ticking {
            if !self.table.is_there(place) {
                continue;
            }
            if self.waits_unchecked(place.index) {
                self.meet(kernel, place.index, now, work);
            }
            let lane = self.table.at(place.index).lane;
            self.lanes.arm(lane, before, work.wakers.many());
            let again = self.lanes.wants_ticks(lane);
            self.table.cold_mut(place.index).ticks = again;
            if again {
                self.ticking.push(place);
            }
        }
    }

    /// Closes idle slots whose time is over, and begins checks of slots that are due for a keepalive check.
    fn keep_idle(&mut self, kernel: &Arc<Kernel<K, T, E>>, now: Moment, work: &mut Work<K, T, E>) {
        while let Some(Reverse((at, index))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            if self.seats.looked_at(index) != at {
                // Either the seat is in the heap for another time too, or it was given away meanwhile.
                continue;
            }
            self.seats.look_at(index, Moment::NEVER);
            let state = self.seats.state(index);
            if state != SeatState::Idle {
                // Its last resource was shared also if the seat is free, and its key may have gone.
                if state == SeatState::Leased && self.seats.is_shared(index) {
                    self.expire(kernel, index, now, work);
                }
                continue;
            }
            let key = self.seats.key(index);
            let terms = StdArc::clone(self.table.at(key).terms());
            let lapsed = |since: Moment, after: Option<Duration>| {
                after.is_some_and(|after| now - since >= after)
            };
            let Some(slot) = self.pick_up(key, index) else {
                continue;
            };
            // Those that the key keeps idle stay while it is in use.
            let kept =
                terms.min_idle > 0 && self.ready(key) < terms.min_idle && self.is_in_use(key);
            if lapsed(slot.idle_since, terms.idle_timeout) && !kept {
                self.retire(slot, CloseReason::IdleTimeout, work);
            } else if self.is_over(key, &slot, now) {
                self.retire(slot, CloseReason::Lifetime, work);
            } else if lapsed(slot.used_at, terms.keepalive)
                && !self.seats.is_shared(index)
                && self.table.at(key).count(SeatState::Checking) < terms.max_opening
            {
                self.begin_check(index, now, work);
                work.checks.push(slot);
            } else {
                let later = now + kernel.limits.rounds;
                self.lay_down_until(key, slot, later, work);
            }
            self.refresh(key);
        }
    }

    /// Marks opens and checks that take longer than [`LATE`] as late, so that they no longer count as supply.
    fn keep_opens(&mut self, kernel: &Arc<Kernel<K, T, E>>, now: Moment, work: &mut Work<K, T, E>) {
        while let Some((index, open, began)) = self.opens.front().copied()
            && began + LATE <= now
        {
            self.opens.pop_front();
            if let Some(key) = self.seats.is_late(index, open) {
                self.end_reserve(index);
                *self.table.at_mut(key).late() += 1;
                if !self.seats.begun(index).spare {
                    self.may_owe(index, open);
                }
                let ends = began + self.table.at(key).terms().create_timeout + LATE;
                self.late_opens.push((index, open, ends));
                self.meet(kernel, key, now, work);
            }
        }
        self.lose_opens(kernel, now, work);
        while let Some((index, check, began)) = self.checks.front().copied()
            && began + LATE <= now
        {
            self.checks.pop_front();
            if let Some(key) = self.seats.is_check_late(index, check) {
                self.table.cold_mut(key).late_checks += 1;
                self.meet(kernel, key, now, work);
            }
        }
    }

    /// Marks opens that have outlasted their timeout as lost: their runtime polls no tasks. They keep their places and block no
    /// other open.
    fn lose_opens(&mut self, kernel: &Arc<Kernel<K, T, E>>, now: Moment, work: &mut Work<K, T, E>) {
        let seats = &self.seats;
        self.late_opens
            .retain(|(index, open, _)| seats.is_opening(*index, *open));
        let mut lost = self.late_opens.clone();
        lost.retain(|(.., ends)| *ends <= now);
        self.late_opens.retain(|(.., ends)| *ends > now);
        for (index, open, _) in lost {
            // The loss of another open may have called this open off.
            if !self.seats.is_opening(index, open) {
                continue;
            }
            let key = self.seats.key(index);
            self.probing -= u32::from(self.seats.lose(index));
            self.table.cold_mut(key).lost_opens += 1;
            self.meet(kernel, key, now, work);
        }
    }

    /// Tries failing keys that are due, and forgets those that no get has asked for lately.
    fn keep_failing(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        if now >= self.favour_due {
            self.favour_due = Moment::NEVER;
        }
        while let Some(Reverse((at, place))) = self.failing.peek().copied()
            && at <= now
        {
            self.failing.pop();
            #[cfg(test)]
            steps::count();
            if !self.table.is_there(place) || self.table.cold(place.index).due != at {
                // Either the key was removed, or it is in the heap for another time.
                continue;
            }
            let key = place.index;
            let cold = self.table.cold_mut(key);
            cold.due = Moment::NEVER;
            let outlasted = cold.gate.has_outlasted(now);
            let Some(next_try) = cold.gate.next_try() else {
                self.unlist(key);
                continue;
            };
            if outlasted {
                self.recovered(key, &kernel.limits, work);
                self.unlist(key);
                self.meet(kernel, key, now, work);
                self.forget(key, work);
                continue;
            }
            let forgotten_at = cold.asked_at + REMEMBERED;
            // From now on the key is in its ring until it has had its turn.
            self.meet(kernel, key, now, work);
            self.forget(key, work);
            if !self.table.is_there(place) {
                continue;
            }
            for next in [next_try, forgotten_at]
                .into_iter()
                .filter(|next| *next > now)
            {
                self.look_at_failing(key, next);
            }
        }
    }

    /// Counts these shared resources, and their shares.
    fn links(&self, of: impl Iterator<Item = u32>) -> Links {
        let mut links = self.seats.links(of);
        if self.closed {
            links.free = 0;
        }
        links
    }

    /// Returns the seats of the idle slots of `key`.
    pub(super) fn idle_of(&self, key: u32) -> Vec<u32> {
        let mut idle = self.seats.idle_of(self.table.at(key).idle);
        let links = self.table.cold(key).links.iter().copied();
        idle.extend(links.filter(|link| self.seats.state(*link) == SeatState::Idle));
        idle
    }

    fn leaks(&mut self, limits: &Limits, now: Moment) -> Vec<Held<K>> {
        let Some(after) = limits.leak_after.filter(|_| now >= self.leaks_next) else {
            return Vec::new();
        };
        self.leaks_next = now + (after / 4).max(limits.tick).min(limits.rounds);
        // In a pool that is younger than `after`, no lease is that old.
        let before = now.earlier(nanos_of(after));
        let leaks = before.map_or_else(Vec::new, |before| self.seats.report_before(before));
        let of = |(key, holder)| (StdArc::clone(&self.table.cold(key).key), holder);
        leaks.into_iter().map(of).collect()
    }

    fn next_round(&self, now: Moment, limits: &Limits) -> Moment {
        let mut next = if self.seats.taken() > 0 && !self.closed {
            now + limits.rounds
        } else {
            Moment::NEVER
        };
        if !self.ticking.is_empty() {
            next = next.min(now + limits.tick);
        }
        if limits.leak_after.is_some() && self.seats.count(SeatState::Leased) > 0 {
            next = next.min(self.leaks_next);
        }
        if self.closed {
            // A closed pool has only unfetched grants and leaks to look after.
            return next.max(now + MIN_ROUND);
        }
        if let Some(Reverse((due, _))) = self.due.peek() {
            next = next.min(*due);
        }
        if let Some(ends) = self.late_opens.iter().map(|(.., ends)| *ends).min() {
            next = next.min(ends);
        }
        for (_, _, began) in self.opens.front().into_iter().chain(self.checks.front()) {
            next = next.min(*began + LATE);
        }
        if let Some(Reverse((due, _))) = self.failing.peek() {
            next = next.min(*due);
        }
        next.min(self.favour_due)
            .min(self.turn_at)
            .max(now + MIN_ROUND)
    }

    /// Makes the slot idle again. If something is due for it already, the keeper looks at it at `later`, not at once.
    fn lay_down_until(
        &mut self,
        key: u32,
        slot: Box<Slot<K, T, E>>,
        later: Moment,
        work: &mut Work<K, T, E>,
    ) {
        let index = slot.seat.index();
        self.lay(key, slot);
        self.look_again(index, work);
        if self.seats.looked_at(index) <= self.now {
            // This makes the entry in the heap stale.
            self.look_at(index, later);
        }
    }

    /// Retires the idle slot of any key that has not been used for longest. Returns whether there was one.
    fn retire_oldest(&mut self, reason: CloseReason, work: &mut Work<K, T, E>) -> bool {
        let Some(index) = self.seats.oldest() else {
            return false;
        };
        let key = self.seats.key(index);
        let Some(slot) = self.pick_up(key, index) else {
            return false;
        };
        self.retire(slot, reason, work);
        true
    }

    fn snapshot_of(&self, key: u32) -> Snapshot<E> {
        let (row, cold) = (self.table.at(key), self.table.cold(key));
        let mut counters = cold.counters;
        counters.gets = row.gets;
        Snapshot {
            max_size: row.terms().max_size,
            counts: row.counts(),
            waiting: match row.lane {
                NIL => 0,
                lane => self.lanes.len_of(lane),
            },
            closed: self.closed,
            counters,
            last_error: cold.gate.last_error(),
            links: self.links(cold.links.iter().copied()),
        }
    }
}

/// The shortest time between two rounds, whatever falls due.
const MIN_ROUND: Duration = Duration::from_millis(1);

/// How many keys are looked at while the lock is held once.
const PART: u32 = 256;

/// How often the keeper looked at a failing key, on this thread.
#[cfg(test)]
pub(super) mod steps {
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        STEPS.set(STEPS.get() + 1);
    }

    #[cfg(not(any(pool_loom, pool_shuttle)))]
    pub(in crate::keyed) fn taken() -> u64 {
        STEPS.get()
    }
}
