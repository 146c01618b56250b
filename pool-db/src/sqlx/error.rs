//! The errors of sqlx and of its databases.

use std::{borrow::Cow, error::Error as StdError, fmt, io};

use sqlx::error::{DatabaseError, ErrorKind};
#[cfg(feature = "sqlx-mysql")]
use sqlx::mysql::MySqlDatabaseError;
#[cfg(feature = "sqlx-postgres")]
use sqlx::postgres::PgDatabaseError;
#[cfg(feature = "sqlx-sqlite")]
use sqlx::sqlite::SqliteError;

use super::Database;
use crate::{
    Constraint, ConstraintKind, Error,
    error::{Condition, Kind, reason},
};

impl Error {
    /// A step of the setup of a new connection to `target` has failed.
    pub(super) fn step(target: &str, step: &str, error: sqlx::Error) -> Self {
        let message = format!(
            "cannot connect to {target}: {step} failed: {}",
            reason(&error)
        );
        Self::new(Kind::Connect, message, Some(Box::new(error))).whole()
    }

    /// The hook of a new connection to `target` has panicked.
    pub(super) fn hook_panicked(target: &str, message: &str) -> Self {
        let message = format!("cannot connect to {target}: after_connect panicked: {message}");
        Self::new(Kind::Connect, message, None)
    }
}

/// An error of sqlx says what an error of this crate says. One that the pool itself has made (see below) is that error again.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as Of;
        let error = match error {
            Of::Io(error) => match error.downcast::<Self>() {
                Ok(own) => return own,
                Err(error) => Of::Io(error),
            },
            Of::Database(mut error) => {
                if !error.as_error_mut().is::<OfDatabase>() {
                    Of::Database(error)
                } else {
                    match error.into_error().downcast::<OfDatabase>() {
                        Ok(own) => return own.0,
                        // It was looked at just now.
                        Err(error) => Of::Io(io::Error::other(error)),
                    }
                }
            }
            error => error,
        };
        let (kind, is_unsent) = match &error {
            Of::Database(of) if is_fatal(&**of) => (Kind::Disconnected, false),
            Of::Database(_) => (Kind::Database, false),
            Of::RowNotFound => (Kind::NoRows, false),
            // Of a pool of sqlx.
            Of::PoolTimedOut => (Kind::Timeout, true),
            Of::PoolClosed => (Kind::Closed, true),
            Of::Io(_) | Of::WorkerCrashed => (Kind::Disconnected, false),
            Of::Tls(_) => (Kind::Connect, true),
            Of::Configuration(_)
            | Of::InvalidArgument(_)
            | Of::TypeNotFound { .. }
            | Of::Encode(_) => (Kind::Driver, true),
            Of::InvalidSavePointStatement => (Kind::Driver, true),
            _ => (Kind::Driver, false),
        };
        let made = Self::new(kind, reason(&error), Some(Box::new(error))).whole();
        if is_unsent { made.unsent() } else { made }
    }
}

/// An error of this crate in a function that returns an error of sqlx. What the database has said, and that there was no row, is the
/// same error of sqlx again. Any other is in the variant `Io`. From each, `pool_db::Error::from` takes the error again, with all that
/// it says.
impl From<Error> for sqlx::Error {
    fn from(error: Error) -> Self {
        if error.is_no_rows() {
            return Self::RowNotFound;
        }
        // A refused connect tells more than the error of the database in it.
        if !error.is_connect() && of_database(&error).is_some() {
            return Self::Database(Box::new(OfDatabase(error)));
        }
        let kind = if error.is_timeout() {
            io::ErrorKind::TimedOut
        } else if error.is_unavailable() {
            io::ErrorKind::NotConnected
        } else {
            io::ErrorKind::Other
        };
        Self::Io(io::Error::new(kind, error))
    }
}

/// An error of the database that has been an error of this crate. It is as the error that sqlx has made.
struct OfDatabase(Error);

/// The error of the database among the causes.
fn of_database(error: &Error) -> Option<&(dyn DatabaseError + 'static)> {
    error.find::<sqlx::Error>()?.as_database_error()
}

impl DatabaseError for OfDatabase {
    fn message(&self) -> &str {
        of_database(&self.0).map_or("", DatabaseError::message)
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        of_database(&self.0)?.code()
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        of_database(&self.0).map_or(self, DatabaseError::as_error)
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn constraint(&self) -> Option<&str> {
        of_database(&self.0)?.constraint()
    }

    fn table(&self) -> Option<&str> {
        of_database(&self.0)?.table()
    }

    fn kind(&self) -> ErrorKind {
        of_database(&self.0).map_or(ErrorKind::Other, DatabaseError::kind)
    }
}

impl fmt::Display for OfDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match of_database(&self.0) {
            Some(error) => fmt::Display::fmt(error, f),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Debug for OfDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for OfDatabase {}

/// Whether the connection is lost.
pub(super) fn is_lost<DB: Database>(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(of) => DB::is_fatal(&**of),
        sqlx::Error::Io(error) => error.get_ref().is_none_or(|of| !of.is::<Error>()),
        sqlx::Error::WorkerCrashed | sqlx::Error::Tls(_) => true,
        _ => false,
    }
}

fn is_fatal(error: &(dyn DatabaseError + 'static)) -> bool {
    #[cfg(feature = "sqlx-postgres")]
    if <sqlx::Postgres as Database>::is_fatal(error) {
        return true;
    }
    #[cfg(feature = "sqlx-mysql")]
    if <sqlx::MySql as Database>::is_fatal(error) {
        return true;
    }
    let _ = error;
    false
}

/// What the code of the error means, if that is anything that a caller acts on.
pub(crate) fn condition(error: &sqlx::Error) -> Option<Condition> {
    let error = error.as_database_error()?;
    #[cfg(feature = "sqlx-postgres")]
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        return crate::sqlstate::condition(error.code(), error.routine());
    }
    #[cfg(feature = "sqlx-mysql")]
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return of_mysql(error.number());
    }
    #[cfg(feature = "sqlx-sqlite")]
    if let Some(code) = code(error) {
        return crate::result_code::condition(code);
    }
    let _ = error;
    None
}

/// What the number of an error of MySQL or MariaDB means.
#[cfg(feature = "sqlx-mysql")]
const fn of_mysql(number: u16) -> Option<Condition> {
    Some(match number {
        // A deadlock, and a lock that was not free in time.
        1213 | 1205 | 3572 => Condition::Retryable,
        1317 | 1969 | 3024 => Condition::Canceled,
        1290 | 1792 | 1836 => Condition::ReadOnly,
        1040 | 1203 | 1226 => Condition::TooMany,
        1044 | 1045 | 1698 => Condition::Auth,
        1053 | 1927 => Condition::Unavailable,
        _ => return None,
    })
}

/// The constraint that was violated, if that is the error.
pub(crate) fn constraint(error: &sqlx::Error) -> Option<Constraint<'_>> {
    let error = error.as_database_error()?;
    #[cfg(feature = "sqlx-postgres")]
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        return Some(Constraint {
            kind: crate::sqlstate::constraint(error.code())?,
            name: error.constraint(),
            table: error.table(),
            column: error.column(),
        });
    }
    #[cfg(feature = "sqlx-sqlite")]
    if let Some(code) = code(error) {
        return crate::result_code::constraint(code, Some(error.message()));
    }
    let kind = match error.kind() {
        ErrorKind::UniqueViolation => ConstraintKind::Unique,
        ErrorKind::ForeignKeyViolation => ConstraintKind::ForeignKey,
        ErrorKind::NotNullViolation => ConstraintKind::NotNull,
        ErrorKind::CheckViolation => ConstraintKind::Check,
        ErrorKind::ExclusionViolation => ConstraintKind::Exclusion,
        _ => return None,
    };
    // MySQL tells the names in its message only, in the language of the server.
    Some(Constraint {
        kind,
        name: error.constraint(),
        table: error.table(),
        column: None,
    })
}

/// PostgreSQL's code.
#[cfg(feature = "sqlx-postgres")]
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error()?;
    Some(error.try_downcast_ref::<PgDatabaseError>()?.code())
}

/// The number of an error of MySQL or MariaDB.
#[cfg(feature = "sqlx-mysql")]
pub(crate) fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    Some(error.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// SQLite's extended result code.
#[cfg(feature = "sqlx-sqlite")]
pub(crate) fn result_code(error: &sqlx::Error) -> Option<i32> {
    code(error.as_database_error()?)
}

#[cfg(feature = "sqlx-sqlite")]
fn code(error: &(dyn DatabaseError + 'static)) -> Option<i32> {
    error.try_downcast_ref::<SqliteError>()?;
    error.code()?.parse().ok()
}

/// Returns the first error of sqlx or of this crate in `error`, as an error that tells what it means.
pub(super) fn is_retryable(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(of_sqlx) = error.downcast_ref::<sqlx::Error>() {
            return condition(of_sqlx) == Some(Condition::Retryable);
        }
        if let Some(own) = error.downcast_ref::<Error>() {
            return own.is_retryable();
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::error::says;

    #[test]
    fn an_error_of_the_pool_comes_back_from_an_error_of_sqlx() {
        let late = Error::no_answer(Duration::from_secs(3));
        let text = late.to_string();
        let of_sqlx = sqlx::Error::from(late);
        assert!(
            matches!(&of_sqlx, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut)
        );
        assert!(!is_lost_anywhere(&of_sqlx));
        let again = Error::from(of_sqlx);
        assert_eq!(
            (again.to_string(), says(&again)),
            (text, "timeout may_have_happened".to_owned())
        );
    }

    fn is_lost_anywhere(error: &sqlx::Error) -> bool {
        let mut lost = false;
        #[cfg(feature = "sqlx-postgres")]
        {
            lost |= is_lost::<sqlx::Postgres>(error);
        }
        #[cfg(feature = "sqlx-sqlite")]
        {
            lost |= is_lost::<sqlx::Sqlite>(error);
        }
        let _ = error;
        lost |= false;
        lost
    }

    #[test]
    fn an_error_of_sqlx_comes_back_from_an_error_of_the_pool() {
        let error = Error::from(sqlx::Error::ColumnNotFound("name".to_owned()));
        let again = Error::from(sqlx::Error::from(error));
        let of_sqlx = again.find::<sqlx::Error>();
        assert!(matches!(of_sqlx, Some(sqlx::Error::ColumnNotFound(name)) if name == "name"));
        let none = Error::from(sqlx::Error::RowNotFound);
        assert!(none.is_no_rows());
        assert!(matches!(sqlx::Error::from(none), sqlx::Error::RowNotFound));
        let refused = Error::connect("db", sqlx::Error::Io(io::Error::other("no")));
        let again = Error::from(sqlx::Error::from(refused));
        assert!(
            again.is_connect()
                && again.to_string()
                    == "cannot connect to db: error communicating with database: no",
            "{again}"
        );
    }

    #[test]
    fn each_error_of_sqlx_is_what_it_means() {
        use sqlx::Error as Of;
        for (error, means) in [
            (Of::RowNotFound, "may_have_happened no_rows"),
            (Of::PoolTimedOut, "timeout"),
            (Of::PoolClosed, "unavailable"),
            (Of::WorkerCrashed, "unavailable may_have_happened"),
            (
                Of::Io(io::ErrorKind::BrokenPipe.into()),
                "unavailable may_have_happened",
            ),
            (Of::Protocol("odd".to_owned()), "may_have_happened"),
            (Of::Encode("no".into()), ""),
            (Of::Decode("no".into()), "may_have_happened"),
            (Of::ColumnNotFound("a".to_owned()), "may_have_happened"),
        ] {
            let text = error.to_string();
            assert_eq!(says(&Error::from(error)), means, "{text}");
        }
    }

    #[test]
    fn what_is_retryable_is_found_among_the_causes() {
        let own = Error::other(Error::no_answer(Duration::ZERO));
        assert!(!is_retryable(&own) && !is_retryable(&io::Error::other("no")));
    }

    #[cfg(feature = "sqlx-mysql")]
    #[test]
    fn each_number_of_mysql_is_what_it_means() {
        for (number, means) in [
            (1213, Some(Condition::Retryable)),
            (1205, Some(Condition::Retryable)),
            (1317, Some(Condition::Canceled)),
            (1290, Some(Condition::ReadOnly)),
            (1040, Some(Condition::TooMany)),
            (1045, Some(Condition::Auth)),
            (1064, None),
        ] {
            assert_eq!(of_mysql(number), means, "{number}");
        }
    }
}
