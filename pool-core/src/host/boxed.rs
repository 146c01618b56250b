//! An error of any type, as one of `std`.

use std::{any::Any, error::Error, fmt};

/// An error of any type as one in the sense of `std`: what [`Error::into_boxed`](crate::Error::into_boxed) and its siblings give, for
/// `?` where the error inside is none, as `anyhow::Error`.
///
/// Its text has all there is to say, so it has no source.
pub struct BoxError(Box<dyn Shown>);

/// What it takes.
trait Shown: fmt::Debug + fmt::Display + Any + Send + Sync {}

impl<T: fmt::Debug + fmt::Display + Any + Send + Sync> Shown for T {}

impl BoxError {
    pub(crate) fn new(error: impl fmt::Debug + fmt::Display + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// The error inside, if it is an `E`.
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
