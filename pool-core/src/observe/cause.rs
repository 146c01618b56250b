//! The cause of a failed open, as an observer gets it.

use std::{any::Any, fmt};

/// Why an open failed. Displays the text of an [`OpenError`](crate::OpenError), and can be downcast to the error itself.
///
/// ```
/// use pool_core::{OpenError, observe::{Cause, Observer}};
///
/// /// Logs the kind of each failed open.
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

    /// Returns the error itself, if it is an `E`: an [`OpenError`](crate::OpenError) of the manager's error.
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
