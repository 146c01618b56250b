//! The queues of waiters: a lane for each key that has waiters. A lane is lent to a key, so a key without waiters has none.

use std::{
    task::{Poll, Waker},
    time::Duration,
};

use super::table::NIL;
use crate::{
    engine::{Line, Slab, Waiter},
    moment::{Moment, nanos_of},
};

/// Names one waiter as long as its future lives.
#[derive(Debug)]
pub(super) struct Ticket<G, R> {
    pub(super) key: u32,
    lane: u32,
    id: Waiter<G, R>,
}

impl<G, R> Ticket<G, R> {
    /// Returns when the waiter joined the queue.
    pub(super) const fn since(&self) -> Moment {
        self.id.since()
    }
}

/// All lanes, for grants `G` and refusals `R`.
#[derive(Debug)]
pub(super) struct Lanes<G, R> {
    lanes: Slab<Lane<G, R>>,
    /// Empty queues, kept for the next keys that need one.
    spare: Vec<Line<G, R>>,
    /// The number of waiters in all queues, including parked waiters.
    len: usize,
    /// No queue is longer than this.
    longest: usize,
}

#[derive(Debug)]
struct Lane<G, R> {
    /// The key that has this lane.
    key: u32,
    queue: Line<G, R>,
    /// How many futures hold a ticket of this lane.
    tickets: usize,
}

impl<G, R> Lanes<G, R> {
    pub(super) const fn new() -> Self {
        Self {
            lanes: Slab::new(),
            spare: Vec::new(),
            len: 0,
            longest: 0,
        }
    }

    /// Returns the number of waiters in all queues, including parked waiters.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of waiters in this queue, including parked waiters.
    pub(super) fn len_of(&self, lane: u32) -> usize {
        self.lane(lane).map_or(0, |lane| lane.queue.len())
    }

    /// Returns the number of waiters in this queue, without parked waiters, whose futures are not being polled.
    #[inline]
    pub(super) fn waiting(&self, lane: u32) -> usize {
        self.lane(lane).map_or(0, |lane| lane.queue.waiting())
    }

    /// Whether [`arm`](Self::arm) or [`reclaim`](Self::reclaim) may have something to do later.
    pub(super) fn wants_ticks(&self, lane: u32) -> bool {
        self.lane(lane).is_some_and(|lane| lane.queue.wants_ticks())
    }

    /// Appends a waiter to the queue of `key`. `lane` is the lane of the key, which gets one if it has none.
    pub(super) fn push(
        &mut self,
        key: u32,
        lane: &mut u32,
        waker: Waker,
        now: Moment,
    ) -> Ticket<G, R> {
        if *lane == NIL {
            *lane = self.lanes.insert(Lane {
                key,
                queue: self.spare.pop().unwrap_or_else(Line::new),
                tickets: 0,
            });
        }
        let lane = *lane;
        let of = &mut self.lanes[lane];
        of.tickets += 1;
        self.len += 1;
        let id = of.queue.push((), waker, now);
        self.longest = self.longest.max(of.queue.len());
        Ticket { key, lane, id }
    }

    /// Grants `grant` to the first waiter; returns it if there is no waiter.
    pub(super) fn grant(&mut self, lane: u32, grant: G, now: Moment) -> Result<Option<Waker>, G> {
        let Some(of) = self.lanes.get_mut(lane) else {
            return Err(grant);
        };
        let waker = of.queue.grant(grant, now)?;
        self.len -= 1;
        Ok(waker)
    }

    /// Returns when the first waiter of this queue joined.
    pub(super) fn first_since(&self, lane: u32) -> Option<Moment> {
        self.lane(lane)?.queue.first().map(|((), since)| since)
    }

    /// Refuses the first waiter of this queue.
    pub(super) fn refuse_first(&mut self, lane: u32, why: R) -> Option<Waker> {
        let of = self.lanes.get_mut(lane)?;
        let before = of.queue.len();
        let waker = of.queue.refuse_first(why);
        self.len -= before - of.queue.len();
        waker
    }

    /// Refuses all waiters of this queue.
    pub(super) fn refuse_all(&mut self, lane: u32, why: impl Fn() -> R) -> Vec<Waker> {
        let Some(of) = self.lanes.get_mut(lane) else {
            return Vec::new();
        };
        self.len -= of.queue.len();
        of.queue.refuse_all(why)
    }

    /// Makes room for a waiter that would join `lane`, when the queues are full: refuses the last waiter of the longest queue, if
    /// that queue is longer than `lane` would be. Returns the key of the refused waiter, and its waker; `None` if there is no room.
    ///
    /// Looks at every queue, unless no queue can be longer.
    pub(super) fn push_out(&mut self, lane: u32, why: R) -> Option<(u32, Option<Waker>)> {
        let ours = self.len_of(lane) + 1;
        if self.longest <= ours {
            return None;
        }
        let longest = self.lanes.iter_mut().max_by_key(|of| of.queue.len())?;
        self.longest = longest.queue.len();
        if self.longest <= ours {
            return None;
        }
        self.len -= 1;
        Some((longest.key, longest.queue.refuse_last(why)))
    }

    /// Returns the answer of this waiter. After `Ready` its ticket is spent; see [`leave`](Self::leave).
    pub(super) fn answer(&mut self, ticket: &Ticket<G, R>) -> Poll<Result<G, R>> {
        self.of(ticket).queue.answer(&ticket.id)
    }

    /// Returns the waker of this waiter.
    pub(super) fn waker(&mut self, ticket: &Ticket<G, R>) -> &mut Option<Waker> {
        self.of(ticket).queue.waker(&ticket.id)
    }

    /// Whether this waiter was told to keep a timer of its own.
    pub(super) fn is_armed(&self, ticket: &Ticket<G, R>) -> bool {
        self.lanes[ticket.lane].queue.is_armed(&ticket.id)
    }

    /// Returns the waker of the first waiter in this queue.
    pub(super) fn first_waker(&mut self, lane: u32) -> Option<Waker> {
        self.lanes.get_mut(lane)?.queue.first_waker()
    }

    /// Returns the waker of the first waiter in each queue.
    pub(super) fn first_wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.lanes
            .iter_mut()
            .filter_map(|lane| lane.queue.first_waker())
    }

    /// Returns the wakers of all waiters in all queues.
    pub(super) fn all_wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.lanes
            .iter_mut()
            .flat_map(|lane| lane.queue.all_wakers())
    }

    /// Removes a waiter. Returns its answer, if it has one that it did not fetch, and its waker, which is to be dropped after
    /// unlocking; see [`leave`](Self::leave).
    pub(super) fn cancel(&mut self, ticket: Ticket<G, R>) -> (Option<Result<G, R>>, Option<Waker>) {
        let of = self.of(&ticket);
        let (answer, waker) = of.queue.cancel(ticket.id);
        self.len -= usize::from(answer.is_none());
        (answer, waker)
    }

    /// A ticket of the lane of a key is spent. With the last ticket, the key gives its lane back.
    pub(super) fn leave(&mut self, lane: &mut u32) {
        let Some(of) = self.lanes.get_mut(*lane) else {
            return;
        };
        of.tickets -= 1;
        if of.tickets > 0 {
            return;
        }
        let left = self.lanes.remove(*lane);
        *lane = NIL;
        if let Some(mut of) = left
            && self.spare.len() < MOST_SPARE
        {
            of.queue.rest();
            self.spare.push(of.queue);
        }
    }

    /// Takes back grants of this queue that were not fetched for `grace`. All waiters of this queue are parked then: see
    /// [`Line::reclaim`].
    pub(super) fn reclaim(
        &mut self,
        lane: u32,
        now: Moment,
        grace: Duration,
        wakers: &mut Vec<Waker>,
    ) -> Vec<G> {
        let Some(of) = self.lanes.get_mut(lane) else {
            return Vec::new();
        };
        let grants = of.queue.reclaim(now, nanos_of(grace), wakers);
        self.len += grants.len();
        self.longest = self.longest.max(of.queue.len());
        grants
    }

    /// Parks all waiters of all queues: see [`Line::park_all`]. Returns the keys of these queues.
    pub(super) fn park_all(&mut self, wakers: &mut Vec<Waker>) -> Vec<u32> {
        let lanes = self.lanes.iter_mut();
        let park = |of: &mut Lane<G, R>| {
            of.queue.park_all(wakers);
            of.key
        };
        lanes.map(park).collect()
    }

    /// Tells the waiters of this queue that joined before `before` to keep a timer of their own.
    pub(super) fn arm(&mut self, lane: u32, before: Moment, wakers: &mut Vec<Waker>) {
        if let Some(of) = self.lanes.get_mut(lane) {
            of.queue.arm(before, wakers);
        }
    }

    fn of(&mut self, ticket: &Ticket<G, R>) -> &mut Lane<G, R> {
        &mut self.lanes[ticket.lane]
    }

    #[inline]
    fn lane(&self, lane: u32) -> Option<&Lane<G, R>> {
        self.lanes.get(lane)
    }
}

/// How many empty queues are kept.
const MOST_SPARE: usize = 16;
