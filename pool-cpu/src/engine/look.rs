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
    /// Ends what is past its time, sees that there are threads for what waits, calls helpers; says when it wants to look again.
    pub(crate) fn look(self: &Arc<Self>, now: Instant) -> Look {
        let times = [
            self.look_at_queue(now),
            self.look_at_workers(now),
            self.look_at_crew(now),
        ];
        // After all that: it may have ended the last job. Nobody is told of the end later, or of a deadline, once the keeper has gone
        // home. Looked at once: what is published last is published when it is.
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

    /// Ends the job if its time to wait is over.
    pub(super) fn expire(&self, job: &Arc<dyn Run>, now: Instant) -> bool {
        if job.head().deadline.is_none_or(|deadline| now < deadline) || !job.is_queued() {
            return false;
        }
        if job.end(self, self.queue_timed_out(job.head(), now)) {
            self.counters.expired.add();
        }
        true
    }

    /// A job that has to be begun by `deadline` is in the queue: the keeper is to look at it then, or before. To be called with a
    /// `SeqCst` fence after the job was put there.
    #[inline]
    pub(super) fn expect_expiry(&self, deadline: Instant) {
        let at = self.keeper.nanos(deadline);
        if at < self.expiry.load(Ordering::Relaxed)
            && at < self.expiry.fetch_min(at, Ordering::Relaxed)
        {
            // Between what is published and the keeper's call: see `Keeper::keep`.
            fence(Ordering::SeqCst);
            self.keeper.look_at(deadline);
        }
    }

    /// Ends the jobs that have waited too long. Looks at the queue only when that may be so for one of them.
    fn look_at_queue(&self, now: Instant) -> Option<Instant> {
        let expiry = self.expiry.load(Ordering::Relaxed);
        if expiry > self.keeper.nanos(now) {
            return self.keeper.moment(expiry);
        }
        if !mutation::on(Mutation::KeeperForgetsDeadlines) {
            self.expiry.store(Keeper::NEVER, Ordering::Relaxed);
        }
        // Pairs with the submitter's fence, between its job and its look at `expiry`: either it sees that there is none and sets
        // its own, or its job is seen here.
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

    /// Tells the callers of jobs that have spent their budget, and looks for parallel work in jobs that have run for long.
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
        // It may have pieces to steal: rayon has no way to tell our sleepers.
        next.into_iter()
            .chain(self.look_at_pieces(now, longest))
            .min()
    }

    /// Starts a thread where work waits for one that the system did not start.
    fn look_at_crew(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        fence(Ordering::SeqCst);
        if self.queue.is_empty() || !self.crew.has_room() {
            return None;
        }
        self.call_workers();
        Some(now + Self::RETRY_START)
    }

    /// How long after a thread was not started it is tried again.
    pub(super) const RETRY_START: Duration = Duration::from_millis(10);
}
