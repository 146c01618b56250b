//! A connection, for as long as somebody has it.

use std::{fmt, time::Duration};

use pool_core::Lease;
use pool_cpu::BlockingPool;

use super::{Manager, session::Open};
use crate::{Error, bounded::bounded};

/// A connection from a [`Pool`](super::Pool), given back when dropped.
///
/// A transaction that is still open then is rolled back before anybody else gets the connection. Other settings that a
/// closure changed (pragmas, temporary tables, attached databases) stay as they are.
pub struct Connection {
    /// `None` while, and after, a call that was given up has it.
    lease: Option<Lease<Manager>>,
    workers: BlockingPool,
    query_timeout: Option<Duration>,
}

impl Connection {
    /// Runs `f` with the connection, on a worker thread.
    ///
    /// Errors of SQLite's convert by themselves. Where the compiler cannot tell the closure's error type, name it, as in
    /// `Ok::<_, rusqlite::Error>(count)`; errors of your own go through [`Error::other`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// # let pool = pool_db::sqlite::Pool::builder().memory().build()?;
    /// let mut connection = pool.get().await?;
    /// let sum = connection
    ///     .run(|sqlite| {
    ///         let transaction = sqlite.transaction()?;
    ///         transaction.execute_batch("CREATE TABLE n (n); INSERT INTO n VALUES (1), (2)")?;
    ///         let sum: i64 = transaction.query_row("SELECT sum(n) FROM n", [], |row| row.get(0))?;
    ///         transaction.commit()?;
    ///         Ok::<_, rusqlite::Error>(sum)
    ///     })
    ///     .await?;
    /// assert_eq!(sum, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `f` returned; [`Error::is_timeout`] after `query_timeout`; [`Error::is_panic`] when `f` panicked, and then the
    /// connection is closed; [`Error::is_abandoned`] when an earlier call on this connection was given up.
    ///
    /// # Cancel safety
    /// If the future is dropped (or times out) before a worker took `f`, `f` never runs. Otherwise SQLite is told to stop: its
    /// statement ends with an error within microseconds, and whatever else `f` does goes on to its end. Until then the worker
    /// has the connection and its place in the pool stays taken; afterwards it goes back to the pool, not to this value.
    ///
    /// # Panics
    /// Outside a tokio runtime, when there is a `query_timeout`.
    pub async fn run<T, E, F>(&mut self, f: F) -> Result<T, Error>
    where
        F: FnOnce(&mut rusqlite::Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Error>,
    {
        let mut lease = self.lease.take().ok_or_else(Error::abandoned)?;
        let call = lease
            .open
            .as_mut()
            .ok_or_else(Error::abandoned)?
            .stop
            .begin();
        // The job owns the lease: however it ends, the connection is with nobody else before that.
        let job = self.workers.run(move || {
            let result = match lease.open.as_mut() {
                Some(open) => open.run(f).map_err(Into::into),
                None => Err(Error::abandoned()),
            };
            (lease, result)
        });
        let (lease, result) = bounded(self.query_timeout, job).await??;
        call.ended();
        self.lease = Some(lease);
        result
    }

    /// Sets the bound of every further [`run`](Self::run) on this connection; `None`: no bound. The next user has the pool's
    /// `query_timeout` again.
    pub const fn set_query_timeout(&mut self, limit: Option<Duration>) {
        self.query_timeout = limit;
    }

    /// Takes SQLite's connection out of the pool, which may open another in its place.
    ///
    /// # Errors
    /// [`Error::is_abandoned`] when an earlier call on this connection was given up.
    pub fn detach(mut self) -> Result<rusqlite::Connection, Error> {
        let lease = self.lease.take().ok_or_else(Error::abandoned)?;
        let Open { connection, .. } = Lease::detach(lease).open.ok_or_else(Error::abandoned)?;
        Ok(connection)
    }
}

impl From<Lease<Manager>> for Connection {
    fn from(lease: Lease<Manager>) -> Self {
        let Manager {
            workers,
            query_timeout,
            ..
        } = Lease::manager(&lease);
        Self {
            workers: workers.clone(),
            query_timeout: *query_timeout,
            lease: Some(lease),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
