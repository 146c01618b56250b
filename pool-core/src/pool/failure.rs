//! Why a resource could not be opened.

use std::{error::Error, fmt, sync::Arc, time::Duration};

/// Why an attempt to open a resource failed. Shared by all whom it concerns.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The manager's own error.
    Manager(E),
    /// It took longer than `create_timeout`.
    TimedOut(Duration),
    /// The manager panicked, and what it said.
    Panicked(String),
}

/// How the kernel keeps one.
pub(crate) type Failure<E> = Arc<OpenError<E>>;

impl<E: fmt::Display> fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager(error) => error.fmt(f),
            Self::TimedOut(after) => write!(f, "opening one took longer than {after:?}"),
            Self::Panicked(message) => {
                write!(f, "the manager panicked while opening one: {message}")
            }
        }
    }
}

impl<E: Error + 'static> Error for OpenError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Manager(error) => error.source(),
            Self::TimedOut(_) | Self::Panicked(_) => None,
        }
    }
}
