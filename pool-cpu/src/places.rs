//! Places: the right of a job to wait for a worker, and to run.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pool_core::{Acquire, LimitError, Limiter, LimiterStatus, Permit};

use crate::sync::torn_down;

/// The places of one priority: a bounded number, given in order of arrival, tenants by turns.
#[derive(Debug)]
pub(crate) struct Places(Limiter);

/// One place. It belongs to the job, not to whoever awaits it: it is free when the job has ended.
#[derive(Debug)]
pub(crate) struct Place(Option<Permit>);

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
    pub(crate) fn try_take(&self) -> Option<Place> {
        self.0.try_acquire().map(|permit| Place(Some(permit)))
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
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Place, LimitError>> {
        let Some(acquire) = &mut self.0 else {
            return Poll::Pending;
        };
        let answer = Pin::new(acquire).poll(cx);
        answer.map_ok(|permit| Place(Some(permit)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if torn_down() {
            std::mem::forget(self.0.take());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if torn_down() {
            std::mem::forget(self.0.take());
        }
    }
}
