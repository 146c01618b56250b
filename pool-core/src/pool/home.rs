//! Where the keeper of a pool is.

use std::hash::{Hash, Hasher};

use crate::{
    rt::Id,
    sync::atomic::{AtomicU64, Ordering},
};

/// The runtime of the keeper, in one word: who waits on another one must not rely on this one being driven.
#[derive(Debug)]
pub(super) struct Home(AtomicU64);

impl Home {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The keeper is on this runtime now.
    pub(super) fn set(&self, runtime: Id) {
        // Ordering: Relaxed. Whoever read the old one and relied on it is woken after this, and looks again.
        self.0.store(word(runtime), Ordering::Relaxed);
    }

    /// Is it this one?
    pub(super) fn is(&self, runtime: Id) -> bool {
        // Ordering: as above.
        self.0.load(Ordering::Relaxed) == word(runtime)
    }
}

/// The number of a runtime. It is known by its hash alone, which is of one word.
fn word(runtime: Id) -> u64 {
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
