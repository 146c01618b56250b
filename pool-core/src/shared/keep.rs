//! What is done for a shared pool as a whole: by its keeper, by whoever waits for it to be warm or empty, and by an operator.

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
    /// One round of the keeper that has this number: takes back what nobody fetched, retires what is too old or unused, opens what is
    /// missing. Says when to come again. `None`: it was replaced, or the pool is over.
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

    /// One round, whoever the keeper is.
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
        // Nearly every wait is over long before that; who is still there keeps a timer from now on.
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

    /// Nobody gets anything from now on, and all who wait are told so. Every connection closes with its last share.
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

    /// Sets how many may wait in line, from now on: those that are in it stay.
    pub(super) fn bound_line(&self, max_waiters: usize) {
        self.lock().max_waiters = max_waiters;
    }

    /// There may be so many connections from now on.
    pub(super) fn resize(&self, max_links: u32, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.resize(max_links, &mut work);
        state.meet_demand(&self.limits, now, &mut work);
        work
    }

    /// What is open or being opened takes no more, and goes with its last share.
    pub(super) fn retire_all(&self, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.retire_all(&mut work);
        state.meet_demand(&self.limits, now, &mut work);
        work
    }

    /// Ready when the minimum is open, or cannot be. Opens what is missing.
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

    /// How many are open, those included that take no more.
    #[cfg(feature = "metrics")]
    pub(super) fn alive(&self) -> u32 {
        self.lock().alive()
    }

    /// Something gave up without having stood in line.
    pub(super) fn count_timeout(&self, phase: observe::Phase) {
        self.lock().counters.timeouts[phase.index()] += 1;
    }

    /// How long things took.
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

    /// All counts. Nobody takes a share meanwhile.
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
