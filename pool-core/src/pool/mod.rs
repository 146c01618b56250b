//! A pool of resources that each serve one caller at a time.

mod builder;
mod get;
mod inner;
mod lease;
mod manager;
mod manager_fn;

use std::{fmt, panic::Location, sync::Arc, time::Duration};

pub use builder::Builder;
pub use get::Get;
use inner::Inner;
pub use lease::Lease;
pub use manager::Manager;
pub use manager_fn::{ManagerFn, keyed_manager_fn, manager_fn};

use crate::{
    config::ConfigError,
    engine::{Holder, Kept, Kernel, Watch},
    host::{self, Drained, Error, Hosted, Kind, Tends, Usage, keeper},
    observe::{CloseReason, LeaseInfo, Phase, Status, Timings},
    rt,
};

/// A bounded pool of resources, handed out in order of arrival.
///
/// A cheap handle: clones share one pool. When the last handle is dropped the pool is closed; leases that are still out stay
/// good, and what they hold is closed on return.
///
/// ```
/// # use pool_core::{Manager, Pool, Usage};
/// # struct Connections;
/// # impl Manager for Connections {
/// #     type Resource = Vec<u8>;
/// #     type Error = std::io::Error;
/// #     async fn create(&self) -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) }
/// #     async fn check(&self, _: &mut Vec<u8>, _: &Usage) -> Result<(), std::io::Error> { Ok(()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Connections).name("cache").max_size(16).build()?; // lazy: opens nothing
/// let mut connection = pool.get().await?;
/// connection.extend_from_slice(b"hello");
/// drop(connection); // given back
/// assert_eq!(pool.status().idle, 1);
/// # Ok(())
/// # }
/// ```
pub struct Pool<M: Manager> {
    owner: Arc<Owner<M>>,
}

/// What all handles of one pool share, and nobody else: it closes the pool when it is dropped.
struct Owner<M: Manager> {
    inner: Arc<Inner<M>>,
}

impl<M: Manager> Pool<M> {
    /// Begins a pool of what `manager` opens.
    pub fn builder(manager: M) -> Builder<M> {
        Builder::new(manager)
    }

    fn from_inner(inner: Inner<M>) -> Self {
        Self {
            owner: Arc::new(Owner {
                inner: Arc::new(inner),
            }),
        }
    }

    #[inline]
    pub(crate) fn inner(&self) -> &Arc<Inner<M>> {
        &self.owner.inner
    }

    /// Gets a resource: an idle one, or the first that is given back or opened, in order of arrival.
    ///
    /// The future can be told more before it is awaited: `pool.get().timeout(limit).label("login").await`.
    ///
    /// Gets may wait on several runtimes: none relies on another one being driven. On a thread without a runtime a get can wait while
    /// there is one on which others have waited, and relies on that.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// // In a handler: what may be waited for is what is left of the request's time.
    /// let mut connection = match pool.get().timeout(Duration::from_millis(200)).label("login").await {
    ///     Ok(connection) => connection,
    ///     Err(error) if error.is_overloaded() || error.is_timeout() => return Ok(()), // 503, with Retry-After
    ///     Err(error) => return Err(error.into()),
    /// };
    /// assert_eq!(connection.query("select 1").await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::is_timeout`] after `acquire_timeout`; [`Error::is_overloaded`] when the line is full or load is shed;
    /// [`Error::is_connect`] at once while nothing is open and the last attempts to open one failed; [`Error::is_closed`];
    /// [`Error::is_no_runtime`] when it has to wait and does not run on tokio.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in line. What was handed to it goes to the next; what is being opened on its
    /// account goes on, for whoever comes.
    ///
    /// # Panics
    /// When it waits on a tokio runtime that was built without a timer.
    #[inline]
    #[track_caller]
    pub fn get(&self) -> Get<'_, M> {
        Get::new(self, Location::caller())
    }

    /// Gets a resource that is idle now and known to be good, if nobody waits for it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// // Worth a connection that nobody else wants, and not worth waiting for one.
    /// let refresh = async || match pool.try_get() {
    ///     Ok(mut idle) => idle.query("refresh materialized view sales").await.map(|_| true),
    ///     Err(error) if error.is_busy() => Ok(false),
    ///     Err(error) => Err(std::io::Error::other(error)),
    /// };
    /// assert!(!refresh().await?, "nothing is open yet");
    /// pool.warm_up().await?;
    /// assert!(refresh().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::is_busy`] when there is none; [`Error::is_closed`].
    #[track_caller]
    pub fn try_get(&self) -> Result<Lease<M>, Error<M::Error>> {
        let inner = self.inner();
        let now = inner.rough_now();
        let holder = Holder {
            since: now,
            place: Location::caller(),
            label: "",
        };
        match inner.take_fit(now) {
            Some(slot) => Ok(Lease::new(slot, holder)),
            None => {
                let closed = inner.kernel.is_closed();
                let kind = if closed { Kind::Closed } else { Kind::Busy };
                Err(inner.error_of(kind, Duration::ZERO, None))
            }
        }
    }

    /// Opens `min_idle`, or one if that is 0, and waits until they are open: pays for the connects before the first user comes,
    /// and finds out whether it can connect at all.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Db).name("orders").min_idle(2).build()?;
    /// // Before the service says that it is ready.
    /// if let Err(error) = pool.warm_up().await {
    ///     eprintln!("not ready: {error}"); // and `error.connect_error()` is the manager's own
    ///     std::process::exit(1);
    /// }
    /// assert!(pool.status().open >= 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// What is being opened goes on.
    ///
    /// # Panics
    /// On a tokio runtime that was built without a timer.
    pub async fn warm_up(&self) -> Result<(), Error<M::Error>> {
        let inner = self.inner();
        if inner.config.min_idle == 0 {
            return self.get().label("warm-up").await.map(drop);
        }
        let started = inner.now();
        let runtime = rt::Handle::try_current();
        let runtime = runtime.map_err(|_| inner.error_of(Kind::NoRuntime, Duration::ZERO, None))?;
        keeper::ensure(inner, &runtime);
        let watch = Watch::new(&*inner.kernel);
        let warm = std::future::poll_fn(|context| {
            let (poll, work) = Kernel::poll_warm(&inner.kernel, &watch, inner.now(), context);
            inner.perform_work(work);
            poll
        });
        let outcome = rt::timeout(inner.config.acquire_timeout, warm).await;
        let waited = inner.now() - started;
        match outcome {
            Ok(outcome) => outcome.map_err(|refusal| inner.refused(refusal, waited)),
            Err(_) => {
                inner.kernel.count_timeout(Phase::Create);
                Err(inner.error_of(Kind::Timeout(Phase::Create), waited, None))
            }
        }
    }

    /// All counts, as they are at this moment; [`Status`] has an example.
    pub fn status(&self) -> Status {
        Hosted::status(&**self.inner())
    }

    /// How long things took; [`Timings`] has an example.
    pub fn timings(&self) -> Timings {
        Hosted::timings(&**self.inner())
    }

    /// Who holds one now.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// let invoice = pool.get().label("invoice").await?;
    /// // On an admin page: who has it, since when, and from which line of the program.
    /// for lease in pool.leases() {
    ///     println!("{} since {:?}, got at {}", lease.label, lease.held_for, lease.place);
    /// }
    /// assert_eq!(pool.leases()[0].label, "invoice");
    /// # drop(invoice);
    /// # Ok(())
    /// # }
    /// ```
    pub fn leases(&self) -> Vec<LeaseInfo> {
        Hosted::leases(&**self.inner())
    }

    /// The name that the pool was given, for messages and metrics.
    pub fn name(&self) -> &str {
        &self.inner().host.name
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.inner().manager
    }

    /// Makes the pool larger or smaller, while it is in use. What is too much goes: idle ones now, leased ones when they come
    /// back. Where `max_waiters` is `auto` the line becomes longer or shorter with it; who is in line stays there.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Db).max_size(16).min_idle(2).build()?;
    /// // The database has two more clients now: each has a third of what it can bear.
    /// pool.resize(5)?;
    /// assert_eq!(pool.status().max_size, 5);
    /// let error = pool.resize(1).unwrap_err();
    /// assert_eq!(error.to_string(), "min_idle is 2, but must be at most max_size, which is 1");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `max_size` is 0, or less than `min_idle`.
    pub fn resize(&self, max_size: u32) -> Result<(), ConfigError> {
        self.inner().resize(max_size)
    }

    /// Sees to it that everything that is open now is closed: idle ones now, leased ones when they come back. For when the
    /// backend moved, or the credentials changed.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # use pool_core::observe::CloseReason;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// pool.warm_up().await?;
    /// // The password was rotated. Those who are at work finish with the old one.
    /// let working = pool.get().await?;
    /// pool.retire_all();
    /// drop(working); // closed, and not handed to the next
    /// let closed = pool.status().closed.by(CloseReason::Retired);
    /// assert_eq!((closed, pool.status().idle), (1, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn retire_all(&self) {
        let inner = self.inner();
        inner.perform_work(Kernel::retire_all(&inner.kernel, inner.now()));
    }

    /// Closes those idle ones for which `keep` says no. Returns how many.
    ///
    /// `keep` runs with no lock held, and those it looks at are not handed out meanwhile; if it panics they are dropped.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// pool.warm_up().await?;
    /// // Before a quiet night: those that have not been used for a while, or are old.
    /// let minute = Duration::from_secs(60);
    /// let closed = pool.retain(|_, usage| usage.idle() < minute && usage.age() < 60 * minute);
    /// assert_eq!((closed, pool.status().idle), (0, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&mut M::Resource, &Usage) -> bool) -> usize {
        let inner = self.inner();
        let mut closed = 0;
        for mut slot in inner.kernel.take_idle() {
            let usage = inner::usage_of(&slot, inner.now());
            if keep(&mut slot.item.resource, &usage) {
                inner.lay_back(slot);
            } else {
                closed += 1;
                inner.discard(slot, CloseReason::NotRetained);
            }
        }
        closed
    }

    /// Closes the pool: all who wait are told so, idle ones are closed, leased ones when they come back. Does not wait.
    pub fn close(&self) {
        self.inner().close();
    }

    /// Was the pool closed?
    pub fn is_closed(&self) -> bool {
        self.inner().kernel.is_closed()
    }

    /// Closes the pool and waits, for `deadline` at most, until everything it opened is closed. Says what was still out.
    ///
    /// On a thread without a runtime the deadline is kept by the runtime on which gets have waited; if there is none, nobody could
    /// tell when it has come, and the report is made at once.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// pool.warm_up().await?;
    /// // When the service is told to stop, and takes no new requests: those that are under way have ten seconds.
    /// let drained = pool.drain(Duration::from_secs(10)).await;
    /// assert!(drained.is_complete(), "{} are left", drained.left);
    /// assert!(pool.get().await.unwrap_err().is_closed());
    /// # Ok(())
    /// # }
    /// ```
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
}

impl<M: Manager> Drop for Owner<M> {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self {
            owner: Arc::clone(&self.owner),
        }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
