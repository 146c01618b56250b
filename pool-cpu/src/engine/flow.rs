//! The way of a job from its submitter to a worker.
//!
//! A submit races with workers that stop searching, fall asleep or leave, and with a shutdown. All these races are solved in the
//! same way. The submitter publishes its job and then looks: is the pool closed, does a worker search, does a worker sleep, is
//! there room for another thread? The other side publishes what it is about to do (it closes the pool, has found work, lies down,
//! leaves) and then looks into the queue. Each side has a `SeqCst` fence between the two steps. One of the two fences comes first,
//! and the look after the other fence sees what was written before it. So at least one side finds the job.

use std::time::Instant;

use super::Core;
#[cfg(feature = "metrics")]
use crate::quiet::contain;
use crate::{
    error::Kind,
    idle::Woken,
    job::{Head, Run},
    mutation::{self, Mutation},
    patience::Searching,
    sync::{Arc, Ordering, fence},
    worker::Running,
};

/// How a worker's rest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rested {
    /// There may be work for the worker.
    Work,
    /// There was no work for long, so the thread must end.
    Leave,
}

impl Core {
    /// Puts a job that has its place into the queue.
    #[inline]
    pub(crate) fn submit<J: Run + 'static>(self: &Arc<Self>, job: &Arc<J>) {
        let head = job.head();
        if mutation::on(Mutation::WakesBeforePush) {
            self.idle.wake_one();
        }
        self.queue
            .push(Arc::clone(job) as Arc<dyn Run>, head.background);
        // The submitter's fence: see the top of the file. `Core::expect_expiry` relies on it too.
        fence(Ordering::SeqCst);
        if self.is_closed() && !mutation::on(Mutation::SubmitIgnoresClose) {
            // No worker is called for the job. The keeper may have ended, so a thread that is started now would never be ended in
            // time.
            self.end_late(&**job);
            return;
        }
        if !mutation::on(Mutation::WakesBeforePush) {
            self.call_workers();
        }
        if let Some(deadline) = head.deadline {
            self.expect_expiry(deadline);
        }
    }

    /// Ends a job that was put into the queue of a closed pool, unless a worker has begun it. If the last worker has left, this
    /// also removes the shell of the job, and wakes the waiters for the end, which may have seen the job in the queue.
    #[cold]
    fn end_late(&self, job: &dyn Run) {
        // Closed first: otherwise the place of this job would go to the next waiter, which would get here too, recursively.
        self.places.close();
        self.background_places.close();
        if job.end(self, self.error(job.head().label, Kind::Closed)) {
            self.counters.dropped.add();
        }
        if !mutation::on(Mutation::LateShellStays) {
            self.queue.sweep(|_| {});
            self.bury();
        }
    }

    /// Calls a worker for the jobs in the queue: wakes a sleeping worker, or else starts a thread if there is room and too few
    /// workers search.
    ///
    /// Call this with a `SeqCst` fence after the queue was filled, or after the caller stopped searching. A worker that counts as
    /// searching either takes a job and then calls this too, or looks at the queue once more before it sleeps or leaves.
    #[inline]
    pub(super) fn call_workers(self: &Arc<Self>) {
        if !self.idle.wake_sleeper()
            && self.crew.has_room()
            && self.queue.len() > self.patience.searching()
        {
            self.reinforce();
        }
    }

    /// Counts a waiting job that its caller has cancelled.
    pub(crate) fn was_cancelled(&self) {
        self.counters.cancelled.add();
        self.note_shell();
    }

    /// Takes the next job, or the shell of a job. The worker that takes it no longer counts as searching.
    #[inline]
    pub(crate) fn take(
        self: &Arc<Self>,
        searching: &mut Option<Searching<'_>>,
    ) -> Option<Arc<dyn Run>> {
        let job = self.queue.pop(Instant::now)?;
        if searching.take().is_some()
            && self.crew.is_elastic()
            && !mutation::on(Mutation::FinderForgetsOthers)
        {
            // The finder's fence, between the end of its count as searching and its look for jobs that relied on that count.
            fence(Ordering::SeqCst);
            if !self.queue.is_empty() {
                self.call_workers();
            }
        }
        Some(job)
    }

    /// Runs a job that was taken from the queue, as worker `me`. `now` is the time, if it is known. Returns when the job ended, if
    /// it ran.
    #[inline]
    pub(crate) fn execute(
        &self,
        me: usize,
        job: Arc<dyn Run>,
        now: Option<Instant>,
    ) -> Option<Instant> {
        if self.is_dropping() {
            if job.end(self, self.error(job.head().label, Kind::Closed)) {
                self.counters.dropped.add();
            } else {
                self.queue.note_buried();
            }
            return None;
        }
        let now = now.unwrap_or_else(Instant::now);
        if self.expire(&job, now) {
            return None;
        }
        if job.head().budget.is_some() {
            self.workers[me].book.lock().budgeted = Some(Arc::clone(&job));
        }
        let ended = job.run(self, me, now);
        if ended.is_none() {
            self.queue.note_buried();
        }
        if job.head().budget.is_some() {
            let done = self.workers[me].book.lock().budgeted.take();
            drop(done);
        }
        ended
    }

    /// Records that worker `me` is about to run a job.
    #[inline]
    pub(crate) fn began(&self, me: usize, head: &Head, now: Instant) {
        let ends = head.budget.and_then(|budget| now.checked_add(budget));
        self.workers[me].book.lock().running = Some(Running {
            label: head.label,
            since: now,
            ends,
        });
        if let Some(ends) = ends {
            fence(Ordering::SeqCst);
            self.keeper.look_at(ends);
        }
        if self.plan.helpful {
            self.keeper.look_at(now + Self::PROBE);
        }
        #[cfg(feature = "metrics")]
        self.keeper.look_at(now + crate::meters::PERIOD);
    }

    /// Records that worker `me` has run a job. Returns when the job ended.
    #[inline]
    pub(crate) fn ended(&self, me: usize, head: &Head, panicked: bool) -> Instant {
        let now = Instant::now();
        let (waited, ran) = {
            let mut book = self.workers[me].book.lock();
            let began = book.running.take().map_or(now, |running| running.since);
            let waited = began.saturating_duration_since(head.asked_at);
            let ran = now.saturating_duration_since(began);
            book.busy += ran;
            let page = book.page(head.label);
            page.wait.record(waited);
            page.run.record(ran);
            if panicked {
                page.panicked += u64::from(!mutation::on(Mutation::PanicIsNotCounted));
            } else {
                page.completed += 1;
            }
            (waited, ran)
        };
        #[cfg(feature = "metrics")]
        contain(|| self.meters.record(head.label, waited, ran));
        #[cfg(not(feature = "metrics"))]
        let _ = (waited, ran);
        now
    }

    /// Lets worker `me`, which found no work, sleep until there is work or until it must leave.
    pub(crate) fn rest(&self, me: usize) -> Rested {
        let nap = self.nap();
        let at_most = nap.or_else(|| self.crew.idle_timeout());
        // A call for help that comes after this point either finds this worker asleep, or the worker sees the call after it has
        // lain down.
        let helps = || {
            nap.is_none()
                && self.nap().is_some()
                && !mutation::on(Mutation::HelperSleepsWithoutLooking)
        };
        let has_work = || !self.queue.is_empty() || self.is_closed() || helps();
        if self.idle.sleep(me, at_most, has_work) == Woken::Called || nap.is_some() {
            return Rested::Work;
        }
        if self.crew.may_leave(|| !self.queue.is_empty()) {
            Rested::Leave
        } else {
            Rested::Work
        }
    }

    /// Starts another thread.
    fn reinforce(self: &Arc<Self>) {
        if self.crew.grow(self).is_err() {
            // The job waits for a thread that is alive, or for the keeper, which tries again.
            self.counters.failed_starts.add();
            self.keeper.look_at(Instant::now() + Self::RETRY_START);
            // The thread counted as alive until here, and a shutdown may have seen that when no other thread was left.
            if !mutation::on(Mutation::FailedStartTellsNobody) {
                self.bury();
            }
        }
    }

    /// Counts a job in the queue that has become a shell.
    fn note_shell(&self) {
        if self.queue.note_dead() {
            self.queue.sweep(|_| {});
        }
    }
}
