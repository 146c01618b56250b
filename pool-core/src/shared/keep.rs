//! Operations on a shared pool as a whole: the rounds of the keeper, waits until the pool is warm or empty, and changes by an
//! operator.

use std::task::{Poll, Waker};

use super::{
    counts::Snapshot,
    link::Phase,
    links::{Links, Locked, Ticket},
    work::Work,
};
use crate::{
    engine::{Bell, Kept, Post, Refusal, Watch, Watched, Watchers},
    moment::{Moment, nanos_of},
    observe::{self, CloseReason, Timings},
};

impl<C, E: Clone> Kept for Links<C, E> {
    fn post(&self) -> &Post {
        &self.post
    }

    fn with_bell<R>(&self, look: impl FnOnce(&mut Bell) -> R) -> R {
        look(&mut self.lock().bell)
    }

    fn all_in_line(&self) -> Vec<Waker> {
        self.lock().queue.all_wakers()
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn is_over(&self) -> bool {
        self.lock().is_drained()
    }

    fn is_poisoned(&self) -> bool {
        false
    }
}

impl<C, E: Clone> Watched for Links<C, E> {
    fn with_watchers<R>(&self, look: impl FnOnce(&mut Watchers) -> R) -> R {
        look(&mut self.lock().watchers)
    }
}

impl<C, E: Clone> Links<C, E> {
    /// Runs a round of the keeper with this number: takes back unfetched grants, drains connections that are too old or unused, and
    /// opens what is missing. Returns when the next round is due. `None` if this keeper was replaced, or if the pool is closed and
    /// drained.
    pub(super) fn round(
        &self,
        number: u64,
        now: Moment,
        keeper: Waker,
    ) -> Option<(Moment, bool, Work<C>)> {
        let state = self.lock();
        if !self.post.is_held_by(number) || state.is_drained() {
            return None;
        }
        let closed = state.closed;
        let (next, work) = self.tick_locked(state, now, keeper);
        Some((next, closed, work))
    }

    /// Runs a round, whichever keeper runs.
    #[cfg(test)]
    pub(super) fn tick(&self, now: Moment, keeper: Waker) -> (Moment, Work<C>) {
        self.tick_locked(self.lock(), now, keeper)
    }

    fn tick_locked(
        &self,
        mut state: Locked<'_, C, E>,
        now: Moment,
        keeper: Waker,
    ) -> (Moment, Work<C>) {
        let limits = &self.limits;
        let mut work = Work::default();
        state.bell.comes_by();
        state.reclaim(limits.reclaim_after, now, &mut work);
        // Nearly every wait is over long before `arm_after`. A waiter that has waited that long keeps a timer of its own.
        let before = now.as_nanos().saturating_sub(nanos_of(limits.arm_after));
        let before = Moment::from_nanos(before);
        state.queue.arm(before, &mut work.wakers);
        state.retire(limits, now, &mut work);
        state.serve(now, &mut work);
        state.meet_demand(limits, now, &mut work);
        let next = state.next_round(limits, now);
        let before = state.bell.answer(keeper, next);
        drop(state);
        drop(before);
        (next, work)
    }

    /// Closes the pool. All waiters are refused, and every connection closes with its last share.
    pub(super) fn close(&self) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.closed = true;
        work.wakers = state.queue.refuse_all(|| Refusal::Closed);
        for index in 0..state.links.len() as u32 {
            let serial = state.links[index as usize].serial;
            state.drain(index, serial, CloseReason::PoolClosed, &mut work);
        }
        work.wakers.extend(state.bell.ring());
        work.wakers.append(&mut state.watchers.take());
        work
    }

    /// Sets how many gets may wait in the queue. Waiters that are in the queue already stay.
    pub(super) fn bound_line(&self, max_waiters: usize) {
        self.lock().max_waiters = max_waiters;
    }

    /// Sets how many connections there may be.
    pub(super) fn resize(&self, max_links: u32, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.resize(max_links, &mut work);
        state.meet_demand(&self.limits, now, &mut work);
        work
    }

    /// Retires all connections that are open or being opened: they take no more shares, and close with their last share.
    pub(super) fn retire_all(&self, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.retire_all(&mut work);
        state.meet_demand(&self.limits, now, &mut work);
        work
    }

    /// Ready when the minimum of connections is open, or cannot be opened. Opens what is missing.
    pub(super) fn poll_warm(
        &self,
        watch: &Watch<'_, Self>,
        waker: Waker,
        now: Moment,
    ) -> (Poll<Result<(), Refusal<E>>>, Work<C>) {
        let mut work = Work::default();
        // Declared before the guard, so dropped after it.
        let _before;
        let mut state = self.lock();
        if state.closed {
            return (Poll::Ready(Err(Refusal::Closed)), work);
        }
        if state.count(Phase::Live) >= self.limits.min_links {
            return (Poll::Ready(Ok(())), work);
        }
        if let Some(error) = state.gate.verdict(state.alive()) {
            state.counters.failed_fast += 1;
            return (Poll::Ready(Err(Refusal::Connect(error))), work);
        }
        state.meet_demand(&self.limits, now, &mut work);
        _before = state.watchers.tell(watch, waker);
        (Poll::Pending, work)
    }

    /// Returns how many connections are open, including draining ones.
    #[cfg(feature = "metrics")]
    pub(super) fn alive(&self) -> u32 {
        self.lock().alive()
    }

    /// Counts a timeout of a get that did not join the queue.
    pub(super) fn count_timeout(&self, phase: observe::Phase) {
        self.lock().counters.timeouts[phase.index()] += 1;
    }

    /// Returns how long waits and opens took.
    pub(super) fn timings(&self) -> Timings {
        let times = self.lock().times.clone();
        Timings {
            wait: times.wait,
            create: times.create,
            ..Timings::default()
        }
    }

    pub(super) fn is_armed(&self, id: &Ticket<E>) -> bool {
        self.lock().queue.is_armed(id)
    }

    pub(super) fn last_error(&self) -> Option<E> {
        self.lock().gate.last_error()
    }

    /// Returns all counts. Gets are called to the lock meanwhile, so no share is taken.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut state = self.lock();
        state.call(true);
        let mut of = Snapshot {
            max_links: state.max_links,
            waiting: state.queue.len(),
            closed: state.closed,
            counters: state.counters,
            ..Snapshot::default()
        };
        let used = state.used();
        for (index, link) in (0..).zip(&state.links) {
            let used = used[index as usize];
            of.used += used;
            of.counters.gets += state.places.gets(index);
            match link.phase {
                Phase::Free => {}
                Phase::Opening | Phase::Stillborn => of.opening += 1,
                Phase::Live => {
                    of.live += 1;
                    of.unused += u32::from(used == 0);
                    of.suspect += u32::from(link.suspect);
                    of.capacity = of.capacity.saturating_add(link.capacity);
                    let room = link.takes().saturating_sub(used);
                    of.available = of.available.saturating_add(room);
                }
                Phase::Draining => of.draining += 1,
                Phase::Dead => of.dead += 1,
                Phase::Closing => of.closing += 1,
            }
        }
        of
    }
}
