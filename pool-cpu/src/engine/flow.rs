//! How a job gets from its submitter to a worker.
//!
//! Submitting races with workers that stop looking for work, fall asleep or leave, and with a shutdown, and all of it is settled
//! in one way. The submitter publishes its job and then looks: is the pool closed, does anybody look for work, does a worker
//! sleep, is there room for one more thread. The other side publishes what it is about to do (it closes, has found work, lies
//! down, leaves) and then looks into the queue. Each has a `SeqCst` fence between the two. Of two fences one comes first, and what
//! was written before it is seen by the look after the other: so the job is found by at least one of the two, and never stays
//! behind.

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

/// How a rest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rested {
    /// There may be work for the worker.
    Work,
    /// There was none for long: the thread is to end.
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
        // The submitter's fence: see the top of the file. For `Core::expect_expiry` as well.
        fence(Ordering::SeqCst);
        if self.is_closed() && !mutation::on(Mutation::SubmitIgnoresClose) {
            // Nobody is called for it: the keeper may have gone home, and a thread that is started now would have nobody to end it in time.
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

    /// A job came into the queue of a pool that is closed: it is ended, if nobody has begun it. The last worker may have left: then
    /// nobody else clears its shell away, nor tells those who wait for the end and have seen it lie there.
    #[cold]
    fn end_late(&self, job: &dyn Run) {
        // Else its place goes to the next in line, who comes here as well, and so on, one within the other.
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

    /// Calls somebody for what is in the queue: one who sleeps, or else one more thread, if there may be one and those who look for
    /// work are too few.
    ///
    /// To be called with a `SeqCst` fence after the queue was filled, or after the caller stopped looking for work. Whoever is
    /// counted as looking either takes a job, and then looks here as well, or looks at the queue once more before it sleeps or
    /// leaves.
    #[inline]
    pub(super) fn call_workers(self: &Arc<Self>) {
        if !self.idle.wake_sleeper()
            && self.crew.has_room()
            && self.queue.len() > self.patience.searching()
        {
            self.reinforce();
        }
    }

    /// A job that waited was given up by its caller.
    pub(crate) fn was_cancelled(&self) {
        self.counters.cancelled.add();
        self.note_shell();
    }

    /// The next job, or the shell of one. Whoever takes it does not count as looking for work any more.
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
            // The finder's fence, between its name coming off the count and its look at what came meanwhile and counted on it.
            fence(Ordering::SeqCst);
            if !self.queue.is_empty() {
                self.call_workers();
            }
        }
        Some(job)
    }

    /// Runs a job that was taken from the queue, as worker `me`. Says when it ended, if it ran. `now` if known.
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

    /// Worker `me` is about to run a job.
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

    /// Worker `me` has run a job. Says when that was.
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

    /// Worker `me` found nothing to do: sleeps until there is something, or until it is to leave.
    pub(crate) fn rest(&self, me: usize) -> Rested {
        let nap = self.nap();
        let at_most = nap.or_else(|| self.crew.idle_timeout());
        // A call for help that comes from here on finds this worker asleep, or is seen once it has lain down: else it would sleep through.
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

    /// One more thread.
    fn reinforce(self: &Arc<Self>) {
        if self.crew.grow(self).is_err() {
            // The job waits for a thread that is alive, or for the keeper, who tries again.
            self.counters.failed_starts.add();
            self.keeper.look_at(Instant::now() + Self::RETRY_START);
            // It counted as alive until here: a shutdown may have seen that, with nobody else left.
            if !mutation::on(Mutation::FailedStartTellsNobody) {
                self.bury();
            }
        }
    }

    /// A job in the queue has become a shell.
    fn note_shell(&self) {
        if self.queue.note_dead() {
            self.queue.sweep(|_| {});
        }
    }
}
