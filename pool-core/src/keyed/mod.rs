//! Pools by key, with one bound in total.

mod body;
mod builder;
mod claims;
mod config;
mod counts;
mod drives;
mod get;
mod grant;
mod inner;
mod keep;
mod kernel;
mod lanes;
mod lease;
mod leased;
mod limits;
mod manager;
mod mixed;
mod opened;
mod reopen;
mod seats;
mod shared;
mod shares;
mod sites;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod turns;
mod work;

use std::{
    borrow::Borrow, fmt, future::Future, hash::Hash, panic::Location, sync::Arc, time::Duration,
};

use body::Body;
pub use builder::{KeyedBuilder, MixedBuilder};
pub use config::KeyedConfig;
use drives::Exclusive;
pub use get::GetKeyed;
use inner::{Inner, status_of};
pub use lease::KeyedLease;
pub use limits::KeyLimits;
pub use manager::KeyedManager;
pub use mixed::{GetMixed, Held, MixedLease, MixedManager, MixedPool, MixedShare, MixedStatus};
pub use opened::Opened;

use crate::{
    config::ConfigError,
    engine::Kept,
    host::{Drained, Error, Usage},
    observe::{LeaseInfo, Status, Timings},
};

/// A pool for each key (origin, shard, tenant), with a bound for each key and a bound in total.
///
/// A `KeyedPool` is a cheap handle: clones share one pool. The drop of the last handle closes the pool. Leases that are still out
/// remain usable, and their resources are closed when they are returned.
///
/// ```
/// use pool_core::{KeyLimits, KeyedManager, KeyedPool, Usage};
///
/// /// A service has a database for each tenant, all on one server that allows 200 connections.
/// struct Databases;
///
/// struct Connection {
///     database: String,
/// }
///
/// impl KeyedManager<String> for Databases {
///     type Resource = Connection;
///     type Error = std::io::Error;
///
///     async fn create(&self, tenant: &String) -> Result<Connection, Self::Error> {
///         Ok(Connection { database: format!("tenant_{tenant}") })
///     }
///
///     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = KeyedPool::builder(Databases)
///     .max_size(8) // for one tenant
///     .max_total(200)
///     .limits_of(|tenant: &String| match tenant.as_str() {
///         "acme" => KeyLimits::new().max_size(40),
///         _ => KeyLimits::new(),
///     })
///     .build()?;
///
/// let connection = pool.get("acme").await?; // returned to the pool when dropped
/// assert_eq!(connection.database, "tenant_acme");
/// assert_eq!(pool.status_of("acme").map(|of| (of.leased, of.max_size)), Some((1, 40)));
/// assert_eq!((pool.status().leased, pool.key_count()), (1, 1));
/// # Ok(())
/// # }
/// ```
///
/// # Fairness between keys
/// Within a key, the pool works like a [`Pool`](crate::Pool): gets are served in order of arrival, and a return hands its resource
/// to the first waiter. The other keys matter only when the bound in total is reached:
///
/// 1. The pool closes idle resources of other keys, one for each resource that is wanted, the longest idle first
///    ([`Evicted`](crate::observe::CloseReason::Evicted)). The place is free when the close has ended, so the bound holds at every moment.
/// 2. When no resource is idle, keys take turns. A key that has waiters and no open resource gets the place of the next resource
///    that is returned, in turn with the other keys that have none. Otherwise, a key whose resource is returned gives up the place
///    if it has at least two resources more than a key that wants more. So keys that all want more end up with equal shares. Only
///    if there are more such keys than places does a place change hands at every return, which costs a close and an open.
///
/// A key that has a turn serves at least one of its waiters before the place goes to another key.
///
/// # Keys that hang or fail
/// An open that takes longer than a second no longer counts as supply. The pool begins another open, up to `max_opening` for one
/// key, but only in a place that no other key wants. When no resource is idle, the places of such late opens can go to another key,
/// like the places of returned resources: to a key that has at least two fewer, the youngest open first. A key keeps its oldest
/// open, so an open that is only slow completes. So a key whose opens hang has one place while other keys have waiters.
///
/// If opens fail for a key, the pool probes the key with one open at a time, to find out whether its backend is back. It does so
/// for 30 s after the last get of the key. Probes for keys without waiters take at most an eighth of `max_total`, and at least one
/// place, and only places that no other key wants. In a full pool, one such probe per second gets a turn as if it had a waiter.
///
/// # Queue bounds
/// The queue of each key is bounded, and so are all queues together ([`max_total_waiters`](KeyedBuilder::max_total_waiters)). When
/// all queues together are full, a newcomer whose key has fewer waiters than another key replaces the last waiter of the longest
/// queue, and that waiter fails with [`Error::is_overloaded`]. Otherwise the newcomer fails. So a key that floods the pool shuts
/// out only its own gets.
///
/// # Keys
/// A get brings a key into use. When a key has no open resource and no waiter, it is removed, and nothing of it remains. A key for
/// which opens fail is remembered for 30 s after its last get, so that its gets fail fast; at most 16,384 keys are remembered.
/// There is no task for each key: one keeper does what is due for all keys.
///
/// A key is looked up by reference: `pool.get("acme")` if `K` is `String`. Keys are hashed, compared and dropped with nothing
/// locked. So `Hash` and `Eq` may use the pool, and a panic in them affects only the get that called them. Both must give the same
/// result every time, as for any map.
pub struct KeyedPool<K: Send + Sync + 'static, M: KeyedManager<K>> {
    body: Body<K, Exclusive<M>>,
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> KeyedPool<K, M> {
    /// Creates a builder for a pool of the resources that `manager` opens.
    pub fn builder(manager: M) -> KeyedBuilder<K, M> {
        KeyedBuilder::new(manager)
    }

    fn from_inner(inner: Arc<Inner<K, Exclusive<M>>>) -> Self {
        Self {
            body: Body::new(inner),
        }
    }

    /// Gets a resource of `key`. The get takes an idle resource, or waits for a resource that is returned or opened. Gets of one
    /// key are served in order of arrival.
    ///
    /// The future has setters, which can be called before it is first polled:
    /// `pool.get("acme").timeout(limit).label("login").await`.
    ///
    /// # Errors
    /// - [`Error::is_timeout`] after `acquire_timeout`.
    /// - [`Error::is_overloaded`] when the queue of the key is full, when all queues together are full (see
    ///   [above](Self#queue-bounds)), or when the `max_size` of the key is 0.
    /// - [`Error::is_connect`] at once, while no resource of the key is open and the last attempts to open one failed, and when the
    ///   result of [`limits_of`](KeyedBuilder::limits_of) is invalid.
    /// - [`Error::is_closed`] when the pool is closed.
    /// - [`Error::is_no_runtime`] when the get has to wait and does not run on tokio.
    ///
    /// [`Error::status`] has the counts of the key.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue. A resource that was handed to the get goes to the next waiter. An open
    /// that was started for the get goes on, and its resource serves another get, unless another key needs the place.
    ///
    /// # Panics
    /// Panics if the get waits on a tokio runtime that was built without a timer, and if `Hash`, `Eq` or `Clone` of the key panics.
    #[inline]
    #[track_caller]
    pub fn get<'a, Q>(&'a self, key: &'a Q) -> GetKeyed<'a, K, M, Q>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        GetKeyed::new(self.body.get(key, Location::caller()))
    }

    /// Gets `count` resources of `key` at once, and returns them all. So the first callers do not wait for opens, and the service
    /// learns at its start whether the pool can connect.
    ///
    /// The resources stay open like other idle resources: until `idle_timeout`, or until another key needs a place.
    ///
    /// # Errors
    /// As for [`get`](Self::get). Also [`Error::is_too_large`] when `count` is more than the key may have.
    ///
    /// # Cancel safety
    /// Dropping the future stops the wait only; opens that have begun go on.
    #[track_caller]
    pub fn warm_up<'a, Q>(
        &'a self,
        key: &'a Q,
        count: u32,
    ) -> impl Future<Output = Result<(), Error<M::Error>>> + 'a
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.body.warm_up(key, count, Location::caller())
    }

    /// Gets a resource of `key` that is idle and known to be good, if no get waits for it. Never waits.
    ///
    /// # Errors
    /// - [`Error::is_busy`] when there is no such resource.
    /// - [`Error::is_closed`] when the pool is closed.
    #[track_caller]
    pub fn try_get<Q>(&self, key: &Q) -> Result<KeyedLease<K, M>, Error<M::Error>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let got = self.body.try_get(key, Location::caller())?;
        Ok(KeyedLease::new(got.exclusive()))
    }

    /// Returns all counts of one key at this moment; `None` if the key is not in use.
    pub fn status_of<Q>(&self, key: &Q) -> Option<Status>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.body.inner().status_of(key)
    }

    /// Returns the counts of every key in use. The counts of one key are taken at one moment.
    pub fn statuses(&self) -> Vec<(Arc<K>, Status)> {
        self.body.statuses(status_of)
    }

    /// Returns all counts of this moment, for all keys together. The counters include keys that were removed.
    pub fn status(&self) -> Status {
        self.body.status()
    }

    /// Returns how many keys are in use.
    pub fn key_count(&self) -> usize {
        self.body.inner().kernel.key_count()
    }

    /// Returns how long things took, for all keys together. Of leases and of waits, in every 10 ms one of any key is timed, and its
    /// sample counts for all that ended since the sample before it.
    pub fn timings(&self) -> Timings {
        self.body.timings()
    }

    /// Lists the current leases, with their keys.
    pub fn leases(&self) -> Vec<(Arc<K>, LeaseInfo)> {
        self.body.inner().leases_of(None)
    }

    /// Lists the current leases of this key.
    pub fn leases_of<Q>(&self, key: &Q) -> Vec<LeaseInfo>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.body.leases_of(key)
    }

    /// Returns the name of the pool, as used in messages and metrics.
    pub fn name(&self) -> &str {
        &self.body.inner().host.name
    }

    /// Returns the manager.
    pub fn manager(&self) -> &M {
        &self.body.inner().manager.0
    }

    /// Changes the bound in total while the pool is in use. If it becomes smaller, surplus idle resources are closed now, the
    /// oldest first, and surplus leased resources when they are returned.
    ///
    /// # Errors
    /// `max_total` is 0.
    pub fn resize(&self, max_total: u32) -> Result<(), ConfigError> {
        self.body.inner().resize(max_total)
    }

    /// Calls [`limits_of`](KeyedBuilder::limits_of) again for every key in use, for example because a tenant has another plan.
    /// Surplus idle resources are closed now, and surplus leased resources when they are returned.
    ///
    /// # Errors
    /// Some limits are invalid ([`KeyLimits::validate`]); if there are several, the error is that of the first. A key with invalid
    /// limits keeps the limits that it had. All other keys have the new limits.
    pub fn reload_limits(&self) -> Result<(), ConfigError> {
        self.body.reload_limits()
    }

    /// Closes all resources that are open now: idle resources at once, leased resources when they are returned, and resources that
    /// are being opened as soon as they are open.
    pub fn retire_all(&self) {
        self.body.retire_all();
    }

    /// Like [`retire_all`](Self::retire_all), for one key. Use it when its backend moved, or when its credentials changed.
    pub fn retire<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.body.retire(key);
    }

    /// Closes the idle resources, of any key, for which `keep` returns false. Returns how many were closed.
    ///
    /// `keep` runs with no lock held. The resource that it looks at is not handed out meanwhile. If `keep` panics, this resource is
    /// dropped.
    pub fn retain(&self, mut keep: impl FnMut(&K, &mut M::Resource, &Usage) -> bool) -> usize {
        self.body
            .retain(|key, item, usage| keep(key, item.one_mut(), usage))
    }

    /// Closes the pool, without waiting. Waiting gets fail with [`Error::is_closed`], idle resources are closed now, and leased
    /// resources when they are returned.
    pub fn close(&self) {
        self.body.inner().close();
    }

    /// Whether the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.body.inner().kernel.is_closed()
    }

    /// Closes the pool and waits until all its resources are closed, but no longer than `deadline`. The report lists what was still
    /// leased; [`leases`](Self::leases) also says of which key.
    ///
    /// On a thread without a runtime, the runtime on which gets have waited keeps the deadline. If there is no such runtime,
    /// nothing can keep the deadline, and `drain` returns its report at once.
    ///
    /// # Cancel safety
    /// The pool stays closed. Dropping the future only stops the wait.
    ///
    /// # Panics
    /// Panics if `drain` waits on a tokio runtime that was built without a timer.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.body.drain(deadline).await
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> Clone for KeyedPool<K, M> {
    fn clone(&self) -> Self {
        Self {
            body: self.body.clone(),
        }
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> fmt::Debug for KeyedPool<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedPool")
            .field("name", &self.name())
            .field("keys", &self.key_count())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
