//! A kernel under test, whose resources are counted by key.
#![cfg_attr(
    not(pool_loom),
    allow(dead_code, reason = "a part is for the models only")
)]

use std::{
    collections::HashMap,
    sync::{Arc as StdArc, Mutex as StdMutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    engine::{Backoff, Holder, Opened, Refusal},
    gauge::LinkId,
    keyed::{
        grant::{Grant, Lends, Token},
        kernel::{Asked, Kernel, Limits, Polled, Take, Ticket},
        limits::Terms,
        seats::{Seat, SeatState, Slot},
        work::Work,
    },
    moment::Moment,
    observe::CloseReason,
    sync::Arc,
};

pub(super) type TestSlot = Box<Slot<char, Item, &'static str>>;
pub(super) type TestSeat = Seat<char, Item, &'static str>;
pub(super) type TestWork = Work<char, Item, &'static str>;
pub(super) type Answer = Result<TestSlot, Refusal<&'static str>>;
pub(super) type Lent = Grant<char, Item, &'static str>;
pub(super) type TestToken = Token<Share>;

/// Shared by the resources of one test. It uses plain types, since the models do not explore the bookkeeping of the test.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) alive: HashMap<char, u32>,
    pub(super) opened: HashMap<char, u32>,
    /// How many opens of a key fail first.
    pub(super) fail: HashMap<char, u32>,
    /// What opens of a key open: something that so many share; without an entry, something for one at a time.
    pub(super) capacity: HashMap<char, u32>,
    pub(super) now_ms: u32,
}

/// A resource, which counts itself in the ledger.
#[derive(Debug)]
pub(super) struct Item {
    key: char,
    shared: bool,
    ledger: StdArc<StdMutex<Ledger>>,
}

/// What a holder of a share has.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) key: char,
}

impl Lends for Item {
    type Share = Share;

    fn share(&self) -> Option<Share> {
        self.shared.then_some(Share { key: self.key })
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        // When a model has failed and is torn down, the lock may be poisoned.
        if let Ok(mut ledger) = self.ledger.lock() {
            *ledger.alive.entry(self.key).or_default() -= 1;
        }
    }
}

/// A kernel, with the ledger of its resources.
#[derive(Clone, Debug)]
pub(super) struct Bed {
    pub(super) kernel: Arc<Kernel<char, Item, &'static str>>,
    pub(super) ledger: StdArc<StdMutex<Ledger>>,
    pub(super) terms: StdArc<Terms>,
    /// The opens and closes that are left to do, if the test does them itself later.
    pub(super) later: Option<StdArc<StdMutex<Later>>>,
    max_total: u32,
}

#[derive(Debug, Default)]
pub(super) struct Later {
    pub(super) opens: Vec<TestSeat>,
    pub(super) closes: Vec<(TestSlot, CloseReason)>,
}

const START: Moment = Moment::from_nanos(1_000_000_000);

impl Bed {
    pub(super) fn new(max_size: u32, max_total: u32) -> Self {
        let backoff = Backoff {
            base: Duration::ZERO,
            ..Backoff::default()
        };
        let limits = Limits {
            max_total,
            max_waiters: 8,
            fifo: false,
            backoff,
            leak_after: None,
            reclaim_after: Duration::from_millis(50),
            arm_after: Duration::from_millis(500),
            tick: Duration::from_millis(10),
            rounds: Duration::from_secs(30),
        };
        let second = Duration::from_secs(1);
        let terms = Terms {
            max_size,
            max_opening: 4,
            max_waiters: 5,
            check_after_nanos: u64::MAX,
            acquire_timeout: second,
            create_timeout: second,
            idle_timeout: None,
            keepalive: None,
            max_lifetime: None,
            expected: 1,
            min_idle: 0,
            shed_target: None,
        };
        Self {
            kernel: Arc::new(Kernel::new(limits)),
            ledger: StdArc::default(),
            terms: StdArc::new(terms),
            later: None,
            max_total,
        }
    }

    /// Returns the time, which the test sets.
    pub(super) fn now(&self) -> Moment {
        let now_ms = self.ledger.lock().expect("not poisoned").now_ms;
        START + Duration::from_millis(now_ms.into())
    }

    pub(super) fn alive(&self, key: char) -> u32 {
        let ledger = self.ledger.lock().expect("not poisoned");
        ledger.alive.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn opened(&self, key: char) -> u32 {
        let ledger = self.ledger.lock().expect("not poisoned");
        ledger.opened.get(&key).copied().unwrap_or(0)
    }

    #[track_caller]
    pub(super) fn holder(&self) -> Holder {
        Holder {
            since: self.now(),
            place: std::panic::Location::caller(),
            label: "",
        }
    }

    /// Opens a resource, and checks the bound.
    fn open(&self, key: char) -> Result<Item, &'static str> {
        let mut ledger = self.ledger.lock().expect("not poisoned");
        if let Some(left) = ledger.fail.get_mut(&key).filter(|left| **left > 0) {
            *left -= 1;
            return Err("down");
        }
        *ledger.opened.entry(key).or_default() += 1;
        *ledger.alive.entry(key).or_default() += 1;
        let all: u32 = ledger.alive.values().sum();
        drop(ledger);
        assert!(all <= self.max_total, "the bound was exceeded: {all}");
        let shared = ledger_of(&self.ledger).capacity.contains_key(&key);
        let ledger = StdArc::clone(&self.ledger);
        Ok(Item {
            key,
            shared,
            ledger,
        })
    }

    /// Does the work at once that a pool does on its tasks.
    pub(super) fn perform(&self, work: TestWork) {
        let Work {
            wakers,
            opens,
            checks,
            closes,
            deaths: _,
            gone,
            // A test that opens something asks `is_wanted` itself before the open ends.
            called_off: _,
        } = work;
        wakers.wake();
        drop(gone);
        for slot in checks {
            let now = self.now();
            self.perform(Kernel::put_clean(&self.kernel, slot, now, Duration::ZERO));
        }
        if let Some(later) = &self.later {
            let mut later = later.lock().expect("not poisoned");
            later.opens.extend(opens.into_iter().map(|(seat, _)| seat));
            later.closes.extend(closes);
            return;
        }
        // A pool uses a task for each, so any order is possible. Opens first is the order that strains the bound most.
        for (seat, _) in opens {
            self.open_on(seat);
        }
        for (slot, _) in closes {
            self.close_slot(*slot);
        }
    }

    pub(super) fn open_on(&self, seat: TestSeat) {
        let now = self.now();
        let key = **seat.key();
        self.perform(match self.open(key) {
            Ok(item) => {
                let capacity = ledger_of(&self.ledger).capacity.get(&key).copied();
                if let Some(capacity) = capacity {
                    // The task that drives it has read how many may share it before the open is over.
                    self.set_capacity(self.kernel.link(&seat), capacity);
                }
                let opened = Opened {
                    item,
                    expires_at: Moment::NEVER,
                    took: Duration::ZERO,
                };
                match Kernel::opened(&self.kernel, seat, opened, now, None) {
                    Ok((_, work)) => work,
                    Err((seat, item)) => {
                        drop(item);
                        Kernel::open_failed(&self.kernel, seat, "gone", now, 0.0)
                    }
                }
            }
            Err(error) => Kernel::open_failed(&self.kernel, seat, error, now, 0.0),
        });
    }

    /// Closes the resource of a lease, and opens another in its place, for which it runs `between`.
    pub(super) fn reopen(&self, slot: TestSlot, between: impl FnOnce()) -> TestSlot {
        let (now, key) = (self.now(), **slot.seat.key());
        let begun = Kernel::begin_reopen(&self.kernel, &slot, None, now);
        let (_, work) = begun.expect("nothing is in its way");
        let Slot { item, seat, .. } = *slot;
        drop(item);
        self.perform(work);
        between();
        let opened = Opened {
            item: self.open(key).expect("nothing fails"),
            expires_at: Moment::NEVER,
            took: Duration::ZERO,
        };
        let opened = Kernel::opened(&self.kernel, seat, opened, now, Some(self.holder()));
        let Ok((Some(Grant::One(slot)), work)) = opened else {
            panic!("it is for the one that had it")
        };
        self.perform(work);
        slot
    }

    /// Drops the resource, then frees its seat.
    pub(super) fn close_slot(&self, slot: Slot<char, Item, &'static str>) {
        let Slot { item, seat, .. } = slot;
        drop(item);
        self.perform(Kernel::closed(&self.kernel, seat, self.now()));
    }

    pub(super) fn put(&self, slot: TestSlot) {
        if let Some(work) = Kernel::put(&self.kernel, slot, self.now(), None) {
            self.perform(work);
        }
    }

    /// Gives a share back.
    pub(super) fn put_share(&self, token: TestToken) {
        if let Some(work) = Kernel::put_share(&self.kernel, token.link, self.now()) {
            self.perform(work);
        }
    }

    /// Gives back what was lent.
    pub(super) fn put_any(&self, lent: Lent) {
        match lent {
            Grant::One(slot) => self.put(slot),
            Grant::Many(token) => self.put_share(token),
        }
    }

    /// What is opened for `key` from now on is shared by so many.
    pub(super) fn share(&self, key: char, capacity: u32) {
        ledger_of(&self.ledger).capacity.insert(key, capacity);
    }

    pub(super) fn set_capacity(&self, link: LinkId, capacity: u32) {
        let now = self.now();
        self.perform(Kernel::set_capacity(&self.kernel, link, capacity, now));
    }

    pub(super) fn drain(&self, link: LinkId) {
        let (reason, now) = (CloseReason::GoingAway, self.now());
        self.perform(Kernel::drain(&self.kernel, link, reason, now));
    }

    pub(super) fn suspect(&self, link: LinkId, suspect: bool) {
        let now = self.now();
        self.perform(Kernel::set_suspect(&self.kernel, link, suspect, now));
    }

    /// A resource is expected to serve so many; 0 if nobody knows.
    pub(super) fn expect(&mut self, expected: u32) {
        let terms = Terms::clone(&self.terms);
        self.terms = StdArc::new(Terms { expected, ..terms });
    }

    /// The resource of this name is dead.
    pub(super) fn die(&self, link: LinkId) {
        let now = self.now();
        self.perform(Kernel::die(&self.kernel, link, "dead", now, 0.0));
    }

    pub(super) fn wait(&self, key: char) -> Wait {
        Wait {
            bed: self.clone(),
            key,
            ticket: None,
        }
    }

    /// All leases were returned. Closes the pool, after which no key may be left.
    pub(super) fn finish(self) {
        self.perform(self.kernel.close());
        let of = self.kernel.snapshot();
        assert_eq!(
            (of.counts, of.waiting, self.kernel.key_count()),
            ([0; SeatState::COUNT], 0, 0),
            "something was left behind"
        );
        let ledger = self.ledger.lock().expect("not poisoned");
        assert_eq!(ledger.alive.values().sum::<u32>(), 0, "a resource was lost");
    }
}

/// A get, as the future of the pool does it. All keys have the same hash, so they are told apart by comparison.
pub(super) struct Wait {
    bed: Bed,
    pub(super) key: char,
    ticket: Option<Ticket<char, Item, &'static str>>,
}

const HASH: u64 = 7;

fn key_of(lent: &Lent) -> char {
    match lent {
        Grant::One(slot) => **slot.seat.key(),
        Grant::Many(token) => token.share.key,
    }
}

fn ledger_of(ledger: &StdMutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("not poisoned")
}

impl Wait {
    /// Polls a get of a key of which nothing is shared.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        let one = |lent| match lent {
            Grant::One(slot) => slot,
            Grant::Many(token) => panic!("a share was given: {token:?}"),
        };
        self.poll_any(context).map(|answer| answer.map(one))
    }

    pub(super) fn poll_any(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Lent, Refusal<&'static str>>> {
        let bed = self.bed.clone();
        let Some(ticket) = &self.ticket else {
            return self.start(context);
        };
        let (waker, holder) = (context.waker(), bed.holder());
        let (polled, work) = Kernel::poll(&bed.kernel, ticket, waker, holder);
        let answer = match polled {
            Polled::Granted(lent) => Ok(lent),
            Polled::Refused(refusal) => Err(refusal),
            Polled::Pending { .. } => {
                bed.perform(work);
                return Poll::Pending;
            }
        };
        self.ticket = None;
        bed.perform(work);
        Poll::Ready(answer)
    }

    fn start(&mut self, context: &mut Context<'_>) -> Poll<Result<Lent, Refusal<&'static str>>> {
        let bed = self.bed.clone();
        let (now, holder) = (bed.now(), bed.holder());
        match bed.kernel.take(HASH, now, holder) {
            Some(lent) if key_of(&lent) == self.key => return Poll::Ready(Ok(lent)),
            Some(Grant::One(slot)) => bed.perform(Kernel::put_unused(&bed.kernel, slot, now)),
            Some(Grant::Many(token)) => {
                bed.perform(Kernel::never_shared(&bed.kernel, token.link, false, now));
            }
            None => {}
        }
        let key = StdArc::new(self.key);
        loop {
            let seen = bed.kernel.seen(HASH);
            let mut all = seen.first.iter().chain(&seen.more);
            let found = all.find(|(_, known)| **known == self.key);
            let asked = match found {
                Some((place, _)) => Asked::Known(*place),
                None => Asked::New {
                    hash: HASH,
                    youngest: seen.youngest(),
                    key: &key,
                    terms: &bed.terms,
                },
            };
            let (waker, exact) = (context.waker().clone(), || now);
            match Kernel::take_or_wait(&bed.kernel, asked, now, exact, holder, waker) {
                Take::Ready(lent) => {
                    assert_eq!(key_of(&lent), self.key, "that of another key");
                    return Poll::Ready(Ok(lent));
                }
                Take::Refused(refusal, work) => {
                    bed.perform(work);
                    return Poll::Ready(Err(refusal));
                }
                Take::Queued(queued) => {
                    self.ticket = Some(queued.ticket);
                    bed.perform(queued.work);
                    return Poll::Pending;
                }
                Take::Changed => {}
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take().filter(|_| !std::thread::panicking()) {
            let now = self.bed.now();
            self.bed
                .perform(Kernel::cancel(&self.bed.kernel, ticket, now));
        }
    }
}
