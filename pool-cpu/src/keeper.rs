//! The keeper: one thread a pool that sees to whatever is due at a time.
//!
//! It sleeps until the earliest moment that anybody asked for. Nobody pays for a deadline that does not come: a job that has one
//! only compares it with that moment, and the keeper looks at the queue itself when the moment is there.

use std::{
    collections::BTreeMap,
    task::Waker,
    time::{Duration, Instant},
};

use crate::{
    mutation::{self, Mutation},
    quiet::wake_quietly,
    sync::{AtomicU64, Condvar, Mutex, Ordering, fence},
};

/// When the keeper has to look, and at what.
#[derive(Debug)]
pub(crate) struct Keeper {
    epoch: Instant,
    /// The earliest moment that was asked for, in nanoseconds from `epoch`.
    next: AtomicU64,
    /// Was it rung for? No other lock is taken under it.
    rung: Mutex<bool>,
    bell: Condvar,
    /// Futures to be polled again at a time. The number tells those of one moment apart.
    timers: Mutex<Timers>,
}

#[derive(Debug, Default)]
struct Timers {
    wakers: BTreeMap<(Instant, u64), Waker>,
    issued: u64,
}

/// One future's timer. Dropping it takes it back.
#[derive(Debug)]
pub(crate) struct Timer<'a> {
    keeper: &'a Keeper,
    key: (Instant, u64),
}

impl Keeper {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            next: AtomicU64::new(Self::NEVER),
            rung: Mutex::new(false),
            bell: Condvar::new(),
            timers: Mutex::new(Timers::default()),
        }
    }

    /// The keeper is to look at `at`, or before. What there is to see must have been published before this is called.
    #[inline]
    pub(crate) fn look_at(&self, at: Instant) {
        let at = self.nanos(at);
        if at < self.next.load(Ordering::Relaxed) && at < self.next.fetch_min(at, Ordering::Relaxed)
        {
            self.ring();
        }
    }

    /// Makes the keeper look now.
    pub(crate) fn look_now(&self) {
        self.look_at(self.epoch);
    }

    /// Wakes `waker` at `at`.
    pub(crate) fn timer(&self, at: Instant, waker: Waker) -> Timer<'_> {
        let key = {
            let mut timers = self.timers.lock();
            timers.issued += 1;
            let key = (at, timers.issued);
            timers.wakers.insert(key, waker);
            key
        };
        fence(Ordering::SeqCst);
        self.look_at(at);
        Timer { keeper: self, key }
    }

    /// Sleeps and looks by turns, until `look` says that the pool is over. `look` gets the time, and
    /// says when it wants to look again. Runs on the keeper's thread.
    pub(crate) fn keep(&self, mut look: impl FnMut(Instant) -> Look) {
        loop {
            let now = Instant::now();
            let next = self.next.load(Ordering::Relaxed);
            if next > self.nanos(now) {
                let at_most = Duration::from_nanos(next - self.nanos(now));
                self.sleep((next != Self::NEVER).then_some(at_most));
                continue;
            }
            if !mutation::on(Mutation::KeeperForgets) {
                self.next.store(Self::NEVER, Ordering::Relaxed);
            }
            // Pairs with the fence between what somebody published and his `look_at`: either he
            // sees that there is none and rings, or this look sees what he published.
            fence(Ordering::SeqCst);
            let due = self.fire(now);
            let looked = look(now);
            if mutation::on(Mutation::KeeperForgets) {
                self.next.store(Self::NEVER, Ordering::Relaxed);
            }
            match looked {
                Look::Over => return,
                Look::Again(at) => {
                    let soon = now + PAUSE;
                    [due, at]
                        .into_iter()
                        .flatten()
                        .for_each(|at| self.look_at(at.max(soon)));
                }
            }
        }
    }

    /// Wakes what is due, and says when the next one is.
    fn fire(&self, now: Instant) -> Option<Instant> {
        loop {
            let waker = {
                let mut timers = self.timers.lock();
                let first = timers.wakers.first_entry()?;
                if first.key().0 > now {
                    return Some(first.key().0);
                }
                first.remove()
            };
            wake_quietly(waker);
        }
    }

    /// Until it is rung for, at most this long if a time is given.
    fn sleep(&self, at_most: Option<Duration>) {
        let mut rung = self.rung.lock();
        if !*rung {
            rung = self.bell.wait(rung, at_most);
        }
        *rung = false;
    }

    fn ring(&self) {
        *self.rung.lock() = true;
        self.bell.notify_one();
    }

    /// A moment as a number, which compares as moments do. Never [`NEVER`](Self::NEVER).
    #[inline]
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_nanos())
            .unwrap_or(Self::NEVER - 1)
            .min(Self::NEVER - 1)
    }

    /// The moment of such a number.
    pub(crate) fn moment(&self, at: u64) -> Option<Instant> {
        (at != Self::NEVER).then(|| self.epoch + Duration::from_nanos(at))
    }

    /// The number of no moment at all.
    pub(crate) const NEVER: u64 = u64::MAX;
}

/// What the keeper does next.
#[derive(Debug)]
pub(crate) enum Look {
    /// Looks again at that time, or when it is asked to.
    Again(Option<Instant>),
    /// Ends.
    Over,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let waker = self.keeper.timers.lock().wakers.remove(&self.key);
        drop(waker);
    }
}

/// The keeper does not look more often than this, so that a long queue of short deadlines does not keep it busy.
const PAUSE: Duration = Duration::from_millis(2);
