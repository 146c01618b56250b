//! The error of all drivers.

use std::{error::Error as StdError, fmt, time::Duration};

/// Why a call to a pool, a connection or a transaction failed.
///
/// Both drivers use this opaque type. Its predicates say what happened. [`inner`](Self::inner) returns the error of the driver.
///
/// The text of the error contains its cause. [`source`](StdError::source) only returns causes that the text does not contain, so a
/// printed chain of errors repeats nothing.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    inner: Option<Box<dyn StdError + Send + Sync>>,
    /// Whether the message contains all causes, and not only the first.
    has_all: bool,
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
    Other,
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
                .find::<pool_core::Error<Self>>()
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

    /// Whether the statement violated a unique or primary key.
    pub fn is_unique_violation(&self) -> bool {
        #[cfg(feature = "sqlite")]
        {
            use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
            if let Some(SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_UNIQUE) =
                self.as_sqlite_code()
            {
                return true;
            }
        }
        self.as_sqlstate() == Some("23505")
    }

    /// Returns PostgreSQL's five-character error code, if the server sent a code. A refused connect has a code too, such as `28P01`
    /// for a wrong password.
    pub fn as_sqlstate(&self) -> Option<&str> {
        #[cfg(feature = "postgres")]
        return Some(self.find::<tokio_postgres::error::DbError>()?.code().code());
        #[cfg(not(feature = "postgres"))]
        None
    }

    /// Returns SQLite's extended result code, if the error came from SQLite.
    #[cfg(feature = "sqlite")]
    pub fn as_sqlite_code(&self) -> Option<i32> {
        Some(crate::sqlite::error::refusal(self.find()?)?.extended_code)
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
            inner,
            has_all: false,
        }))
    }

    /// Marks the message as one that contains all causes.
    pub(crate) fn whole(mut self) -> Self {
        self.0.has_all = true;
        self
    }

    /// No answer arrived within `query_timeout`.
    pub(crate) fn no_answer(within: Duration) -> Self {
        Self::new(
            Kind::Timeout,
            format!("no answer within {within:?} (query_timeout)"),
            None,
        )
    }

    /// No connection to `target` could be opened.
    pub(crate) fn connect(target: &str, error: impl StdError + Send + Sync + 'static) -> Self {
        let message = format!("cannot connect to {target}: {}", reason(&error));
        Self::new(Kind::Connect, message, Some(Box::new(error))).whole()
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
