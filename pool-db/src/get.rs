//! The future that waits for a connection.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pool_core::{Lease, Manager};
use tokio::time::Instant;

use crate::Error;

/// The future of a pool's `get`, which returns a connection `C`. Its setters may be called before its first poll.
#[must_use = "a get does nothing until it is awaited"]
pub struct Get<'a, M: Manager, C> {
    get: pool_core::Get<'a, M>,
    connection: PhantomData<fn() -> C>,
}

impl<'a, M: Manager, C> Get<'a, M, C> {
    pub(crate) const fn new(get: pool_core::Get<'a, M>) -> Self {
        Self {
            get,
            connection: PhantomData,
        }
    }

    /// Replaces the pool's `acquire_timeout` for this get. With zero, the get takes an idle connection or fails at once.
    pub fn timeout(self, limit: Duration) -> Self {
        Self::new(self.get.timeout(limit))
    }

    /// Sets the time at which this get gives up, in place of the pool's `acquire_timeout`.
    pub fn deadline(self, deadline: Instant) -> Self {
        Self::new(self.get.deadline(deadline))
    }

    /// Names the holder of the lease, for the list of leases and for reports of leaks.
    pub fn label(self, label: &'static str) -> Self {
        Self::new(self.get.label(label))
    }
}

impl<M, C> Future for Get<'_, M, C>
where
    M: Manager,
    C: From<Lease<M>>,
    Error: From<pool_core::Error<M::Error>>,
{
    type Output = Result<C, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get)
            .poll(context)
            .map(|lease| Ok(C::from(lease?)))
    }
}

impl<M: Manager, C> fmt::Debug for Get<'_, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get.fmt(f)
    }
}
