//! The kernel against a plain sequential model: any sequence of gets, polls, returns, cancels, resizes, resets and ticks.
#![allow(clippy::unwrap_used)]

use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::bed::{Bed, START, TestSlot, Wait, limits};
use crate::{
    engine::{Kernel, Refusal},
    observe::CloseReason,
};

#[derive(Clone, Debug)]
enum Step {
    Get,
    Poll(usize),
    Cancel(usize),
    Put(usize),
    Discard(usize),
    Drop(usize),
    Resize(u32),
    ResetAll,
    /// Advances the time by this many milliseconds.
    Tick(u32),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Get),
        4 => (0..8_usize).prop_map(Step::Poll),
        2 => (0..8_usize).prop_map(Step::Cancel),
        4 => (0..8_usize).prop_map(Step::Put),
        1 => (0..8_usize).prop_map(Step::Discard),
        1 => (0..8_usize).prop_map(Step::Drop),
        1 => (1..5_u32).prop_map(Step::Resize),
        1 => Just(Step::ResetAll),
        2 => (0..80_u32).prop_map(Step::Tick),
        1 => Just(Step::Close),
    ]
}

/// What a waiter is expected to see.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Waits,
    /// When the waiter was granted a slot.
    Granted(u64),
    /// The grant was taken back. The waiter waits again when it is polled.
    Parked,
    Refused,
}

/// A pool in a few lines: a number of places, and the list of waiters in the order in which they came.
struct Model {
    places: usize,
    held: usize,
    line: Vec<Expected>,
    closed: bool,
    now_ms: u64,
}

const RECLAIM_MS: u64 = 50;
const MAX_WAITERS: usize = 5;

impl Model {
    fn granted(&self) -> usize {
        self.line
            .iter()
            .filter(|waiter| matches!(waiter, Expected::Granted(_)))
            .count()
    }

    fn free(&self) -> usize {
        self.places.saturating_sub(self.held + self.granted())
    }

    /// Hands out free places, first come, first served.
    fn serve(&mut self) {
        while self.free() > 0
            && !self.closed
            && let Some(waiter) = self
                .line
                .iter_mut()
                .find(|waiter| **waiter == Expected::Waits)
        {
            *waiter = Expected::Granted(self.now_ms);
        }
    }

    /// Takes back the grants that were not fetched. They are for the first waiter that is polled: all waiters are parked until
    /// then. In a closed pool the waiters are refused.
    fn reclaim(&mut self) {
        let now = self.now_ms;
        let parked = if self.closed {
            Expected::Refused
        } else {
            Expected::Parked
        };
        let due = |it: &Expected| matches!(it, Expected::Granted(at) if now - *at >= RECLAIM_MS);
        if self.line.iter().any(due) {
            for waiter in &mut self.line {
                if due(waiter) || *waiter == Expected::Waits {
                    *waiter = parked;
                }
            }
        }
        self.serve();
    }
}

struct Run {
    bed: Bed,
    model: Model,
    waits: Vec<Wait>,
    held: Vec<TestSlot>,
}

impl Run {
    fn new(size: u32) -> Self {
        let mut limits = limits(8);
        limits.max_waiters = MAX_WAITERS;
        let bed = Bed::new(limits);
        bed.perform(Kernel::resize(&bed.kernel, size, START));
        let model = Model {
            places: size as usize,
            held: 0,
            line: Vec::new(),
            closed: false,
            now_ms: 0,
        };
        Self {
            bed,
            model,
            waits: Vec::new(),
            held: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Get => self.get(),
            Step::Poll(n) if n < self.waits.len() => self.poll(n),
            Step::Cancel(n) if n < self.waits.len() => {
                drop(self.waits.remove(n));
                self.model.line.remove(n);
            }
            Step::Put(n) if n < self.held.len() => {
                let slot = self.held.remove(n);
                self.model.held -= 1;
                self.bed.put(slot);
            }
            Step::Discard(n) if n < self.held.len() => {
                let slot = self.held.remove(n);
                self.model.held -= 1;
                self.bed.perform(Kernel::begin_close(
                    &self.bed.kernel,
                    &slot,
                    CloseReason::Broken,
                    self.bed.now(),
                ));
                drop(slot);
            }
            Step::Drop(n) if n < self.held.len() => {
                drop(self.held.remove(n));
                self.model.held -= 1;
            }
            Step::Resize(size) if !self.model.closed => {
                self.model.places = size as usize;
                self.bed
                    .perform(Kernel::resize(&self.bed.kernel, size, self.bed.now()));
            }
            Step::ResetAll => self
                .bed
                .perform(Kernel::retire_all(&self.bed.kernel, self.bed.now())),
            Step::Tick(ms) => {
                self.model.now_ms += u64::from(ms);
                self.bed.advance(ms);
            }
            Step::Close => {
                self.model.closed = true;
                for waiter in &mut self.model.line {
                    if matches!(waiter, Expected::Waits | Expected::Parked) {
                        *waiter = Expected::Refused;
                    }
                }
                self.bed.close();
            }
            _ => {}
        }
        self.model.serve();
        self.model.reclaim();
        // The keeper runs a round after every step, and another one if what it closed made room.
        for _ in 0..2 {
            self.bed.perform(
                Kernel::tick(&self.bed.kernel, self.bed.now(), Waker::noop().clone()).work,
            );
        }
        self.compare();
    }

    fn get(&mut self) {
        let mut wait = self.bed.wait();
        let polled = wait.poll(&mut Context::from_waker(Waker::noop()));
        let first = !self.model.line.contains(&Expected::Waits);
        let in_line = self
            .model
            .line
            .iter()
            .filter(|it| matches!(it, Expected::Waits | Expected::Parked))
            .count();
        match polled {
            Poll::Ready(Ok(slot)) => {
                assert!(
                    !self.model.closed && first && self.model.free() > 0,
                    "got one that was not free"
                );
                self.model.held += 1;
                self.held.push(slot);
            }
            Poll::Ready(Err(Refusal::Closed)) => assert!(self.model.closed),
            Poll::Ready(Err(Refusal::Overloaded)) => {
                assert!(in_line >= MAX_WAITERS && !self.model.closed)
            }
            Poll::Ready(Err(other)) => panic!("{other:?}"),
            Poll::Pending => {
                assert!(in_line < MAX_WAITERS && !self.model.closed);
                self.model.line.push(Expected::Waits);
                self.waits.push(wait);
            }
        }
    }

    fn poll(&mut self, n: usize) {
        let polled = self.waits[n].poll(&mut Context::from_waker(Waker::noop()));
        match (self.model.line[n], polled) {
            (Expected::Granted(_), Poll::Ready(Ok(slot))) => {
                self.model.held += 1;
                self.held.push(slot);
            }
            (Expected::Refused, Poll::Ready(Err(Refusal::Closed))) => {}
            (Expected::Waits, Poll::Pending) => return,
            (Expected::Parked, Poll::Pending) => {
                self.model.line[n] = Expected::Waits;
                return;
            }
            (expected, polled) => panic!("waiter {n}: {polled:?}, where {expected:?}"),
        }
        drop(self.waits.remove(n));
        self.model.line.remove(n);
    }

    fn compare(&self) {
        let seen = self.bed.kernel.snapshot();
        let in_line = self
            .model
            .line
            .iter()
            .filter(|it| matches!(it, Expected::Waits | Expected::Parked))
            .count();
        assert_eq!(
            seen.leased as usize,
            self.model.held + self.model.granted(),
            "leased"
        );
        assert_eq!(seen.waiting, in_line, "in line");
        assert_eq!(seen.leased + seen.idle, self.bed.alive(), "alive");
        assert_eq!(
            (seen.opening, seen.checking, seen.resetting, seen.closing),
            (0, 0, 0, 0)
        );
        let bound = self
            .model
            .places
            .max(self.model.held + self.model.granted());
        assert!(
            self.bed.alive() as usize <= bound,
            "more are open than may be"
        );
    }

    /// Returns and closes everything, once.
    fn finish(mut self) {
        for slot in self.held.drain(..) {
            self.bed.put(slot);
        }
        self.waits.clear();
        self.bed.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_steps_is_as_the_model_says(size in 1..5_u32, steps in prop::collection::vec(step(), 1..120)) {
        let mut run = Run::new(size);
        for step in &steps {
            run.take(step);
        }
        run.finish();
    }
}
