//! The kernel against what must hold whenever opens, checks, resets and closes take time and fail.
//!
//! In `model.rs` all of these are done at once, so it is known exactly which places are free. Here they are in flight until the
//! test ends them, in any order. How many resources are opened or checked is the kernel's decision: the test holds it to the
//! bounds, and to the needs of the waiters. The order in which waiters are served is held to the order in which they came.
#![allow(clippy::unwrap_used)]

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::{prelude::*, test_runner::TestRunner};

use super::bed::{Bed, START, TestSlot, Wait, limits};
use crate::{
    engine::{
        Kept, Kernel, Limits, Opened, Refusal,
        mutation::{self, Mutation},
    },
    moment::Moment,
    observe::{CloseReason, Phase},
};

#[derive(Clone, Debug)]
enum Step {
    Get,
    Poll(usize),
    Cancel(usize),
    TimeOut(usize),
    Put(usize),
    /// Returns a tainted resource. The flag says whether there is a reset for it.
    Taint(usize, bool),
    /// Drops a lease together with its resource.
    Drop(usize),
    EndOpen(usize, bool),
    /// Drops the task that was to open a resource.
    LoseOpen(usize),
    EndCheck(usize, bool),
    EndReset(usize, bool),
    /// Drops the task that was resetting a resource.
    LoseReset(usize),
    EndClose(usize),
    Resize(u32),
    ResetAll,
    /// Keeps every second idle resource.
    Retain,
    /// Advances the time by this many milliseconds.
    Tick(u32),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let any = || 0..4_usize;
    let mostly = || prop::bool::weighted(0.7);
    prop_oneof![
        12 => Just(Step::Get),
        8 => any().prop_map(Step::Poll),
        3 => any().prop_map(Step::Cancel),
        2 => any().prop_map(Step::TimeOut),
        8 => any().prop_map(Step::Put),
        3 => (any(), mostly()).prop_map(|(n, resets)| Step::Taint(n, resets)),
        1 => any().prop_map(Step::Drop),
        8 => (any(), mostly()).prop_map(|(n, ok)| Step::EndOpen(n, ok)),
        1 => any().prop_map(Step::LoseOpen),
        4 => (any(), mostly()).prop_map(|(n, ok)| Step::EndCheck(n, ok)),
        4 => (any(), mostly()).prop_map(|(n, ok)| Step::EndReset(n, ok)),
        1 => any().prop_map(Step::LoseReset),
        6 => any().prop_map(Step::EndClose),
        2 => (1..5_u32).prop_map(Step::Resize),
        1 => Just(Step::ResetAll),
        1 => Just(Step::Retain),
        6 => (0..80_u32).prop_map(Step::Tick),
    ]
}

/// The setup of a pool.
#[derive(Clone, Debug)]
struct Setup {
    size: u32,
    max_opening: u32,
    min_idle: u32,
    parts: u32,
    fifo: bool,
    sheds: bool,
    keepalive: bool,
    ages_out: bool,
    lives: bool,
}

fn setup() -> impl Strategy<Value = Setup> {
    let bounds = (1..5_u32, 1..4_u32, 0..2_u32, 1..3_u32);
    let flags = prop::array::uniform5(any::<bool>());
    (bounds, flags).prop_map(|((size, max_opening, min_idle, parts), flags)| {
        let [fifo, sheds, keepalive, ages_out, lives] = flags;
        Setup {
            size,
            max_opening,
            min_idle,
            parts,
            fifo,
            sheds,
            keepalive,
            ages_out,
            lives,
        }
    })
}

const MS: Duration = Duration::from_millis(1);
const RECLAIM_MS: u64 = 50;
const CHECK_AFTER: Duration = Duration::from_millis(100);
const MAX_WAITERS: usize = 5;
const MOST: u32 = 8;

impl Setup {
    fn limits(&self) -> Limits {
        let mut limits = limits(MOST);
        limits.max_opening = self.max_opening;
        limits.max_waiters = MAX_WAITERS;
        limits.fifo = self.fifo;
        limits.parts = self.parts;
        limits.check_after_nanos = CHECK_AFTER.as_nanos() as u64;
        limits.keeping.min_idle = self.min_idle;
        limits.keeping.keepalive = self.keepalive.then_some(150 * MS);
        limits.keeping.idle_timeout = self.ages_out.then_some(400 * MS);
        limits.keeping.rounds = 50 * MS;
        if self.sheds {
            limits.shed_target = Some(20 * MS);
            // With a shedder, a refused waiter must not be taken for one that does not fetch its grant.
            limits.keeping.reclaim_after_nanos = u64::MAX;
        }
        limits
    }
}

/// What a waiter is expected to see.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Waits,
    /// When the waiter was granted a slot, and the lowest generation that the slot may have. The waiter may also have been shed.
    Told(u64, u64),
    /// The grant was taken back. The waiter waits again when it is polled.
    Parked,
    Closed,
    Down,
}

struct Run {
    setup: Setup,
    bed: Bed,
    waits: Vec<Wait>,
    line: Vec<Expected>,
    held: Vec<TestSlot>,
    resetting: Vec<TestSlot>,
    target: u32,
    generation: u64,
    closed: bool,
    now_ms: u64,
    /// How many opens have failed since the last success.
    failing: u32,
    /// What the kernel is expected to have counted.
    open_failures: u64,
    dropped: u64,
    cancelled: u64,
    timeouts: u64,
    reclaimed: u64,
    /// How many of the waiters that were shed have seen it.
    shed_seen: u64,
    taken_before: u32,
}

impl Run {
    fn new(setup: Setup) -> Self {
        let bed = Bed::deferring(setup.limits());
        bed.perform(Kernel::resize(&bed.kernel, setup.size, START));
        let mut run = Self {
            target: setup.size,
            setup,
            bed,
            waits: Vec::new(),
            line: Vec::new(),
            held: Vec::new(),
            resetting: Vec::new(),
            generation: 0,
            closed: false,
            now_ms: 0,
            failing: 0,
            open_failures: 0,
            dropped: 0,
            cancelled: 0,
            timeouts: 0,
            reclaimed: 0,
            shed_seen: 0,
            taken_before: 0,
        };
        run.keep();
        run
    }

    fn take(&mut self, step: &Step) {
        let bed = self.bed.clone();
        let now = bed.now();
        match *step {
            Step::Get => self.get(),
            Step::Poll(n) if n < self.waits.len() => self.poll(n),
            Step::Cancel(n) if n < self.waits.len() => self.cancel(n),
            Step::TimeOut(n) if n < self.waits.len() => self.time_out(n),
            Step::Put(n) if n < self.held.len() => bed.put(self.held.remove(n)),
            Step::Taint(n, resets) if n < self.held.len() => {
                let mut slot = self.held.remove(n);
                slot.tainted = true;
                self.part_with(slot, resets);
            }
            Step::Drop(n) if n < self.held.len() => {
                drop(self.held.remove(n));
                self.dropped += 1;
            }
            Step::EndOpen(n, ok) => self.end_open(n, ok),
            Step::LoseOpen(n) => drop(self.nth(n, |later| &mut later.opens)),
            Step::EndCheck(n, ok) => {
                if let Some(slot) = self.nth(n, |later| &mut later.checks) {
                    self.end_task(slot, ok, CloseReason::CheckFailed);
                }
            }
            Step::EndReset(n, ok) if n < self.resetting.len() => {
                let mut slot = self.resetting.remove(n);
                slot.tainted = false;
                self.end_task(slot, ok, CloseReason::ResetFailed);
            }
            Step::LoseReset(n) if n < self.resetting.len() => {
                drop(self.resetting.remove(n));
                self.dropped += 1;
            }
            Step::EndClose(n) => drop(self.nth(n, |later| &mut later.closes)),
            Step::Resize(size) => {
                self.target = size;
                bed.perform(Kernel::resize(&bed.kernel, size, now));
            }
            Step::ResetAll => {
                self.generation += 1;
                bed.perform(Kernel::retire_all(&bed.kernel, now));
            }
            Step::Retain => {
                for (n, slot) in bed.kernel.take_idle().into_iter().enumerate() {
                    if n % 2 == 0 {
                        bed.perform(Kernel::put_unused(&bed.kernel, slot, now));
                    } else {
                        self.begin_close(slot, CloseReason::NotRetained);
                    }
                }
            }
            Step::Tick(ms) => {
                self.now_ms += u64::from(ms);
                bed.advance(ms);
            }
            Step::Close => {
                self.closed = true;
                bed.close();
                self.refuse(Expected::Closed);
            }
            _ => {}
        }
        self.hear();
        self.keep();
        self.look();
    }

    /// Takes the `n`th of the things in flight, if there are that many.
    fn nth<T>(
        &self,
        n: usize,
        of: impl FnOnce(&mut super::bed::Later) -> &mut Vec<T>,
    ) -> Option<T> {
        let mut later = self.bed.later();
        let all = of(&mut later);
        (n < all.len()).then(|| all.remove(n))
    }

    fn get(&mut self) {
        let in_line = self.in_line();
        let first = !self.line.contains(&Expected::Waits);
        let mut wait = self.bed.wait();
        match wait.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(slot)) => {
                assert!(first && !self.closed, "it barged");
                assert_eq!(slot.generation, self.generation, "of the past");
                let age = self.bed.now() - slot.used_at;
                assert!(age <= CHECK_AFTER, "unchecked for {age:?}");
                self.hold(slot);
            }
            Poll::Ready(Err(Refusal::Closed)) => assert!(self.closed),
            Poll::Ready(Err(Refusal::Connect(_))) => assert!(self.is_down() && !self.closed),
            Poll::Ready(Err(Refusal::Overloaded)) => {
                assert!(in_line >= MAX_WAITERS && !self.closed);
            }
            Poll::Ready(Err(other)) => panic!("{other:?}"),
            Poll::Pending => {
                assert!(in_line < MAX_WAITERS && !self.closed && !self.is_down());
                self.line.push(Expected::Waits);
                self.waits.push(wait);
            }
        }
    }

    fn poll(&mut self, n: usize) {
        let polled = self.waits[n].poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(answer) => {
                drop(self.waits.remove(n));
                let expected = self.line.remove(n);
                self.told(answer, expected);
            }
            Poll::Pending => match self.line[n] {
                Expected::Waits => {}
                Expected::Parked => self.line[n] = Expected::Waits,
                expected => panic!("waiter {n} was told nothing, where {expected:?}"),
            },
        }
    }

    /// Checks the answer of a waiter.
    fn told(&mut self, answer: Result<TestSlot, Refusal<&'static str>>, expected: Expected) {
        match (answer, expected) {
            (Ok(slot), Expected::Told(_, generation)) => {
                assert!(slot.generation >= generation, "of the past");
                self.hold(slot);
            }
            (Err(Refusal::Shed), Expected::Told(..)) if self.setup.sheds => self.shed_seen += 1,
            (Err(Refusal::Closed), Expected::Closed) => {}
            (Err(Refusal::Connect("down")), Expected::Down) => {}
            (answer, expected) => panic!("{answer:?}, where {expected:?}"),
        }
    }

    fn hold(&mut self, slot: TestSlot) {
        assert!(!slot.tainted, "handed on as it was");
        self.held.push(slot);
    }

    fn cancel(&mut self, n: usize) {
        if self.setup.sheds && matches!(self.line[n], Expected::Told(..)) {
            // Only the waiter itself knows what it was told.
            self.poll(n);
            return;
        }
        drop(self.waits.remove(n));
        // A refused waiter was counted when it was told.
        let refused = matches!(self.line.remove(n), Expected::Closed | Expected::Down);
        self.cancelled += u64::from(!refused);
    }

    fn time_out(&mut self, n: usize) {
        let outcome = self.waits.remove(n).time_out();
        let expected = self.line.remove(n);
        match outcome {
            Ok(slot) => self.told(Ok(slot), expected),
            Err((Some(refusal), _)) => self.told(Err(refusal), expected),
            Err((None, phase)) => {
                assert!(matches!(expected, Expected::Waits | Expected::Parked));
                self.look_at_phase(phase);
                self.timeouts += 1;
            }
        }
    }

    /// Checks the phase of a timeout. The phase names something that is in flight, and it is a return only if anything can be
    /// returned. Which of several phases it is depends on the waiter's place in the queue and on the time: `tests/demand.rs` tests
    /// that.
    fn look_at_phase(&self, phase: Phase) {
        let later = self.bed.later();
        let opens = !later.opens.is_empty() || self.failing > 0;
        let of = self.bed.kernel.snapshot();
        let alive = of.idle + of.leased + of.checking + of.resetting;
        let may = match phase {
            Phase::Create => opens,
            Phase::Check => !later.checks.is_empty(),
            Phase::Reset => !self.resetting.is_empty(),
            Phase::Wait => alive > 0 || !opens,
        };
        assert!(may, "{phase:?}");
    }

    /// Ends a lease whose resource is not to be handed on as it is.
    fn part_with(&mut self, slot: TestSlot, resets: bool) {
        if !resets {
            self.begin_close(slot, CloseReason::Tainted);
        } else if self.bed.kernel.begin_reset(&slot, None).is_some() {
            self.bed.close_one(slot);
        } else {
            self.resetting.push(slot);
        }
    }

    fn begin_close(&self, slot: TestSlot, reason: CloseReason) {
        let bed = &self.bed;
        let work = Kernel::begin_close(&bed.kernel, &slot, reason, bed.now());
        bed.close_one(slot);
        bed.perform(work);
    }

    /// Ends a check or a reset.
    fn end_task(&self, slot: TestSlot, ok: bool, otherwise: CloseReason) {
        let bed = &self.bed;
        if ok {
            bed.settle(bed.kernel.put_clean(slot, bed.now(), MS));
        } else {
            self.begin_close(slot, otherwise);
        }
    }

    fn end_open(&mut self, n: usize, ok: bool) {
        let Some(seat) = self.nth(n, |later| &mut later.opens) else {
            return;
        };
        let bed = self.bed.clone();
        let now = bed.now();
        if ok {
            self.failing = 0;
            let opened = Opened {
                item: bed.open().unwrap(),
                expires_at: match self.setup.lives {
                    true => now + 300 * MS,
                    false => Moment::NEVER,
                },
                took: MS,
            };
            let (put, work) = Kernel::opened(&bed.kernel, seat, opened, now);
            bed.settle(put);
            bed.perform(work);
            return;
        }
        self.failing += 1;
        self.open_failures += 1;
        bed.perform(Kernel::open_failed(&bed.kernel, seat, "down", now, 0.0));
        if self.is_down() {
            self.refuse(Expected::Down);
        }
    }

    /// Whether nothing is open, and nothing can be opened.
    fn is_down(&self) -> bool {
        let closing = self.bed.later().closes.len() as u32;
        self.failing >= 3 && self.bed.alive() == closing
    }

    fn refuse(&mut self, why: Expected) {
        for waiter in &mut self.line {
            if matches!(waiter, Expected::Waits | Expected::Parked) {
                *waiter = why;
            }
        }
    }

    fn in_line(&self) -> usize {
        let in_line = |it: &&Expected| matches!(it, Expected::Waits | Expected::Parked);
        self.line.iter().filter(in_line).count()
    }

    /// Notes the grants and sheddings since the last look: they went to the waiters that came first.
    fn hear(&mut self) {
        let seen = self.bed.kernel.snapshot();
        let granted = (seen.leased as usize).checked_sub(self.held.len()).unwrap();
        let shed = (seen.counters.shed - self.shed_seen) as usize;
        let told = |it: &&Expected| matches!(it, Expected::Told(..));
        let known = self.line.iter().filter(told).count();
        let more = (granted + shed).checked_sub(known);
        let more = more.expect("what was handed over stays so");
        let told = Expected::Told(self.now_ms, self.generation);
        for _ in 0..more {
            let first = self.line.iter_mut().find(|it| **it == Expected::Waits);
            *first.expect("somebody waited for it") = told;
        }
    }

    /// Runs a round of the keeper.
    fn keep(&mut self) {
        let bed = self.bed.clone();
        let tick = Kernel::tick(&bed.kernel, bed.now(), Waker::noop().clone());
        bed.perform(tick.work);
        let closed = self.bed.kernel.is_closed();
        let due = |at: u64| self.now_ms - at >= RECLAIM_MS && !self.setup.sheds;
        let late = |it: &Expected| matches!(it, Expected::Told(at, _) if due(*at));
        let any = self.line.iter().any(late);
        for waiter in &mut self.line {
            if any && *waiter == Expected::Waits {
                *waiter = Expected::Parked;
            }
            if matches!(waiter, Expected::Told(at, _) if due(*at)) {
                // In a closed pool the waiter is refused.
                *waiter = if closed {
                    Expected::Closed
                } else {
                    Expected::Parked
                };
                self.reclaimed += 1;
            }
        }
        self.hear();
    }

    /// Checks what must hold after a step and a round of the keeper.
    fn look(&mut self) {
        let seen = self.bed.kernel.snapshot();
        let later = self.bed.later();
        let ours = (later.opens.len(), later.checks.len(), later.closes.len());
        let theirs = (seen.opening, seen.checking, seen.closing);
        let theirs = (theirs.0 as usize, theirs.1 as usize, theirs.2 as usize);
        assert_eq!(theirs, ours, "opening, checking, closing");
        assert_eq!(seen.resetting as usize, self.resetting.len(), "resetting");
        let open = seen.idle + seen.leased + seen.checking + seen.resetting;
        assert_eq!(open + seen.closing, self.bed.alive(), "alive");
        assert_eq!(seen.waiting, self.in_line(), "in line");

        let of = seen.counters;
        let closed: u64 = of.closed.iter().sum();
        let timeouts: u64 = of.timeouts.iter().sum();
        assert_eq!(
            [closed, of.dropped, of.open_failures, of.cancelled, timeouts],
            [
                later.closed,
                self.dropped,
                self.open_failures,
                self.cancelled,
                self.timeouts
            ],
            "closed, dropped, failed, cancelled, timed out"
        );
        assert_eq!(of.reclaimed, self.reclaimed, "reclaimed");
        assert_eq!(of.opened, u64::from(self.bed.opened()), "opened");
        assert_eq!(seen.last_error.is_some(), self.failing > 0, "failing");

        // The number of taken seats is within the bound. After a resize it may exceed the bound, but does not rise.
        let taken = open + seen.closing + seen.opening;
        assert!(taken <= self.target.max(self.taken_before), "{taken} taken");
        self.taken_before = taken;
        if seen.idle > 0 {
            let in_use = open + seen.opening;
            assert!(in_use <= self.target, "idle, and to be closed");
        }
        if self.closed {
            assert_eq!(seen.idle, 0, "idle in a closed pool");
            return;
        }

        // No waiter waits for a resource that is idle, or that could be opened.
        let waits = |it: &&Expected| **it == Expected::Waits;
        let waiting = self.line.iter().filter(waits).count();
        let coming = (seen.opening + seen.checking + seen.resetting) as usize;
        assert!(
            seen.idle == 0 || waiting <= coming,
            "{waiting} wait while {} are idle, and {coming} are coming",
            seen.idle
        );
        let may_open = match self.failing {
            0 => self.setup.max_opening,
            _ => 1,
        };
        let can_open = taken < self.target && seen.opening < may_open;
        let wanted = waiting > coming || self.failing > 0;
        assert!(
            !(can_open && wanted),
            "{waiting} wait, {coming} are coming, and there is room: {taken} of {}",
            self.target
        );
    }

    /// Ends everything in flight, and returns and closes everything, once.
    fn finish(mut self) {
        let bed = self.bed.clone();
        self.waits.clear();
        bed.close();
        self.held.drain(..).for_each(|slot| bed.put(slot));
        for slot in self.resetting.drain(..) {
            bed.settle(bed.kernel.put_clean(slot, bed.now(), MS));
        }
        let (opens, checks) = {
            let mut later = bed.later();
            (
                std::mem::take(&mut later.opens),
                std::mem::take(&mut later.checks),
            )
        };
        drop(opens);
        for slot in checks {
            bed.settle(bed.kernel.put_clean(slot, bed.now(), MS));
        }
        let closes = std::mem::take(&mut bed.later().closes);
        drop(closes);
        bed.finish();
    }
}

/// Runs this many cases until one fails. Returns what was wrong with it.
fn run(config: ProptestConfig) -> Result<(), String> {
    let steps = |sizes| prop::collection::vec(step(), sizes);
    let config = ProptestConfig {
        failure_persistence: None,
        ..config
    };
    let outcome = TestRunner::new(config).run(
        &(setup(), steps(1..150), steps(0..30)),
        |(setup, steps, after_the_end)| {
            let mut run = Run::new(setup);
            for step in steps.iter().chain([&Step::Close]).chain(&after_the_end) {
                run.take(step);
            }
            run.finish();
            Ok(())
        },
    );
    outcome.map_err(|error| error.to_string())
}

#[test]
fn whatever_takes_its_time_or_fails_the_counts_the_bound_and_the_order_hold() {
    run(ProptestConfig::with_cases(256)).unwrap_or_else(|error| panic!("{error}"));
}

/// Declares tests that a seeded bug is found. Bugs that need two threads, or that the next round of the keeper repairs, are left to
/// loom.
macro_rules! mutants {
    ($($mutant:ident = $mutation:ident,)+) => {$(
        #[test]
        fn $mutant() {
            mutation::with(Mutation::$mutation, || {
                let config = ProptestConfig { cases: 2048, max_shrink_iters: 0, ..ProptestConfig::default() };
                let error = run(config).expect_err("the bug was not seen");
                println!("{error}");
            });
        }
    )+};
}

mutants! {
    mutant_cancel_serves_nobody = CancelServesNobody,
    mutant_return_ignores_close = ReturnIgnoresClose,
    mutant_opening_is_not_counted = OpeningIsNotCounted,
    mutant_failed_open_keeps_seat = FailedOpenKeepsSeat,
    mutant_a_grant_is_never_reclaimed = GrantIsNeverReclaimed,
    mutant_parked_stays_parked = ParkedStaysParked,
    mutant_resize_forgets_leased = ResizeForgetsLeased,
    mutant_check_serves_nobody = CheckServesNobody,
    mutant_inbox_is_forgotten = InboxIsForgotten,
}
