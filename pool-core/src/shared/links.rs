//! Connections, their shares and the waiters: the part that is model-checked. It uses no runtime and no clock, and runs no user
//! code under the lock.
//!
//! | phase of a connection | meaning | changed by |
//! |---|---|---|
//! | free | the place is free for the next connection | `meet_demand` |
//! | opening | the connection is being opened | `opened`, `open_failed`, `vacate`, `fail` |
//! | stillborn | the connection died before it was open | `opened`, `open_failed`, `vacate` |
//! | live | it takes as many shares as its capacity; none while it is suspect | `drain`, `go_away`, `fail`, `tick`, `close` |
//! | draining | it takes no more shares; its last share closes it | `put`, `fail` |
//! | dead | it takes no more shares, and the holders of its shares were told; its last share frees its place | `put` |
//! | closing | it has no shares left and is being closed | `vacate` |
//!
//! Shares are counted at the place of the connection, without the lock as long as there are no waiters: see
//! [`places`](super::places). A share is taken when it is granted. It is given back by its holder, or by the waiter that did not
//! fetch it. So a lower capacity never takes a share away; it only stops new shares.

use std::{
    mem,
    ops::{Deref, DerefMut},
    sync,
    task::{Poll, Waker},
    time::Duration,
};

use super::{
    link,
    places::{Places, Share},
    state::State,
    work::Work,
};
use crate::{
    engine::{
        Post, Refusal, Waiter,
        mutation::{self, Mutation},
    },
    gauge::LinkId,
    moment::Moment,
    observe::{CloseReason, Phase},
    sync::{Arc, Mutex, MutexGuard},
};

/// The bounds of one shared pool.
#[derive(Clone, Debug)]
pub(super) struct LinkLimits {
    pub(super) max_links: u32,
    pub(super) min_links: u32,
    pub(super) max_opening: u32,
    pub(super) max_waiters: usize,
    /// Another connection is opened when fewer shares than this are free.
    pub(super) spare: u32,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) reclaim_after: Duration,
    /// A waiter that has waited this long keeps a timer of its own from then on.
    pub(super) arm_after: Duration,
    pub(super) tick: Duration,
    pub(super) rounds: Duration,
}

/// The state machine of one shared pool, over connections `C`, with open failures kept as `E`.
#[derive(Debug)]
pub(super) struct Links<C, E: Clone> {
    places: Arc<Places<C>>,
    /// The only lock. While it is held, nothing else is locked, no waker runs, and no connection is dropped.
    state: Mutex<State<C, E>>,
    pub(super) post: Post,
    pub(super) limits: LinkLimits,
}

/// Names a waiter.
pub(super) type Ticket<E> = Waiter<Share, Refusal<E>>;

/// The result of asking for a share.
#[derive(Debug)]
pub(super) enum Take<C, E> {
    Ready(Share),
    Queued(Ticket<E>, Work<C>),
    Refused(Refusal<E>),
}

/// The guard of the lock. When it is dropped, it calls all gets and returns to the lock, as long as there are waiters, the pool is
/// closed, or the pool keeps spare shares. Otherwise it calls them no longer.
pub(super) struct Locked<'a, C, E: Clone> {
    state: MutexGuard<'a, State<C, E>>,
    spare: bool,
}

impl<C, E: Clone> Deref for Locked<'_, C, E> {
    type Target = State<C, E>;

    fn deref(&self) -> &State<C, E> {
        &self.state
    }
}

impl<C, E: Clone> DerefMut for Locked<'_, C, E> {
    fn deref_mut(&mut self) -> &mut State<C, E> {
        &mut self.state
    }
}

impl<C, E: Clone> Drop for Locked<'_, C, E> {
    fn drop(&mut self) {
        let on = self.spare || self.state.closed || !self.state.queue.is_empty();
        self.state.call(on);
    }
}

impl<C, E: Clone> Links<C, E> {
    pub(super) fn new(limits: LinkLimits) -> Self {
        let (places, owner) = Places::new();
        Self {
            places,
            state: Mutex::new(State::new(owner, &limits)),
            post: Post::new(),
            limits,
        }
    }

    pub(super) fn lock(&self) -> Locked<'_, C, E> {
        Locked {
            state: self.state.lock_patiently(),
            spare: self.limits.spare > 0,
        }
    }

    /// Returns the connection of this share; `None` if the share is of another pool.
    #[inline]
    pub(super) fn connection<'a>(&'a self, share: &'a Share) -> Option<&'a C> {
        self.places.connection(share)
    }

    /// Takes a share of the least loaded connection without the lock. After `None`, a share may still be free under the lock.
    #[inline]
    pub(super) fn take(&self) -> Option<Share> {
        self.places.take()
    }

    /// Takes a share that is free now, and then opens what is missing.
    pub(super) fn try_take(&self, now: Moment) -> (Option<Share>, Work<C>) {
        let mut work = Work::default();
        let mut state = self.lock();
        let share = if state.closed || !state.queue.is_empty() {
            None
        } else {
            state.share()
        };
        if share.is_some() {
            state.counters.gets += 1;
            state.meet_demand(&self.limits, now, &mut work);
        }
        (share, work)
    }

    /// Takes a share, or joins the queue.
    ///
    /// Both steps happen under one lock. So either a return finds the waiter in the queue, or the waiter finds the returned share.
    pub(super) fn take_or_wait(&self, waker: Waker, now: Moment) -> (Take<C, E>, Work<C>) {
        let mut work = Work::default();
        let mut state = self.lock();
        if state.closed {
            return (Take::Refused(Refusal::Closed), work);
        }
        let mut share = None;
        if state.queue.is_empty() {
            if mutation::on(Mutation::ShareWaiterLooksTooEarly) {
                share = state.share();
            }
            // Call before the look that counts: every share that is returned after the look comes to the lock.
            state.call(true);
            if !mutation::on(Mutation::ShareWaiterLooksTooEarly) {
                share = state.share();
            }
        }
        if let Some(share) = share {
            state.counters.gets += 1;
            state.meet_demand(&self.limits, now, &mut work);
            return (Take::Ready(share), work);
        }
        if let Some(error) = state.gate.verdict(state.alive()) {
            state.counters.failed_fast += 1;
            // The keeper may be on a runtime that polls no tasks. So a refused get begins the next attempt, which may end the
            // outage.
            if !mutation::on(Mutation::RefusedTriesNothing) {
                state.meet_demand(&self.limits, now, &mut work);
            }
            return (Take::Refused(Refusal::Connect(error)), work);
        }
        if state.queue.len() >= state.max_waiters {
            state.counters.overloaded += 1;
            return (Take::Refused(Refusal::Overloaded), work);
        }
        let id = state.queue.push((), waker, now);
        state.meet_demand(&self.limits, now, &mut work);
        work.wakers.extend(state.bell.call(now + self.limits.tick));
        drop(state);
        (Take::Queued(id, work), Work::default())
    }

    /// Returns the answer of a waiter, if it has one; its id is then spent.
    pub(super) fn poll(
        &self,
        id: &Ticket<E>,
        waker: &Waker,
        now: Moment,
    ) -> (Poll<Result<Share, Refusal<E>>>, Work<C>) {
        let mut work = Work::default();
        // The new waker is cloned only if it is needed, and with nothing locked. The old waker is dropped unlocked too.
        let mut new = None;
        loop {
            let mut state = self.lock();
            let mut answer = state.queue.answer(id);
            if answer.is_pending() && state.closed {
                // The waiter got a grant before the close, and the grant was taken back after it.
                let told = state.queue.refuse_all(|| Refusal::Closed);
                work.wakers.extend(told);
                answer = state.queue.answer(id);
            } else if answer.is_pending() && state.serve(now, &mut work) {
                answer = state.queue.answer(id);
            }
            let mut known = true;
            match &answer {
                Poll::Ready(Ok(_)) => state.fetched(now - id.since()),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => {
                    let held = state.queue.waker(id);
                    known = held.as_ref().is_some_and(|held| held.will_wake(waker));
                    if !known && new.is_some() {
                        mem::swap(held, &mut new);
                        known = true;
                    }
                    state.meet_demand(&self.limits, now, &mut work);
                }
            }
            drop(state);
            if known {
                return (answer, work);
            }
            new = Some(waker.clone());
        }
    }

    /// A waiter gives up at its deadline. Returns the answer that came in time, or the phase that the waiter was waiting for.
    pub(super) fn time_out(
        &self,
        id: Ticket<E>,
        now: Moment,
    ) -> Result<Result<Share, Refusal<E>>, Phase> {
        let waited = now - id.since();
        let mut state = self.lock();
        let (answer, held) = state.queue.cancel(id);
        let answer = match answer {
            Some(answer) => {
                if answer.is_ok() {
                    state.fetched(waited);
                }
                Ok(answer)
            }
            None => {
                let opening = state.count(link::Phase::Opening) > 0;
                let phase = if opening { Phase::Create } else { Phase::Wait };
                state.counters.timeouts[phase.index()] += 1;
                Err(phase)
            }
        };
        drop(state);
        drop(held);
        answer
    }

    /// A waiter leaves. A grant that it did not fetch goes to the next waiter.
    pub(super) fn cancel(&self, id: Ticket<E>, now: Moment) -> Work<C> {
        let mut work = Work::default();
        // Declared before the guard, so dropped after it: a waker may be the last handle of a task, and a refusal of an error.
        let (_held, _refusal);
        let mut state = self.lock();
        let (answer, held) = state.queue.cancel(id);
        _held = held;
        if !matches!(answer, Some(Err(_))) {
            // A refused waiter was counted already, by the reason of its refusal.
            state.counters.cancelled += 1;
        }
        match answer {
            Some(Ok(_)) if mutation::on(Mutation::ShareCancelKeepsGrant) => {}
            Some(Ok(share)) => state.put(share, now, &mut work),
            Some(Err(refusal)) => _refusal = refusal,
            None => {}
        }
        work
    }

    /// Gives a share back. There is work left only if returns are called to the lock.
    #[inline]
    pub(super) fn put(&self, share: Share, now: impl FnOnce() -> Moment) -> Option<Work<C>> {
        let index = share.link().index;
        if mutation::on(Mutation::ShareReturnLooksTooEarly) {
            let called = self.places.is_called(index);
            let _late = self.places.put(share);
            return called.then(|| self.settle(index, now()));
        }
        // The usual case: there are no waiters, and the connection stays in use.
        if !self.places.put(share) {
            return None;
        }
        Some(self.settle(index, now()))
    }

    /// A share of this connection was returned while returns were called to the lock.
    #[cold]
    fn settle(&self, index: u32, now: Moment) -> Work<C> {
        let mut work = Work::default();
        if !mutation::on(Mutation::ShareLastEndsNothing) {
            let mut state = self.lock();
            state.settle(index, now, &mut work);
        }
        work
    }

    /// Sets how many shares this connection takes.
    pub(super) fn set_capacity(&self, link: LinkId, capacity: u32, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        if let Some(known) = state.at(link) {
            known.capacity = capacity;
            if mutation::on(Mutation::ShareCapacityForgetsUsed) {
                known.capacity = capacity.saturating_add(1);
            }
            if capacity > 0 {
                state.expected = capacity;
            }
            state.publish(link.index);
            if !mutation::on(Mutation::ShareCapacityServesNobody) {
                state.serve(now, &mut work);
            }
            state.meet_demand(&self.limits, now, &mut work);
        }
        work
    }

    /// Marks this connection as suspect, so that it gets no new shares, or as trusted again.
    pub(super) fn set_suspect(&self, link: LinkId, suspect: bool, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        if let Some(known) = state.at(link) {
            known.suspect = suspect;
            state.publish(link.index);
            state.serve(now, &mut work);
            state.meet_demand(&self.limits, now, &mut work);
        }
        work
    }

    /// Drains this connection: it takes no more shares, and closes when its last share ends.
    pub(super) fn drain(&self, link: LinkId, reason: CloseReason, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.drain(link.index, link.serial, reason, &mut work);
        state.meet_demand(&self.limits, now, &mut work);
        work
    }

    /// The backend of this connection wants no more calls on it, so the connection drains. `error` and `jitter` are as for
    /// [`fail`](Self::fail).
    pub(super) fn go_away(&self, link: LinkId, error: E, now: Moment, jitter: f64) -> Work<C> {
        let mut work = Work::default();
        // Dropped after the guard, since this may be the last handle of the error before.
        let _before;
        let mut state = self.lock();
        let (index, reason) = (link.index, CloseReason::GoingAway);
        match state.at(link).map(|link| link.phase) {
            // The reason that the connection gives itself replaces an earlier reason.
            Some(link::Phase::Opening) => {
                state.links[index as usize].unwanted = Some(reason);
            }
            Some(link::Phase::Live) => {
                let early = mutation::on(Mutation::ShareStillbornLooksTooEarly)
                    && state.is_stillborn(index, now);
                state.drain(index, link.serial, reason, &mut work);
                // The drain closes the connection only if no share was out when it stopped giving shares.
                let unused = state.links[index as usize].phase == link::Phase::Closing;
                if early || (unused && state.is_stillborn(index, now)) {
                    _before = state.stillborn(error, now, jitter, &mut work);
                }
            }
            _ => {}
        }
        state.meet_demand(&self.limits, now, &mut work);
        work
    }

    /// Marks this connection as dead: it takes no more shares, and the holders of its shares are told at once. `error` is kept if
    /// the connection ends just after it was opened and before anybody had a share of it: that counts as a failed open. `jitter` is
    /// uniform in `0.0..1.0`.
    pub(super) fn fail(&self, link: LinkId, error: E, now: Moment, jitter: f64) -> Work<C> {
        let mut work = Work::default();
        // As in `go_away`.
        let _before;
        let mut state = self.lock();
        let index = link.index;
        let Some(link) = state.at(link) else {
            return work;
        };
        match link.phase {
            link::Phase::Live | link::Phase::Draining => {}
            // `opened` will find it dead. A death during a close changes nothing.
            link::Phase::Opening => {
                link.phase = link::Phase::Stillborn;
                state.meet_demand(&self.limits, now, &mut work);
                return work;
            }
            link::Phase::Free
            | link::Phase::Stillborn
            | link::Phase::Dead
            | link::Phase::Closing => return work,
        }
        link.phase = link::Phase::Dead;
        let used = state.publish(index);
        work.deaths.extend(state.places.peek(index));
        state.counters.died += 1;
        state.counters.closed[CloseReason::Broken.index()] += 1;
        if used == 0 {
            let stillborn = state.is_stillborn(index, now);
            state.free(index, &mut work);
            if stillborn {
                _before = state.stillborn(error, now, jitter, &mut work);
            }
        }
        if !mutation::on(Mutation::ShareDeathOpensNothing) {
            state.meet_demand(&self.limits, now, &mut work);
        }
        work
    }

    /// A connection was opened on this place.
    pub(super) fn opened(
        &self,
        link: LinkId,
        connection: sync::Arc<C>,
        expires_at: Moment,
        now: Moment,
    ) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        let closed = state.closed;
        let index = link.index;
        match state.at(link).map(|link| (link.phase, link.unwanted)) {
            // The connection said so itself while it was being opened. That is no success, so the next attempt is not made at once.
            Some((link::Phase::Stillborn, _))
            | Some((link::Phase::Opening, Some(CloseReason::GoingAway))) => {
                state.links[index as usize].phase = link::Phase::Stillborn;
                work.unusable = Some(connection);
                return work;
            }
            Some((link::Phase::Opening, unwanted)) => {
                state.gate.opened(now);
                state.counters.opened += 1;
                state.places.fill(link, connection);
                let gets = state.places.gets(index);
                let known = &mut state.links[index as usize];
                known.phase = link::Phase::Live;
                known.expires_at = expires_at;
                known.opened_at = now;
                known.gets_at_open = gets;
                let took = now - known.began;
                // The capacity that the connection published while it was being opened, or else one share at a time.
                state.expected = known.capacity.max(1);
                state.times.create.record(took);
                let closed = closed.then_some(CloseReason::PoolClosed);
                match unwanted.or(closed) {
                    // The connection gets no shares, so no other connection is drained in exchange for it.
                    Some(reason) => state.drain(index, link.serial, reason, &mut work),
                    None => {
                        state.publish(index);
                        state.drain_replaced(&mut work);
                    }
                }
            }
            _ => {
                work.drops.push(connection);
                return work;
            }
        }
        state.serve(now, &mut work);
        state.meet_demand(&self.limits, now, &mut work);
        work.wakers
            .extend(state.bell.call(now + self.limits.rounds));
        state.await_next_try(&mut work);
        work.wakers.append(&mut state.watchers.take());
        work
    }

    /// No connection could be opened on this place. `jitter` is uniform in `0.0..1.0`.
    pub(super) fn open_failed(&self, link: LinkId, error: E, now: Moment, jitter: f64) -> Work<C> {
        let mut work = Work::default();
        // Dropped after the guard, since this may be the last handle of the error before.
        let _before;
        let mut state = self.lock();
        _before = state.failure.replace(error.clone());
        state.counters.open_failures += 1;
        state.gate.failed(error, now, jitter);
        if state.at(link).is_some() && !mutation::on(Mutation::ShareFailedOpenKeepsPlace) {
            state.free(link.index, &mut work);
        }
        state.tell_of_outage(&mut work);
        state.meet_demand(&self.limits, now, &mut work);
        state.await_next_try(&mut work);
        work
    }

    /// The connection that was opening or closing on this place is gone, so the place is free. This thread may have no runtime to
    /// open the next connection on.
    pub(super) fn vacate(&self, link: LinkId, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        if state.at(link).is_some() {
            state.free(link.index, &mut work);
            let probes = state.gate.is_failing() && !state.closed;
            if probes || state.demand(&self.limits, now) > 0 {
                // Wake both, since the keeper may be on a runtime that polls no tasks.
                work.wakers.extend(state.bell.ring());
                work.wakers.extend(state.queue.first_waker());
            }
        }
        work
    }
}
