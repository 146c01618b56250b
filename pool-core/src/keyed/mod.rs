//! Pools by key, with one bound in total.

mod builder;
mod claims;
mod config;
mod counts;
mod get;
mod inner;
mod keep;
mod kernel;
mod lanes;
mod lease;
mod limits;
mod manager;
mod seats;
mod sites;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod turns;
mod work;

use std::{
    borrow::Borrow, fmt, future::Future, hash::Hash, panic::Location, pin::Pin, sync::Arc,
    task::Poll, time::Duration,
};

pub use builder::KeyedBuilder;
pub use config::KeyedConfig;
pub use get::GetKeyed;
use inner::{Inner, status_of, usage_of};
use kernel::Kernel;
pub use lease::KeyedLease;
pub use limits::KeyLimits;
pub use manager::KeyedManager;

use crate::{
    config::ConfigError,
    engine::{Holder, Kept},
    host::{self, Drained, Error, Hosted, Kind, Tends, Usage},
    observe::{CloseReason, LeaseInfo, Status, Timings},
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
///    ([`CloseReason::Evicted`]). The place is free when the close has ended, so the bound holds at every moment.
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
    owner: Arc<Owner<K, M>>,
}

/// Shared by all handles of one pool, and only by them. Dropping it closes the pool.
struct Owner<K: Send + Sync + 'static, M: KeyedManager<K>> {
    inner: Arc<Inner<K, M>>,
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> KeyedPool<K, M> {
    /// Creates a builder for a pool of the resources that `manager` opens.
    pub fn builder(manager: M) -> KeyedBuilder<K, M> {
        KeyedBuilder::new(manager)
    }

    fn from_inner(inner: Inner<K, M>) -> Self {
        Self {
            owner: Arc::new(Owner {
                inner: Arc::new(inner),
            }),
        }
    }

    #[inline]
    fn inner(&self) -> &Arc<Inner<K, M>> {
        &self.owner.inner
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
        GetKeyed::new(self, key, Location::caller())
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
        let place = Location::caller();
        // Check the count first, so that a huge count does not make as many futures before it fails.
        let most = self.inner().most_of(key);
        let (count, mut refused) = if count > most {
            let kind = Kind::TooLarge(most);
            let error = self.inner().error_of(key, kind, Duration::ZERO, None);
            (0, Some(error))
        } else {
            (count, None)
        };
        let gets = (0..count).map(|_| GetKeyed::new(self, key, place).label("warm-up"));
        let (mut gets, mut leases): (Vec<_>, _) = (gets.collect(), Vec::new());
        std::future::poll_fn(move |context| {
            if let Some(error) = refused.take() {
                return Poll::Ready(Err(error));
            }
            let mut next = 0;
            while let Some(get) = gets.get_mut(next) {
                match Pin::new(get).poll(context) {
                    Poll::Ready(Ok(lease)) => {
                        leases.push(lease);
                        drop(gets.swap_remove(next));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => next += 1,
                }
            }
            if gets.is_empty() {
                leases.clear();
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
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
        let inner = self.inner();
        let now = inner.rough_now();
        let holder = Holder {
            since: now,
            place: Location::caller(),
            label: "",
        };
        let mut taken = inner.take_fit(key, inner.hash(key), now, holder);
        while taken.is_none()
            && let (Some(place), _) = inner.find(key)
            && let Some(mut slot) = inner.kernel.take_of(place, now, holder)
        {
            if inner.is_fit(&mut slot) {
                taken = Some(slot);
            } else {
                inner.never_had(slot, false);
            }
        }
        match taken {
            Some(slot) => Ok(KeyedLease::new(slot, Arc::clone(inner), now)),
            None => {
                let closed = inner.kernel.is_closed();
                let kind = if closed { Kind::Closed } else { Kind::Busy };
                Err(inner.error_of(key, kind, Duration::ZERO, None))
            }
        }
    }

    /// Returns all counts of one key at this moment; `None` if the key is not in use.
    pub fn status_of<Q>(&self, key: &Q) -> Option<Status>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = self.inner();
        let of = inner.kernel.snapshot_of(inner.find(key).0?)?;
        Some(status_of(&of))
    }

    /// Returns the counts of every key in use. The counts of one key are taken at one moment.
    pub fn statuses(&self) -> Vec<(Arc<K>, Status)> {
        let (mut from, mut statuses) = (0, Vec::new());
        while let Some((next, part)) = self.inner().kernel.snapshots(from) {
            from = next;
            statuses.extend(part.into_iter().map(|(key, of)| (key, status_of(&of))));
        }
        statuses
    }

    /// Returns all counts of this moment, for all keys together. The counters include keys that were removed.
    pub fn status(&self) -> Status {
        Hosted::status(&**self.inner())
    }

    /// Returns how many keys are in use.
    pub fn key_count(&self) -> usize {
        self.inner().kernel.key_count()
    }

    /// Returns how long things took, for all keys together. Of leases and of waits, in every 10 ms one of any key is timed, and its
    /// sample counts for all that ended since the sample before it.
    pub fn timings(&self) -> Timings {
        Hosted::timings(&**self.inner())
    }

    /// Lists the current leases, with their keys.
    pub fn leases(&self) -> Vec<(Arc<K>, LeaseInfo)> {
        self.inner().leases_of(None)
    }

    /// Lists the current leases of this key.
    pub fn leases_of<Q>(&self, key: &Q) -> Vec<LeaseInfo>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = self.inner();
        let place = inner.find(key).0;
        let leases = place.map_or_else(Vec::new, |place| inner.leases_of(Some(place)));
        leases.into_iter().map(|(_, lease)| lease).collect()
    }

    /// Returns the name of the pool, as used in messages and metrics.
    pub fn name(&self) -> &str {
        &self.inner().host.name
    }

    /// Returns the manager.
    pub fn manager(&self) -> &M {
        &self.inner().manager
    }

    /// Changes the bound in total while the pool is in use. If it becomes smaller, surplus idle resources are closed now, the
    /// oldest first, and surplus leased resources when they are returned.
    ///
    /// # Errors
    /// `max_total` is 0.
    pub fn resize(&self, max_total: u32) -> Result<(), ConfigError> {
        self.inner().resize(max_total)
    }

    /// Calls [`limits_of`](KeyedBuilder::limits_of) again for every key in use, for example because a tenant has another plan.
    /// Surplus idle resources are closed now, and surplus leased resources when they are returned.
    ///
    /// # Errors
    /// Some limits are invalid ([`KeyLimits::validate`]); if there are several, the error is that of the first. A key with invalid
    /// limits keeps the limits that it had. All other keys have the new limits.
    pub fn reload_limits(&self) -> Result<(), ConfigError> {
        let inner = self.inner();
        let (mut from, mut outcome) = (0, Ok(()));
        while let Some((next, part)) = inner.kernel.keys(from) {
            from = next;
            for (place, key) in part {
                match inner.terms_of(&key) {
                    Ok(terms) => {
                        let now = inner.now();
                        inner.perform(Kernel::set_terms(&inner.kernel, place, terms, now));
                    }
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
        }
        outcome
    }

    /// Closes all resources that are open now: idle resources at once, leased resources when they are returned, and resources that
    /// are being opened as soon as they are open.
    pub fn retire_all(&self) {
        let inner = self.inner();
        inner.perform(Kernel::reset(&inner.kernel, None, inner.now()));
    }

    /// Like [`retire_all`](Self::retire_all), for one key. Use it when its backend moved, or when its credentials changed.
    pub fn retire<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = self.inner();
        if let Some(place) = inner.find(key).0 {
            inner.perform(Kernel::reset(&inner.kernel, Some(place), inner.now()));
        }
    }

    /// Closes the idle resources, of any key, for which `keep` returns false. Returns how many were closed.
    ///
    /// `keep` runs with no lock held. The resource that it looks at is not handed out meanwhile. If `keep` panics, this resource is
    /// dropped.
    pub fn retain(&self, mut keep: impl FnMut(&K, &mut M::Resource, &Usage) -> bool) -> usize {
        let inner = self.inner();
        let (mut from, mut closed) = (0, 0);
        while let Some((next, mut slot)) = inner.kernel.next_idle(from) {
            from = next;
            let usage = usage_of(&slot, inner.now());
            if keep(slot.seat.key(), &mut slot.item, &usage) {
                inner.lay_back(slot);
            } else {
                closed += 1;
                inner.discard(slot, CloseReason::NotRetained);
            }
        }
        closed
    }

    /// Closes the pool, without waiting. Waiting gets fail with [`Error::is_closed`], idle resources are closed now, and leased
    /// resources when they are returned.
    pub fn close(&self) {
        self.inner().close();
    }

    /// Whether the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.inner().kernel.is_closed()
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
        self.inner().close();
        host::drain(self.inner(), deadline).await
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> Drop for Owner<K, M> {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> Clone for KeyedPool<K, M> {
    fn clone(&self) -> Self {
        Self {
            owner: Arc::clone(&self.owner),
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
