//! Pools by key, under one bound in total.

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

/// Pools by key (origin, shard, tenant), with a bound for each key and one in total.
///
/// A cheap handle: clones share one pool. When the last handle is dropped the pool is closed; leases that are still out stay good,
/// and what they hold is closed on return.
///
/// ```
/// use pool_core::{KeyLimits, KeyedManager, KeyedPool, Usage};
///
/// /// A service keeps a database for each tenant, all on one server that allows 200 connections.
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
///     .max_size(8) // of one tenant
///     .max_total(200)
///     .limits_of(|tenant: &String| match tenant.as_str() {
///         "acme" => KeyLimits::new().max_size(40),
///         _ => KeyLimits::new(),
///     })
///     .build()?;
///
/// let connection = pool.get("acme").await?; // given back when dropped
/// assert_eq!(connection.database, "tenant_acme");
/// assert_eq!(pool.status_of("acme").map(|of| (of.leased, of.max_size)), Some((1, 40)));
/// assert_eq!((pool.status().leased, pool.key_count()), (1, 1));
/// # Ok(())
/// # }
/// ```
///
/// # Who gets a place
/// Within a key all is as in a [`Pool`](crate::Pool): first come, first served, from hand to hand. Between keys it matters only when
/// the bound in total is reached:
///
/// 1. Idle ones of other keys are closed, the one that nobody has used for longest first, one for each that is wanted
///    ([`CloseReason::Evicted`]). The place is free when that close has ended, so the bound holds at every moment.
/// 2. When everything is busy, keys take turns. A key in which somebody waits and that has nothing open gets the place of whatever
///    comes back next, in turn with the others that have nothing. Else a key that gives one back and has at least two more than one
///    that wants more gives it the place. So keys that all want more end up with equal shares, and only where there are more of them
///    than places does a place change hands at every return, which costs a close and an open.
///
/// Whoever has a turn serves at least one of its waiters before the place goes on.
///
/// # Keys that hang or fail
/// A connect that takes longer than a second is not counted on: another is begun, up to `max_opening` of one key, but only in a place
/// that nobody else wants. And when everything is busy, such connects owe their places as what comes back does: to a key that has at
/// least two fewer, the youngest first. A key keeps the oldest, so that one that is only slow gets there. So a key whose connects hang
/// has one place while others wait.
///
/// While nothing can be opened for a key, and for 30 s after somebody asked for it, one connect at a time finds out whether it is back.
/// Of those for which nobody waits there are never more than an eighth of `max_total`, or one, and they too get places that nobody else
/// wants; in a pool that is full, one a second has a turn as if somebody waited for it.
///
/// # Who may wait
/// The line of each key is bounded, and so are all lines together ([`max_total_waiters`](KeyedBuilder::max_total_waiters)). When
/// they are full, a newcomer whose key has less in line than another pushes out the last one of the longest line, who fails with
/// [`Error::is_overloaded`]; else it fails itself. So a key that floods the pool locks nobody out but itself.
///
/// # Keys
/// A key comes into use by a get, and goes when nothing is open for it and nobody waits; then nothing is left of it. One for which
/// nothing can be opened is remembered for 30 s after it was last asked for (16,384 of them at most), so that its gets fail fast. There
/// is no task for each key, and the one keeper does what falls due, however many keys there are.
///
/// A key is looked up by reference: `pool.get("acme")` where `K` is `String`. Keys are hashed, compared and dropped with nothing
/// locked. So a `Hash` or an `Eq` may use the pool, and a panic in one loses nothing: it is that of the get that asked. Both must
/// give the same answer every time, as for any map.
pub struct KeyedPool<K: Send + Sync + 'static, M: KeyedManager<K>> {
    owner: Arc<Owner<K, M>>,
}

/// What all handles of one pool share, and nobody else: it closes the pool when it is dropped.
struct Owner<K: Send + Sync + 'static, M: KeyedManager<K>> {
    inner: Arc<Inner<K, M>>,
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> KeyedPool<K, M> {
    /// Begins a pool of what `manager` opens.
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

    /// Gets a resource of `key`: an idle one, or the first that is given back or opened, in order of arrival.
    ///
    /// The future can be told more before it is awaited: `pool.get("acme").timeout(limit).label("login").await`.
    ///
    /// # Errors
    /// [`Error::is_timeout`] after `acquire_timeout`; [`Error::is_overloaded`] when the line of the key is full, when all lines
    /// together are (see [below](Self#who-may-wait)), or when the key may have none; [`Error::is_connect`] at once while nothing of this key is open and the last attempts to open
    /// one failed, and when [`limits_of`](KeyedBuilder::limits_of) said what cannot be used; [`Error::is_closed`]; [`Error::is_no_runtime`] when it has to wait and does not run on tokio.
    /// [`Error::status`] is that of the key.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in line. What was handed to it goes to the next; what is being opened on its
    /// account goes on, for whoever comes, unless another key needs its place.
    ///
    /// # Panics
    /// When it waits on a tokio runtime that was built without a timer; and when the `Hash`, `Eq` or `Clone` of the key does.
    #[inline]
    #[track_caller]
    pub fn get<'a, Q>(&'a self, key: &'a Q) -> GetKeyed<'a, K, M, Q>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        GetKeyed::new(self, key, Location::caller())
    }

    /// Gets `count` of `key` at once, and gives them all back: pays for the connects before the first user comes, and finds out whether it
    /// can connect at all.
    ///
    /// They stay for as long as anything idle does: for `idle_timeout`, and until another key needs the place.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`Error::is_too_large`] when the key may not have so many.
    ///
    /// # Cancel safety
    /// What is being opened goes on.
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
        // Not so many futures first, and an error then.
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

    /// Gets a resource of `key` that is idle now and known to be good, if nobody waits for it.
    ///
    /// # Errors
    /// [`Error::is_busy`] when there is none; [`Error::is_closed`].
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

    /// All counts of one key, as they are at this moment; `None` when nothing is known of it.
    pub fn status_of<Q>(&self, key: &Q) -> Option<Status>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = self.inner();
        let of = inner.kernel.snapshot_of(inner.find(key).0?)?;
        Some(status_of(&of))
    }

    /// The counts of every key that is in use. Those of one key are of one moment.
    pub fn statuses(&self) -> Vec<(Arc<K>, Status)> {
        let (mut from, mut statuses) = (0, Vec::new());
        while let Some((next, part)) = self.inner().kernel.snapshots(from) {
            from = next;
            statuses.extend(part.into_iter().map(|(key, of)| (key, status_of(&of))));
        }
        statuses
    }

    /// All counts of all keys together, as they are at this moment. What was counted for keys that have gone is in it.
    pub fn status(&self) -> Status {
        Hosted::status(&**self.inner())
    }

    /// How many keys are in use.
    pub fn key_count(&self) -> usize {
        self.inner().kernel.key_count()
    }

    /// How long things took, for all keys together. Of leases and of waits, in every 10 ms one of
    /// whichever key is timed, and stands for those since the last one.
    pub fn timings(&self) -> Timings {
        Hosted::timings(&**self.inner())
    }

    /// Who holds one now, and of which key.
    pub fn leases(&self) -> Vec<(Arc<K>, LeaseInfo)> {
        self.inner().leases_of(None)
    }

    /// Who holds one of this key now.
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

    /// The name that the pool was given, for messages and metrics.
    pub fn name(&self) -> &str {
        &self.inner().host.name
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.inner().manager
    }

    /// Sets another bound in total, while the pool is in use. What is too much goes: idle ones now, the oldest first, leased ones
    /// when they come back.
    ///
    /// # Errors
    /// `max_total` is 0.
    pub fn resize(&self, max_total: u32) -> Result<(), ConfigError> {
        self.inner().resize(max_total)
    }

    /// Asks [`limits_of`](KeyedBuilder::limits_of) again for every key that is in use: a tenant has another plan. What is too much
    /// goes: idle ones now, leased ones when they come back.
    ///
    /// # Errors
    /// Limits that cannot be used ([`KeyLimits::validate`]), the first of them if there are several: a key for which they were said
    /// goes on with those that it had. All others have the new ones.
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

    /// Sees to it that everything that is open now is closed: idle ones now, leased ones when they come back, and what is being opened
    /// when it is open.
    pub fn retire_all(&self) {
        let inner = self.inner();
        inner.perform(Kernel::reset(&inner.kernel, None, inner.now()));
    }

    /// The same for one key. For when its backend moved, or its credentials changed.
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

    /// Closes those idle ones, of any key, for which `keep` says no. Returns how many.
    ///
    /// `keep` runs with no lock held, and the one it looks at is not handed out meanwhile; if it panics that one is dropped.
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

    /// Closes the pool: all who wait are told so, idle ones are closed, leased ones when they come back. Does not wait.
    pub fn close(&self) {
        self.inner().close();
    }

    /// Was the pool closed?
    pub fn is_closed(&self) -> bool {
        self.inner().kernel.is_closed()
    }

    /// Closes the pool and waits, for `deadline` at most, until everything it opened is closed. Says what was still out; of which
    /// key, [`leases`](Self::leases) says.
    ///
    /// On a thread without a runtime the deadline is kept by the runtime on which gets have waited; if there is none, nobody could
    /// tell when it has come, and the report is made at once.
    ///
    /// # Cancel safety
    /// The pool stays closed; dropping the future only stops the waiting.
    ///
    /// # Panics
    /// When it waits on a tokio runtime that was built without a timer.
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
