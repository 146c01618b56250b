//! The board against a plain sequential model: any sequence of calls, polls, cancels and ends.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;

use crate::{
    flight::{
        board::{Board, End},
        ticket::{FlightId, Join, Ticket, Told},
    },
    moment::Moment,
};

#[derive(Clone, Debug)]
enum Step {
    /// Calls for a key, on behalf of the computation of another key, or of none.
    Join(u8, Option<u8>),
    /// Starts the computation if this call is told to lead, or declines.
    Poll(usize, bool),
    Leave(usize),
    Complete(u8, bool),
    Gone(u8),
    /// This many milliseconds pass, and leads that were not taken for 50 ms are passed on.
    Reclaim(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u8, prop::option::weighted(0.3, 0..3_u8)).prop_map(|(key, by)| Step::Join(key, by)),
        6 => (0..8_usize, prop::bool::weighted(0.8)).prop_map(|(index, can)| Step::Poll(index, can)),
        3 => (0..8_usize).prop_map(Step::Leave),
        3 => (0..3_u8, any::<bool>()).prop_map(|(key, good)| Step::Complete(key, good)),
        1 => (0..3_u8).prop_map(Step::Gone),
        1 => (0..80_u64).prop_map(Step::Reclaim),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Waits,
    /// Told to lead, at this time.
    Leads(u64),
    /// Did not take the lead in time; waits again when it is polled.
    Parked,
    Told(bool),
}

#[derive(Debug)]
struct Waiter {
    key: u8,
    flight: FlightId,
    parent: Option<FlightId>,
    /// The place of the waiter in the queue.
    order: u64,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Led,
    Running,
    Stopping,
}

#[derive(Debug)]
struct Flying {
    flight: FlightId,
    phase: Phase,
    /// The place of the waiter that started it.
    leader: Option<u64>,
}

/// The state of a flight, in maps and lists.
#[derive(Debug, Default)]
struct Model {
    retry: bool,
    keys: BTreeMap<u8, Flying>,
    waiters: Vec<Waiter>,
    next: u64,
    now: u64,
}

const MAX_WAITERS: usize = 7;
const GRACE: u64 = 50;

impl Model {
    fn of(&mut self, flight: FlightId) -> impl Iterator<Item = &mut Waiter> {
        self.waiters
            .iter_mut()
            .filter(move |waiter| waiter.flight == flight)
    }

    /// The first waiter of the queue.
    fn first(&mut self, flight: FlightId) -> Option<&mut Waiter> {
        let waits = self
            .of(flight)
            .filter(|waiter| waiter.place == Place::Waits);
        waits.min_by_key(|waiter| waiter.order)
    }

    fn in_line(&mut self, flight: FlightId) -> bool {
        self.of(flight)
            .any(|waiter| matches!(waiter.place, Place::Waits | Place::Parked))
    }

    fn pass_lead(&mut self, key: u8) {
        let now = self.now;
        let Some(flying) = self.keys.get_mut(&key) else {
            return;
        };
        (flying.phase, flying.leader) = (Phase::Led, None);
        let flight = flying.flight;
        if let Some(first) = self.first(flight) {
            first.place = Place::Leads(now);
        }
    }

    fn tidy(&mut self, key: u8) -> bool {
        let Some(flying) = self.keys.get(&key) else {
            return false;
        };
        let (flight, phase) = (flying.flight, flying.phase);
        let line = self.in_line(flight);
        let led = self
            .of(flight)
            .any(|waiter| matches!(waiter.place, Place::Leads(_)));
        match phase {
            Phase::Running if !line => {
                self.keys.get_mut(&key).unwrap().phase = Phase::Stopping;
                true
            }
            Phase::Led if !line && !led => {
                self.keys.remove(&key);
                false
            }
            _ => false,
        }
    }

    /// Whether a computation of `from` would wait for `target`.
    fn reaches(&self, from: FlightId, target: FlightId) -> bool {
        let waits_for = |flight| {
            let by = move |waiter: &&Waiter| waiter.parent == Some(flight);
            self.waiters.iter().filter(by).map(|waiter| waiter.flight)
        };
        let mut seen = vec![from];
        let mut next = 0;
        while next < seen.len() {
            for flight in waits_for(seen[next]) {
                if !seen.contains(&flight) {
                    seen.push(flight);
                }
            }
            next += 1;
        }
        seen.contains(&target)
    }
}

struct Run {
    board: Board<u8, (), (), u8>,
    model: Model,
    tickets: Vec<Ticket<(), ()>>,
}

impl Run {
    fn new(retry: bool) -> Self {
        Self {
            board: Board::new(MAX_WAITERS, retry),
            model: Model {
                retry,
                ..Model::default()
            },
            tickets: Vec::new(),
        }
    }

    fn now(&self) -> Moment {
        Moment::from_nanos(0) + Duration::from_millis(self.model.now)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join(key, by) => self.join(key, by),
            Step::Poll(index, can) if index < self.tickets.len() => self.poll(index, can),
            Step::Leave(index) if index < self.tickets.len() => self.leave(index),
            Step::Poll(..) | Step::Leave(_) => {}
            Step::Complete(key, good) => self.complete(key, good),
            Step::Gone(key) => self.gone(key),
            Step::Reclaim(ms) => self.reclaim(ms),
        }
        let status = self.board.status();
        let waiting = self.tickets.len();
        assert_eq!(
            (status.keys, status.waiting),
            (self.model.keys.len(), waiting)
        );
    }

    fn join(&mut self, key: u8, by: Option<u8>) {
        let now = self.now();
        let model = &mut self.model;
        let running = |flying: &&Flying| flying.phase == Phase::Running;
        let parent = by
            .and_then(|by| model.keys.get(&by).filter(running))
            .map(|by| by.flight);
        let known = model.keys.get(&key).map(|flying| flying.flight);
        let reentrant = match (known, parent) {
            (Some(known), Some(parent)) => model.reaches(known, parent),
            _ => false,
        };
        let full = self.tickets.len() >= MAX_WAITERS;
        let joined = self
            .board
            .join(&Arc::new(key), parent, Waker::noop().clone(), now);
        let ticket = match joined {
            Join::Overloaded(waiting) => {
                assert!(full && waiting == MAX_WAITERS);
                return;
            }
            Join::Reentrant => return assert!(reentrant && !full),
            Join::Lead(ticket) => {
                assert!(known.is_none());
                assert_eq!(self.board.started(&ticket, key), None);
                let flight = ticket.flight();
                let (phase, leader) = (Phase::Running, Some(model.next));
                model.keys.insert(
                    key,
                    Flying {
                        flight,
                        phase,
                        leader,
                    },
                );
                ticket
            }
            Join::Wait(ticket) => {
                assert_eq!(known, Some(ticket.flight()));
                ticket
            }
        };
        assert!(!reentrant && !full);
        let order = model.next;
        model.next += 1;
        let flight = ticket.flight();
        model.waiters.push(Waiter {
            key,
            flight,
            parent,
            order,
            place: Place::Waits,
        });
        self.tickets.push(ticket);
    }

    fn poll(&mut self, index: usize, can: bool) {
        let now = self.now();
        let told = self
            .board
            .poll(&mut self.tickets[index], Waker::noop(), now);
        let model = &mut self.model;
        let (key, flight) = (model.waiters[index].key, model.waiters[index].flight);
        if matches!(model.waiters[index].place, Place::Waits | Place::Parked) {
            model.waiters[index].place = Place::Waits;
            let led = model
                .keys
                .get(&key)
                .is_some_and(|flying| flying.phase == Phase::Led);
            let handed = model
                .of(flight)
                .any(|waiter| matches!(waiter.place, Place::Leads(_)));
            if led && !handed {
                model.pass_lead(key);
            }
        }
        match told {
            Poll::Pending => assert_eq!(model.waiters[index].place, Place::Waits),
            Poll::Ready(Told::Lead) => {
                assert!(matches!(model.waiters[index].place, Place::Leads(_)));
                if !can {
                    let work = self.board.decline(self.tickets.remove(index), now);
                    model.waiters.remove(index);
                    model.pass_lead(key);
                    model.tidy(key);
                    assert_eq!(work.stop, None);
                    return;
                }
                assert_eq!(self.board.started(&self.tickets[index], key), None);
                let order = model.next;
                model.next += 1;
                (model.waiters[index].place, model.waiters[index].order) = (Place::Waits, order);
                let flying = model.keys.get_mut(&key).unwrap();
                (flying.phase, flying.leader) = (Phase::Running, Some(order));
            }
            Poll::Ready(Told::End(end)) => {
                let good = matches!(*end, End::Value(()));
                assert_eq!(model.waiters[index].place, Place::Told(good));
                self.tickets.remove(index);
                model.waiters.remove(index);
                model.tidy(key);
            }
        }
    }

    fn leave(&mut self, index: usize) {
        let now = self.now();
        let work = self.board.leave(self.tickets.remove(index), now);
        let waiter = self.model.waiters.remove(index);
        if let Place::Leads(_) = waiter.place {
            self.model.pass_lead(waiter.key);
        }
        let current = self.model.keys.get(&waiter.key).map(|flying| flying.flight);
        let stops = current == Some(waiter.flight) && self.model.tidy(waiter.key);
        assert_eq!(work.stop, stops.then_some(waiter.key));
    }

    fn complete(&mut self, key: u8, good: bool) {
        let end = if good {
            End::Value(())
        } else {
            End::Failed(Arc::new(()))
        };
        let now = self.now();
        let Some(flying) = self.model.keys.get(&key) else {
            return;
        };
        let (flight, phase, leader) = (flying.flight, flying.phase, flying.leader);
        drop(self.board.complete(flight, end, now));
        if phase == Phase::Led {
            return;
        }
        let model = &mut self.model;
        if model.retry && !good {
            let in_line =
                |waiter: &&mut Waiter| matches!(waiter.place, Place::Waits | Place::Parked);
            let led = |waiter: &&mut Waiter| in_line(waiter) && Some(waiter.order) == leader;
            if let Some(leader) = model.of(flight).find(led) {
                leader.place = Place::Told(false);
            } else if let Some(first) = model.first(flight) {
                first.place = Place::Told(false);
            }
            if model.in_line(flight) {
                return model.pass_lead(key);
            }
        }
        for waiter in model.of(flight) {
            if matches!(waiter.place, Place::Waits | Place::Parked) {
                waiter.place = Place::Told(good);
            }
        }
        model.keys.remove(&key);
    }

    fn gone(&mut self, key: u8) {
        let now = self.now();
        let Some(flying) = self.model.keys.get(&key) else {
            return;
        };
        let (flight, phase) = (flying.flight, flying.phase);
        drop(self.board.gone(flight, now));
        if phase == Phase::Led {
            return;
        }
        if self.model.in_line(flight) {
            self.model.pass_lead(key);
        } else {
            self.model.keys.remove(&key);
        }
    }

    fn reclaim(&mut self, ms: u64) {
        self.model.now += ms;
        let now = self.now();
        let led: Vec<_> = self
            .model
            .keys
            .iter()
            .map(|(key, flying)| (*key, flying.flight))
            .collect();
        for (key, flight) in led {
            let more = self
                .board
                .reclaim(flight, now, Duration::from_millis(GRACE));
            let model = &mut self.model;
            let at = model.now;
            let late = |waiter: &&mut Waiter| matches!(waiter.place, Place::Leads(since) if at - since >= GRACE);
            let late = model
                .of(flight)
                .find(late)
                .map(|waiter| waiter.place = Place::Parked);
            if late.is_some() {
                // Other waiters may be as unpolled.
                let waits = |waiter: &&mut Waiter| waiter.place == Place::Waits;
                let in_line = model.of(flight).filter(waits);
                in_line.for_each(|waiter| waiter.place = Place::Parked);
                model.pass_lead(key);
            }
            let handed = |waiter: &mut Waiter| matches!(waiter.place, Place::Leads(_));
            let led = model.keys[&key].phase == Phase::Led;
            assert_eq!(more, led && model.of(flight).any(handed));
        }
    }

    /// All waiters leave and all computations end; then nothing may be left.
    fn finish(mut self) {
        while !self.tickets.is_empty() {
            self.step(&Step::Leave(0));
        }
        for key in 0..3 {
            self.step(&Step::Gone(key));
        }
        assert_eq!(self.board.status().keys, 0);
        assert_eq!(self.board.places_in_use(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_sequence_does_what_the_model_does(retry: bool, steps in prop::collection::vec(step(), 0..60)) {
        let mut run = Run::new(retry);
        for step in &steps {
            run.step(step);
        }
        run.finish();
    }
}
