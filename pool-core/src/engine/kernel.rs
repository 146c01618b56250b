//! The kernel's entry points for callers: get, wait, fetch and return.
//!
//! While no waiter is in the queue and there is nothing to decide, a get takes from the [`Board`] and a return sets down on it,
//! without a lock. While the pool is busy, a waiter joins the queue by the [`Inbox`]. One mutex guards everything else. Each method
//! decides under the mutex and returns the work that is left: wakers to wake, resources to check or close, seats to open a resource
//! on. The caller does that work after the mutex is released.

use std::{
    task::{Poll, Waker},
    time::Duration,
};

use super::{
    board::{self, Board},
    gate::{Backoff, Gate},
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

/// The bounds of one pool. All of them except the size are fixed for the life of the pool.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_size: u32,
    pub(crate) max_opening: u32,
    pub(crate) max_waiters: usize,
    /// Gets take the longest idle resource first. Such a pool has no board, so every get and return takes the lock.
    pub(crate) fifo: bool,
    /// The least number of words of the board. More words mean less contention between cores.
    pub(crate) parts: u32,
    /// An idle resource is checked before it is handed out if it was last known to be good longer ago than this.
    pub(crate) check_after_nanos: u64,
    /// An open that has lasted this long is on a runtime that polls no tasks: otherwise its timeout would have ended it.
    pub(crate) open_ends_nanos: u64,
    pub(crate) shed_target: Option<Duration>,
    pub(crate) backoff: Backoff,
    pub(crate) keeping: Keeping,
}

/// The state machine of one pool. `T` is the resource; `E` is the stored error of a failed open.
#[derive(Debug)]
pub(crate) struct Kernel<T, E: Clone> {
    pub(super) state: Apart<KernelMutex<State<T, E>>>,
    /// Where a waiter joins if all it needs is a place in the queue.
    pub(super) inbox: Apart<Mutex<Inbox<Box<Slot<T, E>>, Refusal<E>>>>,
    /// The idle slots, for gets and returns that decide nothing.
    pub(super) board: Arc<Board<Slot<T, E>>>,
    /// The current generation, which new opens get. Changed under the lock only.
    generation: AtomicU64,
    pub(crate) post: Post,
    pub(super) limits: Limits,
}

/// Why a get ends without a resource. Its own deadline is not among the reasons.
#[derive(Clone, Debug)]
pub(crate) enum Refusal<E> {
    Closed,
    Overloaded,
    Shed,
    /// Opens fail and no resource is alive. Holds the error of the last failed open.
    Connect(E),
}

/// What a get finds on the board, without the lock.
#[derive(Debug)]
pub(crate) enum Fast<T, E: Clone> {
    /// The slot is good as it is, and belongs to the caller.
    Ready(Box<Slot<T, E>>),
    /// The slot must be checked or closed first: the caller returns it unused, and gets under the lock.
    Stale(Box<Slot<T, E>>),
    Nothing,
}

/// The outcome of a get under the lock.
#[derive(Debug)]
pub(crate) enum Take<T, E: Clone> {
    Ready(Box<Slot<T, E>>),
    Queued(Queued<T, E>),
    /// The refusal, and the work it leaves: a refused get triggers the next attempt to open, when that is due.
    Refused(Refusal<E>, Option<Box<Work<T, E>>>),
}

/// Names one waiter.
pub(crate) type Ticket<T, E> = Waiter<Box<Slot<T, E>>, Refusal<E>>;

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Queued<T, E: Clone> {
    pub(crate) id: Ticket<T, E>,
    /// Whether the time at which the waiter joined is exact.
    pub(crate) timed: bool,
    pub(crate) work: Option<Box<Work<T, E>>>,
}

/// The answer to a waiter that polls.
#[derive(Debug)]
pub(crate) enum Polled<T, E: Clone> {
    Granted(Box<Slot<T, E>>),
    Refused(Refusal<E>),
    /// No answer yet. `armed`: from now on the waiter keeps a timer for its deadline.
    Pending {
        work: Option<Box<Work<T, E>>>,
        armed: bool,
    },
}

/// The work that is left after a return.
#[derive(Debug)]
#[must_use]
pub(crate) enum Put<T, E: Clone> {
    Kept,
    /// The slot was handed to the waiter with this waker.
    Wake(Waker),
    Close(Box<Slot<T, E>>, CloseReason),
    Work(Box<Work<T, E>>),
}

/// The work that is left after the lock was released.
#[derive(Debug)]
#[must_use]
pub(crate) struct Work<T, E: Clone> {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) opens: Vec<Seat<T, E>>,
    pub(crate) checks: Vec<Box<Slot<T, E>>>,
    pub(crate) closes: Vec<(Box<Slot<T, E>>, CloseReason)>,
}

/// A resource that has just been opened.
#[derive(Debug)]
pub(crate) struct Opened<T> {
    pub(crate) item: T,
    pub(crate) expires_at: Moment,
    pub(crate) took: Duration,
}

impl<T, E: Clone> Put<T, E> {
    /// Adds `wakers` to the work that is left.
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

    /// Boxes the work, or returns `None` if there is none. Usually there is none, so the result is one word and not four lists.
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

    /// Takes an idle slot without the lock, if no waiter is in the queue. The slot is ready for the caller, or must be looked at
    /// first. `hint` may be any number; it works best if a thread always passes the same one.
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

    /// Returns a used slot without the lock. If the kernel has something to decide or to count, the slot comes back as the error.
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

    /// Takes an idle slot that needs no check, if no waiter is in the queue.
    pub(crate) fn take_locked(&self, now: Moment) -> Option<Box<Slot<T, E>>> {
        let mut state = self.lock();
        if !state.queue.is_empty() && !mutation::on(Mutation::NewcomerBarges) {
            return None;
        }
        state.pop_ready(now, &self.limits)
    }

    /// Takes an idle slot, or joins the queue. `now` may be rough, `exact` is not.
    ///
    /// Both happen under one hold of the lock: either a return finds the waiter in the queue, or the waiter finds the returned
    /// slot.
    #[inline]
    pub(crate) fn take_or_wait(
        this: &Arc<Self>,
        now: Moment,
        exact: impl FnOnce() -> Moment,
        waker: Waker,
    ) -> Take<T, E> {
        // Declared before the guard: a waker that is not needed is dropped after the guard.
        let mut waker = Some(waker);
        // The usual case in a busy pool.
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

    /// Joins the queue without the lock. This works only at the tick for which the inbox was opened: the keeper is known to come by
    /// in time for the waiters of that tick.
    #[inline]
    fn join_by_inbox(&self, now: Moment, waker: &mut Option<Waker>) -> Option<Ticket<T, E>> {
        let mut inbox = self.inbox.0.lock();
        if inbox.tick() != now {
            return None;
        }
        inbox.push((), waker)
    }

    /// Answers a waiter that found nothing in its mail. After an answer its ticket is spent. A grant is not counted here: see
    /// [`count_wait`](Self::count_wait).
    pub(crate) fn poll(
        this: &Arc<Self>,
        id: &Ticket<T, E>,
        waker: &Waker,
        now: Moment,
    ) -> Polled<T, E> {
        // A waker is cloned and dropped with nothing locked: either may run user code, and a drop may free the task.
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
                        // The kernel panicked, and the waiters of before are in no queue any more.
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

    /// Ends the wait of a waiter at its deadline; `lasted` is the length of the wait. Returns the slot if one was handed to the
    /// waiter meanwhile, else the refusal, if there was one, and the phase in which the wait ended.
    pub(crate) fn time_out(
        &self,
        id: Ticket<T, E>,
        lasted: Duration,
    ) -> Result<Box<Slot<T, E>>, (Option<Refusal<E>>, Phase)> {
        // Dropped after the guard, as in `poll`.
        let _spent;
        let mut state = self.lock();
        // Must run before `cancel`, while the waiter is in the queue.
        let phase = state.phase(&id, lasted, &self.limits);
        let (answer, waker) = state.queue.cancel(id);
        _spent = waker;
        match answer {
            // The grant is not counted here, as in `poll`.
            Some(Ok(slot)) => Ok(slot),
            Some(Err(refusal)) => Err((Some(refusal), Phase::Wait)),
            None => {
                state.counters.timeouts[phase.index()] += 1;
                Err((None, phase))
            }
        }
    }

    /// Counts a good slot that [`poll`](Self::poll) or [`time_out`](Self::time_out) returned. `lasted` is the length of the wait,
    /// if the wait was timed.
    pub(crate) fn count_wait(&self, lasted: Option<Duration>) {
        self.lock().fetched(lasted);
    }

    /// Called just before the open on this seat begins. Gives the open the current generation, and returns whether it is still
    /// wanted.
    pub(crate) fn begin_open(&self, seat: &Seat<T, E>, now: Moment) -> bool {
        let mut state = self.lock();
        let generation = state.generation;
        state.seats.begin(seat.index(), generation);
        state.is_wanted(&self.limits, now)
    }

    /// Removes a waiter. A slot that was handed to it goes to the next waiter. So does a wake-up that it may have consumed: the
    /// news that there is room. `now` is called only if a slot was handed to the waiter.
    pub(crate) fn cancel(&self, id: Ticket<T, E>, now: impl FnOnce() -> Moment) -> Put<T, E> {
        // Dropped after the guard, as in `poll`: a refusal may hold the last reference to an error of the user's.
        let (_spent, _refused);
        let mut state = self.lock_to_leave();
        let (answer, waker) = state.queue.cancel(id);
        _spent = waker;
        let grant = match answer {
            Some(Ok(slot)) => Some(slot),
            Some(Err(refusal)) => {
                // The refusal was counted when the waiter was told.
                _refused = refusal;
                return Put::Kept;
            }
            None => None,
        };
        state.counters.cancelled += 1;
        match grant {
            Some(slot) if mutation::on(Mutation::CancelServesNobody) => state.lay_down(slot),
            Some(slot) => state.settle(slot, now(), &self.limits),
            // While the keeper's waker is in the bell, room wakes the keeper and not a waiter, so no wake-up needs to be forwarded.
            None if state.bell.is_hung() || mutation::on(Mutation::CancelTellsNobody) => Put::Kept,
            None => state
                .call_if_short(&self.limits)
                .map_or(Put::Kept, Put::Wake),
        }
    }

    /// Returns a used slot. `lasted` is the length of the lease, if it was measured.
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
        if state.passes_on(&slot, now) {
            let put = state.hand_to_first(slot, now, &self.limits);
            state.shut_behind_last();
            put
        } else {
            state.shut();
            state.settle(slot, now, &self.limits)
        }
    }

    /// Returns a slot that was not used, and of which it is not known whether it is still good.
    pub(crate) fn put_unused(
        this: &Arc<Self>,
        mut slot: Box<Slot<T, E>>,
        now: Moment,
    ) -> Work<T, E> {
        let mut work = Work::default();
        let mut state = this.lock();
        state.seats.set(slot.seat.index(), SeatState::Open);
        // An expired slot is laid down here: the next get or the keeper decides what becomes of it.
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

    /// Returns a slot whose check or reset succeeded: the slot goes to the first waiter, or becomes idle.
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
        // A check does not count as use, so the idle time goes on.
        state.sweep_by(self.limits.keeping.due(&slot));
        if mutation::on(Mutation::CheckServesNobody) {
            return state.lay_down(slot);
        }
        let put = state.settle(slot, now, &self.limits);
        let waker = match &put {
            // A waiter may have counted on this slot.
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

    /// Returns the slot of a resource that was just opened on this seat.
    pub(crate) fn opened(
        this: &Arc<Self>,
        seat: Seat<T, E>,
        opened: Opened<T>,
        now: Moment,
    ) -> (Put<T, E>, Work<T, E>) {
        let mut state = this.lock();
        state.gate.opened(now);
        state.counters.opened += 1;
        // The slot gets the generation in which the open began: the open may have used credentials that a reset has made invalid
        // since.
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
        // If the resource was opened in doubt, the keeper comes when that is over.
        if let Some(next_try) = state.gate.next_try() {
            work.wakers.extend(state.bell.call(next_try));
        }
        work.wakers.append(&mut state.watchers.take());
        (put, work)
    }

    /// Frees this seat after its open failed. `jitter` is uniform in `0.0..1.0`.
    pub(crate) fn open_failed(
        this: &Arc<Self>,
        seat: Seat<T, E>,
        error: E,
        now: Moment,
        jitter: f64,
    ) -> Work<T, E> {
        Self::not_opened(this, seat, now, |gate| gate.failed(error, now, jitter))
    }

    /// Frees this seat after the backend has answered that it has no room. `jitter` is uniform in `0.0..1.0`.
    pub(crate) fn found_no_room(
        this: &Arc<Self>,
        seat: Seat<T, E>,
        error: E,
        now: Moment,
        jitter: f64,
    ) -> Work<T, E> {
        Self::not_opened(this, seat, now, |gate| gate.full(error, now, jitter))
    }

    fn not_opened(
        this: &Arc<Self>,
        seat: Seat<T, E>,
        now: Moment,
        note: impl FnOnce(&mut Gate<E>) -> Option<E>,
    ) -> Work<T, E> {
        let mut work = Work::default();
        // Declared before the guard, so dropped after it.
        let _before;
        let mut state = this.lock();
        state.counters.open_failures += 1;
        _before = note(&mut state.gate);
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

    /// Counts a resource that broke just after it was opened, before its first lease, as a failed open, so the next open is not
    /// made at once. The caller is about to close the resource.
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

    /// Called when a lease ended and its resource is about to be reset. If the resource is of no use any more, this returns the
    /// reason, and the caller closes the resource.
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

    /// Called when a resource is about to be closed for a reason that the kernel does not see for itself. The waiters that counted
    /// on the resource are served in another way, if there is one.
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

    /// The current generation.
    #[inline]
    pub(super) fn generation(&self) -> u64 {
        // Ordering: Relaxed. A reset takes the idle slots off the board under the lock. A return that races the reset may lay down
        // a slot of the old generation. A get that takes this slot later, on a thread that knows of the reset, sees the new number.
        self.generation.load(Ordering::Relaxed)
    }

    /// Begins a new generation: every resource that is open now is old. Called under the lock, whose state holds the same number.
    pub(super) fn begin_generation(&self, generation: u64) {
        // Ordering: Relaxed, as in `generation`.
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// Frees the seat. Called by the drop of [`Seat`].
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
