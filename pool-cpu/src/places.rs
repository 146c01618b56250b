//! Places: the right of a job to wait for a worker, and to run.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use pool_core::{Acquire, LimitError, Limiter, LimiterStatus};

use crate::sync::torn_down;

/// The places of one priority: a bounded number, given in order of arrival, tenants by turns.
#[derive(Debug)]
pub(crate) struct Places(Limiter);

/// One place. It belongs to the job, not to whoever awaits it: it is free when the job has ended.
///
/// Whoever has it has the places at hand, so it only borrows them. A permit that can be dropped anywhere would count itself on its limiter:
/// one more number that submitters and workers would both write to, for each job twice.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Places);

/// A place while its job waits in the queue, which borrows nothing. Whoever takes the job out of its slot makes a [`Place`] of it again, by
/// [`Places::resume`].
#[derive(Debug)]
#[must_use = "dropping it frees no place"]
pub(crate) struct Kept(());

/// Waits in line for a place.
#[derive(Debug)]
pub(crate) struct Waiting(Option<Acquire>);

impl Places {
    pub(crate) fn new(places: usize, max_waiters: Option<usize>) -> Self {
        // The settings bound both far below that.
        let limit = u32::try_from(places).unwrap_or(u32::MAX);
        let mut limiter = Limiter::builder(limit);
        if let Some(max_waiters) = max_waiters {
            limiter = limiter.max_waiters(max_waiters);
        }
        // At least one worker is at least one place, so that nothing is out of range.
        Self(limiter.build().unwrap_or_else(|_| Limiter::new(limit)))
    }

    /// A place, if there is one and nobody waits for it.
    #[inline]
    pub(crate) fn try_take(&self) -> Option<Place<'_>> {
        // Made only if it was taken: dropping it gives one back.
        self.0.try_take(1).then(|| Place(self))
    }

    /// The place of a job that was taken out of its slot. `kept` is of these places.
    #[inline]
    pub(crate) const fn resume(&self, kept: Kept) -> Place<'_> {
        let Kept(()) = kept;
        Place(self)
    }

    /// Waits for a place: in order of arrival, but that tenants take turns.
    pub(crate) fn wait(&self, tenant: Option<u64>) -> Waiting {
        let acquire = self.0.acquire();
        Waiting(Some(match tenant {
            Some(tenant) => acquire.key(tenant),
            None => acquire,
        }))
    }

    /// Gives no more places; whoever waits is told.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    pub(crate) fn status(&self) -> LimiterStatus {
        self.0.status()
    }
}

impl Waiting {
    /// `places` are those for which it waits.
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
    /// Goes into the slot of its job.
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
