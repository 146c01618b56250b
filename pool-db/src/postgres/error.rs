//! The errors of PostgreSQL and of its driver.

use std::{error::Error as StdError, time::Duration};

use tokio_postgres::error::{DbError, Severity};

use crate::{
    Error,
    error::{Kind, reason},
};

impl Error {
    /// The connection ended because of `error`.
    pub(crate) fn disconnected(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(
            Kind::Disconnected,
            format!("the connection was lost: {}", reason(&error)),
            Some(Box::new(error)),
        )
        .whole()
    }

    /// A commit of a transaction that can only be rolled back.
    pub(crate) fn failed_transaction() -> Self {
        let message = "the transaction was rolled back: a statement in it had failed";
        Self::new(Kind::Database, message.to_owned(), None)
    }

    /// A commit of a transaction in which a statement was abandoned.
    pub(crate) fn abandoned_in_transaction() -> Self {
        let message = "the transaction was rolled back: the future of a statement in it was dropped, or timed out";
        Self::new(Kind::Abandoned, message.to_owned(), None)
    }

    /// A session that cannot be made as good as new.
    pub(crate) fn spoilt() -> Self {
        let message = "the session cannot be used again: the server ends it, or its prepared statements were all dropped";
        Self::new(Kind::Disconnected, message.to_owned(), None)
    }

    /// Another number of rows than the call allows.
    pub(crate) fn row_count(found: usize, expected: &str) -> Self {
        let message = format!("the statement returned {found} rows, but must return {expected}");
        Self::new(Kind::Other, message, None)
    }

    /// An abandoned statement has not ended.
    pub(crate) fn still_busy(after: Duration) -> Self {
        Self::new(
            Kind::Abandoned,
            format!("an abandoned statement still runs after {after:?}"),
            None,
        )
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let (kind, message) = match error.as_db_error() {
            // The server sends the reason, and then closes the connection.
            Some(db)
                if matches!(
                    db.parsed_severity(),
                    Some(Severity::Fatal | Severity::Panic)
                ) =>
            {
                (Kind::Disconnected, describe(db))
            }
            Some(db) => (Kind::Database, describe(db)),
            None if error.is_closed() => (Kind::Disconnected, "the connection was lost".to_owned()),
            None => (Kind::Other, reason(&error)),
        };
        Self::new(kind, message, Some(Box::new(error))).whole()
    }
}

fn describe(error: &DbError) -> String {
    format!(
        "{}: {} (SQLSTATE {})",
        error.severity(),
        error.message(),
        error.code().code()
    )
}
