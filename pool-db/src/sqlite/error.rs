//! The errors of SQLite, of its driver and of the workers.

use crate::{Error, error::Kind};

impl Error {
    /// An abandoned call still has the connection.
    pub(crate) fn abandoned() -> Self {
        let message = "an abandoned call still has this connection, or a panic closed it: get another connection";
        Self::new(Kind::Abandoned, message.to_owned(), None)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let kind = if refusal(&error).is_some() {
            Kind::Database
        } else {
            Kind::Other
        };
        Self::new(kind, error.to_string(), Some(Box::new(error)))
    }
}

/// Returns the error of SQLite itself, if it is the cause.
pub(crate) const fn refusal(error: &rusqlite::Error) -> Option<&rusqlite::ffi::Error> {
    match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => {
            Some(error)
        }
        _ => None,
    }
}

impl From<pool_cpu::Error> for Error {
    fn from(error: pool_cpu::Error) -> Self {
        let kind = if error.is_panic() {
            Kind::Panicked
        } else if error.is_closed() {
            Kind::Closed
        } else if error.is_overloaded() {
            Kind::Overloaded
        } else if error.is_timeout() {
            Kind::Timeout
        } else {
            Kind::Other
        };
        Self::new(kind, error.to_string(), Some(Box::new(error)))
    }
}
