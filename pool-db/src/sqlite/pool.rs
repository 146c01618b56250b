//! The pool itself.

use std::{fmt, ops::Deref};

use pool_core::ConfigError;

use super::{Builder, Connection, Manager};
use crate::{Error, get::Get};

/// A pool of connections to one SQLite database. A cheap handle: clones share it.
///
/// What every pool can do ([`status`](pool_core::Pool::status), [`resize`](pool_core::Pool::resize),
/// [`drain`](pool_core::Pool::drain), ..) is in the [`pool_core::Pool`] it dereferences to.
#[derive(Clone)]
pub struct Pool {
    pool: pool_core::Pool<Manager>,
}

impl Pool {
    /// Begins a pool.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Builds one from the environment: [`Builder::env`] with the prefix `POOL_DB`.
    ///
    /// # Errors
    /// A value that its setting cannot have, an unknown name under the prefix, or no address at all.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().env("POOL_DB")?.build()
    }

    pub(super) const fn new(pool: pool_core::Pool<Manager>) -> Self {
        Self { pool }
    }

    /// Gets a connection: an idle one, or the first that is given back or opened, in order of arrival.
    ///
    /// # Errors
    /// [`Error::is_timeout`] after `acquire_timeout`; [`Error::is_overloaded`] when too many wait already;
    /// [`Error::is_connect`] when the database cannot be opened; [`Error::is_closed`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in line; nothing is lost.
    #[track_caller]
    pub fn get(&self) -> Get<'_, Manager, Connection> {
        Get::new(self.pool.get())
    }

    /// Gets a connection that is idle now, if nobody waits for it.
    ///
    /// # Errors
    /// None is idle, or [`Error::is_closed`].
    #[track_caller]
    pub fn try_get(&self) -> Result<Connection, Error> {
        Ok(self.pool.try_get()?.into())
    }

    /// Opens a connection, or as many as `min_idle` says, and so finds out whether it can.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// What is being opened goes on.
    #[track_caller]
    pub fn warm_up(&self) -> impl Future<Output = Result<(), Error>> + Send {
        let warm = self.pool.warm_up();
        async move { Ok(warm.await?) }
    }

    /// Gets a connection, runs `f` with it on a worker thread, and gives it back.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`Connection::run`].
    ///
    /// # Cancel safety
    /// As [`get`](Self::get) and [`Connection::run`].
    ///
    /// # Panics
    /// As [`Connection::run`].
    pub async fn run<T, F>(&self, f: F) -> Result<T, Error>
    where
        F: FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.get().await?.run(f).await
    }

    /// As [`run`](Self::run), with an error of your own; [`Connection::call`] has an example.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`Connection::call`].
    ///
    /// # Cancel safety
    /// As [`get`](Self::get) and [`Connection::run`].
    ///
    /// # Panics
    /// As [`Connection::run`].
    pub async fn call<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut rusqlite::Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.get().await?.call(f).await
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
