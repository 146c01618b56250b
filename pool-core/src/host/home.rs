//! Where the keeper of a pool is.

use std::hash::{Hash, Hasher};

use crate::sync::atomic::{AtomicU64, Ordering};

/// The runtime of a keeper, in one word: who waits on another one must not rely on this one being driven.
#[derive(Debug)]
pub(crate) struct Home(AtomicU64);

impl Home {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The keeper is on the runtime of this number now, which drives itself or not.
    pub(crate) fn set(&self, runtime: impl Hash, drives_itself: bool) {
        let home = if drives_itself { DRIVEN } else { word(runtime) };
        // Ordering: Relaxed. Whoever read the old one and relied on it is woken after this, and looks again.
        self.0.store(home, Ordering::Relaxed);
    }

    /// Can those on this runtime rely on it?
    pub(crate) fn is(&self, runtime: impl Hash) -> bool {
        // Ordering: as above.
        let home = self.0.load(Ordering::Relaxed);
        home == DRIVEN || home == word(runtime)
    }

    /// Is it another one than that of this thread, and may stand still? Asked at every wait: which runtime is `here` is known at a price,
    /// and is asked only where it matters.
    #[inline]
    pub(crate) fn is_elsewhere<R: Hash>(&self, here: impl FnOnce() -> Option<R>) -> bool {
        // Ordering: as above.
        self.0.load(Ordering::Relaxed) != DRIVEN && here().is_some_and(|here| !self.is(here))
    }
}

/// A runtime that drives itself, whichever it is.
const DRIVEN: u64 = u64::MAX;

/// The number of a runtime. It is known by its hash alone, which is of one word.
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
