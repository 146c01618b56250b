//! Getting and giving back: the part of the kernel that callers run through.
//!
//! While nobody waits and there is nothing to decide, a get takes from the [`Board`] and a return lays down there, without a lock.
//! While everything is busy a waiter joins the line by the [`Inbox`]. One mutex guards everything else. Each method decides under it and
//! returns what is left to do, which the caller does after: wakers to wake, resources to check or close, seats to open something on.

use std::{
    task::{Poll, Waker},
    time::Duration,
};

use super::{
    board::{self, Board},
    gate::Backoff,
    inbox::Inbox,
    line::Waiter,
    lock::Apart,
    mutation::{self, Mutation},
    post::Post,
    seat::{Seat, SeatState},
    slot::Slot,
    state::{MAX_SUSPICION, State},
    stats::Sample,
};
use crate::{
    engine::keep::Keeping,
    moment::Moment,
    observe::{CloseReason, Phase},
    sync::{
        Arc, KernelMutex, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// The bounds of one pool. All but the size are fixed for its life.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_size: u32,
    pub(crate) max_opening: u32,
    pub(crate) max_waiters: usize,
    /// Hand out the one that has been idle longest. Then there is no way past the lock.
    pub(crate) fifo: bool,
    /// In how many parts the board is at least, so that cores get in each other's way less often.
    pub(crate) parts: u32,
    /// An idle one is checked before it is handed out when it was last known to be good longer ago than this.
    pub(crate) check_after_nanos: u64,
    /// An open that has lasted so long is on a runtime that nobody drives: its timeout is over.
    pub(crate) open_ends_nanos: u64,
    pub(crate) shed_target: Option<Duration>,
    pub(crate) backoff: Backoff,
    pub(crate) keeping: Keeping,
}

/// The state machine of one pool, over resources `T`, with open failures kept as `E`.
#[derive(Debug)]
pub(crate) struct Kernel<T, E: Clone> {
    pub(super) state: Apart<KernelMutex<State<T, E>>>,
    /// Where waiters join while they need nothing but a place in line.
    pub(super) inbox: Apart<Mutex<Inbox<Box<Slot<T, E>>, Refusal<E>>>>,
    /// What is idle, for gets and returns that need not decide anything.
    pub(super) board: Arc<Board<Slot<T, E>>>,
    /// The generation of what is opened now. Changed under the lock.
    generation: AtomicU64,
    pub(crate) post: Post,
    pub(super) limits: Limits,
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

/// What a get finds without the lock.
#[derive(Debug)]
pub(crate) enum Fast<T, E: Clone> {
    /// It is the caller's.
    Ready(Box<Slot<T, E>>),
    /// It cannot be handed out as it is: give it back unused, and look under the lock.
    Stale(Box<Slot<T, E>>),
    Nothing,
}

/// What came of looking for a resource.
#[derive(Debug)]
pub(crate) enum Take<T, E: Clone> {
    Ready(Box<Slot<T, E>>),
    Queued(Queued<T, E>),
    /// And what that leaves to do: who asks while nothing can be opened has it tried again, when that is due.
    Refused(Refusal<E>, Option<Box<Work<T, E>>>),
}

/// Names one who waits.
pub(crate) type Ticket<T, E> = Waiter<Box<Slot<T, E>>, Refusal<E>>;

/// A place in line.
#[derive(Debug)]
pub(crate) struct Queued<T, E: Clone> {
    pub(crate) id: Ticket<T, E>,
    /// Is it known exactly when it joined?
    pub(crate) timed: bool,
    pub(crate) work: Option<Box<Work<T, E>>>,
}

/// What a waiter is told when it is polled.
#[derive(Debug)]
pub(crate) enum Polled<T, E: Clone> {
    Granted(Box<Slot<T, E>>),
    Refused(Refusal<E>),
    /// Not yet. `armed`: keep a timer for the deadline from now on.
    Pending {
        work: Option<Box<Work<T, E>>>,
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

impl<T, E: Clone> Put<T, E> {
    /// This, and somebody else to wake.
    #[cold]
    pub(super) fn and(self, mut wakers: Vec<Waker>) -> Self {
        let mut work = match self {
            Self::Close(..) => return self,
            Self::Work(work) => work,
            Self::Kept if wakers.is_empty() => return self,
            Self::Wake(waker) if wakers.is_empty() => return Self::Wake(waker),
            Self::Kept => Box::default(),
            Self::Wake(waker) => Box::new(Work {
                wakers: vec![waker],
                ..Work::default()
            }),
        };
        work.wakers.append(&mut wakers);
        Self::Work(work)
    }
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

impl<T, E: Clone> Work<T, E> {
    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
            && self.opens.is_empty()
            && self.checks.is_empty()
            && self.closes.is_empty()
    }

    /// Usually there is nothing to do, which is a word then and not four lists.
    #[inline]
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (!self.is_empty()).then(|| Box::new(self))
    }
}

impl<T, E: Clone> Kernel<T, E> {
    pub(crate) fn new(limits: Limits) -> Self {
        let seats = if limits.fifo { 0 } else { limits.max_size };
        let board = Arc::new(Board::new(seats, limits.parts));
        Self {
            state: Apart(KernelMutex::new(State::new(&limits, Arc::clone(&board)))),
            inbox: Apart(Mutex::new(Inbox::new())),
            board,
            generation: AtomicU64::new(0),
            post: Post::new(),
            limits,
        }
    }

    /// Takes an idle one without the lock, if nobody stands in line: the caller's, or one to be looked at first. `hint` is any
    /// number, best the same one on the same thread.
    #[inline]
    pub(crate) fn take(&self, now: Moment, hint: usize) -> Fast<T, E> {
        let Some(slot) = self.board.take(hint) else {
            return Fast::Nothing;
        };
        if slot.is_ready(now, self.limits.check_after_nanos, self.generation()) {
            Fast::Ready(slot)
        } else {
            Fast::Stale(slot)
        }
    }

    /// Gives one back after use without the lock, if there is nothing to decide and nothing to count: else it comes back.
    #[inline]
    pub(crate) fn put_fast(mut slot: Box<Slot<T, E>>, now: Moment) -> Result<(), Box<Slot<T, E>>> {
        if now >= slot.expires_at || slot.generation != slot.seat.generation() {
            return Err(slot);
        }
        slot.used_at = now;
        slot.idle_since = now;
        slot.tag.lay_down();
        board::lay(slot)
    }

    /// Takes an idle one that needs nothing done to it, if nobody stands in line.
    pub(crate) fn take_locked(&self, now: Moment) -> Option<Box<Slot<T, E>>> {
        let mut state = self.lock();
        if !state.queue.is_empty() && !mutation::on(Mutation::NewcomerBarges) {
            return None;
        }
        state.pop_ready(now, &self.limits)
    }

    /// Takes an idle one, or joins the line. `now` may be rough, `exact` is not.
    ///
    /// Both under one lock: a return either finds the waiter in line, or the waiter finds what was returned.
    #[inline]
    pub(crate) fn take_or_wait(
        this: &Arc<Self>,
        now: Moment,
        exact: impl FnOnce() -> Moment,
        waker: Waker,
    ) -> Take<T, E> {
        // Declared before the guard: if it is not needed it is dropped after it.
        let mut waker = Some(waker);
        // The usual case of a busy pool.
        if let Some(id) = this.join_by_inbox(now, &mut waker) {
            return Take::Queued(Queued {
                id,
                timed: false,
                work: None,
            });
        }
        let mut state = this.lock();
        if state.queue.is_empty()
            && !mutation::on(Mutation::WaiterLooksTooEarly)
            && let Some(slot) = state.pop_ready(now, &this.limits)
        {
            return Take::Ready(slot);
        }
        state.wait(this, now, exact, &mut waker)
    }

    /// Joins the line without the lock, if the keeper is known to come by for those who join at this tick.
    #[inline]
    fn join_by_inbox(&self, now: Moment, waker: &mut Option<Waker>) -> Option<Ticket<T, E>> {
        let mut inbox = self.inbox.0.lock();
        if inbox.tick() != now {
            return None;
        }
        inbox.push((), waker)
    }

    /// Has a waiter that found nothing in its mail its answer now? After that its id is spent. A grant is not counted yet: see
    /// [`count_wait`](Self::count_wait).
    pub(crate) fn poll(
        this: &Arc<Self>,
        id: &Ticket<T, E>,
        waker: &Waker,
        now: Moment,
    ) -> Polled<T, E> {
        // A waker is cloned and dropped with nothing locked: it may run code, or be the last to hold a task.
        let mut fresh = None;
        loop {
            // Declared before the guard, so dropped after it.
            let _spent;
            let mut state = this.lock();
            match state.queue.answer_if(id, false) {
                Poll::Pending => {
                    let held = state.queue.waker(id);
                    let kept = mutation::on(Mutation::WakerIsKept) && held.is_some();
                    if !kept && !held.as_ref().is_some_and(|held| held.will_wake(waker)) {
                        let Some(fresh) = fresh.take() else {
                            if mutation::on(Mutation::WakerIsClonedLocked) {
                                drop(waker.clone());
                            }
                            drop(state);
                            fresh = Some(waker.clone());
                            continue;
                        };
                        let spent = held.replace(fresh);
                        if mutation::on(Mutation::WakerGoesLocked) {
                            drop(spent);
                        } else {
                            _spent = spent;
                        }
                    }
                    if state.closed {
                        // The kernel panicked, and who waited is in no line any more.
                        return Polled::Refused(Refusal::Closed);
                    }
                    let mut work = Work::default();
                    state.meet_demand(this, now, &mut work);
                    let armed = state.queue.is_armed(id);
                    return Polled::Pending {
                        work: work.boxed(),
                        armed,
                    };
                }
                Poll::Ready(Err(refusal)) => return Polled::Refused(refusal),
                Poll::Ready(Ok(slot)) => return Polled::Granted(slot),
            }
        }
    }

    /// A waiter gives up at its deadline, after waiting so long: the resource if one was handed to it meanwhile, else what it
    /// was waiting for.
    pub(crate) fn time_out(
        &self,
        id: Ticket<T, E>,
        lasted: Duration,
    ) -> Result<Box<Slot<T, E>>, (Option<Refusal<E>>, Phase)> {
        // Dropped after the guard, as in `poll`.
        let _spent;
        let mut state = self.lock();
        // As long as it stands in line.
        let phase = state.phase(&id, lasted, &self.limits);
        let (answer, waker) = state.queue.cancel(id);
        _spent = waker;
        match answer {
            // Not counted yet, as in `poll`.
            Some(Ok(slot)) => Ok(slot),
            Some(Err(refusal)) => Err((Some(refusal), Phase::Wait)),
            None => {
                state.counters.timeouts[phase.index()] += 1;
                Err((None, phase))
            }
        }
    }

    /// A waiter was handed a good one that [`poll`](Self::poll) or [`time_out`](Self::time_out) returned, after so long if that was timed.
    pub(crate) fn count_wait(&self, lasted: Option<Duration>) {
        self.lock().fetched(lasted);
    }

    /// What is to be opened on this seat is about to begin: is it wanted still? It is of the generation of now.
    pub(crate) fn begin_open(&self, seat: &Seat<T, E>, now: Moment) -> bool {
        let mut state = self.lock();
        let generation = state.generation;
        state.seats.begin(seat.index(), generation);
        state.is_wanted(&self.limits, now)
    }

    /// A waiter goes away. What was handed to it goes to the next in line, and so does what it may have been told: that there is room.
    /// `now` is asked for only where something was handed to it.
    pub(crate) fn cancel(&self, id: Ticket<T, E>, now: impl FnOnce() -> Moment) -> Put<T, E> {
        // Dropped after the guard, as in `poll`: a refusal may be the last to hold an error of the user's.
        let (_spent, _refused);
        let mut state = self.lock_to_leave();
        let (answer, waker) = state.queue.cancel(id);
        _spent = waker;
        let grant = match answer {
            Some(Ok(slot)) => Some(slot),
            Some(Err(refusal)) => {
                // It was counted as what it was told.
                _refused = refusal;
                return Put::Kept;
            }
            None => None,
        };
        state.counters.cancelled += 1;
        match grant {
            Some(slot) if mutation::on(Mutation::CancelServesNobody) => state.lay_down(slot),
            Some(slot) => state.settle(slot, now(), &self.limits),
            // A keeper that was not called yet is called by who makes room, and nobody else is told.
            None if state.bell.is_hung() || mutation::on(Mutation::CancelTellsNobody) => Put::Kept,
            None => state
                .call_if_short(&self.limits)
                .map_or(Put::Kept, Put::Wake),
        }
    }

    /// Gives one back after use. `lasted` is how long the lease was, when that was measured.
    pub(crate) fn put(
        &self,
        mut slot: Box<Slot<T, E>>,
        now: Moment,
        lasted: Option<Sample>,
    ) -> Put<T, E> {
        slot.used_at = now;
        slot.idle_since = now;
        slot.tag.lay_down();
        let mut state = self.lock_leaving_open();
        state.returned(lasted);
        match state.pass_on(slot, now, &self.limits) {
            Ok(put) => {
                state.shut_behind_last();
                put
            }
            Err(slot) => {
                state.shut();
                state.settle(slot, now, &self.limits)
            }
        }
    }

    /// Gives one back that nobody used, and of which it is not known whether it is still good.
    pub(crate) fn put_unused(
        this: &Arc<Self>,
        mut slot: Box<Slot<T, E>>,
        now: Moment,
    ) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.seats.set(slot.seat.index(), SeatState::Open);
        // The end of its lifetime is for those to see who need one.
        let used_at = slot.used_at;
        match state.must_close(&mut slot, used_at, &this.limits, &mut work.wakers) {
            Some(reason) => state.retire(slot, reason, &mut work),
            None => {
                state.sweep_by(this.limits.keeping.first_due(slot.idle_since));
                drop(state.lay_down(slot));
            }
        }
        state.meet_demand(this, now, &mut work);
        work
    }

    /// One that was being checked or reset is good: hands it to the first waiter, or makes it idle.
    pub(crate) fn put_clean(
        &self,
        mut slot: Box<Slot<T, E>>,
        now: Moment,
        took: Duration,
    ) -> Put<T, E> {
        slot.check_due_at = now.due_after(self.limits.check_after_nanos);
        let mut state = self.lock();
        slot.used_at = now;
        match state.seats.state(slot.seat.index()) {
            SeatState::Checking => {
                state.suspicion = 0;
                state.histograms.check.record(took);
            }
            SeatState::Resetting => state.histograms.reset.record(took),
            _ => {}
        }
        state.seats.set(slot.seat.index(), SeatState::Open);
        // A check is no use: its time goes on.
        state.sweep_by(self.limits.keeping.due(&slot));
        if mutation::on(Mutation::CheckServesNobody) {
            return state.lay_down(slot);
        }
        let put = state.settle(slot, now, &self.limits);
        let waker = match &put {
            // Somebody may have waited for it.
            Put::Close(..) => state.call_if_short(&self.limits),
            Put::Kept | Put::Wake(_) | Put::Work(_) => None,
        };
        let waker = waker.or_else(|| state.overdue(now));
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        put
    }

    /// Something was opened on this seat.
    pub(crate) fn opened(
        this: &Arc<Self>,
        seat: Seat<T, E>,
        opened: Opened<T>,
        now: Moment,
    ) -> (Put<T, E>, Work<T, E>) {
        let mut state = this.lock();
        state.gate.opened(now);
        state.counters.opened += 1;
        // That of its begin: it may have used what a reset has made invalid since.
        let generation = state.seats.generation(seat.index());
        let generation = generation.unwrap_or(state.generation);
        state.histograms.create.record(opened.took);
        let slot = Box::new(Slot {
            item: opened.item,
            opened_at: now,
            expires_at: opened.expires_at,
            used_at: now,
            check_due_at: now.due_after(this.limits.check_after_nanos),
            idle_since: now,
            timed_from: None,
            timed_at: Moment::NEVER,
            weighed: 0,
            tag: state.seats.opened(seat.index(), opened.expires_at),
            generation,
            tainted: false,
            replaced: false,
            seat,
        });
        let keeping = this.limits.keeping;
        state.sweep_by(keeping.first_due(now).min(opened.expires_at));
        if state.replaces_idle() {
            state.sweep_by(now);
        }
        let put = state.settle(slot, now, &this.limits);
        let mut work = Work::default();
        state.meet_demand(this, now, &mut work);
        let round = state.sweep_at.max(now).min(now + keeping.rounds);
        work.wakers.extend(state.bell.call(round));
        work.wakers.append(&mut state.watchers.take());
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
        // Declared before the guard, so dropped after it.
        let _before;
        let mut state = this.lock();
        state.counters.open_failures += 1;
        _before = state.gate.failed(error, now, jitter);
        if mutation::on(Mutation::FailedOpenKeepsSeat) {
            state.seats.set(seat.index(), SeatState::Closing);
        } else {
            state.seats.vacate(seat.index());
        }
        state.tell_of_outage(&mut work);
        state.meet_demand(this, now, &mut work);
        if let Some(next_try) = state.gate.next_try() {
            work.wakers.extend(state.bell.call(next_try));
        }
        work.wakers.append(&mut state.watchers.take());
        work.wakers.extend(state.last_one_out());
        drop(state);
        seat.spent();
        work
    }

    /// One that is about to be closed broke before anybody could use it, just after it was opened: that is no better than a failed open,
    /// and the next is not made at once.
    pub(crate) fn was_stillborn(
        this: &Arc<Self>,
        error: E,
        now: Moment,
        jitter: f64,
    ) -> Work<T, E> {
        let mut work = Work::default();
        // Declared before the guard, so dropped after it.
        let _before;
        let mut state = this.lock();
        _before = state.gate.stillborn(error, now, jitter);
        state.tell_of_outage(&mut work);
        if let Some(next_try) = state.gate.next_try() {
            work.wakers.extend(state.bell.call(next_try));
        }
        work
    }

    /// A lease ended, and what it held is about to be made clean: unless it is of no use any more, then it is about to be closed, for
    /// the reason that comes back.
    pub(crate) fn begin_reset(
        &self,
        slot: &Slot<T, E>,
        lasted: Option<Sample>,
    ) -> Option<CloseReason> {
        slot.tag.lay_down();
        let mut state = self.lock();
        state.returned(lasted);
        let useless = state.useless(slot);
        match useless {
            Some(reason) => state.count_close(slot, reason),
            None => state.seats.set(slot.seat.index(), SeatState::Resetting),
        }
        useless
    }

    /// One is about to be closed, for a reason that the kernel does not see for itself. Those who counted on it are seen to.
    pub(crate) fn begin_close(
        this: &Arc<Self>,
        slot: &Slot<T, E>,
        reason: CloseReason,
        now: Moment,
    ) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        if reason == CloseReason::CheckFailed {
            state.suspicion = (state.suspicion + 1).min(MAX_SUSPICION);
        }
        state.count_close(slot, reason);
        state.meet_demand(this, now, &mut work);
        if reason == CloseReason::CheckFailed {
            work.wakers.extend(state.overdue(now));
        }
        work
    }

    /// The generation of what is opened now.
    #[inline]
    pub(super) fn generation(&self) -> u64 {
        // Ordering: Relaxed. What was idle before a reset is taken off under the lock; what is laid down while it runs may be of the
        // old generation, and whoever takes that later and knows of the reset sees the new number.
        self.generation.load(Ordering::Relaxed)
    }

    /// What is open now is of the past. Under the lock, whose state says the same.
    pub(super) fn begin_generation(&self, generation: u64) {
        // Ordering: as above.
        self.generation.store(generation, Ordering::Relaxed);
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
            // There is room now.
            wakers.extend(state.call_if_short(&self.limits));
            wakers
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
