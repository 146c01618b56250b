//! Those who wait: a line for each key in which anybody does. A line is lent to a key, so a key that nobody waits for has none.

use std::{
    task::{Poll, Waker},
    time::Duration,
};

use super::table::NIL;
use crate::{
    engine::{Line, Slab, Waiter},
    moment::{Moment, nanos_of},
};

/// Names one waiter for as long as its future lives.
#[derive(Debug)]
pub(super) struct Ticket<G, R> {
    pub(super) key: u32,
    lane: u32,
    id: Waiter<G, R>,
}

impl<G, R> Ticket<G, R> {
    /// When it joined the line.
    pub(super) const fn since(&self) -> Moment {
        self.id.since()
    }
}

/// All lines, for grants `G` and refusals `R`.
#[derive(Debug)]
pub(super) struct Lanes<G, R> {
    lanes: Slab<Lane<G, R>>,
    /// Lines that nobody is in, for keys that need one next.
    spare: Vec<Line<G, R>>,
    /// In line in all, those who are parked included.
    len: usize,
    /// No line is longer than that.
    longest: usize,
}

#[derive(Debug)]
struct Lane<G, R> {
    /// Whose line it is.
    key: u32,
    queue: Line<G, R>,
    /// Futures that hold a ticket of this line.
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

    /// In line in all.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// In this line, those who are parked included.
    pub(super) fn len_of(&self, lane: u32) -> usize {
        self.lane(lane).map_or(0, |lane| lane.queue.len())
    }

    /// In this line, of those whose future is being polled.
    #[inline]
    pub(super) fn waiting(&self, lane: u32) -> usize {
        self.lane(lane).map_or(0, |lane| lane.queue.waiting())
    }

    /// Is there anything that [`arm`](Self::arm) or [`reclaim`](Self::reclaim) may have to do later?
    pub(super) fn wants_ticks(&self, lane: u32) -> bool {
        self.lane(lane).is_some_and(|lane| lane.queue.wants_ticks())
    }

    /// Joins the end of the line of `key`, which is `lane`: it gets one if it has none.
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

    /// Hands `grant` to the first; gives it back when there is none.
    pub(super) fn grant(&mut self, lane: u32, grant: G, now: Moment) -> Result<Option<Waker>, G> {
        let Some(of) = self.lanes.get_mut(lane) else {
            return Err(grant);
        };
        let waker = of.queue.grant(grant, now)?;
        self.len -= 1;
        Ok(waker)
    }

    /// Tells everybody in this line no.
    pub(super) fn refuse_all(&mut self, lane: u32, why: impl Fn() -> R) -> Vec<Waker> {
        let Some(of) = self.lanes.get_mut(lane) else {
            return Vec::new();
        };
        self.len -= of.queue.len();
        of.queue.refuse_all(why)
    }

    /// Makes room in full lines for one who would join `lane`: tells the last one of the longest line no, if that line is longer than
    /// `lane` would be. Whose line that is, and who to wake; `None`: there is no room.
    ///
    /// Looks at every line, unless none can be longer.
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

    /// Has this waiter an answer? After `Ready` its ticket is spent; see [`leave`](Self::leave).
    pub(super) fn answer(&mut self, ticket: &Ticket<G, R>) -> Poll<Result<G, R>> {
        self.of(ticket).queue.answer(&ticket.id)
    }

    /// Who to wake for this waiter.
    pub(super) fn waker(&mut self, ticket: &Ticket<G, R>) -> &mut Option<Waker> {
        self.of(ticket).queue.waker(&ticket.id)
    }

    /// Was this waiter told to keep a timer of its own?
    pub(super) fn is_armed(&self, ticket: &Ticket<G, R>) -> bool {
        self.lanes[ticket.lane].queue.is_armed(&ticket.id)
    }

    /// A waker of the first one in this line.
    pub(super) fn first_waker(&mut self, lane: u32) -> Option<Waker> {
        self.lanes.get_mut(lane)?.queue.first_waker()
    }

    /// A waker of the first one in each line.
    pub(super) fn first_wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.lanes
            .iter_mut()
            .filter_map(|lane| lane.queue.first_waker())
    }

    /// A waker of everybody in line.
    pub(super) fn all_wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.lanes
            .iter_mut()
            .flat_map(|lane| lane.queue.all_wakers())
    }

    /// Gives up a place. What was granted and not fetched comes back, and its waker, to be dropped after unlocking; see
    /// [`leave`](Self::leave).
    pub(super) fn cancel(&mut self, ticket: Ticket<G, R>) -> (Option<Result<G, R>>, Option<Waker>) {
        let of = self.of(&ticket);
        let (answer, waker) = of.queue.cancel(ticket.id);
        self.len -= usize::from(answer.is_none());
        (answer, waker)
    }

    /// One ticket of the line `lane` of a key is spent. When nobody has one any more, the key has no line.
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

    /// Takes back what nobody of this line fetched for `grace`. All in that line are parked then: see [`Line::reclaim`].
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

    /// Parks all in all lines: see [`Line::park_all`]. Whose lines these are.
    pub(super) fn park_all(&mut self, wakers: &mut Vec<Waker>) -> Vec<u32> {
        let lanes = self.lanes.iter_mut();
        let park = |of: &mut Lane<G, R>| {
            of.queue.park_all(wakers);
            of.key
        };
        lanes.map(park).collect()
    }

    /// Tells those of this line who have been in it since before `before` to keep a timer of their own.
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

/// So many lines that nobody is in are kept.
const MOST_SPARE: usize = 16;
