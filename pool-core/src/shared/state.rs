//! The state behind the lock of one shared pool: who may share what, who waits, and what is to be opened or closed.

use std::{sync::Arc, task::Waker, time::Duration};

use super::{
    counts::Counters,
    link::{Link, LinkId, Phase, Share},
    links::LinkLimits,
    work::Work,
};
use crate::{
    engine::{
        Backoff, Bell, Gate, Refusal,
        mutation::{self, Mutation},
        queue::WaitQueue,
    },
    moment::Moment,
    observe::CloseReason,
};

/// On cache lines of its own: who waits for the lock must not slow down who has it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct State<C, E: Clone> {
    pub(super) links: Vec<Link<C>>,
    pub(super) queue: WaitQueue<Share<C>, Refusal<E>>,
    pub(super) gate: Gate<E>,
    /// What the gate holds: so that it is never the last to drop an error, under the lock.
    pub(super) failure: Option<E>,
    pub(super) next_serial: u64,
    /// What one more is expected to take: what was last published, or a guess.
    pub(super) expected: u32,
    pub(super) closed: bool,
    /// How often the keeper comes by while a grant is on its way.
    pub(super) tick: Duration,
    pub(super) bell: Bell,
    pub(super) watchers: Vec<Waker>,
    pub(super) counters: Counters,
}

impl<C, E: Clone> State<C, E> {
    pub(super) fn new(tick: Duration) -> Self {
        Self {
            links: Vec::new(),
            queue: WaitQueue::new(),
            gate: Gate::new(Backoff::default()),
            failure: None,
            next_serial: 0,
            expected: FIRST_GUESS,
            closed: false,
            tick,
            bell: Bell::new(),
            watchers: Vec::new(),
            counters: Counters::default(),
        }
    }

    pub(super) fn at(&mut self, id: LinkId) -> Option<&mut Link<C>> {
        let link = self.links.get_mut(id.index as usize)?;
        (link.serial == id.serial && link.phase != Phase::Free).then_some(link)
    }

    /// A share of the least loaded connection; of those that are loaded alike, of the youngest.
    #[inline]
    pub(super) fn share(&mut self) -> Option<Share<C>> {
        let mut best: Option<usize> = None;
        for (index, link) in self.links.iter().enumerate() {
            if link.room() > 0 && best.is_none_or(|best| link.comes_before(&self.links[best])) {
                best = Some(index);
            }
        }
        let index = best?;
        let link = &mut self.links[index];
        link.used += 1;
        link.idle_since = None;
        Some(Share {
            link: LinkId {
                index: index as u32,
                serial: link.serial,
            },
            connection: Arc::clone(link.connection.as_ref()?),
        })
    }

    /// Hands shares to those in line. Was anybody served?
    pub(super) fn serve(&mut self, now: Moment, work: &mut Work<C>) -> bool {
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

    /// Counts a share back whose connection goes on as it is. `false`: there is more to it, and nothing was counted.
    #[inline]
    pub(super) fn put_quietly(&mut self, share: &Share<C>) -> bool {
        match self.at(share.link) {
            Some(link) if link.phase == Phase::Live => {
                link.used = link.used.saturating_sub(1);
                true
            }
            _ => false,
        }
    }

    /// Takes a share back. The last one of a connection that is on its way out ends it. Is a place free now?
    pub(super) fn put(&mut self, share: Share<C>, now: Moment, work: &mut Work<C>) -> bool {
        let index = share.link.index;
        let Some(link) = self.at(share.link) else {
            work.drops.push(share.connection);
            return false;
        };
        link.used = link.used.saturating_sub(1);
        let (last, phase) = (link.used == 0, link.phase);
        // Not the last handle: the connection has one of its own until it ends.
        drop(share);
        match phase {
            Phase::Draining if last => self.begin_close(index, work),
            Phase::Dead if last => {
                self.free(index, work);
                return true;
            }
            Phase::Live if mutation::on(Mutation::ShareReturnServesNobody) => {}
            Phase::Live if !self.queue.is_empty() => {
                self.serve(now, work);
            }
            _ => {}
        }
        false
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
        if link.used == 0 {
            self.begin_close(index, work);
        }
    }

    pub(super) fn begin_close(&mut self, index: u32, work: &mut Work<C>) {
        let link = &mut self.links[index as usize];
        link.phase = Phase::Closing;
        self.counters.closed += 1;
        let id = LinkId {
            index,
            serial: link.serial,
        };
        if let Some(connection) = link.connection.take() {
            work.closes.push((id, connection, link.reason));
        }
    }

    /// Frees a place, with what is left of its connection.
    pub(super) fn free(&mut self, index: u32, work: &mut Work<C>) {
        let link = &mut self.links[index as usize];
        link.phase = Phase::Free;
        work.drops.extend(link.connection.take());
        if self.closed && self.taken() == 0 {
            work.wakers.append(&mut self.watchers);
        }
    }

    pub(super) fn count(&self, phase: Phase) -> u32 {
        self.links.iter().filter(|link| link.phase == phase).count() as u32
    }

    pub(super) fn taken(&self) -> u32 {
        self.links.len() as u32 - self.count(Phase::Free)
    }

    pub(super) fn alive(&self) -> u32 {
        self.count(Phase::Live) + self.count(Phase::Draining)
    }

    /// How many more connections are wanted than are being opened.
    pub(super) fn demand(&self, limits: &LinkLimits, now: Moment) -> u32 {
        if self.closed {
            return 0;
        }
        let free: u32 = self
            .links
            .iter()
            .map(Link::room)
            .fold(0, u32::saturating_add);
        let waiting = u32::try_from(self.queue.waiting()).unwrap_or(u32::MAX);
        let shares = waiting.saturating_add(limits.spare.saturating_sub(free));
        // One that takes long may never come: nobody counts on it.
        let in_time = |link: &&Link<C>| link.phase == Phase::Opening && now - link.began < LATE;
        let opening = self.links.iter().filter(in_time).count() as u32;
        let for_shares = shares.div_ceil(self.expected).saturating_sub(opening);
        let least = limits
            .min_links
            .saturating_sub(self.count(Phase::Live) + opening);
        let replaced = self.links.iter().filter(|link| link.is_replaced()).count() as u32;
        for_shares.max(least).max(replaced.saturating_sub(opening))
    }

    /// Opens what is wanted, within the bounds.
    pub(super) fn meet_demand(&mut self, limits: &LinkLimits, now: Moment, work: &mut Work<C>) {
        let mut missing = self.demand(limits, now);
        if missing == 0 && self.gate.is_failing() && !self.closed {
            // The prober, so that the pool knows when the backend is back.
            missing = 1;
        }
        let most = self.gate.may_open(limits.max_opening, now);
        while missing > 0 && self.taken() < limits.max_links && self.count(Phase::Opening) < most {
            missing -= 1;
            let serial = self.next_serial;
            self.next_serial += 1;
            let link = Link {
                serial,
                phase: Phase::Opening,
                connection: None,
                capacity: 1,
                used: 0,
                suspect: false,
                began: now,
                expires_at: Moment::NEVER,
                expired: false,
                idle_since: None,
                reason: CloseReason::Broken,
            };
            let free = |link: &Link<C>| link.phase == Phase::Free;
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

    /// Drains what is too old, and what nobody has shared for long, as long as enough are left.
    pub(super) fn retire(&mut self, limits: &LinkLimits, now: Moment, work: &mut Work<C>) {
        for index in 0..self.links.len() {
            let live = self.count(Phase::Live);
            let link = &mut self.links[index];
            if link.phase != Phase::Live {
                continue;
            }
            if link.used == 0 && link.idle_since.is_none() {
                link.idle_since = Some(now);
            }
            let idle = |after| link.idle_since.is_some_and(|since| now - since >= after);
            let unused = live > limits.min_links && limits.idle_timeout.is_some_and(idle);
            let reason = if now >= link.expires_at {
                CloseReason::Lifetime
            } else if unused {
                CloseReason::IdleTimeout
            } else {
                continue;
            };
            let serial = link.serial;
            let needed = link.used > 0 || live <= limits.min_links;
            if reason == CloseReason::Lifetime && needed && self.can_replace(index, limits) {
                self.links[index].expired = true;
            } else {
                self.drain(index as u32, serial, reason, work);
            }
        }
    }

    /// Is there nothing yet to take the place of this one, and room to open it?
    fn can_replace(&self, index: usize, limits: &LinkLimits) -> bool {
        let mut others = self.links.iter().enumerate();
        let stands_in =
            |(other, link): (usize, &Link<C>)| other != index && !link.expired && link.room() > 0;
        !others.any(stands_in)
            && (self.taken() < limits.max_links || self.count(Phase::Opening) > 0)
    }

    /// One was opened: the oldest of those that waited for their replacement goes.
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
        if self.closed {
            return Moment::NEVER;
        }
        let mut next = Moment::NEVER;
        if self.taken() > 0 || limits.min_links > 0 {
            next = now + limits.rounds;
        }
        if self.queue.wants_ticks() {
            next = next.min(now + limits.tick);
        }
        // One whose time has come is under way, or waits for a place: whoever ends that comes by.
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
            // The minimum stays, however long it is idle: there is nothing to come for.
            if live > limits.min_links
                && let (Some(since), Some(after)) = (link.idle_since, limits.idle_timeout)
            {
                next = next.min(since + after);
            }
        }
        next.max(now + Duration::from_millis(1))
    }
}

/// How many are expected to share the first one, before it has said anything.
const FIRST_GUESS: u32 = 16;

/// An open that takes longer than this is not counted on: another one is begun, if there is room.
const LATE: Duration = Duration::from_secs(1);
