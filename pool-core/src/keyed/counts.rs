//! What is counted, in all or of one key.

use std::ops::{Deref, DerefMut};

use crate::engine::Counters;

/// The counters of the kernel, and those that it has no need of: it asks each resource how often it was leased.
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
