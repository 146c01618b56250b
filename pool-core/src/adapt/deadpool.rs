//! The adapter for managers of deadpool.

use std::{fmt, time::Instant};

use deadpool::managed::{self, Hook, HookError, Metrics, RecycleError};

use super::{BoxError, ForeignError};
use crate::{Lease, Manager, Usage};

/// Adapts any [`deadpool::managed::Manager`] to this crate's [`Manager`](crate::Manager). The manager must be `'static`, because
/// tasks of the pool call it.
///
/// `recycle` runs after every lease, on a task of the pool, so no caller waits for it and the next caller gets a clean resource. It
/// also runs before a lease if the resource has been idle for [`check_after`](crate::Builder::check_after) (with zero, before each
/// lease, as in deadpool). Its [`Metrics`] match deadpool's, for leases: `recycle_count` is how often the object was leased before
/// this lease, and `recycled` is when it was last returned, or `None` the first time. A `recycle` of an idle object does not count.
///
/// `detach` is called for each object that leaves the pool: objects that the pool closes, objects whose hook failed, and objects
/// that [`take`](Self::take) takes out. It is not called for objects that are dropped with a runtime that ends, or that
/// [`Lease::detach`] takes out.
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
    /// Adapts `manager`. Its error must convert into a boxed error: it implements `std::error::Error`, is text, or is boxed.
    pub fn new(manager: M) -> Self
    where
        M::Error: Into<BoxError>,
    {
        Self::with_errors(manager, Into::into)
    }

    /// Adapts `manager` with an error of any type. `wrap` converts the error.
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

    /// Adds a hook that runs on every created object, after the hooks that were added before. If it fails, the open has failed.
    /// `create_timeout` bounds `create` and the hooks together.
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

    /// Adds a hook that runs before every `recycle`, after the hooks that were added before. If it fails, the object is closed.
    #[must_use]
    pub fn pre_recycle(mut self, hook: Hook<M>) -> Self {
        self.pre_recycle.push(hook);
        self
    }

    /// Adds a hook that runs after every `recycle`, after the hooks that were added before. If it fails, the object is closed.
    #[must_use]
    pub fn post_recycle(mut self, hook: Hook<M>) -> Self {
        self.post_recycle.push(hook);
        self
    }

    /// Returns the manager.
    pub fn inner(&self) -> &M {
        &self.manager
    }

    /// Recycles `object`, which was recycled `times` times before.
    async fn recycle(
        &self,
        object: &mut M::Type,
        usage: &Usage,
        times: u64,
    ) -> Result<(), ForeignError> {
        let now = Instant::now();
        // An `Instant` before the start of the clock cannot be represented: it becomes `now`.
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
    /// Takes the object out of the pool for good, like deadpool's `Object::take`. Calls the manager's `detach`. The pool may open
    /// another object in its place.
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

/// An object whose hooks have not all run yet. If one fails, panics or is dropped, the manager's `detach` is called.
struct Unready<'a, M: managed::Manager> {
    /// `None` when the object is ready.
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
