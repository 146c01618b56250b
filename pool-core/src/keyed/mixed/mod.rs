//! Connections by key, of which one may serve one caller and another many.

mod get;
mod held;
mod manager;
mod status;
mod wired;

use std::{
    borrow::Borrow, fmt, future::Future, hash::Hash, panic::Location, sync::Arc, time::Duration,
};

pub use get::GetMixed;
pub use held::{Held, MixedLease, MixedShare};
pub use manager::MixedManager;
pub use status::MixedStatus;
pub(super) use wired::Mixed;

#[cfg(doc)]
use super::KeyLimits;
use super::{MixedBuilder, Opened, body::Body, drives::Item, inner::Inner};
use crate::{
    config::ConfigError,
    engine::Kept,
    host::{Drained, Error, Usage},
    observe::{LeaseInfo, Timings},
};

/// A pool for each key, with a bound for each key and a bound in total, where a connection serves one caller or many: which of
/// them is known when it is open.
///
/// An origin of HTTP is such a key: a connection of it serves one request at a time (HTTP/1.1) or as many as the server allows at
/// the moment (HTTP/2), and one origin may have both. So is a node of a Redis cluster, or a shard with pipelined connections. If
/// no connection is shared, use a [`KeyedPool`](crate::KeyedPool); if there is only one backend, a
/// [`SharedPool`](crate::SharedPool).
///
/// A `MixedPool` is a cheap handle: clones share one pool. The drop of the last handle closes the pool. What is still out remains
/// usable.
///
/// ```
/// use std::io;
/// use pool_core::{Gauge, Held, KeyLimits, MixedManager, MixedPool, Opened, Usage, fan_out};
///
/// /// A crawler asks many origins, some of them by HTTP/2, with 200 sockets in all.
/// struct Origins;
///
/// struct Http1 { origin: String }
/// struct Http2 { origin: String }
///
/// impl Http1 {
///     async fn get(&mut self, path: &str) -> io::Result<String> { Ok(format!("{}{path}", self.origin)) }
/// }
///
/// impl Http2 {
///     async fn get(&self, path: &str) -> io::Result<String> { Ok(format!("{}{path}", self.origin)) }
/// }
///
/// impl MixedManager<String> for Origins {
///     type One = Http1;
///     type Many = Http2;
///     type Error = io::Error;
///
///     async fn create(&self, origin: &String, gauge: Gauge) -> io::Result<Opened<Http1, Http2>> {
///         let origin = origin.clone();
///         // Here: a connect and a TLS handshake, which agrees on a version.
///         if origin.ends_with(".old") {
///             return Ok(Opened::One(Http1 { origin }));
///         }
///         // Here: the SETTINGS of the server. A task that reads the socket tells the gauge of later ones, of GOAWAY
///         // (`gauge.drain()`), of a late ping (`gauge.suspect()`) and of the end (`gauge.dead()`).
///         gauge.set_capacity(100);
///         Ok(Opened::Many(Http2 { origin }))
///     }
///
///     async fn check(&self, _: &mut Http1, _: &Usage) -> io::Result<()> { Ok(()) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let origins = MixedPool::builder(Origins)
///     .max_total(200) // sockets
///     .max_size(6) // of one origin
///     .limits_of(|origin: &String| match origin.as_str() {
///         "small.old" => KeyLimits::new().max_size(1),
///         _ => KeyLimits::new(),
///     })
///     .build()?;
///
/// async fn fetch(origins: &MixedPool<String, Origins>, origin: &str, path: String) -> io::Result<String> {
///     match origins.get(origin).await.map_err(io::Error::other)? {
///         Held::One(mut connection) => connection.get(&path).await,
///         Held::Many(connection) => connection.get(&path).await,
///     }
/// }
///
/// let pages = (0..600).map(|n| (["big.new", "small.old", "other.old"][n % 3], format!("/{n}")));
/// let bodies = fan_out(pages).limit(40).map(|(origin, path)| fetch(&origins, origin, path)).await?;
/// assert_eq!((bodies.len(), bodies[0].as_str()), (600, "big.new/0"));
///
/// let big = origins.status_of("big.new").unwrap();
/// assert_eq!((big.connections.opened, big.shared), (1, 1), "one connection for 200 requests");
/// assert!(origins.status().connections.open <= 200);
/// # Ok(())
/// # }
/// ```
///
/// # One connection, one place
/// A connection takes one place of its key and one of the bound in total, however many share it, from the moment its open begins to
/// the moment its close has ended. A shared connection is *idle* while no share of it is out, and *leased* from its first share to
/// its last. So it is evicted, ages, and reaches its [`idle_timeout`](crate::Config::idle_timeout) like any other.
///
/// A get takes an idle connection of its own if its key has one; else a share of the shared connection of the key that is least
/// loaded, by the part of its capacity that is in use; of equally loaded ones, the youngest.
///
/// # How many are opened
/// For each key, as many as its waiters need. A connection is expected to serve as many as the last one of its key could, or as
/// [`MixedManager::expects`] says. Before the first is open nobody knows, and one connection is opened for each 16 waiters; when it
/// turns out to serve one caller, the rest is opened at once. As in a [`KeyedPool`](crate::KeyedPool), an open that takes longer
/// than a second no longer counts.
///
/// # Turns
/// Keys take turns as in a [`KeyedPool`](crate::KeyedPool#fairness-between-keys). A shared connection may never be without a share,
/// so it gives its place up otherwise: when keys have waited for a place in vain for 100 ms, and nothing is idle or being closed,
/// the least used shared connection of the key with the most connections takes no more shares, and closes with its last share. The
/// only connection of a key comes last. At most an eighth of `max_total` is drained so at a time, and at least one. If no key wants
/// a place any more, such a connection takes shares again.
///
/// # Lifetime
/// A shared connection that reaches its [`max_lifetime`](crate::Config::max_lifetime) while it is in use takes no more shares if its
/// key has another with a free share, or a place for one. Otherwise it goes on, so that no get waits because of its age.
pub struct MixedPool<K: Send + Sync + 'static, M: MixedManager<K>> {
    body: Body<K, Mixed<M>>,
}

impl<K: Send + Sync + 'static, M: MixedManager<K>> MixedPool<K, M> {
    /// Creates a builder for a pool of the connections that `manager` opens.
    pub fn builder(manager: M) -> MixedBuilder<K, M> {
        MixedBuilder::new(manager)
    }

    pub(in crate::keyed) fn from_inner(inner: Arc<Inner<K, Mixed<M>>>) -> Self {
        Self {
            body: Body::new(inner),
        }
    }

    /// Gets a connection of `key`, or a share of one. The get takes an idle connection or a free share, or waits for one that is
    /// returned or opened. Gets of one key are served in order of arrival, whatever they will get.
    ///
    /// The future has setters, which can be called before it is first polled:
    /// `pool.get(&origin).timeout(limit).label("crawl").await`.
    ///
    /// # Errors
    /// - [`Error::is_timeout`] after `acquire_timeout`.
    /// - [`Error::is_overloaded`] when the queue of the key is full, when all queues together are full (as in a
    ///   [`KeyedPool`](crate::KeyedPool#queue-bounds)), or when the `max_size` of the key is 0.
    /// - [`Error::is_connect`] at once, while no connection of the key is open and the last attempts to open one failed, and when the
    ///   result of [`limits_of`](MixedBuilder::limits_of) is invalid.
    /// - [`Error::is_closed`] when the pool is closed.
    /// - [`Error::is_no_runtime`] when the get has to wait and does not run on tokio.
    ///
    /// [`Error::status`] has the counts of the key.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue. What was handed to the get goes to the next waiter. An open that was
    /// started for the get goes on, and what it opens serves another get, unless another key needs the place.
    ///
    /// # Panics
    /// Panics if the get waits on a tokio runtime that was built without a timer, and if `Hash`, `Eq` or `Clone` of the key panics.
    #[inline]
    #[track_caller]
    pub fn get<'a, Q>(&'a self, key: &'a Q) -> GetMixed<'a, K, M, Q>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        GetMixed::new(self.body.get(key, Location::caller()))
    }

    /// Gets `count` connections or shares of `key` at once, and returns them all. So the first callers do not wait for opens, and
    /// the service learns at its start whether the pool can connect. One shared connection may be enough for all of them.
    ///
    /// The connections stay open like other idle ones: until `idle_timeout`, or until another key needs a place.
    ///
    /// # Errors
    /// As for [`get`](Self::get). Also [`Error::is_too_large`] when `count` is more than the key may have connections.
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

    /// Gets a connection of `key` that is idle and known to be good, or a free share, if no get waits for it. Never waits.
    ///
    /// # Errors
    /// - [`Error::is_busy`] when there is neither.
    /// - [`Error::is_closed`] when the pool is closed.
    #[track_caller]
    pub fn try_get<Q>(&self, key: &Q) -> Result<Held<K, M>, Error<M::Error>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let got = self.body.try_get(key, Location::caller())?;
        Ok(Held::new(got))
    }

    /// Returns all counts of one key at this moment; `None` if the key is not in use.
    pub fn status_of<Q>(&self, key: &Q) -> Option<MixedStatus>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let of = self.body.inner().snapshot_of(key)?;
        Some(MixedStatus::new(&of))
    }

    /// Returns the counts of every key in use. The counts of one key are taken at one moment.
    pub fn statuses(&self) -> Vec<(Arc<K>, MixedStatus)> {
        self.body.statuses(MixedStatus::new)
    }

    /// Returns all counts of this moment, for all keys together. The counters include keys that were removed.
    pub fn status(&self) -> MixedStatus {
        MixedStatus::new(&self.body.inner().kernel.snapshot())
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

    /// Lists the current leases, with their keys. The holders of shares are not recorded.
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

    /// Changes the bound in total while the pool is in use. If it becomes smaller, surplus idle connections are closed now,
    /// the oldest first. Surplus shared connections take no more shares, the least used first, and close with their last share;
    /// other surplus connections are closed when they are returned.
    ///
    /// # Errors
    /// `max_total` is 0.
    pub fn resize(&self, max_total: u32) -> Result<(), ConfigError> {
        self.body.inner().resize(max_total)
    }

    /// Calls [`limits_of`](MixedBuilder::limits_of) again for every key in use, for example because an origin allows more
    /// connections now. What is surplus is closed as by [`resize`](Self::resize).
    ///
    /// # Errors
    /// Some limits are invalid ([`KeyLimits::validate`]); if there are several, the error is that of the first. A key with invalid
    /// limits keeps the limits that it had. All other keys have the new limits.
    pub fn reload_limits(&self) -> Result<(), ConfigError> {
        self.body.reload_limits()
    }

    /// Retires all connections that are open now, or being opened: idle ones are closed at once, leased ones when they are returned,
    /// and shared ones take no more shares and close with their last share.
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

    /// Closes the idle connections, of any key, for which `keep` returns false. Returns how many were closed. A shared connection is
    /// idle while no share of it is out.
    ///
    /// `keep` runs with no lock held. The connection that it looks at is not handed out meanwhile. If `keep` panics, this connection
    /// is dropped.
    pub fn retain(
        &self,
        mut keep: impl FnMut(&K, Opened<&mut M::One, &M::Many>, &Usage) -> bool,
    ) -> usize {
        self.body
            .retain(|key, item, usage| keep(key, as_opened::<K, M>(item), usage))
    }

    /// Closes the pool, without waiting. Waiting gets fail with [`Error::is_closed`], idle connections are closed now, leased
    /// ones when they are returned, and shared ones with their last share.
    pub fn close(&self) {
        self.body.inner().close();
    }

    /// Whether the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.body.inner().kernel.is_closed()
    }

    /// Closes the pool and waits until all its connections are closed, but no longer than `deadline`. The report lists what was
    /// still leased; the pool does not know who holds a share.
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

impl<K: Send + Sync + 'static, M: MixedManager<K>> Clone for MixedPool<K, M> {
    fn clone(&self) -> Self {
        Self {
            body: self.body.clone(),
        }
    }
}

impl<K: Send + Sync + 'static, M: MixedManager<K>> fmt::Debug for MixedPool<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MixedPool")
            .field("name", &self.name())
            .field("keys", &self.key_count())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Returns a connection as the user knows it.
fn as_opened<K: Send + Sync + 'static, M: MixedManager<K>>(
    item: &mut Item<K, Mixed<M>>,
) -> Opened<&mut M::One, &M::Many> {
    match item {
        Opened::One(one) => Opened::One(one),
        Opened::Many(wired) => Opened::Many(&wired.connection),
    }
}
