//! The error of a get that ended without a resource.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use super::{
    BoxError,
    failure::{Failure, OpenError},
};
use crate::observe::{Phase, Status};

/// The error of a get that ended without a resource. It says what happened, after how long and in which phase, what the counts of
/// the pool were, and what the last failed open returned. `E` is [`Manager::Error`](crate::Manager::Error).
///
/// The error is one pointer in size, so a get that succeeds costs no more for it.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
/// # use pool_core::Pool;
/// # use std::time::Duration;
/// # use pool_core::observe::Phase;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(1).build()?;
/// /// The HTTP status for a request that got no connection: 503 (with `Retry-After`), or 500 for a bug in the service.
/// fn status_code<E>(error: &pool_core::Error<E>) -> u16 {
///     let later = error.is_timeout() || error.is_overloaded() || error.is_connect() || error.is_closed();
///     if later { 503 } else { 500 }
/// }
///
/// let held = pool.get().label("export").await?;
/// let error = pool.get().timeout(Duration::from_millis(5)).await.unwrap_err();
/// assert_eq!((status_code(&error), error.phase()), (503, Some(Phase::Wait)));
/// // pool `orders`: no resource became free within 5ms (1 of 1 in use, 0 idle, 0 opening, 0 waiting)
/// assert!(error.to_string().contains("1 of 1 in use"));
/// assert_eq!(error.status().leased, 1);
/// # drop(held);
/// # Ok(())
/// # }
/// ```
pub struct Error<E> {
    inner: Box<Inner<E>>,
}

struct Inner<E> {
    pool: Arc<str>,
    kind: Kind,
    waited: Duration,
    status: Status,
    words: Words,
    failure: Option<Failure<E>>,
}

/// How the message describes what is in use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Words {
    /// Each resource serves one caller.
    Resources,
    /// Each connection serves many callers: `open` connections are open, of `max`, and `draining` of them take no more shares.
    Shares { open: u32, max: u32, draining: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Timeout(Phase),
    Overloaded,
    Shed,
    Closed,
    Connect,
    Busy,
    NoRuntime,
    /// The kernel panicked.
    Poisoned,
    /// A call asked for more resources than the bound, which is this number.
    TooLarge(u32),
}

impl<E> Error<E> {
    pub(crate) fn new(
        pool: Arc<str>,
        kind: Kind,
        waited: Duration,
        status: Status,
        words: Words,
        failure: Option<Failure<E>>,
    ) -> Self {
        Self {
            inner: Box::new(Inner {
                pool,
                kind,
                waited,
                status,
                words,
                failure,
            }),
        }
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// Whether the deadline passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.kind, Kind::Timeout(_))
    }

    /// Whether the queue was full, or the pool shed load. Retry later, or with another instance.
    pub fn is_overloaded(&self) -> bool {
        matches!(self.inner.kind, Kind::Overloaded | Kind::Shed)
    }

    /// Whether the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.kind == Kind::Closed
    }

    /// Whether the pool itself failed: its kernel panicked, which is a bug of this crate. A poisoned pool is closed and hands out
    /// no more resources. Leased resources remain usable.
    pub fn is_poisoned(&self) -> bool {
        self.inner.kind == Kind::Poisoned
    }

    /// Whether the call asked for more resources than the bound: [`KeyedPool::warm_up`](crate::KeyedPool::warm_up).
    pub fn is_too_large(&self) -> bool {
        matches!(self.inner.kind, Kind::TooLarge(_))
    }

    /// Whether no resource is open and opens fail; [`connect_error`](Self::connect_error) returns the cause.
    pub fn is_connect(&self) -> bool {
        self.inner.kind == Kind::Connect
    }

    /// Whether [`try_get`](crate::Pool::try_get) found no resource that is idle and known to be good.
    pub fn is_busy(&self) -> bool {
        self.inner.kind == Kind::Busy
    }

    /// Whether a get had to wait while there was no tokio runtime to open a resource on.
    pub fn is_no_runtime(&self) -> bool {
        self.inner.kind == Kind::NoRuntime
    }

    /// The phase in which the deadline passed: what the get was waiting for. `None` for other errors.
    pub fn phase(&self) -> Option<Phase> {
        match self.inner.kind {
            Kind::Timeout(phase) => Some(phase),
            _ => None,
        }
    }

    /// How long the get had waited.
    pub fn waited(&self) -> Duration {
        self.inner.waited
    }

    /// The counts of the pool when the get failed.
    pub fn status(&self) -> &Status {
        &self.inner.status
    }

    /// The manager's own error of the last open, if opens were failing with such an error.
    pub fn connect_error(&self) -> Option<&E> {
        match self.inner.failure.as_deref()? {
            OpenError::Manager(error) => Some(error),
            _ => None,
        }
    }

    /// Converts this error to one that implements `std::error::Error`, whatever `E` is. Use it for `?` when the manager's error
    /// does not implement that trait, like `anyhow::Error`. The text of the returned error is complete; its `source` is `None`.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Unlike(&'static str);
    /// # impl std::fmt::Display for Unlike {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.0) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = ();
    /// #     type Error = Unlike;
    /// #     async fn create(&self) -> Result<(), Unlike> { Err(Unlike("no such host")) }
    /// #     async fn check(&self, _: &mut (), _: &Usage) -> Result<(), Unlike> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// async fn ask(pool: &Pool<Db>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    ///     let lease = pool.get().await.map_err(pool_core::Error::into_boxed)?;
    ///     Ok(*lease)
    /// }
    /// # let pool = Pool::builder(Db).build().unwrap();
    /// assert!(ask(&pool).await.unwrap_err().to_string().ends_with("no such host"));
    /// # }
    /// ```
    pub fn into_boxed(self) -> BoxError
    where
        E: fmt::Display + Send + Sync + 'static,
    {
        BoxError::new(self)
    }

    /// Why the last open failed, if opens were failing. Unlike [`connect_error`](Self::connect_error), it includes timeouts and
    /// panics.
    pub fn open_error(&self) -> Option<&OpenError<E>> {
        self.inner.failure.as_deref()
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            pool,
            kind,
            waited,
            status,
            words,
            failure,
        } = &*self.inner;
        let waited = Duration::from_micros(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        match kind {
            Kind::Timeout(phase) => {
                let what = match phase {
                    Phase::Wait => "no resource became free",
                    Phase::Create => "no resource could be opened",
                    Phase::Check => "a check did not end",
                    Phase::Reset => "a reset did not end",
                };
                write!(f, "pool `{pool}`: {what} within {waited:?}")?;
            }
            Kind::Overloaded => write!(f, "pool `{pool}`: the queue is full")?,
            Kind::Shed => write!(
                f,
                "pool `{pool}`: overloaded, refused after a wait of {waited:?}"
            )?,
            Kind::Closed => return write!(f, "pool `{pool}` is closed"),
            Kind::Poisoned => {
                return write!(
                    f,
                    "pool `{pool}` is poisoned: its kernel panicked, and it no longer hands out resources"
                );
            }
            Kind::TooLarge(most) => {
                return write!(
                    f,
                    "pool `{pool}`: the call asks for more resources than the bound, which is {most}"
                );
            }
            Kind::Connect => write!(
                f,
                "pool `{pool}`: no resource is open and none can be opened"
            )?,
            Kind::Busy => write!(f, "pool `{pool}`: no resource is idle")?,
            Kind::NoRuntime => {
                return write!(
                    f,
                    "pool `{pool}`: a get that has to wait must run on a tokio runtime"
                );
            }
        }
        let Status {
            max_size,
            leased,
            idle,
            opening,
            waiting,
            ..
        } = status;
        match words {
            Words::Resources => write!(
                f,
                " ({leased} of {max_size} in use, {idle} idle, {opening} opening, {waiting} waiting)"
            )?,
            Words::Shares {
                open,
                max,
                draining,
            } => {
                write!(f, " ({open} of {max} connections open, ")?;
                // They have their places, and no shares for whoever waits: else the figures make no sense.
                if *draining > 0 {
                    write!(f, "{draining} of them draining, ")?;
                }
                write!(
                    f,
                    "{opening} opening, {leased} of {max_size} shares in use, {waiting} waiting)"
                )?;
            }
        }
        match failure {
            Some(failure) => write!(f, "; the last open failed: {failure}"),
            None => Ok(()),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.inner.kind)
    }
}

/// The message includes the text of the cause, so `source` returns the source of the cause.
impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.failure.as_deref()?.source()
    }
}
