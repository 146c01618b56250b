//! The guard of a leased resource of a key.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    ops::{Deref, DerefMut},
    panic::Location,
};

use super::{KeyedManager, drives::Exclusive, leased::Leased, reopen::reopen};
use crate::host::{Error, Usage};

/// A leased resource of a key. Dropping the lease returns the resource to the pool, on any thread, with or without a runtime.
///
/// A lease borrows nothing, so it can move to another task and outlive every handle of the pool. The functions of a lease are
/// associated functions, called as `KeyedLease::taint(&mut lease)`, so that they hide no method of the resource.
///
/// ```
/// # use pool_core::{KeyedManager, Usage};
/// use std::{io, time::Duration};
/// use pool_core::{KeyedLease, KeyedPool, observe::CloseReason};
///
/// # struct Tenants;
/// # impl KeyedManager<String> for Tenants {
/// #     type Resource = Connection;
/// #     type Error = io::Error;
/// #     async fn create(&self, _: &String) -> io::Result<Connection> { Ok(Connection) }
/// #     async fn check(&self, _: &mut Connection, _: &Usage) -> io::Result<()> { Ok(()) }
/// # }
/// struct Connection;
///
/// impl Connection {
///     async fn query(&mut self, _sql: &str) -> u32 { std::future::pending().await }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = KeyedPool::builder(Tenants).build()?;
/// let mut lease = pool.get("acme").label("report").await?;
/// assert_eq!(KeyedLease::key(&lease), "acme");
///
/// // The call times out, and the server's answer is still to come. The next caller must not read it.
/// let report = KeyedLease::run(&mut lease, async |connection| connection.query("SELECT ..").await);
/// let report = tokio::time::timeout(Duration::from_millis(5), report).await;
/// assert!(report.is_err() && KeyedLease::is_tainted(&lease));
/// drop(lease);
/// assert_eq!(pool.status().closed.by(CloseReason::Tainted), 1);
/// # Ok(())
/// # }
/// ```
pub struct KeyedLease<K: Send + Sync + 'static, M: KeyedManager<K>> {
    leased: Leased<K, Exclusive<M>>,
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> KeyedLease<K, M> {
    #[inline]
    pub(super) const fn new(leased: Leased<K, Exclusive<M>>) -> Self {
        Self { leased }
    }

    /// Returns the key of the resource.
    pub fn key(lease: &Self) -> &K {
        lease.leased.key()
    }

    /// Taints the resource: the pool does not hand it on as it is. When the lease is returned, the resource is reset, or closed if
    /// the manager has no reset for it.
    pub fn taint(lease: &mut Self) {
        *lease.leased.tainted() = true;
    }

    /// Whether the resource is tainted.
    pub fn is_tainted(lease: &Self) -> bool {
        lease.leased.is_tainted()
    }

    /// Removes the taint: the resource is known to be clean again.
    pub fn untaint(lease: &mut Self) {
        *lease.leased.tainted() = false;
    }

    /// Runs an operation that leaves the resource unusable if it does not run to its end. If the future is dropped or panics, the
    /// lease is tainted.
    ///
    /// # Cancel safety
    /// Dropping the future drops the operation and taints the lease.
    pub async fn run<T>(lease: &mut Self, operation: impl AsyncFnOnce(&mut M::Resource) -> T) -> T {
        lease.leased.run(operation).await
    }

    /// Closes the resource and opens another in its place, for this caller: for a connection that turned out to be dead when it was
    /// used, and a call that may be repeated. The open is one like any other: it is bounded by `create_timeout`, it counts
    /// as an attempt where opens fail, the observer is told, and the new resource has an age of its own. If the pool may not open one
    /// there at the moment (it became smaller, opens fail, `max_opening` are under way, another key has nothing), the caller gets
    /// one like any other: this is a return and a [`get`](super::KeyedPool::get).
    ///
    /// # Errors
    /// As for [`get`](super::KeyedPool::get). The lease has ended in any case.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the open. What it opens serves others.
    ///
    /// # Panics
    /// Panics on a tokio runtime that was built without a timer.
    #[track_caller]
    pub fn reopen(lease: Self) -> impl Future<Output = Result<Self, Error<M::Error>>> + Send
    where
        K: Hash + Eq + Clone,
    {
        let reopened = reopen(lease.leased, Location::caller());
        async { Ok(Self::new(reopened.await?.exclusive())) }
    }

    /// Takes the resource out of the pool. The pool may open another in its place, and never closes this one.
    pub fn detach(lease: Self) -> M::Resource {
        lease.leased.detach()
    }

    /// Returns the history of the resource.
    pub fn usage(lease: &Self) -> Usage {
        lease.leased.usage()
    }

    /// Sets the label of the holder, like [`GetKeyed::label`](super::GetKeyed::label).
    pub fn label(lease: &mut Self, label: &'static str) {
        lease.leased.label(label);
    }

    /// Returns the manager of the lease's pool.
    pub fn manager(lease: &Self) -> &M {
        &lease.leased.inner().manager.0
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> Deref for KeyedLease<K, M> {
    type Target = M::Resource;

    #[inline]
    fn deref(&self) -> &M::Resource {
        self.leased.item()
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> DerefMut for KeyedLease<K, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Resource {
        self.leased.item_mut()
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> fmt::Debug for KeyedLease<K, M>
where
    M::Resource: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyedLease").field(&**self).finish()
    }
}
