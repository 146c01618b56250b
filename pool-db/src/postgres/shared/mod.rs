//! Connections that many callers use at the same time.

mod builder;
mod call;
mod calls;
mod connection;
mod manager;
mod params;
mod pipe;
mod shareable;

use std::{fmt, time::Duration};

pub use builder::SharedBuilder;
pub use connection::SharedConnection;
use manager::Manager;
use pipe::Place;
use pool_core::{ConfigError, Drained, SharedPool, SharedStatus, observe::Timings};
pub use shareable::Shareable;
use tokio_postgres::Row;

use super::query::Params;
use crate::Error;

/// A pool of few connections for many callers: their statements are pipelined.
///
/// A statement is sent at once, while the server still works on those before it, and many are sent and answered in one packet. So a few
/// connections carry as much as many exclusive ones, for less work of both sides. A `Shared` is a cheap handle: clones share one pool.
///
/// ```no_run
/// use pool_db::postgres::{Shareable, Shared};
///
/// const NAME: Shareable = Shareable::new("SELECT name FROM users WHERE id = $1");
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_db::Error> {
/// let shared = Shared::builder().url("postgres://me@db.example/orders").max_size(2).build()?;
/// let row = shared.query_one(NAME, &[&7_i64]).await?;
/// println!("{}", row.get::<_, String>("name"));
/// # Ok(())
/// # }
/// ```
///
/// It only takes [`Shareable`] statements, which leave nothing on a session, and reads every answer to its end at once. Transactions,
/// streams, `COPY`, `LISTEN`, `SET` and everything else need a connection of their own: build a [`Pool`](super::Pool) beside it, from the
/// same address.
///
/// # Guarantees
/// - A connection has at most `capacity` calls, or [`SharedConnection`]s, at once. A call whose future was dropped counts until the
///   server has answered.
/// - An answer goes to the call that asked, whatever becomes of the calls before it. A future that is not polled holds back nobody.
/// - A statement is prepared once for each connection, and again when a table was changed.
/// - A statement that takes long holds back those that were sent behind it, and only on its own connection: the server ends it after
///   `statement_timeout`, and a connection that has not answered for 50 ms, or four times the 99th percentile of its calls, gets no new
///   calls until it has answered.
/// - A connection that gives no answer for `query_timeout`, and for twice `statement_timeout`, is closed.
/// - A connection on which something was left (see the limits of [`Shareable`]) takes no new calls, and is closed when those that it has
///   are answered, with the reason [`Tainted`](pool_core::observe::CloseReason::Tainted).
///
/// # Limits
/// An answer is kept in memory: see [`max_rows`](SharedBuilder::max_rows). Behind a proxy that pools connections, such as PgBouncer,
/// nothing can be shared: an open fails, and says so.
pub struct Shared {
    core: SharedPool<Manager>,
}

impl Shared {
    /// Creates a builder for a pool.
    pub fn builder() -> SharedBuilder {
        SharedBuilder::new()
    }

    /// Gets a share of the least loaded connection, for several statements. The methods of the pool do so for one statement.
    ///
    /// # Errors
    /// - [`Error::is_timeout`] after `acquire_timeout`.
    /// - [`Error::is_overloaded`] when the queue is full.
    /// - [`Error::is_connect`] when the server cannot be reached, refuses the connection, or is a pooling proxy.
    /// - [`Error::is_closed`] when the pool is closed.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue.
    pub async fn get(&self) -> Result<SharedConnection, Error> {
        let share = self.core.get().await?;
        let limit = self.core.manager().settings.query_timeout;
        Ok(SharedConnection::new(Place::new(share), limit))
    }

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// As for [`get`](Self::get) and [`SharedConnection::query`].
    ///
    /// # Cancel safety
    /// As for [`SharedConnection`].
    pub async fn query(
        &self,
        statement: Shareable<'_>,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Error> {
        self.get().await?.query(statement, params).await
    }

    /// Runs a statement that returns exactly one row.
    ///
    /// # Errors
    /// As for [`query`](Self::query). Another number of rows is an error too.
    ///
    /// # Cancel safety
    /// As for [`SharedConnection`].
    pub async fn query_one(
        &self,
        statement: Shareable<'_>,
        params: Params<'_>,
    ) -> Result<Row, Error> {
        self.get().await?.query_one(statement, params).await
    }

    /// Runs a statement that returns one row or none.
    ///
    /// # Errors
    /// As for [`query`](Self::query). More than one row is an error too.
    ///
    /// # Cancel safety
    /// As for [`SharedConnection`].
    pub async fn query_opt(
        &self,
        statement: Shareable<'_>,
        params: Params<'_>,
    ) -> Result<Option<Row>, Error> {
        self.get().await?.query_opt(statement, params).await
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    ///
    /// # Cancel safety
    /// As for [`SharedConnection`].
    pub async fn execute(
        &self,
        statement: Shareable<'_>,
        params: Params<'_>,
    ) -> Result<u64, Error> {
        self.get().await?.execute(statement, params).await
    }

    /// Returns all counts of this moment. A share is a statement in flight, or a [`SharedConnection`].
    pub fn status(&self) -> SharedStatus {
        self.core.status()
    }

    /// Returns how long waits for shares and opens of connections took.
    pub fn timings(&self) -> Timings {
        self.core.timings()
    }

    /// Returns the name of the pool, as used in messages and metrics.
    pub fn name(&self) -> &str {
        self.core.name()
    }

    /// Opens `min_idle` connections, or one if `min_idle` is 0, and waits until they are open. So the service learns at its start
    /// whether the pool can connect.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Dropping the future stops the wait only; opens that have begun go on.
    pub async fn warm_up(&self) -> Result<(), Error> {
        Ok(self.core.warm_up().await?)
    }

    /// Changes the number of connections while the pool is in use. Surplus connections close when their calls are answered.
    ///
    /// # Errors
    /// `max_size` is 0, or less than `min_idle`.
    pub fn resize(&self, max_size: u32) -> Result<(), ConfigError> {
        self.core.resize(max_size)
    }

    /// Closes all connections that are open now, when their calls are answered. Use it when the database moved, or when the credentials
    /// changed.
    pub fn retire_all(&self) {
        self.core.retire_all();
    }

    /// Forgets the credentials from the provider of [`SharedBuilder::credentials`], so that the next connection asks for new ones:
    /// see [`Pool::rotate_credentials`](super::Pool::rotate_credentials).
    pub fn rotate_credentials(&self) {
        self.core.manager().settings.dial.rotate_credentials();
    }

    /// Closes the pool, without waiting. Waiting calls fail with [`Error::is_closed`], and each connection closes when its calls are
    /// answered.
    pub fn close(&self) {
        self.core.close();
    }

    /// Whether the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// Closes the pool and waits until all its connections are closed, but no longer than `deadline`.
    ///
    /// # Cancel safety
    /// The pool stays closed. Dropping the future only stops the wait.
    ///
    /// # Panics
    /// Panics if `drain` waits on a tokio runtime that was built without a timer.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.core.drain(deadline).await
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawnable(_: impl Send + 'static) {}

    /// Only has to compile.
    fn every_future_can_be_spawned(shared: Shared) {
        const ONE: Shareable<'_> = Shareable::new("SELECT 1");
        spawnable(async move {
            shared.query(ONE, &[&1_i64]).await?;
            shared.query_one(ONE, &[&"", &1_i64]).await?;
            shared.query_opt(ONE, &[]).await?;
            shared.get().await?.execute(ONE, &[]).await
        });
    }

    #[test]
    fn futures_can_be_spawned() {
        let _: fn(Shared) = every_future_can_be_spawned;
    }
}
