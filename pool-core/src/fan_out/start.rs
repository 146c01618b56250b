//! How an item becomes a future.

use std::{
    fmt,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::Instant;

use crate::pool::{Get, Lease, Manager, Pool};

/// The closure of [`map`](super::FanOut::map), with or without a lease. Sealed: there are only these two kinds.
pub trait Start<I>: sealed::Sealed {
    /// The value of the closure's future.
    type Value;
    /// The error of the closure's future.
    type Error;
    /// The closure's future.
    type Future: Future<Output = Result<Self::Value, Self::Error>>;

    /// Takes the item and makes its future, when all that it needs is there.
    #[doc(hidden)]
    fn poll_start(
        &mut self,
        item: &mut Option<I>,
        deadline: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::Future, sealed::NoLease>>;
}

#[allow(unnameable_types, reason = "users must not name them")]
mod sealed {
    pub trait Sealed {}

    /// Why an item cannot be started.
    #[derive(Debug)]
    pub struct NoLease {
        pub(crate) error: crate::BoxError,
        pub(crate) timed_out: bool,
    }
}

/// A closure of the item.
pub struct Plain<F> {
    each: F,
}

impl<F> Plain<F> {
    pub(super) const fn new(each: F) -> Self {
        Self { each }
    }
}

impl<F> sealed::Sealed for Plain<F> {}

impl<I, F, R, T, E> Start<I> for Plain<F>
where
    F: FnMut(I) -> R,
    R: Future<Output = Result<T, E>>,
{
    type Value = T;
    type Error = E;
    type Future = R;

    #[inline]
    fn poll_start(
        &mut self,
        item: &mut Option<I>,
        _: Option<Instant>,
        _: &mut Context<'_>,
    ) -> Poll<Result<R, sealed::NoLease>> {
        match item.take() {
            Some(item) => Poll::Ready(Ok((self.each)(item))),
            None => Poll::Pending,
        }
    }
}

/// A closure of the item and a lease.
pub struct OnPool<'a, M: Manager, F> {
    pool: &'a Pool<M>,
    /// The source line of the `map` call.
    place: &'static Location<'static>,
    /// The one get that is in the pool's queue.
    get: Option<Get<'a, M>>,
    each: F,
}

impl<'a, M: Manager, F> OnPool<'a, M, F> {
    pub(super) const fn new(pool: &'a Pool<M>, place: &'static Location<'static>, each: F) -> Self {
        Self {
            pool,
            place,
            get: None,
            each,
        }
    }
}

impl<M: Manager, F> sealed::Sealed for OnPool<'_, M, F> {}

impl<I, M: Manager, F, R, T, E> Start<I> for OnPool<'_, M, F>
where
    F: FnMut(I, Lease<M>) -> R,
    R: Future<Output = Result<T, E>>,
{
    type Value = T;
    type Error = E;
    type Future = R;

    fn poll_start(
        &mut self,
        item: &mut Option<I>,
        deadline: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<Result<R, sealed::NoLease>> {
        let get = self.get.get_or_insert_with(|| {
            let get = Get::new(self.pool, self.place).label("fan-out");
            match deadline {
                Some(deadline) => get.deadline(deadline),
                None => get,
            }
        });
        let Poll::Ready(answer) = Pin::new(get).poll(context) else {
            return Poll::Pending;
        };
        self.get = None;
        match (answer, item.take()) {
            (Ok(lease), Some(item)) => Poll::Ready(Ok((self.each)(item, lease))),
            // The lease is returned.
            (Ok(_), None) => Poll::Pending,
            (Err(error), _) => {
                let timed_out = error.is_timeout();
                Poll::Ready(Err(sealed::NoLease {
                    error: error.into_boxed(),
                    timed_out,
                }))
            }
        }
    }
}

impl<F> fmt::Debug for Plain<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}

impl<M: Manager, F> fmt::Debug for OnPool<'_, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnPool")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
