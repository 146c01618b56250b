//! Who sleeps, and who is woken.
//!
//! A worker that finds no work writes itself down as a sleeper, looks for work once more, and only then sleeps. A submitter
//! publishes its work first and looks for sleepers after. Between the write and the look each of them has a `SeqCst` fence: of
//! two fences one comes first, and what was written before it is seen by the look after the other. So either the submitter sees
//! the sleeper and calls it, or the sleeper sees the work. A call is a flag on the sleeper's bed, so it is not lost when it
//! comes before the sleep. For a job the last who lay down is called: its cache is warm, and the others can age out. To help with
//! parallel work those come first who have slept longest, since a piece of it may be for a certain worker: so all have their turn.

use std::time::Duration;

use crate::{
    mutation::{self, Mutation},
    sync::{AtomicUsize, Condvar, Mutex, Ordering, fence},
};

/// The sleepers of one pool.
#[derive(Debug)]
pub(crate) struct Idle {
    /// Workers that lie down, the last one at the end. No other lock is taken under it.
    sleepers: Mutex<Vec<usize>>,
    /// How many there are, to be read without the lock.
    count: AtomicUsize,
    beds: Box<[Bed]>,
}

/// Where one worker sleeps. The lock guards whether it was called.
#[derive(Debug)]
struct Bed {
    called: Mutex<bool>,
    bell: Condvar,
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There was or may be work.
    Called,
    /// The time was over.
    TimedOut,
}

impl Idle {
    /// Beds for this many workers.
    pub(crate) fn new(workers: usize) -> Self {
        let bed = |_| Bed {
            called: Mutex::new(false),
            bell: Condvar::new(),
        };
        Self {
            sleepers: Mutex::new(Vec::with_capacity(workers)),
            count: AtomicUsize::new(0),
            beds: (0..workers).map(bed).collect(),
        }
    }

    /// How many sleep, as of a moment ago.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Sleeps until called, at most this long if a time is given. Does not sleep when there is work.
    pub(crate) fn sleep(
        &self,
        worker: usize,
        at_most: Option<Duration>,
        has_work: impl FnOnce() -> bool,
    ) -> Woken {
        self.lie_down(worker);
        // Pairs with the fence in `wake_one`: see the top of the file.
        fence(Ordering::SeqCst);
        if !mutation::on(Mutation::SleepsWithoutLooking) && has_work() && self.get_up(worker) {
            return Woken::Called;
        }
        let bed = &self.beds[worker];
        let mut at_most = at_most;
        let mut called = bed.called.lock();
        while !*called {
            called = bed.bell.wait(called, at_most);
            if at_most.is_some() && !*called {
                drop(called);
                if self.get_up(worker) {
                    return Woken::TimedOut;
                }
                // Somebody has just picked this worker: the call is on its way.
                at_most = None;
                called = bed.called.lock();
            }
        }
        *called = false;
        Woken::Called
    }

    /// Calls the worker that lay down last. `false` if none sleeps.
    #[inline]
    pub(crate) fn wake_one(&self) -> bool {
        // Pairs with the fence in `sleep`: see the top of the file.
        fence(Ordering::SeqCst);
        self.wake_sleeper()
    }

    /// As [`wake_one`](Self::wake_one), after a `SeqCst` fence of the caller's own.
    #[inline]
    pub(crate) fn wake_sleeper(&self) -> bool {
        if self.count() == 0 {
            return false;
        }
        let worker = {
            let mut sleepers = self.sleepers.lock();
            let worker = sleepers.pop();
            self.count.store(sleepers.len(), Ordering::Relaxed);
            worker
        };
        let Some(worker) = worker else { return false };
        self.call(worker);
        true
    }

    /// Calls a part of those who sleep, one in `share` and at least one: those who lay down first. So whoever sleeps is called by the `share`-th
    /// such call at the latest, or a few more if others lie down meanwhile.
    pub(crate) fn wake_in_turn(&self, share: usize) {
        // Pairs with the fence in `sleep`: see the top of the file.
        fence(Ordering::SeqCst);
        if self.count() == 0 {
            return;
        }
        let first: Vec<usize> = {
            let mut sleepers = self.sleepers.lock();
            let most = sleepers.len().div_ceil(share);
            if mutation::on(Mutation::HelpersHaveNoTurns) {
                sleepers.reverse();
            }
            let first = sleepers.drain(..most).collect();
            self.count.store(sleepers.len(), Ordering::Relaxed);
            first
        };
        first.into_iter().for_each(|worker| self.call(worker));
    }

    /// How many sleep, exactly.
    #[cfg(all(test, pool_loom))]
    pub(crate) fn asleep(&self) -> usize {
        self.sleepers.lock().len()
    }

    /// Calls everybody.
    pub(crate) fn wake_all(&self) {
        if mutation::on(Mutation::CloseWakesOne) {
            self.wake_one();
            return;
        }
        // Pairs with the fence in `sleep`: see the top of the file. Who lies down after it looks by itself.
        fence(Ordering::SeqCst);
        if self.count() == 0 {
            return;
        }
        // All at once: those that find nothing to do and lie down again are not called again.
        let all: Vec<usize> = {
            let mut sleepers = self.sleepers.lock();
            self.count.store(0, Ordering::Relaxed);
            sleepers.drain(..).collect()
        };
        all.into_iter().for_each(|worker| self.call(worker));
    }

    fn call(&self, worker: usize) {
        let bed = &self.beds[worker];
        *bed.called.lock() = true;
        bed.bell.notify_one();
    }

    fn lie_down(&self, worker: usize) {
        let mut sleepers = self.sleepers.lock();
        sleepers.push(worker);
        self.count.store(sleepers.len(), Ordering::Relaxed);
    }

    /// `false` if somebody has picked this worker: then a call is on its way.
    fn get_up(&self, worker: usize) -> bool {
        let mut sleepers = self.sleepers.lock();
        let Some(at) = sleepers.iter().rposition(|sleeper| *sleeper == worker) else {
            return false;
        };
        sleepers.remove(at);
        self.count.store(sleepers.len(), Ordering::Relaxed);
        true
    }
}
