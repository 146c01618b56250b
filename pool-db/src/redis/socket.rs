//! The socket of a connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::client::TlsStream;

/// A stream to a server, which notes when it is written to and read from.
pub(super) struct Socket {
    stream: Stream,
    traffic: Arc<Traffic>,
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What went over a socket.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// How often something was read.
    reads: AtomicU32,
    /// Whether something was written after what was read last.
    is_owed: AtomicBool,
}

impl Traffic {
    // Ordering: Relaxed. Both are only hints of what the task of the connection itself did.

    /// Returns how often something was read; it wraps around.
    pub(super) fn reads(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Whether nothing was read since the last write.
    pub(super) fn is_owed(&self) -> bool {
        self.is_owed.load(Ordering::Relaxed)
    }

    fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.is_owed.store(false, Ordering::Relaxed);
    }

    fn wrote(&self) {
        self.is_owed.store(true, Ordering::Relaxed);
    }
}

impl Socket {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            traffic: Arc::default(),
        }
    }

    pub(super) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }
}

/// Calls a method of the stream, whichever it is.
macro_rules! on {
    ($self:ident.$method:ident($($arg:expr),*)) => {
        match &mut $self.stream {
            Stream::Tcp(stream) => Pin::new(stream).$method($($arg),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($arg),*),
            Stream::Tls(stream) => Pin::new(&mut **stream).$method($($arg),*),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(on!(self.poll_read(context, buffer)))?;
        if buffer.filled().len() > before {
            self.traffic.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Before the write: what cannot be written for long is owed an answer too.
        self.traffic.wrote();
        on!(self.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self.poll_shutdown(context))
    }
}
