//! Places. A place is the permit of a job to wait for a worker, and to run.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use pool_core::{Acquire, LimitError, Limiter, LimiterStatus};

use crate::sync::torn_down;

/// The places of one priority: a bounded number, granted in order of arrival, with turns for tenants.
#[derive(Debug)]
pub(crate) struct Places(Limiter);

/// One place. It belongs to the job, and not to the caller that awaits the job, so it is freed when the job has ended.
///
/// The holder of a place always has access to the places, so `Place` only borrows them. A permit that could be dropped anywhere
/// would hold a reference to its limiter. Submitters and workers would both change that reference count, twice for each job.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Places);

/// A place that is kept in the slot of a queued job, and borrows nothing. Code that takes the job out of its slot turns it into a
/// [`Place`] again, with [`Places::resume`].
#[derive(Debug)]
#[must_use = "dropping it frees no place"]
pub(crate) struct Kept(());

/// Waits for a place.
#[derive(Debug)]
pub(crate) struct Waiting(Option<Acquire>);

impl Places {
    pub(crate) fn new(places: usize, max_waiters: Option<usize>) -> Self {
        // The settings bound both numbers far below this.
        let limit = u32::try_from(places).unwrap_or(u32::MAX);
        let mut limiter = Limiter::builder(limit);
        if let Some(max_waiters) = max_waiters {
            limiter = limiter.max_waiters(max_waiters);
        }
        // There is at least one worker, so there is at least one place, and no setting is out of range.
        Self(limiter.build().unwrap_or_else(|_| Limiter::new(limit)))
    }

    /// Takes a place, if one is free and no job waits for it.
    #[inline]
    pub(crate) fn try_take(&self) -> Option<Place<'_>> {
        // `then`, and not `then_some`: a `Place` is only made if a permit was taken, because its drop releases a permit.
        self.0.try_take(1).then(|| Place(self))
    }

    /// Restores the place of a job that was taken out of its slot. `kept` must come from these places.
    #[inline]
    pub(crate) const fn resume(&self, kept: Kept) -> Place<'_> {
        let Kept(()) = kept;
        Place(self)
    }

    /// Waits for a place, in order of arrival, but with turns for tenants.
    pub(crate) fn wait(&self, tenant: Option<u64>) -> Waiting {
        let acquire = self.0.acquire();
        Waiting(Some(match tenant {
            Some(tenant) => acquire.key(tenant),
            None => acquire,
        }))
    }

    /// Stops granting places. Waiting jobs get an error.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    pub(crate) fn status(&self) -> LimiterStatus {
        self.0.status()
    }
}

impl Waiting {
    /// `places` must be the places that this waits for.
    pub(crate) fn poll<'a>(
        &mut self,
        places: &'a Places,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Place<'a>, LimitError>> {
        let Some(acquire) = &mut self.0 else {
            return Poll::Pending;
        };
        let answer = Pin::new(acquire).poll(cx);
        answer.map_ok(|permit| {
            permit.forget();
            Place(places)
        })
    }
}

impl Place<'_> {
    /// Converts the place so that it can be kept in the slot of its job.
    #[inline]
    pub(crate) const fn keep(self) -> Kept {
        mem::forget(self);
        Kept(())
    }
}

impl Drop for Place<'_> {
    #[inline]
    fn drop(&mut self) {
        if !torn_down() {
            self.0.0.put_back(1);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if torn_down() {
            mem::forget(self.0.take());
        }
    }
}
