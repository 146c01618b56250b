//! How a pool ends.

use std::task::Waker;

use super::Core;
use crate::{
    error::Kind,
    mutation::{self, Mutation},
    quiet::wake_quietly,
    sync::{Ordering, fence},
};

/// Takes jobs.
pub(super) const OPEN: u8 = 0;
/// Takes none any more; runs those that wait.
const DRAINING: u8 = 1;
/// Takes none any more; ends those that wait.
const DROPPING: u8 = 2;
/// As `DROPPING`, and nobody waits for those that run.
const ABANDONED: u8 = 3;

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

    /// A worker has left, or the queue was emptied: whoever waits for the end hears of it.
    pub(crate) fn bury(&self) {
        let mourners = {
            // Looked at under the lock: what was done before somebody joined the mourners is seen
            // here, and what is done before this is seen by whoever joins them after.
            let mut mourners = self.mourners.lock();
            if !self.is_gone() || mutation::on(Mutation::LastTellsNobody) {
                return;
            }
            std::mem::take(&mut *mourners)
        };
        mourners.into_iter().for_each(wake_quietly);
        self.keeper.look_now();
    }

    /// Wakes `waker` when everything is over. `false` if it is.
    pub(crate) fn mourn(&self, waker: Waker) -> bool {
        self.mourners.lock().push(waker);
        !self.is_gone()
    }

    /// Is the pool closed, and are all workers and jobs gone?
    pub(crate) fn is_gone(&self) -> bool {
        self.is_closed() && self.crew.alive() == 0 && self.queue.is_empty()
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
            if job.end(self.error(job.head().label, Kind::Closed)) {
                self.counters.dropped.add();
            }
        });
        self.bury();
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::Acquire)
    }
}
