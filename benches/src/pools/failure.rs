//! Why a figure could not be had.

use std::fmt;

/// What went wrong, in words. Whoever runs the case adds the contender's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure(String);

impl Failure {
    /// Something that needs its own words.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The pool could not be built as it has to be.
    pub(super) fn build(cause: impl fmt::Display) -> Self {
        Self(format!("cannot be built: {cause}"))
    }

    /// A get failed.
    pub(super) fn get(cause: impl fmt::Display) -> Self {
        Self(format!("a get failed: {cause}"))
    }

    /// No runtime to run it on.
    pub(super) fn runtime(cause: impl fmt::Display) -> Self {
        Self(format!("no runtime: {cause}"))
    }

    /// A task of the benchmark's ended without a result.
    pub(super) fn task(cause: impl fmt::Display) -> Self {
        Self(format!("a task failed: {cause}"))
    }

    /// The same, with where it happened in front.
    pub(super) fn at(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {self}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}
