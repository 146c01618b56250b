//! Invalidations that the second layer has not taken yet.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync;

/// Invalidations in the order in which they were made: `k:..`, `t:..` or `*`.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: Mutex<Queue>,
    /// Held by the one that sends them.
    pub(super) turn: sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Queue {
    notes: VecDeque<Arc<str>>,
    /// The number of the first note.
    first: u64,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, note: Arc<str>) {
        let mut queue = self.lock();
        if queue.notes.len() >= MOST {
            // Too many: everything is invalidated in their place.
            let dropped = queue.notes.len() as u64;
            queue.first += dropped;
            queue.notes.clear();
            queue.notes.push_back("*".into());
            return;
        }
        queue.notes.push_back(note);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().notes.is_empty()
    }

    /// The oldest ones, and the number of the first of them.
    pub(super) fn next(&self) -> (u64, Vec<Arc<str>>) {
        let queue = self.lock();
        let notes = queue.notes.iter().take(AT_ONCE).cloned();
        (queue.first, notes.collect())
    }

    /// So many from this number on were sent.
    pub(super) fn sent(&self, first: u64, count: usize) {
        let mut queue = self.lock();
        let end = first + count as u64;
        while queue.first < end && queue.notes.pop_front().is_some() {
            queue.first += 1;
        }
    }
}

/// So many are kept.
const MOST: usize = 4096;
/// So many are sent at once.
const AT_ONCE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_dropped_and_what_came_meanwhile_is_not() {
        let pending = Pending::default();
        for note in ["a", "b"] {
            pending.push(note.into());
        }
        let (first, notes) = pending.next();
        assert_eq!(notes.len(), 2);
        pending.push("c".into());
        pending.sent(first, notes.len());
        assert_eq!(pending.next(), (2, vec![Arc::<str>::from("c")]));
        for note in 0..MOST {
            pending.push(note.to_string().into());
        }
        let (late, notes) = pending.next();
        assert_eq!(notes, [Arc::<str>::from("*")], "too many become all");
        pending.sent(2, 1);
        assert_eq!(pending.next().0, late, "it was another that was sent");
        pending.sent(late, 1);
        assert!(pending.is_empty());
    }
}
