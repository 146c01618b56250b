//! The body of a response. It holds the connection on which it arrives.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pool_core::Lease;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    deadline::Deadline,
    error::{Error, Kind, Stage},
    manager::Http1,
    origin::Origin,
};

/// The body of a response: a stream of bytes that implements [`http_body::Body`].
///
/// A `Body` holds the connection on which it arrives, and returns it as soon as the last byte is read. Read a body to its end, or
/// drop it. When a body is dropped, the pool reads the rest, up to `drain_bytes` and `drain_time`. If more is left, the pool closes
/// the connection and never reuses it.
///
/// A body that is neither read nor dropped keeps its connection, so other requests cannot use it.
pub struct Body {
    /// `None` once the body has ended or failed.
    reading: Option<Reading>,
    /// The number of bytes that were read.
    read: u64,
    /// How many bytes may be read.
    limit: Option<u64>,
}

/// The state of a body that has not ended.
struct Reading {
    incoming: Incoming,
    lease: Lease<Http1>,
    terms: Terms,
    /// Ends the current wait for the next bytes, if there is a wait.
    timer: Timer,
}

/// What a body needs to know about its request.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) origin: Origin,
    /// Whether the method of the request is idempotent, so that the request may be sent again.
    pub(crate) idempotent: bool,
    /// How long the body may take to deliver its next bytes.
    pub(crate) patience: Option<Duration>,
    pub(crate) deadline: Option<Deadline>,
    /// How many bytes of a dropped body the pool reads to keep the connection.
    pub(crate) drain_bytes: u64,
}

/// The timer of the wait for the next bytes. It is allocated at the first wait and reused for later waits.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The length of the current wait.
    waiting: Option<Duration>,
}

impl Body {
    /// How many bytes [`bytes`](Self::bytes) and [`text`](Self::text) collect at most, unless [`limit`](Self::limit) sets another
    /// limit: 64 MiB.
    pub const COLLECT_LIMIT: u64 = 64 << 20;

    pub(crate) fn new(incoming: Incoming, mut lease: Lease<Http1>, terms: Terms) -> Self {
        let reading = if incoming.is_end_stream() {
            lease.finish();
            None
        } else {
            Some(Reading {
                incoming,
                lease,
                terms,
                timer: Timer::default(),
            })
        };
        Self {
            reading,
            read: 0,
            limit: None,
        }
    }

    /// Sets a limit for the body. Reading fails once more than `bytes` bytes were read, and before the first byte if the upstream
    /// announces more.
    #[must_use]
    pub const fn limit(mut self, bytes: u64) -> Self {
        self.limit = Some(bytes);
        self
    }

    /// Reads the whole body.
    ///
    /// # Errors
    ///
    /// - [`Error::is_too_large`] above the limit ([`COLLECT_LIMIT`](Self::COLLECT_LIMIT), unless [`limit`](Self::limit) sets
    ///   another).
    /// - [`Error::is_timeout`] when no bytes arrived for `body_timeout`, or when the timeout of the request has passed.
    /// - [`Error::is_disconnected`] when the upstream closed the connection before the end of the body.
    /// - [`Error::is_protocol`] when the upstream sent invalid HTTP/1.1.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the body, and the bytes that were read so far are lost.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        self.limit.get_or_insert(Self::COLLECT_LIMIT);
        Ok(self.collect().await?.to_bytes())
    }

    /// Reads the whole body as text, which must be UTF-8.
    ///
    /// # Errors
    ///
    /// As for [`bytes`](Self::bytes), and [`Error::is_not_text`] if the body is not UTF-8.
    ///
    /// # Cancel safety
    ///
    /// As for [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        String::from_utf8(bytes.into())
            .map_err(|error| Error::new(Kind::NotText).caused_by(error.utf8_error()))
    }

    /// Ends a body that has failed, and gives up its connection.
    fn fail(&mut self, kind: Kind) -> Error {
        let error = Error::new(kind);
        // The lease is dropped in the middle of a response, so the pool closes the connection.
        match self.reading.take() {
            Some(reading) => error
                .at(&reading.terms.origin)
                .safe(reading.terms.idempotent),
            None => error,
        }
    }

    /// Ends a body that was read to its end, and returns its connection.
    fn finish(&mut self) {
        if let Some(mut reading) = self.reading.take() {
            reading.lease.finish();
        }
    }

    /// Returns the limit if more bytes were read, or are announced.
    fn too_large(&self) -> Option<u64> {
        let announced = self
            .reading
            .as_ref()
            .map_or(0, |reading| reading.incoming.size_hint().lower());
        self.limit
            .filter(|limit| self.read.saturating_add(announced) > *limit)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Some(limit) = this.too_large() {
            let error = this.fail(Kind::TooLarge { limit }).safe(false);
            return Poll::Ready(Some(Err(error)));
        }
        let Some(reading) = &mut this.reading else {
            return Poll::Ready(None);
        };
        if let Some(deadline) = reading
            .terms
            .deadline
            .filter(|deadline| deadline.at <= Instant::now())
        {
            return Poll::Ready(Some(Err(this.fail(Kind::Timeout {
                stage: Stage::Body,
                after: deadline.of,
            }))));
        }
        match Pin::new(&mut reading.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                reading.timer.waiting = None;
                this.read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(limit) = this.too_large() {
                    let error = this.fail(Kind::TooLarge { limit }).safe(false);
                    return Poll::Ready(Some(Err(error)));
                }
                if this
                    .reading
                    .as_ref()
                    .is_some_and(|reading| reading.incoming.is_end_stream())
                {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let kind = broken(&error);
                Poll::Ready(Some(Err(this.fail(kind).caused_by(error))))
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Pending => match reading.timer.poll(&reading.terms, cx) {
                Poll::Ready(after) => Poll::Ready(Some(Err(this.fail(Kind::Timeout {
                    stage: Stage::Body,
                    after,
                })))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.reading
            .as_ref()
            .map_or(SizeHint::with_exact(0), |reading| {
                reading.incoming.size_hint()
            })
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(Reading {
            incoming,
            mut lease,
            terms,
            ..
        }) = self.reading.take()
        {
            lease.leave(incoming, terms.drain_bytes);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("ended", &self.reading.is_none())
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

impl Timer {
    /// Is ready when the next bytes are overdue, with the length of the wait.
    fn poll(&mut self, terms: &Terms, cx: &mut Context<'_>) -> Poll<Duration> {
        let after = match self.waiting {
            Some(after) => after,
            None => {
                let stall = terms
                    .patience
                    .and_then(|patience| Some((Instant::now().checked_add(patience)?, patience)));
                let total = terms.deadline.map(|deadline| (deadline.at, deadline.of));
                let Some((at, after)) = stall.into_iter().chain(total).min() else {
                    return Poll::Pending;
                };
                match &mut self.sleep {
                    Some(sleep) => sleep.as_mut().reset(at),
                    None => self.sleep = Some(Box::pin(sleep_until(at))),
                }
                *self.waiting.insert(after)
            }
        };
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx).map(|()| after),
            None => Poll::Pending,
        }
    }
}

/// Returns why a body failed.
fn broken(error: &hyper::Error) -> Kind {
    let source =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    match source.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput) => {
            Kind::Protocol {
                stage: Stage::Body,
                what: "the framing of the body is not valid HTTP/1.1",
            }
        }
        _ => Kind::Disconnected {
            stage: Stage::Body,
            stale: false,
            written: true,
        },
    }
}
