//! Managers of deadpool.

use std::{fmt, time::Instant};

use deadpool::managed::{self, Hook, HookError, Metrics, RecycleError};

use super::{BoxError, ForeignError};
use crate::{Lease, Manager, Usage};

/// Any [`deadpool::managed::Manager`] as a manager of this crate's. The manager must be `'static`, because the pool's own tasks
/// call it.
///
/// `recycle` runs after every lease, on a task of the pool's, so that nobody waits for it and the next user finds a clean
/// resource; and once more before a lease of what has been idle for [`check_after`](crate::Builder::check_after) (zero: before
/// each lease, as in deadpool). Its [`Metrics`] are what deadpool's would be, for leases: `recycle_count` is how often the
/// object had been leased before this one, and `recycled` is when it was last given back, or `None` the first time. Recycling
/// what was idle does not count.
///
/// `detach` is called for whatever leaves the pool: for all that it closes, for what did not get past a hook, and by
/// [`take`](Self::take). Not for what is dropped with a runtime that ends, nor for what [`Lease::detach`] takes out.
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
    post_create: Vec<Hook<M>>,
    pre_recycle: Vec<Hook<M>>,
    post_recycle: Vec<Hook<M>>,
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
        Self {
            manager,
            wrap,
            post_create: Vec::new(),
            pre_recycle: Vec::new(),
            post_recycle: Vec::new(),
        }
    }

    /// Runs `hook` on every object that was created, after the hooks that were added before. When it fails the object was not
    /// created. `create_timeout` is for all of it.
    ///
    /// ```
    /// # use deadpool::managed::{Hook, Manager, Metrics, RecycleResult};
    /// # struct Words;
    /// # impl Manager for Words {
    /// #     type Type = String;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<String, std::io::Error> { Ok("hello".to_owned()) }
    /// #     async fn recycle(&self, _: &mut String, _: &Metrics) -> RecycleResult<std::io::Error> { Ok(()) }
    /// # }
    /// use pool_core::{Pool, adapt::Deadpool};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Deadpool::new(Words).post_create(Hook::sync_fn(|word: &mut String, _| {
    ///     word.push('!');
    ///     Ok(())
    /// }));
    /// assert_eq!(*Pool::builder(manager).build()?.get().await?, "hello!");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn post_create(mut self, hook: Hook<M>) -> Self {
        self.post_create.push(hook);
        self
    }

    /// Runs `hook` before every `recycle`, after the hooks that were added before. When it fails the object is closed.
    #[must_use]
    pub fn pre_recycle(mut self, hook: Hook<M>) -> Self {
        self.pre_recycle.push(hook);
        self
    }

    /// Runs `hook` after every `recycle`, after the hooks that were added before. When it fails the object is closed.
    #[must_use]
    pub fn post_recycle(mut self, hook: Hook<M>) -> Self {
        self.post_recycle.push(hook);
        self
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
        self.call(&self.pre_recycle, object, &metrics).await?;
        match self.manager.recycle(object, &metrics).await {
            Ok(()) => {}
            Err(RecycleError::Message(message)) => return Err(ForeignError(message.into())),
            Err(RecycleError::Backend(error)) => return Err(ForeignError((self.wrap)(error))),
        }
        self.call(&self.post_recycle, object, &metrics).await
    }

    async fn call(
        &self,
        hooks: &[Hook<M>],
        object: &mut M::Type,
        metrics: &Metrics,
    ) -> Result<(), ForeignError> {
        for hook in hooks {
            let outcome = match hook {
                Hook::Fn(hook) => hook(object, metrics),
                Hook::AsyncFn(hook) => hook(object, metrics).await,
            };
            outcome.map_err(|error| match error {
                HookError::Message(message) => ForeignError(message.into()),
                HookError::Backend(error) => ForeignError((self.wrap)(error)),
            })?;
        }
        Ok(())
    }
}

impl<M: managed::Manager + 'static> Deadpool<M> {
    /// Takes the object out of the pool for good, as deadpool's `Object::take` does: the manager's `detach` is told, and the
    /// pool may open another in its place.
    pub fn take(mut lease: Lease<Self>) -> M::Type {
        let (manager, object) = Lease::parts(&mut lease);
        manager.manager.detach(object);
        Lease::detach(lease)
    }
}

impl<M: managed::Manager + 'static> Manager for Deadpool<M> {
    type Resource = M::Type;
    type Error = ForeignError;

    async fn create(&self) -> Result<M::Type, ForeignError> {
        let created = self.manager.create().await;
        let object = created.map_err(|error| ForeignError((self.wrap)(error)))?;
        let mut unready = Unready {
            object: Some(object),
            manager: &self.manager,
        };
        let object = unready.object.as_mut().expect(UNREADY);
        self.call(&self.post_create, object, &Metrics::default())
            .await?;
        Ok(unready.object.take().expect(UNREADY))
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

/// An object that its hooks have not passed yet. However that ends (an error, a panic, a future that is dropped), the manager
/// hears of an object that goes.
struct Unready<'a, M: managed::Manager> {
    /// `None` when it is ready.
    object: Option<M::Type>,
    manager: &'a M,
}

const UNREADY: &str = "an object is there until it is ready";

impl<M: managed::Manager> Drop for Unready<'_, M> {
    fn drop(&mut self) {
        if let Some(object) = &mut self.object {
            self.manager.detach(object);
        }
    }
}
