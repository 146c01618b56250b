//! A leased SQLite connection.

use std::{fmt, time::Duration};

use pool_core::Lease;
use pool_cpu::BlockingPool;

use super::{Manager, residue::Mode};
use crate::{Error, bounded::bounded, operation::Verb};

/// A connection of a [`Pool`](super::Pool). Its drop returns it to the pool.
///
/// If a transaction is still open then, it is rolled back before another caller gets the connection. Other state that a closure
/// changed (pragmas, temporary tables, attached databases and so on) is undone too, or else the connection is closed: see
/// [`Reset`](super::Reset). Within a lease it stays, but for a progress handler and a busy handler (or `busy_timeout`): the pool sets
/// its own again before each call. They stop abandoned calls.
pub struct Connection {
    /// `None` while an abandoned call has the lease, and afterwards.
    lease: Option<Lease<Manager>>,
    workers: BlockingPool,
    query_timeout: Option<Duration>,
}

impl Connection {
    /// Runs `f` with the connection on a worker thread. `f` returns errors of SQLite; [`call`](Self::call) allows other errors.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// # let pool = pool_db::sqlite::Pool::builder().memory().build()?;
    /// let mut connection = pool.get().await?;
    /// let sum: i64 = connection
    ///     .run(|sqlite| {
    ///         let transaction = sqlite.transaction()?;
    ///         transaction.execute_batch("CREATE TABLE n (n); INSERT INTO n VALUES (1), (2)")?;
    ///         let sum = transaction.query_row("SELECT sum(n) FROM n", [], |row| row.get(0))?;
    ///         transaction.commit()?;
    ///         Ok(sum)
    ///     })
    ///     .await?;
    /// assert_eq!(sum, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - The error that `f` returned.
    /// - [`Error::is_timeout`] after `query_timeout`.
    /// - [`Error::is_panic`] when `f` panicked. The pool then closes the connection.
    /// - [`Error::is_abandoned`] when an earlier call on this connection was abandoned.
    /// - [`Error::is_database`] when the database file was removed or replaced. `f` has not run.
    ///
    /// # Cancel safety
    /// If the future is dropped (or times out) before a worker took `f`, `f` never runs. Otherwise SQLite is interrupted: its
    /// current statement ends with an error within microseconds, or within 25 ms if it waits for a lock, and the rest of `f` runs to
    /// its end. Until then the worker keeps
    /// the connection, and the connection still counts toward `max_size`. Afterwards the connection returns to the pool, not to
    /// this value.
    ///
    /// # Panics
    /// Panics outside a tokio runtime if a `query_timeout` is set.
    pub async fn run<T, F>(&mut self, f: F) -> Result<T, Error>
    where
        F: FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.on_worker(Mode::Any, f).await??)
    }

    /// Like [`run`](Self::run), with an error type of the application. Any type works that implements `From<Error>`, such as your
    /// own type, `Box<dyn Error + Send + Sync>` or `anyhow::Error`.
    ///
    /// ```
    /// use pool_db::sqlite::{Pool, rusqlite};
    ///
    /// #[derive(Debug)]
    /// enum Refused {
    ///     TooPoor { has: i64 },
    ///     Database(pool_db::Error),
    /// }
    ///
    /// // For errors of the pool: no connection, no answer in time and so on.
    /// impl From<pool_db::Error> for Refused {
    ///     fn from(error: pool_db::Error) -> Self {
    ///         Self::Database(error)
    ///     }
    /// }
    ///
    /// // For `?` on errors of SQLite in the closure.
    /// impl From<rusqlite::Error> for Refused {
    ///     fn from(error: rusqlite::Error) -> Self {
    ///         Self::Database(error.into())
    ///     }
    /// }
    ///
    /// async fn pay(pool: &Pool, account: i64, amount: i64) -> Result<(), Refused> {
    ///     pool.call(move |sqlite| {
    ///         let transaction = sqlite.transaction()?;
    ///         let balance = "SELECT balance FROM accounts WHERE id = ?1";
    ///         let has = transaction.query_row(balance, [account], |row| row.get(0))?;
    ///         if has < amount {
    ///             return Err(Refused::TooPoor { has });
    ///         }
    ///         let pays = "UPDATE accounts SET balance = balance - ?2 WHERE id = ?1";
    ///         transaction.execute(pays, [account, amount])?;
    ///         Ok(transaction.commit()?)
    ///     })
    ///     .await
    /// }
    ///
    /// async fn balance(pool: &Pool, account: String) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    ///     pool.call(move |sqlite| {
    ///         let account: i64 = account.parse()?; // this error is not SQLite's
    ///         Ok(sqlite.query_row("SELECT balance FROM accounts WHERE id = ?1", [account], |row| row.get(0))?)
    ///     })
    ///     .await
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # let pool = Pool::builder().memory().build()?;
    /// # pool.run(|sqlite| sqlite.execute_batch("CREATE TABLE accounts (id, balance); INSERT INTO accounts VALUES (1, 10)")).await?;
    /// assert!(matches!(pay(&pool, 1, 50).await, Err(Refused::TooPoor { has: 10 })));
    /// assert!(pay(&pool, 1, 5).await.is_ok());
    /// assert_eq!(balance(&pool, "1".to_owned()).await?, 5);
    /// assert!(balance(&pool, "one".to_owned()).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error that `f` returned, and the errors of [`run`](Self::run).
    ///
    /// # Cancel safety
    /// As for [`run`](Self::run).
    ///
    /// # Panics
    /// As for [`run`](Self::run).
    pub async fn call<T, E, F>(&mut self, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut rusqlite::Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.on_worker(Mode::Any, f).await?
    }

    /// Runs `f` on a worker: an operation.
    pub(crate) async fn on_worker<T, E, F>(
        &mut self,
        mode: Mode,
        f: F,
    ) -> Result<Result<T, E>, Error>
    where
        F: FnOnce(&mut rusqlite::Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let lease = self.lease.as_ref().ok_or_else(Error::abandoned)?;
        let verb = match mode {
            Mode::Read => Verb::Read,
            Mode::Any | Mode::Write => Verb::Unnamed,
        };
        let mut operation = Lease::manager(lease).operations.begin(verb);
        let result = operation.within(self.call_worker(mode, f)).await;
        match &result {
            Ok(Ok(_)) => operation.ended(),
            Ok(Err(error)) => operation.failed_by(error),
            Err(error) => operation.failed(error),
        }
        result
    }

    async fn call_worker<T, F>(&mut self, mode: Mode, f: F) -> Result<T, Error>
    where
        F: FnOnce(&mut rusqlite::Connection) -> T + Send + 'static,
        T: Send + 'static,
    {
        let mut lease = self.lease.take().ok_or_else(Error::abandoned)?;
        let call = lease
            .open
            .as_mut()
            .ok_or_else(Error::abandoned)?
            .stop
            .begin();
        // The job owns the lease, so no other caller gets the connection before the job has ended.
        let job = self.workers.run(move || {
            let result = match lease.open.as_mut() {
                Some(open) => open.run(mode, f).map_err(Error::from),
                None => Err(Error::abandoned()),
            };
            (lease, result)
        });
        let (lease, result) = bounded(self.query_timeout, job).await??;
        call.ended();
        self.lease = Some(lease);
        result
    }

    /// Sets the timeout of every further [`run`](Self::run) on this connection. `None` means no timeout. For the next caller, the
    /// pool's `query_timeout` applies again.
    pub fn set_query_timeout(&mut self, limit: impl Into<Option<Duration>>) {
        self.query_timeout = limit.into();
    }

    /// Takes SQLite's connection out of the pool, without the pool's handlers. The pool may open another connection in its place.
    ///
    /// # Errors
    /// [`Error::is_abandoned`] when an earlier call on this connection was abandoned.
    pub fn detach(mut self) -> Result<rusqlite::Connection, Error> {
        let lease = self.lease.take().ok_or_else(Error::abandoned)?;
        let open = Lease::detach(lease).open.ok_or_else(Error::abandoned)?;
        Ok(open.into_connection()?)
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
