//! What the memory holds for a key.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use super::{LoadError, epochs::Validity};

/// What the memory holds for a key. Times are nanoseconds since the cache was built.
pub(super) struct Entry<V, E> {
    pub(super) content: Content<V, E>,
    pub(super) validity: Validity,
    pub(super) fresh_until: u64,
    /// Before this time, no load is tried again: the last one failed.
    pub(super) retry_at: AtomicU64,
    /// Whether a load in the background refreshes it.
    refreshing: AtomicBool,
}

/// What a load found.
pub(super) enum Content<V, E> {
    Value(V),
    /// There is no such value.
    Absent,
    /// It failed, and is not tried again for a while.
    Failed(LoadError<E>),
}

/// The right to refresh an entry.
pub(super) struct Refreshing<V, E>(Arc<Entry<V, E>>);

impl<V, E> Entry<V, E> {
    pub(super) fn new(content: Content<V, E>, validity: Validity, fresh_until: u64) -> Self {
        Self {
            content,
            validity,
            fresh_until,
            retry_at: AtomicU64::new(0),
            refreshing: AtomicBool::new(false),
        }
    }

    /// The right to refresh it, if nobody has that.
    pub(super) fn refresh(self: &Arc<Self>) -> Option<Refreshing<V, E>> {
        // Ordering: Relaxed. It guards no data: only who spawns a load, of which there is one at a time in any case.
        if self.refreshing.load(Relaxed) || self.refreshing.swap(true, Relaxed) {
            return None;
        }
        Some(Refreshing(Arc::clone(self)))
    }

    pub(super) const fn is_value(&self) -> bool {
        matches!(self.content, Content::Value(_))
    }
}

impl<V, E> Drop for Refreshing<V, E> {
    fn drop(&mut self) {
        self.0.refreshing.store(false, Relaxed);
    }
}
