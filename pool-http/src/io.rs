//! The byte stream of a connection, plain or TLS, and its meter.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{counters::Open, socket::Socket};

/// The byte stream that hyper reads and writes.
pub(crate) struct Io {
    stream: Stream,
    meter: Arc<Meter>,
    /// The upstream accepts no more bytes. It may have sent a response before it closed (such as a 413), and hyper must still read
    /// that response. So a write to the closed socket stays pending, and the connection ends at the end of the read side.
    deaf: bool,
    /// Counts the socket as long as it is open.
    _open: Open,
}

/// The plain or TLS stream.
pub(crate) enum Stream {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<Socket>>),
}

/// Counts the bytes that were read from and written to a socket, because hyper does not say whether a byte of a request was sent.
///
/// The task that sent the request compares each value only with its own earlier value, after hyper's channel delivered the result.
/// So `Relaxed` is enough.
pub(crate) struct Meter {
    epoch: Instant,
    read: AtomicU64,
    written: AtomicU64,
    /// Nanoseconds from `epoch` to the last write.
    last_write: AtomicU64,
}

impl Io {
    pub(crate) fn new(stream: Stream, open: Open) -> Self {
        Self {
            stream,
            meter: Arc::new(Meter::new()),
            deaf: false,
            _open: open,
        }
    }

    pub(crate) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Turns a write error that means that the upstream closed into `Pending`. See `deaf`.
    fn after_write<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Err(error)) if is_closed_by_peer(&error) => {
                self.deaf = true;
                Poll::Pending
            }
            other => other,
        }
    }
}

impl Meter {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            last_write: AtomicU64::new(0),
        }
    }

    /// Bytes read so far.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// When a byte was last written, or when the socket was opened if no byte was written.
    pub(crate) fn last_write(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.last_write.load(Relaxed))
    }

    fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
        let nanos = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_write.store(nanos, Relaxed);
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        self.meter
            .read
            .fetch_add((buf.filled().len() - before) as u64, Relaxed);
        result
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        let result = match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        };
        if let Poll::Ready(Ok(bytes)) = result {
            self.meter.wrote(bytes);
        }
        self.after_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(socket) => socket.is_write_vectored(),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Pending;
        }
        let result = match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(cx),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        self.after_write(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// Whether the error means that the peer closed the connection.
fn is_closed_by_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
    )
}
