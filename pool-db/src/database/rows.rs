//! The rows of a statement, one after the other.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::Row;
use crate::Error;

/// A stream of rows. [`Database::stream`](super::Database::stream) returns it.
///
/// It yields one error after the rows before it, and ends.
///
/// # Cancel safety
/// A poll that is cancelled loses nothing. Dropping the stream ends the statement, and returns the connection to the pool.
#[must_use = "streams do nothing unless polled"]
pub struct Rows {
    rows: Option<Pin<Box<dyn Stream<Item = Result<Row, Error>> + Send>>>,
}

impl Rows {
    pub(super) fn new(rows: impl Stream<Item = Result<Row, Error>> + Send + 'static) -> Self {
        Self {
            rows: Some(Box::pin(rows)),
        }
    }

    /// A stream of one error.
    pub(super) fn failed(error: Error) -> Self {
        Self::new(Failed(Some(error)))
    }

    /// The next row. `None` at the end. As `StreamExt::next` of the crate `futures-util`, for who does not have it.
    ///
    /// # Errors
    /// Those of the [stream](super::Database::stream).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Row, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Rows {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rows) = &mut self.rows else {
            return Poll::Ready(None);
        };
        let next = std::task::ready!(rows.as_mut().poll_next(context));
        if !matches!(next, Some(Ok(_))) {
            // The connection returns to the pool now.
            self.rows = None;
        }
        Poll::Ready(next)
    }
}

struct Failed(Option<Error>);

impl Stream for Failed {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("has_ended", &self.rows.is_none())
            .finish_non_exhaustive()
    }
}
