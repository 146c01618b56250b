//! Where the keeper of a pool is.

use std::hash::{Hash, Hasher};

use crate::{
    rt::{self, Id},
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
    pub(super) fn set(&self, runtime: &rt::Handle) {
        let home = match rt::drives_itself(runtime) {
            true => DRIVEN,
            false => word(runtime.id()),
        };
        // Ordering: Relaxed. Whoever read the old one and relied on it is woken after this, and looks again.
        self.0.store(home, Ordering::Relaxed);
    }

    /// Can those on all runtimes rely on it? Asked at every wait: which runtime that is on is known at a price.
    #[inline]
    pub(super) fn is_driven(&self) -> bool {
        // Ordering: as above.
        self.0.load(Ordering::Relaxed) == DRIVEN
    }

    /// Can those on this runtime rely on it?
    pub(super) fn is(&self, runtime: Id) -> bool {
        // Ordering: as above.
        let home = self.0.load(Ordering::Relaxed);
        home == DRIVEN || home == word(runtime)
    }
}

/// A runtime that drives itself, whichever it is.
const DRIVEN: u64 = u64::MAX;

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
