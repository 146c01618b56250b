//! The count and its queue against a plain sequential model: any sequence of acquires, polls, cancels, returns, resizes and ticks.
#![allow(clippy::unwrap_used)]

use std::{
    task::{Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;

use crate::limiter::{
    lines::Ticket,
    permits::{Permits, Refusal, Take},
};

#[derive(Clone, Debug)]
enum Step {
    /// Acquires this many permits, with one of three keys or none.
    Ask(u32, Option<u64>),
    TryTake(u32),
    Poll(usize),
    Cancel(usize),
    TimeOut(usize),
    Put(usize),
    Resize(u32),
    /// One of two keepers comes by, having slept for a tick.
    Tick(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![Just(None), (0..3_u64).prop_map(Some)];
    prop_oneof![
        8 => (0..4_u32, key).prop_map(|(count, key)| Step::Ask(count, key)),
        2 => (0..4_u32).prop_map(Step::TryTake),
        6 => (0..9_usize).prop_map(Step::Poll),
        2 => (0..9_usize).prop_map(Step::Cancel),
        1 => (0..9_usize).prop_map(Step::TimeOut),
        6 => (0..9_usize).prop_map(Step::Put),
        1 => (0..6_u32).prop_map(Step::Resize),
        2 => (0..2_usize).prop_map(Step::Tick),
        1 => Just(Step::Close),
    ]
}

/// The state of an acquire.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Waits,
    /// Granted this many ticks ago.
    Granted(u32),
    /// Its grant was taken back; it is in the queue again when it is polled.
    Parked,
    Refused(Refusal),
}

#[derive(Clone, Debug)]
struct Waiter {
    count: u32,
    key: Option<u64>,
    place: Place,
}

/// A limiter in a few lines: a limit, the permits that are held, the waiters in order, and whose turn it is.
#[derive(Debug, Default)]
struct Model {
    limit: u32,
    closed: bool,
    held: Vec<u32>,
    line: Vec<Waiter>,
    turns: Vec<Option<u64>>,
    /// The time in ticks.
    now: u32,
    /// When each keeper last came by.
    seen: [Option<u32>; 2],
}

const GRACE: u32 = 3;
const MAX_WAITERS: usize = 6;

impl Model {
    fn in_use(&self) -> u32 {
        let granted = self
            .line
            .iter()
            .filter(|waiter| matches!(waiter.place, Place::Granted(_)));
        self.held.iter().sum::<u32>() + granted.map(|waiter| waiter.count).sum::<u32>()
    }

    fn free(&self) -> u32 {
        self.limit.saturating_sub(self.in_use())
    }

    fn in_line(&self) -> usize {
        let waits = |waiter: &&Waiter| matches!(waiter.place, Place::Waits | Place::Parked);
        self.line.iter().filter(waits).count()
    }

    /// There may be more waiters than the bound, because grants were taken back meanwhile.
    fn is_full(&self) -> bool {
        self.in_line() >= MAX_WAITERS
    }

    fn waiting(&self, key: Option<u64>) -> usize {
        let waits = |waiter: &&Waiter| waiter.key == key && waiter.place == Place::Waits;
        self.line.iter().filter(waits).count()
    }

    fn waits(&self, key: Option<u64>) -> bool {
        self.waiting(key) > 0
    }

    /// The key with the most waiters, if it has more than `key` would have. Of several such keys, the key whose turn is first.
    fn longest(&self, key: Option<u64>) -> Option<Option<u64>> {
        let more = |other: &&Option<u64>| self.waiting(**other) > self.waiting(key) + 1;
        let turns = self.turns.iter().rev().filter(more);
        turns.max_by_key(|other| self.waiting(**other)).copied()
    }

    fn push_out(&mut self, key: Option<u64>) {
        let longest = self.longest(key).expect("there was room");
        let waits = |waiter: &Waiter| matches!(waiter.place, Place::Waits | Place::Parked);
        let last = |waiter: &&mut Waiter| waiter.key == longest && waits(waiter);
        let last = self.line.iter_mut().rev().find(last).unwrap();
        last.place = Place::Refused(Refusal::Overloaded);
    }

    /// Whether a newcomer is served at once.
    fn admits(&self, count: u32) -> bool {
        !self.closed && self.turns.is_empty() && count <= self.free()
    }

    /// Keys without waiters have no turn.
    fn settle_turns(&mut self) {
        let mut turns = std::mem::take(&mut self.turns);
        turns.retain(|key| self.waits(*key));
        self.turns = turns;
    }

    fn serve(&mut self) {
        self.settle_turns();
        while let Some(key) = self.turns.first().copied() {
            let (limit, free) = (self.limit, self.free());
            let first = |waiter: &&mut Waiter| waiter.key == key && waiter.place == Place::Waits;
            let first = self.line.iter_mut().find(first).unwrap();
            if first.count > limit {
                first.place = Place::Refused(Refusal::TooLarge);
            } else if first.count <= free {
                first.place = Place::Granted(0);
                self.turns.rotate_left(1);
            } else {
                return;
            }
            self.settle_turns();
        }
    }

    fn tick(&mut self, keeper: usize) {
        // The time of a keeper begins when it is started.
        let alone = *self.seen[keeper].get_or_insert(self.now) == self.now;
        self.now += u32::from(alone);
        self.seen[keeper] = Some(self.now);
        if !alone {
            return;
        }
        let mut reclaimed = false;
        for waiter in &mut self.line {
            if let Place::Granted(age) = &mut waiter.place {
                *age += 1;
                if *age >= GRACE {
                    waiter.place = Place::Parked;
                    reclaimed = true;
                }
            }
        }
        if reclaimed {
            // Other waiters, of any key, may be as unpolled.
            let in_line = self
                .line
                .iter_mut()
                .filter(|waiter| waiter.place == Place::Waits);
            in_line.for_each(|waiter| waiter.place = Place::Parked);
        }
        self.serve();
    }
}

struct Run {
    permits: Permits,
    model: Model,
    tickets: Vec<Ticket>,
}

impl Run {
    fn new(limit: u32) -> Self {
        Self {
            permits: Permits::new(limit, MAX_WAITERS),
            model: Model {
                limit,
                ..Model::default()
            },
            tickets: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        let (permits, model) = (&self.permits, &mut self.model);
        match *step {
            Step::Ask(count, key) => {
                match permits.take_or_wait(count, key, Waker::noop().clone()) {
                    Take::Ready => {
                        assert!(model.admits(count));
                        model.held.push(count);
                    }
                    Take::Refused(refusal) => {
                        let expected = if model.closed {
                            Refusal::Closed
                        } else if count > model.limit {
                            Refusal::TooLarge
                        } else {
                            assert!(model.is_full() && model.longest(key).is_none());
                            Refusal::Overloaded
                        };
                        assert_eq!(refusal, expected);
                    }
                    Take::Queued(ticket) => {
                        assert!(!model.admits(count) && !model.closed);
                        if model.is_full() {
                            model.push_out(key);
                        }
                        self.tickets.push(ticket);
                        let place = Place::Waits;
                        model.line.push(Waiter { count, key, place });
                        if !model.turns.contains(&key) {
                            model.turns.push(key);
                        }
                    }
                }
            }
            Step::TryTake(count) => {
                let taken = permits.take(count) || permits.take_locked(count);
                assert_eq!(taken, model.admits(count));
                if taken {
                    model.held.push(count);
                }
            }
            Step::Poll(index) => {
                if let Some(ticket) = self.tickets.get(index) {
                    self.poll(index, permits.poll(ticket, Waker::noop()));
                }
            }
            Step::Cancel(index) | Step::TimeOut(index) if index >= self.tickets.len() => {}
            Step::Cancel(index) => {
                permits.cancel(self.tickets.remove(index));
                model.line.remove(index);
                model.serve();
            }
            Step::TimeOut(index) => {
                let answer = permits.time_out(self.tickets.remove(index));
                let waiter = model.line.remove(index);
                let expected = match waiter.place {
                    Place::Waits | Place::Parked => None,
                    Place::Granted(_) => Some(Ok(())),
                    Place::Refused(refusal) => Some(Err(refusal)),
                };
                assert_eq!(answer, expected);
                if answer == Some(Ok(())) {
                    model.held.push(waiter.count);
                }
                model.serve();
            }
            Step::Put(index) => {
                if index < model.held.len() {
                    permits.put(model.held.remove(index));
                    model.serve();
                }
            }
            Step::Resize(limit) => {
                permits.resize(limit);
                model.limit = limit;
                model.serve();
            }
            Step::Tick(keeper) => {
                let (one, home) = (Duration::from_millis(1), keeper as u64);
                permits.claim_keeper(home);
                permits.tick(home, one, GRACE * one, Waker::noop());
                model.tick(keeper);
            }
            Step::Close => {
                permits.close();
                model.closed = true;
                model.turns.clear();
                for waiter in &mut model.line {
                    if matches!(waiter.place, Place::Waits | Place::Parked) {
                        waiter.place = Place::Refused(Refusal::Closed);
                    }
                }
            }
        }
        self.check();
    }

    fn poll(&mut self, index: usize, answer: Poll<Result<(), Refusal>>) {
        let model = &mut self.model;
        if model.line[index].place == Place::Parked {
            model.line[index].place = Place::Waits;
            let key = model.line[index].key;
            if !model.turns.contains(&key) {
                // The turn that the waiter missed comes next.
                model.turns.insert(0, key);
            }
            model.serve();
        }
        let expected = match model.line[index].place {
            Place::Granted(_) => Poll::Ready(Ok(())),
            Place::Refused(refusal) => Poll::Ready(Err(refusal)),
            Place::Waits | Place::Parked => Poll::Pending,
        };
        assert_eq!(answer, expected);
        if answer.is_ready() {
            self.tickets.remove(index);
            let waiter = model.line.remove(index);
            if answer == Poll::Ready(Ok(())) {
                model.held.push(waiter.count);
            }
        }
    }

    fn check(&self) {
        let (status, model) = (self.permits.status(), &self.model);
        assert_eq!(
            (
                status.limit,
                status.in_use,
                status.available,
                status.waiting,
                status.is_closed
            ),
            (
                model.limit,
                model.in_use(),
                model.free(),
                model.in_line(),
                model.closed
            )
        );
    }

    /// All acquires and permits go; then all permits must be free.
    fn finish(mut self) {
        while !self.tickets.is_empty() {
            self.step(&Step::Cancel(0));
        }
        while !self.model.held.is_empty() {
            self.step(&Step::Put(0));
        }
        let limit = self.model.limit;
        assert_eq!(self.permits.status().available, limit);
        assert_eq!(
            self.permits.take(limit),
            !self.model.closed,
            "the way past the line is open again"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_sequence_does_what_the_model_does(limit in 0..6_u32, steps in prop::collection::vec(step(), 0..60)) {
        let mut run = Run::new(limit);
        for step in &steps {
            run.step(step);
        }
        run.finish();
    }
}
