//! What the operations on a database are reported as: a span each (feature `tracing`), and a histogram of their durations (feature
//! `metrics`). Without both features all of this is empty, and compiles to nothing.
//!
//! A driver asks its builder for [`Operations`], keeps them in its manager, and tells them the name of the pool when it is built. An
//! operation that is one future is run by [`Operations::around`]. One whose answer comes in parts holds an [`Operation`].
//!
//! Neither the text of a statement nor a parameter gets here, so neither can be reported.

#[cfg(any(feature = "tracing", feature = "metrics"))]
mod told;
#[cfg(not(any(feature = "tracing", feature = "metrics")))]
mod untold;

use std::pin::pin;

#[cfg(any(feature = "tracing", feature = "metrics"))]
pub(crate) use told::{Operation, Operations, Queued};
#[cfg(not(any(feature = "tracing", feature = "metrics")))]
pub(crate) use untold::{Operation, Operations, Queued};

use crate::Error;

/// What an operation is, as far as the pool knows that without a look at its text: `db.operation.name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// A statement, or closure, of the caller's.
    Unnamed,
    Begin,
    Commit,
    Rollback,
    Savepoint,
    Release,
    Copy,
    Prepare,
    /// A closure that only reads.
    Read,
    /// A transaction as a closure.
    Write,
}

impl Verb {
    pub(crate) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Unnamed => None,
            Self::Begin => Some("BEGIN"),
            Self::Commit => Some("COMMIT"),
            Self::Rollback => Some("ROLLBACK"),
            Self::Savepoint => Some("SAVEPOINT"),
            Self::Release => Some("RELEASE"),
            Self::Copy => Some("COPY"),
            Self::Prepare => Some("PREPARE"),
            Self::Read => Some("read"),
            Self::Write => Some("write"),
        }
    }

    /// How many there are.
    pub(crate) const COUNT: usize = Self::Write as usize + 1;
}

impl Operations {
    /// Runs an operation. It is reported when the future has ended, or is dropped.
    pub(crate) async fn around<T>(
        &self,
        verb: Verb,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.counting(verb, work, |_| None).await
    }

    /// Like [`around`](Self::around), for an operation that returns rows.
    pub(crate) async fn counting<T>(
        &self,
        verb: Verb,
        work: impl Future<Output = Result<T, Error>>,
        rows: impl FnOnce(&T) -> Option<usize>,
    ) -> Result<T, Error> {
        let mut operation = self.begin(verb);
        let result = operation.within(pin!(work)).await;
        match &result {
            Ok(value) => {
                if let Some(rows) = rows(value) {
                    operation.rows(rows);
                }
                operation.ended();
            }
            Err(error) => operation.failed(error),
        }
        result
    }
}

#[cfg(all(test, not(any(feature = "tracing", feature = "metrics"))))]
mod tests {
    use super::*;

    #[test]
    fn without_a_feature_it_is_nothing() {
        assert_eq!(
            [
                size_of::<Operations>(),
                size_of::<Operation>(),
                size_of::<Queued>()
            ],
            [0; 3]
        );
    }
}
