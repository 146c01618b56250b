//! Wraps an error of any type in a type that implements `std::error::Error`.

use std::{any::Any, error::Error, fmt};

/// An error of any type, wrapped so that it implements `std::error::Error`. [`Error::into_boxed`](crate::Error::into_boxed) and the
/// `into_boxed` of other errors return it, for `?` when the error inside does not implement that trait, like `anyhow::Error`.
///
/// The text is complete, so `source` returns `None`.
pub struct BoxError(Box<dyn Shown>);

/// What a [`BoxError`] can hold.
trait Shown: fmt::Debug + fmt::Display + Any + Send + Sync {}

impl<T: fmt::Debug + fmt::Display + Any + Send + Sync> Shown for T {}

impl BoxError {
    pub(crate) fn new(error: impl fmt::Debug + fmt::Display + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// Returns the error inside, if it is an `E`.
    pub fn downcast_ref<E: 'static>(&self) -> Option<&E> {
        let inside: &dyn Any = &*self.0;
        inside.downcast_ref()
    }
}

impl fmt::Display for BoxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BoxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Error for BoxError {}
