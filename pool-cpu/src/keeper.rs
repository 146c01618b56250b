//! The keeper: one thread of each pool that handles everything that is due at a time.
//!
//! The keeper sleeps until the earliest time that was requested. A deadline that is not reached costs almost nothing: a job with a
//! deadline only compares it with that time, and the keeper itself looks at the queue when the time has come.

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

/// When the keeper must look next, and the timers that it serves.
#[derive(Debug)]
pub(crate) struct Keeper {
    epoch: Instant,
    /// The earliest time that was requested, in nanoseconds from `epoch`.
    next: AtomicU64,
    /// Whether the bell was rung. No other lock is taken under this lock.
    rung: Mutex<bool>,
    bell: Condvar,
    /// The futures to wake at a time. The number distinguishes timers of the same time.
    timers: Mutex<Timers>,
}

#[derive(Debug, Default)]
struct Timers {
    wakers: BTreeMap<(Instant, u64), Waker>,
    issued: u64,
}

/// The timer of one future. Its drop removes the timer.
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

    /// Makes the keeper look at `at`, or before. What the keeper is to see must be published before this call.
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

    /// Sleeps and looks in turns, until `look` returns that the pool has ended. `look` gets the time, and returns when it must run
    /// again. Runs on the keeper's thread.
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
            // Pairs with the fence of a thread between its publication and its `look_at`. Either that thread sees `NEVER` and rings
            // the bell, or this look sees what it published.
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

    /// Wakes the timers that are due, and returns the time of the next timer.
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

    /// Sleeps until the bell is rung, but no longer than `at_most` if it is given.
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

    /// Converts a time to a number that compares as times do. The number is never [`NEVER`](Self::NEVER).
    #[inline]
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_nanos())
            .unwrap_or(Self::NEVER - 1)
            .min(Self::NEVER - 1)
    }

    /// Converts such a number back to a time.
    pub(crate) fn moment(&self, at: u64) -> Option<Instant> {
        (at != Self::NEVER).then(|| self.epoch + Duration::from_nanos(at))
    }

    /// The number that stands for no time.
    pub(crate) const NEVER: u64 = u64::MAX;
}

/// What the keeper does next.
#[derive(Debug)]
pub(crate) enum Look {
    /// The keeper looks again at that time, or when it is asked to.
    Again(Option<Instant>),
    /// The keeper ends.
    Over,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let waker = self.keeper.timers.lock().wakers.remove(&self.key);
        drop(waker);
    }
}

/// The shortest time between two looks of the keeper, so that a long queue of short deadlines does not keep it busy.
const PAUSE: Duration = Duration::from_millis(2);
