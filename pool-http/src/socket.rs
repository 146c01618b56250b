//! A TCP socket that can be asked what has come without waiting for the runtime to notice.

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

/// A TCP socket; TLS, if any, is above it.
pub(crate) struct Socket {
    tcp: TcpStream,
    look: Arc<Look>,
}

/// Asks a socket to look.
///
/// tokio reads from a socket only once its reactor has heard that there is something to read, and on a busy runtime that is a
/// while after it came. Meanwhile an idle connection whose end has come looks alive; and bytes that nobody asked for would be
/// taken for the answer to the request that is sent next. So before a request the socket is read once, whatever the reactor
/// knows: hyper reads before it begins to write, and finds the connection unfit with nothing of the request gone.
#[derive(Default)]
pub(crate) struct Look(AtomicBool);

impl Socket {
    pub(crate) fn new(tcp: TcpStream, look: Arc<Look>) -> Self {
        Self { tcp, look }
    }

    /// Reads what is there, and does not wait for more.
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
    /// The next read looks. The channel by which a request reaches its connection orders this before that read.
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
            // The waker is registered: nothing is missed after the look.
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

/// A look reads no more than this at once: enough for a few records of TLS, and cheap to have ready.
const LOOK_BYTES: usize = 1024;
