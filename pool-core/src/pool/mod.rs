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
/// A `Pool` is a cheap handle: clones share one pool. The drop of the last handle closes the pool. Leases that are still out remain
/// usable, and their resources are closed when they are returned.
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
/// drop(connection); // returned to the pool
/// assert_eq!(pool.status().idle, 1);
/// # Ok(())
/// # }
/// ```
pub struct Pool<M: Manager> {
    owner: Arc<Owner<M>>,
}

/// Shared by all handles of one pool, and by nothing else. Its drop closes the pool.
struct Owner<M: Manager> {
    inner: Arc<Inner<M>>,
}

impl<M: Manager> Pool<M> {
    /// Creates a builder for a pool of the resources that `manager` opens.
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

    /// Gets a resource. The get takes an idle resource, or waits for a resource that is returned or opened. Gets are served in
    /// order of arrival.
    ///
    /// The future has setters, which can be called before it is first polled: `pool.get().timeout(limit).label("login").await`.
    ///
    /// Gets may wait on several runtimes at once. A waiting get does not depend on other runtimes being driven. A get can also wait
    /// on a thread without a runtime, if other gets have waited on a runtime that is still there. Such a get depends on that
    /// runtime.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// // In a request handler: waits no longer than the time that is left for the request.
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
    /// - [`Error::is_timeout`] after `acquire_timeout`.
    /// - [`Error::is_overloaded`] when the queue is full or the pool sheds load.
    /// - [`Error::is_connect`] at once, while no resource is open and the last attempts to open a resource failed.
    /// - [`Error::is_closed`] when the pool is closed.
    /// - [`Error::is_no_runtime`] when the get has to wait and does not run on tokio.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue. A resource that was handed to the get goes to the next waiter. An open
    /// that was started for the get goes on, and its resource serves another get.
    ///
    /// # Panics
    /// Panics if the get waits on a tokio runtime that was built without a timer.
    #[inline]
    #[track_caller]
    pub fn get(&self) -> Get<'_, M> {
        Get::new(self, Location::caller())
    }

    /// Gets a resource that is idle and known to be good, if no get waits for it. Never waits.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// // This refresh is worth an idle connection, but not worth a wait.
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
    /// - [`Error::is_busy`] when there is no such resource.
    /// - [`Error::is_closed`] when the pool is closed.
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

    /// Opens `min_idle` resources, or one if `min_idle` is 0, and waits until they are open. So the first callers do not wait for
    /// opens, and the service learns at its start whether the pool can connect.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Db).name("orders").min_idle(2).build()?;
    /// // Runs before the service reports that it is ready.
    /// if let Err(error) = pool.warm_up().await {
    ///     eprintln!("not ready: {error}"); // `error.connect_error()` is the manager's own error
    ///     std::process::exit(1);
    /// }
    /// assert!(pool.status().open >= 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Dropping the future stops the wait only; opens that have begun go on.
    ///
    /// # Panics
    /// Panics on a tokio runtime that was built without a timer.
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

    /// Returns all counts of this moment. See [`Status`] for an example.
    pub fn status(&self) -> Status {
        Hosted::status(&**self.inner())
    }

    /// Returns how long waits, leases, opens, checks and resets took. See [`Timings`] for an example.
    pub fn timings(&self) -> Timings {
        Hosted::timings(&**self.inner())
    }

    /// Lists the current leases: the label of each, its age, and the source line of its get.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// let invoice = pool.get().label("invoice").await?;
    /// // On an admin page: shows who holds a connection, since when, and which source line got it.
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

    /// Returns the name of the pool, as used in messages and metrics.
    pub fn name(&self) -> &str {
        &self.inner().host.name
    }

    /// Returns the manager.
    pub fn manager(&self) -> &M {
        &self.inner().manager
    }

    /// Changes the size of the pool while it is in use. If the pool becomes smaller, surplus idle resources are closed now, and
    /// surplus leased resources when they are returned. If `max_waiters` is `auto`, the bound of the queue changes as well; gets
    /// that already wait keep their places.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Db).max_size(16).min_idle(2).build()?;
    /// // The database has two more clients now, so each client may use a third of its capacity.
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

    /// Closes all resources that are open now: idle resources at once, leased resources when they are returned. Use it when the
    /// backend moved, or when the credentials changed.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # use pool_core::observe::CloseReason;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// pool.warm_up().await?;
    /// // The password was rotated. Calls that run now finish with the old one.
    /// let working = pool.get().await?;
    /// pool.retire_all();
    /// drop(working); // closed, not handed to the next get
    /// let closed = pool.status().closed.by(CloseReason::Retired);
    /// assert_eq!((closed, pool.status().idle), (1, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn retire_all(&self) {
        let inner = self.inner();
        inner.perform_work(Kernel::retire_all(&inner.kernel, inner.now()));
    }

    /// Closes the idle resources for which `keep` returns false. Returns how many were closed.
    ///
    /// `keep` runs with no lock held. The resources that it looks at are not handed out meanwhile. If `keep` panics, these
    /// resources are dropped.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// pool.warm_up().await?;
    /// // Closes connections that have not been used for a while, or are old.
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

    /// Checks the idle resources for which `doubt` returns true, before any of them is handed out again. Without a runtime, nothing
    /// is checked. For the pools of other crates of this workspace.
    #[doc(hidden)]
    pub fn __recheck(&self, mut doubt: impl FnMut(&mut M::Resource) -> bool) {
        let inner = self.inner();
        for mut slot in inner.kernel.take_idle() {
            let runtime = inner.host.runtime();
            match runtime.filter(|_| doubt(&mut slot.item.resource)) {
                Some(runtime) => drop(runtime.spawn(host::check(Arc::clone(inner), slot))),
                None => inner.lay_back(slot),
            }
        }
    }

    /// Warns of something that the pool does not do as its settings say (feature `tracing`). For the pools of other crates of this
    /// workspace.
    #[doc(hidden)]
    pub fn __warn(&self, message: &str) {
        #[cfg(feature = "tracing")]
        host::trace::warned(self.name(), message);
        #[cfg(not(feature = "tracing"))]
        let _ = message;
    }

    /// Returns what finds a handle of the pool as long as there is one. It keeps nothing alive. For the pools of other crates of
    /// this workspace.
    #[doc(hidden)]
    pub fn __weak(&self) -> impl Fn() -> Option<Self> + Send + Sync + 'static {
        let owner = Arc::downgrade(&self.owner);
        move || {
            Some(Self {
                owner: owner.upgrade()?,
            })
        }
    }

    /// Closes the pool, without waiting. Waiting gets fail with [`Error::is_closed`], idle resources are closed now, and leased
    /// resources when they are returned.
    pub fn close(&self) {
        self.inner().close();
    }

    /// Whether the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.inner().kernel.is_closed()
    }

    /// Closes the pool and waits until all its resources are closed, but no longer than `deadline`. The report lists what was still
    /// leased.
    ///
    /// On a thread without a runtime, the runtime on which gets have waited keeps the deadline. If there is no such runtime,
    /// nothing can keep the deadline, and `drain` returns its report at once.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// pool.warm_up().await?;
    /// // The service stops and takes no new requests: running requests have ten seconds to finish.
    /// let drained = pool.drain(Duration::from_secs(10)).await;
    /// assert!(drained.is_complete(), "{} are left", drained.left);
    /// assert!(pool.get().await.unwrap_err().is_closed());
    /// # Ok(())
    /// # }
    /// ```
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
