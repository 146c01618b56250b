//! What is known of a connection's state on the server.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio_postgres::error::Severity;

use super::statements::Statements;
use crate::Error;

/// Beside the driver's client, shared by everything that uses it.
///
/// The driver does not say whether the server is in a transaction, or still busy with a request whose future was dropped. Both
/// are known here, because every request passes through it: one that begins is counted, one that ends is uncounted, and one
/// whose future is dropped on the way never is.
#[derive(Debug)]
pub(super) struct State {
    pub(super) statements: Statements,
    /// Why the connection ended, once it has.
    pub(super) lost: Arc<OnceLock<tokio_postgres::Error>>,
    // Ordering: `Relaxed`, as all of it is read by whoever has the connection to himself, after the future is gone.
    running: AtomicUsize,
    unclean: AtomicBool,
    failed: AtomicBool,
    /// The server said that it ends the connection; the driver may not have read the end yet.
    ending: AtomicBool,
}

impl State {
    pub(super) fn new(statement_cache: usize, lost: Arc<OnceLock<tokio_postgres::Error>>) -> Self {
        Self {
            statements: Statements::new(statement_cache),
            lost,
            running: AtomicUsize::new(0),
            unclean: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }
    }

    /// A request goes out.
    pub(super) fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// The server has answered it, whatever it said. Turns the driver's error into ours.
    pub(super) fn end<T>(&self, result: Result<T, tokio_postgres::Error>) -> Result<T, Error> {
        let error = match result {
            Ok(value) => {
                self.running.fetch_sub(1, Ordering::Relaxed);
                return Ok(value);
            }
            Err(error) => error,
        };
        // Of any other error it is not known that nothing more comes.
        if let Some(said) = error.as_db_error() {
            if matches!(
                said.parsed_severity(),
                Some(Severity::Fatal | Severity::Panic)
            ) {
                self.ending.store(true, Ordering::Relaxed);
            }
            self.running.fetch_sub(1, Ordering::Relaxed);
            self.failed.store(true, Ordering::Relaxed);
        }
        Err(match self.lost.get() {
            Some(_) if error.is_closed() => Error::disconnected(Lost(Arc::clone(&self.lost))),
            _ => error.into(),
        })
    }

    /// Is the server perhaps still busy with what nobody waits for?
    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// Has the server said that it ends the connection?
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Something is left behind: a setting, a lock, a transaction.
    pub(super) fn leave_behind(&self) {
        self.unclean.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_unclean(&self) -> bool {
        self.unclean.load(Ordering::Relaxed)
    }

    /// Did a statement fail since [`restart`](Self::restart)? The server refuses everything then until the transaction ends.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// A transaction, or a part of one, begins or ends.
    pub(super) fn restart(&self) {
        self.failed.store(false, Ordering::Relaxed);
    }

    /// Everything was answered and nothing is left behind.
    pub(super) fn settled(&mut self) {
        *self.running.get_mut() = 0;
        *self.unclean.get_mut() = false;
        *self.failed.get_mut() = false;
    }
}

/// The reason in [`State::lost`], as an error.
#[derive(Debug)]
struct Lost(Arc<OnceLock<tokio_postgres::Error>>);

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.get() {
            Some(error) if !error.is_closed() => error.fmt(f),
            _ => f.write_str("the server hung up"),
        }
    }
}

impl std::error::Error for Lost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.0.get()?)
    }
}

/// Does this one statement leave the session as it was, whatever happens to it?
///
/// Judged by its first word alone: what is not known to be harmless is not. A function that a `SELECT` calls can do anything;
/// [`Client::clean_on_return`](super::Client::clean_on_return) is for that.
pub(super) fn is_harmless(sql: &str) -> bool {
    let sql = sql.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '(');
    let mut words = sql
        .split(|c: char| !c.is_ascii_alphabetic())
        .map(str::to_ascii_lowercase);
    match words.next().as_deref() {
        // Ends with the transaction.
        Some("set") => words.find(|word| !word.is_empty()).as_deref() == Some("local"),
        Some(word) => HARMLESS.contains(&word),
        None => false,
    }
}

const HARMLESS: [&str; 10] = [
    "select", "insert", "update", "delete", "with", "values", "table", "merge", "explain", "show",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_harmless_is_not() {
        for sql in [
            "SELECT 1",
            "  insert into t",
            "(select 1) union (select 2)",
            "With x as (select 1) table x",
            "set LOCAL a = 1",
        ] {
            assert!(is_harmless(sql), "{sql}");
        }
        for sql in [
            "BEGIN",
            "SET a = 1",
            "SET",
            "-- select\nBEGIN",
            "/* select */ SET a = 1",
            "",
            "selects",
            "LISTEN x",
            ";select",
        ] {
            assert!(!is_harmless(sql), "{sql}");
        }
    }

    #[test]
    fn a_request_that_was_given_up_stays_counted() {
        let mut state = State::new(0, Arc::default());
        state.begin();
        state.begin();
        assert!(state.end(Ok(())).is_ok());
        assert!(state.is_running());
        state.settled();
        assert!(!state.is_running());
    }
}
