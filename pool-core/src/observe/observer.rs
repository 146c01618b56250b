//! Events of a pool, as they happen.

use std::time::Duration;

use super::{Cause, CloseReason, LeaseInfo, Phase};

/// Is notified of events in a pool. By default, every method does nothing.
///
/// The pool calls an observer with no lock held, on the thread on which the event happens, so the methods must be quick and must
/// not block. A get that finds an idle resource notifies no observer; [`Status`](super::Status) and [`Timings`](super::Timings)
/// include such gets. A panic in an observer is caught and ignored.
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
    /// A resource was opened.
    fn opened(&self, pool: &str, took: Duration) {
        let _ = (pool, took);
    }

    /// An open failed.
    fn open_failed(&self, pool: &str, cause: &Cause<'_>) {
        let _ = (pool, cause);
    }

    /// A resource is being closed.
    fn closed(&self, pool: &str, reason: CloseReason) {
        let _ = (pool, reason);
    }

    /// A get that had to wait got a resource.
    fn waited(&self, pool: &str, waited: Duration) {
        let _ = (pool, waited);
    }

    /// A get reached its deadline.
    fn timed_out(&self, pool: &str, phase: Phase, waited: Duration) {
        let _ = (pool, phase, waited);
    }

    /// A get was refused: the queue was full, or the pool sheds load.
    fn overloaded(&self, pool: &str) {
        let _ = pool;
    }

    /// A lease has lasted longer than `leak_after`. Called once for each lease.
    fn leaked(&self, pool: &str, lease: &LeaseInfo) {
        let _ = (pool, lease);
    }
}
