//! The links against a plain sequential model: any sequence of gets, returns, capacities, drains, deaths, opens, failed opens,
//! resizes and resets, with time that passes between them.
#![allow(clippy::unwrap_used)]

use std::{
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;

use super::limits;
use crate::{
    engine::{Kept, Refusal},
    gauge::LinkId,
    moment::Moment,
    observe::CloseReason,
    shared::{
        links::{Links, Take, Ticket},
        places::Share,
        work::Work,
    },
};

#[derive(Clone, Debug)]
enum Step {
    Get,
    TryGet,
    /// A get without the lock.
    Take,
    Poll(usize),
    Cancel(usize),
    TimeOut(usize),
    Put(usize),
    /// The open succeeds.
    Opened(usize),
    OpenFailed(usize),
    /// The task of the open or close is dropped.
    Dropped(usize),
    Capacity(usize, u32),
    Suspect(usize, bool),
    Drain(usize),
    Fail(usize),
    Closed(usize),
    Resize(u32),
    Reset,
    Close,
    /// So many milliseconds pass, and the keeper comes.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..6_usize;
    prop_oneof![
        8 => Just(Step::Get),
        2 => Just(Step::TryGet),
        2 => Just(Step::Take),
        5 => which.clone().prop_map(Step::Poll),
        2 => which.clone().prop_map(Step::Cancel),
        1 => which.clone().prop_map(Step::TimeOut),
        6 => which.clone().prop_map(Step::Put),
        6 => which.clone().prop_map(Step::Opened),
        1 => which.clone().prop_map(Step::OpenFailed),
        1 => which.clone().prop_map(Step::Dropped),
        3 => (which.clone(), 0..4_u32).prop_map(|(link, shares)| Step::Capacity(link, shares)),
        1 => (which.clone(), any::<bool>()).prop_map(|(link, suspect)| Step::Suspect(link, suspect)),
        2 => which.clone().prop_map(Step::Drain),
        2 => which.clone().prop_map(Step::Fail),
        3 => which.prop_map(Step::Closed),
        1 => (1..4_u32).prop_map(Step::Resize),
        1 => prop_oneof![2 => Just(Step::Get), 1 => Just(Step::Reset)],
        1 => prop_oneof![9 => Just(Step::Get), 1 => Just(Step::Close)],
        3 => prop_oneof![Just(20), Just(100), Just(600), Just(1_000), Just(5_000)].prop_map(Step::Pass),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Opening,
    Live,
    Draining,
    /// The connection died before it was open.
    Stillborn,
    Dead,
    Closing,
}

#[derive(Debug)]
struct Conn {
    id: LinkId,
    phase: Phase,
    capacity: u32,
    used: u32,
    suspect: bool,
    /// The connection is to be drained as soon as it is open.
    unwanted: bool,
    /// The connection asked to be drained while it was being opened.
    leaves: bool,
    /// When its open began.
    began: Moment,
    opened_at: Moment,
    /// Whether anybody ever had a share of it.
    shared: bool,
}

#[derive(Debug)]
struct Waiter {
    id: Ticket<&'static str>,
    /// The answer that the waiter should get: a share of this connection, or a refusal.
    answer: Option<Option<LinkId>>,
}

struct Run {
    links: Links<u32, &'static str>,
    /// In the order in which their opens began.
    conns: Vec<Conn>,
    line: Vec<Waiter>,
    held: Vec<Share>,
    closed: bool,
    expected: u32,
    max_links: usize,
    /// The largest value that `max_links` has had.
    most: usize,
    now: Moment,
    /// How many opens failed, one after the other; and when the next may begin.
    failures: u32,
    next_try: Moment,
    /// Until then an open that succeeds does not end the outage.
    doubted_until: Moment,
    /// One was opened in doubt, and nothing has failed since.
    on_trial: bool,
    /// The error of the last failure.
    failure: &'static str,
}

const NOW: Moment = Moment::from_nanos(1_000_000_000);
const MAX_WAITERS: usize = 6;
const SEC: Duration = Duration::from_secs(1);

impl Run {
    fn new(max_links: u32) -> Self {
        let mut limits = limits(max_links);
        // Grants are never taken back.
        limits.reclaim_after = Duration::MAX;
        Self {
            links: Links::new(limits),
            conns: Vec::new(),
            line: Vec::new(),
            held: Vec::new(),
            closed: false,
            expected: 16,
            max_links: max_links as usize,
            most: max_links as usize,
            now: NOW,
            failures: 0,
            next_try: NOW,
            doubted_until: NOW,
            on_trial: false,
            failure: "",
        }
    }

    fn conn(&mut self, id: LinkId) -> &mut Conn {
        self.conns.iter_mut().find(|conn| conn.id == id).unwrap()
    }

    fn nth(&self, index: usize, phases: &[Phase]) -> Option<LinkId> {
        let of = |conn: &&Conn| phases.contains(&conn.phase);
        self.conns.iter().filter(of).nth(index).map(|conn| conn.id)
    }

    /// Returns the least loaded connection; of equally loaded ones, the youngest.
    fn pick(&self) -> Option<LinkId> {
        let has_room =
            |conn: &&Conn| conn.phase == Phase::Live && !conn.suspect && conn.used < conn.capacity;
        let load = |conn: &Conn| f64::from(conn.used) / f64::from(conn.capacity);
        let better = |best: &Conn, conn: &Conn| load(conn) <= load(best);
        let mut best: Option<&Conn> = None;
        for conn in self.conns.iter().filter(has_room) {
            if best.is_none_or(|best| better(best, conn)) {
                best = Some(conn);
            }
        }
        best.map(|conn| conn.id)
    }

    /// Connections that died while they were shared take no place.
    fn taken(&self) -> usize {
        let alive = |conn: &&Conn| conn.phase != Phase::Dead;
        self.conns.iter().filter(alive).count()
    }

    fn waiting(&self) -> usize {
        self.line
            .iter()
            .filter(|waiter| waiter.answer.is_none())
            .count()
    }

    fn alive(&self) -> bool {
        let alive = |conn: &Conn| matches!(conn.phase, Phase::Live | Phase::Draining);
        self.conns.iter().any(alive)
    }

    /// Whether it is known that nothing can be opened.
    fn is_outage(&self) -> bool {
        self.failures >= 3 && !self.alive()
    }

    /// An open failed, without jitter, for a connection that takes no place any more. In an outage all waiters are told.
    fn failed(&mut self, error: &'static str) {
        self.failures += 1;
        self.on_trial = false;
        let wait = Duration::from_millis(50) * (1 << (self.failures - 1).min(20));
        self.next_try = self.now + wait.min(5 * SEC);
        self.failure = error;
        if self.is_outage() {
            for waiter in &mut self.line {
                waiter.answer.get_or_insert(None);
            }
        }
    }

    /// The same of a connection that ended. Whether it was just opened, and nobody had a share of it, is asked before.
    fn stillborn(&mut self, error: &'static str) {
        self.doubted_until = self.now + SEC;
        self.failed(error);
    }

    /// Whether an end of this connection counts as a failed open.
    fn is_stillborn(&self, id: LinkId) -> bool {
        let conn = self.conns.iter().find(|conn| conn.id == id).unwrap();
        conn.phase == Phase::Live && !conn.shared && self.now - conn.opened_at < SEC
    }

    /// Somebody gets a share.
    fn share(&mut self, id: LinkId) {
        let conn = self.conn(id);
        conn.used += 1;
        conn.shared = true;
    }

    /// How many opens begin.
    fn opens(&self) -> usize {
        if self.closed {
            return 0;
        }
        let in_time = |conn: &&Conn| self.now - conn.began < SEC;
        let busy = |conn: &&Conn| matches!(conn.phase, Phase::Opening | Phase::Stillborn);
        let supply = |conn: &&Conn| conn.phase == Phase::Opening && !conn.unwanted && in_time(conn);
        let wanted = self.waiting().div_ceil(self.expected as usize);
        let missing = wanted.saturating_sub(self.conns.iter().filter(supply).count());
        let room = self.max_links.saturating_sub(self.taken());
        let busy = self.conns.iter().filter(busy);
        let most = room.min(4_usize.saturating_sub(busy.clone().count()));
        if self.failures == 0 {
            return missing.min(most);
        }
        // One attempt at a time, when its time has come, whether it is needed or not.
        let tries = usize::from(self.now >= self.next_try);
        most.min(tries.saturating_sub(busy.filter(in_time).count()))
    }

    /// Updates the model after any change: the waiters are served, and the missing connections are being opened.
    fn settle(&mut self, work: Work<u32>) {
        while self.waiting() > 0
            && let Some(id) = self.pick()
        {
            self.share(id);
            let first = self.line.iter_mut().find(|waiter| waiter.answer.is_none());
            first.unwrap().answer = Some(Some(id));
        }
        if self.on_trial && self.now >= self.doubted_until {
            (self.failures, self.on_trial) = (0, false);
        }
        assert_eq!(work.opens.len(), self.opens(), "opened");
        for id in work.opens {
            let phase = Phase::Opening;
            self.conns.push(Conn {
                id,
                phase,
                capacity: 1,
                used: 0,
                suspect: false,
                unwanted: false,
                leaves: false,
                began: self.now,
                opened_at: self.now,
                shared: false,
            });
        }
        let closing: Vec<_> = work.closes.iter().map(|(id, _, _)| *id).collect();
        for conn in &mut self.conns {
            let ends = conn.phase == Phase::Draining && conn.used == 0;
            assert_eq!(closing.contains(&conn.id), ends, "closes");
            if ends {
                conn.phase = Phase::Closing;
            }
        }
    }

    /// A dead connection is gone with its last share.
    fn bury(&mut self) {
        self.conns
            .retain(|conn| conn.phase != Phase::Dead || conn.used > 0);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Get => self.get(),
            Step::TryGet => {
                let expected = if self.waiting() == 0 && !self.closed {
                    self.pick()
                } else {
                    None
                };
                let (share, work) = self.links.try_take(self.now);
                assert_eq!(share.as_ref().map(|share| share.link()), expected);
                assert!(work.opens.is_empty());
                if let Some(share) = share {
                    self.share(share.link());
                    self.held.push(share);
                }
            }
            Step::Take => {
                let expected = self.pick();
                if let Some(share) = self.links.take() {
                    assert!(self.waiting() == 0 && !self.closed);
                    assert_eq!(Some(share.link()), expected);
                    self.share(share.link());
                    self.held.push(share);
                }
            }
            Step::Poll(index) if index < self.line.len() => {
                let (told, work) = self
                    .links
                    .poll(&self.line[index].id, Waker::noop(), self.now);
                self.told(index, told);
                // A waiter that is polled finds the room.
                self.settle(work);
            }
            Step::Cancel(index) if index < self.line.len() => {
                let waiter = self.line.remove(index);
                let work = self.links.cancel(waiter.id, self.now);
                if let Some(Some(link)) = waiter.answer {
                    self.conn(link).used -= 1;
                    self.bury();
                }
                self.settle(work);
            }
            Step::TimeOut(index) if index < self.line.len() => {
                let waiter = self.line.remove(index);
                let told = self.links.time_out(waiter.id, self.now).ok();
                let share = told.map(|told| told.ok());
                let link = share
                    .as_ref()
                    .map(|share| share.as_ref().map(|share| share.link()));
                assert_eq!(link, waiter.answer);
                self.held.extend(share.flatten());
            }
            Step::Poll(_) | Step::Cancel(_) | Step::TimeOut(_) => {}
            Step::Put(index) => {
                if index < self.held.len() {
                    let (share, now) = (self.held.remove(index), self.now);
                    self.conn(share.link()).used -= 1;
                    self.bury();
                    if let Some(work) = self.links.put(share, || now) {
                        self.settle(work);
                    }
                }
            }
            Step::Opened(index) => {
                if let Some(id) = self.nth(index, &[Phase::Opening, Phase::Stillborn]) {
                    let now = self.now;
                    let mut work = self.links.opened(id, Arc::new(0), Moment::NEVER, now);
                    let closed = self.closed;
                    let conn = self.conn(id);
                    if conn.phase == Phase::Stillborn || conn.leaves {
                        assert!(work.unusable.take().is_some());
                        assert!(work.closes.is_empty() && work.opens.is_empty());
                        self.gone(id);
                        return self.check();
                    }
                    assert!(work.unusable.is_none());
                    conn.opened_at = now;
                    conn.phase = match closed || conn.unwanted {
                        true => Phase::Draining,
                        false => Phase::Live,
                    };
                    self.expected = conn.capacity.max(1);
                    if self.failures > 0 && now < self.doubted_until {
                        self.next_try = self.next_try.max(self.doubted_until);
                        self.on_trial = true;
                    } else {
                        (self.failures, self.on_trial) = (0, false);
                    }
                    self.settle(work);
                }
            }
            Step::OpenFailed(index) => {
                if let Some(id) = self.nth(index, &[Phase::Opening, Phase::Stillborn]) {
                    self.conns.retain(|conn| conn.id != id);
                    let work = self.links.open_failed(id, "refused", self.now, 1.0);
                    self.failed("refused");
                    self.settle(work);
                }
            }
            Step::Pass(millis) => {
                self.now = self.now + Duration::from_millis(millis);
                self.keeper_comes();
            }
            Step::Dropped(index) => self.vacate(index, &[Phase::Opening, Phase::Stillborn]),
            Step::Closed(index) => self.vacate(index, &[Phase::Closing]),
            Step::Capacity(index, shares) => {
                if let Some(id) = self.nth(index, &[Phase::Opening, Phase::Live, Phase::Draining]) {
                    self.conn(id).capacity = shares;
                    if shares > 0 {
                        self.expected = shares;
                    }
                    let work = self.links.set_capacity(id, shares, self.now);
                    self.settle(work);
                }
            }
            Step::Suspect(index, suspect) => {
                if let Some(id) = self.nth(index, &[Phase::Live]) {
                    self.conn(id).suspect = suspect;
                    let work = self.links.set_suspect(id, suspect, self.now);
                    self.settle(work);
                }
            }
            Step::Drain(index) => {
                if let Some(id) = self.nth(index, &[Phase::Opening, Phase::Live]) {
                    let stillborn = self.is_stillborn(id);
                    let conn = self.conn(id);
                    if conn.phase == Phase::Opening {
                        (conn.leaves, conn.unwanted) = (true, true);
                    } else {
                        conn.phase = Phase::Draining;
                    }
                    let work = self.links.go_away(id, "gone", self.now, 1.0);
                    if stillborn {
                        // It is closed at once, so it is not alive any more.
                        assert_eq!(work.closes.len(), 1);
                        self.conn(id).phase = Phase::Closing;
                        self.stillborn("gone");
                        self.conn(id).phase = Phase::Draining;
                    }
                    self.settle(work);
                }
            }
            Step::Fail(index) => {
                if let Some(id) = self.nth(index, &[Phase::Opening, Phase::Live, Phase::Draining]) {
                    let stillborn = self.is_stillborn(id);
                    let conn = self.conn(id);
                    let early = conn.phase == Phase::Opening;
                    conn.phase = if early { Phase::Stillborn } else { Phase::Dead };
                    let work = self.links.fail(id, "dead", self.now, 1.0);
                    assert_eq!(work.deaths.len(), usize::from(!early));
                    self.bury();
                    if stillborn {
                        self.stillborn("dead");
                    }
                    self.settle(work);
                }
            }
            Step::Resize(max_links) => {
                let work = self.links.resize(max_links, self.now);
                self.max_links = max_links as usize;
                self.most = self.most.max(self.max_links);
                while self.let_surplus_go() {}
                self.settle(work);
            }
            Step::Reset => {
                let work = self.links.retire_all(self.now);
                for conn in &mut self.conns {
                    match conn.phase {
                        Phase::Opening => conn.unwanted = true,
                        Phase::Live => conn.phase = Phase::Draining,
                        _ => {}
                    }
                }
                self.settle(work);
            }
            Step::Close => {
                let work = self.links.close();
                self.closed = true;
                for waiter in &mut self.line {
                    waiter.answer.get_or_insert(None);
                }
                for conn in &mut self.conns {
                    if conn.phase == Phase::Live {
                        conn.phase = Phase::Draining;
                    }
                }
                self.settle(work);
            }
        }
        self.check();
    }

    /// Removes one surplus connection: one that is being opened, or else the least loaded. Returns whether there was one.
    fn let_surplus_go(&mut self) -> bool {
        let opening = |conn: &&mut Conn| conn.phase == Phase::Opening && !conn.unwanted;
        let live = |conn: &&mut Conn| conn.phase == Phase::Live;
        let (openings, lives) = (
            self.conns.iter_mut().filter(opening).count(),
            self.conns.iter_mut().filter(live).count(),
        );
        if openings + lives <= self.max_links {
            return false;
        }
        let place = |conn: &&mut Conn| conn.id.index;
        let least = |conn: &&mut Conn| (conn.used, conn.id.index);
        if let Some(conn) = self.conns.iter_mut().filter(opening).min_by_key(place) {
            conn.unwanted = true;
        } else if let Some(conn) = self.conns.iter_mut().filter(live).min_by_key(least) {
            conn.phase = Phase::Draining;
        }
        true
    }

    fn get(&mut self) {
        let (take, work) = self.links.take_or_wait(Waker::noop().clone(), self.now);
        match take {
            Take::Ready(share) => {
                assert_eq!(self.waiting(), 0, "it overtook those in line");
                assert_eq!(Some(share.link()), self.pick());
                self.share(share.link());
                self.held.push(share);
                self.settle(work);
            }
            Take::Refused(Refusal::Closed) => assert!(self.closed),
            Take::Refused(Refusal::Connect(error)) => {
                assert!(self.is_outage() && self.pick().is_none());
                assert_eq!(error, self.failure);
                self.settle(work);
            }
            Take::Refused(refusal) => {
                assert!(matches!(refusal, Refusal::Overloaded), "{refusal:?}");
                assert_eq!(self.waiting(), MAX_WAITERS);
            }
            Take::Queued(id, work) => {
                assert!(!self.is_outage(), "it waits for nothing");
                assert!(!self.closed && (self.waiting() > 0 || self.pick().is_none()));
                self.line.push(Waiter { id, answer: None });
                self.settle(work);
            }
        }
    }

    fn told(&mut self, index: usize, told: Poll<Result<Share, Refusal<&'static str>>>) {
        let expected = self.line[index].answer;
        match told {
            Poll::Pending => assert_eq!(expected, None),
            Poll::Ready(Ok(share)) => {
                assert_eq!(expected, Some(Some(share.link())));
                self.line.remove(index);
                self.held.push(share);
            }
            Poll::Ready(Err(refusal)) => {
                let told = matches!(refusal, Refusal::Closed | Refusal::Connect(_));
                assert!(told && expected == Some(None), "{refusal:?}");
                self.line.remove(index);
            }
        }
    }

    /// The task on this place was dropped. A waiter that is polled next opens what is missing.
    fn vacate(&mut self, index: usize, phases: &[Phase]) {
        if let Some(id) = self.nth(index, phases) {
            self.gone(id);
        }
    }

    fn gone(&mut self, id: LinkId) {
        self.conns.retain(|conn| conn.id != id);
        let work = self.links.vacate(id, self.now);
        assert!(work.opens.is_empty());
        if self.waiting() > 0 && !self.closed {
            let first = self.line.iter().position(|waiter| waiter.answer.is_none());
            self.step(&Step::Poll(first.unwrap()));
        } else {
            // It was called, if there is a room for an attempt.
            self.keeper_comes();
        }
    }

    fn keeper_comes(&mut self) {
        let (next, work) = self.links.tick(self.now, Waker::noop().clone());
        self.settle(work);
        let waits = self.failures > 0 && !self.closed && self.next_try > self.now;
        assert!(!waits || next <= self.next_try.max(self.now + Duration::from_millis(1)));
    }

    fn check(&self) {
        let of = self.links.snapshot();
        let count = |phase| self.conns.iter().filter(|conn| conn.phase == phase).count() as u32;
        assert_eq!(
            (of.opening, of.live, of.draining, of.closing),
            (
                count(Phase::Opening) + count(Phase::Stillborn),
                count(Phase::Live),
                count(Phase::Draining),
                count(Phase::Closing)
            )
        );
        assert_eq!(of.dead, count(Phase::Dead));
        assert_eq!(
            of.used,
            self.conns.iter().map(|conn| conn.used).sum::<u32>()
        );
        assert_eq!(of.waiting, self.waiting());
        assert!(self.taken() <= self.most);
    }

    /// Drops all gets and shares, and completes everything. Then nothing may be left.
    fn finish(mut self) {
        self.step(&Step::Close);
        while !self.line.is_empty() {
            self.step(&Step::Cancel(0));
        }
        while !self.held.is_empty() {
            self.step(&Step::Put(0));
        }
        while !self.conns.is_empty() {
            self.step(&Step::Dropped(0));
            self.step(&Step::Closed(0));
        }
        assert!(self.links.is_over());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_sequence_does_what_the_model_does(max_links in 1..4_u32, steps in prop::collection::vec(step(), 0..60)) {
        let mut run = Run::new(max_links);
        for step in &steps {
            run.step(step);
        }
        run.finish();
    }
}

#[test]
fn the_oldest_go_when_their_time_is_over_and_the_unused_go_but_for_the_minimum() {
    let mut limits = limits(4);
    limits.min_links = 1;
    limits.idle_timeout = Some(Duration::from_secs(60));
    let links: Links<u32, &'static str> = Links::new(limits);
    let second = Duration::from_secs(1);
    let (_, work) = links.tick(NOW, Waker::noop().clone());
    let first = work.opens[0];
    drop(links.opened(first, Arc::new(1), NOW + 90 * second, NOW));
    let (next, work) = links.tick(NOW + second, Waker::noop().clone());
    assert!(work.closes.is_empty() && next > NOW + second);
    let (_, work) = links.tick(NOW + 80 * second, Waker::noop().clone());
    assert!(work.closes.is_empty(), "the minimum stays, however unused");
    let (next, _) = links.tick(NOW + 81 * second, Waker::noop().clone());
    assert!(next >= NOW + 90 * second, "and nobody comes to look at it");
    let (_, work) = links.tick(NOW + 90 * second, Waker::noop().clone());
    assert!(work.closes.is_empty(), "it is the minimum");
    assert_eq!(work.opens.len(), 1, "another is to take its place");
    let other = work.opens[0];
    let soon = NOW + 90 * second + Duration::from_millis(500);
    let (next, work) = links.tick(soon, Waker::noop().clone());
    assert!(work.closes.is_empty() && work.opens.is_empty());
    assert!(
        next >= soon + Duration::from_millis(400),
        "nothing falls due meanwhile"
    );
    let work = links.opened(other, Arc::new(2), Moment::NEVER, soon);
    assert_eq!(work.closes[0].2, CloseReason::Lifetime);
}

#[test]
fn spare_ones_stay_however_unused_and_nobody_comes_to_look_at_them() {
    let mut limits = limits(3);
    limits.spare = 4;
    limits.idle_timeout = Some(Duration::from_secs(60));
    let links: Links<u32, &'static str> = Links::new(limits);
    let (_, work) = links.tick(NOW, Waker::noop().clone());
    let first = work.opens[0];
    drop(links.set_capacity(first, 4, NOW));
    let work = links.opened(first, Arc::new(1), Moment::NEVER, NOW);
    assert!(work.opens.is_empty());
    let second = Duration::from_secs(1);
    for seconds in [1, 61, 122] {
        let now = NOW + seconds * second;
        let (next, work) = links.tick(now, Waker::noop().clone());
        assert!(work.closes.is_empty() && work.opens.is_empty());
        assert!(next >= now + 29 * second, "{:?}", next - now);
    }
}

#[test]
fn while_the_prober_hangs_nobody_comes_to_look_at_it() {
    let links: Links<u32, &'static str> = Links::new(limits(1));
    let (Take::Queued(id, work), _) = links.take_or_wait(Waker::noop().clone(), NOW) else {
        panic!("nothing is open");
    };
    let work = links.open_failed(work.opens[0], "down", NOW, 1.0);
    assert!(work.opens.is_empty(), "not before the backoff is over");
    drop(links.cancel(id, NOW));
    let later = NOW + Duration::from_millis(50);
    let (_, work) = links.tick(later, Waker::noop().clone());
    assert_eq!(work.opens.len(), 1);
    let second = Duration::from_secs(1);
    let (next, _) = links.tick(later + 2 * second, Waker::noop().clone());
    assert_eq!(next, later + 32 * second);
    // The task of the open is dropped without an answer, so the next open has to begin.
    let work = links.vacate(work.opens[0], later + 3 * second);
    assert_eq!(work.wakers.len(), 1, "the keeper");
    let (_, work) = links.tick(later + 3 * second, Waker::noop().clone());
    assert_eq!(work.opens.len(), 1);
}

#[test]
fn one_that_is_too_old_and_in_use_goes_when_its_replacement_is_open() {
    let second = Duration::from_secs(1);
    let old = |links: &Links<u32, &'static str>| {
        let (Take::Queued(id, work), _) = links.take_or_wait(Waker::noop().clone(), NOW) else {
            panic!("nothing is open");
        };
        drop(links.set_capacity(work.opens[0], 1, NOW));
        drop(links.opened(work.opens[0], Arc::new(1), NOW + second, NOW));
        let (Poll::Ready(Ok(share)), _) = links.poll(&id, Waker::noop(), NOW) else {
            panic!("one is open");
        };
        share
    };
    let links = Links::new(limits(2));
    let share = old(&links);
    let (_, work) = links.tick(NOW + second, Waker::noop().clone());
    assert_eq!((work.opens.len(), links.snapshot().draining), (1, 0));
    drop(links.opened(work.opens[0], Arc::new(2), Moment::NEVER, NOW + second));
    assert_eq!((links.snapshot().live, links.snapshot().draining), (1, 1));
    let work = links.put(share, || NOW).unwrap();
    assert_eq!(work.closes[0].2, CloseReason::Lifetime);

    // If there is no place for a replacement, the connection goes on until it has no shares, and the keeper does not come all the
    // time.
    let links = Links::new(limits(1));
    let share = old(&links);
    let (next, work) = links.tick(NOW + second, Waker::noop().clone());
    assert_eq!((work.opens.len(), links.snapshot().draining), (0, 0));
    assert!(next >= NOW + 2 * second, "{:?}", next - NOW);
    assert!(links.put(share, || NOW).is_none());
    let (_, work) = links.tick(NOW + 2 * second, Waker::noop().clone());
    assert_eq!(work.closes[0].2, CloseReason::Lifetime);

    // A place that becomes free is used for the replacement.
    let links = Links::new(limits(1));
    let _share = old(&links);
    drop(links.tick(NOW + second, Waker::noop().clone()));
    let work = links.resize(2, NOW + second);
    assert_eq!(work.opens.len(), 1);
    drop(links.opened(work.opens[0], Arc::new(2), Moment::NEVER, NOW + second));
    assert_eq!((links.snapshot().live, links.snapshot().draining), (1, 1));
}
