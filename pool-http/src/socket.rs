//! A TCP socket that can be read before the runtime's reactor reports it as readable.

use std::{
    io::{self, ErrorKind, IoSlice, Read},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A TCP socket, below TLS if TLS is used.
pub(crate) struct Socket {
    tcp: TcpStream,
    look: Arc<Look>,
}

/// Makes a socket read once, whatever the reactor knows.
///
/// tokio reads from a socket only after its reactor has reported it as readable. On a busy runtime that report is late. Until then
/// an idle connection that the upstream has closed looks alive, and unrequested bytes would be taken for the response to the next
/// request. So the socket is read once before each request. hyper reads before it begins to write, so it finds that the connection
/// is unusable before a byte of the request is sent.
#[derive(Default)]
pub(crate) struct Look(AtomicBool);

impl Socket {
    pub(crate) fn new(tcp: TcpStream, look: Arc<Look>) -> Self {
        Self { tcp, look }
    }

    /// Reads the bytes that have arrived, without waiting for more.
    fn read_now(&self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let most = buf.remaining().min(LOOK_BYTES);
        let socket = SockRef::from(&self.tcp);
        match (&*socket).read(buf.initialize_unfilled_to(most)) {
            Ok(count) => {
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                self.look.0.store(false, Relaxed);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Look {
    /// Makes the next read look at the socket. The channel that carries a request to its connection orders this store before that
    /// read.
    pub(crate) fn now(&self) {
        self.0.store(true, Relaxed);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.tcp).poll_read(cx, buf) {
            // `poll_read` has registered the waker, so bytes that arrive after the look wake the task.
            Poll::Pending if self.look.0.load(Relaxed) => self.read_now(buf),
            other => other,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// The most bytes that one look reads. They hold a few TLS records, and the buffer is cheap to initialize.
const LOOK_BYTES: usize = 1024;
