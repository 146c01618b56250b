//! The future that waits for a connection.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use crate::{Driver, Error};

/// The future of a pool's [`get`](crate::Pool::get), which returns a connection. Its setters may be called before its first poll.
#[must_use = "a get does nothing until it is awaited"]
pub struct Get<'a, D: Driver> {
    get: pool_core::Get<'a, D::Manager>,
}

impl<'a, D: Driver> Get<'a, D> {
    pub(crate) const fn new(get: pool_core::Get<'a, D::Manager>) -> Self {
        Self { get }
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

impl<D: Driver> Future for Get<'_, D> {
    type Output = Result<D::Connection, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get)
            .poll(context)
            .map(|lease| Ok(D::Connection::from(lease?)))
    }
}

impl<D: Driver> fmt::Debug for Get<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get.fmt(f)
    }
}
