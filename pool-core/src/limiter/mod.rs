//! Bounded permits, handed out in order of arrival.

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

/// Lets so many in at once; the others wait in line, in order of arrival, and the line is bounded.
///
/// A cheap handle, one small allocation: clones share one count. It needs no runtime; only a wait that has a deadline does.
///
/// Admission control is one line in front of the work:
///
/// ```
/// use std::time::Duration;
/// use pool_core::{LimitError, Limiter};
///
/// /// Renders an invoice: 30 MB of memory each, so four at once are what this machine has room for.
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
/// First come, first served, and nobody overtakes: neither a newcomer, nor a small request a large one that stands before it.
/// Where requests are given a [`key`](Acquire::key), the keys take turns, and each key's own requests come in order: a tenant with
/// a thousand in line delays another by one request, not by a thousand, and leaves it room in a line that is full.
///
/// # A grant that nobody fetches
/// Permits are handed straight to the first in line. When its future is not polled (it lost a `select!` that still holds it, or
/// sits in a stream that is paused) they go to the next after [`reclaim_after`](LimiterBuilder::reclaim_after), and the unpolled
/// one keeps its place. It takes a clock to see that: a wait on a tokio runtime starts one small task for the limiter there, which
/// sleeps but for a tick every 10 ms while an answer is on its way. So it is seen as long as one of the runtimes is driven on which
/// somebody waits. Where no wait ever began on a runtime, permits stay granted until their future is polled or dropped.
///
/// # Limits
/// It bounds how many are in at once, not how many come in a second. A turn is one request, whatever its weight.
pub struct Limiter {
    handle: Arc<Handle>,
}

/// One handle: what its acquires and permits count themselves on. Each clone has its own, so that tasks that have a handle each do
/// not fight for one count at every acquire.
struct Handle {
    inner: Arc<Inner>,
}

/// What the handles, futures and permits of one limiter share. The keepers hold it weakly.
struct Inner {
    /// At random: which limiter it is.
    serial: u64,
    permits: Permits,
    name: Arc<str>,
    /// The bound of the line, if it was said; else it follows from the limit.
    max_waiters: Option<usize>,
    timeout: Option<Duration>,
    reclaim_after: Option<Duration>,
    hasher: RandomState,
    /// Is one of the keepers on a runtime that drives itself? Then that does for all.
    driven: AtomicBool,
}

impl Limiter {
    fn from_inner(inner: Arc<Inner>) -> Self {
        Self {
            handle: Arc::new(Handle { inner }),
        }
    }

    /// Lets `limit` in at once, with the defaults of [`builder`](Self::builder).
    ///
    /// A limit of 0 lets nobody in: every acquire fails at once with [`LimitError::is_too_large`].
    pub fn new(limit: u32) -> Self {
        LimiterBuilder::new(LimiterConfig::new().limit(limit)).finish()
    }

    /// A limiter with the defaults, overridden by what the environment holds under `prefix`: `{PREFIX}_LIMIT`, `{PREFIX}_MAX_WAITERS`
    /// and the other settings of [`LimiterConfig`].
    ///
    /// # Errors
    /// A value that its setting cannot have, or a name under the prefix that no setting has.
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        LimiterBuilder::new(LimiterConfig::new())
            .env(prefix)?
            .build()
    }

    /// Begins a limiter that lets `limit` in at once.
    pub fn builder(limit: u32) -> LimiterBuilder {
        LimiterBuilder::new(LimiterConfig::new().limit(limit))
    }

    /// Waits in line for one permit.
    ///
    /// The future can be told more before it is awaited: `limiter.acquire().key(tenant).timeout(limit).await`.
    ///
    /// # Errors
    /// [`LimitError::is_overloaded`] when the line is full; [`LimitError::is_closed`]; [`LimitError::is_timeout`] at the deadline,
    /// where one was set, here or for the [whole limiter](LimiterBuilder::acquire_timeout): without one the wait is as long as
    /// the line; [`LimitError::is_no_runtime`] when it has a deadline, has to wait, and does not run on tokio.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in line; permits that were handed to it go to the next.
    ///
    /// # Panics
    /// When it has a deadline and waits on a tokio runtime that was built without a timer.
    #[inline]
    pub fn acquire(&self) -> Acquire {
        self.acquire_many(1)
    }

    /// Waits in line for `count` permits at once, as one [`Permit`].
    ///
    /// It takes none before it can take all, and nobody behind it is served before it is: it is not overtaken for ever. Zero are
    /// granted when their turn comes.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); and [`LimitError::is_too_large`] when `count` is, or comes to be, more than the limit.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_many(&self, count: u32) -> Acquire {
        Acquire::new(Arc::clone(&self.handle), count)
    }

    /// Takes a permit, if one is free and nobody waits for it.
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit> {
        self.try_acquire_many(1)
    }

    /// Takes `count` permits at once, if so many are free and nobody waits for them.
    #[inline]
    pub fn try_acquire_many(&self, count: u32) -> Option<Permit> {
        let permits = &self.handle.permits;
        (permits.take(count) || permits.take_locked(count))
            .then(|| Permit::new(Arc::clone(&self.handle), count))
    }

    /// Sets another limit, while permits are out. Nobody loses one: what is out beyond a smaller limit is a debt, which the next
    /// returns repay. An acquire that waits for more than the new limit is told so ([`LimitError::is_too_large`]).
    ///
    /// # Errors
    /// `limit` is 0. To let nobody in, [`close`](Self::close) it.
    pub fn resize(&self, limit: u32) -> Result<(), ConfigError> {
        at_least_one("limit", limit)?;
        if self.handle.max_waiters.is_none() {
            self.handle.permits.bound_line(auto_waiters(limit));
        }
        self.handle.permits.resize(limit);
        Ok(())
    }

    /// Lets nobody in from now on, and tells all who wait. Permits that are out stay good.
    pub fn close(&self) {
        self.handle.permits.close();
    }

    /// Was it closed?
    pub fn is_closed(&self) -> bool {
        self.handle.permits.status().is_closed
    }

    /// All counts, as they are at this moment.
    pub fn status(&self) -> LimiterStatus {
        self.handle.permits.status()
    }

    /// The name that it was given, for messages.
    pub fn name(&self) -> &str {
        &self.handle.name
    }
}

impl Inner {
    fn hash(&self, key: impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Makes sure that somebody takes back what nobody fetches: on this runtime, if there is one, since no other may be polled.
    #[inline]
    fn ensure_keeper(self: &Arc<Self>) {
        // Ordering: Relaxed. Who relied on that one is woken when it goes, and looks again.
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
            // Before it begins: it is the keeper that takes this back when it goes.
            self.driven.fetch_or(driven, Ordering::Relaxed);
            drop(runtime.spawn(keeper::keep(self, home, after, driven)));
        }
    }
}

thread_local! {
    /// Which limiters have a keeper on which runtime, as far as this thread has seen: who waits need not ask under the lock. A runtime
    /// that has ended is never seen again.
    static KEPT: [Cell<Option<(u64, runtime::Id)>>; SLOTS] = const { [const { Cell::new(None) }; SLOTS] };
}

/// So many limiters that a thread waits for in turn do not push one another out, as a rule.
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
        // Nobody else will: its keepers wait to be called.
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
