//! The state that the lock guards, and the decisions: which waiter gets a slot, which slot may stay, what is opened.

use std::{mem, task::Waker, time::Duration};

use super::{
    board::Board,
    gate::{Backoff, Gate},
    idle::IdleSet,
    kernel::{Kernel, Limits, Put, Queued, Refusal, Take, Ticket, Work},
    line::Line,
    mutation::{self, Mutation},
    post::Bell,
    seat::{Seat, SeatState, Seats},
    shed::Shed,
    slot::Slot,
    stats::{Counters, Histograms, Sample},
    watch::Watchers,
};
use crate::{
    moment::{Moment, nanos_of},
    observe::{CloseReason, Histogram, Phase},
    sync::{Arc, Poisonable},
};

/// The state that the kernel's mutex guards. No user code runs under the mutex. Under it only the inbox or a waiter's mail is
/// locked, each for a moment.
#[derive(Debug)]
pub(super) struct State<T, E: Clone> {
    pub(super) idle: IdleSet<T, E>,
    pub(super) seats: Seats,
    pub(super) queue: Line<Box<Slot<T, E>>, Refusal<E>>,
    pub(super) target: u32,
    /// How many waiters may be in the queue.
    pub(super) max_waiters: usize,
    pub(super) generation: u64,
    pub(super) closed: bool,
    /// The inbox is open, and may hold waiters.
    pub(super) is_open: bool,
    /// The tick of the last wait that was timed.
    timed_at: Moment,
    /// How many grants were fetched since the last fetch whose wait was timed.
    untimed: u64,
    /// Opens that were ordered to replace expired resources, and did not start yet.
    replacements: u32,
    /// An expired resource is kept until its replacement is open.
    outlived: bool,
    /// How many checks failed since the last success, up to [`MAX_SUSPICION`].
    pub(super) suspicion: u32,
    pub(super) gate: Gate<E>,
    shed: Option<Shed>,
    pub(super) counters: Counters,
    pub(super) histograms: Histograms,
    /// When the first idle slot may fall due.
    pub(super) sweep_at: Moment,
    /// Calls the keeper when there is upkeep to do.
    pub(super) bell: Bell,
    pub(super) watchers: Watchers,
}

impl<T, E: Clone> State<T, E> {
    pub(super) fn new(limits: &Limits, board: Arc<Board<Slot<T, E>>>) -> Self {
        Self {
            idle: IdleSet::new(board, limits.fifo),
            seats: Seats::new(),
            queue: Line::new(),
            target: limits.max_size,
            max_waiters: limits.max_waiters,
            generation: 0,
            closed: false,
            is_open: false,
            timed_at: Moment::NEVER,
            untimed: 0,
            replacements: 0,
            outlived: false,
            suspicion: 0,
            gate: Gate::new(limits.backoff),
            shed: limits.shed_target.map(Shed::new),
            counters: Counters::default(),
            histograms: Histograms::default(),
            sweep_at: Moment::NEVER,
            bell: Bell::new(),
            watchers: Watchers::new(),
        }
    }

    /// The state that replaces this one after a panic of the kernel: closed and empty. Its parts know none of the old seats,
    /// tickets and keepers, and ignore calls about them.
    #[cfg_attr(
        any(pool_loom, pool_shuttle),
        allow(dead_code, reason = "in a model a panic is the end")
    )]
    fn after_a_panic(&self) -> Self {
        Self {
            idle: self.idle.emptied(),
            seats: Seats::new(),
            queue: Line::new(),
            target: self.target,
            max_waiters: 0,
            generation: self.generation,
            closed: true,
            // The inbox may be open: if so, the next thread that locks shuts it.
            is_open: true,
            timed_at: Moment::NEVER,
            untimed: 0,
            replacements: 0,
            outlived: false,
            suspicion: 0,
            gate: Gate::new(Backoff::default()),
            shed: None,
            counters: self.counters,
            histograms: Histograms::default(),
            sweep_at: Moment::NEVER,
            bell: Bell::new(),
            watchers: Watchers::new(),
        }
    }

    /// Sets or clears `CALL`. Gets and returns must take the lock while there is something to decide: a waiter is in the queue,
    /// more is in use than the size allows, or the pool is closed. Called before the state is acted on, and before the lock is
    /// released.
    #[inline]
    pub(super) fn call(&mut self) {
        let decide = !self.queue.is_empty() || self.is_shrinking() || self.closed;
        self.idle.call(decide);
    }

    /// Whether newcomers may join by the inbox: at which tick, and how many. They may if nothing can be done for a newcomer but to
    /// let it wait: nothing is idle, checked or not, there is no room to open a resource, and the keeper comes by in time.
    #[inline]
    pub(super) fn opens(&self, limits: &Limits) -> Option<(Moment, usize)> {
        let waits = !self.queue.is_empty() && self.shed.is_none();
        if !waits || self.closed || self.can_meet_demand() || self.gate.is_failing() {
            return None;
        }
        let room = self.max_waiters.checked_sub(self.queue.len())?;
        let in_time = self.timed_at.later(limits.keeping.tick_nanos);
        self.bell
            .is_called(in_time)
            .then_some((self.timed_at, room))
    }

    /// Whether the slot is for the first waiter and nothing else is to be decided: the inbox is open, so a waiter is in the queue.
    /// The waiters in the inbox joined later.
    #[inline]
    pub(super) fn passes_on(&self, slot: &Slot<T, E>, now: Moment) -> bool {
        let good = slot.generation == self.generation && now < slot.expires_at;
        let usual = good && !self.is_shrinking() && !mutation::on(Mutation::NewcomerBarges);
        !self.closed && self.is_open && usual
    }

    /// Takes the next idle slot that is ready to be handed out.
    #[inline]
    pub(super) fn pop_ready(&mut self, now: Moment, limits: &Limits) -> Option<Box<Slot<T, E>>> {
        if self.closed {
            // After a panic of the kernel, slots may still lie on the board.
            return None;
        }
        let generation = self.generation;
        self.idle
            .pop(|slot| slot.is_ready(now, limits.check_after_nanos, generation))
    }

    /// Joins the queue, or refuses the get.
    #[inline(always)]
    pub(super) fn wait(
        &mut self,
        kernel: &Arc<Kernel<T, E>>,
        now: Moment,
        exact: impl FnOnce() -> Moment,
        waker: &mut Option<Waker>,
    ) -> Take<T, E> {
        let limits = &kernel.limits;
        if self.closed {
            return Take::Refused(Refusal::Closed, None);
        }
        if self.gate.is_failing()
            && let Some(error) = self.gate.verdict(self.seats.alive())
        {
            self.counters.failed_fast += 1;
            // The keeper may be on a runtime that polls no tasks, so a refused get triggers the next attempt to open itself.
            let mut work = Work::default();
            if !mutation::on(Mutation::RefusedTriesNothing) {
                self.meet_demand(kernel, now, &mut work);
            }
            return Take::Refused(Refusal::Connect(error), work.boxed());
        }
        if self.queue.len() >= self.max_waiters {
            self.counters.overloaded += 1;
            return Take::Refused(Refusal::Overloaded, None);
        }
        // One wait in each tick is timed exactly. With a shedder every wait is, since the shedder needs the times.
        let timed = now != self.timed_at || self.shed.is_some();
        self.timed_at = now;
        let since = if timed { exact() } else { now };
        if self.queue.is_empty()
            && let Some(shed) = &mut self.shed
        {
            shed.begin_line();
        }
        let id = self.queue.push((), waker.take(), since);
        self.call_first();
        let keeper = self.bell.call(since.later(limits.keeping.tick_nanos));
        // The usual case in a busy pool.
        let work = if keeper.is_none() && !self.can_meet_demand() {
            None
        } else {
            self.begin_wait(kernel, since, keeper)
        };
        Take::Queued(Queued { id, timed, work })
    }

    /// Acts for a waiter that has just joined the queue, if anything may be done for it.
    #[inline(never)]
    fn begin_wait(
        &mut self,
        kernel: &Arc<Kernel<T, E>>,
        since: Moment,
        keeper: Option<Waker>,
    ) -> Option<Box<Work<T, E>>> {
        let mut work = Work::default();
        if !mutation::on(Mutation::WaiterLooksTooEarly) {
            self.meet_demand(kernel, since, &mut work);
        }
        work.wakers.extend(keeper);
        work.boxed()
    }

    /// Counts the grants that waiters fetched without the lock.
    pub(super) fn hear(&mut self) {
        let (fetched, waits) = self.queue.hear();
        self.counters.waited += fetched;
        self.untimed += fetched;
        let waits: Vec<_> = waits.collect();
        for (timed, wait) in waits.iter().enumerate() {
            // Each sample stands for an equal part of the fetches since the last sample.
            let weight = self.untimed / (waits.len() - timed) as u64;
            self.histograms.wait.record_weighted(*wait, weight);
            self.untimed -= weight;
        }
    }

    /// Counts a grant that its waiter fetched.
    pub(super) fn fetched(&mut self, lasted: Option<Duration>) {
        self.counters.waited += 1;
        self.untimed += 1;
        if let Some(lasted) = lasted {
            let weight = mem::take(&mut self.untimed);
            self.histograms.wait.record_weighted(lasted, weight);
        }
    }

    /// Counts the end of a lease.
    pub(super) fn returned(&mut self, lasted: Option<Sample>) {
        if let Some(Sample { lasted, weight }) = lasted {
            self.histograms.used.record_weighted(lasted, weight);
            if let Some(shed) = &mut self.shed {
                shed.used(lasted);
            }
        }
    }

    /// Refuses all waiters with the last error, if the gate has given up. Called after an open failed.
    pub(super) fn tell_of_outage(&mut self, work: &mut Work<T, E>) {
        if let Some(error) = self.gate.verdict(self.seats.alive()) {
            self.counters.failed_fast += self.queue.len() as u64;
            let told = self.queue.refuse_all(|| Refusal::Connect(error.clone()));
            work.wakers.extend(told);
        }
    }

    /// Closes the slot if it must be closed, else hands it to the first waiter, else makes it idle.
    #[inline(always)]
    pub(super) fn settle(
        &mut self,
        mut slot: Box<Slot<T, E>>,
        now: Moment,
        limits: &Limits,
    ) -> Put<T, E> {
        // The usual case: the slot is good.
        let fresh = slot.generation == self.generation && now < slot.expires_at;
        if fresh && !self.closed && !self.is_shrinking() && !mutation::on(Mutation::NewcomerBarges)
        {
            return self.hand_on(slot, now, limits);
        }
        let mut wakers = Vec::new();
        if let Some(reason) = self.must_close(&mut slot, now, limits, &mut wakers) {
            self.count_close(&slot, reason);
            return Put::Close(slot, reason);
        }
        if mutation::on(Mutation::NewcomerBarges) {
            drop(self.lay_down(slot));
            return self.queue.first_waker().map_or(Put::Kept, Put::Wake);
        }
        self.hand_on(slot, now, limits).and(wakers)
    }

    /// Returns the reason if the slot must be closed.
    pub(super) fn must_close(
        &mut self,
        slot: &mut Slot<T, E>,
        now: Moment,
        limits: &Limits,
        wakers: &mut Vec<Waker>,
    ) -> Option<CloseReason> {
        let useless = self.useless(slot);
        if useless.is_some() {
            return useless;
        }
        let others = self.idle.len();
        if now >= slot.expires_at && !self.keeps_expired(slot, now, others, limits, wakers) {
            return Some(CloseReason::Lifetime);
        }
        None
    }

    /// Returns the reason if the pool has no use for the slot, however good it is.
    pub(super) fn useless(&self, slot: &Slot<T, E>) -> Option<CloseReason> {
        if self.closed && !mutation::on(Mutation::ReturnIgnoresClose) {
            return Some(CloseReason::PoolClosed);
        }
        if slot.generation != self.generation {
            return Some(CloseReason::Retired);
        }
        self.is_shrinking().then_some(CloseReason::Shrunk)
    }

    /// Whether a slot is kept although its lifetime is over. A slot that is needed stays in use until its replacement is open, if
    /// there is room for both. While opens fail, a slot that still works is kept. `others` is the number of slots idle beside it.
    pub(super) fn keeps_expired(
        &mut self,
        slot: &mut Slot<T, E>,
        now: Moment,
        others: usize,
        limits: &Limits,
        wakers: &mut Vec<Waker>,
    ) -> bool {
        if self.queue.is_empty() && others >= limits.keeping.min_idle as usize {
            return false;
        }
        if self.gate.is_failing() {
            return true;
        }
        if slot.replaced {
            return self.replacements > 0 || self.seats.count(SeatState::Opening) > 0;
        }
        slot.replaced = self.in_use() + self.replacements < self.target;
        if slot.replaced {
            self.outlived = true;
            self.replacements += 1;
            wakers.extend(self.bell.call(now));
        }
        slot.replaced
    }

    /// Hands the slot to the first waiter, after the shedder has refused the waiters that it drops. Makes the slot idle if no
    /// waiter is in the queue.
    #[inline(always)]
    fn hand_on(&mut self, slot: Box<Slot<T, E>>, now: Moment, limits: &Limits) -> Put<T, E> {
        if self.shed.is_some() && !self.queue.is_empty() {
            let shed = self.shed_first(now);
            return self.hand_to_first(slot, now, limits).and(shed);
        }
        self.hand_to_first(slot, now, limits)
    }

    /// Hands the slot to the first waiter. Makes the slot idle if no waiter is in the queue.
    #[inline(always)]
    pub(super) fn hand_to_first(
        &mut self,
        slot: Box<Slot<T, E>>,
        now: Moment,
        limits: &Limits,
    ) -> Put<T, E> {
        match self.queue.grant(slot, now) {
            Ok(waker) => {
                if mutation::on(Mutation::WakesLocked) {
                    waker.iter().for_each(Waker::wake_by_ref);
                }
                let back = now.later(limits.keeping.reclaim_after_nanos);
                let put = waker.map_or(Put::Kept, Put::Wake);
                match self.bell.call(back) {
                    None => put,
                    Some(keeper) => put.and(vec![keeper]),
                }
            }
            Err(slot) => self.lay_down(slot),
        }
    }

    #[cold]
    fn shed_first(&mut self, now: Moment) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let Some(shed) = &mut self.shed else {
            return wakers;
        };
        while let Some(((), since)) = self.queue.first()
            && shed.drops(now - since, now)
        {
            wakers.extend(self.queue.refuse_first(Refusal::Shed));
            self.counters.shed += 1;
        }
        wakers
    }

    /// Makes the slot idle.
    pub(super) fn lay_down(&mut self, slot: Box<Slot<T, E>>) -> Put<T, E> {
        self.idle.lay(slot);
        Put::Kept
    }

    /// The number that the bound applies to: taken seats without those that are closing.
    #[inline]
    pub(super) fn in_use(&self) -> u32 {
        let leased = if mutation::on(Mutation::ResizeForgetsLeased) {
            self.leased()
        } else {
            0
        };
        self.seats.taken() - self.seats.count(SeatState::Closing) - leased
    }

    /// Whether more is in use than the size allows.
    #[inline]
    fn is_shrinking(&self) -> bool {
        self.in_use() > self.target
    }

    /// How many resources are leased, or handed to a waiter.
    pub(super) fn leased(&self) -> u32 {
        let idle = self.idle.len() as u32;
        self.seats.count(SeatState::Open).saturating_sub(idle)
    }

    /// How many resources are likely to come to waiters soon. Opens that take far longer than average are not counted. Checks count
    /// for less, the more of them have failed or are late.
    fn coming(&self, now: Moment) -> usize {
        let opening = self.promising(now);
        let late = self.late_checks(now);
        let doubts = (self.suspicion + late).min(MAX_SUSPICION);
        let checking = (self.seats.count(SeatState::Checking) - late) >> doubts;
        (opening + checking + self.seats.count(SeatState::Resetting)) as usize
    }

    /// How many checks are late: they are not counted on.
    fn late_checks(&self, now: Moment) -> u32 {
        if self.seats.count(SeatState::Checking) == 0 || mutation::on(Mutation::LateCheckIsAwaited)
        {
            return 0;
        }
        let late = now.earlier(nanos_of(patience_with(&self.histograms.check)));
        late.map_or(0, |late| self.seats.checking_since(late))
    }

    /// How many opens are counted on: not the late ones, and not those of an old generation.
    fn promising(&self, now: Moment) -> u32 {
        if self.seats.count(SeatState::Opening) == 0 {
            return 0;
        }
        let late = now.earlier(nanos_of(self.patience()));
        self.seats.opening_after(late, Some(self.generation))
    }

    /// When the next open or check becomes late, of those that are not late yet.
    pub(super) fn next_late(&self, now: Moment) -> Option<Moment> {
        let patience = self.patience();
        let late = now.earlier(nanos_of(patience));
        let open = self.seats.first_opening_after(late);
        let open = open.map(|began| began + patience);
        let patience = patience_with(&self.histograms.check);
        let late = now.earlier(nanos_of(patience));
        let check = self.seats.first_check_after(late);
        let check = check.map(|began| began + patience);
        open.into_iter().chain(check).min()
    }

    /// An open that takes longer than this is late.
    pub(super) fn patience(&self) -> Duration {
        patience_with(&self.histograms.create)
    }

    /// How many resources are wanted, by waiters or as minimum idle.
    pub(super) fn wanted(&self, limits: &Limits) -> usize {
        self.queue.waiting() + limits.keeping.min_idle as usize
    }

    /// Returns the waker to wake if more is wanted than is idle and something can be done about it. The task that is woken runs
    /// [`meet_demand`](Self::meet_demand) when it is polled: the thread that notices the shortage may have no runtime.
    pub(super) fn call_if_short(&mut self, limits: &Limits) -> Option<Waker> {
        // An idle slot is of no use to the waiters until it was checked.
        let unchecked = !self.idle.is_empty() && self.queue.waiting() > 0;
        let probes = self.gate.probes() && self.seats.count(SeatState::Opening) == 0;
        let short = (self.wanted(limits) > self.idle.len() || probes) && self.has_room();
        if self.closed || !(unchecked || short) {
            return None;
        }
        self.bell.ring().or_else(|| self.queue.first_waker())
    }

    /// Sets `CALL`, if it is needed, before a look at the idle slots.
    #[inline]
    fn call_first(&mut self) {
        if !mutation::on(Mutation::CallIsLate) {
            self.call();
        }
    }

    /// Whether anything can be done about demand. In a busy pool it cannot: nothing is idle, and there is no room.
    #[inline]
    fn can_meet_demand(&self) -> bool {
        !self.closed && (self.has_room() || !self.idle.is_empty())
    }

    /// Hands idle slots to the waiters, has other idle slots checked for them, and opens what is still missing, within the bounds.
    pub(super) fn meet_demand(
        &mut self,
        kernel: &Arc<Kernel<T, E>>,
        now: Moment,
        work: &mut Work<T, E>,
    ) {
        self.gate.settle(now);
        self.call_first();
        let limits = &kernel.limits;
        if !self.can_meet_demand() {
            return;
        }
        while !self.queue.is_empty()
            && let Some(slot) = self.pop_ready(now, limits)
        {
            match self.hand_on(slot, now, limits) {
                Put::Wake(waker) => work.wakers.push(waker),
                Put::Work(mut more) => work.wakers.append(&mut more.wakers),
                Put::Kept | Put::Close(..) => {}
            }
        }
        // If idle resources do not answer their checks, an open is the better bet, if there is room for it.
        if self.late_checks(now) > 0 {
            let missing = self.queue.waiting().saturating_sub(self.coming(now));
            self.open_some(kernel, missing, now, work);
        }
        while self.queue.waiting() > self.coming(now)
            && let Some(mut slot) = self.idle.pop(|_| true)
        {
            let others = self.idle.len();
            if slot.generation != self.generation {
                self.retire(slot, CloseReason::Retired, work);
            } else if now >= slot.expires_at
                && !self.keeps_expired(&mut slot, now, others, limits, &mut work.wakers)
            {
                self.retire(slot, CloseReason::Lifetime, work);
            } else {
                self.seats.check(slot.seat.index(), now);
                work.checks.push(slot);
            }
        }
        let had = self.idle.len() + self.coming(now);
        let shortage = self.wanted(limits).saturating_sub(had);
        let mut missing = shortage.max(self.replacements as usize);
        if missing == 0 && self.wants_prober(limits, now) {
            missing = 1;
        }
        self.open_some(kernel, missing, now, work);
        if !(work.opens.is_empty() && work.checks.is_empty()) && self.queue.waiting() > 0 {
            // When one of these opens or checks becomes late, the keeper tries something else.
            let late = self.next_late(now);
            work.wakers.extend(late.and_then(|at| self.bell.call(at)));
        }
    }

    /// Opens `missing` resources, or as many as there is room for.
    fn open_some(
        &mut self,
        kernel: &Arc<Kernel<T, E>>,
        missing: usize,
        now: Moment,
        work: &mut Work<T, E>,
    ) {
        for _ in 0..missing {
            if !(self.has_room() && self.may_open(&kernel.limits, now)) {
                return;
            }
            let index = self.seats.occupy(now, self.generation);
            work.opens.push(Seat::new(Arc::clone(kernel), index));
            self.replacements = self.replacements.saturating_sub(1);
        }
    }

    /// Whether there is room for one more resource.
    fn has_room(&self) -> bool {
        let opening = if mutation::on(Mutation::OpeningIsNotCounted) {
            self.seats.count(SeatState::Opening)
        } else {
            0
        };
        self.seats.taken() - opening < self.target
    }

    fn may_open(&self, limits: &Limits, now: Moment) -> bool {
        let opening = self.seats.count(SeatState::Opening);
        // While attempts fail, one is made at a time. A late attempt does not stop the next one any more.
        let attempts = if self.gate.is_failing() {
            self.promising(now)
        } else {
            opening
        };
        opening < limits.max_opening && attempts < self.gate.may_open(limits.max_opening, now)
    }

    /// Whether an attempt is wanted although no waiter needs it, so that the pool learns when the backend is back. An open that has
    /// outlasted its timeout is on a runtime that polls no tasks, and does not count as the prober.
    fn wants_prober(&self, limits: &Limits, now: Moment) -> bool {
        let ended = now.earlier(limits.open_ends_nanos);
        self.gate.probes() && self.seats.opening_after(ended, None) == 0
    }

    /// Whether the open that is about to begin is still of use.
    pub(super) fn is_wanted(&self, limits: &Limits, now: Moment) -> bool {
        // If checks of idle resources are late, the other idle resources are no better: this open was ordered because of them.
        let idle = if self.late_checks(now) > 0 {
            0
        } else {
            self.idle.len()
        };
        let others = (idle + self.coming(now)).saturating_sub(1);
        let demand = self.wanted(limits) > others || self.gate.probes() || self.outlived;
        !self.closed && demand
    }

    pub(super) fn retire(
        &mut self,
        slot: Box<Slot<T, E>>,
        reason: CloseReason,
        work: &mut Work<T, E>,
    ) {
        self.count_close(&slot, reason);
        work.closes.push((slot, reason));
    }

    pub(super) fn count_close(&mut self, slot: &Slot<T, E>, reason: CloseReason) {
        slot.tag.lay_down();
        self.counters.closed[reason.index()] += 1;
        self.seats.set(slot.seat.index(), SeatState::Closing);
    }

    /// Returns and clears `outlived`: whether the open that just succeeded may replace an expired slot that is idle.
    pub(super) const fn replaces_idle(&mut self) -> bool {
        mem::replace(&mut self.outlived, false)
    }

    /// After a change of size: drops the ordered replacements for which there is no room any more.
    pub(super) fn forget_replacements(&mut self) {
        let room = self.target.saturating_sub(self.in_use());
        self.replacements = self.replacements.min(room);
    }

    /// Called when a check ended. Returns the keeper's waker if idle slots are overdue: they may have waited because too many were
    /// being checked.
    pub(super) fn overdue(&mut self, now: Moment) -> Option<Waker> {
        (self.sweep_at <= now && !self.closed)
            .then(|| self.bell.ring())
            .flatten()
    }

    /// Makes sure that the idle slots are looked through at `at` or earlier.
    pub(super) fn sweep_by(&mut self, at: Moment) {
        self.sweep_at = self.sweep_at.min(at);
    }

    /// Whether the pool is closed and every seat is free.
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.seats.taken() == 0
    }

    /// When a closed pool has become empty: the wakers of the tasks that wait for this, and of the keeper.
    pub(super) fn last_one_out(&mut self) -> Vec<Waker> {
        if !self.is_over() {
            return Vec::new();
        }
        let mut wakers = self.watchers.take();
        wakers.extend(self.bell.ring());
        wakers
    }

    /// What this waiter has waited for during `lasted`. It is an open, a check or a reset if that would have come to this waiter
    /// and not only to the waiters ahead of it; else it is a return. An open counts only if it took at least half of the wait.
    pub(super) fn phase(&self, id: &Ticket<T, E>, lasted: Duration, limits: &Limits) -> Phase {
        let failing = self.gate.is_failing();
        let mut opening = self.seats.opening_since(id.since() + lasted / 2);
        if failing {
            // The opens that would be running if attempts did not fail.
            let room = self.target.saturating_sub(self.seats.taken());
            opening += room.min(limits.max_opening.saturating_sub(opening));
        }
        // If nothing is open, no return can be expected.
        if self.seats.alive() == 0 && (failing || self.seats.count(SeatState::Opening) > 0) {
            return Phase::Create;
        }
        let mut coming = 0;
        for (phase, count) in [
            (Phase::Create, opening),
            (Phase::Check, self.seats.count(SeatState::Checking)),
            (Phase::Reset, self.seats.count(SeatState::Resetting)),
        ] {
            coming += count as usize;
            if count > 0 && self.queue.is_among_first(id, coming) {
                return phase;
            }
        }
        Phase::Wait
    }
}

impl<T, E: Clone> Poisonable for State<T, E> {
    fn poison(&mut self) -> Vec<Waker> {
        let after = self.after_a_panic();
        let mut before = mem::ManuallyDrop::new(mem::replace(self, after));
        let mut orphans = before.queue.all_wakers();
        orphans.append(&mut before.watchers.take());
        orphans.extend(before.bell.ring());
        orphans
    }
}

/// An open or a check that takes longer than this is late, given how long past ones took.
fn patience_with(known: &Histogram) -> Duration {
    if known.is_empty() {
        PATIENCE
    } else {
        known.mean().saturating_mul(4).max(PATIENCE / 4)
    }
}

/// Each check that failed or is late halves what a check in flight counts for, up to this many times. At the limit 32 idle slots
/// are checked at once for one waiter.
pub(super) const MAX_SUSPICION: u32 = 5;

/// The patience with an open or a check while none has succeeded. Later it is four times their mean time, and a quarter of this at
/// least.
const PATIENCE: Duration = Duration::from_secs(1);
