//! Which computations run, and which callers wait for each: the part that is model-checked. There is no runtime and no clock. Of
//! the user's code only `Hash` and `Eq` of the keys run under the lock.
//!
//! A flight is in one of these phases:
//!
//! | phase | meaning | changed by |
//! |---|---|---|
//! | led | a waiter is to start the computation | that waiter, by `poll`; `leave` and `reclaim` pass the lead on |
//! | running | the computation runs, or is about to | `complete`; `gone`; `leave` of the last waiter; `decline` of the waiter that was to start it |
//! | stopping | no waiter was left, and the computation was told to stop | `gone`, `complete` |
//! | ended | there is an outcome, and the key is free again | the last waiter that fetches the outcome frees the place |
//!
//! All waiters stand in one queue, also the waiter that started the computation: a grant is the lead, a refusal is an end. All
//! changes happen under one lock. So a completion finds a waiter in the queue, or the waiter finds the key free. The last waiter
//! that leaves finds the computation running and stops it, or finds that it has ended. See `PROTOCOL.md`.

use std::{
    collections::HashMap,
    hash::Hash,
    mem,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use super::{
    FlightStatus,
    ticket::{FlightId, Join, Ticket, Told},
    work::Work,
};
use crate::{
    engine::{
        Line, Slab,
        mutation::{self, Mutation},
    },
    moment::{Moment, nanos_of},
    sync::{Mutex, MutexGuard},
};

/// All flights of one `Flight`. `A` stops a computation.
pub(super) struct Board<K, V, E, A> {
    /// The only lock. While it is held nothing else is locked, no waker runs, and no key, value or error is dropped.
    state: Mutex<State<K, V, E, A>>,
    max_waiters: usize,
    retry_errors: bool,
}

struct State<K, V, E, A> {
    by_key: HashMap<Arc<K>, u32>,
    flights: Slab<Place<K, V, E, A>>,
    next_serial: u64,
    waiting: usize,
    counters: FlightStatus,
}

/// A flight, or a free place for one.
struct Place<K, V, E, A> {
    serial: u64,
    /// `None` once the flight has ended: the key is free again.
    key: Option<Arc<K>>,
    phase: Phase<A>,
    /// The number of the current computation. There are several if one failed or was lost and the next waiter tries.
    attempt: u32,
    /// The waiter that started it, if it still waits.
    leader: Option<u64>,
    line: Line<Lead, Arc<End<V, E>>>,
    /// The waiters, including those that have not fetched their answer.
    tickets: usize,
    /// The flights that the computation waits for.
    waits_for: Vec<FlightId>,
}

#[derive(Debug)]
enum Phase<A> {
    /// `handed`: a waiter has been told.
    Led {
        handed: bool,
        /// A task looks whether that waiter takes the lead, as far as is known.
        watched: bool,
    },
    /// `None` until the thread that spawned the computation says how to stop it.
    Running(Option<A>),
    Stopping,
    Ended,
}

/// The right, and the duty, to start a computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lead;

/// How a computation ended.
#[derive(Debug)]
pub(super) enum End<V, E> {
    Value(V),
    Failed(Arc<E>),
    Panicked(Arc<str>),
}

impl<K, V, E, A> Board<K, V, E, A> {
    pub(super) fn new(max_waiters: usize, retry_errors: bool) -> Self {
        let state = State {
            by_key: HashMap::new(),
            flights: Slab::new(),
            next_serial: 0,
            waiting: 0,
            counters: FlightStatus::default(),
        };
        Self {
            state: Mutex::new(state),
            max_waiters,
            retry_errors,
        }
    }

    pub(super) fn status(&self) -> FlightStatus {
        let state = self.lock();
        FlightStatus {
            keys: state.by_key.len(),
            waiting: state.waiting,
            ..state.counters
        }
    }

    /// Flights that are not free: they run, or have answers that were not fetched.
    #[cfg(test)]
    pub(super) fn places_in_use(&self) -> usize {
        self.lock().flights.iter_mut().count()
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V, E, A>> {
        self.state.lock()
    }
}

impl<K: Hash + Eq, V, E, A> Board<K, V, E, A> {
    /// Joins the flight of `key`, or begins it. `parent` is the computation that makes the call.
    pub(super) fn join(
        &self,
        key: &Arc<K>,
        parent: Option<FlightId>,
        waker: Waker,
        now: Moment,
    ) -> Join<V, E> {
        let mut state = self.lock();
        if state.waiting >= self.max_waiters {
            state.counters.overloaded += 1;
            return Join::Overloaded(state.waiting);
        }
        let known = state.by_key.get(&**key).copied();
        if let (Some(index), Some(parent)) = (known, parent)
            && state.reaches(index, parent)
        {
            state.counters.reentrant += 1;
            return Join::Reentrant;
        }
        let leads = known.is_none();
        let index = match known {
            Some(index) => {
                state.counters.joined += 1;
                index
            }
            None => state.begin(Arc::clone(key)),
        };
        state.waiting += 1;
        let place = &mut state.flights[index];
        place.tickets += 1;
        let id = place.line.push((), waker, now);
        if leads {
            place.leader = Some(id.ticket());
        }
        let flight = FlightId {
            index,
            serial: place.serial,
        };
        let ticket = Ticket {
            flight,
            attempt: place.attempt,
            id,
            parent,
            watch: false,
        };
        if let Some(parent) = parent {
            state.waits_for(parent, |flights| flights.push(flight));
        }
        if leads {
            Join::Lead(ticket)
        } else {
            Join::Wait(ticket)
        }
    }

    /// The leader has started the computation, and `stop` stops it. Returns `stop` if the computation must be stopped at once.
    pub(super) fn started(&self, leader: &Ticket<V, E>, stop: A) -> Option<A> {
        let mut state = self.lock();
        let place = state.at(leader.flight)?;
        if place.attempt != leader.attempt && !mutation::on(Mutation::FlightLateStartStopsAnother) {
            // The computation has ended already, and another was started.
            return None;
        }
        match &mut place.phase {
            Phase::Running(handle) => handle.replace(stop),
            Phase::Stopping => Some(stop),
            // The computation has ended already.
            Phase::Led { .. } | Phase::Ended => None,
        }
    }

    /// The answer of a waiter, if there is one. An end consumes the ticket. After `Lead`, the waiter waits for the end of the
    /// computation that it starts.
    pub(super) fn poll(
        &self,
        ticket: &mut Ticket<V, E>,
        waker: &Waker,
        now: Moment,
    ) -> Poll<Told<V, E>> {
        // The waker is cloned when it is first needed, with nothing locked; the previous waker is dropped with nothing locked.
        let mut new = None;
        loop {
            let mut work = Work::new();
            let mut state = self.lock();
            let told = state.told(ticket, now, &mut work);
            let mut known = true;
            if told.is_pending() {
                let held = state.waker(ticket);
                known = held.as_ref().is_some_and(|held| held.will_wake(waker));
                if !known && new.is_some() {
                    mem::swap(held, &mut new);
                    known = true;
                }
            }
            if let Poll::Ready(Told::End(_)) = told {
                state.spend(ticket.flight, ticket.parent, &mut work);
            }
            drop(state);
            work.wake();
            if known {
                return told;
            }
            new = Some(waker.clone());
        }
    }

    /// A waiter leaves. The last waiter that leaves stops the computation.
    pub(super) fn leave(&self, ticket: Ticket<V, E>, now: Moment) -> Work<K, V, E, A> {
        self.part(ticket, false, now)
    }

    /// A waiter that was told to lead cannot start a computation, and leaves: the next waiter leads. This must be one step, because
    /// no computation runs that could end the flight.
    pub(super) fn decline(&self, ticket: Ticket<V, E>, now: Moment) -> Work<K, V, E, A> {
        self.part(
            ticket,
            !mutation::on(Mutation::FlightDeclinedLeadIsLost),
            now,
        )
    }

    fn part(&self, ticket: Ticket<V, E>, declines: bool, now: Moment) -> Work<K, V, E, A> {
        let mut work = Work::new();
        let mut state = self.lock();
        let index = ticket.flight.index;
        let place = &mut state.flights[index];
        if place.leader == Some(ticket.id.ticket()) {
            place.leader = None;
        }
        let Ticket {
            flight, id, parent, ..
        } = ticket;
        let (answer, waker) = place.line.cancel(id);
        work.dropped.2 = waker;
        match answer {
            Some(Ok(Lead)) if mutation::on(Mutation::FlightLeadIsLost) => {}
            Some(Ok(Lead)) => state.pass_lead(index, now, &mut work),
            Some(Err(end)) => work.dropped.1 = Some(end),
            None if declines => {
                state.counters.started -= 1;
                state.pass_lead(index, now, &mut work);
            }
            None => {}
        }
        state.spend(flight, parent, &mut work);
        work
    }

    /// The computation ended.
    pub(super) fn complete(
        &self,
        flight: FlightId,
        end: End<V, E>,
        now: Moment,
    ) -> Work<K, V, E, A> {
        let end = Arc::new(end);
        let mut work = Work::new();
        if mutation::on(Mutation::FlightEndIsToldTooEarly) {
            // The waiters are told; the key is freed later.
            let mut state = self.lock();
            if let Some(place) = state.at(flight) {
                place.tell_all(&end, &mut work.wakers);
            }
        }
        let mut state = self.lock();
        let Some(place) = state.at(flight) else {
            drop(state);
            return work;
        };
        if matches!(place.phase, Phase::Ended | Phase::Led { .. }) {
            drop(state);
            return work;
        }
        match &*end {
            End::Value(_) => state.counters.succeeded += 1,
            End::Failed(_) | End::Panicked(_) => state.counters.failed += 1,
        }
        let Some(place) = state.at(flight) else {
            drop(state);
            return work;
        };
        let retry = self.retry_errors && !matches!(*end, End::Value(_));
        if retry {
            place.tell_one(&end, &mut work.wakers);
            if place.is_wanted() && !mutation::on(Mutation::FlightRetryTellsNobody) {
                state.pass_lead(flight.index, now, &mut work);
                drop(state);
                return work;
            }
        }
        if !mutation::on(Mutation::FlightEndIsToldTooEarly) {
            place.tell_all(&end, &mut work.wakers);
        }
        state.end(flight.index, &mut work);
        drop(state);
        work
    }

    /// The computation is gone without an end: it was stopped, or its runtime ended.
    pub(super) fn gone(&self, flight: FlightId, now: Moment) -> Work<K, V, E, A> {
        let mut work = Work::new();
        let mut state = self.lock();
        let Some(place) = state.at(flight) else {
            return work;
        };
        let stopped = match place.phase {
            Phase::Stopping => true,
            Phase::Running(_) => false,
            Phase::Led { .. } | Phase::Ended => return work,
        };
        let wanted = place.is_wanted() && !mutation::on(Mutation::FlightStopForgetsNewcomers);
        state.counters.stopped += u64::from(stopped);
        if wanted {
            state.pass_lead(flight.index, now, &mut work);
        } else {
            state.end(flight.index, &mut work);
        }
        work
    }

    /// Passes on a lead that was handed over `grace` ago and not taken. Returns whether a lead may still have to be passed on.
    /// There is none if it was taken, or if no waiter is left to hand it to: then the next waiter that is polled takes it.
    pub(super) fn reclaim(&self, flight: FlightId, now: Moment, grace: Duration) -> bool {
        let mut work = Work::new();
        let mut state = self.lock();
        let Some(place) = state.at(flight) else {
            return false;
        };
        if !matches!(place.phase, Phase::Led { .. }) {
            return false;
        }
        // At most one, because there is one lead.
        if !place
            .line
            .reclaim(now, nanos_of(grace), &mut work.wakers)
            .is_empty()
        {
            state.pass_lead(flight.index, now, &mut work);
        }
        let place = &state.flights[flight.index];
        let more = matches!(place.phase, Phase::Led { handed: true, .. });
        drop(state);
        work.wake();
        more
    }

    /// No task looks any more whether a lead that was handed over is taken: the task has gone, or there was no runtime for one. All
    /// waiters are woken, and the first that is polled starts such a task.
    pub(super) fn unwatched(&self, flight: FlightId) {
        let mut wakers = Vec::new();
        let mut state = self.lock();
        if let Some(place) = state.at(flight)
            && let Phase::Led {
                handed: true,
                watched,
            } = &mut place.phase
        {
            *watched = false;
            if !mutation::on(Mutation::FlightWatchIsLost) {
                wakers = place.line.all_wakers();
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<K: Hash + Eq, V, E, A> State<K, V, E, A> {
    fn at(&mut self, flight: FlightId) -> Option<&mut Place<K, V, E, A>> {
        let place = self.flights.get_mut(flight.index)?;
        (place.serial == flight.serial).then_some(place)
    }

    /// Begins a flight.
    fn begin(&mut self, key: Arc<K>) -> u32 {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.counters.started += 1;
        let place = Place {
            serial,
            key: Some(Arc::clone(&key)),
            phase: Phase::Running(None),
            attempt: 0,
            leader: None,
            line: Line::new(),
            tickets: 0,
            waits_for: Vec::new(),
        };
        let index = self.flights.insert(place);
        self.by_key.insert(key, index);
        index
    }

    fn told(
        &mut self,
        ticket: &mut Ticket<V, E>,
        now: Moment,
        work: &mut Work<K, V, E, A>,
    ) -> Poll<Told<V, E>> {
        let index = ticket.flight.index;
        let line = &mut self.flights[index].line;
        let mut answer = line.answer(&ticket.id);
        let place = &mut self.flights[index];
        match &mut place.phase {
            // The waiter was parked, or has just come, and no other waiter would take the lead.
            Phase::Led { handed: false, .. } if answer.is_pending() => {
                self.pass_lead(index, now, work);
                answer = self.flights[index].line.answer(&ticket.id);
            }
            Phase::Led { watched, .. } if answer.is_pending() && !*watched => {
                (*watched, ticket.watch) = (true, true);
            }
            _ => {}
        }
        match answer {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(end)) => Poll::Ready(Told::End(end)),
            Poll::Ready(Ok(Lead)) => {
                let place = &mut self.flights[index];
                // The waiter says whom to wake when it is polled next.
                ticket.id = place.line.push((), Waker::noop().clone(), now);
                place.leader = Some(ticket.id.ticket());
                place.phase = Phase::Running(None);
                // An attempt with the same number was started 2^32 attempts ago.
                place.attempt = place.attempt.wrapping_add(1);
                ticket.attempt = place.attempt;
                self.counters.started += 1;
                Poll::Ready(Told::Lead)
            }
        }
    }

    fn waker(&mut self, ticket: &Ticket<V, E>) -> &mut Option<Waker> {
        let place = &mut self.flights[ticket.flight.index];
        place.line.waker(&ticket.id)
    }

    /// Hands the lead to the first waiter.
    fn pass_lead(&mut self, index: u32, now: Moment, work: &mut Work<K, V, E, A>) {
        let place = &mut self.flights[index];
        let next = place.line.grant(Lead, now);
        place.leader = None;
        place.phase = Phase::Led {
            handed: next.is_ok(),
            watched: next.is_ok(),
        };
        work.watch |= next.is_ok();
        work.wakers.extend(next.ok().flatten());
    }

    /// Frees the key.
    fn end(&mut self, index: u32, work: &mut Work<K, V, E, A>) {
        let place = &mut self.flights[index];
        place.phase = Phase::Ended;
        if mutation::on(Mutation::FlightEndFreesNoKey) {
            return;
        }
        if let Some(key) = place.key.take() {
            // Both handles of the key, and so the key itself, are dropped after unlocking.
            let entry = self.by_key.remove_entry(&*key);
            work.dropped.0 = entry.map(|(key, _)| key).or(Some(key));
        }
        self.free_if_unused(index);
    }

    /// A ticket is consumed. The last waiter stops the computation.
    fn spend(&mut self, flight: FlightId, parent: Option<FlightId>, work: &mut Work<K, V, E, A>) {
        self.waiting -= 1;
        if let Some(parent) = parent {
            self.waits_for(parent, |flights| {
                if let Some(found) = flights.iter().position(|other| *other == flight) {
                    flights.swap_remove(found);
                }
            });
        }
        let place = &mut self.flights[flight.index];
        place.tickets -= 1;
        let wanted = place.is_wanted();
        match &mut place.phase {
            Phase::Running(_) if mutation::on(Mutation::FlightLastLeaverStopsNothing) => {}
            Phase::Running(stop) if !wanted => {
                work.stop = stop.take();
                place.phase = Phase::Stopping;
            }
            // No waiter is left that could start it.
            Phase::Led { handed: false, .. } if !wanted => self.end(flight.index, work),
            Phase::Ended => self.free_if_unused(flight.index),
            Phase::Running(_) | Phase::Led { .. } | Phase::Stopping => {}
        }
    }

    fn free_if_unused(&mut self, index: u32) {
        let place = &self.flights[index];
        if place.tickets == 0 && matches!(place.phase, Phase::Ended) {
            // The queue is empty, so it holds no waker.
            drop(self.flights.remove(index));
            if self.by_key.len() * 4 < self.by_key.capacity() && self.by_key.capacity() > FEW_KEYS {
                self.by_key.shrink_to(FEW_KEYS.max(self.by_key.len() * 2));
            }
        }
    }

    fn waits_for(&mut self, parent: FlightId, change: impl FnOnce(&mut Vec<FlightId>)) {
        if let Some(parent) = self.at(parent) {
            change(&mut parent.waits_for);
        }
    }

    /// Whether the computation at `from` is that of `target`, or waits for it, directly or through others.
    fn reaches(&self, from: u32, target: FlightId) -> bool {
        let mut seen = vec![from];
        let mut next = 0;
        while let Some(index) = seen.get(next).copied() {
            next += 1;
            let place = &self.flights[index];
            if index == target.index && place.serial == target.serial {
                return true;
            }
            for flight in &place.waits_for {
                let other = self.flights.get(flight.index);
                let live = other.is_some_and(|other| other.serial == flight.serial);
                if live && !seen.contains(&flight.index) {
                    seen.push(flight.index);
                }
            }
        }
        false
    }
}

impl<K, V, E, A> Place<K, V, E, A> {
    /// Whether there is a waiter, parked or not. (The queue's own `is_empty` counts only waiters that would fetch a grant.)
    fn is_wanted(&self) -> bool {
        let in_line = self.line.len();
        in_line > 0
    }

    fn tell_all(&mut self, end: &Arc<End<V, E>>, wakers: &mut Vec<Waker>) {
        wakers.append(&mut self.line.refuse_all(|| Arc::clone(end)));
    }

    /// Tells the leader, or the first waiter if the leader has gone.
    fn tell_one(&mut self, end: &Arc<End<V, E>>, wakers: &mut Vec<Waker>) {
        let told = match self.leader.take() {
            Some(leader) => self.line.refuse_ticket(leader, Arc::clone(end)),
            None => self.line.refuse_first(Arc::clone(end)),
        };
        wakers.extend(told);
    }
}

/// A map with room for this many keys is not worth shrinking.
const FEW_KEYS: usize = 64;
