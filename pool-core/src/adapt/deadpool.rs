//! Managers of deadpool.

use std::{fmt, time::Instant};

use deadpool::managed::{self, Metrics, RecycleError};

use super::{BoxError, ForeignError};
use crate::{Manager, Usage};

/// Any [`deadpool::managed::Manager`] as a manager of this crate's.
///
/// `recycle` runs after every lease, on a task of the pool's, so that nobody waits for it and the next user finds a clean
/// resource; and once more before a lease of what has been idle for `check_after`. Its [`Metrics`] count what deadpool's would:
/// `recycled` is when the object was last given back, and `None` for the first time.
///
/// `detach` is called for everything that the pool closes, not for what [`Lease::detach`](crate::Lease::detach) takes out, nor
/// for what is dropped with a runtime that ends. Where the manager keeps a list of its objects, as deadpool-postgres does, call
/// it before: `pool.manager().inner().detach(&mut lease)`.
///
/// ```
/// use deadpool::managed::{Manager, Metrics, RecycleResult};
/// use pool_core::{Pool, adapt::Deadpool};
///
/// struct Computers;
///
/// impl Manager for Computers {
///     type Type = u32;
///     type Error = std::io::Error;
///
///     async fn create(&self) -> Result<u32, Self::Error> {
///         Ok(40)
///     }
///
///     async fn recycle(&self, answer: &mut u32, _: &Metrics) -> RecycleResult<Self::Error> {
///         *answer = 40;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Deadpool::new(Computers)).max_size(4).build()?;
/// let mut computer = pool.get().await?;
/// *computer += 2;
/// assert_eq!(*computer, 42);
/// # Ok(())
/// # }
/// ```
pub struct Deadpool<M: managed::Manager> {
    manager: M,
    wrap: fn(M::Error) -> BoxError,
}

impl<M: managed::Manager> Deadpool<M> {
    /// Adapts `manager`, whose error is an error in the sense of `std`, or text, or boxed.
    pub fn new(manager: M) -> Self
    where
        M::Error: Into<BoxError>,
    {
        Self::with_errors(manager, Into::into)
    }

    /// Adapts `manager`, whose error may be anything: `wrap` makes a real one of it.
    ///
    /// ```
    /// # use deadpool::managed::{Manager, Metrics, RecycleResult};
    /// # struct Legacy;
    /// # impl Manager for Legacy {
    /// #     type Type = ();
    /// #     type Error = i32;
    /// #     async fn create(&self) -> Result<(), i32> { Err(7) }
    /// #     async fn recycle(&self, _: &mut (), _: &Metrics) -> RecycleResult<i32> { Ok(()) }
    /// # }
    /// use pool_core::{Pool, adapt::Deadpool};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Deadpool::with_errors(Legacy, |code: i32| format!("legacy error {code}").into());
    /// let error = Pool::builder(manager).build()?.get().await.unwrap_err();
    /// assert!(error.to_string().ends_with("legacy error 7"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_errors(
        manager: M,
        wrap: fn(M::Error) -> Box<dyn std::error::Error + Send + Sync>,
    ) -> Self {
        Self { manager, wrap }
    }

    /// The manager itself.
    pub fn inner(&self) -> &M {
        &self.manager
    }

    /// Recycles `object`, which was recycled `times` before.
    async fn recycle(
        &self,
        object: &mut M::Type,
        usage: &Usage,
        times: u64,
    ) -> Result<(), ForeignError> {
        let now = Instant::now();
        // Nothing is older than the clock: what could not be told is told as now.
        let ago = |span| now.checked_sub(span).unwrap_or(now);
        let metrics = Metrics {
            created: ago(usage.age()),
            recycled: (times > 0).then(|| ago(usage.idle())),
            recycle_count: usize::try_from(times).unwrap_or(usize::MAX),
        };
        match self.manager.recycle(object, &metrics).await {
            Ok(()) => Ok(()),
            Err(RecycleError::Message(message)) => Err(ForeignError(message.into_owned().into())),
            Err(RecycleError::Backend(error)) => Err(ForeignError((self.wrap)(error))),
        }
    }
}

impl<M> Manager for Deadpool<M>
where
    M: managed::Manager + 'static,
    M::Type: 'static,
    M::Error: 'static,
{
    type Resource = M::Type;
    type Error = ForeignError;

    async fn create(&self) -> Result<M::Type, ForeignError> {
        let created = self.manager.create().await;
        created.map_err(|error| ForeignError((self.wrap)(error)))
    }

    async fn check(&self, object: &mut M::Type, usage: &Usage) -> Result<(), ForeignError> {
        self.recycle(object, usage, usage.leases).await
    }

    fn needs_reset(&self, _: &mut M::Type, usage: &Usage) -> bool {
        !usage.tainted
    }

    async fn reset(&self, object: &mut M::Type, usage: &Usage) -> Result<(), ForeignError> {
        self.recycle(object, usage, usage.leases.saturating_sub(1))
            .await
    }

    async fn close(&self, mut object: M::Type) {
        self.manager.detach(&mut object);
    }
}

impl<M: managed::Manager + fmt::Debug> fmt::Debug for Deadpool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deadpool").field(&self.manager).finish()
    }
}
