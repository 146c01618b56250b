//! The close of a pool.

use std::task::Waker;

use super::Core;
use crate::{
    error::Kind,
    mutation::{self, Mutation},
    quiet::wake_quietly,
    sync::{Arc, Ordering, fence, torn_down},
};

/// The pool accepts jobs.
pub(super) const OPEN: u8 = 0;
/// The pool accepts no more jobs, and runs the waiting jobs.
const DRAINING: u8 = 1;
/// The pool accepts no more jobs, and ends the waiting jobs.
const DROPPING: u8 = 2;
/// Like `DROPPING`, and the shutdown no longer waits for the running jobs.
const ABANDONED: u8 = 3;

/// The waiters for the last worker to leave.
#[derive(Debug, Default)]
pub(super) struct Mourners {
    waiting: Vec<Waiting>,
    issued: u64,
}

#[derive(Debug)]
struct Waiting {
    /// Identifies the waiter.
    number: u64,
    /// The number of the worker that waits, if the waiter is a worker of this pool. That worker does not leave while it waits.
    worker: Option<usize>,
    waker: Waker,
}

/// A waiter for the last worker to leave. Its drop removes its waker.
#[derive(Debug)]
pub(crate) struct Mourner<'a> {
    core: &'a Core,
    number: u64,
}

impl<'a> Mourner<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        let mut mourners = core.mourners.lock();
        mourners.issued += 1;
        let number = mourners.issued;
        drop(mourners);
        Self { core, number }
    }

    /// Registers `waker`, in place of earlier wakers, to be woken when the pool has ended. Returns `false` if it has already ended.
    ///
    /// For a `worker` of the pool, the pool has ended when only workers are left that wait like this.
    pub(crate) fn wait(&self, waker: Waker, worker: Option<usize>) -> bool {
        let before = self.take();
        drop(before);
        let worker = worker.filter(|_| !mutation::on(Mutation::WorkerWaitsForItself));
        let mut mourners = self.core.mourners.lock();
        mourners.waiting.push(Waiting {
            number: self.number,
            worker,
            waker,
        });
        let over = if worker.is_some() {
            self.core.is_over_but_for(mourners.workers())
        } else {
            self.core.is_gone()
        };
        !over
    }

    fn take(&self) -> Option<Waiting> {
        let waiting = &mut self.core.mourners.lock().waiting;
        let at = waiting
            .iter()
            .position(|waiting| waiting.number == self.number)?;
        Some(waiting.swap_remove(at))
    }
}

impl Mourners {
    /// How many different workers are among the waiters. A worker may wait more than once.
    fn workers(&self) -> usize {
        let workers = |until: usize| self.waiting[..until].iter().filter_map(|it| it.worker);
        let first = |at: &usize| {
            let worker = self.waiting[*at].worker;
            worker.is_some_and(|worker| workers(*at).all(|before| before != worker))
        };
        (0..self.waiting.len()).filter(first).count()
    }
}

impl Drop for Mourner<'_> {
    fn drop(&mut self) {
        if !torn_down() {
            drop(self.take());
        }
    }
}

impl Core {
    /// Stops accepting jobs. Waiting jobs run.
    pub(crate) fn close(&self) {
        self.advance(DRAINING);
    }

    /// Stops accepting jobs. Waiting jobs are ended.
    pub(crate) fn close_and_drop(&self) {
        self.advance(DROPPING);
        self.drop_queued();
    }

    /// Ends a shutdown whose time is over. Waiting jobs are ended, and running jobs are marked as cancelled.
    pub(crate) fn abandon(&self) {
        self.advance(ABANDONED);
        self.drop_queued();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.stage() != OPEN
    }

    pub(crate) fn is_dropping(&self) -> bool {
        self.stage() >= DROPPING
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.stage() == ABANDONED
    }

    /// Whether a worker has nothing left to do, so that it leaves.
    pub(crate) fn is_over(&self) -> bool {
        if !self.is_closed() {
            return false;
        }
        // The worker's fence, between its look at the stage and its look at the queue.
        fence(Ordering::SeqCst);
        mutation::on(Mutation::LeavesWithoutLooking) || self.queue.is_empty()
    }

    /// Records that worker `me` has left after a shutdown.
    pub(crate) fn left(&self, me: usize) {
        self.crew.leave(me);
        self.bury();
    }

    /// Records that worker `me` has left because it was idle. A job that came meanwhile found no room for another thread. It gets a
    /// thread now.
    pub(crate) fn resigned(self: &Arc<Self>, me: usize) {
        self.crew.resign(me);
        // Pairs with the fence in `Core::submit`: see the top of `crew.rs`.
        fence(Ordering::SeqCst);
        if !mutation::on(Mutation::LeavesWithoutLooking) && !self.queue.is_empty() {
            self.call_workers();
        }
        self.bury();
        // The number of workers is a metric. The keeper has to publish it, even if nothing else happens for long.
        #[cfg(feature = "metrics")]
        self.keeper
            .look_at(std::time::Instant::now() + crate::meters::PERIOD);
    }

    /// Called when a worker has left or was not started, or the queue was cleared. If the pool has ended, wakes the waiters for the
    /// end. Returns whether the pool has ended.
    pub(crate) fn bury(&self) -> bool {
        let (gone, mourners) = {
            // Checked under the lock: what happened before a waiter joined is seen here, and a waiter that joins later sees what
            // happened before this.
            let mut mourners = self.mourners.lock();
            let over = self.is_over_but_for(mourners.workers());
            if !over || mutation::on(Mutation::LastTellsNobody) {
                return false;
            }
            (self.is_gone(), std::mem::take(&mut mourners.waiting))
        };
        mourners
            .into_iter()
            .for_each(|waiting| wake_quietly(waiting.waker));
        if gone {
            self.keeper.look_now();
        }
        gone
    }

    /// Whether the pool is closed, and all workers and jobs are gone.
    pub(crate) fn is_gone(&self) -> bool {
        if !self.is_closed() {
            return false;
        }
        // Pairs with the submitter's fence, as in `is_over`.
        fence(Ordering::SeqCst);
        self.crew.alive() == 0 && self.queue.is_empty()
    }

    /// Whether the pool is closed and only `waiting` workers are left, which wait for the end. No worker is left then to run the
    /// waiting jobs.
    fn is_over_but_for(&self, waiting: usize) -> bool {
        if waiting == 0 {
            return self.is_gone();
        }
        if !self.is_closed() {
            return false;
        }
        // As in `is_gone`.
        fence(Ordering::SeqCst);
        self.crew.alive() <= waiting && (self.queue.is_empty() || !self.crew.has_room())
    }

    fn advance(&self, stage: u8) {
        self.stage.fetch_max(stage, Ordering::SeqCst);
        self.places.close();
        self.background_places.close();
        // `wake_all` has the closer's fence, between the store above and its look for sleepers.
        self.idle.wake_all();
        self.keeper.look_now();
    }

    fn drop_queued(&self) {
        self.queue.sweep(|job| {
            if job.end(self, self.error(job.head().label, Kind::Closed)) {
                self.counters.dropped.add();
            }
        });
        self.bury();
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::Acquire)
    }
}
