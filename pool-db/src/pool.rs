//! The pool, which is the same for all drivers.

use std::{fmt, ops::Deref, time::Duration};

use pool_core::{ConfigError, Drained};
use tokio::time::Instant;

use crate::{Builder, Driver, Error, Get};

/// A pool of connections to one database, by the driver `D`. A `Pool` is a cheap handle: clones share one pool.
///
/// It dereferences to [`pool_core::Pool`], which has the methods that all pools have ([`status`](pool_core::Pool::status),
/// [`resize`](pool_core::Pool::resize), [`leases`](pool_core::Pool::leases) and so on).
pub struct Pool<D: Driver> {
    core: pool_core::Pool<D::Manager>,
    beside: D::Beside,
}

impl<D: Driver> Pool<D> {
    /// Creates a builder for a pool.
    pub fn builder() -> Builder<D> {
        Builder::new()
    }

    /// Builds a pool from the environment: [`Builder::env`] with the prefix of the driver ([`Driver::PREFIX`]: `POOL_DB`, for
    /// Redis `POOL_REDIS`).
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, a variable under the prefix names no setting, or the address is
    /// invalid or missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().env(D::PREFIX)?.build()
    }

    pub(crate) const fn new(core: pool_core::Pool<D::Manager>, beside: D::Beside) -> Self {
        Self { core, beside }
    }

    /// Gets a connection. The get takes an idle connection, or waits for a connection that is returned or opened. Gets are served
    /// in order of arrival.
    ///
    /// # Errors
    /// - [`Error::is_timeout`] after `acquire_timeout`.
    /// - [`Error::is_overloaded`] when the queue is full or the pool sheds load.
    /// - [`Error::is_connect`] when the database cannot be reached or opened, or refuses the connection.
    /// - [`Error::is_closed`] when the pool is closed.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue. A connection that was handed to the get goes to the next waiter.
    #[track_caller]
    pub fn get(&self) -> Get<'_, D> {
        Get::new(self.core.get())
    }

    /// Gets a connection that is idle now, if no get waits for it. Never waits.
    ///
    /// # Errors
    /// No connection is idle, or the pool is closed ([`Error::is_closed`]).
    #[track_caller]
    pub fn try_get(&self) -> Result<D::Connection, Error> {
        Ok(self.core.try_get()?.into())
    }

    /// Opens `min_idle` connections, or one if `min_idle` is 0, and waits until they are open. So the service learns at its start
    /// whether the pool can connect.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Dropping the future stops the wait only; opens that have begun go on.
    #[track_caller]
    pub fn warm_up(&self) -> impl Future<Output = Result<(), Error>> + Send {
        let warm = self.core.warm_up();
        async move { Ok(warm.await?) }
    }

    /// Closes all connections that are open now: idle connections at once, leased connections when they are returned. Use it when
    /// the database moved, or when the credentials changed.
    pub fn retire_all(&self) {
        self.all().for_each(pool_core::Pool::retire_all);
    }

    /// Closes the pool, without waiting. Waiting gets fail with [`Error::is_closed`], idle connections are closed now, and leased
    /// connections when they are returned.
    pub fn close(&self) {
        self.all().for_each(pool_core::Pool::close);
    }

    /// Closes the pool and waits until all its connections are closed, but no longer than `deadline`. The report lists what was
    /// still leased.
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
        // All of them are closed before the wait for the first, so the waits overlap.
        self.close();
        let start = Instant::now();
        let mut drained = Vec::new();
        for pool in self.all() {
            drained.push(pool.drain(deadline.saturating_sub(start.elapsed())).await);
        }
        drained.into_iter().collect()
    }

    /// What the driver has beside the connections.
    #[cfg(feature = "sqlite")]
    pub(crate) const fn beside(&self) -> &D::Beside {
        &self.beside
    }

    /// The pool of connections, and those that the driver has beside it.
    fn all(&self) -> impl Iterator<Item = &pool_core::Pool<D::Manager>> {
        [&self.core].into_iter().chain(D::pools(&self.beside))
    }
}

impl<D: Driver> Deref for Pool<D> {
    type Target = pool_core::Pool<D::Manager>;

    fn deref(&self) -> &Self::Target {
        &self.core
    }
}

impl<D: Driver> Clone for Pool<D> {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
            beside: self.beside.clone(),
        }
    }
}

impl<D: Driver> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use pool_core::{Env, Lease, Usage, observe::Observer};

    use super::*;
    use crate::driver::sealed::Sealed;

    /// A driver with a second pool beside its connections.
    struct Twins;

    struct Opens;

    struct Held {
        _lease: Lease<Opens>,
    }

    impl pool_core::Manager for Opens {
        type Resource = ();
        type Error = Error;

        async fn create(&self) -> Result<(), Error> {
            Ok(())
        }

        async fn check(&self, (): &mut (), _: &Usage) -> Result<(), Error> {
            Ok(())
        }
    }

    impl From<Lease<Opens>> for Held {
        fn from(lease: Lease<Opens>) -> Self {
            Self { _lease: lease }
        }
    }

    impl Sealed for Twins {}

    impl Driver for Twins {
        type Manager = Opens;
        type Connection = Held;
        type Settings = ();
        type Beside = [pool_core::Pool<Opens>; 1];

        const WORD: &'static str = "twins";

        fn read(
            _: &mut Builder<Self>,
            _: Option<(String, String)>,
            _: &mut Env,
        ) -> Result<(), ConfigError> {
            Ok(())
        }

        fn build(builder: Builder<Self>) -> Result<Pool<Self>, ConfigError> {
            let beside = [builder.core(Opens)?];
            Ok(Pool::new(builder.core(Opens)?, beside))
        }

        fn pools(beside: &Self::Beside) -> &[pool_core::Pool<Opens>] {
            beside
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_ends_with_those_that_its_driver_has_beside_it() {
        let pool = Pool::<Twins>::builder().build().unwrap();
        let (one, other) = (
            pool.get().await.unwrap(),
            pool.beside[0].get().await.unwrap(),
        );
        let within = Duration::from_secs(10);
        let start = Instant::now();
        let drained = pool.clone().drain(within).await;
        assert_eq!((drained.left, drained.leased.len()), (2, 2));
        assert_eq!(start.elapsed().as_secs(), 10, "one deadline for both");
        drop((one, other));
        assert!(pool.drain(within).await.is_complete());
        assert!(pool.beside[0].is_closed() && pool.is_closed());
    }

    #[tokio::test]
    async fn what_is_open_is_retired_in_all_of_them() {
        let pool = Pool::<Twins>::builder().build().unwrap();
        drop((
            pool.get().await.unwrap(),
            pool.beside[0].get().await.unwrap(),
        ));
        assert_eq!((pool.status().idle, pool.beside[0].status().idle), (1, 1));
        pool.retire_all();
        assert_eq!((pool.status().idle, pool.beside[0].status().idle), (0, 0));
    }

    #[tokio::test]
    async fn the_observer_of_the_builder_is_told_of_each_of_them() {
        #[derive(Clone, Default)]
        struct Opened(Arc<AtomicU32>);

        impl Observer for Opened {
            fn opened(&self, pool: &str, _: Duration) {
                assert_eq!(pool, "both");
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let opened = Opened::default();
        let builder = Pool::<Twins>::builder()
            .name("both")
            .observer(opened.clone());
        let pool = builder.clone().build().unwrap();
        drop((
            pool.get().await.unwrap(),
            pool.beside[0].get().await.unwrap(),
        ));
        assert_eq!(opened.0.load(Ordering::Relaxed), 2);
    }
}
