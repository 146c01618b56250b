//! `COPY`: many rows in one statement, in or out.

use std::{
    fmt,
    future::poll_fn,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio_postgres::{CopyInSink, CopyOutStream};

use super::{Client, Connection, length::fits_in, watch::Watch};
use crate::{Error, operation::Verb};

/// The data that a `COPY .. FROM STDIN` takes. [`Client::copy_in`] begins it.
///
/// Nothing is stored before [`finish`](Self::finish). Dropping the value undoes the copy.
#[must_use = "nothing is stored before `finish`"]
pub struct CopyIn<H: Deref<Target = Client> = Connection> {
    // Dropped before the connection is returned.
    sink: Pin<Box<CopyInSink<Bytes>>>,
    watch: Watch<H>,
}

/// The data that a `COPY .. TO STDOUT` returns, as a [`Stream`]. [`Client::copy_out`] begins it.
///
/// The pieces are those of the server: a row each. Dropping the stream before its end cancels the statement, if it does not end
/// soon.
#[must_use = "the statement goes no further than its data is read"]
pub struct CopyOut<H: Deref<Target = Client> = Connection> {
    // Dropped before the connection is returned.
    data: Pin<Box<CopyOutStream>>,
    watch: Watch<H>,
}

impl<H: Deref<Target = Client>> CopyIn<H> {
    pub(super) async fn start(holder: H, sql: &str) -> Result<Self, Error> {
        fits_in(sql.len())?;
        let start = async |holder: &H| {
            let work = async {
                let statement = holder.statement(sql).await?;
                holder.session.let_copy_in(true);
                holder.driver.copy_in(&statement).await
            };
            let started = holder.asked(work).await;
            holder.session.let_copy_in(false);
            started
        };
        let (sink, watch) = Watch::start(holder, Verb::Copy, start).await?;
        Ok(Self {
            sink: Box::pin(sink),
            watch,
        })
    }

    /// Sends a piece of data, in the format that the statement asks for. Pieces may be cut anywhere.
    ///
    /// It waits while the server does not take more, for up to `query_timeout`.
    ///
    /// # Errors
    /// - [`Error::is_disconnected`] when the connection was lost. When the server refused the data, [`finish`](Self::finish) says why.
    /// - [`Error::is_timeout`] after `query_timeout`.
    /// - Another error for a piece that is longer than the 1 GiB that the server takes. Nothing of it was sent, and the copy goes on.
    ///
    /// # Cancel safety
    /// If the future is dropped, the piece is sent whole or not at all.
    pub async fn send(&mut self, data: impl Into<Bytes>) -> Result<(), Error> {
        let data = data.into();
        fits_in(data.len())?;
        let Self { sink, watch } = self;
        let ready =
            poll_fn(|context| watch.poll(context, |context| sink.as_mut().poll_ready(context)));
        let sent = match ready.await? {
            Ok(()) => sink.as_mut().start_send(data),
            Err(error) => Err(error),
        };
        sent.map_err(|error| watch.failed(error))
    }

    /// Ends the data, and returns how many rows were stored.
    ///
    /// # Errors
    /// - [`Error::is_database`] when the server refused the data. Nothing was stored.
    /// - [`Error::is_timeout`] and [`Error::is_disconnected`], after which it is unknown whether the rows were stored.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll, it is unknown whether the rows are stored.
    pub async fn finish(mut self) -> Result<u64, Error> {
        let Self { sink, watch } = &mut self;
        let done =
            poll_fn(|context| watch.poll(context, |context| sink.as_mut().poll_finish(context)));
        match done.await? {
            Ok(rows) => {
                // The server's last word is read and dropped by the driver: the next request is answered after it.
                watch.ended();
                Ok(rows)
            }
            Err(error) => Err(watch.failed(error)),
        }
    }
}

impl<H: Deref<Target = Client>> CopyOut<H> {
    pub(super) async fn start(holder: H, sql: &str) -> Result<Self, Error> {
        fits_in(sql.len())?;
        let start = async |holder: &H| {
            let work = async {
                let statement = holder.statement(sql).await?;
                holder.driver.copy_out(&statement).await
            };
            holder.asked(work).await
        };
        let (data, watch) = Watch::start(holder, Verb::Copy, start).await?;
        Ok(Self {
            data: Box::pin(data),
            watch,
        })
    }
}

impl<H: Deref<Target = Client> + Unpin> Stream for CopyOut<H> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { data, watch } = &mut *self;
        if watch.has_ended() {
            return Poll::Ready(None);
        }
        let next = ready!(watch.poll(context, |context| data.as_mut().poll_next(context)))?;
        Poll::Ready(match next {
            Some(Ok(data)) => Some(Ok(data)),
            Some(Err(error)) => Some(Err(watch.failed(error))),
            None => {
                watch.ended();
                None
            }
        })
    }
}

impl<H: Deref<Target = Client>> fmt::Debug for CopyIn<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyIn")
            .field("has_ended", &self.watch.has_ended())
            .finish_non_exhaustive()
    }
}

impl<H: Deref<Target = Client>> fmt::Debug for CopyOut<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOut")
            .field("has_ended", &self.watch.has_ended())
            .finish_non_exhaustive()
    }
}
