//! Why one could not be opened, as an observer is told.

use std::{any::Any, fmt};

/// Why one could not be opened: shows what an [`OpenError`](crate::OpenError) says, and can be asked for the error itself.
///
/// ```
/// use pool_core::{OpenError, observe::{Cause, Observer}};
///
/// /// Counts what is refused because too many are connected.
/// struct Refused;
///
/// impl Observer for Refused {
///     fn open_failed(&self, pool: &str, cause: &Cause<'_>) {
///         if let Some(OpenError::Manager(error)) = cause.downcast_ref::<OpenError<std::io::Error>>() {
///             println!("{pool}: {:?}", error.kind());
///         }
///     }
/// }
/// ```
pub struct Cause<'a> {
    shown: &'a dyn fmt::Display,
    error: &'a dyn Any,
}

impl<'a> Cause<'a> {
    pub(crate) fn of<E: fmt::Display + Any>(error: &'a E) -> Self {
        Self {
            shown: error,
            error,
        }
    }

    /// The error itself, if it is an `E`: an [`OpenError`](crate::OpenError) of the manager's error.
    pub fn downcast_ref<E: Any>(&self) -> Option<&'a E> {
        self.error.downcast_ref()
    }
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)
    }
}

impl fmt::Debug for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cause({self})")
    }
}
