//! What the lock guards, and how it is decided who gets what, what may stay and what is opened.

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

/// What the kernel's mutex guards. While it is held no user code runs, and nothing is locked but the inbox or a waiter's mail, for a
/// moment.
#[derive(Debug)]
pub(super) struct State<T, E: Clone> {
    pub(super) idle: IdleSet<T, E>,
    pub(super) seats: Seats,
    pub(super) queue: Line<Box<Slot<T, E>>, Refusal<E>>,
    pub(super) target: u32,
    /// How many may wait in line.
    pub(super) max_waiters: usize,
    pub(super) generation: u64,
    pub(super) closed: bool,
    /// The inbox is open: waiters may have joined there.
    pub(super) is_open: bool,
    /// The tick at which a wait was timed last.
    timed_at: Moment,
    /// How many fetched a grant since one whose wait was timed did.
    untimed: u64,
    /// Opens that were ordered to replace what reached its lifetime, and did not start yet.
    replacements: u32,
    /// Something is kept beyond its lifetime until its replacement is open.
    outlived: bool,
    /// How many checks have failed since one succeeded, up to a few.
    pub(super) suspicion: u32,
    pub(super) gate: Gate<E>,
    shed: Option<Shed>,
    pub(super) counters: Counters,
    pub(super) histograms: Histograms,
    /// When the first idle one may fall due.
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

    /// What comes in place of this one after a panic of the kernel: closed, and without anything. Seats, tickets and keepers of before
    /// are known to none of its parts, and each part does nothing for those.
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
            // It may be: who locks next shuts it.
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

    /// Gets and returns have to come to the lock while there is something to decide: somebody waits, the pool has shrunk below what
    /// is in use, or it is closed. Called before that is acted on, and before the lock is released.
    #[inline]
    pub(super) fn call(&mut self) {
        let decide = !self.queue.is_empty() || self.is_shrinking() || self.closed;
        self.idle.call(decide);
    }

    /// At which tick newcomers can join the line by the inbox, and how many, because all that can be done for them is to let them
    /// wait: nothing is idle or checked for those in line, there is no room to open anything, and the keeper comes by in time.
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

    /// Hands this one to the first in line, if somebody is and there is nothing else to decide. Those in the inbox came later.
    #[inline]
    pub(super) fn pass_on(
        &mut self,
        slot: Box<Slot<T, E>>,
        now: Moment,
        limits: &Limits,
    ) -> Result<Put<T, E>, Box<Slot<T, E>>> {
        let good = slot.generation == self.generation && now < slot.expires_at;
        let usual = good && !self.is_shrinking() && !mutation::on(Mutation::NewcomerBarges);
        if self.closed || !(self.is_open && usual) {
            return Err(slot);
        }
        Ok(self.hand_to_first(slot, now, limits))
    }

    /// The next idle one that may be handed out as it is.
    #[inline]
    pub(super) fn pop_ready(&mut self, now: Moment, limits: &Limits) -> Option<Box<Slot<T, E>>> {
        if self.closed {
            // After a panic of the kernel something lies on the board still.
            return None;
        }
        let generation = self.generation;
        self.idle
            .pop(|slot| slot.is_ready(now, limits.check_after_nanos, generation))
    }

    /// Joins the line, unless there is a reason not to.
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
            // The keeper may be where nobody drives it: an outage ends because somebody asks.
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
        // One wait a tick is timed exactly, and all when the shedder needs to know.
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
        // The usual case of a busy pool.
        let work = if keeper.is_none() && !self.can_meet_demand() {
            None
        } else {
            self.begin_wait(kernel, since, keeper)
        };
        Take::Queued(Queued { id, timed, work })
    }

    /// Somebody joined the line, and something may be done about it.
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

    /// Counts those who fetched what was handed to them without the lock.
    pub(super) fn hear(&mut self) {
        let (fetched, waits) = self.queue.hear();
        self.counters.waited += fetched;
        self.untimed += fetched;
        let waits: Vec<_> = waits.collect();
        for (timed, wait) in waits.iter().enumerate() {
            // Each stands for an equal part of those since the last sample.
            let weight = self.untimed / (waits.len() - timed) as u64;
            self.histograms.wait.record_weighted(*wait, weight);
            self.untimed -= weight;
        }
    }

    /// A waiter fetched what was handed to it.
    pub(super) fn fetched(&mut self, lasted: Option<Duration>) {
        self.counters.waited += 1;
        self.untimed += 1;
        if let Some(lasted) = lasted {
            let weight = mem::take(&mut self.untimed);
            self.histograms.wait.record_weighted(lasted, weight);
        }
    }

    /// A lease ended.
    pub(super) fn returned(&mut self, lasted: Option<Sample>) {
        if let Some(Sample { lasted, weight }) = lasted {
            self.histograms.used.record_weighted(lasted, weight);
            if let Some(shed) = &mut self.shed {
                shed.used(lasted);
            }
        }
    }

    /// Nothing could be opened: tells everybody in line, if that is how it is.
    pub(super) fn tell_of_outage(&mut self, work: &mut Work<T, E>) {
        if let Some(error) = self.gate.verdict(self.seats.alive()) {
            self.counters.failed_fast += self.queue.len() as u64;
            let told = self.queue.refuse_all(|| Refusal::Connect(error.clone()));
            work.wakers.extend(told);
        }
    }

    /// Closes it if it may not be used again, else hands it to the first in line, else makes it idle.
    #[inline(always)]
    pub(super) fn settle(
        &mut self,
        mut slot: Box<Slot<T, E>>,
        now: Moment,
        limits: &Limits,
    ) -> Put<T, E> {
        // The usual case: it is good.
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

    /// May this one not be used again?
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

    /// Is there no use for it any more, however good it is?
    pub(super) fn useless(&self, slot: &Slot<T, E>) -> Option<CloseReason> {
        if self.closed && !mutation::on(Mutation::ReturnIgnoresClose) {
            return Some(CloseReason::PoolClosed);
        }
        if slot.generation != self.generation {
            return Some(CloseReason::Retired);
        }
        self.is_shrinking().then_some(CloseReason::Shrunk)
    }

    /// The lifetime of this one is over. If it is needed it stays in use until its replacement is open, as long as there is
    /// room for both; and while nothing can be opened, what still works is kept. `others` are idle beside it.
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

    /// Hands it to the first in line, telling no on the way to those whom the shedder drops; makes it idle if nobody is in line.
    #[inline(always)]
    fn hand_on(&mut self, slot: Box<Slot<T, E>>, now: Moment, limits: &Limits) -> Put<T, E> {
        if self.shed.is_some() && !self.queue.is_empty() {
            let shed = self.shed_first(now);
            return self.hand_to_first(slot, now, limits).and(shed);
        }
        self.hand_to_first(slot, now, limits)
    }

    #[inline(always)]
    fn hand_to_first(&mut self, slot: Box<Slot<T, E>>, now: Moment, limits: &Limits) -> Put<T, E> {
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

    /// Makes it idle.
    pub(super) fn lay_down(&mut self, slot: Box<Slot<T, E>>) -> Put<T, E> {
        self.idle.lay(slot);
        Put::Kept
    }

    /// What the bound is about, without what is on its way out.
    #[inline]
    pub(super) fn in_use(&self) -> u32 {
        let leased = if mutation::on(Mutation::ResizeForgetsLeased) {
            self.leased()
        } else {
            0
        };
        self.seats.taken() - self.seats.count(SeatState::Closing) - leased
    }

    /// Is more in use than may be?
    #[inline]
    fn is_shrinking(&self) -> bool {
        self.in_use() > self.target
    }

    /// How many are with a caller, or handed to one.
    pub(super) fn leased(&self) -> u32 {
        let idle = self.idle.len() as u32;
        self.seats.count(SeatState::Open).saturating_sub(idle)
    }

    /// What can be counted on to come to somebody soon: not an open that takes far longer than they do, and the less of what is
    /// being checked the more checks have failed.
    fn coming(&self, now: Moment) -> usize {
        let opening = self.promising(now);
        let late = self.late_checks(now);
        let doubts = (self.suspicion + late).min(MAX_SUSPICION);
        let checking = (self.seats.count(SeatState::Checking) - late) >> doubts;
        (opening + checking + self.seats.count(SeatState::Resetting)) as usize
    }

    /// How many checks take so long that nobody counts on them.
    fn late_checks(&self, now: Moment) -> u32 {
        if self.seats.count(SeatState::Checking) == 0 || mutation::on(Mutation::LateCheckIsAwaited)
        {
            return 0;
        }
        let late = now.earlier(nanos_of(patience_with(&self.histograms.check)));
        late.map_or(0, |late| self.seats.checking_since(late))
    }

    /// How many are being opened that can be counted on: not those that are late, and not those that are of the past when they end.
    fn promising(&self, now: Moment) -> u32 {
        if self.seats.count(SeatState::Opening) == 0 {
            return 0;
        }
        let late = now.earlier(nanos_of(self.patience()));
        self.seats.opening_after(late, Some(self.generation))
    }

    /// When the next open or check becomes late, of those that are not.
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

    /// After so long an open is not counted on any more.
    pub(super) fn patience(&self) -> Duration {
        patience_with(&self.histograms.create)
    }

    /// How many are wanted, in line or as minimum idle.
    pub(super) fn wanted(&self, limits: &Limits) -> usize {
        self.queue.waiting() + limits.keeping.min_idle as usize
    }

    /// Whom to wake when more is wanted than is idle, and something can be done about it: that is done when somebody is polled, by
    /// [`meet_demand`](Self::meet_demand). Where it turns out may be no runtime to do it on.
    pub(super) fn call_if_short(&mut self, limits: &Limits) -> Option<Waker> {
        // What is idle is no use to those in line until it was checked.
        let unchecked = !self.idle.is_empty() && self.queue.waiting() > 0;
        let probes = self.gate.is_failing() && self.seats.count(SeatState::Opening) == 0;
        let short = (self.wanted(limits) > self.idle.len() || probes) && self.has_room();
        if self.closed || !(unchecked || short) {
            return None;
        }
        self.bell.ring().or_else(|| self.queue.first_waker())
    }

    /// Calls gets and returns to the lock, if they are to come. Before it is looked at what is idle.
    #[inline]
    fn call_first(&mut self) {
        if !mutation::on(Mutation::CallIsLate) {
            self.call();
        }
    }

    /// Is there anything that could be done about demand? Not in a busy pool, where nothing is idle and there is no room.
    #[inline]
    fn can_meet_demand(&self) -> bool {
        !self.closed && (self.has_room() || !self.idle.is_empty())
    }

    /// Serves the line from what is idle, has idle ones checked for it, and opens what is still missing, within the bounds.
    pub(super) fn meet_demand(
        &mut self,
        kernel: &Arc<Kernel<T, E>>,
        now: Moment,
        work: &mut Work<T, E>,
    ) {
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
        // Where idle ones do not answer an open is the better bet, if there is room for one.
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
            // When one of them is late something else is tried.
            let late = self.next_late(now);
            work.wakers.extend(late.and_then(|at| self.bell.call(at)));
        }
    }

    /// Opens so many, as far as there is room.
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

    /// Is there room for one more?
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
        // While attempts fail, one at a time. One that hangs stops the next for as long as it is counted on, and no longer.
        let attempts = if self.gate.is_failing() {
            self.promising(now)
        } else {
            opening
        };
        opening < limits.max_opening && attempts < self.gate.may_open(limits.max_opening, now)
    }

    /// Is an attempt wanted though nobody waits for it: so that the pool knows when the backend is back? One that has outlasted its timeout
    /// is on a runtime that nobody drives, and stops no other.
    fn wants_prober(&self, limits: &Limits, now: Moment) -> bool {
        let ended = now.earlier(limits.open_ends_nanos);
        self.gate.is_failing() && self.seats.opening_after(ended, None) == 0
    }

    /// Is the open that is about to begin of any use still?
    pub(super) fn is_wanted(&self, limits: &Limits, now: Moment) -> bool {
        // Where those that are looked at do not answer the others are no better: that is why it was ordered.
        let idle = if self.late_checks(now) > 0 {
            0
        } else {
            self.idle.len()
        };
        let others = (idle + self.coming(now)).saturating_sub(1);
        let demand = self.wanted(limits) > others || self.gate.is_failing() || self.outlived;
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

    /// Is what was just opened the replacement of something that may be idle? Told once.
    pub(super) const fn replaces_idle(&mut self) -> bool {
        mem::replace(&mut self.outlived, false)
    }

    /// After a change of size: those that were ordered and for which there is no room any more are not waited for.
    pub(super) fn forget_replacements(&mut self) {
        let room = self.target.saturating_sub(self.in_use());
        self.replacements = self.replacements.min(room);
    }

    /// A check ended: who to wake, if others were to be looked at by now and found too many being checked.
    pub(super) fn overdue(&mut self, now: Moment) -> Option<Waker> {
        (self.sweep_at <= now && !self.closed)
            .then(|| self.bell.ring())
            .flatten()
    }

    /// Makes sure that the idle ones are looked through at `at`, or earlier.
    pub(super) fn sweep_by(&mut self, at: Moment) {
        self.sweep_at = self.sweep_at.min(at);
    }

    /// Is it closed, and everything gone?
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.seats.taken() == 0
    }

    /// Those who wait for a closed pool to be empty, and its keeper, when it is.
    pub(super) fn last_one_out(&mut self) -> Vec<Waker> {
        if !self.is_over() {
            return Vec::new();
        }
        let mut wakers = self.watchers.take();
        wakers.extend(self.bell.ring());
        wakers
    }

    /// What this waiter has waited for, so long: what is being opened, checked or reset, if that would have come to it and not only to
    /// those ahead; else for a return. An open counts if it took most of that time, and not if it has just begun.
    pub(super) fn phase(&self, id: &Ticket<T, E>, lasted: Duration, limits: &Limits) -> Phase {
        let failing = self.gate.is_failing();
        let mut opening = self.seats.opening_since(id.since() + lasted / 2);
        if failing {
            // What would be opened but for that.
            let room = self.target.saturating_sub(self.seats.taken());
            opening += room.min(limits.max_opening.saturating_sub(opening));
        }
        // Where nothing is open there is nothing to be given back.
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

/// After so long an open or a check is not counted on any more, by how long those took that ended.
fn patience_with(known: &Histogram) -> Duration {
    if known.is_empty() {
        PATIENCE
    } else {
        known.mean().saturating_mul(4).max(PATIENCE / 4)
    }
}

/// A check that failed, or is late, makes one in flight worth half as much, so many times: then 32 idle ones are checked at once for
/// one waiter.
pub(super) const MAX_SUSPICION: u32 = 5;

/// An open or a check that takes longer is not counted on, as long as none has succeeded; later, four times as long as they take, and
/// a quarter of this at least.
const PATIENCE: Duration = Duration::from_secs(1);
