//! The kernel against a plain sequential model: any sequence of gets, polls, cancels, returns, opens, closes and resizes of any
//! key.
//!
//! The model knows where every resource is, since the test does the opens and closes itself, whenever it likes. After every step,
//! all counts must equal those of the model, both bounds must hold, no waiter may wait for a resource that it could have, and each
//! evicted resource must have been the oldest idle one. Keys whose opens hang or fail, and keys that flood the pool, must not take
//! more from other keys than they are owed.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;

use super::bed::{Bed, Later, Lent, TestSeat, TestSlot, TestToken, Wait};
use crate::{
    engine::Refusal,
    gauge::LinkId,
    keyed::{
        grant::{Grant, Lends},
        kernel::Kernel,
        limits::Terms,
        seats::SeatState,
        turns::Claim,
    },
    observe::CloseReason,
};

#[derive(Clone, Debug)]
enum Step {
    Get(char),
    Poll(usize),
    Cancel(usize),
    Put(usize),
    /// The resource is broken, and is closed.
    Discard(usize),
    /// The resource is dropped, with its place.
    Drop(usize),
    Opened(usize),
    Failed(usize),
    /// The task of the open is dropped.
    OpenDropped(usize),
    Closed(usize),
    CloseDropped(usize),
    Resize(u32),
    Reset(Option<char>),
    /// This many milliseconds pass.
    Tick(u32),
    Close,
    /// What is opened for a key from now on is shared by so many, or for one at a time.
    Shares(char, Option<u32>),
    PutShare(usize),
    /// What the driver of a connection says of it, maybe long after it has gone.
    Say(usize, Word),
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Capacity(u32),
    Suspect(bool),
    Drain,
    Die,
}

const KEYS: [char; 4] = ['a', 'b', 'c', 'd'];

/// `sick`: opens fail more often than not, or take long.
fn step(sick: bool) -> impl Strategy<Value = Step> {
    let (opened, failed, long) = if sick { (2, 9, 8) } else { (9, 1, 1) };
    let which = 0..8_usize;
    let key = prop::sample::select(&KEYS[..]);
    prop_oneof![
        12 => key.clone().prop_map(Step::Get),
        8 => which.clone().prop_map(Step::Poll),
        3 => which.clone().prop_map(Step::Cancel),
        9 => which.clone().prop_map(Step::Put),
        1 => which.clone().prop_map(Step::Discard),
        1 => which.clone().prop_map(Step::Drop),
        opened => which.clone().prop_map(Step::Opened),
        failed => which.clone().prop_map(Step::Failed),
        1 => which.clone().prop_map(Step::OpenDropped),
        6 => which.clone().prop_map(Step::Closed),
        1 => which.prop_map(Step::CloseDropped),
        1 => (1..5_u32).prop_map(Step::Resize),
        1 => prop::option::of(key).prop_map(Step::Reset),
        2 => (0..120_u32).prop_map(Step::Tick),
        long => (900..1_200_u32).prop_map(Step::Tick),
        1 => prop_oneof![5 => Just(Step::Tick(40_000)), 1 => Just(Step::Close)],
    ]
}

/// Also steps of what is shared.
fn step_of_shares() -> impl Strategy<Value = Step> {
    let which = 0..8_usize;
    let key = prop::sample::select(&KEYS[..]);
    let word = prop_oneof![
        4 => (0..4_u32).prop_map(Word::Capacity),
        2 => any::<bool>().prop_map(Word::Suspect),
        1 => Just(Word::Drain),
        1 => Just(Word::Die),
    ];
    prop_oneof![
        6 => step(false),
        1 => (key, prop::option::of(0..4_u32)).prop_map(|(key, many)| Step::Shares(key, many)),
        2 => which.clone().prop_map(Step::PutShare),
        1 => (which, word).prop_map(|(n, word)| Step::Say(n, word)),
    ]
}

struct Run {
    bed: Bed,
    max_size: u32,
    max_total: u32,
    closed: bool,
    waits: Vec<Wait>,
    held: Vec<TestSlot>,
    tokens: Vec<TestToken>,
    /// All connections that were opened, or are being opened, of late.
    links: VecDeque<LinkId>,
    /// How many shares of each are out or granted.
    used: HashMap<u32, (LinkId, u32)>,
    /// Idle seats, with the step at which each became idle.
    idle: HashMap<u32, usize>,
    steps: usize,
    /// The opens under way, by seat: when each began, and whether it began without a waiter.
    began: HashMap<u32, (u32, bool)>,
    /// For each key, how many waiters were pushed out of the queue and have not been told yet.
    pushed_out: HashMap<char, usize>,
    /// When idle slots were evicted although no waiter had the right to an eviction.
    for_probes: Vec<u32>,
    resized_at: Option<u32>,
    /// Keys whose last open failed.
    failing: HashSet<char>,
}

/// The bound that the bed checks. `Resize` may set a lower bound.
const MOST: u32 = 4;

impl Run {
    fn new(max_size: u32, max_total: u32, expected: u32) -> Self {
        let mut bed = Bed::new(max_size, MOST);
        bed.expect(expected);
        bed.later = Some(Arc::new(Mutex::new(Later::default())));
        bed.perform(Kernel::resize(&bed.kernel, max_total, bed.now()));
        Self {
            bed,
            max_size,
            max_total,
            closed: false,
            waits: Vec::new(),
            held: Vec::new(),
            tokens: Vec::new(),
            links: VecDeque::new(),
            used: HashMap::new(),
            idle: HashMap::new(),
            steps: 0,
            began: HashMap::new(),
            pushed_out: HashMap::new(),
            for_probes: Vec::new(),
            resized_at: None,
            failing: HashSet::new(),
        }
    }

    fn later<T>(&self, with: impl FnOnce(&mut Later) -> T) -> T {
        with(&mut self.bed.later.as_ref().unwrap().lock().unwrap())
    }

    fn take(&mut self, step: &Step) {
        self.steps += 1;
        let seen = self.bed.ledger.lock().unwrap().now_ms;
        self.bed.ledger.lock().unwrap().now_ms += 1;
        let closes = self.later(|later| later.closes.len());
        let starved = self.starved_and_closing();
        let (waited, quiet) = (KEYS.map(|key| self.waiting(key) > 0), self.is_quiet(seen));
        let mut put = None;
        match *step {
            Step::Get(key) => {
                let before = KEYS.map(|key| (key, self.in_line(key)));
                let mut wait = self.bed.wait(key);
                let polled = wait.poll_any(&mut Context::from_waker(Waker::noop()));
                match polled {
                    Poll::Ready(Err(Refusal::Overloaded)) => self.found_it_full(key, before),
                    Poll::Ready(answer) => self.told(key, answer),
                    Poll::Pending => {
                        self.waits.push(wait);
                        self.joined(key, before);
                    }
                }
            }
            Step::Poll(n) if n < self.waits.len() => {
                let key = self.waits[n].key;
                if let Poll::Ready(answer) =
                    self.waits[n].poll_any(&mut Context::from_waker(Waker::noop()))
                {
                    drop(self.waits.remove(n));
                    self.told(key, answer);
                }
            }
            Step::Cancel(n) if n < self.waits.len() => drop(self.waits.remove(n)),
            Step::Put(n) if n < self.held.len() => {
                let slot = self.held.remove(n);
                let key = **slot.seat.key();
                let line = self.waiting(key);
                self.bed.put(slot);
                put = Some((key, line));
            }
            Step::Discard(n) if n < self.held.len() => {
                let slot = self.held.remove(n);
                let (reason, now) = (CloseReason::Broken, self.bed.now());
                let work = Kernel::begin_close(&self.bed.kernel, &slot, reason, now);
                self.later(|later| later.closes.push((slot, reason)));
                self.bed.perform(work);
            }
            Step::Drop(n) if n < self.held.len() => drop(self.held.remove(n)),
            Step::Opened(n) | Step::Failed(n) | Step::OpenDropped(n) => self.opens(step, n),
            Step::Closed(n) | Step::CloseDropped(n) => {
                let close =
                    self.later(|later| (n < later.closes.len()).then(|| later.closes.remove(n)));
                match close {
                    Some((slot, _)) if matches!(step, Step::Closed(_)) => {
                        self.bed.close_slot(*slot)
                    }
                    dropped => drop(dropped),
                }
            }
            Step::Resize(total) if !self.closed => {
                self.max_total = total;
                self.resized_at = Some(self.bed.ledger.lock().unwrap().now_ms);
                let now = self.bed.now();
                self.bed
                    .perform(Kernel::resize(&self.bed.kernel, total, now));
            }
            Step::Reset(key) => {
                let keys = self
                    .bed
                    .kernel
                    .keys(0)
                    .map_or_else(Vec::new, |(_, keys)| keys);
                let place = keys.iter().find(|(_, known)| Some(**known) == key);
                let now = self.bed.now();
                if key.is_none() || place.is_some() {
                    let place = place.map(|(place, _)| *place);
                    self.bed
                        .perform(Kernel::reset(&self.bed.kernel, place, now));
                }
            }
            Step::Tick(ms) => self.bed.ledger.lock().unwrap().now_ms += ms,
            Step::Close => {
                self.closed = true;
                self.bed.perform(self.bed.kernel.close());
            }
            Step::Shares(key, many) => {
                let mut ledger = self.bed.ledger.lock().unwrap();
                match many {
                    Some(capacity) => ledger.capacity.insert(key, capacity),
                    None => ledger.capacity.remove(&key),
                };
            }
            Step::PutShare(n) if n < self.tokens.len() => {
                let token = self.tokens.remove(n);
                self.bed.put_share(token);
            }
            Step::Say(n, word) if n < self.links.len() => self.say(self.links[n], word),
            _ => {}
        }
        self.look_at_shares(true);
        self.note_ends();
        if let Some((key, line)) = put {
            // The slot may go to another waiter of its key only if that leaves no key without a place.
            let handed_on = line > 0 && self.waiting(key) < line;
            let (starved, closing) = starved;
            assert!(!handed_on || starved <= closing, "{key} had two turns");
        }
        let evicted = self.look_at_evictions(closes);
        if quiet && self.is_quiet(seen) {
            self.look_at_probes(evicted);
        }
        // The round of the keeper may park a waiter for which an open has begun, so note the opens before it.
        self.note_opens(waited);
        self.tick();
        self.note_opens(waited);
        self.look_at_opens();
        self.look_at_shares(false);
        self.compare();
    }

    fn say(&self, link: LinkId, word: Word) {
        let shared = self.bed.kernel.lock().seats.is_shared(link.index);
        if matches!(word, Word::Suspect(_)) && !shared {
            // It would be checked for who joins, and the bed checks at once.
            return;
        }
        match word {
            Word::Capacity(capacity) => self.bed.set_capacity(link, capacity),
            Word::Suspect(suspect) => self.bed.suspect(link, suspect),
            Word::Drain => self.bed.drain(link),
            Word::Die => self.bed.die(link),
        }
    }

    /// Records slots that were evicted although no waiter had the right to it. One per second is allowed, for a failing key.
    fn look_at_probes(&mut self, evicted: u32) {
        let now = self.bed.ledger.lock().unwrap().now_ms;
        assert!(
            evicted == 0 || !self.failing.is_empty(),
            "evicted for what hangs"
        );
        self.for_probes.extend((0..evicted).map(|_| now));
        let lately = |at: &&u32| now - **at < 1000;
        // A turn may be used some time after it came due. After a resize to a lower bound, one place takes two evictions.
        let most = if self.resized_at.as_ref().is_some_and(|at| lately(&at)) {
            4
        } else {
            2
        };
        let number = self.for_probes.iter().filter(lately).count();
        assert!(number <= most, "{number} were evicted for probes");
    }

    /// Checks that a get was refused only if the queue of its key was full, or if all queues were full.
    fn found_it_full(&self, key: char, before: [(char, usize); 4]) {
        let ours = before.iter().find(|(of, _)| *of == key).unwrap().1;
        let all: usize = before.iter().map(|(_, len)| len).sum();
        let most = before.iter().map(|(_, len)| *len).max().unwrap();
        let lost = ours >= 5 || (all >= 8 && most <= ours + 1);
        assert!(lost && !self.closed, "{key} was locked out: {before:?}");
    }

    /// Checks the queues after a waiter joined: if all were full, a waiter of a longest queue was pushed out.
    fn joined(&mut self, key: char, before: [(char, usize); 4]) {
        let all: usize = before.iter().map(|(_, len)| len).sum();
        let ours = |of: char| usize::from(of == key);
        let gone = before
            .into_iter()
            .filter(|(of, len)| self.in_line(*of) < len + ours(*of));
        let gone: Vec<_> = gone.collect();
        if all < 8 {
            assert!(gone.is_empty(), "there was room: {before:?}");
            return;
        }
        let &[(from, len)] = &gone[..] else {
            panic!("one had to go: {gone:?}")
        };
        let mine = before.iter().find(|(of, _)| *of == key).unwrap().1;
        let longest = before.iter().all(|(_, other)| *other <= len);
        assert!(longest && len > mine + 1, "{from} for {key}: {before:?}");
        *self.pushed_out.entry(from).or_default() += 1;
    }

    /// Whether no waiter has the right to an eviction: each key with waiters has a late open, as of the last round of the keeper.
    fn is_quiet(&self, seen: u32) -> bool {
        KEYS.into_iter()
            .all(|key| self.waiting(key) == 0 || self.late_at(key, seen) > 0)
    }

    /// Returns the seats of the opens of a key that are under way and were not called off.
    fn opening(&self, key: char) -> Vec<u32> {
        let state = self.bed.kernel.lock();
        let later = self.bed.later.as_ref().unwrap().lock().unwrap();
        let opens = later.opens.iter().filter(|seat| **seat.key() == key);
        let opens = opens.map(TestSeat::index);
        opens
            .filter(|index| state.seats.state(*index) == SeatState::Opening)
            .collect()
    }

    /// Returns how many opens of the key are late.
    fn late(&self, key: char) -> usize {
        self.late_at(key, self.bed.ledger.lock().unwrap().now_ms)
    }

    fn late_at(&self, key: char, now: u32) -> usize {
        let is_late = |index: &u32| {
            let began = self.began.get(index);
            began.is_some_and(|(at, _)| now.saturating_sub(*at) >= 1000)
        };
        self.opening(key)
            .iter()
            .filter(|index| is_late(index))
            .count()
    }

    /// Returns how many resources of one key are being closed.
    fn closing(&self, key: char) -> u32 {
        self.later(|later| {
            let of = later
                .closes
                .iter()
                .filter(|(slot, _)| **slot.seat.key() == key);
            of.count() as u32
        })
    }

    /// Returns how many resources of a key are open, and neither being closed nor closed with their last share.
    fn open(&self, key: char) -> u32 {
        let state = self.bed.kernel.lock();
        let shared = state.seats.all_shared();
        let draining = shared.filter(|index| {
            state.seats.is_draining(*index) && *state.table.cold(state.seats.key(*index)).key == key
        });
        self.bed.alive(key) - self.closing(key) - draining.count() as u32
    }

    /// Records new opens, and whether they began without a waiter.
    fn note_opens(&mut self, waited: [bool; 4]) {
        let now = self.bed.ledger.lock().unwrap().now_ms;
        let all: Vec<u32> = KEYS.into_iter().flat_map(|key| self.opening(key)).collect();
        self.began.retain(|index, _| all.contains(index));
        for (key, waited) in KEYS.into_iter().zip(waited) {
            let probes = !waited && self.waiting(key) == 0;
            for index in self.opening(key) {
                let link = self.bed.kernel.lock().seats.link(index);
                if !self.links.contains(&link) {
                    self.links.push_front(link);
                    self.links.truncate(8);
                }
                self.began.entry(index).or_insert((now, probes));
            }
        }
    }

    /// Checks that late opens and probes take no more places than they are owed.
    fn look_at_opens(&self) {
        let now = self.bed.ledger.lock().unwrap().now_ms;
        // A lost open is on a runtime that polls no tasks, and blocks no other open.
        let ended = |began: u32| now.saturating_sub(began) >= 2_000;
        let probing = self.began.values();
        let probing = probing.filter(|(began, probes)| *probes && !ended(*began));
        let probing = probing.count();
        assert!(probing <= 1, "{probing} probes in so small a pool");
        let (starved, closing) = self.starved_and_closing();
        for key in KEYS.into_iter().filter(|_| starved > closing) {
            let (open, late) = (self.open(key), self.late(key));
            let held = open as usize + self.opening(key).len();
            let leads = open > 0 || late > 1;
            assert!(
                late == 0 || held < 2 || !leads,
                "{key} keeps what leads nowhere, and others have nothing"
            );
        }
    }

    /// Records the keys of connections that ended before they were of use, which are failed opens.
    fn note_ends(&mut self) {
        let state = self.bed.kernel.lock();
        let keys = (0..state.table.slots()).filter(|index| state.table.get(*index).is_some());
        let colds = keys.map(|index| state.table.cold(index));
        let failing = colds.filter(|cold| cold.gate.is_failing());
        self.failing.extend(failing.map(|cold| *cold.key));
    }

    fn opens(&mut self, step: &Step, n: usize) {
        let seat = self.later(|later| {
            let len = later.opens.len();
            (len > 0).then(|| later.opens.remove(n % len))
        });
        let Some(seat) = seat else { return };
        self.began.remove(&seat.index());
        match step {
            Step::Opened(_) => {
                self.failing.remove(&**seat.key());
                self.bed.open_on(seat);
            }
            Step::Failed(_) => {
                self.failing.insert(**seat.key());
                let now = self.bed.now();
                let work = Kernel::open_failed(&self.bed.kernel, seat, "down", now, 0.0);
                self.bed.perform(work);
            }
            _ => drop(seat),
        }
    }

    /// Runs a round of the keeper.
    fn tick(&mut self) {
        let tick = Kernel::tick(&self.bed.kernel, self.bed.now(), Waker::noop().clone());
        self.bed.perform(tick.work);
        self.idle_now();
    }

    fn told(&mut self, key: char, answer: Result<Lent, Refusal<&'static str>>) {
        match answer {
            Ok(Grant::Many(token)) => {
                assert_eq!(token.share.key, key, "that of another key");
                self.tokens.push(token);
            }
            Ok(Grant::One(slot)) => {
                assert_eq!(**slot.seat.key(), key, "that of another key");
                self.held.push(slot);
            }
            Err(Refusal::Closed) => assert!(self.closed),
            Err(Refusal::Connect(error)) => assert!(["down", "gone", "dead"].contains(&error)),
            Err(Refusal::Overloaded) => {
                let left = self.pushed_out.entry(key).or_default();
                assert!(*left > 0, "{key} was pushed out for nobody");
                *left -= 1;
            }
            Err(Refusal::Shed) => panic!("nothing is shed"),
        }
    }

    /// Returns the number of waiters of a key, including parked waiters.
    fn in_line(&self, key: char) -> usize {
        let keys = self.bed.kernel.snapshots(0);
        let mut keys = keys.into_iter().flat_map(|(_, keys)| keys);
        let of = keys.find(|(known, _)| **known == key);
        of.map_or(0, |(_, of)| of.waiting)
    }

    /// Returns the number of waiters of a key that would fetch a grant.
    fn waiting(&self, key: char) -> usize {
        let state = self.bed.kernel.lock();
        let keys = 0..state.table.slots();
        let mut keys = keys.filter(|index| state.table.get(*index).is_some());
        keys.find(|index| *state.table.cold(*index).key == key)
            .map_or(0, |index| state.waiting(index))
    }

    /// Returns how many keys have waiters and no place, though their bound allows one; and how many places are being freed.
    fn starved_and_closing(&self) -> (usize, usize) {
        let starved = |key: &char| {
            let has = self.open(*key) as usize + self.opening(*key).len();
            self.waiting(*key) > 0 && has == 0 && self.taken(*key) < self.max_size
        };
        let starved = KEYS.iter().filter(|key| starved(key)).count();
        let all: u32 = KEYS.into_iter().map(|key| self.taken(key)).sum();
        let has = |key| self.open(key) + self.opening(key).len() as u32;
        let has: u32 = KEYS.into_iter().map(has).sum();
        (starved, (all - has) as usize)
    }

    /// Returns the number of places of a key: open, being opened or called off, and being closed.
    fn taken(&self, key: char) -> u32 {
        let opens = self.later(|later| {
            let of = later.opens.iter().filter(|seat| **seat.key() == key);
            of.count() as u32
        });
        self.bed.alive(key) + opens
    }

    /// Records the idle seats, with the step at which each became idle.
    fn idle_now(&mut self) {
        let state = self.bed.kernel.lock();
        let before = std::mem::take(&mut self.idle);
        for index in 0..state.seats.len() {
            let Some(slot) = state.seats.slot(index) else {
                continue;
            };
            if state.seats.state(index) != SeatState::Idle {
                continue;
            }
            let again = slot.idle_since == self.bed.now();
            let laid = before.get(&index).filter(|_| !again);
            self.idle.insert(index, laid.copied().unwrap_or(self.steps));
        }
    }

    /// Checks that every evicted slot had been idle for longer than all that are left. Returns how many were evicted.
    fn look_at_evictions(&self, closes: usize) -> u32 {
        let evicted: Vec<u32> = self.later(|later| {
            let new = later.closes.iter().skip(closes.min(later.closes.len()));
            let evicted = new.filter(|(_, reason)| *reason == CloseReason::Evicted);
            // A shared one that was not idle was drained, because it was the turn of another key.
            let idle = |slot: &TestSlot| {
                !slot.item.is_shared() || self.idle.contains_key(&slot.seat.index())
            };
            evicted
                .filter(|(slot, _)| idle(slot))
                .map(|(slot, _)| slot.seat.index())
                .collect()
        });
        let state = self.bed.kernel.lock();
        for index in &evicted {
            let Some(laid) = self.idle.get(index) else {
                continue;
            };
            for (other, later) in &self.idle {
                // All keys have one hash here, so a get of another key may have had one of them in its hand. An exclusive one
                // is the youngest of its key then anyway.
                let shared = [*index, *other].map(|seat| state.seats.is_shared(seat));
                let left = state.seats.state(*other) == SeatState::Idle && shared == [false; 2];
                assert!(!left || later >= laid, "a younger one was evicted");
            }
        }
        evicted.len() as u32
    }

    fn compare(&self) {
        let all = self.bed.kernel.snapshot();
        let later = self.bed.later.as_ref().unwrap().lock().unwrap();
        let mut sums = [0; SeatState::COUNT];
        let keys = self
            .bed
            .kernel
            .snapshots(0)
            .map_or_else(Vec::new, |(_, keys)| keys);
        let mut waiting = 0;
        for (key, of) in &keys {
            let opens = later.opens.iter().filter(|seat| seat.key() == key);
            let seats = |state| {
                let kernel = self.bed.kernel.lock();
                let is_in = |seat: &&TestSeat| kernel.seats.state(seat.index()) == state;
                opens.clone().filter(is_in).count() as u32
            };
            let (opening, called_off) = (seats(SeatState::Opening), seats(SeatState::Closing));
            let closing = later
                .closes
                .iter()
                .filter(|(slot, _)| slot.seat.key() == key)
                .count() as u32;
            let held = self
                .held
                .iter()
                .filter(|slot| slot.seat.key() == key)
                .count() as u32;
            let alive = self.bed.alive(**key);
            assert_eq!(of.count(SeatState::Opening), opening, "{key}: opening");
            assert_eq!(
                of.count(SeatState::Closing),
                closing + called_off,
                "{key}: closing"
            );
            let (idle, leased) = (of.count(SeatState::Idle), of.count(SeatState::Leased));
            assert_eq!(idle + leased + closing, alive, "{key}: alive");
            let (shared, used) = self.in_shares(**key);
            assert!(leased >= held + shared, "{key}: leased");
            let gets = self.waits.iter().filter(|wait| wait.key == **key).count();
            let granted = (leased - held - shared) + used;
            assert!(granted as usize + of.waiting <= gets, "{key}: in line");
            assert!(
                alive + opening + called_off <= self.max_size,
                "{key}: its bound"
            );
            for (sum, count) in sums.iter_mut().zip(of.counts) {
                *sum += count;
            }
            waiting += of.waiting;
        }
        assert_eq!(all.counts, sums, "the sum of all keys");
        assert_eq!(
            (all.waiting, self.bed.kernel.key_count()),
            (waiting, keys.len())
        );
        let unknown = |key: char| keys.iter().all(|(known, _)| **known != key);
        for key in KEYS.into_iter().filter(|key| unknown(*key)) {
            assert_eq!(self.bed.alive(key), 0, "{key} went with something open");
            assert!(
                self.waits.iter().all(|wait| wait.key != key),
                "{key} went with its line"
            );
        }
        self.nobody_waits_for_what_could_be_had();
    }

    /// Returns how many shared connections of a key are in use, and how many shares of them were granted and not fetched yet.
    fn in_shares(&self, key: char) -> (u32, u32) {
        let state = self.bed.kernel.lock();
        let in_use = state.seats.shared_in_use();
        let links = in_use.map(|index| (state.seats.link(index), index));
        let links =
            links.filter(|(_, index)| *state.table.cold(state.seats.key(*index)).key == key);
        links.fold((0, 0), |(count, granted), (link, index)| {
            let out = self.tokens.iter().filter(|token| token.link == link);
            let (_, used) = state.seats.shares(index);
            (count + 1, granted + used - out.count() as u32)
        })
    }

    /// Checks that no share was given above the capacity of its connection, nor of one that gives none.
    ///
    /// Within `one` operation, no connection gives a share and is drained.
    fn look_at_shares(&mut self, one: bool) {
        let state = self.bed.kernel.lock();
        let before = std::mem::take(&mut self.used);
        for index in state.seats.all_shared() {
            let ((capacity, used), link) = (state.seats.shares(index), state.seats.link(index));
            let known = before.get(&index).filter(|(known, _)| *known == link);
            let was = known.map_or(0, |(_, used)| *used);
            let gives = state.seats.ends(index).is_none() && !state.seats.is_suspect(index);
            assert!(
                used <= was || used <= capacity,
                "{used} shares of {capacity}"
            );
            assert!(used <= was || gives || !one, "a share of what gives none");
            let idle = state.seats.state(index) == SeatState::Idle;
            assert_eq!(idle, used == 0, "it is idle without a share");
            self.used.insert(index, (link, used));
        }
    }

    fn nobody_waits_for_what_could_be_had(&self) {
        let state = self.bed.kernel.lock();
        for index in state.seats.all_shared().filter(|_| !self.closed) {
            let ((capacity, used), key) = (state.seats.shares(index), state.seats.key(index));
            let gives = state.seats.ends(index).is_none() && !state.seats.is_suspect(index);
            assert!(
                state.waiting(key) == 0 || !gives || used >= capacity,
                "a share is free"
            );
        }
        let keys = (0..state.table.slots()).filter(|index| state.table.get(*index).is_some());
        let mut wants = 0;
        for index in keys {
            let ((want, claim), key) = (state.claim(index), &state.table.cold(index).key);
            let written = state.turns.want_of(index);
            let right = (want > 0).then_some((want, claim));
            assert_eq!(written, right, "{key}: as is written down");
            if claim.is_firm() {
                wants += want as usize;
            } else if want > 0 && (claim == Claim::Spare || state.probing == 0) {
                assert!(
                    state.seats.taken() >= self.max_total,
                    "{key}: there is room"
                );
            }
        }
        assert_eq!(state.turns.wanted(), wants, "the sum of all keys");
        if wants > 0 {
            assert!(state.seats.taken() >= self.max_total, "there is room");
            // One that has served nobody, though its key has waiters, stays for a while.
            let barren = |index: &u32| {
                let slot = state.seats.slot(*index);
                slot.is_some_and(|slot| slot.uses == 0)
                    && state.seats.is_shared(*index)
                    && state.waiting(state.seats.key(*index)) > 0
            };
            let mut idle = state.seats.idle_by_age();
            let closing = state.seats.count(SeatState::Closing) as usize;
            assert!(
                idle.all(|index| barren(&index)) || closing >= wants,
                "an idle one could be evicted"
            );
        }
    }

    /// Drops all gets and leases, and completes all opens and closes. Then nothing may be left, and every resource was closed once.
    fn finish(mut self) {
        self.waits.clear();
        for slot in self.held.drain(..) {
            self.bed.put(slot);
        }
        for token in self.tokens.drain(..) {
            self.bed.put_share(token);
        }
        assert_eq!(self.bed.kernel.snapshot().links.used, 0, "a share was lost");
        self.bed.perform(self.bed.kernel.close());
        for seat in self.later(|later| std::mem::take(&mut later.opens)) {
            drop(seat);
        }
        for (slot, _) in self.later(|later| std::mem::take(&mut later.closes)) {
            self.bed.close_slot(*slot);
        }
        self.bed.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_steps_with_shares_is_as_the_model_says(
        max_size in 1..4_u32,
        max_total in 1..=MOST,
        expected in 0..4_u32,
        steps in prop::collection::vec(step_of_shares(), 1..160),
    ) {
        let mut run = Run::new(max_size, max_total, expected);
        for step in &steps {
            run.take(step);
        }
        run.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_steps_is_as_the_model_says(
        max_size in 1..4_u32,
        max_total in 1..=MOST,
        steps in prop::collection::vec(step(false), 1..120),
    ) {
        let mut run = Run::new(max_size, max_total, 1);
        for step in &steps {
            run.take(step);
        }
        run.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_hangs_fails_or_floods_takes_no_more_than_is_its_due(
        max_size in 1..4_u32,
        max_total in 1..=MOST,
        steps in prop::collection::vec(step(true), 1..160),
    ) {
        let mut run = Run::new(max_size, max_total, 1);
        for step in &steps {
            run.take(step);
        }
        run.finish();
    }
}

#[test]
fn a_key_that_fails_and_is_asked_for_again_is_tried_no_longer_than_it_is_remembered() {
    let mut run = Run::new(2, 3, 1);
    let long = Step::Tick(40_000);
    let steps = [
        Step::Get('a'),
        Step::Get('b'),
        long.clone(),
        Step::Opened(0),
        Step::Failed(1),
        Step::Get('b'),
        Step::Get('b'),
        Step::Tick(42),
        Step::Get('b'),
        Step::Get('c'),
        Step::Get('b'),
        Step::Get('c'),
        Step::Get('a'),
        long,
    ];
    for step in &steps {
        run.take(step);
    }
    run.finish();
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind_in_the_list_of_the_keeper() {
    let mut bed = Bed::new(1, 4);
    let idle_timeout = Some(Duration::from_secs(600));
    bed.terms = Arc::new(Terms {
        idle_timeout,
        ..(*bed.terms).clone()
    });
    for n in 0..10_000 {
        let key = char::from_u32(0x1_0000 + n % 100).unwrap();
        let mut wait = bed.wait(key);
        let mut poll = || wait.poll(&mut Context::from_waker(Waker::noop()));
        let answer = match poll() {
            Poll::Pending => poll(),
            answer => answer,
        };
        let Poll::Ready(Ok(slot)) = answer else {
            panic!("one is evicted for it")
        };
        bed.put(slot);
        bed.ledger.lock().unwrap().now_ms += n % 2;
    }
    let due = bed.kernel.lock().due.len();
    assert!(due <= 2 * 4 + 16, "{due} entries for 4 seats");
    // The keeper still looks at the idle slots in time.
    bed.ledger.lock().unwrap().now_ms += 600_000;
    let tick = Kernel::tick(&bed.kernel, bed.now(), Waker::noop().clone());
    bed.perform(tick.work);
    assert_eq!(bed.kernel.snapshot().count(SeatState::Idle), 0);
    bed.finish();
}

#[test]
fn a_prober_whose_open_was_lost_is_not_before_a_key_that_has_nothing() {
    let mut run = Run::new(2, 1, 1);
    let steps = [
        Step::Get('c'),
        Step::Failed(0),
        Step::Failed(0),
        Step::Get('b'),
        Step::Failed(0),
        Step::Get('a'),
        Step::Resize(4),
        Step::Tick(997),
        Step::Tick(949),
        Step::Tick(51),
        Step::Get('d'),
    ];
    for step in &steps {
        run.take(step);
    }
    run.finish();
}
