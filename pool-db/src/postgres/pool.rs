//! What a pool of PostgreSQL connections does by itself.

use tokio_postgres::Row;

#[cfg(doc)]
use super::Client;
use super::{Connection, CopyIn, CopyOut, FleetStatus, Pool, Query, Rows, query::Params};
use crate::Error;

/// Runs a request on a connection, and on another one if the first was lost before anything was sent. (A closure could not say that
/// its future can be sent between threads.)
macro_rules! somewhere {
    ($pool:ident, |$client:ident| $request:expr) => {{
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let $client: Connection = $pool.get().await?;
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
/// A connection that turns out to be lost before the statement was written to it is replaced, and the statement goes to another
/// one. So a server that was restarted while the pool was idle costs nobody an error. A statement that may have reached the server
/// is never sent twice.
impl Pool {
    /// Returns what this process has of the server's connections, as it was when the server was last asked. `None` unless
    /// `max_size` is `auto`.
    ///
    /// ```
    /// use pool_db::postgres::{FleetState, Pool};
    ///
    /// let pool = Pool::builder().url("postgres://me@db.example/shop").max_size_auto().build()?;
    /// let fleet = pool.fleet().expect("max_size is auto");
    /// assert_eq!(fleet.state, FleetState::NotJoined);
    /// # Ok::<(), pool_db::ConfigError>(())
    /// ```
    pub fn fleet(&self) -> Option<FleetStatus> {
        self.manager().fleet.as_ref().map(|member| member.status())
    }

    /// Runs a statement and returns its rows.
    ///
    /// ```no_run
    /// # async fn example(pool: &pool_db::postgres::Pool) -> Result<(), pool_db::Error> {
    /// for row in pool.query("SELECT name FROM users WHERE age > $1", &[&17]).await? {
    ///     println!("{}", row.get::<_, String>("name"));
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
    pub async fn query<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Error> {
        let query = query.into();
        somewhere!(self, |client| client.query(query, params))
    }

    /// Runs a statement that returns exactly one row.
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::query_one`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn query_one<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<Row, Error> {
        let query = query.into();
        somewhere!(self, |client| client.query_one(query, params))
    }

    /// Runs a statement that returns one row or none.
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::query_opt`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn query_opt<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<Option<Row>, Error> {
        let query = query.into();
        somewhere!(self, |client| client.query_opt(query, params))
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::execute`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn execute<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<u64, Error> {
        let query = query.into();
        somewhere!(self, |client| client.execute(query, params))
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
    /// # async fn example(pool: &pool_db::postgres::Pool) -> Result<(), pool_db::Error> {
    /// let mut rows = pool.stream("SELECT id FROM events ORDER BY id", &[]).await?;
    /// while let Some(row) = rows.try_next().await? {
    ///     println!("{}", row.get::<_, i64>(0));
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
    pub async fn stream<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<Rows, Error> {
        Rows::start(self.get().await?, query.into(), params).await
    }

    /// Begins a `COPY .. FROM STDIN`. The result takes the data, and holds the connection.
    ///
    /// ```no_run
    /// # async fn example(pool: &pool_db::postgres::Pool) -> Result<(), pool_db::Error> {
    /// let mut copy = pool.copy_in("COPY users (id, name) FROM STDIN").await?;
    /// copy.send("1\tAda\n2\tGrace\n").await?;
    /// assert_eq!(copy.finish().await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::copy_in`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn copy_in(&self, sql: &str) -> Result<CopyIn, Error> {
        CopyIn::start(self.get().await?, sql).await
    }

    /// Begins a `COPY .. TO STDOUT`. The stream holds the connection.
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::copy_out`].
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn copy_out(&self, sql: &str) -> Result<CopyOut, Error> {
        CopyOut::start(self.get().await?, sql).await
    }
}

/// On how many connections a statement is tried. A pool may have several that a restart of the server has ended, and hand them out
/// before it has heard of that.
const TRIES: u32 = 4;
