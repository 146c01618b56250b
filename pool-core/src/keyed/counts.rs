//! The counters of a keyed pool, or of one key.

use std::ops::{Deref, DerefMut};

use crate::engine::Counters;

/// The counters of every kernel, and two more. The kernel of an exclusive pool does without these: it adds up the leases of its
/// resources.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    of: Counters,
    /// Leases handed out.
    pub(super) gets: u64,
    /// Resources given back.
    pub(super) returns: u64,
}

impl Deref for Counts {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.of
    }
}

impl DerefMut for Counts {
    fn deref_mut(&mut self) -> &mut Counters {
        &mut self.of
    }
}
