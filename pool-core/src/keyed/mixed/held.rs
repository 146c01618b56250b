//! What a get of a mixed pool returns.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    ops::{Deref, DerefMut},
    panic::Location,
};

use super::{Mixed, MixedManager};
use crate::{
    ConnectionDied,
    host::{Error, Usage, unless},
    keyed::{get::Got, leased::Leased, reopen::reopen, shared::Shared},
};

/// What a get of a [`MixedPool`](super::MixedPool) returns: a connection of its own, or a share of one.
///
/// ```
/// # use std::io;
/// use pool_core::{Held, MixedManager, MixedPool};
/// # use pool_core::{Gauge, Opened, Usage};
/// # struct Origins;
/// # struct Http1;
/// # struct Http2;
/// # impl Http1 { async fn send(&mut self) -> io::Result<u16> { Ok(200) } }
/// # impl Http2 { async fn send(&self) -> io::Result<u16> { Ok(200) } }
/// # impl MixedManager<String> for Origins {
/// #     type One = Http1;
/// #     type Many = Http2;
/// #     type Error = io::Error;
/// #     async fn create(&self, origin: &String, gauge: Gauge) -> io::Result<Opened<Http1, Http2>> {
/// #         gauge.set_capacity(100);
/// #         Ok(if origin.starts_with("old") { Opened::One(Http1) } else { Opened::Many(Http2) })
/// #     }
/// #     async fn check(&self, _: &mut Http1, _: &Usage) -> io::Result<()> { Ok(()) }
/// # }
///
/// async fn fetch(origins: &MixedPool<String, Origins>, origin: &str) -> Result<u16, Box<dyn std::error::Error>> {
///     Ok(match origins.get(origin).await? {
///         Held::One(mut connection) => connection.send().await?,
///         Held::Many(connection) => connection.send().await?,
///     })
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let origins = MixedPool::builder(Origins).build()?;
/// # assert_eq!((fetch(&origins, "old").await?, fetch(&origins, "new").await?), (200, 200));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a connection is for one caller or for many: callers match on it"
)]
pub enum Held<K: Send + Sync + 'static, M: MixedManager<K>> {
    /// The connection is this caller's alone until the lease is dropped.
    One(MixedLease<K, M>),
    /// Other callers use the connection at the same time.
    Many(MixedShare<K, M>),
}

impl<K: Send + Sync + 'static, M: MixedManager<K>> Held<K, M> {
    #[inline]
    pub(super) fn new(got: Got<K, Mixed<M>>) -> Self {
        match got {
            Got::One(leased) => Self::One(MixedLease { leased }),
            Got::Many(shared) => Self::Many(MixedShare { shared }),
        }
    }

    /// Returns the key of the connection.
    pub fn key(held: &Self) -> &K {
        match held {
            Self::One(lease) => MixedLease::key(lease),
            Self::Many(share) => MixedShare::key(share),
        }
    }
}

/// A leased connection of a key. Dropping the lease returns the connection to the pool, on any thread, with or without a runtime.
///
/// A lease is what a [`KeyedLease`](crate::KeyedLease) is. Its functions are associated functions, called as
/// `MixedLease::taint(&mut lease)`.
pub struct MixedLease<K: Send + Sync + 'static, M: MixedManager<K>> {
    leased: Leased<K, Mixed<M>>,
}

impl<K: Send + Sync + 'static, M: MixedManager<K>> MixedLease<K, M> {
    /// Returns the key of the connection.
    pub fn key(lease: &Self) -> &K {
        lease.leased.key()
    }

    /// Taints the connection: the pool does not hand it on as it is. When the lease is returned, the connection is reset, or closed
    /// if the manager has no reset for it.
    pub fn taint(lease: &mut Self) {
        *lease.leased.tainted() = true;
    }

    /// Whether the connection is tainted.
    pub fn is_tainted(lease: &Self) -> bool {
        lease.leased.is_tainted()
    }

    /// Removes the taint: the connection is known to be clean again.
    pub fn untaint(lease: &mut Self) {
        *lease.leased.tainted() = false;
    }

    /// Runs an operation that leaves the connection unusable if it does not run to its end. If the future is dropped or panics, the
    /// lease is tainted.
    ///
    /// # Cancel safety
    /// Dropping the future drops the operation and taints the lease.
    pub async fn run<T>(lease: &mut Self, operation: impl AsyncFnOnce(&mut M::One) -> T) -> T {
        lease.leased.run(operation).await
    }

    /// Closes the connection and opens another in its place, for this caller: for a connection that turned out to be dead when it was
    /// used, and a call that may be repeated. The other may be a shared one. The open is one like any other: it is bounded by `create_timeout`, it counts
    /// as an attempt where opens fail, the observer is told, and the new connection has an age of its own. If the pool may not open one
    /// there at the moment (it became smaller, opens fail, `max_opening` are under way, another key has nothing), the caller gets
    /// one like any other: this is a return and a [`get`](super::MixedPool::get).
    ///
    /// # Errors
    /// As for [`get`](super::MixedPool::get). The lease has ended in any case.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the open. What it opens serves others.
    ///
    /// # Panics
    /// Panics on a tokio runtime that was built without a timer.
    #[track_caller]
    pub fn reopen(lease: Self) -> impl Future<Output = Result<Held<K, M>, Error<M::Error>>> + Send
    where
        K: Hash + Eq + Clone,
    {
        let reopened = reopen(lease.leased, Location::caller());
        async { Ok(Held::new(reopened.await?)) }
    }

    /// Takes the connection out of the pool. The pool may open another in its place, and never closes this one.
    pub fn detach(lease: Self) -> M::One {
        lease.leased.detach()
    }

    /// Returns the history of the connection.
    pub fn usage(lease: &Self) -> Usage {
        lease.leased.usage()
    }

    /// Sets the label of the holder, like [`GetMixed::label`](super::GetMixed::label).
    pub fn label(lease: &mut Self, label: &'static str) {
        lease.leased.label(label);
    }

    /// Returns the manager of the lease's pool.
    pub fn manager(lease: &Self) -> &M {
        &lease.leased.inner().manager.0
    }
}

impl<K: Send + Sync + 'static, M: MixedManager<K>> Deref for MixedLease<K, M> {
    type Target = M::One;

    #[inline]
    fn deref(&self) -> &M::One {
        self.leased.item()
    }
}

impl<K: Send + Sync + 'static, M: MixedManager<K>> DerefMut for MixedLease<K, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::One {
        self.leased.item_mut()
    }
}

impl<K: Send + Sync + 'static, M: MixedManager<K>> fmt::Debug for MixedLease<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MixedLease").finish_non_exhaustive()
    }
}

/// A share of a connection of a key. Dropping it returns the share, on any thread, with or without a runtime.
///
/// A share is what a [`Share`](crate::Share) of a [`SharedPool`](crate::SharedPool) is. Its functions are associated functions,
/// called as `MixedShare::taint(&share)`.
pub struct MixedShare<K: Send + Sync + 'static, M: MixedManager<K>> {
    shared: Shared<K, Mixed<M>>,
}

impl<K: Send + Sync + 'static, M: MixedManager<K>> MixedShare<K, M> {
    /// Returns the key of the connection.
    pub fn key(share: &Self) -> &K {
        &share.shared.get().key
    }

    /// Retires the connection: it takes no more shares, and closes when its last share ends.
    pub fn taint(share: &Self) {
        share.shared.taint();
    }

    /// Whether the connection is dead.
    pub fn is_dead(share: &Self) -> bool {
        share.shared.get().death.has_rung()
    }

    /// Waits until the connection dies, without a timeout. For a `select!` beside other work.
    ///
    /// # Cancel safety
    /// Dropping the future only stops the wait.
    pub async fn died(share: &Self) {
        share.shared.get().death.rings().await;
    }

    /// Runs an operation, but no longer than the connection lives.
    ///
    /// # Errors
    /// The connection died before the operation ended; the operation was dropped.
    ///
    /// # Cancel safety
    /// Dropping the future drops the operation.
    pub async fn run<T>(
        share: &Self,
        operation: impl AsyncFnOnce(&M::Many) -> T,
    ) -> Result<T, ConnectionDied> {
        let operation = operation(&share.shared.get().connection);
        unless(Self::died(share), operation)
            .await
            .ok_or(ConnectionDied)
    }

    /// Returns the manager of the share's pool.
    pub fn manager(share: &Self) -> &M {
        &share.shared.inner().manager.0
    }
}

impl<K: Send + Sync + 'static, M: MixedManager<K>> Deref for MixedShare<K, M> {
    type Target = M::Many;

    #[inline]
    fn deref(&self) -> &M::Many {
        &self.shared.get().connection
    }
}

impl<K: Send + Sync + 'static, M: MixedManager<K>> fmt::Debug for MixedShare<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MixedShare")
            .field("is_dead", &Self::is_dead(self))
            .finish_non_exhaustive()
    }
}
