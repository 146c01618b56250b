//! Transactions of whichever database.

#[cfg(feature = "sqlite")]
use std::sync::Arc;
use std::{fmt, time::Duration};

#[cfg(feature = "mysql")]
use super::mysql;
#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "sqlite")]
use super::sqlite;
use super::{Database, Params, Row};
use crate::{
    Error,
    one_row::{at_most_one, only},
    retry::Retry,
};

/// The transaction that a closure runs in: see [`Database::transaction`].
///
/// Clones are handles of the same transaction. A handle that is still there when the closure has ended makes the transaction fail.
/// Statements on one transaction run one after the other.
///
/// After a statement that the database has refused, the transaction takes no other statement and cannot be committed, on every
/// database as in PostgreSQL. (SQLite and MySQL by themselves would go on with what the statements before it have done.)
#[derive(Clone)]
pub struct Tx(Inner);

#[derive(Clone)]
enum Inner {
    #[cfg(feature = "sqlite")]
    Sqlite(Arc<sqlite::Open>),
    #[cfg(feature = "postgres")]
    Postgres(crate::postgres::Tx),
    #[cfg(feature = "mysql")]
    MySql(mysql::Open),
}

/// How a transaction is run. [`Database::build_transaction`] returns it.
#[derive(Clone, Debug)]
#[must_use = "nothing begins before `run`"]
pub struct TransactionPlan {
    database: Database,
    is_serializable: bool,
    pub(super) retry: Retry,
}

impl Database {
    /// Runs `f` in a transaction, and commits it if `f` returns `Ok`. With an error, a panic or a dropped future the transaction is
    /// rolled back.
    ///
    /// When the transaction loses against another one (a deadlock, a serialization failure, a busy SQLite), it is rolled back and the
    /// whole of `f` runs again in a new one, up to 5 times in all, after a random wait of up to 10 ms, 20 ms and so on. So `f` must
    /// have no effects but those of its statements. It never runs again after a commit whose outcome is unknown.
    ///
    /// | | isolation | others meanwhile |
    /// |---|---|---|
    /// | SQLite | always serializable | one transaction that may write at a time, in order of arrival |
    /// | PostgreSQL | the server's default (read committed) | wait for rows that both change |
    /// | MySQL, MariaDB | the server's default (repeatable read) | wait for rows that both change |
    ///
    /// [`TransactionPlan::serializable`] makes all of them the same.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// # let database = pool_db::Database::connect("sqlite::memory:").await?;
    /// # database.execute("CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)", ()).await?;
    /// # database.execute("INSERT INTO accounts VALUES (1, 10), (2, 0)", ()).await?;
    /// let (from, to) = (1, 2);
    /// let left: i64 = database
    ///     .transaction(|tx| async move {
    ///         tx.execute("UPDATE accounts SET balance = balance - 10 WHERE id = $1", [from]).await?;
    ///         tx.execute("UPDATE accounts SET balance = balance + 10 WHERE id = $1", [to]).await?;
    ///         tx.fetch_one("SELECT balance FROM accounts WHERE id = $1", [from]).await?.get("balance")
    ///     })
    ///     .await?;
    /// assert_eq!(left, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - The error that `f` returned. If the transaction lost too often, that of the last attempt: [`Error::is_retryable`].
    /// - Those of [`fetch`](Self::fetch), for the connection and the commit.
    /// - An error if `f` returned `Ok` after a statement of the transaction had failed. It is rolled back.
    ///
    /// # Cancel safety
    /// Dropping the future rolls the transaction back, unless the commit was already sent: then it is unknown whether it is
    /// committed. If the future of a statement is dropped within `f`, the transaction can only be rolled back.
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
            database: self.clone(),
            is_serializable: false,
            retry: Retry::default(),
        }
    }
}

impl TransactionPlan {
    /// Makes the transaction serializable: as if it ran alone. Give it more [`tries`](Self::tries), as it loses more often.
    pub const fn serializable(mut self) -> Self {
        self.is_serializable = true;
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

    /// Runs `f` in the transaction: see [`Database::transaction`].
    ///
    /// # Errors
    /// As for [`Database::transaction`].
    ///
    /// # Cancel safety
    /// As for [`Database::transaction`].
    ///
    /// # Panics
    /// As for [`Database::transaction`].
    pub async fn run<T, E, F, R>(self, mut f: F) -> Result<T, E>
    where
        F: FnMut(Tx) -> R,
        R: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        match &self.database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(pool) => {
                sqlite::transaction(pool, &self, |open| f(Tx(Inner::Sqlite(open)))).await
            }
            #[cfg(feature = "postgres")]
            Database::Postgres(pool) => {
                use crate::postgres::IsolationLevel::Serializable;
                let mut plan = pool.build_transaction();
                plan.retry = self.retry;
                if self.is_serializable {
                    plan = plan.isolation_level(Serializable);
                }
                plan.run(|tx| f(Tx(Inner::Postgres(tx)))).await
            }
            #[cfg(feature = "mysql")]
            Database::MySql(pool) => {
                use crate::mysql::IsolationLevel::Serializable;
                let mut plan = pool.build_transaction();
                plan.retry = self.retry;
                if self.is_serializable {
                    plan = plan.isolation_level(Serializable);
                }
                mysql::transaction(plan, |open| f(Tx(Inner::MySql(open)))).await
            }
        }
    }
}

impl Tx {
    /// Runs a statement and returns its rows: see [`Database::fetch`].
    ///
    /// # Errors
    /// As for [`Database::fetch`].
    ///
    /// # Cancel safety
    /// If the future is dropped before its end, the transaction can only be rolled back.
    pub async fn fetch(&self, sql: &str, params: impl Into<Params>) -> Result<Vec<Row>, Error> {
        let params = params.into();
        match &self.0 {
            #[cfg(feature = "sqlite")]
            Inner::Sqlite(open) => open.fetch(sql, params).await,
            #[cfg(feature = "postgres")]
            Inner::Postgres(tx) => postgres::fetch_on(tx, sql, params).await,
            #[cfg(feature = "mysql")]
            Inner::MySql(open) => open.fetch(sql, params).await,
        }
    }

    /// Runs a statement that returns exactly one row.
    ///
    /// # Errors
    /// As for [`Database::fetch_one`]. Another number of rows does not fail the transaction.
    ///
    /// # Cancel safety
    /// As for [`fetch`](Self::fetch).
    pub async fn fetch_one(&self, sql: &str, params: impl Into<Params>) -> Result<Row, Error> {
        only(self.fetch(sql, params).await?)
    }

    /// Runs a statement that returns one row or none.
    ///
    /// # Errors
    /// As for [`Database::fetch_opt`]. Another number of rows does not fail the transaction.
    ///
    /// # Cancel safety
    /// As for [`fetch`](Self::fetch).
    pub async fn fetch_opt(
        &self,
        sql: &str,
        params: impl Into<Params>,
    ) -> Result<Option<Row>, Error> {
        at_most_one(self.fetch(sql, params).await?)
    }

    /// Runs a statement and returns how many rows it changed: see [`Database::execute`].
    ///
    /// # Errors
    /// As for [`Database::execute`].
    ///
    /// # Cancel safety
    /// As for [`fetch`](Self::fetch).
    pub async fn execute(&self, sql: &str, params: impl Into<Params>) -> Result<u64, Error> {
        let params = params.into();
        match &self.0 {
            #[cfg(feature = "sqlite")]
            Inner::Sqlite(open) => open.execute(sql, params).await,
            #[cfg(feature = "postgres")]
            Inner::Postgres(tx) => postgres::execute_on(tx, sql, params).await,
            #[cfg(feature = "mysql")]
            Inner::MySql(open) => open.execute(sql, params).await,
        }
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.0 {
            #[cfg(feature = "sqlite")]
            Inner::Sqlite(_) => "sqlite",
            #[cfg(feature = "postgres")]
            Inner::Postgres(_) => "postgres",
            #[cfg(feature = "mysql")]
            Inner::MySql(_) => "mysql",
        };
        f.debug_tuple("Tx").field(&name).finish()
    }
}
