//! Why a get ended without a resource.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use super::{
    BoxError,
    failure::{Failure, OpenError},
};
use crate::observe::{Phase, Status};

/// Why a get ended without a resource: what happened, after how long, in which phase, what the pool looked like, and the last
/// error that opening one gave. `E` is [`Manager::Error`](crate::Manager::Error).
///
/// One pointer: a get that succeeds pays nothing for it.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
/// # use pool_core::Pool;
/// # use std::time::Duration;
/// # use pool_core::observe::Phase;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(1).build()?;
/// /// What a service answers when it has no connection: not now (503, with `Retry-After`); else there is a mistake in its code.
/// fn status_code<E>(error: &pool_core::Error<E>) -> u16 {
///     let later = error.is_timeout() || error.is_overloaded() || error.is_connect() || error.is_closed();
///     if later { 503 } else { 500 }
/// }
///
/// let held = pool.get().label("export").await?;
/// let error = pool.get().timeout(Duration::from_millis(5)).await.unwrap_err();
/// assert_eq!((status_code(&error), error.phase()), (503, Some(Phase::Wait)));
/// // pool `orders`: none was given back within 5ms (1 of 1 in use, 0 idle, 0 opening, 0 waiting)
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

/// In which words an error says what is in use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Words {
    /// Each resource serves one.
    Resources,
    /// Each connection serves many: so many are open, of so many at most.
    Shares { open: u32, max: u32 },
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
    /// More than there may be were asked for at once: so many may be.
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

    /// The deadline came first.
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.kind, Kind::Timeout(_))
    }

    /// The line was full, or load is being shed: nothing was waited for in vain. Worth a retry elsewhere, or later.
    pub fn is_overloaded(&self) -> bool {
        matches!(self.inner.kind, Kind::Overloaded | Kind::Shed)
    }

    /// The pool was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.kind == Kind::Closed
    }

    /// The pool itself failed: its kernel panicked, which is a bug of this crate. It is closed, and hands out nothing any more; what is
    /// leased stays usable.
    pub fn is_poisoned(&self) -> bool {
        self.inner.kind == Kind::Poisoned
    }

    /// More were asked for at once than there may be: [`KeyedPool::warm_up`](crate::KeyedPool::warm_up).
    pub fn is_too_large(&self) -> bool {
        matches!(self.inner.kind, Kind::TooLarge(_))
    }

    /// Nothing is open and nothing can be opened; [`connect_error`](Self::connect_error) says why.
    pub fn is_connect(&self) -> bool {
        self.inner.kind == Kind::Connect
    }

    /// [`try_get`](crate::Pool::try_get) found none that is idle and known to be good.
    pub fn is_busy(&self) -> bool {
        self.inner.kind == Kind::Busy
    }

    /// A get had to wait, and there was no tokio runtime to open anything on.
    pub fn is_no_runtime(&self) -> bool {
        self.inner.kind == Kind::NoRuntime
    }

    /// What was waited for when the deadline came.
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

    /// The pool at that moment.
    pub fn status(&self) -> &Status {
        &self.inner.status
    }

    /// The manager's last error, if attempts to open one were failing, and that is what they died of.
    pub fn connect_error(&self) -> Option<&E> {
        match self.inner.failure.as_deref()? {
            OpenError::Manager(error) => Some(error),
            _ => None,
        }
    }

    /// The same as an error in the sense of `std`, whatever `E` is: for `?` where the manager's error is none, as `anyhow::Error`. Its text
    /// has all there is to say, and it has no source.
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

    /// What the last attempt to open one died of, if attempts were failing: as [`connect_error`](Self::connect_error), and also
    /// timeouts and panics.
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
                    Phase::Wait => "none was given back",
                    Phase::Create => "none could be opened",
                    Phase::Check => "a check did not end",
                    Phase::Reset => "a reset did not end",
                };
                write!(f, "pool `{pool}`: {what} within {waited:?}")?;
            }
            Kind::Overloaded => write!(f, "pool `{pool}`: the line is full")?,
            Kind::Shed => write!(
                f,
                "pool `{pool}`: overloaded, told no after waiting {waited:?}"
            )?,
            Kind::Closed => return write!(f, "pool `{pool}` is closed"),
            Kind::Poisoned => {
                return write!(
                    f,
                    "pool `{pool}` is poisoned: its kernel panicked, and it hands out nothing any more"
                );
            }
            Kind::TooLarge(most) => {
                return write!(
                    f,
                    "pool `{pool}`: more were asked for at once than there may be, which is {most}"
                );
            }
            Kind::Connect => write!(
                f,
                "pool `{pool}`: nothing is open and nothing can be opened"
            )?,
            Kind::Busy => write!(f, "pool `{pool}`: none is idle")?,
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
            Words::Shares { open, max } => write!(
                f,
                " ({open} of {max} connections open, {opening} opening, {leased} of {max_size} shares in use, {waiting} waiting)"
            )?,
        }
        match failure {
            Some(failure) => write!(f, "; the last attempt to open one failed: {failure}"),
            None => Ok(()),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.inner.kind)
    }
}

/// The text has the cause; its source is that of the cause.
impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.failure.as_deref()?.source()
    }
}
