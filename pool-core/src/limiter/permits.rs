//! The count of permits and its queue: the part that is model-checked. There is no runtime, no clock, and no user code under the
//! lock.
//!
//! One word holds the number of free permits and the bit `LINE`. While `LINE` is clear, each take and each return is one
//! compare-and-swap. A thread that needs more than that locks the mutex and sets `LINE`. From then until `LINE` is cleared, only
//! the holder of the mutex changes the word. `LINE` stays set as long as an acquire waits, a debt is open, or the limiter is
//! closed.
//!
//! No wake-up is lost. A return that found `LINE` clear added to the word before the waiter set `LINE`; the waiter reads the word
//! in the same step, so it finds the permits. A return that found `LINE` set goes through the mutex and finds the waiter. The same
//! holds for waiters in the inbox: it is open only while the queue is not empty, and the thread that serves the last waiter of the
//! queue takes the inbox in. See `PROTOCOL.md`.

use std::{
    mem,
    task::{Poll, Waker},
    time::Duration,
};

use super::{
    LimiterStatus,
    keepers::Keepers,
    lines::{Inbox, Lines, Ticket},
};
use crate::{
    engine::{
        Apart,
        mutation::{self, Mutation},
    },
    moment::{Moment, nanos_of},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// The permits of one limiter, and its waiters.
#[derive(Debug)]
pub(super) struct Permits {
    /// The number of free permits, above the bit `LINE`.
    word: AtomicU64,
    /// While this lock is held no waker runs. Only the inbox or the mail of a waiter may be locked under it, for a moment.
    state: Mutex<State>,
    /// Where waiters join that need nothing but a place in the queue.
    inbox: Apart<Mutex<Inbox>>,
}

/// On cache lines of its own: threads that wait for the lock must not slow down its holder.
#[derive(Debug)]
#[repr(align(128))]
struct State {
    limit: u32,
    max_waiters: usize,
    /// How many more permits are held than the limit, since the limit was lowered.
    debt: u32,
    closed: bool,
    /// The inbox is open: waiters may have joined there.
    is_open: bool,
    lines: Lines,
    /// The time as the keepers count it, in ticks that they slept through. It is never ahead of the clock.
    now: Moment,
    keepers: Keepers,
    waited: u64,
    timeouts: u64,
    overloaded: u64,
    cancelled: u64,
    reclaimed: u64,
}

/// Why an acquire ends without permits, other than by its own deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Closed,
    Overloaded,
    TooLarge,
}

/// The result of a take.
#[derive(Debug)]
pub(super) enum Take {
    Ready,
    Refused(Refusal),
    /// The acquire is in the queue.
    Queued(Ticket),
}

/// The lowest bit of the word: all changes go through the mutex.
const LINE: u64 = 1;
/// One permit.
const ONE: u64 = 2;

impl Permits {
    pub(super) fn new(limit: u32, max_waiters: usize) -> Self {
        let state = State {
            limit,
            max_waiters,
            debt: 0,
            closed: false,
            is_open: false,
            lines: Lines::new(),
            now: Moment::from_nanos(0),
            keepers: Keepers::new(),
            waited: 0,
            timeouts: 0,
            overloaded: 0,
            cancelled: 0,
            reclaimed: 0,
        };
        Self {
            word: AtomicU64::new(u64::from(limit) * ONE),
            state: Mutex::new(state),
            inbox: Apart(Mutex::new(Inbox::new())),
        }
    }

    /// Takes `count` permits, if they are free and `LINE` is clear.
    #[inline]
    pub(super) fn take(&self, count: u32) -> bool {
        let asked = u64::from(count) * ONE;
        let mut word = self.word.load(Ordering::Relaxed);
        while word >= asked && (word & LINE == 0 || mutation::on(Mutation::PermitBarges)) {
            // Ordering: Acquire pairs with the Release of `put`: what was done under a permit happens before the permit is taken
            // again.
            match self.word.compare_exchange_weak(
                word,
                word - asked,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(changed) => word = changed,
            }
        }
        false
    }

    /// Takes `count` permits under the lock, if they are free and no acquire waits.
    #[cold]
    pub(super) fn take_locked(&self, count: u32) -> bool {
        let mut locked = self.lock();
        locked.take(count)
    }

    /// Takes `count` permits, or joins the queue of `key`.
    ///
    /// Both happen under one lock: a return finds the waiter in the queue, or the waiter finds the returned permits.
    #[cold]
    pub(super) fn take_or_wait(&self, count: u32, key: Option<u64>, waker: Waker) -> Take {
        // Declared before the guard, so that an unused waker is dropped after it.
        let mut waker = Some(waker);
        if count == 1
            && key.is_none()
            && let Some(ticket) = Ticket::by(&mut self.inbox.0.lock(), &mut waker)
        {
            return Take::Queued(ticket);
        }
        let early = mutation::on(Mutation::PermitCloseIsSeenTooEarly);
        let seen = early.then(|| self.lock().state.closed);
        let mut locked = self.lock();
        if seen.unwrap_or(locked.state.closed) {
            return Take::Refused(Refusal::Closed);
        }
        if locked.take(count) {
            return Take::Ready;
        }
        let state = &mut *locked.state;
        if count > state.limit {
            return Take::Refused(Refusal::TooLarge);
        }
        let mut pushed_out = None;
        if state.lines.len() >= state.max_waiters {
            state.overloaded += 1;
            match state.lines.push_out(key, Refusal::Overloaded) {
                None => return Take::Refused(Refusal::Overloaded),
                Some(waker) => pushed_out = waker,
            }
        }
        let ticket = state.lines.push(key, count, waker.take(), state.now);
        drop(locked);
        if let Some(waker) = pushed_out
            && !mutation::on(Mutation::PermitPushedOutSleepsOn)
        {
            waker.wake();
        }
        Take::Queued(ticket)
    }

    /// The answer of a waiter, if there is one. `Ready` consumes the ticket.
    #[inline]
    pub(super) fn poll(&self, ticket: &Ticket, waker: &Waker) -> Poll<Result<(), Refusal>> {
        // The usual case: the waiter was woken because it has an answer, and only this looks for it.
        match ticket.fetch() {
            Some(answer) => Poll::Ready(answer.map(drop)),
            None => self.poll_locked(ticket, waker),
        }
    }

    #[cold]
    fn poll_locked(&self, ticket: &Ticket, waker: &Waker) -> Poll<Result<(), Refusal>> {
        // The waker is cloned when it is first needed, with nothing locked; the previous waker is dropped with nothing locked.
        let mut new = None;
        loop {
            let mut wakers = Wakers::default();
            let mut state = self.state.lock();
            let mut answer = state.lines.poll(ticket);
            if let Poll::Ready(answer) = answer {
                // The word is unchanged: leave it alone.
                return Poll::Ready(answer.map(drop));
            }
            let mut locked = self.holding(state);
            if locked.serve(&mut wakers) {
                // The waiter may have been parked while permits were free.
                answer = locked.state.lines.poll(ticket);
            }
            let mut known = true;
            match answer {
                Poll::Ready(_) => {}
                Poll::Pending => {
                    let held = locked.state.lines.waker(ticket);
                    known = held.as_ref().is_some_and(|held| held.will_wake(waker));
                    if !known && new.is_some() {
                        mem::swap(held, &mut new);
                        known = true;
                    }
                }
            }
            drop(locked);
            wakers.wake();
            if known {
                return answer.map_ok(drop);
            }
            new = Some(waker.clone());
        }
    }

    /// A waiter gives up at its deadline. Returns an answer or a grant that came meanwhile.
    pub(super) fn time_out(&self, ticket: Ticket) -> Option<Result<(), Refusal>> {
        let mut wakers = Wakers::default();
        let mut locked = self.lock();
        let (answer, held) = locked.state.lines.cancel(ticket);
        match answer {
            Some(Ok(_)) => locked.state.waited += 1,
            Some(Err(_)) => {}
            None => {
                locked.state.timeouts += 1;
                locked.serve(&mut wakers);
            }
        }
        drop(locked);
        drop(held);
        wakers.wake();
        answer.map(|answer| answer.map(drop))
    }

    /// A waiter leaves. Its unfetched grant goes to the next waiter. If it asked for many permits, the waiters behind it may now
    /// get the free permits.
    pub(super) fn cancel(&self, ticket: Ticket) {
        let mut wakers = Wakers::default();
        let mut locked = self.lock();
        locked.state.cancelled += 1;
        let (answer, held) = locked.state.lines.cancel(ticket);
        match answer {
            Some(Ok(_)) if mutation::on(Mutation::PermitCancelKeepsGrant) => {}
            Some(Ok(count)) => locked.put(count),
            Some(Err(_)) | None => {}
        }
        if !mutation::on(Mutation::PermitCancelServesNobody) {
            locked.serve(&mut wakers);
        }
        drop(locked);
        drop(held);
        wakers.wake();
    }

    /// Returns `count` permits.
    #[inline]
    pub(super) fn put(&self, count: u32) {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & LINE == 0 || mutation::on(Mutation::PermitReturnIgnoresLine) {
            let returned = word + u64::from(count) * ONE;
            // Ordering: Release pairs with the Acquire of the next taker, in `take` or in `lock`.
            match self.word.compare_exchange_weak(
                word,
                returned,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(changed) => word = changed,
            }
        }
        self.put_locked(count);
    }

    #[cold]
    fn put_locked(&self, count: u32) {
        let mut wakers = Wakers::default();
        let mut locked = self.lock_leaving_open();
        if locked.state.is_open && count == 1 {
            locked.pass_on(&mut wakers);
        } else {
            locked.shut();
            locked.put(count);
            locked.serve(&mut wakers);
        }
        drop(locked);
        wakers.wake();
    }

    /// Sets how many acquires may wait from now on. Acquires that already wait stay.
    pub(super) fn bound_line(&self, max_waiters: usize) {
        self.lock().state.max_waiters = max_waiters;
    }

    /// Sets the limit.
    pub(super) fn resize(&self, limit: u32) {
        let mut wakers = Wakers::default();
        let mut locked = self.lock();
        let state = &mut *locked.state;
        let there_are = state.limit + state.debt;
        state.limit = limit;
        state.debt = 0;
        if limit >= there_are {
            locked.free += limit - there_are;
        } else {
            let surplus = there_are - limit;
            let unused = surplus.min(locked.free);
            locked.free -= unused;
            if !mutation::on(Mutation::PermitShrinkForgetsDebt) {
                locked.state.debt = surplus - unused;
            }
        }
        locked.serve(&mut wakers);
        drop(locked);
        wakers.wake();
    }

    /// Refuses all acquires from now on.
    pub(super) fn close(&self) {
        let mut locked = self.lock();
        locked.state.closed = true;
        let wakers = if mutation::on(Mutation::PermitCloseWakesOne) {
            let first = locked.state.lines.refuse_first(Refusal::Closed);
            first.into_iter().collect()
        } else {
            locked.state.lines.refuse_all(Refusal::Closed)
        };
        drop(locked);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn status(&self) -> LimiterStatus {
        let mut locked = self.lock();
        let free = locked.free;
        let state = &mut *locked.state;
        state.waited += state.lines.hear();
        LimiterStatus {
            limit: state.limit,
            available: free,
            in_use: (state.limit + state.debt).saturating_sub(free),
            waiting: state.lines.len(),
            is_closed: state.closed,
            waited: state.waited,
            timeouts: state.timeouts,
            overloaded: state.overloaded,
            cancelled: state.cancelled,
            reclaimed: state.reclaimed,
        }
    }

    /// Whether the caller may start a keeper on the runtime `home`.
    pub(super) fn claim_keeper(&self, home: u64) -> bool {
        let mut state = self.state.lock();
        let now = state.now;
        state.keepers.claim(home, now)
    }

    /// The keeper of `home` slept for `passed`: takes back grants that were not fetched for `after`. Returns whether the keeper
    /// must come again after another sleep. If not, it is woken when there is a reason.
    pub(super) fn tick(
        &self,
        home: u64,
        passed: Duration,
        after: Duration,
        keeper: &Waker,
    ) -> bool {
        // Cloned with nothing locked, and dropped with nothing locked if it is not needed.
        let mut keeper = Some(keeper.clone());
        let mut wakers = Wakers::default();
        let mut locked = self.lock();
        let state = &mut *locked.state;
        state.now = state.keepers.come_by(home, passed, state.now);
        state.waited += state.lines.hear();
        let (grants, permits) = state
            .lines
            .reclaim(state.now, nanos_of(after), &mut wakers.more);
        state.reclaimed += grants;
        if permits > 0 && !mutation::on(Mutation::PermitReclaimKeepsGrant) {
            locked.put(permits);
        }
        if grants > 0 {
            locked.serve(&mut wakers);
        }
        let again = locked.state.lines.is_answering();
        let parks = keeper.take_if(|_| !again);
        let last = locked.state.keepers.settle(home, parks);
        drop(locked);
        drop(last);
        wakers.wake();
        again
    }

    /// The keeper of `home` is gone with its runtime. The next waiter on that runtime may start another, if `again` is true. All
    /// waiters are woken, so that those that are polled elsewhere make sure that there is a keeper.
    pub(super) fn keeper_left(&self, home: u64, again: bool) {
        let mut locked = self.lock();
        let old = locked.state.keepers.leave(home, again);
        let silent = !again || mutation::on(Mutation::PermitKeeperLeavesInSilence);
        let wakers = if silent {
            Vec::new()
        } else {
            locked.state.lines.all_wakers()
        };
        drop(locked);
        drop(old);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends the keepers.
    pub(super) fn dismiss_keepers(&self) {
        let mut state = self.state.lock();
        let keepers = state.keepers.dismiss();
        drop(state);
        keepers.into_iter().for_each(Waker::wake);
    }

    /// Locks, with all waiters that have joined so far taken in.
    fn lock(&self) -> Locked<'_> {
        self.holding(self.state.lock())
    }

    fn holding<'a>(&'a self, state: MutexGuard<'a, State>) -> Locked<'a> {
        let mut locked = self.leaving_open(state);
        if !mutation::on(Mutation::PermitInboxIsForgotten) {
            locked.shut();
        }
        locked
    }

    /// Locks, without taking in the inbox if it is open.
    fn lock_leaving_open(&self) -> Locked<'_> {
        self.leaving_open(self.state.lock())
    }

    fn leaving_open<'a>(&'a self, state: MutexGuard<'a, State>) -> Locked<'a> {
        // Ordering: if `LINE` is set, only the holder of the mutex changes the word, and the mutex has published it.
        let mut word = self.word.load(Ordering::Relaxed);
        if word & LINE == 0 {
            // Ordering: Acquire pairs with the Release of `put`. A plain read-modify-write, so that it sees the latest word.
            let latest = self.word.fetch_or(LINE, Ordering::Acquire);
            if !mutation::on(Mutation::PermitWaiterLooksTooEarly) {
                word = latest;
            }
        }
        Locked {
            permits: self,
            state,
            free: u32::try_from(word / ONE).unwrap_or(u32::MAX),
        }
    }
}

/// The mutex, held, with the free permits taken out of the word. The drop puts them back.
struct Locked<'a> {
    permits: &'a Permits,
    state: MutexGuard<'a, State>,
    free: u32,
}

impl Locked<'_> {
    /// Takes in the waiters that joined by the inbox.
    fn shut(&mut self) {
        if self.state.is_open {
            self.state.is_open = false;
            let mut inbox = self.permits.inbox.0.lock();
            self.state.lines.take_in(&mut inbox);
        }
    }

    /// How many newcomers may join by the inbox. Only acquires of one permit without a key can wait there, and only while no other
    /// acquires are in the queue, nothing is free or owed, and a keeper keeps the time.
    fn opens(&self) -> Option<usize> {
        let state = &*self.state;
        let plain = state.lines.are_plain() && self.free == 0 && state.debt == 0;
        if !plain || state.closed || state.limit == 0 || state.keepers.are_awaited() {
            return None;
        }
        state.max_waiters.checked_sub(state.lines.len())
    }

    /// Hands one permit to the first waiter of the queue while the inbox is open: waiters in the inbox came later.
    fn pass_on(&mut self, wakers: &mut Wakers) {
        let state = &mut *self.state;
        wakers.push(state.lines.grant_first(state.now));
        state.keepers.call(|keeper| wakers.push(Some(keeper)));
        if state.lines.is_empty() && !mutation::on(Mutation::PermitLastLeavesInboxOpen) {
            self.shut();
        }
    }

    /// Takes `count` permits, if they are free and no acquire waits for them.
    fn take(&mut self, count: u32) -> bool {
        let state = &*self.state;
        let may = !state.closed && state.lines.is_empty() && count <= self.free;
        if may {
            self.free -= count;
        }
        may
    }

    /// Returns `count` permits; repays the debt first.
    fn put(&mut self, count: u32) {
        let repaid = count.min(self.state.debt);
        self.state.debt -= repaid;
        self.free += count - repaid;
    }

    /// Serves the next waiters with the free permits. Returns whether any was served.
    #[inline(always)]
    fn serve(&mut self, wakers: &mut Wakers) -> bool {
        let mut served = false;
        let state = &mut *self.state;
        while let Some(asked) = state.lines.first() {
            if asked > state.limit {
                wakers.push(state.lines.refuse_first(Refusal::TooLarge));
            } else if asked <= self.free
                || (self.free > 0 && mutation::on(Mutation::PermitLargeIsServedEarly))
            {
                self.free = self.free.saturating_sub(asked);
                wakers.push(state.lines.grant_first(state.now));
                served = true;
                if self.free == 0 && state.lines.only_ones() && state.limit > 0 {
                    // No other waiter can be served, so there is no need to look.
                    break;
                }
            } else {
                break;
            }
            served = true;
        }
        if served {
            state.keepers.call(|keeper| wakers.push(Some(keeper)));
        }
        served
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.state.is_open {
            // The queue is not empty, and nothing is free.
            return;
        }
        if let Some(room) = self.opens() {
            let state = &mut *self.state;
            state.is_open = true;
            let mut inbox = self.permits.inbox.0.lock();
            state.lines.open(&mut inbox, room, state.now);
        }
        let state = &*self.state;
        let settled = !state.closed && state.debt == 0 && state.lines.is_empty();
        let word = u64::from(self.free) * ONE + if settled { 0 } else { LINE };
        // Ordering: `LINE` is set and the mutex is held, so no other thread changes the word. It is written only if it changes, so
        // that threads that look at it keep it in their caches.
        if self.permits.word.load(Ordering::Relaxed) != word {
            // Ordering: Release pairs with the Acquire of `take`.
            self.permits.word.store(word, Ordering::Release);
        }
    }
}

/// The wakers to wake after unlocking; nearly always one.
#[derive(Debug, Default)]
struct Wakers {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakers {
    fn push(&mut self, waker: Option<Waker>) {
        match self.first {
            None => self.first = waker,
            Some(_) => self.more.extend(waker),
        }
    }

    fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
        }
        self.more.into_iter().for_each(Waker::wake);
    }
}
