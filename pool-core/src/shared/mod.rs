//! Connections that many use at the same time.

mod builder;
mod config;
mod counts;
mod gauge;
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
pub use gauge::Gauge;
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

/// A bounded pool of connections that many use at the same time: HTTP/2, multiplexed Redis, pipelined Postgres.
///
/// A cheap handle, one small allocation: clones share one pool. When the last handle is dropped the pool is closed; shares that are out stay good.
///
/// ```
/// use pool_core::{Gauge, SharedManager, SharedPool};
///
/// struct Redis;
///
/// /// A multiplexed connection: commands of many go down one socket, and answers come back in order.
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
/// # Which one
/// The least loaded, by the part of its capacity that is in use; of those that are loaded alike the youngest, so that older ones run
/// out of work and age out. Another one is opened only when all are full, or fewer than
/// [`spare_shares`](SharedBuilder::spare_shares) are left; how many those in line need is judged by what the last one could take. One
/// that takes longer than a second to open is not counted on any more. Nobody overtakes those in line.
///
/// # When one goes
/// One that is too old ([`max_lifetime`](SharedConfig::max_lifetime)) and is in use takes no more as soon as its replacement is
/// open; then it closes when its last share ends, as one that [drains](Gauge::drain). Where there is no place for a replacement it
/// goes on until nobody has a share of it: nobody is made to wait for the sake of its age. Until it is closed it holds its place:
/// for a lifetime that holds under load, leave room for one more connection than is needed.
///
/// # Limits
/// The choice looks at every connection: made for tens of them, not for thousands.
pub struct SharedPool<M: SharedManager> {
    handle: Arc<Handle<M>>,
    owner: Arc<Owner<M>>,
}

/// What all handles of one pool have in common, and nobody else: it closes the pool when it is dropped.
struct Owner<M: SharedManager> {
    inner: Arc<Inner<M>>,
}

impl<M: SharedManager> SharedPool<M> {
    /// Begins a pool of what `manager` opens.
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
    /// [`Error::is_timeout`] after `acquire_timeout`; [`Error::is_overloaded`] when the line is full; [`Error::is_connect`] while
    /// nothing is open and the last attempts to open one failed; [`Error::is_closed`]; [`Error::is_no_runtime`] when it has to wait
    /// and does not run on tokio.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in line. A share that was handed to it goes to the next; what is being opened on its
    /// account goes on.
    ///
    /// # Panics
    /// When it waits on a tokio runtime that was built without a timer.
    #[inline]
    #[cfg_attr(feature = "tracing", track_caller)]
    pub fn get(&self) -> GetShare<M> {
        GetShare::new(Arc::clone(&self.handle))
    }

    /// Gets a share that can be had at once, if nobody waits for it.
    ///
    /// # Errors
    /// [`Error::is_busy`] when there is none; [`Error::is_closed`].
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

    /// All counts, as they are at this moment.
    pub fn status(&self) -> SharedStatus {
        self.inner().shared_status()
    }

    /// How long it took to wait for a share, and to open a connection. How long a share lasts is not timed.
    pub fn timings(&self) -> Timings {
        self.inner().links.timings()
    }

    /// The name that the pool was given, for messages.
    pub fn name(&self) -> &str {
        &self.inner().host.name
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.inner().manager
    }

    /// Opens [`min_idle`](SharedConfig::min_idle) connections, or one if that is 0, and waits until they are open: pays for the
    /// connects before the first user comes, and finds out whether it can connect at all.
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
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// What is being opened goes on.
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

    /// Makes the pool larger or smaller, while it is in use. Connections that are too many take no more shares, the least loaded
    /// first, and close with their last one.
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

    /// Sees to it that everything that is open now, or being opened, takes no more shares and closes with its last one. For when
    /// the backend moved, or the credentials changed.
    pub fn retire_all(&self) {
        let inner = self.inner();
        inner.perform(inner.links.retire_all(inner.now()));
    }

    /// Closes the pool: all who wait are told so, and each connection closes with its last share. Does not wait.
    pub fn close(&self) {
        self.inner().close();
    }

    /// Was the pool closed?
    pub fn is_closed(&self) -> bool {
        self.inner().links.is_closed()
    }

    /// Closes the pool and waits, for `deadline` at most, until everything it opened is closed. Says what was still out; who has a
    /// share is not known.
    ///
    /// On a thread without a runtime the deadline is kept by the runtime on which gets have waited; if there is none, nobody could
    /// tell when it has come, and the report is made at once.
    ///
    /// # Cancel safety
    /// The pool stays closed; dropping the future only stops the waiting.
    ///
    /// # Panics
    /// When it waits on a tokio runtime that was built without a timer.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.inner().close();
        host::drain(self.inner(), deadline).await
    }

    /// Starts what keeps the minimum and the ages, on the runtime that this runs on; else the first get that has to wait does.
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
