//! What the keeper does when something may be due.

use std::time::{Duration, Instant};

use super::Core;
use crate::{
    error::Kind,
    job::Run,
    keeper::{Keeper, Look},
    mutation::{self, Mutation},
    sync::{Arc, Ordering, fence},
};

impl Core {
    /// Ends expired jobs and waits, starts threads for waiting jobs if the system failed to start them before, and calls helpers.
    /// Returns when the keeper must look again.
    pub(crate) fn look(self: &Arc<Self>, now: Instant) -> Look {
        let times = [
            self.look_at_queue(now),
            self.look_at_workers(now),
            self.look_at_crew(now),
        ];
        // Checked last, because the calls above may have ended the last job. Once the keeper has ended, nothing wakes the waiters
        // for the end, or ends their wait at the deadline. Checked only once, so that the final metrics are published if and only
        // if the keeper ends.
        let gone = if mutation::on(Mutation::KeeperTellsNobody) {
            self.is_gone()
        } else {
            self.bury()
        };
        #[cfg(feature = "metrics")]
        let published = self.meters.keep(now, gone, || self.stats(now));
        #[cfg(not(feature = "metrics"))]
        let published = None;
        if gone {
            return Look::Over;
        }
        Look::Again(times.into_iter().chain([published]).flatten().min())
    }

    /// Ends the job if its queue timeout has passed. Returns whether it has passed, or the job no longer waits.
    pub(super) fn expire(&self, job: &Arc<dyn Run>, now: Instant) -> bool {
        if job.head().deadline.is_none_or(|deadline| now < deadline) || !job.is_queued() {
            return false;
        }
        if job.end(self, self.queue_timed_out(job.head(), now)) {
            self.counters.expired.add();
        }
        true
    }

    /// Makes the keeper look at the queue at `deadline` or before, for a job that must begin by then. Call this with a `SeqCst`
    /// fence after the job was put into the queue.
    #[inline]
    pub(super) fn expect_expiry(&self, deadline: Instant) {
        let at = self.keeper.nanos(deadline);
        if at < self.expiry.load(Ordering::Relaxed)
            && at < self.expiry.fetch_min(at, Ordering::Relaxed)
        {
            // The fence between the publication and the call of the keeper: see `Keeper::keep`.
            fence(Ordering::SeqCst);
            self.keeper.look_at(deadline);
        }
    }

    /// Ends the jobs that have waited too long. Only looks at the queue if a job may have waited too long.
    fn look_at_queue(&self, now: Instant) -> Option<Instant> {
        let expiry = self.expiry.load(Ordering::Relaxed);
        if expiry > self.keeper.nanos(now) {
            return self.keeper.moment(expiry);
        }
        if !mutation::on(Mutation::KeeperForgetsDeadlines) {
            self.expiry.store(Keeper::NEVER, Ordering::Relaxed);
        }
        // Pairs with the submitter's fence, between its push and its look at `expiry`. Either the submitter sees `NEVER` and stores
        // its own deadline, or its job is seen here.
        fence(Ordering::SeqCst);
        let next = std::cell::Cell::new(None::<Instant>);
        self.queue.sweep(|job| {
            if self.expire(job, now) {
                return;
            }
            if let Some(deadline) = job.head().deadline {
                next.set(Some(next.get().map_or(deadline, |next| next.min(deadline))));
            }
        });
        if mutation::on(Mutation::KeeperForgetsDeadlines) {
            self.expiry.store(Keeper::NEVER, Ordering::Relaxed);
        }
        let next = next.get()?;
        self.expect_expiry(next);
        Some(next)
    }

    /// Ends the waits for jobs that have spent their budget, and looks for parallel work in jobs that have run for long.
    fn look_at_workers(&self, now: Instant) -> Option<Instant> {
        let mut next = None;
        let mut soonest = |at: Instant| next = Some(next.map_or(at, |next: Instant| next.min(at)));
        let mut longest = Duration::ZERO;
        for worker in &self.workers {
            let (label, spent) = {
                let book = worker.book.lock();
                let Some(running) = &book.running else {
                    continue;
                };
                longest = longest.max(now.saturating_duration_since(running.since));
                match running.ends {
                    Some(ends) if ends <= now => (running.label, book.budgeted.clone()),
                    Some(ends) => {
                        soonest(ends);
                        continue;
                    }
                    None => continue,
                }
            };
            if let Some(job) = spent {
                let budget = job.head().budget.unwrap_or_default();
                if job.overrun(self.error(label, Kind::RunTimeout { budget })) {
                    self.counters.overrun.add();
                }
            }
        }
        // A long job may have pieces to steal, and rayon cannot wake the pool's sleepers.
        next.into_iter()
            .chain(self.look_at_pieces(now, longest))
            .min()
    }

    /// Starts a thread for waiting jobs if the system failed to start a thread before.
    fn look_at_crew(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        fence(Ordering::SeqCst);
        if self.queue.is_empty() || !self.crew.has_room() {
            return None;
        }
        self.call_workers();
        Some(now + Self::RETRY_START)
    }

    /// How long after a failed start of a thread the keeper tries again.
    pub(super) const RETRY_START: Duration = Duration::from_millis(10);
}
