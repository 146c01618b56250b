//! Tracks the state of a connection's session on the server.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio_postgres::error::Severity;

use super::statements::Statements;
use crate::Error;

/// The state of a session, shared by everything that uses the driver's client.
///
/// The driver does not say whether the server is in a transaction, or is still busy with a request whose future was dropped. Every
/// request passes through this type, which tracks both. A request that begins is counted, and a request that ends is uncounted. A
/// request whose future was dropped before its end stays counted.
#[derive(Debug)]
pub(super) struct State {
    pub(super) statements: Statements,
    /// Why the connection ended, once it has ended.
    pub(super) lost: Arc<OnceLock<tokio_postgres::Error>>,
    // Ordering: `Relaxed` is enough for all of these. They are read by the exclusive holder of the connection, after the futures
    // that wrote them are gone.
    running: AtomicUsize,
    unclean: AtomicBool,
    failed: AtomicBool,
    /// Whether the server said that it ends the connection. The driver may not have read the end yet.
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

    /// Counts a request that is about to be sent.
    pub(super) fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Records the answer of the server, success or error, and converts the driver's error.
    pub(super) fn end<T>(&self, result: Result<T, tokio_postgres::Error>) -> Result<T, Error> {
        let error = match result {
            Ok(value) => {
                self.running.fetch_sub(1, Ordering::Relaxed);
                return Ok(value);
            }
            Err(error) => error,
        };
        // After any other error the server may still send more of the answer.
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

    /// Whether the server may still be busy with an abandoned request.
    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// Whether the server said that it ends the connection.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Records that something is left behind: a setting, a lock or a transaction.
    pub(super) fn leave_behind(&self) {
        self.unclean.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_unclean(&self) -> bool {
        self.unclean.load(Ordering::Relaxed)
    }

    /// Whether a statement failed since [`restart`](Self::restart). The server then rejects all statements until the transaction
    /// ends.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Records that a transaction or a savepoint begins or ends.
    pub(super) fn restart(&self) {
        self.failed.store(false, Ordering::Relaxed);
    }

    /// Records that all requests were answered and nothing is left behind.
    pub(super) fn settled(&mut self) {
        *self.running.get_mut() = 0;
        *self.unclean.get_mut() = false;
        *self.failed.get_mut() = false;
    }
}

/// The error in [`State::lost`], as an error that can be returned.
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

/// Whether this one statement leaves the session unchanged, even if the statement fails.
///
/// Only its first word decides, and a word that is not known to be harmless counts as harmful. A function that a `SELECT` calls can
/// do anything. [`Client::clean_on_return`](super::Client::clean_on_return) is for that case.
pub(super) fn is_harmless(sql: &str) -> bool {
    let sql = sql.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '(');
    let mut words = sql
        .split(|c: char| !c.is_ascii_alphabetic())
        .map(str::to_ascii_lowercase);
    match words.next().as_deref() {
        // `SET LOCAL` ends with the transaction.
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
