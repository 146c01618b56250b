//! The future of a get of a mixed pool.

use std::{
    borrow::Borrow,
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{Held, Mixed, MixedManager};
use crate::{
    host::{Error, Limit},
    keyed::get::Get,
    rt::Instant,
};

/// The future of [`MixedPool::get`](super::MixedPool::get). Its setters can be called until it is first polled.
#[must_use = "a get does nothing until it is awaited"]
pub struct GetMixed<'a, K: Send + Sync + 'static, M: MixedManager<K>, Q: ?Sized> {
    get: Get<'a, K, Mixed<M>, Q>,
}

impl<'a, K: Send + Sync + 'static, M: MixedManager<K>, Q: ?Sized> GetMixed<'a, K, M, Q> {
    #[inline]
    pub(super) const fn new(get: Get<'a, K, Mixed<M>, Q>) -> Self {
        Self { get }
    }

    /// Sets the timeout of this get, instead of the `acquire_timeout` of its key. With a timeout of zero, the get takes a connection
    /// that is idle and known to be good, or a free share, or fails at once; it opens nothing.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.get.limit(Limit::Timeout(limit));
        self
    }

    /// Sets the deadline of this get, instead of the `acquire_timeout` of its key.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.get.limit(Limit::Deadline(deadline));
        self
    }

    /// Names the holder of a lease, for [`MixedPool::leases`](super::MixedPool::leases) and leak reports. The holders of shares are
    /// not recorded.
    pub const fn label(mut self, label: &'static str) -> Self {
        self.get.label(label);
        self
    }
}

impl<K, M, Q> Future for GetMixed<'_, K, M, Q>
where
    K: Borrow<Q> + Send + Sync + 'static,
    M: MixedManager<K>,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
{
    type Output = Result<Held<K, M>, Error<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let got = self.get_mut().get.poll(context);
        got.map(|got| got.map(Held::new))
    }
}

impl<K: Send + Sync + 'static, M: MixedManager<K>, Q: ?Sized> fmt::Debug for GetMixed<'_, K, M, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get.show("GetMixed", f)
    }
}
