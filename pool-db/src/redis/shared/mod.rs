//! Connections that many callers use at the same time.

mod builder;
mod connection;
mod heart;
mod manager;

use std::{fmt, time::Duration};

pub use builder::SharedBuilder;
pub use connection::SharedConnection;
use manager::Manager;
use pool_core::{ConfigError, Drained, SharedPool, SharedStatus, observe::Timings};
use redis::{Cmd, Pipeline, RedisFuture, Value, aio::ConnectionLike};

use super::shareable;
use crate::Error;

/// A pool of few connections for many callers, whose commands are multiplexed: sent at once, while the server still works on those
/// before them.
///
/// It is a connection of the driver (`redis::aio::ConnectionLike`): all commands of `redis::AsyncCommands`, `redis::cmd` and
/// `redis::pipe` work on it, and on a reference to it. A `Shared` is a cheap handle: clones share one pool.
///
/// ```no_run
/// use pool_db::redis::{Shared, redis::{self, AsyncCommands as _}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_db::Error> {
/// let shared = Shared::builder().url("redis://cache.example/0").build()?; // or Shared::from_env()
/// let mut redis = shared.clone();
/// let () = redis.set("greeting", "hello").await?;
/// let greeting: Option<String> = redis.get("greeting").await?;
///
/// // One request, and one transaction:
/// let mut both = redis::pipe();
/// let (views,): (u64,) = both.atomic().incr("views", 1).expire("views", 60).ignore().query_async(&mut &shared).await?;
/// # drop((greeting, views));
/// # Ok(())
/// # }
/// ```
///
/// Commands that hold up a connection or change it are refused before they are sent, with an error that says what to use instead: `WATCH`
/// and `MULTI`, `BLPOP` and all that wait on the server, `SUBSCRIBE`, `SELECT`, `AUTH`, `CLIENT REPLY` and so on. They need a connection
/// of their own: build a [`Pool`](super::Pool) beside it, from the same address. Scripts may run: what a script does to its session ends
/// with it.
///
/// # Guarantees
/// - An answer goes to the call that asked, whatever becomes of the calls before it.
/// - Each call has its answer or an error within `acquire_timeout` and `query_timeout`. A command that was sent is never sent again.
/// - A connection has at most `capacity` calls, or [`SharedConnection`]s, at once.
/// - A connection that has not answered for 50 ms, or four times as long as a slow answer takes, gets no new calls until it answers.
///   A connection that has not answered for `query_timeout` is closed: a hung server, or a network that swallows what is sent.
/// - A connection whose server refuses writes (`READONLY`, after a failover) takes no new calls and is replaced: the address may lead
///   elsewhere by now.
///
/// # Errors
/// The driver's methods return the driver's error, which `?` turns into [`Error`], with all that a pool knows of it.
///
/// # Cancel safety
/// Dropping the future of a call gives up its place in the queue, or its answer: a command that was sent may take effect. No other call
/// gets that answer.
///
/// # Limits
/// An answer is kept in memory, however long it is. A command that takes long on the server (`KEYS *`, a slow script) holds up everyone
/// on that server, as Redis runs one command at a time.
pub struct Shared {
    core: SharedPool<Manager>,
}

impl Shared {
    /// Creates a builder for a pool.
    pub fn builder() -> SharedBuilder {
        SharedBuilder::new()
    }

    /// Builds a pool from the environment: [`SharedBuilder::env`] with the prefix `POOL_REDIS`.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, a variable under the prefix names no setting, or the address is
    /// invalid or missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().env("POOL_REDIS")?.build()
    }

    /// Takes a share of the least loaded connection, for several commands. A command on the pool does so for itself.
    ///
    /// # Errors
    /// - [`Error::is_timeout`] after `acquire_timeout`.
    /// - [`Error::is_overloaded`] when the queue is full.
    /// - [`Error::is_connect`] when the server cannot be reached, or refuses the connection.
    /// - [`Error::is_closed`] when the pool is closed.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue.
    pub async fn share(&self) -> Result<SharedConnection, Error> {
        Ok(SharedConnection::new(self.core.get().await?))
    }

    /// Returns all counts of this moment. A share is a call in flight, or a [`SharedConnection`].
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
    /// As for [`share`](Self::share).
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

    /// Closes all connections that are open now, when their calls are answered. Use it when the server moved, or when the credentials
    /// changed.
    pub fn retire_all(&self) {
        self.core.retire_all();
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

    /// Opens a connection to the same server that is subscribed to `channel` and does nothing else. It is none of the pool's.
    #[cfg(feature = "cache")]
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<redis::aio::PubSub, Error> {
        let mut subscriber = self.core.manager().dial.subscriber().await?;
        subscriber.subscribe(channel).await?;
        Ok(subscriber)
    }

    async fn one(&self, cmd: &Cmd) -> Result<Value, Error> {
        shareable::one(cmd, self.core.manager().limits.max_bytes)?;
        self.share().await?.one(cmd).await
    }

    async fn all(
        &self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> Result<Vec<Value>, Error> {
        shareable::all(
            pipeline,
            offset,
            count,
            self.core.manager().limits.max_bytes,
        )?;
        self.share().await?.all(pipeline, offset, count).await
    }

    fn db(&self) -> i64 {
        self.core.manager().dial.db.into()
    }
}

/// The same for the pool and for a reference to it.
macro_rules! connection {
    ($($pool:ty),+) => {$(
        impl ConnectionLike for $pool {
            fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
                Box::pin(async move { Ok(self.one(cmd).await?) })
            }

            fn req_packed_commands<'a>(
                &'a mut self,
                pipeline: &'a Pipeline,
                offset: usize,
                count: usize,
            ) -> RedisFuture<'a, Vec<Value>> {
                Box::pin(async move { Ok(self.all(pipeline, offset, count).await?) })
            }

            fn get_db(&self) -> i64 {
                self.db()
            }
        }
    )+};
}

connection!(Shared, &Shared);

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
