//! What only a pool of SQLite connections has: it runs closures.

use super::Pool;
use crate::Error;

impl Pool {
    /// Gets a connection, runs `f` with it on a worker thread, and returns the connection to the pool.
    ///
    /// # Errors
    /// As for [`get`](Self::get) and [`Connection::run`](super::Connection::run).
    ///
    /// # Cancel safety
    /// As for [`get`](Self::get) and [`Connection::run`](super::Connection::run).
    ///
    /// # Panics
    /// As for [`Connection::run`](super::Connection::run).
    pub async fn run<T, F>(&self, f: F) -> Result<T, Error>
    where
        F: FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.get().await?.run(f).await
    }

    /// Like [`run`](Self::run), with an error type of the application. [`Connection::call`](super::Connection::call) has an example.
    ///
    /// # Errors
    /// As for [`get`](Self::get) and [`Connection::call`](super::Connection::call).
    ///
    /// # Cancel safety
    /// As for [`get`](Self::get) and [`Connection::run`](super::Connection::run).
    ///
    /// # Panics
    /// As for [`Connection::run`](super::Connection::run).
    pub async fn call<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut rusqlite::Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.get().await?.call(f).await
    }
}
