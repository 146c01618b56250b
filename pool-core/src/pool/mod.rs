//! The async face of the kernel: `Pool` and what belongs to it.

mod builder;
mod caught;
mod clock;
mod error;
mod failure;
mod get;
mod home;
mod keeper;
mod lease;
mod manager;
#[cfg(feature = "metrics")]
mod publish;
mod shared;
mod task;
#[cfg(all(test, pool_shuttle))]
mod tests;
mod thread;
mod timer;
#[cfg(feature = "tracing")]
pub(crate) mod trace;

use std::{fmt, panic::Location, sync::Arc, task::Poll, time::Duration};

pub use builder::Builder;
pub(crate) use caught::{Caught, caught};
pub(crate) use clock::Clock;
pub use error::Error;
pub(crate) use error::Kind;
pub(crate) use failure::Failure;
pub use failure::OpenError;
pub use get::Get;
pub(crate) use home::Home;
pub use lease::Lease;
pub use manager::{Manager, Usage};
use shared::Shared;
pub(crate) use shared::{ARM_AFTER, TICK, TICK_NANOS, counted, lease_info, rounds};
pub(crate) use task::{bounded, lifetime_end, unless};
use timer::Timer;

use crate::{
    config::ConfigError,
    engine::{Holder, Kernel, Watch},
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
    shared: Arc<Shared<M>>,
}

/// What [`Pool::drain`] left behind.
///
/// ```
/// # use pool_core::{Manager, Pool, Usage};
/// # #[derive(Debug)] struct Connection;
/// # impl Connection {
/// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
/// # }
/// # struct Db;
/// # impl Manager for Db {
/// #     type Resource = Connection;
/// #     type Error = std::io::Error;
/// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
/// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
/// let export = pool.get().label("nightly export").await?;
/// let drained = pool.drain(Duration::from_millis(10)).await;
/// assert!(!drained.is_complete());
/// for lease in &drained.leased {
///     eprintln!("still out: {lease}"); // nightly export, got at src/export.rs:7:23, held for 10ms
/// }
/// assert_eq!((drained.left, drained.leased[0].label), (1, "nightly export"));
/// # drop(export);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Drained {
    /// Who still holds one.
    pub leased: Vec<LeaseInfo>,
    /// How many places are still taken, whether leased or on their way out. Zero when all is closed.
    pub left: u32,
}

impl Drained {
    /// Was everything closed in time?
    pub const fn is_complete(&self) -> bool {
        self.left == 0
    }
}

impl<M: Manager> Pool<M> {
    /// Begins a pool of what `manager` opens.
    pub fn builder(manager: M) -> Builder<M> {
        Builder::new(manager)
    }

    pub(crate) fn from_shared(shared: Shared<M>) -> Self {
        Self {
            owner: Arc::new(Owner {
                shared: Arc::new(shared),
            }),
        }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared<M>> {
        &self.owner.shared
    }

    /// Gets a resource: an idle one, or the first that is given back or opened, in order of arrival.
    ///
    /// The future can be told more before it is awaited: `pool.get().timeout(limit).label("login").await`.
    ///
    /// Gets may wait on several runtimes: none relies on another one being driven. On a thread without a runtime a get can wait while
    /// there is one on which others have waited, and relies on that.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
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
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
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
        let shared = self.shared();
        let now = shared.rough_now();
        let holder = Holder {
            since: now,
            place: Location::caller(),
            label: "",
        };
        match shared.take_fit(now) {
            Some(slot) => Ok(Lease::new(slot, holder)),
            None => {
                let kind = if shared.kernel.is_closed() {
                    Kind::Closed
                } else {
                    Kind::Busy
                };
                Err(shared.error(kind, Duration::ZERO, None))
            }
        }
    }

    /// Opens `min_idle`, or one if that is 0, and waits until they are open: pays for the connects before the first user comes,
    /// and finds out whether it can connect at all.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
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
        let shared = self.shared();
        if shared.config.min_idle == 0 {
            return self.get().label("warm-up").await.map(drop);
        }
        let started = shared.clock.now();
        let runtime = rt::Handle::try_current();
        let runtime = runtime.map_err(|_| shared.error(Kind::NoRuntime, Duration::ZERO, None))?;
        shared.ensure_keeper(&runtime);
        let watch = Watch::new(&*shared.kernel);
        let warm = std::future::poll_fn(|context| {
            let now = shared.clock.now();
            let (poll, work) = Kernel::poll_warm(&shared.kernel, &watch, now, context);
            shared.perform(work);
            poll
        });
        let outcome = rt::timeout(shared.config.acquire_timeout, warm).await;
        let waited = shared.clock.now() - started;
        match outcome {
            Ok(outcome) => outcome.map_err(|refusal| shared.refused(refusal, waited)),
            Err(_) => {
                shared.kernel.count_timeout(Phase::Create);
                Err(shared.error(Kind::Timeout(Phase::Create), waited, None))
            }
        }
    }

    /// All counts, as they are at this moment; [`Status`] has an example.
    pub fn status(&self) -> Status {
        self.shared().status()
    }

    /// How long things took; [`Timings`] has an example.
    pub fn timings(&self) -> Timings {
        self.shared().timings()
    }

    /// Who holds one now.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
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
        self.shared().leases()
    }

    /// The name that the pool was given, for messages and metrics.
    pub fn name(&self) -> &str {
        &self.shared().name
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.shared().manager
    }

    /// Makes the pool larger or smaller, while it is in use. What is too much goes: idle ones now, leased ones when they come
    /// back. Where `max_waiters` is `auto` the line becomes longer or shorter with it; who is in line stays there.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
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
        let shared = self.shared();
        let config = shared.config.clone().max_size(max_size);
        config.validate()?;
        shared.kernel.bound_line(config.waiters());
        let work = Kernel::resize(&shared.kernel, max_size, shared.clock.now());
        shared.perform(work);
        Ok(())
    }

    /// Sees to it that everything that is open now is closed: idle ones now, leased ones when they come back. For when the
    /// backend moved, or the credentials changed.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
    /// # use pool_core::observe::CloseReason;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// pool.warm_up().await?;
    /// // The password was rotated. Those who are at work finish with the old one.
    /// let working = pool.get().await?;
    /// pool.reset_all();
    /// drop(working); // closed, and not handed to the next
    /// let closed = pool.status().closed.by(CloseReason::Reset);
    /// assert_eq!((closed, pool.status().idle), (1, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn reset_all(&self) {
        let shared = self.shared();
        let work = Kernel::reset_all(&shared.kernel, shared.clock.now());
        shared.perform(work);
    }

    /// Closes those idle ones for which `keep` says no. Returns how many.
    ///
    /// `keep` runs with no lock held, and those it looks at are not handed out meanwhile; if it panics they are dropped.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
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
        let shared = self.shared();
        let mut closed = 0;
        for mut slot in shared.kernel.take_idle() {
            let now = shared.clock.now();
            let usage = shared::usage_of(&slot, now);
            if keep(&mut slot.item.resource, &usage) {
                shared.lay_back(slot);
            } else {
                closed += 1;
                shared.discard(slot, CloseReason::NotRetained);
            }
        }
        closed
    }

    /// Closes the pool: all who wait are told so, idle ones are closed, leased ones when they come back. Does not wait.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Was the pool closed?
    pub fn is_closed(&self) -> bool {
        self.shared().kernel.is_closed()
    }

    /// Closes the pool and waits, for `deadline` at most, until everything it opened is closed. Says what was still out.
    ///
    /// On a thread without a runtime the deadline is kept by the runtime on which gets have waited; if there is none, nobody could
    /// tell when it has come, and the report is made at once.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
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
        let shared = self.shared();
        shared.close();
        // What was handed to a get that nobody polls comes back only if there is a keeper to take it.
        if let Ok(runtime) = rt::Handle::try_current()
            && !shared.kernel.is_over()
        {
            shared.ensure_keeper(&runtime);
        }
        let until = shared.clock.now() + deadline;
        let mut timer = Timer::new();
        let watch = Watch::new(&*shared.kernel);
        let empty = std::future::poll_fn(|context| {
            if shared.kernel.poll_drained(&watch, context).is_ready() {
                return Poll::Ready(());
            }
            if rt::Handle::try_current().is_err() && !shared.keeper_runs() {
                return Poll::Ready(());
            }
            timer.poll_watching(shared, until, shared.keeper_is_elsewhere(), context)
        });
        // In time or not: the report says.
        empty.await;
        let status = shared.status();
        Drained {
            leased: shared.leases(),
            left: status.open + status.opening + status.closing,
        }
    }
}

impl<M: Manager> Drop for Owner<M> {
    fn drop(&mut self) {
        self.shared.close();
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
