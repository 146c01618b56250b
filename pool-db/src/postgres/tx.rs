//! Transactions as closures, which are run again when they lost against another transaction.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio_postgres::IsolationLevel;

use super::{Client, Connection, Pool, session::Status, transaction::Modes};
use crate::{Error, operation::Verb, retry::Retry};

/// The transaction that a closure runs in: see [`Pool::transaction`]. It dereferences to [`Client`], which runs the statements.
///
/// Clones are handles of the same transaction. A handle that is still there when the closure has ended makes the transaction fail,
/// because its statements would come too late.
#[derive(Clone)]
pub struct Tx {
    open: Arc<Open>,
}

/// A transaction that has begun. Its drop rolls it back.
struct Open {
    connection: Connection,
    savepoints: AtomicU32,
    is_open: bool,
}

/// How a transaction is run. [`Pool::build_transaction`] returns it.
///
/// ```no_run
/// use std::time::Duration;
/// use pool_db::postgres::IsolationLevel;
///
/// # async fn example(pool: &pool_db::postgres::Pool) -> Result<(), pool_db::Error> {
/// let total: i64 = pool
///     .build_transaction()
///     .isolation_level(IsolationLevel::Serializable)
///     .tries(10)
///     .run(|tx| async move {
///         tx.execute("INSERT INTO orders (item) VALUES ($1)", &[&"tea"]).await?;
///         Ok::<_, pool_db::Error>(tx.query_one("SELECT count(*) FROM orders", &[]).await?.get(0))
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
    /// When the transaction loses against another one (SQLSTATE 40001 or 40P01), it is rolled back and the whole of `f` runs again
    /// in a new one, up to 5 times in all, after a random wait of up to 10 ms, 20 ms and so on. So `f` must have no effects but
    /// those of its statements. It never runs again after a commit whose outcome is unknown. [`build_transaction`](Self::build_transaction)
    /// changes these numbers, and sets the isolation level.
    ///
    /// ```no_run
    /// # async fn example(pool: &pool_db::postgres::Pool, from: i64, to: i64) -> Result<(), pool_db::Error> {
    /// pool.transaction(|tx| async move {
    ///     tx.execute("UPDATE accounts SET balance = balance - 10 WHERE id = $1", &[&from]).await?;
    ///     tx.execute("UPDATE accounts SET balance = balance + 10 WHERE id = $1", &[&to]).await?;
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
    /// Sets the isolation level. Default: the server's `default_transaction_isolation`.
    pub const fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.modes.isolation = Some(level);
        self
    }

    /// Sets whether the transaction is read-only. Default: the server's `default_transaction_read_only`.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.modes.read_only = Some(read_only);
        self
    }

    /// Sets whether the transaction may wait for a snapshot with which it cannot fail to serialize. This only affects transactions
    /// that are serializable and read-only.
    pub const fn deferrable(mut self, deferrable: bool) -> Self {
        self.modes.deferrable = Some(deferrable);
        self
    }

    /// How often the transaction is run at most, when it loses against others. 0 is as 1: it is not run again. Default: 5.
    pub const fn tries(mut self, tries: u32) -> Self {
        self.retry.tries = tries;
        self
    }

    /// Sets the upper bound of the random wait before the second run, and that of all waits: it doubles with each run. Default: 10
    /// ms and 1 s.
    ///
    /// The wait is drawn between zero and the bound ("full jitter", [Exponential Backoff And Jitter]), so that transactions that
    /// have met do not meet again.
    ///
    /// [Exponential Backoff And Jitter]: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
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
                    let mut open = Arc::try_unwrap(tx.open).map_err(|_| Error::open_handle())?;
                    match open.commit().await {
                        Ok(()) => return Ok(value),
                        // The server has answered: it was rolled back.
                        Err(error) => {
                            let session = &open.connection.session;
                            let lost = error.is_database() && session.has_lost();
                            (Err(error.into()), lost)
                        }
                    }
                }
                Err(error) => {
                    let lost = tx.open.has_lost().await;
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
        let sql = self.modes.begin();
        let mut tries = BEGINS;
        loop {
            tries -= 1;
            // Its drop rolls back, also when this future is dropped meanwhile.
            let open = Open {
                connection: self.pool.get().await?,
                savepoints: AtomicU32::new(0),
                is_open: true,
            };
            match open.connection.batch(Verb::Begin, &sql).await {
                Ok(()) => {
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
    /// Runs `f` within a savepoint. With an error, what `f` did is undone, and the transaction goes on.
    ///
    /// # Errors
    /// The error that `f` returned, and those of [`Client::query`]. An error of the server within `f` that `f` returns does not fail
    /// the transaction.
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
        self.batch(Verb::Savepoint, &format!("SAVEPOINT {name}"))
            .await?;
        let result = f(self.clone()).await;
        let (verb, end) = match result {
            Ok(_) => (Verb::Release, format!("RELEASE {name}")),
            Err(_) => (
                Verb::Rollback,
                format!("ROLLBACK TO {name}; RELEASE {name}"),
            ),
        };
        self.batch(verb, &end).await?;
        result
    }
}

impl Open {
    /// Whether the transaction has failed because it lost against another one. The server has the last word: an error that the
    /// closure got over, by a savepoint, is none.
    async fn has_lost(&self) -> bool {
        let client = &self.connection;
        client.session.has_lost()
            && client.quiet().await.is_ok()
            && client.session.status() == Status::Failed
    }

    async fn commit(&mut self) -> Result<(), Error> {
        if self.connection.session.was_abandoned() {
            return Err(Error::abandoned_in_transaction());
        }
        self.is_open = false;
        self.connection.commit().await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.is_open {
            self.connection.send("ROLLBACK");
        }
    }
}

impl Deref for Tx {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.open.connection
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx")
            .field("connection", &self.open.connection)
            .finish_non_exhaustive()
    }
}

/// On how many connections a transaction is begun, if each of them was lost.
const BEGINS: u32 = 4;
