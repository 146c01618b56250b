//! How a pool ends.

use std::task::Waker;

use super::Core;
use crate::{
    error::Kind,
    mutation::{self, Mutation},
    quiet::wake_quietly,
    sync::{Arc, Ordering, fence, torn_down},
};

/// Takes jobs.
pub(super) const OPEN: u8 = 0;
/// Takes none any more; runs those that wait.
const DRAINING: u8 = 1;
/// Takes none any more; ends those that wait.
const DROPPING: u8 = 2;
/// As `DROPPING`, and nobody waits for those that run.
const ABANDONED: u8 = 3;

/// Who waits for the last worker to leave.
#[derive(Debug, Default)]
pub(super) struct Mourners {
    waiting: Vec<Waiting>,
    issued: u64,
}

#[derive(Debug)]
struct Waiting {
    /// Tells them apart.
    number: u64,
    /// Which worker of the pool it is, if it is one: that does not leave while it waits.
    worker: Option<usize>,
    waker: Waker,
}

/// One who waits for the last worker to leave. Dropping it takes its waker back.
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

    /// Wakes `waker`, and none that was given before, when everything is over. `false` if it is.
    ///
    /// For a `worker` of the pool it is over when nobody is left but workers who wait like this.
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
    /// How many workers are among them. One may wait more than once.
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
    /// No more jobs from here on. What waits is run.
    pub(crate) fn close(&self) {
        self.advance(DRAINING);
    }

    /// No more jobs from here on. What waits is ended.
    pub(crate) fn close_and_drop(&self) {
        self.advance(DROPPING);
        self.drop_queued();
    }

    /// The shutdown has waited long enough: what waits is ended, what runs is told.
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

    /// Has a worker nothing to stay for?
    pub(crate) fn is_over(&self) -> bool {
        if !self.is_closed() {
            return false;
        }
        // The worker's fence: it has seen that the pool is closed, and looks into the queue after.
        fence(Ordering::SeqCst);
        mutation::on(Mutation::LeavesWithoutLooking) || self.queue.is_empty()
    }

    /// Worker `me` has left after a shutdown.
    pub(crate) fn left(&self, me: usize) {
        self.crew.leave(me);
        self.bury();
    }

    /// Worker `me` has left since it was idle. A job that came meanwhile has found no room for one more thread: it gets one now.
    pub(crate) fn resigned(self: &Arc<Self>, me: usize) {
        self.crew.resign(me);
        // Pairs with the fence in `Core::submit`: see the top of `crew.rs`.
        fence(Ordering::SeqCst);
        if !mutation::on(Mutation::LeavesWithoutLooking) && !self.queue.is_empty() {
            self.call_workers();
        }
        self.bury();
        // Who is there is one of the figures, and nothing else may happen for long.
        #[cfg(feature = "metrics")]
        self.keeper
            .look_at(std::time::Instant::now() + crate::meters::PERIOD);
    }

    /// A worker has left or was not started, or the queue was cleared: if that was the end, whoever waits for it hears of it. Was it?
    pub(crate) fn bury(&self) -> bool {
        let (gone, mourners) = {
            // Looked at under the lock: what was done before somebody joined the mourners is seen
            // here, and what is done before this is seen by whoever joins them after.
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

    /// Is the pool closed, and are all workers and jobs gone?
    pub(crate) fn is_gone(&self) -> bool {
        if !self.is_closed() {
            return false;
        }
        // Pairs with the submitter's fence, as in `is_over`.
        fence(Ordering::SeqCst);
        self.crew.alive() == 0 && self.queue.is_empty()
    }

    /// Is the pool closed, and are only so many workers left, who wait for that? With none but them nobody runs what waits.
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
        // Has the closer's fence, between the store above and its look for sleepers.
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
