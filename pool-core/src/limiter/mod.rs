//! Bounded permits, granted in order of arrival.

mod acquire;
mod builder;
mod config;
mod error;
mod keeper;
mod keepers;
mod lines;
mod permit;
mod permits;
mod status;
#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    fmt,
    hash::{BuildHasher, RandomState},
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::runtime;

pub use acquire::Acquire;
pub use builder::LimiterBuilder;
pub use config::LimiterConfig;
pub use error::LimitError;
pub use permit::Permit;
use permits::Permits;
pub use status::LimiterStatus;

use crate::{
    config::{
        ConfigError,
        checks::{at_least_one, auto_waiters},
    },
    rt,
};

/// Limits how many permits are held at once. Further acquires wait in a bounded queue, in order of arrival.
///
/// A `Limiter` is a cheap handle of one small allocation: clones share one limit. It needs no runtime, except for waits with a
/// deadline.
///
/// For admission control, acquire a permit before the work:
///
/// ```
/// use std::time::Duration;
/// use pool_core::{LimitError, Limiter};
///
/// /// Renders an invoice. It takes 30 MB of memory, and this machine has room for four at once.
/// async fn invoice(limiter: &Limiter, tenant: &str, number: u32) -> Result<String, LimitError> {
///     let _permit = limiter.acquire().key(tenant).timeout(Duration::from_secs(2)).await?;
///     Ok(format!("invoice {number} of {tenant}"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), LimitError> {
/// let limiter = Limiter::new(4);
/// assert_eq!(invoice(&limiter, "acme", 7).await?, "invoice 7 of acme");
/// # Ok(())
/// # }
/// ```
///
/// # Fairness
/// Acquires are served in order of arrival. A newcomer does not overtake the queue, and a small request does not overtake a large
/// request before it. If acquires have a [`key`](Acquire::key), the keys take turns, and the acquires of one key are served in
/// order. A tenant with a thousand waiters delays another tenant by one request, not by a thousand, and leaves it room in a full
/// queue.
///
/// # Unfetched grants
/// Permits are handed directly to the first waiter. If its future is not polled (it lost a `select!` that still holds it, or is in
/// a paused stream), the permits go to the next waiter after [`reclaim_after`](LimiterBuilder::reclaim_after), and the unpolled
/// waiter keeps its place. This needs a clock. A wait on a tokio runtime starts one small task for the limiter there, which sleeps,
/// except for a tick every 10 ms while a grant is not fetched yet. So unpolled waiters are found as long as one of the runtimes on
/// which acquires wait is driven. If no wait ever began on a runtime, permits stay granted until their future is polled or dropped.
///
/// # Limits
/// A limiter bounds how many permits are held at once, not the rate of acquires. A turn of a key is one request, whatever its
/// weight.
pub struct Limiter {
    handle: Arc<Handle>,
}

/// One handle, from which acquires and permits clone their reference. Each clone of a limiter has its own handle, so tasks with a
/// handle each do not contend for one reference count.
struct Handle {
    inner: Arc<Inner>,
}

/// The state that the handles, futures and permits of one limiter share. The keepers hold it weakly.
struct Inner {
    /// A random number that identifies the limiter.
    serial: u64,
    permits: Permits,
    name: Arc<str>,
    /// The bound of the queue, if it was set; else it follows from the limit.
    max_waiters: Option<usize>,
    timeout: Option<Duration>,
    reclaim_after: Option<Duration>,
    hasher: RandomState,
    /// Whether one keeper is on a runtime that drives itself. That keeper is enough for all waiters.
    driven: AtomicBool,
}

impl Limiter {
    fn from_inner(inner: Arc<Inner>) -> Self {
        Self {
            handle: Arc::new(Handle { inner }),
        }
    }

    /// Makes a limiter of `limit` permits, with the defaults of [`builder`](Self::builder).
    ///
    /// With a limit of 0, every acquire fails at once with [`LimitError::is_too_large`].
    pub fn new(limit: u32) -> Self {
        LimiterBuilder::new(LimiterConfig::new().limit(limit)).finish()
    }

    /// Makes a limiter with the default settings, overridden by the environment variables under `prefix`: `{PREFIX}_LIMIT`,
    /// `{PREFIX}_MAX_WAITERS` and the other settings of [`LimiterConfig`].
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        LimiterBuilder::new(LimiterConfig::new())
            .env(prefix)?
            .build()
    }

    /// Creates a builder for a limiter of `limit` permits.
    pub fn builder(limit: u32) -> LimiterBuilder {
        LimiterBuilder::new(LimiterConfig::new().limit(limit))
    }

    /// Acquires one permit, waiting in the queue if none is free.
    ///
    /// The future has setters, which can be called before it is first polled: `limiter.acquire().key(tenant).timeout(limit).await`.
    ///
    /// # Errors
    /// - [`LimitError::is_overloaded`] when the queue is full.
    /// - [`LimitError::is_closed`] when the limiter is closed.
    /// - [`LimitError::is_timeout`] at the deadline, if one was set, here or for the [whole
    ///   limiter](LimiterBuilder::acquire_timeout). Without a deadline, a wait is as long as the queue.
    /// - [`LimitError::is_no_runtime`] when the acquire has a deadline, has to wait, and does not run on tokio.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue. Permits that were handed to it go to the next waiter.
    ///
    /// # Panics
    /// Panics if the acquire has a deadline and waits on a tokio runtime that was built without a timer.
    #[inline]
    pub fn acquire(&self) -> Acquire {
        self.acquire_many(1)
    }

    /// Acquires `count` permits at once, as one [`Permit`], waiting in the queue if not enough are free.
    ///
    /// The acquire takes no permit until it can take all. No waiter behind it is served before it, so it is not overtaken forever.
    /// A count of zero is granted when its turn comes.
    ///
    /// # Errors
    /// As for [`acquire`](Self::acquire). Also [`LimitError::is_too_large`] when `count` is more than the limit, or the limit falls
    /// below `count` during the wait.
    ///
    /// # Cancel safety
    /// As for [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// As for [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_many(&self, count: u32) -> Acquire {
        Acquire::new(Arc::clone(&self.handle), count)
    }

    /// Takes a permit, if one is free and no acquire waits for it.
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit> {
        self.try_acquire_many(1)
    }

    /// Takes `count` permits at once, if they are free and no acquire waits for them.
    #[inline]
    pub fn try_acquire_many(&self, count: u32) -> Option<Permit> {
        self.try_take(count)
            .then(|| Permit::new(Arc::clone(&self.handle), count))
    }

    /// Takes `count` permits like [`try_acquire_many`](Self::try_acquire_many), but without a [`Permit`]: the caller returns them
    /// with [`put_back`](Self::put_back). For the crates of this workspace.
    ///
    /// A [`Permit`] clones a reference to its handle. If permits are taken on one thread and returned on another, a million times a
    /// second, both threads write to that reference count, which costs as much as the permit itself. This function is for a type
    /// that has the limiter at hand wherever it returns its permits, and returns them in its own `Drop`.
    ///
    /// ```
    /// # use pool_core::Limiter;
    /// let limiter = Limiter::new(2);
    /// assert!(limiter.try_take(2) && !limiter.try_take(1));
    /// limiter.put_back(1);
    /// assert_eq!(limiter.status().in_use, 1);
    /// ```
    #[doc(hidden)]
    #[inline]
    #[must_use = "put back the permits that were taken"]
    pub fn try_take(&self, count: u32) -> bool {
        let permits = &self.handle.permits;
        permits.take(count) || permits.take_locked(count)
    }

    /// Returns `count` permits that were taken by [`try_take`](Self::try_take), or [forgotten](Permit::forget). Like the permits of
    /// a [`Permit`], they go to the first waiter. Returning more permits than were taken would raise the limit.
    #[doc(hidden)]
    #[inline]
    pub fn put_back(&self, count: u32) {
        self.handle.permits.put(count);
    }

    /// Changes the limit while permits are held. Held permits remain valid. If more permits are held than the new limit, the excess
    /// is a debt, which the next returns repay. An acquire that waits for more than the new limit fails with
    /// [`LimitError::is_too_large`].
    ///
    /// # Errors
    /// `limit` is 0. To refuse all acquires, call [`close`](Self::close).
    pub fn resize(&self, limit: u32) -> Result<(), ConfigError> {
        at_least_one("limit", limit)?;
        if self.handle.max_waiters.is_none() {
            self.handle.permits.bound_line(auto_waiters(limit));
        }
        self.handle.permits.resize(limit);
        Ok(())
    }

    /// Closes the limiter: all acquires fail from now on, also those that wait. Held permits remain valid.
    pub fn close(&self) {
        self.handle.permits.close();
    }

    /// Whether the limiter was closed.
    pub fn is_closed(&self) -> bool {
        self.handle.permits.status().is_closed
    }

    /// Returns all counts of this moment.
    pub fn status(&self) -> LimiterStatus {
        self.handle.permits.status()
    }

    /// Returns the name of the limiter, as used in messages.
    pub fn name(&self) -> &str {
        &self.handle.name
    }
}

impl Inner {
    fn hash(&self, key: impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Makes sure that a keeper takes back unfetched grants. The keeper runs on this runtime, if there is one, because another
    /// runtime may be undriven.
    #[inline]
    fn ensure_keeper(self: &Arc<Self>) {
        // Ordering: Relaxed. A waiter that relied on that keeper is woken when the keeper goes, and looks again.
        if !self.driven.load(Ordering::Relaxed) {
            self.ensure_keeper_here();
        }
    }

    fn ensure_keeper_here(self: &Arc<Self>) {
        let (Some(after), Ok(runtime)) = (self.reclaim_after, runtime::Handle::try_current())
        else {
            return;
        };
        let kept = (self.serial, runtime.id());
        let slot = self.serial as usize % SLOTS;
        KEPT.with(|slots| {
            if slots[slot].replace(Some(kept)) != Some(kept) {
                self.start_keeper(after, &runtime);
            }
        });
    }

    #[cold]
    fn start_keeper(self: &Arc<Self>, after: Duration, runtime: &runtime::Handle) {
        let home = self.hash(runtime.id());
        if self.permits.claim_keeper(home) {
            let driven = rt::drives_itself(runtime);
            // This is set before the keeper begins, because the keeper resets it when it goes.
            self.driven.fetch_or(driven, Ordering::Relaxed);
            drop(runtime.spawn(keeper::keep(self, home, after, driven)));
        }
    }
}

thread_local! {
    /// Which limiters have a keeper on which runtime, as far as this thread has seen, so a waiter need not ask under the lock. A
    /// runtime that has ended never comes back.
    static KEPT: [Cell<Option<(u64, runtime::Id)>>; SLOTS] = const { [const { Cell::new(None) }; SLOTS] };
}

/// A thread can wait for this many limiters in turn without evicting entries, as a rule.
const SLOTS: usize = 16;

impl Deref for Handle {
    type Target = Inner;

    #[inline]
    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Clone for Limiter {
    fn clone(&self) -> Self {
        Self::from_inner(Arc::clone(&self.handle.inner))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The keepers wait to be called, and nothing else will call them.
        self.permits.dismiss_keepers();
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("name", &self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
