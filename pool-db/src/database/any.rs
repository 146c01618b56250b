//! The pool of whichever database.

use std::time::Duration;

use pool_core::{ConfigError, Drained, Status};

#[cfg(feature = "mysql")]
use super::mysql;
#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "sqlite")]
use super::sqlite;
use super::{Builder, Params, Row, Rows};
use crate::{
    Error,
    one_row::{at_most_one, only},
};

/// A pool of connections to the database that an address names: SQLite, PostgreSQL, MySQL or MariaDB. A `Database` is a cheap
/// handle: clones share one pool.
///
/// A program that only uses what is here runs on each of them. What else a driver can do is behind the variant:
///
#[cfg_attr(feature = "sqlite", doc = "```")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use pool_db::Database;
///
/// /// Makes the database smaller, where that is for the application to do.
/// async fn tidy(database: &Database) -> Result<(), pool_db::Error> {
///     match database {
///         Database::Sqlite(pool) => pool.run(|sqlite| sqlite.execute_batch("VACUUM")).await,
///         _ => Ok(()),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_db::Error> {
/// tidy(&Database::connect("sqlite::memory:").await?).await
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Database {
    /// SQLite (feature `sqlite`).
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Pool),
    /// PostgreSQL (feature `postgres`).
    #[cfg(feature = "postgres")]
    Postgres(crate::postgres::Pool),
    /// MySQL or MariaDB (feature `mysql`).
    #[cfg(feature = "mysql")]
    MySql(crate::mysql::Pool),
}

/// Evaluates the same expression for the pool of each driver.
macro_rules! each {
    ($database:expr, $pool:ident => $done:expr) => {
        match $database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite($pool) => $done,
            #[cfg(feature = "postgres")]
            Database::Postgres($pool) => $done,
            #[cfg(feature = "mysql")]
            Database::MySql($pool) => $done,
        }
    };
}

impl Database {
    /// Creates a builder.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Builds the pool from the environment: [`Builder::env`] with the prefix `POOL_DB`, and so from `DATABASE_URL`.
    ///
    /// # Errors
    /// As for [`Builder::env`] and [`Builder::build`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().env("POOL_DB")?.build()
    }

    /// Builds a pool with the default settings for an address, and opens a connection. [`Builder::build`] opens none.
    ///
    /// # Errors
    /// The address is invalid, or of a database whose driver is not compiled; [`Error::is_connect`] and the other errors of a pool's
    /// `get` if the database cannot be reached.
    ///
    /// # Cancel safety
    /// Dropping the future closes the pool.
    pub async fn connect(url: impl Into<String>) -> Result<Self, Error> {
        let database = Self::builder().url(url).build()?;
        database.warm_up().await?;
        Ok(database)
    }

    /// Runs a statement and returns its rows, all of them at once. [`stream`](Self::stream) has them one after the other.
    ///
    /// The placeholders are `$1`, `$2` on every database. A value may be used more than once. SQLite runs a statement that only
    /// reads on one of its `max_size` connections, and one that writes (`INSERT .. RETURNING`) on its connection for writes.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// # let database = pool_db::Database::connect("sqlite::memory:").await?;
    /// # database.execute("CREATE TABLE users (id BIGINT PRIMARY KEY, name VARCHAR(40) NOT NULL)", ()).await?;
    /// database.execute("INSERT INTO users (id, name) VALUES ($1, $2)", (7, "Ada")).await?;
    /// for row in database.fetch("SELECT id, name FROM users WHERE name = $1 OR id = $2", ("Ada", 7)).await? {
    ///     println!("{}: {}", row.get::<i64>("id")?, row.get::<&str>("name")?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - Those of the pool's `get`: [`Error::is_timeout`], [`Error::is_overloaded`], [`Error::is_connect`], [`Error::is_closed`].
    /// - [`Error::is_database`] when the database rejects the statement.
    /// - [`Error::is_timeout`] after `query_timeout`, and [`Error::is_disconnected`] when the connection was lost.
    /// - An error that names the placeholder if the text has `$0`, a gap, or another number of placeholders than there are values; or
    ///   if a value does not fit into its type. Nothing took effect.
    /// - An error that names the column if its type is not in the [table](super). The statement has taken effect.
    ///
    /// # Cancel safety
    /// A dropped future does not take back a statement that has begun: it may or may not take effect. The pool hands the connection
    /// on when the database is done with it.
    pub async fn fetch(&self, sql: &str, params: impl Into<Params>) -> Result<Vec<Row>, Error> {
        let params = params.into();
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(pool) => sqlite::fetch(pool, sql, params).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => postgres::fetch(pool, sql, params).await,
            #[cfg(feature = "mysql")]
            Self::MySql(pool) => mysql::fetch(pool, sql, params).await,
        }
    }

    /// Runs a statement that returns exactly one row.
    ///
    /// # Errors
    /// As for [`fetch`](Self::fetch), and [`Error::is_no_rows`] or [`Error::is_many_rows`] for another number of rows.
    ///
    /// # Cancel safety
    /// As for [`fetch`](Self::fetch).
    pub async fn fetch_one(&self, sql: &str, params: impl Into<Params>) -> Result<Row, Error> {
        only(self.fetch(sql, params).await?)
    }

    /// Runs a statement that returns one row or none.
    ///
    /// # Errors
    /// As for [`fetch`](Self::fetch), and [`Error::is_many_rows`] for more than one row.
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

    /// Runs a statement and returns how many rows it inserted, changed or deleted.
    ///
    /// An `UPDATE` counts the rows that its condition selects, also those that were already as they shall be. For a statement such as
    /// `CREATE TABLE` it is 0. Rows that the statement returns are dropped, and the databases do not agree on their number: use
    /// [`fetch`](Self::fetch).
    ///
    /// # Errors
    /// As for [`fetch`](Self::fetch).
    ///
    /// # Cancel safety
    /// As for [`fetch`](Self::fetch).
    pub async fn execute(&self, sql: &str, params: impl Into<Params>) -> Result<u64, Error> {
        let params = params.into();
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(pool) => sqlite::execute(pool, sql, params).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => postgres::execute(pool, sql, params).await,
            #[cfg(feature = "mysql")]
            Self::MySql(pool) => mysql::execute(pool, sql, params).await,
        }
    }

    /// Runs a statement that only reads, and returns its rows one after the other, in constant memory. The stream takes a connection
    /// when it is first polled, and has it until its end: a slow reader holds the connection.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// # let database = pool_db::Database::connect("sqlite::memory:").await?;
    /// let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) SELECT i FROM n";
    /// let (mut rows, mut sum) = (database.stream(numbers, [1_000]), 0);
    /// while let Some(row) = rows.next().await {
    ///     sum += row?.get::<i64>("i")?;
    /// }
    /// assert_eq!(sum, 500_500);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The stream yields the errors of [`fetch`](Self::fetch). `query_timeout` bounds the wait for each row of a server. SQLite refuses
    /// a statement that writes.
    pub fn stream(&self, sql: &str, params: impl Into<Params>) -> Rows {
        let params = params.into();
        let rows = match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(pool) => sqlite::stream(pool, sql, params),
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => postgres::stream(pool, sql, params),
            #[cfg(feature = "mysql")]
            Self::MySql(pool) => mysql::stream(pool, sql, params),
        };
        rows.unwrap_or_else(Rows::failed)
    }

    /// Opens `min_idle` connections, or one if `min_idle` is 0, and waits until they are open. So the service learns at its start
    /// whether the pool can connect.
    ///
    /// # Errors
    /// Those of the pool's `get`.
    ///
    /// # Cancel safety
    /// Dropping the future stops the wait only; opens that have begun go on.
    pub async fn warm_up(&self) -> Result<(), Error> {
        each!(self, pool => pool.warm_up().await)
    }

    /// What the pool is doing now. SQLite's connection for writes is not counted.
    pub fn status(&self) -> Status {
        each!(self, pool => pool.status())
    }

    /// The name of the pool.
    pub fn name(&self) -> &str {
        each!(self, pool => pool.name())
    }

    /// Closes all connections that are open now: idle connections at once, leased connections when they are returned.
    pub fn retire_all(&self) {
        each!(self, pool => pool.retire_all());
    }

    /// Closes the pool, without waiting. Waiting calls fail with [`Error::is_closed`].
    pub fn close(&self) {
        each!(self, pool => pool.close());
    }

    /// Closes the pool and waits until all its connections are closed, but no longer than `deadline`. The report lists what was
    /// still leased.
    ///
    /// # Cancel safety
    /// The pool stays closed. Dropping the future only stops the wait.
    ///
    /// # Panics
    /// Panics if it waits on a tokio runtime that was built without a timer.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        each!(self, pool => pool.drain(deadline).await)
    }
}
