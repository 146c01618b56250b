//! What a pool of MySQL connections does by itself.

use mysql_async::{Params, Row};

#[cfg(doc)]
use super::Client;
use super::{Connection, Pool, Rows};
use crate::Error;

/// Runs a request on a connection, and on another one if the first was lost before anything was run. (A closure could not say that
/// its future can be sent between threads.)
macro_rules! somewhere {
    ($pool:ident, |$client:ident| $request:expr) => {{
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let mut $client: Connection = $pool.get().await?;
            match $request.await {
                Err(error) if error.was_lost_before() && tries > 0 => {}
                done => return done,
            }
        }
    }};
}

/// Each of these takes a connection, runs one statement on it and returns it: a statement that is not part of a transaction needs no
/// more. They have the errors of [`get`](crate::Pool::get) and of the method of [`Client`] that has the same name.
///
/// A connection that turns out to be lost before the statement was run is replaced, and the statement goes to another one: it is
/// prepared before it is run. A statement that may have been run is never sent twice.
impl Pool {
    /// Runs a statement and returns its rows.
    ///
    /// ```no_run
    /// # async fn example(pool: &pool_db::mysql::Pool) -> Result<(), pool_db::Error> {
    /// for row in pool.query("SELECT name FROM users WHERE age > ?", (17,)).await? {
    ///     println!("{:?}", row.get::<String, _>("name"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::query`].
    ///
    /// # Cancel safety
    /// As for [`get`](crate::Pool::get), and for [`Client`] once the statement was sent.
    pub async fn query(
        &self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Vec<Row>, Error> {
        let params = params.into();
        somewhere!(self, |client| client.query(sql, params.clone()))
    }

    /// Runs a statement that returns exactly one row.
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::query_one`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn query_one(
        &self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Row, Error> {
        let params = params.into();
        somewhere!(self, |client| client.query_one(sql, params.clone()))
    }

    /// Runs a statement that returns one row or none.
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::query_opt`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn query_opt(
        &self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Option<Row>, Error> {
        let params = params.into();
        somewhere!(self, |client| client.query_opt(sql, params.clone()))
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::execute`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn execute(&self, sql: &str, params: impl Into<Params> + Send) -> Result<u64, Error> {
        let params = params.into();
        somewhere!(self, |client| client.execute(sql, params.clone()))
    }

    /// Runs an `INSERT` and returns the number that the server gave the row, as [`Client::insert`].
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::insert`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn insert(&self, sql: &str, params: impl Into<Params> + Send) -> Result<u64, Error> {
        let params = params.into();
        somewhere!(self, |client| client.insert(sql, params.clone()))
    }

    /// Runs several statements, separated by `;` and without parameters, and drops their results.
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::batch_execute`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        somewhere!(self, |client| client.batch_execute(sql))
    }

    /// Runs a statement and returns its rows one after the other, in constant memory. The stream holds the connection.
    ///
    /// ```no_run
    /// use futures_util::TryStreamExt;
    ///
    /// # async fn example(pool: &pool_db::mysql::Pool) -> Result<(), pool_db::Error> {
    /// let mut rows = pool.stream("SELECT id FROM events ORDER BY id", ()).await?;
    /// while let Some(row) = rows.try_next().await? {
    ///     println!("{:?}", row.get::<i64, _>(0));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::stream`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn stream(
        &self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Rows<'static>, Error> {
        Rows::start(self.get().await?.into(), sql, params.into()).await
    }
}

/// On how many connections a statement is tried. A pool may have several that a restart of the server has ended, and hand them out
/// before it has heard of that.
const TRIES: u32 = 4;
