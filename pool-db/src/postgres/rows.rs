//! The rows of a statement, one after the other.

use std::{
    fmt,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use tokio_postgres::{Row, RowStream};

use super::{
    Client, Connection, Query,
    query::{Params, fits},
    watch::Watch,
};
use crate::{Error, operation::Verb};

/// The rows of a running statement, as a [`Stream`]. `H` is what holds the connection meanwhile: a [`Connection`] for
/// [`Pool::stream`](super::Pool#method.stream), a reference for [`Client::stream`].
///
/// The end of the stream returns the connection. Only a few rows are in memory at a time. The server sends more when these are taken: a slow reader holds the statement back, and
/// the connection with it.
///
/// # Errors
/// As for [`Client::query`]. `query_timeout` bounds the wait for each row.
///
/// # Cancel safety
/// Dropping the stream before its end cancels the statement, if it does not end soon.
#[must_use = "the statement goes no further than its rows are read"]
pub struct Rows<H: Deref<Target = Client> = Connection> {
    // Dropped before the connection is returned.
    rows: Pin<Box<RowStream>>,
    watch: Watch<H>,
}

impl<H: Deref<Target = Client>> Rows<H> {
    pub(super) async fn start(
        holder: H,
        query: Query<'_>,
        params: Params<'_>,
    ) -> Result<Self, Error> {
        fits(query, params)?;
        let start = async |holder: &H| holder.asked(holder.start(query, params)).await;
        let (rows, watch) = Watch::start(holder, Verb::Unnamed, start).await?;
        Ok(Self {
            rows: Box::pin(rows),
            watch,
        })
    }

    /// How many rows the statement has returned or changed. `None` before the end of the stream.
    pub fn rows_affected(&self) -> Option<u64> {
        self.rows.rows_affected()
    }
}

impl<H: Deref<Target = Client> + Unpin> Stream for Rows<H> {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { rows, watch } = &mut *self;
        if watch.has_ended() {
            return Poll::Ready(None);
        }
        let next = ready!(watch.poll(context, |context| rows.as_mut().poll_next(context)))?;
        Poll::Ready(match next {
            Some(Ok(row)) => {
                watch.row();
                Some(Ok(row))
            }
            Some(Err(error)) => Some(Err(watch.failed(error))),
            None => {
                watch.ended();
                None
            }
        })
    }
}

impl<H: Deref<Target = Client>> fmt::Debug for Rows<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("has_ended", &self.watch.has_ended())
            .finish_non_exhaustive()
    }
}
