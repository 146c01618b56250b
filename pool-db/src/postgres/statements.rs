//! The prepared statements that a connection keeps.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_postgres::Statement;

/// A bounded cache of statements by their text. The least recently used statement is evicted first.
#[derive(Debug)]
pub(super) struct Statements<S = Statement> {
    capacity: usize,
    // No user code runs under this lock.
    kept: Mutex<Kept<S>>,
}

#[derive(Debug)]
struct Kept<S> {
    by_text: HashMap<Box<str>, (S, u64)>,
    /// Counts uses. The most recently used statement has the highest number.
    uses: u64,
}

impl<S: Clone> Statements<S> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            kept: Mutex::new(Kept {
                by_text: HashMap::new(),
                uses: 0,
            }),
        }
    }

    pub(super) fn find(&self, sql: &str) -> Option<S> {
        let mut kept = self.lock();
        let uses = kept.uses + 1;
        kept.uses = uses;
        let (statement, used) = kept.by_text.get_mut(sql)?;
        *used = uses;
        Some(statement.clone())
    }

    pub(super) fn keep(&self, sql: &str, statement: S) {
        if self.capacity == 0 {
            return;
        }
        let mut kept = self.lock();
        let oldest = (kept.by_text.len() >= self.capacity && !kept.by_text.contains_key(sql))
            .then(|| {
                kept.by_text
                    .iter()
                    .min_by_key(|(_, (_, used))| *used)
                    .map(|(sql, _)| sql.clone())
            })
            .flatten();
        let gone = oldest.and_then(|oldest| kept.by_text.remove(&oldest));
        kept.uses += 1;
        let uses = kept.uses;
        let replaced = kept.by_text.insert(sql.into(), (statement, uses));
        drop(kept);
        // The drop of a statement makes the driver send a request, so it happens after the unlock.
        drop((gone, replaced));
    }

    pub(super) fn forget(&self, sql: &str) {
        let gone = self.lock().by_text.remove(sql);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, Kept<S>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_not_used_longest_goes_first() {
        let statements = Statements::new(2);
        statements.keep("a", 1);
        statements.keep("b", 2);
        assert_eq!(statements.find("a"), Some(1));
        statements.keep("c", 3);
        assert_eq!(
            (
                statements.find("a"),
                statements.find("b"),
                statements.find("c")
            ),
            (Some(1), None, Some(3))
        );
        statements.keep("c", 4);
        assert_eq!(
            (statements.find("a"), statements.find("c")),
            (Some(1), Some(4)),
            "a replacement takes no place"
        );
        statements.forget("a");
        assert_eq!(statements.find("a"), None);
    }

    #[test]
    fn without_capacity_nothing_is_kept() {
        let statements = Statements::new(0);
        statements.keep("a", 1);
        assert_eq!(statements.find("a"), None);
    }
}
