//! The prepared statements that a connection keeps.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hashlink::LruCache;
use tokio_postgres::Statement;

/// A bounded cache of statements by their text. The least recently used statement is evicted first.
///
/// A text is prepared once, however many callers ask for it at the same time: they wait for one [`Slot`].
#[derive(Debug)]
pub(super) struct Statements<S> {
    // No user code runs under this lock.
    kept: Mutex<Kept<S>>,
}

#[derive(Debug)]
struct Kept<S> {
    by_text: LruCache<Box<str>, Arc<Slot<S>>>,
    /// The session's epoch in which these statements were prepared.
    epoch: u32,
}

/// The place of one statement.
#[derive(Debug)]
pub(super) struct Slot<S> {
    statement: OnceLock<S>,
    /// Held by the task that prepares the statement.
    turn: tokio::sync::Mutex<()>,
}

impl<S> Slot<S> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            statement: OnceLock::new(),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    pub(super) fn get(&self) -> Option<&S> {
        self.statement.get()
    }

    /// Sets the statement. Only the holder of the `turn` does that, once.
    fn set(&self, statement: S) {
        drop(self.statement.set(statement));
    }
}

impl Slot<Statement> {
    /// Prepares the statement, unless another caller has done so by the time of this one's turn.
    ///
    /// # Cancel safety
    /// A dropped future may leave its statement on the server, so it is polled to its end.
    pub(super) async fn prepare(
        &self,
        driver: &tokio_postgres::Client,
        sql: &str,
    ) -> Result<Statement, tokio_postgres::Error> {
        let _turn = self.turn.lock().await;
        if let Some(statement) = self.get() {
            return Ok(statement.clone());
        }
        let statement = driver.prepare(sql).await?;
        self.set(statement.clone());
        Ok(statement)
    }
}

impl<S> Statements<S> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            kept: Mutex::new(Kept {
                by_text: LruCache::new(capacity),
                epoch: 0,
            }),
        }
    }

    /// The slot of a text, which may be empty. Without capacity, each call gets a slot of its own.
    ///
    /// `epoch` is that of the session. Statements of an earlier one are gone from the server.
    pub(super) fn slot(&self, sql: &str, epoch: u32) -> Arc<Slot<S>> {
        let mut kept = self.lock();
        let stale = (kept.epoch != epoch).then(|| {
            kept.epoch = epoch;
            drained(&mut kept.by_text)
        });
        let slot = if let Some(slot) = kept.by_text.get(sql) {
            Arc::clone(slot)
        } else {
            let slot = Slot::new();
            let gone = kept.by_text.insert(sql.into(), Arc::clone(&slot));
            drop((kept, gone));
            slot
        };
        // The drop of a statement makes the driver send a request, so it happens after the unlock.
        drop(stale);
        slot
    }

    /// Drops the statement of a text, unless another has taken its place.
    pub(super) fn forget(&self, sql: &str, slot: &Arc<Slot<S>>) {
        let mut kept = self.lock();
        let is_it = kept
            .by_text
            .peek(sql)
            .is_some_and(|kept| Arc::ptr_eq(kept, slot));
        let gone = is_it.then(|| kept.by_text.remove(sql));
        drop(kept);
        drop(gone);
    }

    /// Drops all statements, unless another has taken the place of the statement of a text: then somebody has done so before.
    pub(super) fn clear_once(&self, sql: &str, slot: &Arc<Slot<S>>) -> bool {
        let mut kept = self.lock();
        let is_it = kept
            .by_text
            .peek(sql)
            .is_some_and(|kept| Arc::ptr_eq(kept, slot));
        let gone = is_it.then(|| drained(&mut kept.by_text));
        drop(kept);
        drop(gone);
        is_it
    }

    /// Drops all statements.
    pub(super) fn clear(&self) {
        let gone = drained(&mut self.lock().by_text);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, Kept<S>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes everything out of a cache, which keeps its capacity.
fn drained<S>(cache: &mut LruCache<Box<str>, Arc<Slot<S>>>) -> LruCache<Box<str>, Arc<Slot<S>>> {
    let capacity = cache.capacity();
    std::mem::replace(cache, LruCache::new(capacity))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(statements: &Statements<u32>, sql: &str, number: u32) {
        statements.slot(sql, 0).set(number);
    }

    fn find(statements: &Statements<u32>, sql: &str) -> Option<u32> {
        statements.slot(sql, 0).get().copied()
    }

    #[test]
    fn the_one_that_was_not_used_longest_goes_first() {
        let statements = Statements::new(2);
        keep(&statements, "a", 1);
        keep(&statements, "b", 2);
        assert_eq!(find(&statements, "a"), Some(1));
        keep(&statements, "c", 3);
        assert_eq!(find(&statements, "a"), Some(1));
        assert_eq!(find(&statements, "b"), None, "and takes a place again");
        assert_eq!(find(&statements, "c"), None);
    }

    #[test]
    fn a_slot_is_forgotten_only_by_those_who_used_it() {
        let statements = Statements::new(2);
        keep(&statements, "a", 1);
        let old = statements.slot("a", 0);
        statements.forget("a", &old);
        assert_eq!(find(&statements, "a"), None);
        keep(&statements, "a", 2);
        statements.forget("a", &old);
        assert_eq!(find(&statements, "a"), Some(2));
        statements.clear();
        assert_eq!(find(&statements, "a"), None);
    }

    #[test]
    fn all_are_dropped_once_however_many_found_them_stale() {
        let statements = Statements::new(2);
        keep(&statements, "a", 1);
        keep(&statements, "b", 1);
        let old = statements.slot("a", 0);
        assert!(statements.clear_once("a", &old));
        assert_eq!(find(&statements, "b"), None);
        keep(&statements, "a", 2);
        assert!(!statements.clear_once("a", &old));
        assert_eq!(find(&statements, "a"), Some(2));
    }

    #[test]
    fn statements_of_another_epoch_are_gone() {
        let statements = Statements::new(2);
        keep(&statements, "a", 1);
        assert_eq!(statements.slot("a", 1).get(), None);
        statements.slot("a", 1).set(2);
        assert_eq!(statements.slot("a", 1).get(), Some(&2));
    }

    #[test]
    fn without_capacity_nothing_is_kept() {
        let statements = Statements::new(0);
        keep(&statements, "a", 1);
        assert_eq!(find(&statements, "a"), None);
    }
}
