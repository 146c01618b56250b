//! The pool of PostgreSQL connections.

use std::{fmt, ops::Deref};

use pool_core::ConfigError;

use super::{Builder, Connection, Manager};
use crate::{Error, get::Get};

/// A pool of connections to one PostgreSQL server. A `Pool` is a cheap handle: clones share one pool.
///
/// It dereferences to [`pool_core::Pool`], which has the methods that all pools have ([`status`](pool_core::Pool::status),
/// [`resize`](pool_core::Pool::resize), [`drain`](pool_core::Pool::drain) and so on).
#[derive(Clone)]
pub struct Pool {
    pool: pool_core::Pool<Manager>,
}

impl Pool {
    /// Creates a builder for a pool.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Builds a pool from the environment: [`Builder::env`] with the prefix `POOL_DB`.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, a variable under the prefix names no setting, or the address is
    /// invalid or missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().env("POOL_DB")?.build()
    }

    pub(super) const fn new(pool: pool_core::Pool<Manager>) -> Self {
        Self { pool }
    }

    /// Gets a connection. The get takes an idle connection, or waits for a connection that is returned or opened. Gets are served
    /// in order of arrival.
    ///
    /// # Errors
    /// - [`Error::is_timeout`] after `acquire_timeout`.
    /// - [`Error::is_overloaded`] when the queue is full or the pool sheds load.
    /// - [`Error::is_connect`] when the server cannot be reached, or refuses the connection.
    /// - [`Error::is_closed`] when the pool is closed.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue. A connection that was handed to the get goes to the next waiter.
    #[track_caller]
    pub fn get(&self) -> Get<'_, Manager, Connection> {
        Get::new(self.pool.get())
    }

    /// Gets a connection that is idle now, if no get waits for it. Never waits.
    ///
    /// # Errors
    /// No connection is idle, or the pool is closed ([`Error::is_closed`]).
    #[track_caller]
    pub fn try_get(&self) -> Result<Connection, Error> {
        Ok(self.pool.try_get()?.into())
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
        let warm = self.pool.warm_up();
        async move { Ok(warm.await?) }
    }
}

impl Deref for Pool {
    type Target = pool_core::Pool<Manager>;

    fn deref(&self) -> &Self::Target {
        &self.pool
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}
