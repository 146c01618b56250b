//! The error of a call that got no value.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use super::board::End;
use crate::host::BoxError;

/// Why a call of [`Flight::run`](super::Flight::run) got no value. `E` is the error of the computation, which all waiting calls
/// share.
///
/// ```
/// use std::{io, time::Duration};
/// use pool_core::{Flight, FlightError};
///
/// /// The HTTP status for a page that was not made.
/// fn status_code(error: &FlightError<io::Error>) -> u16 {
///     match error.error() {
///         Some(error) if error.kind() == io::ErrorKind::NotFound => 404,
///         Some(_) => 502, // a backend of the page failed
///         None if error.is_overloaded() => 503,
///         None if error.is_timeout() => 504,
///         None => 500, // a panic, or a computation that asked for itself
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pages: Flight<u32, String, io::Error> = Flight::builder().timeout(Duration::from_millis(10)).build()?;
/// let missing = || async { Err(io::ErrorKind::NotFound.into()) };
/// let error = pages.run(7, missing).await.unwrap_err();
/// assert_eq!(status_code(&error), 404);
/// let slow = || async { std::future::pending().await };
/// assert_eq!(status_code(&pages.run(8, slow).await.unwrap_err()), 504);
/// # Ok(())
/// # }
/// ```
pub struct FlightError<E> {
    /// The name of the flight.
    flight: Arc<str>,
    kind: Kind<E>,
}

pub(super) enum Kind<E> {
    Failed(Arc<E>),
    Panicked(Arc<str>),
    Timeout(Duration),
    Overloaded(usize),
    Reentrant,
    NoRuntime,
}

impl<E> FlightError<E> {
    pub(super) const fn new(flight: Arc<str>, kind: Kind<E>) -> Self {
        Self { flight, kind }
    }

    /// Returns the error of the computation.
    pub fn error(&self) -> Option<&E> {
        match &self.kind {
            Kind::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Converts this error to one that implements `std::error::Error`, whatever `E` is: see
    /// [`Error::into_boxed`](crate::Error::into_boxed).
    pub fn into_boxed(self) -> BoxError
    where
        E: fmt::Display + Send + Sync + 'static,
    {
        BoxError::new(self)
    }

    /// Returns a shared reference to the error of the computation.
    pub fn shared_error(&self) -> Option<Arc<E>> {
        match &self.kind {
            Kind::Failed(error) => Some(Arc::clone(error)),
            _ => None,
        }
    }

    /// Whether the computation panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.kind, Kind::Panicked(_))
    }

    /// Whether the deadline passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::Timeout(_))
    }

    /// Whether too many calls were waiting.
    pub fn is_overloaded(&self) -> bool {
        matches!(self.kind, Kind::Overloaded(_))
    }

    /// Whether a computation asked for its own key, and so would have waited for itself.
    pub fn is_reentrant(&self) -> bool {
        matches!(self.kind, Kind::Reentrant)
    }

    /// Whether there was no tokio runtime to compute on, or that runtime ended.
    pub fn is_no_runtime(&self) -> bool {
        matches!(self.kind, Kind::NoRuntime)
    }
}

impl<V, E> End<V, E> {
    /// The result of a waiting call.
    pub(super) fn result(&self) -> Result<V, Kind<E>>
    where
        V: Clone,
    {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Failed(error) => Err(Kind::Failed(Arc::clone(error))),
            Self::Panicked(message) => Err(Kind::Panicked(Arc::clone(message))),
        }
    }
}

impl<E> Clone for FlightError<E> {
    fn clone(&self) -> Self {
        let kind = match &self.kind {
            Kind::Failed(error) => Kind::Failed(Arc::clone(error)),
            Kind::Panicked(message) => Kind::Panicked(Arc::clone(message)),
            Kind::Timeout(limit) => Kind::Timeout(*limit),
            Kind::Overloaded(waiting) => Kind::Overloaded(*waiting),
            Kind::Reentrant => Kind::Reentrant,
            Kind::NoRuntime => Kind::NoRuntime,
        };
        Self::new(Arc::clone(&self.flight), kind)
    }
}

impl<E: fmt::Display> fmt::Display for FlightError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Kind::Failed(error) = &self.kind {
            return write!(f, "{error:#}");
        }
        write!(f, "flight `{}`: ", self.flight)?;
        match &self.kind {
            Kind::Failed(_) => Ok(()),
            Kind::Panicked(message) => write!(f, "the computation panicked: {message}"),
            Kind::Timeout(limit) => write!(f, "the computation did not end within {limit:?}"),
            Kind::Overloaded(waiting) => {
                write!(f, "{waiting} callers already wait for computations")
            }
            Kind::Reentrant => f.write_str("a computation asked for its own key"),
            Kind::NoRuntime => f.write_str("there is no tokio runtime to compute on"),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for FlightError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlightError({self})")
    }
}

impl<E: Error + 'static> Error for FlightError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::Failed(error) => error.source(),
            _ => None,
        }
    }
}
