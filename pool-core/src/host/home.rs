//! Which runtime the keeper of a pool is on.

use std::hash::{Hash, Hasher};

use crate::sync::atomic::{AtomicU64, Ordering};

/// The runtime of a keeper, in one word. A waiter on another runtime must not rely on this one being driven.
#[derive(Debug)]
pub(crate) struct Home(AtomicU64);

impl Home {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Records that the keeper is on this runtime, which drives itself (has threads of its own) or not.
    pub(crate) fn set(&self, runtime: impl Hash, drives_itself: bool) {
        let home = if drives_itself { DRIVEN } else { word(runtime) };
        // Ordering: Relaxed. A waiter that read the old value and relied on it is woken after this store, and looks again.
        self.0.store(home, Ordering::Relaxed);
    }

    /// Whether waiters on this runtime can rely on the keeper's.
    pub(crate) fn is(&self, runtime: impl Hash) -> bool {
        // Ordering: as above.
        let home = self.0.load(Ordering::Relaxed);
        home == DRIVEN || home == word(runtime)
    }

    /// Whether the keeper is on another runtime than this thread, which may stand still. Called at every wait. Finding out which
    /// runtime is `here` has a cost, so it is asked only if it matters.
    #[inline]
    pub(crate) fn is_elsewhere<R: Hash>(&self, here: impl FnOnce() -> Option<R>) -> bool {
        // Ordering: as above.
        self.0.load(Ordering::Relaxed) != DRIVEN && here().is_some_and(|here| !self.is(here))
    }
}

/// Stands for any runtime that drives itself.
const DRIVEN: u64 = u64::MAX;

/// The number of a runtime. A runtime's id is accessible only through its hash, which is one word.
fn word(runtime: impl Hash) -> u64 {
    let mut word = Word(0);
    runtime.hash(&mut word);
    word.0
}

struct Word(u64);

impl Hasher for Word {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
