//! What a decision of the board leaves to do.

use std::{mem, sync::Arc, task::Waker};

use super::board::End;

/// What is left to do after the lock is released.
#[must_use]
pub(super) struct Work<K, V, E, A> {
    pub(super) wakers: Vec<Waker>,
    /// The computation to stop.
    pub(super) stop: Option<A>,
    /// A lead was handed to a waiter that may not be polled: see [`Board::reclaim`](super::board::Board::reclaim).
    pub(super) watch: bool,
    pub(super) dropped: (Option<Arc<K>>, Option<Arc<End<V, E>>>, Option<Waker>),
}

impl<K, V, E, A> Work<K, V, E, A> {
    pub(super) const fn new() -> Self {
        Self {
            wakers: Vec::new(),
            stop: None,
            watch: false,
            dropped: (None, None, None),
        }
    }

    pub(super) fn wake(&mut self) {
        mem::take(&mut self.wakers)
            .into_iter()
            .for_each(Waker::wake);
    }
}
