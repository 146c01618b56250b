//! What the connections of one pool learn of their server together.
//!
//! sqlx reads a connection only when it is used. So when one connection was lost, the others may be too, and nobody knows. They are
//! checked before their next lease, the idle ones at once. One that was opened or checked after the doubt arose is not.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::runtime::Handle;

/// How often a connection was lost.
// Ordering: `Relaxed` is enough. The number publishes nothing else, and a connection that reads it late is like one whose caller came a
// moment earlier.
#[derive(Default)]
pub(super) struct Doubt {
    era: AtomicU64,
    recheck: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Doubt {
    pub(super) fn era(&self) -> u64 {
        self.era.load(Relaxed)
    }

    /// Sets what has the idle connections checked.
    pub(super) fn serves(&self, recheck: impl Fn() + Send + Sync + 'static) {
        // This cannot fail: a pool is built once.
        drop(self.recheck.set(Box::new(recheck)));
    }

    /// A connection that was good in `era` was lost. Only the first of an era adds a doubt.
    pub(super) fn add(&self, era: u64) {
        if self
            .era
            .compare_exchange(era, era + 1, Relaxed, Relaxed)
            .is_err()
        {
            return;
        }
        // Without a runtime there is nothing to check with; then `check_after` has to do.
        if Handle::try_current().is_ok()
            && let Some(recheck) = self.recheck.get()
        {
            recheck();
        }
    }
}

impl fmt::Debug for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Doubt").field(&self.era()).finish()
    }
}
