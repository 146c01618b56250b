//! Events, as they happen.

use std::time::Duration;

use super::{Cause, CloseReason, LeaseInfo, Phase};

/// Is told what happens in a pool. Every method does nothing unless it is written.
///
/// The pool calls it with no lock held, on whatever thread the event happens: be quick, do not block. A get that finds an idle
/// resource tells nobody; counts and durations of those are in [`Status`](super::Status) and [`Timings`](super::Timings). A
/// panic in an observer is caught and ignored.
///
/// ```
/// use std::{sync::atomic::{AtomicU64, Ordering}, time::Duration};
/// use pool_core::observe::Observer;
///
/// #[derive(Default)]
/// struct Connects(AtomicU64);
///
/// impl Observer for Connects {
///     fn opened(&self, _pool: &str, _took: Duration) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// One was opened.
    fn opened(&self, pool: &str, took: Duration) {
        let _ = (pool, took);
    }

    /// One could not be opened.
    fn open_failed(&self, pool: &str, cause: &Cause<'_>) {
        let _ = (pool, cause);
    }

    /// One is being closed.
    fn closed(&self, pool: &str, reason: CloseReason) {
        let _ = (pool, reason);
    }

    /// A get that had to wait got one.
    fn waited(&self, pool: &str, waited: Duration) {
        let _ = (pool, waited);
    }

    /// A get reached its deadline.
    fn timed_out(&self, pool: &str, phase: Phase, waited: Duration) {
        let _ = (pool, phase, waited);
    }

    /// A get was told no: the line was full, or load is being shed.
    fn overloaded(&self, pool: &str) {
        let _ = pool;
    }

    /// A lease has lasted longer than `leak_after`. Told once a lease.
    fn leaked(&self, pool: &str, lease: &LeaseInfo) {
        let _ = (pool, lease);
    }
}
