//! The state behind the lock of one shared pool: its connections, its waiters, and what has to be opened or closed.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{
    counts::{Counters, Times},
    link::{Link, Phase},
    links::LinkLimits,
    places::{PlacesMut, Share},
    work::Work,
};
use crate::{
    engine::{
        Backoff, Bell, Gate, Line, Refusal, Watchers,
        mutation::{self, Mutation},
    },
    gauge::LinkId,
    host::STILLBORN,
    load::Load,
    moment::{Moment, nanos_of},
    observe::CloseReason,
};

/// On cache lines of its own, so that threads that wait for the lock do not slow down the thread that holds it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct State<C, E: Clone> {
    pub(super) links: Vec<Link>,
    pub(super) places: PlacesMut<C>,
    /// Whether every get and every return has to come to the lock.
    called: bool,
    pub(super) queue: Line<Share, Refusal<E>>,
    pub(super) gate: Gate<E>,
    /// A copy of the error that the gate holds, so that the gate never drops the last handle of an error under the lock.
    pub(super) failure: Option<E>,
    /// How many shares the next connection is expected to take: the capacity that was published last, or a guess.
    pub(super) expected: u32,
    pub(super) closed: bool,
    pub(super) max_links: u32,
    pub(super) max_waiters: usize,
    /// How often the keeper comes while a grant is on its way.
    pub(super) tick: Duration,
    pub(super) bell: Bell,
    pub(super) watchers: Watchers,
    pub(super) counters: Counters,
    pub(super) times: Times,
}

impl<C, E: Clone> State<C, E> {
    pub(super) fn new(places: PlacesMut<C>, limits: &LinkLimits) -> Self {
        Self {
            links: Vec::new(),
            places,
            called: false,
            queue: Line::new(),
            gate: Gate::new(Backoff::default()),
            failure: None,
            expected: FIRST_GUESS,
            closed: false,
            max_links: limits.max_links,
            max_waiters: limits.max_waiters,
            tick: limits.tick,
            bell: Bell::new(),
            watchers: Watchers::new(),
            counters: Counters::default(),
            times: Times::default(),
        }
    }

    pub(super) fn at(&mut self, id: LinkId) -> Option<&mut Link> {
        let link = self.links.get_mut(id.index as usize)?;
        (link.serial == id.serial && link.phase != Phase::Free).then_some(link)
    }

    /// Calls all gets and returns to the lock (`on`), or no longer. Shares that were returned before the call are seen by every
    /// look after it.
    pub(super) fn call(&mut self, on: bool) {
        if self.called != on {
            self.called = on;
            (0..self.links.len() as u32).for_each(|index| {
                self.publish(index);
            });
        }
    }

    /// Publishes at the place of this connection how many shares may be out for a get to take one without the lock. Returns how
    /// many are out.
    pub(super) fn publish(&mut self, index: u32) -> u32 {
        let takes = self.links[index as usize].takes();
        self.places.give(index, if self.called { 0 } else { takes })
    }

    /// Returns how many more shares this connection may give.
    pub(super) fn room(&self, index: u32) -> u32 {
        let takes = self.links[index as usize].takes();
        takes.saturating_sub(self.places.used(index))
    }

    /// Returns how many shares of each connection are out, at one moment. Looks until two looks are alike. While gets are called to
    /// the lock, shares only come back between the looks.
    pub(super) fn used(&self) -> Vec<u32> {
        let look = || -> Vec<u32> {
            let indices = 0..self.links.len() as u32;
            indices.map(|index| self.places.used(index)).collect()
        };
        let mut seen = look();
        loop {
            let again = look();
            if again == seen {
                return seen;
            }
            seen = again;
        }
    }

    /// Returns how many shares are free now.
    pub(super) fn free_shares(&self) -> u32 {
        let rooms = (0..self.links.len() as u32).map(|index| self.room(index));
        rooms.fold(0, u32::saturating_add)
    }

    /// Takes a share of the least loaded connection; of equally loaded ones, of the youngest.
    pub(super) fn share(&mut self) -> Option<Share> {
        loop {
            let mut best: Option<(u32, Load)> = None;
            for (index, link) in (0..).zip(&self.links) {
                let load = Load {
                    used: self.places.used(index),
                    of: link.takes(),
                    serial: link.serial,
                };
                if load.used < load.of && best.is_none_or(|(_, best)| load.comes_before(best)) {
                    best = Some((index, load));
                }
            }
            let (index, Load { of, serial, .. }) = best?;
            // While gets are not called to the lock, another get may take the share first.
            if let Some(share) = self.places.take_below(LinkId { index, serial }, of) {
                let link = &mut self.links[index as usize];
                link.idle_since = None;
                link.shared = true;
                return Some(share);
            }
        }
    }

    /// Grants shares to the waiters. Returns whether any waiter was served.
    pub(super) fn serve(&mut self, now: Moment, work: &mut Work<C>) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        self.call(true);
        let mut served = false;
        while !self.queue.is_empty()
            && let Some(share) = self.share()
        {
            match self.queue.grant(share, now) {
                Ok(waker) => work.wakers.extend(waker),
                Err(share) => {
                    self.put(share, now, work);
                    break;
                }
            }
            served = true;
        }
        if served {
            work.wakers.extend(self.bell.call(now + self.tick));
        }
        served
    }

    /// Takes a share back.
    pub(super) fn put(&mut self, share: Share, now: Moment, work: &mut Work<C>) {
        let index = share.link().index;
        // The caller holds the lock already.
        let _called = self.places.put(share);
        self.settle(index, now, work);
    }

    /// Does what is left to do after a share of this connection was returned. The last share of a draining connection closes it,
    /// and the last share of a dead connection frees its place. A live connection serves waiters. May run any number of times.
    pub(super) fn settle(&mut self, index: u32, now: Moment, work: &mut Work<C>) {
        let unused = self.places.used(index) == 0;
        match self.links[index as usize].phase {
            Phase::Draining if unused => self.begin_close(index, work),
            Phase::Dead if unused => self.free(index, work),
            Phase::Live if mutation::on(Mutation::ShareReturnServesNobody) => {}
            Phase::Live => {
                self.serve(now, work);
            }
            _ => {}
        }
    }

    /// Takes back grants that were not fetched.
    pub(super) fn reclaim(&mut self, after: Duration, now: Moment, work: &mut Work<C>) {
        for share in self.queue.reclaim(now, nanos_of(after), &mut work.wakers) {
            self.counters.reclaimed += 1;
            self.put(share, now, work);
        }
    }

    pub(super) fn drain(
        &mut self,
        index: u32,
        serial: u64,
        reason: CloseReason,
        work: &mut Work<C>,
    ) {
        let Some(link) = self.at(LinkId { index, serial }) else {
            return;
        };
        if link.phase != Phase::Live {
            return;
        }
        link.phase = Phase::Draining;
        link.reason = reason;
        let early = mutation::on(Mutation::ShareDrainLooksTooEarly);
        let before = self.places.used(index);
        let used = self.publish(index);
        if (if early { before } else { used }) == 0 {
            self.begin_close(index, work);
        }
    }

    /// Whether this connection, which gives no more shares and has none out, was never of use: no share of it was ever taken, and it
    /// was opened just before.
    pub(super) fn is_stillborn(&self, index: u32, now: Moment) -> bool {
        let link = &self.links[index as usize];
        // A share that is taken without the lock is counted before it is returned. So if none is out, all of them are counted.
        let shared = link.shared || self.places.gets(index) != link.gets_at_open;
        !shared && now - link.opened_at < STILLBORN
    }

    /// Counts a connection that was never of use as a failed open, so the next open is not begun at once. Returns the error of the
    /// failure before, which is to be dropped after unlocking.
    pub(super) fn stillborn(
        &mut self,
        error: E,
        now: Moment,
        jitter: f64,
        work: &mut Work<C>,
    ) -> Option<E> {
        let before = self.failure.replace(error.clone());
        self.gate.stillborn(error, now, jitter);
        self.tell_of_outage(work);
        self.await_next_try(work);
        before
    }

    /// Refuses all waiters, if it is known that nothing can be opened.
    pub(super) fn tell_of_outage(&mut self, work: &mut Work<C>) {
        if let Some(error) = self.gate.verdict(self.alive()) {
            self.counters.failed_fast += self.queue.len() as u64;
            let mut told = self.queue.refuse_all(|| Refusal::Connect(error.clone()));
            work.wakers.append(&mut told);
        }
        work.wakers.append(&mut self.watchers.take());
    }

    /// While opens fail, has the keeper come for the next attempt.
    pub(super) fn await_next_try(&mut self, work: &mut Work<C>) {
        if let Some(next_try) = self.gate.next_try() {
            work.wakers.extend(self.bell.call(next_try));
        }
    }

    pub(super) fn begin_close(&mut self, index: u32, work: &mut Work<C>) {
        let link = &mut self.links[index as usize];
        link.phase = Phase::Closing;
        self.counters.closed[link.reason.index()] += 1;
        let id = LinkId {
            index,
            serial: link.serial,
        };
        if let Some(connection) = self.places.empty(index) {
            work.closes.push((id, connection, link.reason));
        }
    }

    /// Frees a place, and takes the rest of its connection out.
    pub(super) fn free(&mut self, index: u32, work: &mut Work<C>) {
        self.links[index as usize].phase = Phase::Free;
        work.drops.extend(self.places.empty(index));
        if self.is_drained() {
            work.wakers.append(&mut self.watchers.take());
            // The keeper has nothing left to do.
            work.wakers.extend(self.bell.ring());
        }
    }

    /// A waiter has fetched a share after this wait.
    pub(super) fn fetched(&mut self, waited: Duration) {
        self.counters.gets += 1;
        self.counters.waited += 1;
        self.times.wait.record(waited);
    }

    pub(super) fn count(&self, phase: Phase) -> u32 {
        self.links.iter().filter(|link| link.phase == phase).count() as u32
    }

    /// Returns how many places count against `max_links`. A connection that died while it was shared does not count, so a caller
    /// that holds on to a share of it does not stop the next connection.
    pub(super) fn taken(&self) -> u32 {
        self.links.len() as u32 - self.count(Phase::Free) - self.count(Phase::Dead)
    }

    /// Whether the pool is closed and all its places are free.
    pub(super) fn is_drained(&self) -> bool {
        self.closed && self.links.iter().all(|link| link.phase == Phase::Free)
    }

    pub(super) fn alive(&self) -> u32 {
        self.count(Phase::Live) + self.count(Phase::Draining)
    }

    /// Returns how many more connections are needed than are being opened.
    pub(super) fn demand(&self, limits: &LinkLimits, now: Moment) -> u32 {
        if self.closed {
            return 0;
        }
        let waiting = u32::try_from(self.queue.waiting()).unwrap_or(u32::MAX);
        let ahead = match limits.spare {
            0 => 0,
            spare => spare.saturating_sub(self.free_shares()),
        };
        let shares = waiting.saturating_add(ahead);
        // An open that takes long may never succeed, so it does not count as supply.
        let in_time = |link: &&Link| {
            link.phase == Phase::Opening && link.unwanted.is_none() && now - link.began < LATE
        };
        let opening = self.links.iter().filter(in_time).count() as u32;
        let for_shares = shares.div_ceil(self.expected).saturating_sub(opening);
        let least = limits
            .min_links
            .saturating_sub(self.count(Phase::Live) + opening);
        let replaced = self.links.iter().filter(|link| link.is_replaced()).count() as u32;
        for_shares.max(least).max(replaced.saturating_sub(opening))
    }

    /// Opens the connections that are needed, within the bounds.
    pub(super) fn meet_demand(&mut self, limits: &LinkLimits, now: Moment, work: &mut Work<C>) {
        self.gate.settle(now);
        let mut missing = self.demand(limits, now);
        if missing == 0 && self.gate.is_failing() && !self.closed {
            // A probe finds out when the backend is back.
            missing = 1;
        }
        let most = self.gate.may_open(limits.max_opening, now);
        let opening = |state: &Self| state.count(Phase::Opening) + state.count(Phase::Stillborn);
        // While opens fail, one attempt runs at a time. An attempt that hangs, or whose runtime polls no tasks, blocks the next
        // attempt for [`LATE`] and no longer.
        let failing = self.gate.is_failing();
        let attempts = |state: &Self| match failing {
            true => {
                let on_its_way = |link: &&Link| {
                    matches!(link.phase, Phase::Opening | Phase::Stillborn)
                        && now - link.began < LATE
                };
                state.links.iter().filter(on_its_way).count() as u32
            }
            false => opening(state),
        };
        while missing > 0
            && self.taken() < self.max_links
            && opening(self) < limits.max_opening
            && attempts(self) < most
        {
            missing -= 1;
            let serial = NEXT_SERIAL.fetch_add(1, Relaxed);
            let link = Link {
                serial,
                phase: Phase::Opening,
                capacity: 1,
                suspect: false,
                began: now,
                opened_at: now,
                shared: false,
                gets_at_open: 0,
                unwanted: None,
                expires_at: Moment::NEVER,
                expired: false,
                idle_since: None,
                gets_before: 0,
                reason: CloseReason::Broken,
            };
            let free = |link: &Link| link.phase == Phase::Free;
            let index = match self.links.iter().position(free) {
                Some(index) => {
                    self.links[index] = link;
                    index
                }
                None => {
                    self.links.push(link);
                    self.links.len() - 1
                }
            } as u32;
            work.opens.push(LinkId { index, serial });
        }
    }

    /// Drains connections that are too old and connections without shares for `idle_timeout`, as long as enough connections are
    /// left.
    pub(super) fn retire(&mut self, limits: &LinkLimits, now: Moment, work: &mut Work<C>) {
        for index in 0..self.links.len() as u32 {
            let live = self.count(Phase::Live);
            let (used, gets) = (self.places.used(index), self.places.gets(index));
            let link = &mut self.links[index as usize];
            if link.phase != Phase::Live {
                continue;
            }
            if used > 0 || link.gets_before != gets {
                link.idle_since = None;
                link.gets_before = gets;
            }
            if used == 0 && link.idle_since.is_none() {
                link.idle_since = Some(now);
            }
            let idle = |after| link.idle_since.is_some_and(|since| now - since >= after);
            let unused = live > limits.min_links && limits.idle_timeout.is_some_and(idle);
            let (serial, expired) = (link.serial, now >= link.expires_at);
            // A connection that would be opened again at once is not closed.
            let spared = || self.free_shares().saturating_sub(self.room(index)) < limits.spare;
            if expired {
                let needed = used > 0 || live <= limits.min_links || spared();
                let has_place = self.taken() < self.max_links || self.count(Phase::Opening) > 0;
                // An expired connection that is in use and cannot be replaced goes on, so that no get has to wait just because of
                // its age.
                if !needed || self.has_stand_in(index) || (used == 0 && !has_place) {
                    self.drain(index, serial, CloseReason::Lifetime, work);
                } else {
                    self.links[index as usize].expired = true;
                }
            } else if unused && !spared() {
                self.drain(index, serial, CloseReason::IdleTimeout, work);
            }
        }
    }

    /// Whether another connection can take the shares of this one.
    fn has_stand_in(&self, index: u32) -> bool {
        (0..self.links.len() as u32).any(|other| {
            other != index && !self.links[other as usize].expired && self.room(other) > 0
        })
    }

    /// Sets the bound. Surplus connections take no more shares: those that are being opened first, then the least loaded. They
    /// close with their last share.
    pub(super) fn resize(&mut self, max_links: u32, work: &mut Work<C>) {
        self.max_links = max_links;
        let stays = |link: &Link| match link.phase {
            Phase::Live => true,
            Phase::Opening => link.unwanted.is_none(),
            _ => false,
        };
        let count = self.links.iter().filter(|link| stays(link)).count() as u32;
        for _ in max_links..count {
            let opening = |link: &Link| link.phase == Phase::Opening && link.unwanted.is_none();
            if let Some(link) = self.links.iter_mut().find(|link| opening(link)) {
                link.unwanted = Some(CloseReason::Shrunk);
                continue;
            }
            let live = (0..self.links.len() as u32)
                .filter(|index| self.links[*index as usize].phase == Phase::Live);
            let least = live.min_by_key(|index| (self.places.used(*index), *index));
            if let Some(index) = least {
                let serial = self.links[index as usize].serial;
                self.drain(index, serial, CloseReason::Shrunk, work);
            }
        }
    }

    /// Retires all connections that are open or being opened: they take no more shares, and close with their last share.
    pub(super) fn retire_all(&mut self, work: &mut Work<C>) {
        for index in 0..self.links.len() as u32 {
            let link = &mut self.links[index as usize];
            if link.phase == Phase::Opening {
                link.unwanted.get_or_insert(CloseReason::Retired);
            }
            let serial = link.serial;
            self.drain(index, serial, CloseReason::Retired, work);
        }
    }

    /// A connection was opened: drains the oldest connection that waits for its replacement.
    pub(super) fn drain_replaced(&mut self, work: &mut Work<C>) {
        let replaced = self
            .links
            .iter()
            .enumerate()
            .filter(|(_, link)| link.is_replaced());
        let oldest = replaced.min_by_key(|(_, link)| link.serial);
        if let Some((index, serial)) = oldest.map(|(index, link)| (index, link.serial)) {
            self.drain(index as u32, serial, CloseReason::Lifetime, work);
        }
    }

    pub(super) fn next_round(&self, limits: &LinkLimits, now: Moment) -> Moment {
        let mut next = Moment::NEVER;
        if self.closed {
            // A closed pool has only unfetched grants to look after.
            return if self.queue.wants_ticks() {
                now + limits.tick
            } else {
                next
            };
        }
        if self.taken() > 0 || limits.min_links > 0 {
            next = now + limits.rounds;
        }
        if self.queue.wants_ticks() {
            next = next.min(now + limits.tick);
        }
        // An attempt whose time has come is under way, or waits for a place. The end of either wakes the keeper.
        if let Some(next_try) = self.gate.next_try().filter(|at| *at > now) {
            next = next.min(next_try);
        }
        let live = self.count(Phase::Live);
        for link in &self.links {
            if link.phase == Phase::Opening && link.began + LATE > now {
                next = next.min(link.began + LATE);
            }
            if link.phase != Phase::Live {
                continue;
            }
            if !link.expired {
                next = next.min(link.expires_at);
            }
            // The minimum of connections stays open, however long they are idle, and so do spared ones. The keeper need not come
            // for those.
            if live > limits.min_links
                && let (Some(since), Some(after)) = (link.idle_since, limits.idle_timeout)
                && since + after > now
            {
                next = next.min(since + after);
            }
        }
        next.max(now + Duration::from_millis(1))
    }
}

/// How many shares the first connection is expected to take, before its gauge has said anything.
const FIRST_GUESS: u32 = 16;

/// An open that takes longer than this is late. It no longer counts as supply, and another open is begun if there is room.
const LATE: Duration = Duration::from_secs(1);

/// The serial number of the next connection; no two connections of a program have the same. The numbers only have to differ, so
/// this is a plain atomic, which models do not explore.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);
