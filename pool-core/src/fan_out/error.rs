//! The error of an item that has no value.

use std::{error::Error, fmt, time::Duration};

use crate::host::BoxError;

/// Why an item has no value, and which item it was. `E` is the error of the closure's future.
pub struct ItemError<E> {
    index: usize,
    kind: Kind<E>,
}

#[derive(Debug)]
pub(super) enum Kind<E> {
    Failed(E),
    TimedOut(Duration),
    Panicked(String),
    Lease { error: BoxError, timed_out: bool },
    NoRuntime,
    NoLimit,
}

impl<E> ItemError<E> {
    pub(super) const fn new(index: usize, kind: Kind<E>) -> Self {
        Self { index, kind }
    }

    /// The number of the item, counted from 0.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The error of the closure's future.
    pub const fn error(&self) -> Option<&E> {
        match &self.kind {
            Kind::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The error of the closure's future, by value.
    pub fn into_error(self) -> Option<E> {
        match self.kind {
            Kind::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Converts this error to one that implements `std::error::Error`, whatever `E` is: see
    /// [`Error::into_boxed`](crate::Error::into_boxed).
    pub fn into_boxed(self) -> BoxError
    where
        E: fmt::Debug + fmt::Display + Send + Sync + 'static,
    {
        BoxError::new(self)
    }

    /// Whether the item took longer than [`each_within`](super::FanOut::each_within), or its get timed out.
    pub const fn is_timeout(&self) -> bool {
        matches!(
            self.kind,
            Kind::TimedOut(_)
                | Kind::Lease {
                    timed_out: true,
                    ..
                }
        )
    }

    /// Whether the closure, its future or the iterator panicked.
    pub const fn is_panic(&self) -> bool {
        matches!(self.kind, Kind::Panicked(_))
    }

    /// Whether the pool gave no lease. The message is that of the pool's [`Error`](crate::Error).
    pub const fn is_lease(&self) -> bool {
        matches!(self.kind, Kind::Lease { .. })
    }

    /// Returns the pool's error. `P` is the error of the pool's manager.
    pub fn lease_error<P: 'static>(&self) -> Option<&crate::Error<P>> {
        match &self.kind {
            Kind::Lease { error, .. } => error.downcast_ref(),
            _ => None,
        }
    }

    /// Whether there was no tokio runtime to keep the time.
    pub const fn is_no_runtime(&self) -> bool {
        matches!(self.kind, Kind::NoRuntime)
    }
}

impl<E: fmt::Display> fmt::Display for ItemError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {}: ", self.index)?;
        match &self.kind {
            Kind::Failed(error) => write!(f, "{error:#}"),
            Kind::TimedOut(limit) => write!(f, "not done within {limit:?}"),
            Kind::Panicked(message) => write!(f, "panicked: {message}"),
            Kind::Lease { error, .. } => error.fmt(f),
            Kind::NoRuntime => {
                f.write_str("an item that has a deadline must run on a tokio runtime")
            }
            Kind::NoLimit => f.write_str("limit is 0, but must be at least 1"),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for ItemError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ItemError({self})")
    }
}

impl<E: Error + 'static> Error for ItemError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::Failed(error) => error.source(),
            _ => None,
        }
    }
}
