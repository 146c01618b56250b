//! Connections, their shares, and those who wait for one: the part that is model-checked. No runtime, no clock, no user code under
//! the lock.
//!
//! | phase of a connection | what it means | who moves it on |
//! |---|---|---|
//! | free | a place for the next one | `meet_demand` |
//! | opening | it is being opened | `opened`, `open_failed`, `vacate` |
//! | live | it takes as many shares as its capacity says; none while it is suspect | `drain`, `fail`, `tick`, `close` |
//! | draining | it takes no more; its last share closes it | `put`, `fail` |
//! | dead | it takes no more, and those who share it were told; its last share frees it | `put` |
//! | closing | no share is left, goodbyes are being said | `vacate` |
//!
//! Shares are counted where the connection is chosen, under the one lock: a share is taken when it is granted, and given back by its
//! holder, or by the waiter that did not fetch it. So a capacity that falls never takes a share away; it only gives out no new one.

use std::{
    mem,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use crate::{
    engine::{
        Backoff, Gate, Refusal,
        mutation::{self, Mutation},
        queue::{WaitQueue, WaiterId},
    },
    moment::Moment,
    observe::CloseReason,
    sync::{Mutex, MutexGuard},
};

/// The bounds of one shared pool.
#[derive(Clone, Debug)]
pub(super) struct LinkLimits {
    pub(super) max_links: u32,
    pub(super) min_links: u32,
    pub(super) max_opening: u32,
    pub(super) max_waiters: usize,
    /// Another is opened when fewer shares than this are free.
    pub(super) spare: u32,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) reclaim_after: Duration,
    pub(super) tick: Duration,
    pub(super) rounds: Duration,
}

/// The state machine of one shared pool, over connections `C`, with open failures kept as `E`.
#[derive(Debug)]
pub(super) struct Links<C, E: Clone> {
    /// The only lock. While it is held nothing else is locked, no waker runs, and no connection is dropped.
    state: Mutex<State<C, E>>,
    pub(super) limits: LinkLimits,
}

#[derive(Debug)]
struct State<C, E: Clone> {
    links: Vec<Link<C>>,
    queue: WaitQueue<Share<C>, Refusal<E>>,
    gate: Gate<E>,
    next_serial: u64,
    /// What one more is expected to take: what was last published, or a guess.
    expected: u32,
    closed: bool,
    /// How often the keeper comes by while a grant is on its way.
    tick: Duration,
    keeper: Option<Waker>,
    keeper_next: Moment,
    watchers: Vec<Waker>,
    counters: Counters,
}

#[derive(Debug)]
struct Link<C> {
    serial: u64,
    phase: Phase,
    connection: Option<Arc<C>>,
    capacity: u32,
    used: u32,
    suspect: bool,
    /// When its open began.
    began: Moment,
    expires_at: Moment,
    /// Since when the keeper has seen it without a share.
    idle_since: Option<Moment>,
    reason: CloseReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Free,
    Opening,
    Live,
    Draining,
    Dead,
    Closing,
}

/// Names a connection, also after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkId {
    index: u32,
    serial: u64,
}

/// One share of a connection. Whoever has it gives it back by [`Links::put`].
#[derive(Debug)]
pub(super) struct Share<C> {
    pub(super) link: LinkId,
    pub(super) connection: Arc<C>,
}

/// What came of asking for a share.
#[derive(Debug)]
pub(super) enum Take<C, E> {
    Ready(Share<C>),
    Queued(WaiterId, Work<C>),
    Refused(Refusal<E>),
}

/// Counts since the pool was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) gets: u64,
    pub(super) waited: u64,
    pub(super) opened: u64,
    pub(super) open_failures: u64,
    pub(super) closed: u64,
    pub(super) died: u64,
    pub(super) timeouts: u64,
    pub(super) overloaded: u64,
    pub(super) cancelled: u64,
    pub(super) reclaimed: u64,
}

/// All counts, as they were at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) live: u32,
    pub(super) suspect: u32,
    pub(super) draining: u32,
    pub(super) dead: u32,
    pub(super) opening: u32,
    pub(super) closing: u32,
    pub(super) capacity: u32,
    pub(super) used: u32,
    pub(super) available: u32,
    pub(super) waiting: usize,
    pub(super) closed: bool,
    pub(super) counters: Counters,
}

/// What is left to do after the lock was released.
#[derive(Debug)]
#[must_use]
pub(super) struct Work<C> {
    pub(super) wakers: Vec<Waker>,
    pub(super) opens: Vec<LinkId>,
    /// Nobody shares these any more: to be closed, and then vacated.
    pub(super) closes: Vec<(LinkId, Arc<C>, CloseReason)>,
    /// These died: those who share them are to be told.
    pub(super) deaths: Vec<Arc<C>>,
    /// To be dropped.
    pub(super) drops: Vec<Arc<C>>,
}

impl<C> Default for Work<C> {
    fn default() -> Self {
        Self {
            wakers: Vec::new(),
            opens: Vec::new(),
            closes: Vec::new(),
            deaths: Vec::new(),
            drops: Vec::new(),
        }
    }
}

impl<C, E: Clone> Links<C, E> {
    pub(super) fn new(limits: LinkLimits) -> Self {
        let state = State {
            links: Vec::new(),
            queue: WaitQueue::new(),
            gate: Gate::new(Backoff::default()),
            next_serial: 0,
            expected: FIRST_GUESS,
            closed: false,
            tick: limits.tick,
            keeper: None,
            keeper_next: Moment::NEVER,
            watchers: Vec::new(),
            counters: Counters::default(),
        };
        Self {
            state: Mutex::new(state),
            limits,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C, E>> {
        self.state.lock()
    }

    /// Takes a share of the least loaded connection, if nobody stands in line.
    #[inline]
    pub(super) fn take(&self) -> Option<Share<C>> {
        let mut state = self.lock();
        // With spare shares to keep up, the slow way looks after them.
        if !state.queue.is_empty() || state.closed || self.limits.spare > 0 {
            return None;
        }
        let share = state.share()?;
        state.counters.gets += 1;
        Some(share)
    }

    /// Takes a share, or joins the line.
    ///
    /// Both under one lock: a return either finds the waiter in line, or the waiter finds what was returned.
    pub(super) fn take_or_wait(&self, waker: Waker, now: Moment) -> (Take<C, E>, Work<C>) {
        let mut work = Work::default();
        let mut state = self.lock();
        if state.closed {
            return (Take::Refused(Refusal::Closed), work);
        }
        if state.queue.is_empty()
            && let Some(share) = state.share()
        {
            state.counters.gets += 1;
            state.meet_demand(&self.limits, now, &mut work);
            return (Take::Ready(share), work);
        }
        if let Some(error) = state.gate.verdict(state.alive()) {
            return (Take::Refused(Refusal::Connect(error)), work);
        }
        if state.queue.len() >= self.limits.max_waiters {
            state.counters.overloaded += 1;
            return (Take::Refused(Refusal::Overloaded), work);
        }
        let id = state.queue.push((), waker, now);
        state.meet_demand(&self.limits, now, &mut work);
        state.call_keeper(now + self.limits.tick, &mut work.wakers);
        drop(state);
        (Take::Queued(id, work), Work::default())
    }

    /// Has a waiter its answer? After that its id is spent.
    pub(super) fn poll(
        &self,
        id: &WaiterId,
        waker: &Waker,
        now: Moment,
    ) -> (Poll<Result<Share<C>, Refusal<E>>>, Work<C>) {
        let mut work = Work::default();
        // Cloned when it is first needed, with nothing locked, and so is the one before dropped.
        let mut new = None;
        loop {
            let mut state = self.lock();
            let mut answer = state.queue.answer(id);
            if answer.is_pending() && state.serve(now, &mut work) {
                answer = state.queue.answer(id);
            }
            let mut known = true;
            match &answer {
                Poll::Ready(Ok(_)) => {
                    state.counters.gets += 1;
                    state.counters.waited += 1;
                }
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

    /// A waiter gives up at its deadline: what it was told or handed meanwhile, if anything.
    pub(super) fn time_out(&self, id: WaiterId) -> Option<Result<Share<C>, Refusal<E>>> {
        let mut state = self.lock();
        let held = state.queue.waker(&id).take();
        let answer = state.queue.cancel(id);
        match &answer {
            Some(Ok(_)) => {
                state.counters.gets += 1;
                state.counters.waited += 1;
            }
            Some(Err(_)) => {}
            None => state.counters.timeouts += 1,
        }
        drop(state);
        drop(held);
        answer
    }

    /// A waiter goes away. What was handed to it goes to the next in line.
    pub(super) fn cancel(&self, id: WaiterId, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.counters.cancelled += 1;
        let held = state.queue.waker(&id).take();
        match state.queue.cancel(id) {
            Some(Ok(share)) if mutation::on(Mutation::ShareCancelKeepsGrant) => {
                work.drops.push(share.connection);
            }
            Some(Ok(share)) => {
                if state.put(share, now, &mut work) {
                    state.meet_demand(&self.limits, now, &mut work);
                }
            }
            Some(Err(_)) | None => {}
        }
        drop(state);
        drop(held);
        work
    }

    /// Gives a share back.
    #[inline]
    pub(super) fn put(&self, share: Share<C>, now: impl FnOnce() -> Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        // With nobody in line the time is of no consequence.
        let now = match state.queue.is_empty() {
            true => Moment::from_nanos(0),
            false => now(),
        };
        if state.put(share, now, &mut work) && !mutation::on(Mutation::ShareDeathOpensNothing) {
            state.meet_demand(&self.limits, now, &mut work);
        }
        work
    }

    /// So many may share this one from now on.
    pub(super) fn set_capacity(&self, link: LinkId, capacity: u32, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        if let Some(link) = state.at(link) {
            link.capacity = capacity;
            if mutation::on(Mutation::ShareCapacityForgetsUsed) {
                link.used = 0;
            }
            if capacity > 0 {
                state.expected = capacity;
            }
            if !mutation::on(Mutation::ShareCapacityServesNobody) {
                state.serve(now, &mut work);
            }
            state.meet_demand(&self.limits, now, &mut work);
        }
        work
    }

    /// This one is suspect, and gets no new shares, or is trusted again.
    pub(super) fn set_suspect(&self, link: LinkId, suspect: bool, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        if let Some(link) = state.at(link) {
            link.suspect = suspect;
            state.serve(now, &mut work);
            state.meet_demand(&self.limits, now, &mut work);
        }
        work
    }

    /// This one takes no more, and closes when its last share ends.
    pub(super) fn drain(&self, link: LinkId, reason: CloseReason, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.drain(link.index, link.serial, reason, &mut work);
        state.meet_demand(&self.limits, now, &mut work);
        work
    }

    /// This one is dead: it takes no more, and those who share it are told at once.
    pub(super) fn fail(&self, link: LinkId, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        let index = link.index;
        let Some(link) = state.at(link) else {
            return work;
        };
        match link.phase {
            Phase::Live | Phase::Draining => {}
            // Whoever opens it finds it dead; a death while closing changes nothing.
            Phase::Opening => {
                link.phase = Phase::Dead;
                state.meet_demand(&self.limits, now, &mut work);
                return work;
            }
            Phase::Free | Phase::Dead | Phase::Closing => return work,
        }
        link.phase = Phase::Dead;
        let unused = link.used == 0;
        work.deaths.extend(link.connection.clone());
        state.counters.died += 1;
        if unused {
            state.free(index, &mut work);
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
        connection: Arc<C>,
        expires_at: Moment,
        now: Moment,
    ) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.gate.succeeded();
        state.counters.opened += 1;
        let closed = state.closed;
        let index = link.index;
        match state.at(link) {
            Some(link) if link.phase == Phase::Opening => {
                link.phase = Phase::Live;
                link.connection = Some(connection);
                link.expires_at = expires_at;
            }
            Some(link) if link.phase == Phase::Dead => {
                link.connection = Some(Arc::clone(&connection));
                work.deaths.push(connection);
                state.counters.died += 1;
                state.free(index, &mut work);
            }
            _ => {
                work.drops.push(connection);
                return work;
            }
        }
        if closed {
            state.drain(index, link.serial, CloseReason::PoolClosed, &mut work);
        }
        state.serve(now, &mut work);
        state.meet_demand(&self.limits, now, &mut work);
        state.call_keeper(now + self.limits.rounds, &mut work.wakers);
        work
    }

    /// Nothing could be opened on this place. `jitter` is uniform in `0.0..1.0`.
    pub(super) fn open_failed(&self, link: LinkId, error: E, now: Moment, jitter: f64) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        state.counters.open_failures += 1;
        state.gate.failed(error, now, jitter);
        if state.at(link).is_some() && !mutation::on(Mutation::ShareFailedOpenKeepsPlace) {
            state.free(link.index, &mut work);
        }
        if let Some(error) = state.gate.verdict(state.alive()) {
            let mut told = state.queue.refuse_all(|| Refusal::Connect(error.clone()));
            work.wakers.append(&mut told);
        }
        state.meet_demand(&self.limits, now, &mut work);
        if let Some(next_try) = state.gate.next_try() {
            state.call_keeper(next_try, &mut work.wakers);
        }
        work
    }

    /// What was opening or closing here is gone: the place is free. Here may be no runtime to open the next one on.
    pub(super) fn vacate(&self, link: LinkId, now: Moment) -> Work<C> {
        let mut work = Work::default();
        let mut state = self.lock();
        if state.at(link).is_some() {
            state.free(link.index, &mut work);
            if state.demand(&self.limits, now) > 0 {
                let next = state.keeper.take().or_else(|| state.queue.first_waker());
                work.wakers.extend(next);
            }
        }
        work
    }

    /// One round: takes back what nobody fetched, retires what is too old or unused, opens what is missing. Says when to come
    /// again.
    pub(super) fn tick(&self, now: Moment, keeper: Waker) -> (Moment, Work<C>) {
        let limits = &self.limits;
        let mut work = Work::default();
        let mut state = self.lock();
        while let Some(share) = state.queue.reclaim(now, limits.reclaim_after) {
            state.counters.reclaimed += 1;
            state.put(share, now, &mut work);
        }
        // Those who came before the last tick keep a timer of their own from now on; short waits, which are most, never do.
        let passed = now - Moment::from_nanos(0);
        let before = Moment::from_nanos(0) + passed.saturating_sub(limits.tick);
        state.queue.arm(before, &mut work.wakers);
        state.retire(limits, now, &mut work);
        state.serve(now, &mut work);
        state.meet_demand(limits, now, &mut work);
        let next = state.next_round(limits, now);
        let before = state.keeper.replace(keeper);
        state.keeper_next = next;
        drop(state);
        drop(before);
        (next, work)
    }

    /// The keeper is gone, with its runtime. Whoever is polled next starts another.
    pub(super) fn keeper_left(&self) -> Option<Waker> {
        let mut state = self.lock();
        state.keeper = None;
        state.keeper_next = Moment::NEVER;
        state.queue.first_waker()
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
        work.wakers.extend(state.keeper.take());
        work
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ready when the pool is closed and everything it opened is gone.
    pub(super) fn poll_drained(&self, waker: Waker) -> Poll<()> {
        let mut state = self.lock();
        if state.closed && state.taken() == 0 {
            return Poll::Ready(());
        }
        if !state.watchers.iter().any(|known| known.will_wake(&waker)) {
            state.watchers.push(waker);
        }
        Poll::Pending
    }

    pub(super) fn is_armed(&self, id: &WaiterId) -> bool {
        self.lock().queue.is_armed(id)
    }

    pub(super) fn last_error(&self) -> Option<E> {
        self.lock().gate.last_error()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let mut of = Snapshot {
            waiting: state.queue.len(),
            closed: state.closed,
            counters: state.counters,
            ..Snapshot::default()
        };
        for link in &state.links {
            of.used += link.used;
            match link.phase {
                Phase::Free => {}
                Phase::Opening => of.opening += 1,
                Phase::Live => {
                    of.live += 1;
                    of.suspect += u32::from(link.suspect);
                    of.capacity = of.capacity.saturating_add(link.capacity);
                    of.available = of.available.saturating_add(link.room());
                }
                Phase::Draining => of.draining += 1,
                Phase::Dead => of.dead += 1,
                Phase::Closing => of.closing += 1,
            }
        }
        of
    }
}

impl<C, E: Clone> State<C, E> {
    fn at(&mut self, id: LinkId) -> Option<&mut Link<C>> {
        let link = self.links.get_mut(id.index as usize)?;
        (link.serial == id.serial && link.phase != Phase::Free).then_some(link)
    }

    /// A share of the least loaded connection; of those that are loaded alike, of the youngest.
    #[inline]
    fn share(&mut self) -> Option<Share<C>> {
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
    fn serve(&mut self, now: Moment, work: &mut Work<C>) -> bool {
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
            self.call_keeper(now + self.tick, &mut work.wakers);
        }
        served
    }

    /// Takes a share back. The last one of a connection that is on its way out ends it. Is a place free now?
    fn put(&mut self, share: Share<C>, now: Moment, work: &mut Work<C>) -> bool {
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

    fn drain(&mut self, index: u32, serial: u64, reason: CloseReason, work: &mut Work<C>) {
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

    fn begin_close(&mut self, index: u32, work: &mut Work<C>) {
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
    fn free(&mut self, index: u32, work: &mut Work<C>) {
        let link = &mut self.links[index as usize];
        link.phase = Phase::Free;
        work.drops.extend(link.connection.take());
        if self.closed && self.taken() == 0 {
            work.wakers.append(&mut self.watchers);
        }
    }

    fn count(&self, phase: Phase) -> u32 {
        self.links.iter().filter(|link| link.phase == phase).count() as u32
    }

    fn taken(&self) -> u32 {
        self.links.len() as u32 - self.count(Phase::Free)
    }

    fn alive(&self) -> u32 {
        self.count(Phase::Live) + self.count(Phase::Draining)
    }

    /// How many more connections are wanted than are being opened.
    fn demand(&self, limits: &LinkLimits, now: Moment) -> u32 {
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
        for_shares.max(least)
    }

    /// Opens what is wanted, within the bounds.
    fn meet_demand(&mut self, limits: &LinkLimits, now: Moment, work: &mut Work<C>) {
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
    fn retire(&mut self, limits: &LinkLimits, now: Moment, work: &mut Work<C>) {
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
            self.drain(index as u32, serial, reason, work);
        }
    }

    fn next_round(&self, limits: &LinkLimits, now: Moment) -> Moment {
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
        if let Some(next_try) = self.gate.next_try() {
            next = next.min(next_try);
        }
        for link in &self.links {
            if link.phase == Phase::Opening && link.began + LATE > now {
                next = next.min(link.began + LATE);
            }
            if link.phase != Phase::Live {
                continue;
            }
            next = next.min(link.expires_at);
            if let (Some(since), Some(after)) = (link.idle_since, limits.idle_timeout) {
                next = next.min(since + after);
            }
        }
        next.max(now + Duration::from_millis(1))
    }

    /// Makes sure that the keeper comes by at `at`, or earlier.
    fn call_keeper(&mut self, at: Moment, wakers: &mut Vec<Waker>) {
        if at < self.keeper_next
            && let Some(keeper) = self.keeper.take()
        {
            self.keeper_next = Moment::from_nanos(0);
            wakers.push(keeper);
        }
    }
}

impl<C> Link<C> {
    /// How many more shares it may give.
    #[inline]
    fn room(&self) -> u32 {
        let takes =
            self.phase == Phase::Live && (!self.suspect || mutation::on(Mutation::ShareOfSuspect));
        if takes {
            self.capacity.saturating_sub(self.used)
        } else {
            0
        }
    }

    /// Is it less loaded than `other`, or loaded alike and younger?
    #[inline]
    fn comes_before(&self, other: &Self) -> bool {
        let ours = u64::from(self.used) * u64::from(other.capacity);
        let theirs = u64::from(other.used) * u64::from(self.capacity);
        ours < theirs || (ours == theirs && self.serial > other.serial)
    }
}

/// How many are expected to share the first one, before it has said anything.
const FIRST_GUESS: u32 = 16;

/// An open that takes longer than this is not counted on: another one is begun, if there is room.
const LATE: Duration = Duration::from_secs(1);
