//! The error of all drivers.

#[cfg(any(feature = "tracing", feature = "metrics"))]
use std::borrow::Cow;
use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use pool_core::{Status, observe::Phase};

use crate::constraint::{Constraint, ConstraintKind};

/// Why a call to a pool, a connection or a transaction failed.
///
/// All drivers use this opaque type. Its predicates say what happened, the same for every database. [`inner`](Self::inner) returns
/// the error of the driver.
///
/// | question | ask |
/// |---|---|
/// | Shall the service answer 503, and the caller come back later? | [`is_unavailable`](Self::is_unavailable) |
/// | May the same transaction succeed if it is run again? | [`is_retryable`](Self::is_retryable) |
/// | Is it unknown whether the call took effect? | [`may_have_happened`](Self::may_have_happened) |
/// | Did the data violate a rule? | [`constraint`](Self::constraint) |
/// | Was the time over, and what was it spent on? | [`is_timeout`](Self::is_timeout), [`phase`](Self::phase), [`waited`](Self::waited), [`status`](Self::status) |
///
/// The text of the error contains its cause. [`source`](StdError::source) only returns causes that the text does not contain, so a
/// printed chain of errors repeats nothing.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    inner: Option<Arc<dyn StdError + Send + Sync>>,
    /// Whether the message contains all causes, and not only the first.
    has_all: bool,
    /// Whether nothing of the request was written to the connection.
    is_unsent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Timeout,
    Overloaded,
    Closed,
    Connect,
    Disconnected,
    Database,
    Panicked,
    Abandoned,
    Config,
    /// The driver could not make of the answer what the call asks for, or of the call a request.
    Driver,
    NoRows,
    ManyRows,
    Other,
}

#[cfg(any(feature = "tracing", feature = "metrics"))]
impl Kind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Closed => "closed",
            Self::Connect => "connect",
            Self::Disconnected => "disconnected",
            Self::Database => "database",
            Self::Panicked => "panicked",
            Self::Abandoned => "abandoned",
            Self::Config => "config",
            Self::Driver => "driver",
            Self::NoRows => "no_rows",
            Self::ManyRows => "many_rows",
            Self::Other => "other",
        }
    }
}

/// What the code of a database's error means, whichever database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The transaction may succeed if it is run again.
    Retryable,
    Canceled,
    ReadOnly,
    TooMany,
    Auth,
    /// The server starts, stops or is not reached.
    Unavailable,
    /// The database does not know whether a commit took effect.
    Unknown,
}

impl Error {
    /// Wraps an error of the application, so that a closure that is passed to `run` can return it.
    ///
    /// ```
    /// let error = pool_db::Error::other("the account is locked");
    /// assert_eq!(error.to_string(), "the account is locked");
    /// assert!(!error.is_database());
    /// ```
    pub fn other(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        Self::new(Kind::Other, error.to_string(), Some(error))
    }

    /// Whether a timeout has passed: `acquire_timeout` for a connection, or `query_timeout` for an answer.
    ///
    /// After a `query_timeout` the statement may or may not have taken effect.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == Kind::Timeout
    }

    /// Whether too many callers were already waiting. The call had no effect.
    pub fn is_overloaded(&self) -> bool {
        self.0.kind == Kind::Overloaded
    }

    /// Whether no connection could be opened. Also true for a timeout while opens failed.
    pub fn is_connect(&self) -> bool {
        match self.0.kind {
            Kind::Connect => true,
            Kind::Timeout => self
                .of_a_get()
                .is_some_and(|error| error.open_error().is_some()),
            _ => false,
        }
    }

    /// Whether the pool is closed.
    pub fn is_closed(&self) -> bool {
        self.0.kind == Kind::Closed
    }

    /// Whether the connection ended while it was in use. The statement may or may not have taken effect.
    pub fn is_disconnected(&self) -> bool {
        self.0.kind == Kind::Disconnected
    }

    /// Whether the database rejected the statement, for example because of a constraint, a syntax error or a lock.
    pub fn is_database(&self) -> bool {
        self.0.kind == Kind::Database
    }

    /// Whether the closure panicked. The pool closes the connection of that closure.
    pub fn is_panic(&self) -> bool {
        self.0.kind == Kind::Panicked
    }

    /// Whether an abandoned call (its future was dropped, or timed out) still has this connection. The connection returns to the
    /// pool when that call ends. Get another connection.
    pub fn is_abandoned(&self) -> bool {
        self.0.kind == Kind::Abandoned
    }

    /// Whether the statement violated a unique or primary key. [`constraint`](Self::constraint) says which, and tells of others.
    pub fn is_unique_violation(&self) -> bool {
        let constraint = self.constraint();
        constraint.is_some_and(|constraint| constraint.kind() == ConstraintKind::Unique)
    }

    /// Returns the constraint that the statement violated, if that is why it failed: SQLSTATE 23xxx, or `SQLITE_CONSTRAINT`. MySQL
    /// has the names in the text of its message only, from where they are read.
    pub fn constraint(&self) -> Option<Constraint<'_>> {
        #[cfg(feature = "sqlx")]
        if let Some(error) = self.find() {
            return crate::sqlx::error::constraint(error);
        }
        #[cfg(feature = "postgres")]
        if let Some(error) = self.find() {
            return crate::postgres::error::constraint(error);
        }
        #[cfg(feature = "sqlite")]
        if let Some(error) = self.find() {
            return crate::sqlite::error::constraint(error);
        }
        #[cfg(feature = "mysql")]
        if let Some(error) = self.find() {
            return crate::mysql::error::constraint(error);
        }
        None
    }

    /// Whether a query for one row found none.
    pub fn is_no_rows(&self) -> bool {
        self.0.kind == Kind::NoRows
    }

    /// Whether a query for one row found more than one. A statement that changes rows has changed all of them.
    pub fn is_many_rows(&self) -> bool {
        self.0.kind == Kind::ManyRows
    }

    /// Whether the transaction may succeed if it is run again from its beginning. It lost against another one (a serialization
    /// failure, a deadlock, a lock that was not free in time, a busy SQLite), or the server no longer has a prepared statement as it
    /// was prepared. Roll it back first; then it took no effect.
    ///
    /// That is SQLSTATE 40001, 40P01 and 55P03; MySQL's 1213, 1205, 1020 and 1615; 26000, and 0A000 of a prepared statement whose table was changed; `SQLITE_BUSY` (with
    /// `SQLITE_BUSY_SNAPSHOT`) and `SQLITE_LOCKED`. Try again a few times only, after a random delay that grows.
    ///
    /// It is false where no connection was had, although the call had no effect either: the pool has already waited for as long as
    /// it may, or has refused the call because of its load, and another try at once adds to that load. See
    /// [`is_unavailable`](Self::is_unavailable).
    pub fn is_retryable(&self) -> bool {
        self.condition() == Some(Condition::Retryable)
    }

    /// Whether the statement was cancelled on the server, by another session or by a `statement_timeout` (SQLSTATE 57014; 1317, 1969 and
    /// 3024), or interrupted (`SQLITE_INTERRUPT`). It took no effect.
    ///
    /// The pool's own `query_timeout` is [`is_timeout`](Self::is_timeout).
    pub fn is_canceled(&self) -> bool {
        self.condition() == Some(Condition::Canceled)
    }

    /// Whether the statement would write, but the transaction, server or file is read-only: SQLSTATE 25006, as from a replica; 1290,
    /// 1792, 1836; or `SQLITE_READONLY`.
    pub fn is_read_only(&self) -> bool {
        self.condition() == Some(Condition::ReadOnly)
    }

    /// Whether the server, the database or the role has all the connections that it may have: SQLSTATE 53300, or 1040,
    /// 1203 and 1226. The sizes of all
    /// pools on the server together are too large for it.
    ///
    /// It is false for SQLSTATE 53400, which is about other limits of the server's configuration.
    pub fn is_too_many(&self) -> bool {
        self.condition() == Some(Condition::TooMany)
    }

    /// Whether the server did not accept the user or the password: SQLSTATE 28xxx, or 1045, 1044, 1698.
    pub fn is_auth(&self) -> bool {
        self.condition() == Some(Condition::Auth)
    }

    /// Whether the database cannot be used now, and a service should answer 503: there was no connection in time, the pool is
    /// overloaded or closed, nothing can be opened, the connection was lost, or the server is full, starts or stops (SQLSTATE
    /// 53300, 57P01, 57P02, 57P03 and 08xxx).
    ///
    /// It is false after a `query_timeout`, which is about one statement.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use std::time::Duration;
    ///
    /// /// The HTTP status for a request whose query failed.
    /// fn status_code(error: &pool_db::Error) -> u16 {
    ///     match () {
    ///         () if error.is_no_rows() => 404,
    ///         () if error.constraint().is_some() => 409,
    ///         () if error.is_unavailable() => 503,
    ///         () if error.is_timeout() => 504,
    ///         () => 500,
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// let pool = pool_db::sqlite::Pool::builder().memory().max_size(1).build()?;
    /// let held = pool.get().await?;
    /// let error = pool.get().timeout(Duration::from_millis(5)).await.unwrap_err();
    /// assert_eq!(status_code(&error), 503);
    /// assert_eq!(error.status().map(|status| status.leased), Some(1));
    /// drop(held);
    /// let error = pool.run(|sqlite| sqlite.query_row("SELECT 1 WHERE false", [], |_| Ok(()))).await.unwrap_err();
    /// assert_eq!(status_code(&error), 404);
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_unavailable(&self) -> bool {
        match self.0.kind {
            Kind::Overloaded | Kind::Closed | Kind::Connect | Kind::Disconnected => true,
            Kind::Timeout => self.of_a_get().is_some(),
            _ => {
                let condition = self.condition();
                condition == Some(Condition::TooMany) || condition == Some(Condition::Unavailable)
            }
        }
    }

    /// Whether the call may have taken effect although it failed. Then look before you repeat it, or repeat only what does no harm
    /// if it happens twice.
    ///
    /// | error | |
    /// |---|---|
    /// | no connection: a timeout or a refusal of `get`, a failed connect, a closed pool | `false` |
    /// | an error of the database: the statement or transaction was rolled back | `false` |
    /// | the database does not know: SQLSTATE 08007 and 40003, `SQLITE_IOERR` | `true` |
    /// | `query_timeout`, a lost connection, a panic of the closure | `true` |
    /// | the driver cannot use an answer or a parameter, a number of rows that was not expected | `true`: in doubt |
    /// | one of these where nothing was written to the connection, as far as that is known | `false` |
    /// | an error of the application ([`other`](Self::other)) | `false`: the application knows |
    ///
    /// It is about the statement that failed. What the statements before it did is committed or part of a transaction, also those
    /// of the same closure (SQLite) or of the same `batch_execute`.
    pub fn may_have_happened(&self) -> bool {
        match self.0.kind {
            Kind::Timeout => self.of_a_get().is_none() && !self.is_unsent(),
            Kind::Disconnected | Kind::Panicked | Kind::Driver | Kind::NoRows | Kind::ManyRows => {
                !self.is_unsent()
            }
            Kind::Database => self.condition() == Some(Condition::Unknown),
            Kind::Overloaded
            | Kind::Closed
            | Kind::Connect
            | Kind::Abandoned
            | Kind::Config
            | Kind::Other => false,
        }
    }

    /// What a `get` was waiting for when its `acquire_timeout` passed: a return, an open, a check or a reset. `None` for other
    /// errors. So a timeout without a phase is that of a call that had its connection (`query_timeout`).
    pub fn phase(&self) -> Option<Phase> {
        self.of_a_get()?.phase()
    }

    /// How long the `get` had waited. `None` if the error is not one of a `get`.
    pub fn waited(&self) -> Option<Duration> {
        Some(self.of_a_get()?.waited())
    }

    /// The counts of the pool when the `get` failed. `None` if the error is not one of a `get`.
    pub fn status(&self) -> Option<&Status> {
        Some(self.of_a_get()?.status())
    }

    /// Returns PostgreSQL's five-character error code, if the server sent a code. A refused connect has a code too, such as `28P01`
    /// for a wrong password.
    pub fn as_sqlstate(&self) -> Option<&str> {
        #[cfg(feature = "postgres")]
        if let Some(error) = self.find::<tokio_postgres::error::DbError>() {
            return Some(error.code().code());
        }
        #[cfg(feature = "sqlx-postgres")]
        if let Some(error) = self.find() {
            return crate::sqlx::error::sqlstate(error);
        }
        None
    }

    /// Returns SQLite's extended result code, if the error came from SQLite.
    #[cfg(any(feature = "sqlite", feature = "sqlx-sqlite"))]
    pub fn as_sqlite_code(&self) -> Option<i32> {
        #[cfg(feature = "sqlx-sqlite")]
        if let Some(error) = self.find() {
            return crate::sqlx::error::result_code(error);
        }
        #[cfg(feature = "sqlite")]
        if let Some(error) = self.find() {
            return Some(crate::sqlite::error::of_sqlite(error)?.extended_code);
        }
        None
    }

    /// Returns the number of the error of MySQL or MariaDB, if the server sent one. A refused connect has one too, such as 1045 for a
    /// wrong password.
    #[cfg(any(feature = "mysql", feature = "sqlx-mysql"))]
    pub fn as_mysql_code(&self) -> Option<u16> {
        #[cfg(feature = "sqlx-mysql")]
        if let Some(error) = self.find() {
            return crate::sqlx::error::number(error);
        }
        #[cfg(feature = "mysql")]
        if let Some(error) = self.find::<mysql_async::ServerError>() {
            return Some(error.code);
        }
        None
    }

    /// Returns the first word of the answer of Redis, if it was an error: `READONLY`, `LOADING`, `WRONGTYPE`, `OOM`, or `ERR` for those
    /// without a code of their own.
    #[cfg(feature = "redis")]
    pub fn as_redis_code(&self) -> Option<&str> {
        crate::redis::error::code(self.find()?)
    }

    /// Returns the error that caused this error, if there is one: an error of the driver, of the pool or of the application.
    /// Inspect it with `downcast_ref`.
    ///
    /// ```
    /// let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
    /// let error = pool_db::Error::other(busy);
    /// let io = error.inner().and_then(|inner| inner.downcast_ref::<std::io::Error>());
    /// assert_eq!(io.map(|error| error.kind()), Some(std::io::ErrorKind::ResourceBusy));
    /// ```
    pub fn inner(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.inner.as_deref().map(|inner| inner as _)
    }

    /// The pool's error, if it is a `get` that failed.
    fn of_a_get(&self) -> Option<&pool_core::Error<Self>> {
        self.inner()?.downcast_ref()
    }

    /// What the database's code means, if the cause is an error of a database.
    pub(crate) fn condition(&self) -> Option<Condition> {
        #[cfg(feature = "sqlx")]
        if let Some(error) = self.find() {
            return crate::sqlx::error::condition(error);
        }
        #[cfg(feature = "postgres")]
        if let Some(error) = self.find() {
            return crate::postgres::error::condition(error);
        }
        #[cfg(feature = "postgres")]
        if self.find::<crate::postgres::error::NoRoom>().is_some() {
            return Some(Condition::TooMany);
        }
        #[cfg(feature = "sqlite")]
        if let Some(code) = self.as_sqlite_code() {
            return crate::result_code::condition(code);
        }
        #[cfg(feature = "mysql")]
        if let Some(code) = self.as_mysql_code() {
            return crate::mysql::error::condition(code);
        }
        #[cfg(feature = "redis")]
        if let Some(error) = self.find() {
            return crate::redis::error::condition(error);
        }
        None
    }

    /// What is reported of the error: the database's code, or else its kind in one word.
    #[cfg(any(feature = "tracing", feature = "metrics"))]
    pub(crate) fn error_type(&self) -> Cow<'_, str> {
        if let Some(code) = self.as_sqlstate() {
            return Cow::Borrowed(code);
        }
        #[cfg(feature = "sqlite")]
        if let Some(code) = self.as_sqlite_code() {
            return Cow::Owned(code.to_string());
        }
        Cow::Borrowed(self.0.kind.word())
    }

    /// Returns the first `T` among the causes, including the causes of a pool's error.
    pub(crate) fn find<T: StdError + 'static>(&self) -> Option<&T> {
        let mut cause = self.inner();
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = if let Some(pool) = error.downcast_ref::<pool_core::Error<Self>>() {
                pool.connect_error().and_then(Self::inner)
            } else if let Some(own) = error.downcast_ref::<Self>() {
                own.inner()
            } else {
                error.source()
            };
        }
        None
    }

    pub(crate) fn new(
        kind: Kind,
        message: String,
        inner: Option<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            message,
            inner: inner.map(Arc::from),
            has_all: false,
            is_unsent: false,
        }))
    }

    /// Returns the same error again, for a driver whose own error has carried this one to its caller.
    #[cfg(feature = "redis")]
    pub(crate) fn again(&self) -> Self {
        let Inner {
            kind,
            has_all,
            is_unsent,
            ..
        } = *self.0;
        Self(Box::new(Inner {
            kind,
            message: self.0.message.clone(),
            inner: self.0.inner.clone(),
            has_all,
            is_unsent,
        }))
    }

    /// Marks the message as one that contains all causes.
    pub(crate) fn whole(mut self) -> Self {
        self.0.has_all = true;
        self
    }

    /// Records that nothing of the request was written to the connection.
    pub(crate) fn unsent(mut self) -> Self {
        self.0.is_unsent = true;
        self
    }

    /// Says what may be the cause, or the way out.
    #[cfg(feature = "postgres")]
    pub(crate) fn hinted(mut self, hint: &str) -> Self {
        self.0.message.push_str("; ");
        self.0.message.push_str(hint);
        self
    }

    /// Whether nothing of the request was written to the connection.
    pub(crate) const fn is_unsent(&self) -> bool {
        self.0.is_unsent
    }

    /// No answer arrived within `query_timeout`.
    pub(crate) fn no_answer(within: Duration) -> Self {
        Self::new(
            Kind::Timeout,
            format!("no answer within {within:?} (query_timeout)"),
            None,
        )
    }

    /// A statement, or its parameters, that cannot be sent.
    pub(crate) fn bad_statement(why: String) -> Self {
        Self::new(Kind::Driver, why, None).unsent()
    }

    /// A value that is not what was asked for.
    pub(crate) fn bad_value(why: String) -> Self {
        Self::new(Kind::Driver, why, None).unsent()
    }

    /// An answer that cannot be read.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn bad_answer(why: String) -> Self {
        Self::new(Kind::Driver, why, None)
    }

    /// A commit of a transaction in which a statement was abandoned.
    pub(crate) fn abandoned_in_transaction() -> Self {
        let message = "the transaction was rolled back: the future of a statement in it was dropped, or timed out";
        Self::new(Kind::Abandoned, message.to_owned(), None)
    }

    /// A handle of a transaction outlives its closure.
    pub(crate) fn open_handle() -> Self {
        let message = "the transaction was rolled back: a handle of it is still there after its closure has ended";
        Self::new(Kind::Abandoned, message.to_owned(), None)
    }

    /// Another number of rows than the call allows.
    pub(crate) fn row_count(found: usize, expected: &str) -> Self {
        let message = format!("the statement returned {found} rows, but must return {expected}");
        let kind = if found == 0 {
            Kind::NoRows
        } else {
            Kind::ManyRows
        };
        Self::new(kind, message, None)
    }

    /// A commit of a transaction that can only be rolled back.
    pub(crate) fn failed_transaction() -> Self {
        let message = "the transaction was rolled back: a statement in it had failed";
        Self::new(Kind::Database, message.to_owned(), None)
    }

    /// A statement in a transaction that can only be rolled back.
    #[cfg(any(feature = "sqlite", feature = "mysql"))]
    pub(crate) fn in_failed_transaction() -> Self {
        let message =
            "the statement was not run: an earlier statement of the transaction has failed";
        Self::new(Kind::Database, message.to_owned(), None)
    }

    /// No connection to `target` could be opened.
    pub(crate) fn connect(target: &str, error: impl StdError + Send + Sync + 'static) -> Self {
        let message = format!("cannot connect to {target}: {}", reason(&error));
        Self::new(Kind::Connect, message, Some(Box::new(error))).whole()
    }
}

/// What drivers of servers have in common.
impl Error {
    /// Whether the connection was lost before the request was written to it.
    pub(crate) fn was_lost_before(&self) -> bool {
        self.is_disconnected() && self.is_unsent()
    }

    /// A session that could not be set up again.
    pub(crate) fn set_up(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(Kind::Disconnected, reason(&error), Some(Box::new(error))).whole()
    }

    /// Another number of parameters than the statement has.
    pub(crate) fn param_count(given: usize, expected: usize) -> Self {
        let message = format!("expected {expected} parameters but got {given}");
        Self::new(Kind::Driver, message, None).unsent()
    }
}

/// Returns the error and its causes on one line, without repetitions.
pub(crate) fn reason(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.replace('\n', ", ")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            message,
            inner,
            ..
        } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("message", message)
            .field("inner", inner)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        if self.0.has_all {
            return None;
        }
        self.inner()?.source()
    }
}

impl From<pool_core::Error<Self>> for Error {
    fn from(error: pool_core::Error<Self>) -> Self {
        let kind = if error.is_timeout() {
            Kind::Timeout
        } else if error.is_overloaded() {
            Kind::Overloaded
        } else if error.is_closed() {
            Kind::Closed
        } else if error.is_connect() {
            Kind::Connect
        } else {
            Kind::Other
        };
        Self::new(kind, error.to_string(), Some(Box::new(error)))
    }
}

impl From<pool_core::ConfigError> for Error {
    fn from(error: pool_core::ConfigError) -> Self {
        Self::new(Kind::Config, error.to_string(), Some(Box::new(error)))
    }
}

/// The predicates that are true of the error, for the tests of the drivers.
#[cfg(test)]
pub(crate) fn says(error: &Error) -> String {
    let all = [
        ("timeout", error.is_timeout()),
        ("retryable", error.is_retryable()),
        ("canceled", error.is_canceled()),
        ("read_only", error.is_read_only()),
        ("too_many", error.is_too_many()),
        ("auth", error.is_auth()),
        ("unavailable", error.is_unavailable()),
        ("may_have_happened", error.may_have_happened()),
        ("constraint", error.constraint().is_some()),
        ("no_rows", error.is_no_rows()),
        ("many_rows", error.is_many_rows()),
    ];
    let are = all.iter().filter(|(_, is)| *is).map(|(name, _)| *name);
    are.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use pool_core::{Pool, manager_fn};

    use super::*;

    #[test]
    fn an_error_is_one_pointer_in_size() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_get_says_what_it_waited_for_and_how_long_and_the_counts() {
        let open = || async { Ok::<_, Error>(()) };
        let pool = Pool::builder(manager_fn(open)).max_size(1).build().unwrap();
        let held = pool.get().await.unwrap();
        let second = Duration::from_secs(1);
        let late = Error::from(pool.get().timeout(second).await.unwrap_err());
        assert_eq!(says(&late), "timeout unavailable");
        assert_eq!(late.phase(), Some(Phase::Wait));
        assert!(late.waited() >= Some(second));
        assert_eq!(late.status().map(|status| status.leased), Some(1));
        let busy = Error::from(pool.try_get().unwrap_err());
        assert_eq!(says(&busy), "");
        pool.close();
        let closed = Error::from(pool.get().await.unwrap_err());
        assert_eq!(says(&closed), "unavailable");
        assert_eq!(closed.phase(), None);
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_get_without_a_place_in_the_queue_had_no_effect() {
        let open = || async { Ok::<_, Error>(()) };
        let pool = Pool::builder(manager_fn(open)).max_waiters(0);
        let full = Error::from(pool.build().unwrap().get().await.unwrap_err());
        assert!(full.is_overloaded());
        assert_eq!(says(&full), "unavailable");
        assert_eq!((full.phase(), full.waited().is_some()), (None, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_while_nothing_opens_is_an_error_of_the_connect_too() {
        let open = || async { Err::<(), _>(Error::connect("db", std::io::Error::other("no"))) };
        let pool = Pool::builder(manager_fn(open)).build().unwrap();
        let error = Error::from(pool.get().await.unwrap_err());
        assert!(error.is_connect(), "{error}");
        assert_eq!(says(&error).replace("timeout ", ""), "unavailable");
    }

    #[test]
    fn an_error_of_the_application_is_none_of_the_database() {
        let error = Error::other("the account is locked");
        assert_eq!(says(&error), "");
        assert!(error.phase().is_none() && error.status().is_none());
    }
}
