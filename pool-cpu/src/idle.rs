//! Sleeping workers, and how they are woken.
//!
//! A worker that finds no work adds itself to the sleepers, looks for work once more, and only then sleeps. A submitter publishes
//! its work first and looks for sleepers after. Between the write and the look each side has a `SeqCst` fence. One of the two
//! fences comes first, and the look after the other fence sees what was written before it. So either the submitter sees the sleeper
//! and wakes it, or the sleeper sees the work. A wake-up is a flag in the sleeper's bed, so it is not lost if it comes before the
//! sleep. A job wakes the worker that lay down last: its cache is warm, and the other workers can reach their idle timeout. A call
//! for help with parallel work wakes the workers that have slept longest, because a piece of the work may be for a certain worker.
//! So every sleeper gets its turn.

use std::time::Duration;

use crate::{
    mutation::{self, Mutation},
    sync::{AtomicUsize, Condvar, Mutex, Ordering, fence},
};

/// The sleepers of one pool.
#[derive(Debug)]
pub(crate) struct Idle {
    /// The sleeping workers. The last one to lie down is at the end. No other lock is taken under this lock.
    sleepers: Mutex<Vec<usize>>,
    /// How many workers sleep, readable without the lock.
    count: AtomicUsize,
    beds: Box<[Bed]>,
}

/// Where one worker sleeps. The lock guards whether the worker was called.
#[derive(Debug)]
struct Bed {
    called: Mutex<bool>,
    bell: Condvar,
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The worker was called, because there is or may be work.
    Called,
    /// The time was over.
    TimedOut,
}

impl Idle {
    /// Makes beds for `workers` workers.
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

    /// How many workers sleep, as of a moment ago.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Sleeps until the worker is called, but no longer than `at_most` if it is given. Does not sleep if there is work.
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
                // Another thread has just picked this worker, so the call is on its way.
                at_most = None;
                called = bed.called.lock();
            }
        }
        *called = false;
        Woken::Called
    }

    /// Calls the worker that lay down last. Returns `false` if no worker sleeps.
    #[inline]
    pub(crate) fn wake_one(&self) -> bool {
        // Pairs with the fence in `sleep`: see the top of the file.
        fence(Ordering::SeqCst);
        self.wake_sleeper()
    }

    /// Like [`wake_one`](Self::wake_one), for a caller that has its own `SeqCst` fence before.
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

    /// Calls one in `share` of the sleepers, and at least one: those that lay down first. So a sleeper is called by the `share`-th
    /// such call at the latest, or a few calls later if other workers lie down meanwhile.
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

    /// How many workers sleep, exactly.
    #[cfg(all(test, pool_loom))]
    pub(crate) fn asleep(&self) -> usize {
        self.sleepers.lock().len()
    }

    /// Calls all sleepers.
    pub(crate) fn wake_all(&self) {
        if mutation::on(Mutation::CloseWakesOne) {
            self.wake_one();
            return;
        }
        // Pairs with the fence in `sleep`: see the top of the file. A worker that lies down after this fence sees the close itself.
        fence(Ordering::SeqCst);
        if self.count() == 0 {
            return;
        }
        // All at once, so that a worker that finds no work and lies down again is not called again.
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

    /// Removes the worker from the sleepers. Returns `false` if another thread has picked this worker, so that a call is on its
    /// way.
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
