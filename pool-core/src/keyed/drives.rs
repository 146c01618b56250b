//! How a pool by key uses its manager.

use std::{convert::Infallible, fmt, future::Future, sync::Arc};

use super::{KeyedManager, opened::Opened};
use crate::{gauge::Gauge, host::Usage};

/// What the body of [`KeyedPool`](super::KeyedPool) and [`MixedPool`](super::MixedPool) asks of a manager of either.
pub(super) trait Drives<K>: Send + Sync + 'static {
    /// What is lent to one at a time.
    type One: Send + 'static;
    /// What each holder of a share of a shared resource gets.
    type Shared: Clone + fmt::Debug + Send + 'static;
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;

    fn create(
        &self,
        key: &Arc<K>,
        gauge: Gauge,
    ) -> impl Future<Output = Result<Item<K, Self>, Self::Error>> + Send;

    /// How many a resource is expected to serve at once, for most keys; 0 if nobody knows.
    const EXPECTED: u32;

    /// Whether resources may be shared, so that shares are published.
    #[cfg(feature = "metrics")]
    const SHARES: bool;

    /// Returns how many a resource of this key is expected to serve at once; 0 if nobody knows.
    fn expects(&self, key: &K) -> u32;

    fn check(
        &self,
        one: &mut Self::One,
        usage: &Usage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    fn needs_reset(&self, one: &mut Self::One, usage: &Usage) -> bool;

    fn reset(
        &self,
        one: &mut Self::One,
        usage: &Usage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    fn is_broken(&self, one: &mut Self::One) -> bool;
    fn is_interrupted(&self, one: &mut Self::One) -> bool;

    /// Closes a resource. A shared one that died may still have holders of shares; then there is nothing to close.
    fn close(&self, item: Item<K, Self>) -> impl Future<Output = ()> + Send;

    /// Returns the key of a shared resource.
    fn key_of(shared: &Self::Shared) -> &Arc<K>;

    /// Whether a shared resource is known to be dead.
    fn is_dead(shared: &Self::Shared) -> bool;

    /// Tells the holders of shares that their resource died.
    fn died(shared: &Self::Shared);
}

/// What a manager opens, as the kernel keeps it.
pub(super) type Item<K, D> = Opened<<D as Drives<K>>::One, <D as Drives<K>>::Shared>;

/// A manager of which nothing is shared.
pub(super) struct Exclusive<M>(pub(super) M);

impl<K: Send + Sync + 'static, M: KeyedManager<K>> Drives<K> for Exclusive<M> {
    type One = M::Resource;
    type Shared = Infallible;
    type Error = M::Error;

    async fn create(&self, key: &Arc<K>, _: Gauge) -> Result<Item<K, Self>, M::Error> {
        self.0.create(key).await.map(Opened::One)
    }

    const EXPECTED: u32 = 1;
    #[cfg(feature = "metrics")]
    const SHARES: bool = false;

    fn expects(&self, _: &K) -> u32 {
        1
    }

    async fn check(&self, one: &mut M::Resource, usage: &Usage) -> Result<(), M::Error> {
        self.0.check(one, usage).await
    }

    #[inline]
    fn needs_reset(&self, one: &mut M::Resource, usage: &Usage) -> bool {
        self.0.needs_reset(one, usage)
    }

    async fn reset(&self, one: &mut M::Resource, usage: &Usage) -> Result<(), M::Error> {
        self.0.reset(one, usage).await
    }

    #[inline]
    fn is_broken(&self, one: &mut M::Resource) -> bool {
        self.0.is_broken(one)
    }

    #[inline]
    fn is_interrupted(&self, one: &mut M::Resource) -> bool {
        self.0.is_interrupted(one)
    }

    async fn close(&self, item: Item<K, Self>) {
        self.0.close(item.into_one()).await;
    }

    fn key_of(shared: &Infallible) -> &Arc<K> {
        match *shared {}
    }

    fn is_dead(shared: &Infallible) -> bool {
        match *shared {}
    }

    fn died(shared: &Infallible) {
        match *shared {}
    }
}
