//! Getting and giving back: the part of the kernel that the hot path runs through.
//!
//! One mutex guards everything. Each method decides under it and returns what is left to do, which the caller does after:
//! wakers to wake, resources to check or close, seats to open something on.

use std::{
    collections::VecDeque,
    mem,
    task::{Poll, Waker},
    time::Duration,
};

use super::{
    gate::{Backoff, Gate},
    mutation::{self, Mutation},
    queue::{WaitQueue, WaiterId},
    seat::{Holder, Seat, SeatState, Seats},
    shed::Shed,
    slot::{Idle, Slot},
    stats::{Counters, Histograms},
};
use crate::{
    engine::keep::Keeping,
    moment::Moment,
    observe::{CloseReason, Phase},
    sync::{Arc, Mutex, MutexGuard},
};

/// The bounds of one pool. All but the size are fixed for its life.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_size: u32,
    pub(crate) max_opening: u32,
    pub(crate) max_waiters: usize,
    /// Hand out the one that has been idle longest, not the one that was used last.
    pub(crate) fifo: bool,
    /// An idle one is checked before it is handed out when it was last known to be good longer ago than this.
    pub(crate) check_after_nanos: u64,
    pub(crate) shed_target: Option<Duration>,
    pub(crate) backoff: Backoff,
    pub(crate) keeping: Keeping,
}

/// The state machine of one pool, over resources `T`, with open failures kept as `E`.
#[derive(Debug)]
pub(crate) struct Kernel<T, E: Clone> {
    state: Mutex<State<T, E>>,
    pub(super) limits: Limits,
}

/// What [`Kernel`]'s mutex guards. It is the only lock; nothing else is locked and no user code runs while it is held.
#[derive(Debug)]
pub(super) struct State<T, E: Clone> {
    /// Last used at the back.
    pub(super) idle: VecDeque<Idle<T, E>>,
    pub(super) seats: Seats,
    pub(super) queue: WaitQueue<Box<Slot<T, E>>, Refusal<E>>,
    pub(super) target: u32,
    pub(super) generation: u64,
    pub(super) closed: bool,
    /// The tick at which a wait was timed last.
    timed_at: Moment,
    /// Opens that were ordered to replace what reached its lifetime, and did not start yet.
    replacements: u32,
    pub(super) gate: Gate<E>,
    shed: Option<Shed>,
    pub(super) counters: Counters,
    pub(super) histograms: Histograms,
    /// Who to wake when there is upkeep to do, and when it comes by unasked.
    pub(super) keeper: Option<Waker>,
    pub(super) keeper_next: Moment,
    /// Who wants to know when something was opened or could not be, and when the last seat of a closed pool is free.
    pub(super) watchers: Vec<Waker>,
}

/// Why a get ends without a resource, other than by its own deadline.
#[derive(Clone, Debug)]
pub(crate) enum Refusal<E> {
    Closed,
    Overloaded,
    Shed,
    /// Nothing can be opened and nothing is alive; the last failure.
    Connect(E),
}

/// What came of looking for a resource.
#[derive(Debug)]
pub(crate) enum Take<T, E: Clone> {
    Ready(Box<Slot<T, E>>),
    Queued(Queued<T, E>),
    Refused(Refusal<E>),
}

/// A place in line.
#[derive(Debug)]
pub(crate) struct Queued<T, E: Clone> {
    pub(crate) id: WaiterId,
    /// Is it known exactly when it joined?
    pub(crate) timed: bool,
    pub(crate) work: Work<T, E>,
}

/// What a waiter is told when it is polled.
#[derive(Debug)]
pub(crate) enum Polled<T, E: Clone> {
    Granted(Box<Slot<T, E>>),
    Refused(Refusal<E>),
    /// Not yet. `armed`: keep a timer for the deadline from now on.
    Pending {
        work: Work<T, E>,
        armed: bool,
    },
}

/// What is left to do after a resource was given back.
#[derive(Debug)]
#[must_use]
pub(crate) enum Put<T, E: Clone> {
    Kept,
    /// It was handed to a waiter.
    Wake(Waker),
    Close(Box<Slot<T, E>>, CloseReason),
    Work(Box<Work<T, E>>),
}

/// What is left to do after the lock was released.
#[derive(Debug)]
#[must_use]
pub(crate) struct Work<T, E: Clone> {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) opens: Vec<Seat<T, E>>,
    pub(crate) checks: Vec<Box<Slot<T, E>>>,
    pub(crate) closes: Vec<(Box<Slot<T, E>>, CloseReason)>,
}

/// A resource that was just opened.
#[derive(Debug)]
pub(crate) struct Opened<T> {
    pub(crate) item: T,
    pub(crate) expires_at: Moment,
    pub(crate) took: Duration,
}

impl<T, E: Clone> Default for Work<T, E> {
    fn default() -> Self {
        Self {
            wakers: Vec::new(),
            opens: Vec::new(),
            checks: Vec::new(),
            closes: Vec::new(),
        }
    }
}

impl<T, E: Clone> Kernel<T, E> {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State {
            idle: VecDeque::new(),
            seats: Seats::new(),
            queue: WaitQueue::new(),
            target: limits.max_size,
            generation: 0,
            closed: false,
            timed_at: Moment::NEVER,
            replacements: 0,
            gate: Gate::new(limits.backoff),
            shed: limits.shed_target.map(Shed::new),
            counters: Counters::default(),
            histograms: Histograms::default(),
            keeper: None,
            keeper_next: Moment::NEVER,
            watchers: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            limits,
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock()
    }

    /// Takes an idle one that needs nothing done to it, if nobody stands in line.
    #[inline]
    pub(crate) fn take(&self, now: Moment, holder: Holder) -> Option<Box<Slot<T, E>>> {
        let mut state = self.lock();
        if !state.queue.is_empty() && !mutation::on(Mutation::NewcomerBarges) {
            return None;
        }
        state.lease_ready(now, holder, &self.limits)
    }

    /// Takes an idle one, or joins the line. `now` may be rough, `exact` is not.
    ///
    /// Both under one lock: a return either finds the waiter in line, or the waiter finds what was returned.
    #[inline]
    pub(crate) fn take_or_wait(
        this: &Arc<Self>,
        now: Moment,
        exact: impl FnOnce() -> Moment,
        holder: Holder,
        waker: &Waker,
    ) -> Take<T, E> {
        let mut state = this.lock();
        if state.queue.is_empty()
            && !mutation::on(Mutation::WaiterLooksTooEarly)
            && let Some(slot) = state.lease_ready(now, holder, &this.limits)
        {
            return Take::Ready(slot);
        }
        state.wait(this, now, exact, waker)
    }

    /// Has a waiter its answer? After that its id is spent. `lasted` is how long it has waited, when that is worth recording.
    pub(crate) fn poll(
        this: &Arc<Self>,
        id: &WaiterId,
        waker: &Waker,
        holder: Holder,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> Polled<T, E> {
        // Declared before the guard, so dropped after it: a waker may be the last to hold a task, and what that holds.
        let _spent;
        let mut state = this.lock();
        match state.queue.answer(id) {
            Poll::Pending => {
                let held = state.queue.waker(id);
                if !held.as_ref().is_some_and(|held| held.will_wake(waker)) {
                    _spent = held.replace(waker.clone());
                }
                let mut work = Work::default();
                state.meet_demand(this, holder.since, &mut work);
                Polled::Pending {
                    work,
                    armed: state.queue.is_armed(id),
                }
            }
            Poll::Ready(Err(refusal)) => Polled::Refused(refusal),
            Poll::Ready(Ok(slot)) => {
                state.fetched(&slot, holder, lasted());
                Polled::Granted(slot)
            }
        }
    }

    /// A waiter gives up at its deadline, after waiting so long: the resource if one was handed to it meanwhile, else what it
    /// was waiting for.
    pub(crate) fn time_out(
        &self,
        id: WaiterId,
        holder: Holder,
        lasted: Duration,
    ) -> Result<Box<Slot<T, E>>, (Option<Refusal<E>>, Phase)> {
        // Dropped after the guard, as in `poll`.
        let _spent;
        let mut state = self.lock();
        _spent = state.queue.waker(&id).take();
        match state.queue.cancel(id) {
            Some(Ok(slot)) => {
                state.fetched(&slot, holder, Some(lasted));
                Ok(slot)
            }
            Some(Err(refusal)) => Err((Some(refusal), Phase::Wait)),
            None => {
                let phase = state.phase();
                state.counters.timeouts[phase.index()] += 1;
                Err((None, phase))
            }
        }
    }

    /// A waiter goes away. What was handed to it goes to the next in line.
    pub(crate) fn cancel(&self, id: WaiterId, now: Moment) -> Put<T, E> {
        // Dropped after the guard, as in `poll`.
        let _spent;
        let mut state = self.lock();
        _spent = state.queue.waker(&id).take();
        state.counters.cancelled += 1;
        match state.queue.cancel(id) {
            Some(Ok(slot)) if mutation::on(Mutation::CancelServesNobody) => {
                state.lay_down(slot, &self.limits)
            }
            Some(Ok(slot)) => state.settle(slot, now, &self.limits),
            Some(Err(_)) | None => Put::Kept,
        }
    }

    /// Gives one back after use. `lasted` is how long the lease was, when that was measured.
    #[inline]
    pub(crate) fn put(
        &self,
        mut slot: Box<Slot<T, E>>,
        now: Moment,
        lasted: Option<Duration>,
    ) -> Put<T, E> {
        slot.used_at = now;
        slot.idle_since = now;
        if mutation::on(Mutation::ReturnLooksTooEarly) && self.lock().queue.is_empty() {
            return self.lock().lay_down(slot, &self.limits);
        }
        let mut state = self.lock();
        state.returned(lasted);
        state.settle(slot, now, &self.limits)
    }

    /// Gives one back that nobody used.
    pub(crate) fn put_unused(&self, slot: Box<Slot<T, E>>, now: Moment) -> Put<T, E> {
        self.lock().settle(slot, now, &self.limits)
    }

    /// One that was being checked or reset is good: hands it to the first waiter, or makes it idle.
    pub(crate) fn put_clean(
        &self,
        mut slot: Box<Slot<T, E>>,
        now: Moment,
        took: Duration,
    ) -> Put<T, E> {
        let mut state = self.lock();
        slot.used_at = now;
        match state.seats.state(slot.seat.index()) {
            SeatState::Checking => state.histograms.check.record(took),
            SeatState::Resetting => state.histograms.reset.record(took),
            _ => {}
        }
        if mutation::on(Mutation::CheckServesNobody) {
            return state.lay_down(slot, &self.limits);
        }
        state.settle(slot, now, &self.limits)
    }

    /// Something was opened on this seat.
    pub(crate) fn opened(
        this: &Arc<Self>,
        seat: Seat<T, E>,
        opened: Opened<T>,
        now: Moment,
    ) -> (Put<T, E>, Work<T, E>) {
        let mut state = this.lock();
        state.gate.succeeded();
        state.counters.opened += 1;
        state.histograms.create.record(opened.took);
        let slot = Box::new(Slot {
            item: opened.item,
            opened_at: now,
            expires_at: opened.expires_at,
            used_at: now,
            idle_since: now,
            timed_from: None,
            timed_at: Moment::NEVER,
            uses: 0,
            generation: state.generation,
            tainted: false,
            replaced: false,
            seat,
        });
        let put = state.settle(slot, now, &this.limits);
        let mut work = Work::default();
        state.meet_demand(this, now, &mut work);
        state.call_keeper(now + this.limits.keeping.rounds, &mut work.wakers);
        work.wakers.append(&mut state.watchers);
        (put, work)
    }

    /// Nothing could be opened on this seat. `jitter` is uniform in `0.0..1.0`.
    pub(crate) fn open_failed(
        this: &Arc<Self>,
        seat: Seat<T, E>,
        error: E,
        now: Moment,
        jitter: f64,
    ) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.counters.open_failures += 1;
        state.gate.failed(error, now, jitter);
        if mutation::on(Mutation::FailedOpenKeepsSeat) {
            state.seats.set(seat.index(), SeatState::Closing);
        } else {
            state.seats.vacate(seat.index());
        }
        if let Some(error) = state.gate.verdict(state.seats.alive()) {
            state.counters.failed_fast += state.queue.len() as u64;
            work.wakers = state.queue.refuse_all(|| Refusal::Connect(error.clone()));
        }
        state.meet_demand(this, now, &mut work);
        if let Some(next_try) = state.gate.next_try() {
            state.call_keeper(next_try, &mut work.wakers);
        }
        work.wakers.append(&mut state.watchers);
        drop(state);
        seat.spent();
        work
    }

    /// A lease ended, and what it held is about to be made clean.
    pub(crate) fn begin_reset(&self, slot: &Slot<T, E>, lasted: Option<Duration>) {
        let mut state = self.lock();
        state.returned(lasted);
        state.seats.set(slot.seat.index(), SeatState::Resetting);
    }

    /// One is about to be closed, for a reason that the kernel does not see for itself.
    pub(crate) fn begin_close(&self, slot: &Slot<T, E>, reason: CloseReason) {
        self.lock().count_close(slot, reason);
    }

    /// Gives a holder a name.
    pub(crate) fn relabel(&self, slot: &Slot<T, E>, label: &'static str) {
        self.lock().seats.relabel(slot.seat.index(), label);
    }

    /// Called by the drop of a seat.
    pub(super) fn vacate(&self, index: u32) {
        let wakers = {
            let mut state = self.lock();
            let was = state.seats.state(index);
            state.counters.dropped +=
                u64::from(!matches!(was, SeatState::Closing | SeatState::Opening));
            state.seats.vacate(index);
            if mutation::on(Mutation::VacateTellsNobody) {
                return;
            }
            let mut wakers = state.last_one_out();
            // There is room now. Whoever is polled next opens something; here may be no runtime to do it on.
            if !state.closed && state.shortage(&self.limits) > 0 {
                wakers.extend(state.keeper.clone().or_else(|| state.queue.first_waker()));
            }
            wakers
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<T, E: Clone> State<T, E> {
    /// Leases the next idle one, if it may be handed out as it is.
    #[inline]
    fn lease_ready(
        &mut self,
        now: Moment,
        holder: Holder,
        limits: &Limits,
    ) -> Option<Box<Slot<T, E>>> {
        let idle = self.pop_ready(now, limits)?;
        self.seats.lease(idle.seat, holder);
        self.counters.gets += 1;
        Some(idle.slot)
    }

    /// The next idle one, if it may be handed out as it is. Those are the first to go, so it looks at one.
    #[inline]
    fn pop_ready(&mut self, now: Moment, limits: &Limits) -> Option<Idle<T, E>> {
        let next = if limits.fifo {
            self.idle.front()?
        } else {
            self.idle.back()?
        };
        if now >= next.ready_until {
            return None;
        }
        self.pop_idle(limits)
    }

    #[inline]
    fn pop_idle(&mut self, limits: &Limits) -> Option<Idle<T, E>> {
        if limits.fifo {
            self.idle.pop_front()
        } else {
            self.idle.pop_back()
        }
    }

    /// Joins the line, unless there is a reason not to.
    fn wait(
        &mut self,
        kernel: &Arc<Kernel<T, E>>,
        now: Moment,
        exact: impl FnOnce() -> Moment,
        waker: &Waker,
    ) -> Take<T, E> {
        let limits = &kernel.limits;
        if self.closed {
            return Take::Refused(Refusal::Closed);
        }
        if let Some(error) = self.gate.verdict(self.seats.alive()) {
            self.counters.failed_fast += 1;
            return Take::Refused(Refusal::Connect(error));
        }
        if self.queue.len() >= limits.max_waiters {
            self.counters.overloaded += 1;
            return Take::Refused(Refusal::Overloaded);
        }
        // One wait a tick is timed exactly, and all when the shedder needs to know.
        let timed = now != self.timed_at || self.shed.is_some();
        self.timed_at = now;
        let since = if timed { exact() } else { now };
        let id = self.queue.push((), waker.clone(), since);
        let mut work = Work::default();
        if !mutation::on(Mutation::WaiterLooksTooEarly) {
            self.meet_demand(kernel, since, &mut work);
        }
        self.call_keeper(since + limits.keeping.tick, &mut work.wakers);
        Take::Queued(Queued { id, timed, work })
    }

    /// A waiter fetched what was handed to it.
    fn fetched(&mut self, slot: &Slot<T, E>, holder: Holder, lasted: Option<Duration>) {
        self.counters.gets += 1;
        self.counters.waited += 1;
        if let Some(lasted) = lasted {
            self.histograms.wait.record(lasted);
        }
        self.seats.hold(slot.seat.index(), holder);
    }

    #[inline]
    fn returned(&mut self, lasted: Option<Duration>) {
        self.counters.returns += 1;
        if let Some(lasted) = lasted {
            self.histograms.used.record(lasted);
            if let Some(shed) = &mut self.shed {
                shed.used(lasted);
            }
        }
    }

    /// Closes it if it may not be used again, else hands it to the first in line, else makes it idle.
    #[inline]
    pub(super) fn settle(
        &mut self,
        mut slot: Box<Slot<T, E>>,
        now: Moment,
        limits: &Limits,
    ) -> Put<T, E> {
        // The usual case: it is good, and nobody waits.
        if self.queue.is_empty()
            && slot.generation == self.generation
            && now < slot.expires_at
            && !self.closed
            && self.in_use() <= self.target
        {
            return self.lay_down(slot, limits);
        }
        let mut wakers = Vec::new();
        if let Some(reason) = self.must_close(&mut slot, now, limits, &mut wakers) {
            self.count_close(&slot, reason);
            return Put::Close(slot, reason);
        }
        if mutation::on(Mutation::NewcomerBarges) {
            drop(self.lay_down(slot, limits));
            return self.queue.first_waker().map_or(Put::Kept, Put::Wake);
        }
        self.hand_on(slot, now, limits, wakers)
    }

    /// May this one not be used again?
    #[inline]
    fn must_close(
        &mut self,
        slot: &mut Slot<T, E>,
        now: Moment,
        limits: &Limits,
        wakers: &mut Vec<Waker>,
    ) -> Option<CloseReason> {
        if self.closed && !mutation::on(Mutation::ReturnIgnoresClose) {
            return Some(CloseReason::PoolClosed);
        }
        if slot.generation != self.generation {
            return Some(CloseReason::Reset);
        }
        if self.in_use() > self.target {
            return Some(CloseReason::Shrunk);
        }
        if now >= slot.expires_at && !self.keeps_expired(slot, now, limits, wakers) {
            return Some(CloseReason::Lifetime);
        }
        None
    }

    /// The lifetime of this one is over. If it is needed it stays in use until its replacement is open, as long as there is
    /// room for both; and while nothing can be opened, what still works is kept.
    pub(super) fn keeps_expired(
        &mut self,
        slot: &mut Slot<T, E>,
        now: Moment,
        limits: &Limits,
        wakers: &mut Vec<Waker>,
    ) -> bool {
        if self.queue.is_empty() && self.idle.len() >= limits.keeping.min_idle as usize {
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
            self.replacements += 1;
            self.call_keeper(now, wakers);
        }
        slot.replaced
    }

    /// Hands it to the first in line, telling no on the way to those whom the shedder drops.
    fn hand_on(
        &mut self,
        slot: Box<Slot<T, E>>,
        now: Moment,
        limits: &Limits,
        mut wakers: Vec<Waker>,
    ) -> Put<T, E> {
        if self.shed.is_some() {
            self.shed_first(now, &mut wakers);
        }
        self.seats
            .set_if_other(slot.seat.index(), SeatState::Leased);
        match self.queue.grant(slot, now) {
            Ok(waker) => {
                self.call_keeper(now + limits.keeping.reclaim_after, &mut wakers);
                match waker {
                    Some(waker) if wakers.is_empty() => return Put::Wake(waker),
                    waker => wakers.extend(waker),
                }
            }
            // Nobody is left in line.
            Err(slot) => drop(self.lay_down(slot, limits)),
        }
        if wakers.is_empty() {
            Put::Kept
        } else {
            Put::Work(Box::new(Work {
                wakers,
                ..Work::default()
            }))
        }
    }

    fn shed_first(&mut self, now: Moment, wakers: &mut Vec<Waker>) {
        let Some(shed) = &mut self.shed else { return };
        while let Some(((), since)) = self.queue.first() {
            if !shed.drops(now - since, now) {
                return;
            }
            wakers.extend(self.queue.refuse_first(Refusal::Shed));
            self.counters.shed += 1;
        }
    }

    /// Makes it idle.
    #[inline]
    pub(super) fn lay_down(&mut self, slot: Box<Slot<T, E>>, limits: &Limits) -> Put<T, E> {
        self.seats.set(slot.seat.index(), SeatState::Idle);
        self.idle
            .push_back(Idle::new(slot, limits.check_after_nanos));
        Put::Kept
    }

    /// What the bound is about, without what is on its way out.
    #[inline]
    pub(super) fn in_use(&self) -> u32 {
        let leased = if mutation::on(Mutation::ResizeForgetsLeased) {
            self.seats.count(SeatState::Leased)
        } else {
            0
        };
        self.seats.taken() - self.seats.count(SeatState::Closing) - leased
    }

    /// What is on its way to somebody.
    fn coming(&self) -> usize {
        [
            SeatState::Opening,
            SeatState::Checking,
            SeatState::Resetting,
        ]
        .into_iter()
        .map(|state| self.seats.count(state) as usize)
        .sum()
    }

    /// How many more are wanted, in line or as minimum idle, than are idle or coming.
    pub(super) fn shortage(&self, limits: &Limits) -> usize {
        let wanted = self.queue.waiting() + limits.keeping.min_idle as usize;
        wanted.saturating_sub(self.idle.len() + self.coming())
    }

    /// Serves the line from what is idle, has idle ones checked for it, and opens what is still missing, within the bounds.
    pub(super) fn meet_demand(
        &mut self,
        kernel: &Arc<Kernel<T, E>>,
        now: Moment,
        work: &mut Work<T, E>,
    ) {
        let limits = &kernel.limits;
        // The usual case of a busy pool: nothing is idle, and there is no room.
        if self.closed || (self.idle.is_empty() && !self.has_room()) {
            return;
        }
        while !self.queue.is_empty()
            && let Some(idle) = self.pop_ready(now, limits)
        {
            match self.hand_on(idle.slot, now, limits, Vec::new()) {
                Put::Wake(waker) => work.wakers.push(waker),
                Put::Work(mut more) => work.wakers.append(&mut more.wakers),
                Put::Kept | Put::Close(..) => {}
            }
        }
        while self.queue.waiting() > self.coming()
            && let Some(Idle { mut slot, .. }) = self.pop_idle(limits)
        {
            if now >= slot.expires_at
                && !self.keeps_expired(&mut slot, now, limits, &mut work.wakers)
            {
                self.retire(slot, CloseReason::Lifetime, work);
            } else {
                self.seats.set(slot.seat.index(), SeatState::Checking);
                work.checks.push(slot);
            }
        }
        let mut missing = self.shortage(limits).max(self.replacements as usize);
        if missing == 0 && self.gate.is_failing() {
            // The prober, so that the pool knows when the backend is back.
            missing = 1;
        }
        while missing > 0 && self.has_room() && self.may_open(limits, now) {
            let index = self.seats.occupy();
            work.opens.push(Seat::new(Arc::clone(kernel), index));
            self.replacements = self.replacements.saturating_sub(1);
            missing -= 1;
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
        self.seats.count(SeatState::Opening) < self.gate.may_open(limits.max_opening, now)
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

    fn count_close(&mut self, slot: &Slot<T, E>, reason: CloseReason) {
        self.counters.closed[reason.index()] += 1;
        self.seats.set(slot.seat.index(), SeatState::Closing);
    }

    /// Makes sure that the keeper comes by at `at`, or earlier.
    pub(super) fn call_keeper(&mut self, at: Moment, wakers: &mut Vec<Waker>) {
        if at < self.keeper_next
            && let Some(keeper) = self.keeper.take()
        {
            self.keeper_next = Moment::from_nanos(0);
            wakers.push(keeper);
        }
    }

    /// Those who wait for a closed pool to be empty, when it is.
    fn last_one_out(&mut self) -> Vec<Waker> {
        if self.closed && self.seats.taken() == 0 {
            mem::take(&mut self.watchers)
        } else {
            Vec::new()
        }
    }

    /// What the first in line is waiting for.
    fn phase(&self) -> Phase {
        let busy = |state| self.seats.count(state) > 0;
        if busy(SeatState::Opening) || self.gate.is_failing() {
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
