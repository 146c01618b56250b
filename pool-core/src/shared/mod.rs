//! Connections that many use at the same time.

mod builder;
mod config;
mod counts;
mod get;
mod handle;
mod inner;
mod keep;
mod link;
mod links;
mod manager;
#[allow(unsafe_code, reason = "cells that the halves of an atomic word guard")]
mod places;
mod share;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod work;

use std::{fmt, sync::Arc, time::Duration};

pub use builder::SharedBuilder;
pub use config::SharedConfig;
pub use get::GetShare;
use handle::Handle;
use inner::Inner;
pub use manager::SharedManager;
pub use share::{ConnectionDied, Share};
pub use status::SharedStatus;

use crate::{
    config::ConfigError,
    engine::{Kept, Watch},
    host::{self, Drained, Error, Hosted, Kind, keeper},
    observe::{Phase, Timings},
    rt,
};

/// A bounded pool of connections that each carry many calls at once: HTTP/2, multiplexed Redis, pipelined Postgres.
///
/// A `SharedPool` is a cheap handle of one small allocation: clones share one pool. The drop of the last handle closes the pool.
/// Shares that are still out remain usable.
///
/// ```
/// use pool_core::{Gauge, SharedManager, SharedPool};
///
/// struct Redis;
///
/// /// A multiplexed connection: commands of many callers use one socket, and the answers come back in order.
/// struct Multiplexed;
///
/// impl Multiplexed {
///     async fn get(&self, key: &str) -> String { format!("value of {key}") }
/// }
///
/// impl SharedManager for Redis {
///     type Resource = Multiplexed;
///     type Error = std::io::Error;
///
///     async fn create(&self, gauge: Gauge) -> Result<Multiplexed, Self::Error> {
///         gauge.set_capacity(256); // and `gauge.dead()` from the task that reads the socket
///         Ok(Multiplexed)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = SharedPool::builder(Redis).max_size(2).build()?;
/// let (one, other) = (pool.get().await?, pool.get().await?);
/// assert_eq!(one.get("a").await, "value of a");
/// assert_eq!((pool.status().open, pool.status().shares), (1, 2));
/// # drop(other);
/// # Ok(())
/// # }
/// ```
///
/// # Choice of a connection
/// A get takes a share of the least loaded connection, measured by the fraction of its capacity that is in use. Of equally loaded
/// connections it takes the youngest, so that older connections become unused and reach their idle timeout. The pool opens another
/// connection only when all are full, or when fewer than [`spare_shares`](SharedBuilder::spare_shares) shares are left. It computes
/// how many connections the waiters need from the capacity of the last connection. An open that takes longer than a second no
/// longer counts as supply. A newcomer does not overtake the queue.
///
/// # Lifetime
/// A connection that reaches its [`max_lifetime`](SharedConfig::max_lifetime) while it is in use takes no more shares as soon as
/// its replacement is open. It then closes when its last share ends, like a connection that [drains](crate::Gauge::drain). If there is no
/// place for a replacement, it goes on until it has no shares, so that no get waits because of its age. It keeps its place until it
/// is closed. To enforce a lifetime under load, set `max_size` to one more connection than is needed.
///
/// # Limits
/// With a `max_size` of 1, a connection that drains has the only place until its last share ends: a caller that holds a share of it
/// and waits for another waits in vain. A get looks at every connection, so the pool is made for tens of connections, not for thousands.
pub struct SharedPool<M: SharedManager> {
    handle: Arc<Handle<M>>,
    owner: Arc<Owner<M>>,
}

/// Shared by all handles of one pool, and only by them. Dropping it closes the pool.
struct Owner<M: SharedManager> {
    inner: Arc<Inner<M>>,
}

impl<M: SharedManager> SharedPool<M> {
    /// Creates a builder for a pool of the connections that `manager` opens.
    pub fn builder(manager: M) -> SharedBuilder<M> {
        SharedBuilder::new(manager)
    }

    fn from_inner(inner: Arc<Inner<M>>) -> Self {
        Self {
            handle: Handle::new(&inner),
            owner: Arc::new(Owner { inner }),
        }
    }

    fn inner(&self) -> &Arc<Inner<M>> {
        &self.owner.inner
    }

    /// Gets a share of a connection, in order of arrival.
    ///
    /// # Errors
    /// - [`Error::is_timeout`] after `acquire_timeout`.
    /// - [`Error::is_overloaded`] when the queue is full.
    /// - [`Error::is_connect`] while no connection is open and the last attempts to open a connection failed.
    /// - [`Error::is_closed`] when the pool is closed.
    /// - [`Error::is_no_runtime`] when the get has to wait and does not run on tokio.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue. A share that was handed to the get goes to the next waiter. An open
    /// that was started for the get goes on.
    ///
    /// # Panics
    /// Panics if the get waits on a tokio runtime that was built without a timer.
    #[inline]
    #[cfg_attr(feature = "tracing", track_caller)]
    pub fn get(&self) -> GetShare<M> {
        GetShare::new(Arc::clone(&self.handle))
    }

    /// Gets a share that is free now, if no get waits for it. Never waits.
    ///
    /// # Errors
    /// - [`Error::is_busy`] when there is no such share.
    /// - [`Error::is_closed`] when the pool is closed.
    pub fn try_get(&self) -> Result<Share<M>, Error<M::Error>> {
        let inner = self.inner();
        let share = inner.links.take().or_else(|| {
            let (share, work) = inner.links.try_take(inner.now());
            inner.perform(work);
            share
        });
        match share {
            Some(share) => Ok(Share::new(share, Arc::clone(&self.handle))),
            None => {
                let closed = inner.links.is_closed();
                let kind = if closed { Kind::Closed } else { Kind::Busy };
                Err(inner.error_of(kind, Duration::ZERO, None))
            }
        }
    }

    /// Returns all counts of this moment.
    pub fn status(&self) -> SharedStatus {
        self.inner().shared_status()
    }

    /// Returns how long waits for shares and opens of connections took. How long a share lasts is not timed.
    pub fn timings(&self) -> Timings {
        self.inner().links.timings()
    }

    /// Returns the name of the pool, as used in messages and metrics.
    pub fn name(&self) -> &str {
        &self.inner().host.name
    }

    /// Returns the manager.
    pub fn manager(&self) -> &M {
        &self.inner().manager
    }

    /// Opens [`min_idle`](SharedConfig::min_idle) connections, or one if `min_idle` is 0, and waits until they are open. So the
    /// first callers do not wait for opens, and the service learns at its start whether the pool can connect.
    ///
    /// ```
    /// # use pool_core::{Gauge, SharedConfig, SharedManager, SharedPool};
    /// # struct Redis;
    /// # impl SharedManager for Redis {
    /// #     type Resource = ();
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self, gauge: Gauge) -> Result<(), Self::Error> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = SharedConfig::new().max_size(4).min_idle(2);
    /// let pool = SharedPool::builder(Redis).config(config).build()?;
    /// pool.warm_up().await?;
    /// assert_eq!(pool.status().open, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Dropping the future stops the wait only; opens that have begun go on.
    pub async fn warm_up(&self) -> Result<(), Error<M::Error>> {
        let inner = self.inner();
        if inner.config.min_idle == 0 {
            return self.get().await.map(drop);
        }
        self.start()?;
        let started = inner.now();
        let watch = Watch::new(&inner.links);
        let warm = std::future::poll_fn(|context| {
            let waker = context.waker().clone();
            let (poll, work) = inner.links.poll_warm(&watch, waker, inner.now());
            inner.perform(work);
            poll
        });
        let outcome = rt::timeout(inner.config.acquire_timeout, warm).await;
        let waited = inner.now() - started;
        match outcome {
            Ok(outcome) => outcome.map_err(|refusal| inner.refused(refusal, waited)),
            Err(_) => {
                inner.links.count_timeout(Phase::Create);
                Err(inner.error_of(Kind::Timeout(Phase::Create), waited, None))
            }
        }
    }

    /// Changes the size of the pool while it is in use. Surplus connections take no more shares, the least loaded first, and close
    /// with their last share.
    ///
    /// ```
    /// # use pool_core::{Gauge, SharedManager, SharedPool};
    /// # struct Redis;
    /// # impl SharedManager for Redis {
    /// #     type Resource = ();
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self, gauge: Gauge) -> Result<(), Self::Error> { Ok(()) }
    /// # }
    /// let pool = SharedPool::builder(Redis).max_size(2).build()?;
    /// pool.resize(8)?;
    /// assert_eq!(pool.status().max_size, 8);
    /// let error = pool.resize(0).unwrap_err();
    /// assert_eq!(error.to_string(), "max_size is 0, but must be at least 1");
    /// # Ok::<(), pool_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// `max_size` is 0, or less than `min_idle`.
    pub fn resize(&self, max_size: u32) -> Result<(), ConfigError> {
        let inner = self.inner();
        let config = inner.config.clone().max_size(max_size);
        config.validate()?;
        inner.links.bound_line(config.waiters());
        inner.perform(inner.links.resize(max_size, inner.now()));
        Ok(())
    }

    /// Retires all connections that are open or being opened: they take no more shares and close with their last share. Use it when
    /// the backend moved, or when the credentials changed.
    pub fn retire_all(&self) {
        let inner = self.inner();
        inner.perform(inner.links.retire_all(inner.now()));
    }

    /// Closes the pool, without waiting. Waiting gets fail with [`Error::is_closed`], and each connection closes with its last
    /// share.
    pub fn close(&self) {
        self.inner().close();
    }

    /// Whether the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.inner().links.is_closed()
    }

    /// Closes the pool and waits until all its connections are closed, but no longer than `deadline`. The report says how many are
    /// left; the pool does not know who holds a share.
    ///
    /// On a thread without a runtime, the runtime on which gets have waited keeps the deadline. If there is no such runtime,
    /// nothing can keep the deadline, and `drain` returns its report at once.
    ///
    /// # Cancel safety
    /// The pool stays closed. Dropping the future only stops the wait.
    ///
    /// # Panics
    /// Panics if `drain` waits on a tokio runtime that was built without a timer.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.inner().close();
        host::drain(self.inner(), deadline).await
    }

    /// Starts the keeper on the current runtime. The keeper opens the minimum of connections and replaces connections that reach
    /// their lifetime. Without this call, the first get that has to wait starts it.
    ///
    /// # Errors
    /// [`Error::is_no_runtime`] outside of tokio.
    pub fn start(&self) -> Result<(), Error<M::Error>> {
        let inner = self.inner();
        match rt::Handle::try_current() {
            Ok(runtime) => {
                keeper::ensure(inner, &runtime);
                Ok(())
            }
            Err(_) => Err(inner.error_of(Kind::NoRuntime, Duration::ZERO, None)),
        }
    }
}

impl<M: SharedManager> Drop for Owner<M> {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl<M: SharedManager> Clone for SharedPool<M> {
    fn clone(&self) -> Self {
        Self {
            handle: Handle::new(self.inner()),
            owner: Arc::clone(&self.owner),
        }
    }
}

impl<M: SharedManager> fmt::Debug for SharedPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPool")
            .field("name", &self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
