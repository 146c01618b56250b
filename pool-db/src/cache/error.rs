//! The error of a call that got no value.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use pool_core::FlightError;

/// Why a call of a [`Cache`](super::Cache) got no value. `E` is the error of the load, which all waiting calls share.
///
/// The second layer is never a reason.
pub struct LoadError<E> {
    cache: Arc<str>,
    kind: Kind<E>,
}

enum Kind<E> {
    Failed(Arc<E>),
    Panicked(Arc<str>),
    Timeout(Duration),
    /// The call could not take part in the load.
    Refused(FlightError<LoadError<E>>),
}

impl<E> LoadError<E> {
    pub(super) fn failed(cache: &Arc<str>, error: E) -> Self {
        Self::new(cache, Kind::Failed(Arc::new(error)))
    }

    pub(super) fn panicked(cache: &Arc<str>, message: &str) -> Self {
        Self::new(cache, Kind::Panicked(message.into()))
    }

    pub(super) fn timeout(cache: &Arc<str>, limit: Duration) -> Self {
        Self::new(cache, Kind::Timeout(limit))
    }

    /// The error of the load, if it is one, or why the call had no part in it.
    pub(super) fn of_flight(cache: &Arc<str>, error: FlightError<Self>) -> Self {
        match error.error() {
            Some(error) => error.clone(),
            None => Self::new(cache, Kind::Refused(error)),
        }
    }

    fn new(cache: &Arc<str>, kind: Kind<E>) -> Self {
        let cache = Arc::clone(cache);
        Self { cache, kind }
    }

    fn refused(&self, by: fn(&FlightError<Self>) -> bool) -> bool {
        matches!(&self.kind, Kind::Refused(error) if by(error))
    }

    /// Returns the error of the load.
    pub fn error(&self) -> Option<&E> {
        match &self.kind {
            Kind::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Returns a shared reference to the error of the load.
    pub fn shared_error(&self) -> Option<Arc<E>> {
        match &self.kind {
            Kind::Failed(error) => Some(Arc::clone(error)),
            _ => None,
        }
    }

    /// Whether the load panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.kind, Kind::Panicked(_)) || self.refused(FlightError::is_panic)
    }

    /// Whether the load took longer than [`load_timeout`](super::CacheConfig::load_timeout).
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::Timeout(_)) || self.refused(FlightError::is_timeout)
    }

    /// Whether too many calls were waiting for loads.
    pub fn is_overloaded(&self) -> bool {
        self.refused(FlightError::is_overloaded)
    }

    /// Whether a load asked the cache for its own key, and so would have waited for itself.
    pub fn is_reentrant(&self) -> bool {
        self.refused(FlightError::is_reentrant)
    }

    /// Whether there was no tokio runtime to load on, or that runtime ended.
    pub fn is_no_runtime(&self) -> bool {
        self.refused(FlightError::is_no_runtime)
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        let kind = match &self.kind {
            Kind::Failed(error) => Kind::Failed(Arc::clone(error)),
            Kind::Panicked(message) => Kind::Panicked(Arc::clone(message)),
            Kind::Timeout(limit) => Kind::Timeout(*limit),
            Kind::Refused(error) => Kind::Refused(error.clone()),
        };
        Self::new(&self.cache, kind)
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cache = &self.cache;
        match &self.kind {
            Kind::Failed(error) => write!(f, "{error:#}"),
            Kind::Panicked(message) => write!(f, "cache `{cache}`: the load panicked: {message}"),
            Kind::Timeout(limit) => {
                write!(f, "cache `{cache}`: the load did not end within {limit:?}")
            }
            Kind::Refused(error) if error.is_overloaded() => {
                write!(f, "cache `{cache}`: too many callers wait for loads")
            }
            Kind::Refused(error) if error.is_reentrant() => {
                write!(f, "cache `{cache}`: a load asked for its own key")
            }
            Kind::Refused(error) if error.is_no_runtime() => {
                write!(f, "cache `{cache}`: there is no tokio runtime to load on")
            }
            Kind::Refused(_) => write!(f, "cache `{cache}`: the load did not end in time"),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadError({self})")
    }
}

impl<E: Error + 'static> Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::Failed(error) => error.source(),
            _ => None,
        }
    }
}
