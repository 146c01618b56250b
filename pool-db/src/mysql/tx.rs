//! Transactions as closures, which are run again when they lost against another transaction.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use mysql_async::{IsolationLevel, Params, Row};
use tokio::sync::Mutex;

#[cfg(doc)]
use super::Client;
use super::{Connection, Pool, call::Call, transaction::Modes};
use crate::{Error, retry::Retry};

/// The transaction that a closure runs in: see [`Pool::transaction`]. Its methods are those of [`Client`].
///
/// Clones are handles of the same transaction. Their statements run one after the other. A handle that is still there when the
/// closure has ended makes the transaction fail, because its statements would come too late.
#[derive(Clone)]
pub struct Tx {
    open: Arc<Handle>,
}

/// A transaction that has begun. Its drop returns the connection, which is rolled back.
struct Handle {
    connection: Mutex<Connection>,
    savepoints: AtomicU32,
}

/// How a transaction is run. [`Pool::build_transaction`] returns it.
///
/// ```no_run
/// use pool_db::mysql::IsolationLevel;
///
/// # async fn example(pool: &pool_db::mysql::Pool) -> Result<(), pool_db::Error> {
/// let total: Option<i64> = pool
///     .build_transaction()
///     .isolation_level(IsolationLevel::Serializable)
///     .tries(10)
///     .run(|tx| async move {
///         tx.execute("INSERT INTO orders (item) VALUES (?)", ("tea",)).await?;
///         Ok::<_, pool_db::Error>(tx.query_one("SELECT count(*) FROM orders", ()).await?.get(0))
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing begins before `run`"]
pub struct TransactionPlan {
    pool: Pool,
    modes: Modes,
    pub(crate) retry: Retry,
}

impl Pool {
    /// Runs `f` in a transaction, and commits it if `f` returns `Ok`. With an error, a panic or a dropped future the transaction is
    /// rolled back.
    ///
    /// When the transaction loses against another one (a deadlock, 1213, or a lock that was not free in time, 1205), it is rolled
    /// back and the whole of `f` runs again in a new one, up to 5 times in all, after a random wait of up to 10 ms, 20 ms and so on.
    /// So `f` must have no effects but those of its statements. It never runs again after a commit whose outcome is unknown.
    /// [`build_transaction`](Self::build_transaction) changes these numbers, and sets the isolation level.
    ///
    /// ```no_run
    /// # async fn example(pool: &pool_db::mysql::Pool, from: i64, to: i64) -> Result<(), pool_db::Error> {
    /// pool.transaction(|tx| async move {
    ///     tx.execute("UPDATE accounts SET balance = balance - 10 WHERE id = ?", (from,)).await?;
    ///     tx.execute("UPDATE accounts SET balance = balance + 10 WHERE id = ?", (to,)).await?;
    ///     Ok(())
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// - The error that `f` returned. If the transaction lost too often, that of the last attempt: [`Error::is_retryable`].
    /// - Those of [`get`](crate::Pool::get), and of [`Transaction::commit`](super::Transaction::commit).
    ///
    /// # Cancel safety
    /// Dropping the future rolls the transaction back, unless the commit was already sent: then it is unknown whether it is
    /// committed.
    ///
    /// # Panics
    /// When `f` panics. The transaction is rolled back.
    pub async fn transaction<T, E, F, R>(&self, f: F) -> Result<T, E>
    where
        F: FnMut(Tx) -> R,
        R: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        self.build_transaction().run(f).await
    }

    /// Begins a [`transaction`](Self::transaction) with options.
    pub fn build_transaction(&self) -> TransactionPlan {
        TransactionPlan {
            pool: self.clone(),
            modes: Modes::default(),
            retry: Retry::default(),
        }
    }
}

impl TransactionPlan {
    /// Sets the isolation level. Default: the server's.
    pub const fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.modes.isolation = Some(level);
        self
    }

    /// Sets whether the transaction is read-only. Default: the server's.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.modes.read_only = Some(read_only);
        self
    }

    /// Sets whether the transaction sees the data as they are when it begins, and not as they are at its first read. This only
    /// affects transactions of the level `REPEATABLE READ`. Default: false.
    pub const fn consistent_snapshot(mut self, consistent: bool) -> Self {
        self.modes.consistent_snapshot = consistent;
        self
    }

    /// How often the transaction is run at most, when it loses against others. 0 is as 1: it is not run again. Default: 5.
    pub const fn tries(mut self, tries: u32) -> Self {
        self.retry.tries = tries;
        self
    }

    /// Sets the upper bound of the random wait before the second run, and that of all waits: it doubles with each run. Default: 10
    /// ms and 1 s.
    pub const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.retry.first, self.retry.longest) = (first, longest);
        self
    }

    /// Runs `f` in the transaction: see [`Pool::transaction`].
    ///
    /// # Errors
    /// As for [`Pool::transaction`].
    ///
    /// # Cancel safety
    /// As for [`Pool::transaction`].
    ///
    /// # Panics
    /// As for [`Pool::transaction`].
    pub async fn run<T, E, F, R>(self, mut f: F) -> Result<T, E>
    where
        F: FnMut(Tx) -> R,
        R: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        let mut tries = 1;
        loop {
            let tx = self.begin().await?;
            let (result, lost) = match f(tx.clone()).await {
                Ok(value) => {
                    let open = Arc::try_unwrap(tx.open).map_err(|_| Error::open_handle())?;
                    let mut connection = open.connection.into_inner();
                    match connection.commit().await {
                        Ok(()) => return Ok(value),
                        // The server has answered: it was rolled back.
                        Err(error) => {
                            let lost = error.is_database() && error.is_retryable();
                            (Err(error.into()), lost)
                        }
                    }
                }
                Err(error) => {
                    let lost = tx.has_lost().await;
                    // The connection serves others while this transaction waits.
                    drop(tx);
                    (Err(error), lost)
                }
            };
            if !(lost && self.retry.again(&mut tries).await) {
                return result;
            }
        }
    }

    /// Begins the transaction, on another connection if the first one was lost meanwhile. Nothing has happened then.
    async fn begin(&self) -> Result<Tx, Error> {
        let mut tries = BEGINS;
        loop {
            tries -= 1;
            let mut connection = self.pool.get().await?;
            match connection.begin_transaction(self.modes).await {
                Ok(()) => {
                    let open = Handle {
                        connection: Mutex::new(connection),
                        savepoints: AtomicU32::new(0),
                    };
                    return Ok(Tx {
                        open: Arc::new(open),
                    });
                }
                Err(error) if error.is_disconnected() && tries > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Tx {
    /// As [`Client::query`].
    ///
    /// # Errors
    /// As for [`Client::query`].
    pub async fn query(
        &self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Vec<Row>, Error> {
        self.open.connection.lock().await.query(sql, params).await
    }

    /// As [`Client::query_one`].
    ///
    /// # Errors
    /// As for [`Client::query_one`].
    pub async fn query_one(
        &self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Row, Error> {
        let mut client = self.open.connection.lock().await;
        client.query_one(sql, params).await
    }

    /// As [`Client::query_opt`].
    ///
    /// # Errors
    /// As for [`Client::query_opt`].
    pub async fn query_opt(
        &self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Option<Row>, Error> {
        let mut client = self.open.connection.lock().await;
        client.query_opt(sql, params).await
    }

    /// As [`Client::execute`].
    ///
    /// # Errors
    /// As for [`Client::execute`].
    pub async fn execute(&self, sql: &str, params: impl Into<Params> + Send) -> Result<u64, Error> {
        self.open.connection.lock().await.execute(sql, params).await
    }

    /// As [`Client::insert`].
    ///
    /// # Errors
    /// As for [`Client::insert`].
    pub async fn insert(&self, sql: &str, params: impl Into<Params> + Send) -> Result<u64, Error> {
        self.open.connection.lock().await.insert(sql, params).await
    }

    /// As [`Client::batch_execute`].
    ///
    /// # Errors
    /// As for [`Client::batch_execute`].
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.open.connection.lock().await.batch_execute(sql).await
    }

    /// Runs `f` within a savepoint. With an error, what `f` did is undone, and the transaction goes on.
    ///
    /// # Errors
    /// The error that `f` returned, and those of [`Client::query`]. After a deadlock there is no transaction left to go on with.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the savepoint open, so that what `f` did is part of the transaction.
    pub async fn savepoint<T, E, F, R>(&self, f: F) -> Result<T, E>
    where
        F: FnOnce(Self) -> R,
        R: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        let name = format!("pool_db_tx_{}", self.open.savepoints.fetch_add(1, Relaxed));
        self.text(&format!("SAVEPOINT {name}")).await?;
        let result = f(self.clone()).await;
        if result.is_err() && self.has_lost().await {
            // There is nothing to undo: the transaction is run again.
            return result;
        }
        if result.is_err() {
            self.text(&format!("ROLLBACK TO SAVEPOINT {name}")).await?;
        }
        self.text(&format!("RELEASE SAVEPOINT {name}")).await?;
        result
    }

    async fn text(&self, sql: &str) -> Result<(), Error> {
        let mut client = self.open.connection.lock().await;
        client.ready().await?;
        client.call(Call::Text(sql)).await?;
        Ok(())
    }

    /// Whether the last statement has lost against another transaction.
    async fn has_lost(&self) -> bool {
        let client = self.open.connection.lock().await;
        client.state.open.is_some_and(|open| open.has_lost)
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").finish_non_exhaustive()
    }
}

/// On how many connections a transaction is begun, if each of them was lost.
const BEGINS: u32 = 4;
