//! An error that is nothing but a text.

use std::{error::Error, fmt};

/// What shows itself, as an error: for errors that are none in the sense of `std`, as `anyhow`'s. It has no source: what is to be said
/// is in its text.
#[derive(Debug)]
pub(crate) struct TextError<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for TextError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Debug + fmt::Display> Error for TextError<T> {}
