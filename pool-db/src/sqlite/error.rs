//! The errors of SQLite, of its driver and of the workers.

#[cfg(any(feature = "tracing", feature = "metrics"))]
use std::borrow::Cow;

use rusqlite::ffi;

use super::explain;
use crate::{Constraint, Error, error::Kind, result_code};

impl Error {
    /// A closure panicked with `message`.
    pub(crate) fn panicked(message: &str) -> Self {
        let message = format!("the closure panicked: {message}");
        Self::new(Kind::Panicked, message, None)
    }

    /// A write in a pool that only reads.
    pub(crate) fn only_reads() -> Self {
        let message = "the pool is read-only: it has no connection for writes";
        Self::new(Kind::Other, message.to_owned(), None)
    }

    /// SQLite could not open `target`, for the reason `says`.
    pub(crate) fn refused(target: &str, says: &str, error: rusqlite::Error) -> Self {
        let message = format!("cannot connect to {target}: {says}");
        Self::new(Kind::Connect, message, Some(Box::new(error))).whole()
    }

    /// An abandoned call still has the connection.
    pub(crate) fn abandoned() -> Self {
        let message = "an abandoned call still has this connection, or a panic closed it: get another connection";
        Self::new(Kind::Abandoned, message.to_owned(), None)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::new(kind(&error), explain(&error), Some(Box::new(error))).whole()
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

const fn kind(error: &rusqlite::Error) -> Kind {
    match error {
        error if of_sqlite(error).is_some() => Kind::Database,
        rusqlite::Error::QueryReturnedNoRows => Kind::NoRows,
        rusqlite::Error::QueryReturnedMoreThanOneRow => Kind::ManyRows,
        _ => Kind::Driver,
    }
}

/// What is reported of the error: its extended code, or else its kind.
#[cfg(any(feature = "tracing", feature = "metrics"))]
pub(crate) fn error_type(error: &rusqlite::Error) -> Cow<'static, str> {
    of_sqlite(error).map_or(Cow::Borrowed(kind(error).word()), |error| {
        Cow::Owned(error.extended_code.to_string())
    })
}

/// Returns the error of SQLite itself, if it is the cause.
pub(crate) const fn of_sqlite(error: &rusqlite::Error) -> Option<&ffi::Error> {
    match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => {
            Some(error)
        }
        _ => None,
    }
}

/// The constraint that was violated, if that is the error. Its names are in SQLite's message only.
pub(crate) fn constraint(error: &rusqlite::Error) -> Option<Constraint<'_>> {
    let rusqlite::Error::SqliteFailure(error, message) = error else {
        return None;
    };
    result_code::constraint(error.extended_code, message.as_deref())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rusqlite::Connection;

    use super::*;
    use crate::{ConstraintKind, error::says};

    fn of(code: i32) -> Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[test]
    fn each_code_is_what_it_means() {
        for (code, means) in [
            (ffi::SQLITE_BUSY, "retryable"),
            (ffi::SQLITE_BUSY_SNAPSHOT, "retryable"),
            (ffi::SQLITE_BUSY_RECOVERY, "retryable"),
            (ffi::SQLITE_LOCKED, "retryable"),
            (ffi::SQLITE_ABORT_ROLLBACK, "retryable"),
            (ffi::SQLITE_LOCKED_SHAREDCACHE, "retryable"),
            (ffi::SQLITE_INTERRUPT, "canceled"),
            (ffi::SQLITE_READONLY, "read_only"),
            (ffi::SQLITE_READONLY_DBMOVED, "read_only"),
            (ffi::SQLITE_IOERR_FSYNC, "may_have_happened"),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, "constraint"),
            (ffi::SQLITE_FULL, ""),
            (ffi::SQLITE_ERROR, ""),
            (ffi::SQLITE_AUTH, ""),
        ] {
            let error = of(code);
            assert_eq!(says(&error), means, "{code}");
            assert!(error.is_database(), "{code}");
            assert_eq!(error.as_sqlite_code(), Some(code));
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_makes_the_database_unavailable() {
        let code = ffi::Error::new(ffi::SQLITE_CANTOPEN);
        let error = rusqlite::Error::SqliteFailure(code, None);
        let error = Error::connect("sqlite app.db", error);
        assert_eq!(says(&error), "unavailable");
    }

    #[test]
    fn a_constraint_is_told_with_its_kind_and_what_sqlite_tells_of_it() {
        let sqlite = Connection::open_in_memory().unwrap();
        sqlite
            .execute_batch(
                "PRAGMA foreign_keys = on;
                 CREATE TABLE users (id INTEGER PRIMARY KEY, email UNIQUE, name NOT NULL, age CONSTRAINT of_age CHECK (age > 17),
                     low CHECK (low < 9), UNIQUE (low, age));
                 CREATE UNIQUE INDEX by_lower ON users (lower(name));
                 CREATE TABLE posts (author INT REFERENCES users (id), words INT) STRICT;
                 CREATE TRIGGER gate BEFORE DELETE ON users BEGIN SELECT RAISE(ABORT, 'never'); END;
                 INSERT INTO users VALUES (1, 'a@x', 'Ada', 36, 1);",
            )
            .unwrap();
        use ConstraintKind::{Check, ForeignKey, NotNull, Other, Unique};
        for (sql, kind, name, table, column) in [
            (
                "INSERT INTO users VALUES (1, 'b@x', 'Bob', 20, 1)",
                Unique,
                None,
                Some("users"),
                Some("id"),
            ),
            (
                "INSERT INTO users VALUES (2, 'a@x', 'Bob', 20, 1)",
                Unique,
                None,
                Some("users"),
                Some("email"),
            ),
            (
                "INSERT INTO users VALUES (2, 'b@x', 'Bob', 36, 1)",
                Unique,
                None,
                Some("users"),
                None,
            ),
            (
                "INSERT INTO users VALUES (2, 'b@x', 'ADA', 20, 1)",
                Unique,
                Some("by_lower"),
                None,
                None,
            ),
            (
                "INSERT INTO users VALUES (2, 'b@x', NULL, 20, 1)",
                NotNull,
                None,
                Some("users"),
                Some("name"),
            ),
            (
                "INSERT INTO users VALUES (2, 'b@x', 'Bob', 7, 1)",
                Check,
                Some("of_age"),
                None,
                None,
            ),
            (
                "INSERT INTO users VALUES (2, 'b@x', 'Bob', 20, 9)",
                Check,
                Some("low < 9"),
                None,
                None,
            ),
            (
                "INSERT INTO posts VALUES (9, 1)",
                ForeignKey,
                None,
                None,
                None,
            ),
            (
                "INSERT INTO posts VALUES (1, 'many')",
                Other,
                None,
                None,
                None,
            ),
            ("DELETE FROM users", Other, None, None, None),
        ] {
            let error = Error::from(sqlite.execute(sql, []).unwrap_err());
            let constraint = error.constraint();
            let expected = Constraint {
                kind,
                name,
                table,
                column,
            };
            assert_eq!(constraint, Some(expected), "{sql}: {error}");
            assert_eq!(error.is_unique_violation(), kind == Unique, "{sql}");
        }
        let error = Error::from(sqlite.execute("INSRT", []).unwrap_err());
        assert_eq!((error.is_database(), error.constraint()), (true, None));
    }

    #[test]
    fn the_number_of_rows_is_told() {
        let sqlite = Connection::open_in_memory().unwrap();
        let none = sqlite.query_row("SELECT 1 WHERE false", [], |_| Ok(()));
        let error = Error::from(none.unwrap_err());
        assert!(error.is_no_rows() && !error.is_many_rows() && !error.is_database());
        let two = sqlite.query_one("SELECT 1 UNION SELECT 2", [], |_| Ok(()));
        let error = Error::from(two.unwrap_err());
        assert!(error.is_many_rows() && !error.is_no_rows(), "{error}");
    }
}
