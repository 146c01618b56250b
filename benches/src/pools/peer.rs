//! What every pool must do to be measured, and what all of them pool.

use std::fmt;
use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::failure::Failure;

/// A pool under test. Its futures and guards are its own types: nothing is boxed on the way.
///
/// A clone is another handle on the same pool; every task gets one.
pub(super) trait Peer: Clone + Send + Sync + 'static {
    /// Lends the resource, and gives it back on drop.
    type Guard<'a>: DerefMut<Target = Counter> + Send
    where
        Self: 'a;
    /// Why there is no guard.
    type Error: fmt::Display + Send;

    /// A pool of at most `size`, at its best settings, nothing opened yet. Called on a runtime.
    fn build(size: usize, source: Source) -> Result<Self, Failure>;

    /// The one call that is measured.
    fn get(&self) -> impl Future<Output = Result<Self::Guard<'_>, Self::Error>> + Send;

    /// Leases that many at once and gives them back, so that all of them are open and idle.
    fn warm(&self, size: usize) -> impl Future<Output = Result<(), Failure>> + Send {
        async move {
            let mut guards = Vec::with_capacity(size);
            for _ in 0..size {
                guards.push(self.get().await.map_err(Failure::get)?);
            }
            drop(guards);
            // A pool may finish its returns on tasks of its own.
            tokio::task::yield_now().await;
            Ok(())
        }
    }
}

/// The resource that all of them pool: how often it was used.
#[derive(Debug, Default)]
pub(super) struct Counter(pub(super) u64);

/// Where the resources come from; a clone is the same source.
///
/// It is the manager of every pool: it opens, is always well, and has nothing to check or reset.
#[derive(Debug, Clone, Default)]
pub(super) struct Source(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    opened: AtomicUsize,
    connect_ms: AtomicU64,
}

impl Source {
    /// From now on every connect takes that long; at first it takes no time.
    pub(super) fn connect_takes(&self, ms: u64) {
        self.0.connect_ms.store(ms, Ordering::Relaxed);
    }

    /// How many connects were begun.
    pub(super) fn opened(&self) -> usize {
        self.0.opened.load(Ordering::Relaxed)
    }

    /// Opens one.
    pub(super) async fn open(&self) -> Counter {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        match self.0.connect_ms.load(Ordering::Relaxed) {
            0 => {}
            ms => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        Counter::default()
    }
}
