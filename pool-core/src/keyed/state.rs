//! What the lock of a keyed pool guards, and how a free place is given to the key whose turn it is.
//!
//! A key *wants* a place for each waiter without supply, within its own bound (see [`State::claim`]). Every change of supply or
//! demand of a key ends in [`State::meet`] for that key, which
//!
//! 1. serves the queue of the key from its idle slots;
//! 2. records anew what the key wants ([`State::refresh`]), for its turn;
//! 3. gives out free places, each to the key whose turn it is; if there are none, closes idle resources of other keys, the oldest
//!    first, one for each place that is wanted and not yet being freed ([`State::assign`]).
//!
//! `claims.rs` decides what a key may claim, and from which key it may take a place.
//!
//! A returned slot goes to the queue of its key, unless its place is owed to another key ([`State::yields`]). See `PROTOCOL.md`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    mem,
    task::Waker,
    time::Duration,
};

use super::{
    counts::Counts,
    grant::{Grant, Lends},
    kernel::{Kernel, Limits, Queued},
    lanes::Lanes,
    seats::{Begun, Seat, SeatState, Seats, Slot},
    table::{NIL, Place, Table},
    turns::{Claim, Turns},
    work::Work,
};
use crate::{
    engine::{
        Bell, Gate, Histograms, Holder, Refusal, Watchers,
        mutation::{self, Mutation},
    },
    moment::Moment,
    observe::{CloseReason, Phase},
    sync::{Arc, Poisonable},
};

/// What the lock guards.
#[derive(Debug)]
pub(super) struct State<K, T: Lends, E: Clone> {
    pub(super) table: Table<K, E>,
    pub(super) seats: Seats<K, T, E>,
    pub(super) lanes: Lanes<Grant<K, T, E>, Refusal<E>>,
    pub(super) turns: Turns,
    pub(super) max_total: u32,
    /// The bound on the waiters of all queues together.
    pub(super) max_waiters: usize,
    pub(super) generation: u32,
    /// Resources that were opened before this generation are closed, whatever their key.
    pub(super) oldest_generation: u32,
    pub(super) closed: bool,
    /// The kernel panicked under the lock.
    ruined: bool,
    /// The latest time that was passed to the kernel.
    pub(super) now: Moment,
    /// The tick at which a wait was timed last.
    timed_at: Moment,
    /// When the keeper next looks at which seat: never later than something is due there. At most half of the entries are stale,
    /// apart from a few.
    pub(super) due: BinaryHeap<Reverse<(Moment, u32)>>,
    /// Opens in the order in which they began: the seat, the number of the open, and when it began.
    pub(super) opens: VecDeque<(u32, u64, Moment)>,
    /// Late opens: the seat, the number of the open, and when its timeout is certainly over.
    pub(super) late_opens: Vec<(u32, u64, Moment)>,
    /// Checks in the order in which they began: the seat, the number of the check, and when it began.
    pub(super) checks: VecDeque<(u32, u64, Moment)>,
    last_check: u64,
    next_open: u64,
    /// Spare and late opens, which may owe their places to other keys. Some of them have ended.
    pub(super) slow: Vec<(u32, u64)>,
    /// How many probes are under way: opens that began for a key without waiters.
    pub(super) probing: u32,
    /// The key whose probe is favoured, or `NIL`; and the earliest time to favour the next probe.
    pub(super) favoured: u32,
    pub(super) favours_next: Moment,
    /// Keys whose queues the keeper looks after.
    pub(super) ticking: Vec<Place>,
    /// Failing keys, by when the keeper looks at them. Some entries are stale.
    pub(super) failing: BinaryHeap<Reverse<(Moment, Place)>>,
    /// How many failing keys are remembered.
    remembered: usize,
    /// When the keeper has to come because a probe waits for its turn to be favoured.
    pub(super) favour_due: Moment,
    /// How many shared resources give no more shares, and are closed with their last.
    pub(super) draining: u32,
    /// How many of these are drained because it is the turn of another key.
    pub(super) turn_drains: u32,
    /// From when on a shared resource is drained for a key that wants a place, if nothing changes before that.
    pub(super) turn_at: Moment,
    /// When the keeper next looks for leases that last too long.
    pub(super) leaks_next: Moment,
    pub(super) counters: Counts,
    pub(super) histograms: Histograms,
    /// How many waits ended since the last timed wait. Negative if a wait that the last sample counted for was taken back
    /// ([`waits_on`](Self::waits_on)).
    untimed_waits: i64,
    /// How many leases ended since the last timed lease.
    untimed_uses: u64,
    /// Wakes the keeper when there is upkeep to do, and knows when the keeper comes by itself.
    pub(super) bell: Bell,
    /// Futures to wake when the last seat of a closed pool is free.
    pub(super) watchers: Watchers,
}

impl<K, T: Lends, E: Clone> State<K, T, E> {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            table: Table::new(),
            seats: Seats::new(),
            lanes: Lanes::new(),
            turns: Turns::new(),
            max_total: limits.max_total,
            max_waiters: limits.max_waiters,
            generation: 0,
            oldest_generation: 0,
            closed: false,
            ruined: false,
            now: Moment::from_nanos(0),
            timed_at: Moment::NEVER,
            due: BinaryHeap::new(),
            opens: VecDeque::new(),
            late_opens: Vec::new(),
            checks: VecDeque::new(),
            last_check: 0,
            next_open: 0,
            slow: Vec::new(),
            probing: 0,
            favoured: NIL,
            favours_next: Moment::from_nanos(0),
            ticking: Vec::new(),
            failing: BinaryHeap::new(),
            remembered: 0,
            favour_due: Moment::NEVER,
            draining: 0,
            turn_drains: 0,
            turn_at: Moment::NEVER,
            leaks_next: Moment::from_nanos(0),
            counters: Counts::default(),
            histograms: Histograms::default(),
            untimed_waits: 0,
            untimed_uses: 0,
            bell: Bell::new(),
            watchers: Watchers::new(),
        }
    }

    /// Leases an idle slot of `key` that is ready to be handed out as it is, or a share, if `key` has no waiter.
    #[inline]
    pub(super) fn take(
        &mut self,
        key: u32,
        now: Moment,
        holder: Holder,
        fifo: bool,
    ) -> Option<Grant<K, T, E>> {
        // A closed pool has no idle slots, except after a panic of the kernel.
        if self.waiting(key) > 0 || self.closed {
            return None;
        }
        // Do not read the slot itself: it may not be in the cache, and other threads wait for this lock.
        let grant = match self.pick_ready(key, now, fifo) {
            Some((index, slot)) => {
                self.set(index, SeatState::Leased);
                self.seats.hold(index, holder);
                Grant::One(slot)
            }
            None => Grant::Many(self.pick_share(key, now)?),
        };
        self.table.at_mut(key).gets += 1;
        self.counters.gets += 1;
        Some(grant)
    }

    /// Joins the queue of `key`. Refuses if opens fail for the key, or if the queue is full.
    pub(super) fn wait(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        key: u32,
        now: Moment,
        exact: impl FnOnce() -> Moment,
        waker: Waker,
    ) -> Result<Queued<K, T, E>, Refusal<E>> {
        let cold = self.table.cold_mut(key);
        cold.asked_at = now;
        if cold.listed && cold.due == Moment::NEVER {
            // The time at which the key is to be forgotten, unless another get asks for it.
            self.look_at_failing(key, now + REMEMBERED);
        }
        let verdict = self.table.cold(key).gate.verdict(self.alive(key));
        if let Some(error) = verdict {
            self.count(key, |counters| counters.failed_fast += 1);
            return Err(Refusal::Connect(error));
        }
        let mut work = Work::default();
        let row = self.table.at(key);
        let full = self.lanes.len_of(row.lane) >= row.terms().max_waiters;
        if full || row.terms().max_size == 0 || !self.make_room_in_line(key, &mut work) {
            self.count(key, |counters| counters.overloaded += 1);
            return Err(Refusal::Overloaded);
        }
        let row = self.table.at(key);
        let (was_empty, acquire_timeout) = (row.lane == NIL, row.terms().acquire_timeout);
        // One wait in each tick is timed exactly. With a shedder every wait is, since the shedder needs the times.
        let shed = &mut self.table.cold_mut(key).shed;
        let timed = now != self.timed_at || shed.is_some();
        if let Some(shed) = shed.as_mut().filter(|_| was_empty) {
            shed.begin_line();
        }
        self.timed_at = now;
        let since = if timed { exact() } else { now };
        let row = self.table.at_mut(key);
        let ticket = self.lanes.push(key, &mut row.lane, waker, since);
        self.comes_by(key);
        self.meet(kernel, key, since, &mut work);
        self.call_keeper(since + kernel.limits.tick, &mut work);
        Ok(Queued {
            ticket,
            timed,
            acquire_timeout,
            work,
        })
    }

    /// Makes room in the queues for a waiter of `key`. If all queues together are full, the last waiter of the longest queue may be
    /// pushed out. Returns whether there is room.
    ///
    /// The waiter that is pushed out may have been woken because there is room. That wake-up is not lost: the newcomer looks for
    /// room itself.
    fn make_room_in_line(&mut self, key: u32, work: &mut Work<K, T, E>) -> bool {
        if self.lanes.len() < self.max_waiters {
            return true;
        }
        let lane = self.table.at(key).lane;
        let Some((other, waker)) = self.lanes.push_out(lane, Refusal::Overloaded) else {
            return false;
        };
        if !mutation::on(Mutation::KeyPushedOutSleepsOn) {
            work.wakers.push(waker);
        }
        self.count(other, |counters| counters.overloaded += 1);
        self.refresh(other);
        true
    }

    /// A waiter has fetched its grant.
    pub(super) fn fetched(&mut self, key: u32, grant: &mut Grant<K, T, E>, holder: Holder) {
        self.table.at_mut(key).gets += 1;
        self.counters.gets += 1;
        self.waited(key);
        if let Grant::One(slot) = grant {
            let index = slot.seat.index();
            self.seats.hold(index, holder);
            slot.ended = self.seats.ends(index).is_some();
        }
    }

    /// Counts a get of `key` that received a resource after a wait.
    pub(super) fn waited(&mut self, key: u32) {
        self.count(key, |counters| counters.waited += 1);
        self.untimed_waits += 1;
    }

    /// Takes back the count of [`waited`](Self::waited): the resource was broken, so the get waits on. Without a key, the key may
    /// have gone with the resource, and only the counts of the pool are right.
    pub(super) fn waits_on(&mut self, key: Option<u32>) {
        match key {
            Some(key) => self.count(key, |counters| counters.waited -= 1),
            None => self.counters.waited -= 1,
        }
        self.untimed_waits -= 1;
    }

    /// Records the duration of a timed wait. The sample counts for all waits since the sample before it.
    pub(super) fn timed_wait(&mut self, lasted: Duration) {
        if let Ok(weight @ 1..) = u64::try_from(self.untimed_waits) {
            self.untimed_waits = 0;
            self.histograms.wait.record_weighted(lasted, weight);
        }
    }

    #[inline]
    pub(super) fn returned(&mut self, key: u32, lasted: Option<Duration>) {
        self.counters.returns += 1;
        self.untimed_uses += 1;
        if let Some(lasted) = lasted {
            if let Some(shed) = &mut self.table.cold_mut(key).shed {
                shed.used(lasted);
            }
            let weight = mem::take(&mut self.untimed_uses);
            self.histograms.used.record_weighted(lasted, weight);
        }
    }

    /// A ticket of the queue of `key` is spent.
    pub(super) fn left(&mut self, key: u32, work: &mut Work<K, T, E>) {
        self.lanes.leave(&mut self.table.at_mut(key).lane);
        self.refresh(key);
        self.forget(key, work);
    }

    /// The usual case of a return: the slot may stay open, its key has no waiter, and no other key wants the place.
    #[inline]
    pub(super) fn lies_still(&self, key: u32, slot: &Slot<K, T, E>, now: Moment) -> bool {
        let generation = self.oldest_generation;
        let wanted = self.turns.wanted() > 0 && !mutation::on(Mutation::KeyReturnEvictsNothing);
        let quiet = !wanted
            && !self.closed
            && self.in_use() <= self.max_total
            && self.seats.is_noted(slot.seat.index());
        let row = self.table.at(key);
        quiet
            && row.lane == NIL
            && row.held() <= row.terms().max_size
            && slot.generation >= generation.max(row.generation)
            && now < slot.expires_at
    }

    /// Makes the slot idle.
    #[inline]
    pub(super) fn lay(&mut self, key: u32, slot: Box<Slot<K, T, E>>) {
        let index = slot.seat.index();
        self.set(index, SeatState::Idle);
        if self.seats.is_shared(index) {
            self.table.cold_mut(key).links.push(index);
            return self.seats.lay_shared(slot);
        }
        let row = self.table.at_mut(key);
        let checked_from = slot.used_at.due_after(row.terms().check_after_nanos);
        let ready_until = checked_from.min(slot.expires_at);
        self.seats.lay_down(&mut row.idle, slot, ready_until);
    }

    /// Makes the slot idle, and schedules the keeper's next look at it.
    pub(super) fn lay_down(
        &mut self,
        key: u32,
        slot: Box<Slot<K, T, E>>,
        work: &mut Work<K, T, E>,
    ) {
        let index = slot.seat.index();
        self.lay(key, slot);
        if self.seats.is_suspect(index) && !self.seats.is_shared(index) {
            self.seats.set_ready_until(index, Moment::from_nanos(0));
        }
        self.look_again(index, work);
    }

    /// Schedules the keeper's next look at this idle slot, at the time when something is due there.
    pub(super) fn look_again(&mut self, index: u32, work: &mut Work<K, T, E>) {
        let terms = self.table.at(self.seats.key(index)).terms();
        let Some(slot) = self.seats.slot(index) else {
            return;
        };
        let idle = terms.idle_timeout.map(|after| slot.idle_since + after);
        // A shared resource has somebody who looks after it: it says itself that it is not well.
        let keepalive = terms.keepalive.filter(|_| !self.seats.is_shared(index));
        let stale = keepalive.map(|after| slot.used_at + after);
        let due = [idle, stale, Some(slot.expires_at)];
        let due = due.into_iter().flatten().min().unwrap_or(Moment::NEVER);
        let looked_at = self.seats.looked_at(index);
        if due == Moment::NEVER && looked_at == Moment::NEVER {
            self.seats.look_at(index, NEED_NOT);
        } else if due < looked_at {
            self.look_at(index, due);
            self.call_keeper(due, work);
        }
    }

    /// The keeper looks at this seat at `due`, instead of at the time before.
    pub(super) fn look_at(&mut self, index: u32, due: Moment) {
        self.seats.look_at(index, due);
        self.due.push(Reverse((due, index)));
        // An evicted slot leaves its entry behind for minutes. If many slots come and go, such stale entries would fill the memory.
        if self.due.len() > 2 * self.seats.len() as usize + FEW {
            let all = self.seats.all_looked_at();
            let due = all.filter(|(at, _)| *at < NEED_NOT);
            self.due = due.map(Reverse).collect();
        }
    }

    /// Puts a slot where it is needed: closes it if it may not stay open, or if its place is owed to another key; else hands it to
    /// the first waiter of its key; else makes it idle. Then calls `meet` for its key.
    pub(super) fn settle(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        mut slot: Box<Slot<K, T, E>>,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        self.now = self.now.max(now);
        let key = self.seats.key(slot.seat.index());
        let served = mem::replace(&mut slot.served, false);
        if let Some(reason) = self.must_close(key, &slot, now) {
            self.retire(slot, reason, work);
        } else if self.waiting(key) == 0 {
            // If another key needs the place, `assign` closes the oldest idle slot.
            self.lay_down(key, slot, work);
        } else if served && self.yields(key) {
            self.retire(slot, CloseReason::Evicted, work);
        } else if self.seats.is_shared(slot.seat.index()) {
            // Its shares are handed out one by one.
            self.lay_down(key, slot, work);
        } else {
            self.hand_on(kernel, key, slot, now, work);
        }
        self.meet(kernel, key, now, work);
    }

    /// Serves the waiters of `key`, records what the key wants, and gives out places. Does nothing in a closed pool.
    pub(super) fn meet(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        key: u32,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        if self.closed {
            return;
        }
        let fifo = kernel.limits.fifo;
        while self.waiting(key) > 0
            && let Some((_, slot)) = self.pick_ready(key, now, fifo)
        {
            self.hand_on(kernel, key, slot, now, work);
        }
        if !self.table.cold(key).links.is_empty() {
            self.hand_out(kernel, key, now, work);
        }
        if self.table.cold(key).late_checks > 0 {
            self.refresh(key);
            self.assign(kernel, now, work);
        }
        while self.waiting(key) > self.coming(key)
            && let Some(index) = self.table.at(key).idle.end(fifo)
            && let Some(slot) = self.pick_up(key, index)
        {
            if self.is_over(key, &slot, now) {
                self.retire(slot, CloseReason::Lifetime, work);
            } else {
                self.begin_check(index, now, work);
                work.checks.push(slot);
            }
        }
        self.refresh(key);
        self.assign(kernel, now, work);
    }

    /// Returns how many waiters of `key` what is on its way serves.
    pub(super) fn coming(&self, key: u32) -> usize {
        let (row, cold) = (self.table.at(key), self.table.cold(key));
        let opening = u64::from(row.opening() - cold.reserved) * u64::from(self.expected(key));
        let coming = opening + u64::from(row.coming_back(cold.late_checks));
        usize::try_from(coming).unwrap_or(usize::MAX)
    }

    /// Returns how many waiters an open for `key` is expected to serve.
    pub(super) fn expected(&self, key: u32) -> u32 {
        match self.table.cold(key).expected {
            0 => UNKNOWN,
            expected => expected,
        }
    }

    /// Returns how many seats of `key` are taken and will not be free without a decision: those that are not being closed, nor
    /// drained.
    pub(super) fn held(&self, key: u32) -> u32 {
        self.table.at(key).held() - self.table.cold(key).draining
    }

    /// Returns how many seats of `key` hold an open resource that is neither being closed nor drained.
    pub(super) fn alive(&self, key: u32) -> u32 {
        self.held(key) - self.table.at(key).count(SeatState::Opening)
    }

    /// Begins a check of the slot that was idle on this seat.
    pub(super) fn begin_check(&mut self, index: u32, now: Moment, work: &mut Work<K, T, E>) {
        self.set(index, SeatState::Checking);
        if mutation::on(Mutation::KeyLateCheckIsAwaited) {
            return;
        }
        self.last_check += 1;
        self.seats.begin_check(index, self.last_check);
        self.checks.push_back((index, self.last_check, now));
        self.call_keeper(now + LATE, work);
    }

    /// The check on this seat has ended.
    fn check_ended(&mut self, index: u32) {
        if self.seats.end_check(index) {
            let key = self.seats.key(index);
            self.table.cold_mut(key).late_checks -= 1;
        }
    }

    /// Takes a seat for an open for `key`.
    pub(super) fn open(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        key: u32,
        claim: Claim,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        let open = self.number_open();
        let probe = claim == Claim::Probe || self.favoured == key;
        let begun = Begun {
            generation: self.generation,
            spare: !claim.is_firm(),
            probe,
            lost: false,
        };
        let index = self.seats.occupy(key, open, begun);
        self.opens.push_back((index, open, now));
        self.probing += u32::from(probe);
        if begun.spare {
            self.may_owe(index, open);
        }
        let row = self.table.at_mut(key);
        row.enter(SeatState::Opening);
        let terms = row.terms().clone();
        let seat = Seat::new(Arc::clone(kernel), self.table.cold(key).key.clone(), index);
        work.opens.push((seat, terms));
        self.call_keeper(now + LATE, work);
    }

    /// Returns the number of an open that begins.
    const fn number_open(&mut self) -> u64 {
        let open = self.next_open;
        self.next_open += 1;
        open
    }

    /// Whether an open for `key` may begin now on a seat that it has: see [`reopen`](Self::reopen).
    pub(super) fn may_reopen(&self, key: u32) -> bool {
        let (row, cold) = (self.table.at(key), self.table.cold(key));
        let fits = self.in_use() <= self.max_total && self.held(key) <= row.terms().max_size;
        let opening = row.count(SeatState::Opening);
        let may_open = cold.gate.may_open(row.terms().max_opening, self.now);
        // A key that has nothing goes first: it would get the place of what is returned broken.
        !self.closed && fits && opening < may_open && self.turns.starved() == 0
    }

    /// The resource on this seat is closed, and another is opened there for the caller that had it.
    pub(super) fn reopen(&mut self, key: u32, index: u32, now: Moment, work: &mut Work<K, T, E>) {
        let open = self.number_open();
        let begun = Begun {
            generation: self.generation,
            spare: false,
            probe: false,
            lost: false,
        };
        self.count(key, |counters| {
            counters.closed[CloseReason::Broken.index()] += 1;
        });
        self.set(index, SeatState::Opening);
        self.seats.reopen(index, open, begun);
        self.table.cold_mut(key).reserved += 1;
        if mutation::on(Mutation::MixedReservedIsSupply) {
            self.end_reserve(index);
        }
        self.opens.push_back((index, open, now));
        self.call_keeper(now + LATE, work);
    }

    /// Lends what was opened to the caller for whom it was. `None` if it may not stay open.
    pub(super) fn lend(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        slot: Box<Slot<K, T, E>>,
        now: Moment,
        holder: Holder,
        work: &mut Work<K, T, E>,
    ) -> Option<Grant<K, T, E>> {
        self.now = self.now.max(now);
        let index = slot.seat.index();
        let key = self.seats.key(index);
        let grant = if let Some(reason) = self.must_close(key, &slot, now) {
            self.retire(slot, reason, work);
            None
        } else if self.seats.is_shared(index) {
            self.lay_down(key, slot, work);
            self.pick_share(key, now).map(Grant::Many)
        } else {
            self.set(index, SeatState::Leased);
            self.seats.hold(index, holder);
            Some(Grant::One(slot))
        };
        let given = u64::from(grant.is_some());
        self.table.at_mut(key).gets += given;
        self.counters.gets += given;
        self.meet(kernel, key, now, work);
        grant
    }

    /// Returns why this slot may not stay open, if there is a reason.
    fn must_close(&self, key: u32, slot: &Slot<K, T, E>, now: Moment) -> Option<CloseReason> {
        let row = self.table.at(key);
        if self.closed {
            Some(CloseReason::PoolClosed)
        } else if slot.generation < self.oldest_generation.max(row.generation) {
            Some(CloseReason::Retired)
        } else if let Some(reason) = self.seats.ends(slot.seat.index()) {
            Some(reason)
        } else if self.in_use() > self.max_total || self.held(key) > row.terms().max_size {
            Some(CloseReason::Shrunk)
        } else if self.is_over(key, slot, now) {
            Some(CloseReason::Lifetime)
        } else {
            None
        }
    }

    /// Whether the lifetime of the slot is over. While opens fail for its key, a slot that still works is kept.
    pub(super) fn is_over(&self, key: u32, slot: &Slot<K, T, E>, now: Moment) -> bool {
        now >= slot.expires_at && !self.table.cold(key).gate.is_failing()
    }

    /// Hands the slot to the first waiter of its key.
    fn hand_on(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        key: u32,
        slot: Box<Slot<K, T, E>>,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        self.set(slot.seat.index(), SeatState::Leased);
        if let Err(Grant::One(slot)) = self.grant(kernel, key, Grant::One(slot), now, work) {
            self.lay_down(key, slot, work);
        }
    }

    /// Hands this grant to the first waiter of `key`. Returns it if the queue is empty.
    pub(super) fn grant(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        key: u32,
        grant: Grant<K, T, E>,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) -> Result<(), Grant<K, T, E>> {
        if self.table.cold(key).shed.is_some() {
            self.shed_first(key, now, work);
        }
        let waker = self.lanes.grant(self.table.at(key).lane, grant, now)?;
        work.wakers.push(waker);
        self.comes_by(key);
        self.call_keeper(now + kernel.limits.reclaim_after, work);
        Ok(())
    }

    /// Refuses the first waiters of `key` for as long as its shedder drops them.
    #[cold]
    fn shed_first(&mut self, key: u32, now: Moment, work: &mut Work<K, T, E>) {
        let lane = self.table.at(key).lane;
        while let Some(since) = self.lanes.first_since(lane)
            && let Some(shed) = &mut self.table.cold_mut(key).shed
            && shed.drops(now - since, now)
        {
            work.wakers
                .push(self.lanes.refuse_first(lane, Refusal::Shed));
            self.count(key, |counters| counters.shed += 1);
        }
    }

    /// Puts back a grant that nobody used.
    pub(super) fn take_back(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        grant: Grant<K, T, E>,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        match grant {
            Grant::One(slot) => self.settle(kernel, slot, now, work),
            Grant::Many(token) => self.put_share(kernel, token.link, now, work),
        }
    }

    /// Records what `key` wants.
    pub(super) fn refresh(&mut self, key: u32) {
        let (want, claim) = self.claim(key);
        self.turns.set(key, want, claim);
        if want == 0 && self.favoured == key {
            self.favoured = NIL;
        }
    }

    /// Whether a get asked for the key within [`REMEMBERED`].
    pub(super) fn is_remembered(&self, key: u32) -> bool {
        self.now.since(self.table.cold(key).asked_at) < REMEMBERED
    }

    /// An open for `key` succeeded.
    pub(super) fn succeeded(&mut self, key: u32, limits: &Limits, work: &mut Work<K, T, E>) {
        self.count(key, |counters| counters.opened += 1);
        self.recovered(key, limits, work);
    }

    /// The backend of `key` is well again.
    pub(super) fn recovered(&mut self, key: u32, limits: &Limits, work: &mut Work<K, T, E>) {
        let gate = &mut self.table.cold_mut(key).gate;
        if let Some(error) = gate.last_error() {
            // Dropping the error may run user code, so it is dropped after unlocking.
            work.gone.errors.push(error);
            *gate = Gate::new(limits.backoff);
        }
    }

    /// An open for `key` failed, or the resource that it opened was broken at once.
    pub(super) fn failed(
        &mut self,
        key: u32,
        error: E,
        now: Moment,
        jitter: f64,
        work: &mut Work<K, T, E>,
    ) {
        let cold = self.table.cold_mut(key);
        work.gone.errors.extend(cold.gate.last_error());
        cold.gate.failed(error, now, jitter);
        let next = cold.gate.next_try().unwrap_or(now);
        if !cold.listed && self.remembered < MOST_REMEMBERED {
            cold.listed = true;
            self.remembered += 1;
        }
        self.look_at_failing(key, next);
        self.call_keeper(next, work);
    }

    /// The keeper looks at this failing key at `at`, or earlier.
    pub(super) fn look_at_failing(&mut self, key: u32, at: Moment) {
        let place = self.table.place(key);
        let due = &mut self.table.cold_mut(key).due;
        if at < *due {
            *due = at;
            self.failing.push(Reverse((at, place)));
        }
    }

    /// The key is no longer on the list of remembered keys.
    pub(super) fn unlist(&mut self, key: u32) {
        let listed = mem::replace(&mut self.table.cold_mut(key).listed, false);
        self.remembered -= usize::from(listed);
    }

    /// Refuses all waiters of `key`, if it is known that nothing can be opened for it.
    pub(super) fn tell_of_outage(&mut self, key: u32, work: &mut Work<K, T, E>) {
        let (lane, alive) = (self.table.at(key).lane, self.alive(key));
        let verdict = self.table.cold(key).gate.verdict(alive);
        if let Some(error) = verdict {
            let told = self.lanes.len_of(lane) as u64;
            self.count(key, |counters| counters.failed_fast += told);
            let refusal = || Refusal::Connect(error.clone());
            let mut wakers = self.lanes.refuse_all(lane, refusal);
            work.wakers.many().append(&mut wakers);
        }
    }

    /// Frees a seat, and returns the state that it had.
    pub(super) fn vacate(&mut self, index: u32, work: &mut Work<K, T, E>) -> SeatState {
        let key = self.seats.key(index);
        self.drained(index);
        let was = self.seats.vacate(index);
        self.table.at_mut(key).leave(was);
        match was {
            SeatState::Opening => self.open_ended(index),
            SeatState::Checking => self.check_ended(index),
            _ => {}
        }
        if self.is_drained() {
            work.wakers.many().append(&mut self.watchers.take());
            // The keeper has nothing left to do.
            work.wakers.push(self.bell.ring());
        }
        self.refresh(key);
        was
    }

    /// Whether the pool is closed and all its seats are free.
    pub(super) fn is_drained(&self) -> bool {
        self.closed && (self.ruined || self.seats.taken() == 0)
    }

    /// Refuses all waiters of this key, because the pool is closed.
    pub(super) fn refuse_line(&mut self, key: u32, work: &mut Work<K, T, E>) {
        if let Some(lane) = self.table.get(key).map(|row| row.lane) {
            let mut wakers = self.lanes.refuse_all(lane, || Refusal::Closed);
            work.wakers.many().append(&mut wakers);
        }
    }

    /// There may be room, but this thread may have no runtime to open anything on. Wakes the keeper or, without one, a waiter,
    /// which opens what is missing when it is polled.
    pub(super) fn tell_of_room(&mut self, work: &mut Work<K, T, E>) {
        let Some((next, _)) = self.turns.next() else {
            return;
        };
        let keeper = self.bell.ring();
        if keeper.is_some() {
            work.wakers.push(keeper);
        } else {
            let first = self.lanes.first_waker(self.table.at(next).lane);
            work.wakers
                .push(first.or_else(|| self.lanes.first_wakers().next()));
        }
    }

    /// Whether waiters of `key` have nothing coming, while a resource is idle that has to be checked first and is not being checked.
    pub(super) fn waits_unchecked(&self, key: u32) -> bool {
        self.table.at(key).idle.end(true).is_some() && self.waiting(key) > self.coming(key)
    }

    /// Something of `key` that its waiters may have counted on is gone, and an idle resource has to be checked first. This thread may
    /// have no runtime to check it on, so the keeper does it in its next round, or the first waiter when it is polled.
    pub(super) fn tell_of_unchecked(&mut self, key: u32, work: &mut Work<K, T, E>) {
        if self.closed || !self.waits_unchecked(key) {
            return;
        }
        self.comes_by(key);
        let keeper = self.bell.ring();
        let lane = self.table.at(key).lane;
        work.wakers
            .push(keeper.or_else(|| self.lanes.first_waker(lane)));
    }

    /// A waiter leaves. It may have been woken because there is room, or because there is no keeper, without having been polled
    /// since. So the wake-up is passed on to another waiter.
    pub(super) fn tell_another(&mut self, work: &mut Work<K, T, E>) {
        if !self.bell.is_hung() && !self.closed {
            work.wakers.push(self.lanes.first_wakers().next());
        }
    }

    /// Removes a key that has no seat and no ticket, unless it is remembered because it fails.
    pub(super) fn forget(&mut self, key: u32, work: &mut Work<K, T, E>) {
        let Some(row) = self.table.get(key) else {
            return;
        };
        let in_line = row.lane != NIL && !mutation::on(Mutation::KeyGoesWithItsLine);
        let cold = self.table.cold(key);
        let kept = cold.listed && cold.gate.is_failing() && self.is_remembered(key);
        if in_line || row.taken() > 0 || (kept && !self.closed) {
            return;
        }
        self.turns.set(key, 0, Claim::Probe);
        if self.favoured == key {
            self.favoured = NIL;
        }
        self.unlist(key);
        work.gone.keys.extend(self.table.remove(key));
    }

    /// Takes this slot out of the idle list of its key.
    pub(super) fn pick_up(&mut self, key: u32, index: u32) -> Option<Box<Slot<K, T, E>>> {
        if self.seats.is_shared(index) {
            self.table.cold_mut(key).links.retain(|link| *link != index);
            return self.seats.lift_shared(index);
        }
        self.seats.pick_up(&mut self.table.at_mut(key).idle, index)
    }

    /// Takes the next slot out of the idle list of its key, with its seat, if it is ready to be handed out as it is.
    #[inline]
    fn pick_ready(
        &mut self,
        key: u32,
        now: Moment,
        fifo: bool,
    ) -> Option<(u32, Box<Slot<K, T, E>>)> {
        let row = self.table.at_mut(key);
        let index = row.idle.end(fifo)?;
        if !self.seats.is_ready(index, now) {
            return None;
        }
        let slot = self.seats.pick_up(&mut row.idle, index)?;
        Some((index, slot))
    }

    /// Returns how many waiters of `key` would fetch a grant: parked waiters are not counted.
    #[inline]
    pub(super) fn waiting(&self, key: u32) -> usize {
        match self.table.at(key).lane {
            NIL => 0,
            lane => self.lanes.waiting(lane),
        }
    }

    #[inline]
    pub(super) fn set(&mut self, index: u32, state: SeatState) {
        self.drained(index);
        let was = self.seats.set(index, state);
        let row = self.table.at_mut(self.seats.key(index));
        row.leave(was);
        row.enter(state);
        match was {
            SeatState::Opening => self.open_ended(index),
            SeatState::Checking => self.check_ended(index),
            _ => {}
        }
    }

    pub(super) fn retire(
        &mut self,
        slot: Box<Slot<K, T, E>>,
        reason: CloseReason,
        work: &mut Work<K, T, E>,
    ) {
        self.count_close(&slot, reason);
        work.closes.push((slot, reason));
    }

    pub(super) fn count_close(&mut self, slot: &Slot<K, T, E>, reason: CloseReason) {
        let key = self.seats.key(slot.seat.index());
        self.count(key, |counters| counters.closed[reason.index()] += 1);
        self.set(slot.seat.index(), SeatState::Closing);
        self.refresh(key);
    }

    /// Counts for the key and for the pool.
    pub(super) fn count(&mut self, key: u32, count: impl Fn(&mut Counts)) {
        count(&mut self.counters);
        count(&mut self.table.cold_mut(key).counters);
    }

    /// Returns how many seats are taken and neither being closed nor drained. This is compared with a bound that became smaller.
    #[inline]
    pub(super) fn in_use(&self) -> u32 {
        self.seats.taken() - self.seats.count(SeatState::Closing) - self.draining
    }

    /// The keeper looks after the queue of `key` from now on.
    fn comes_by(&mut self, key: u32) {
        let place = self.table.place(key);
        if !mem::replace(&mut self.table.cold_mut(key).ticks, true) {
            self.ticking.push(place);
        }
    }

    /// Makes sure that the keeper comes at `at`, or earlier.
    pub(super) fn call_keeper(&mut self, at: Moment, work: &mut Work<K, T, E>) {
        work.wakers.push(self.bell.call(at));
    }

    /// Returns what the first waiter of `key` is waiting for.
    pub(super) fn phase(&self, key: u32) -> Phase {
        let row = self.table.at(key);
        let busy = |state| row.count(state) > 0;
        if busy(SeatState::Opening) || self.table.cold(key).gate.is_failing() {
            Phase::Create
        } else if busy(SeatState::Checking) {
            Phase::Check
        } else if busy(SeatState::Resetting) {
            Phase::Reset
        } else {
            Phase::Wait
        }
    }
}

impl<K, T: Lends, E: Clone> Poisonable for State<K, T, E> {
    /// Closes the pool and leaves everything else as it is. A waiter is refused when it is polled, and a returned resource is
    /// closed. A half-done operation stays half done, so a count may be too high by one. Seats are no longer counted, so the pool
    /// counts as drained.
    fn poison(&mut self) -> Vec<Waker> {
        (self.closed, self.ruined) = (true, true);
        self.turns.clear();
        let mut orphans: Vec<_> = self.lanes.all_wakers().collect();
        orphans.append(&mut self.watchers.take());
        orphans.extend(self.bell.ring());
        orphans
    }
}

/// The entry of a seat where nothing falls due: the seat is noted, but not in the keeper's heap.
const NEED_NOT: Moment = Moment::from_nanos(u64::MAX - 1);

/// So many waiters are served by an open for a key of which nothing was open yet, as long as nobody knows better.
const UNKNOWN: u32 = 16;

/// So few stale entries in the keeper's heap are not worth a cleanup.
const FEW: usize = 16;

/// An open that takes longer than this is late. It no longer counts as supply, and another open is begun if there is room.
pub(super) const LATE: Duration = Duration::from_secs(1);

/// How often a probe is favoured in a full pool.
pub(super) const FAVOUR_EVERY: Duration = Duration::from_secs(1);

/// How long a failing key is remembered, and probed now and then, after the last get that asked for it.
pub(super) const REMEMBERED: Duration = Duration::from_secs(30);

/// The largest number of keys that are remembered.
const MOST_REMEMBERED: usize = 16_384;
