//! The socket of a connection, and what is put around it.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    unnamed::Unnamed,
    wire::{Answer, Passes, Wire},
};

/// A socket that is closed when the server has closed it.
///
/// The server frees a connection's place when its process ends, and closes the socket after that. So a socket that reports its
/// shutdown as done only at the end of the server's stream says when another connection may be opened in its place.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    // The task of the connection and the one that closes it, one after the other. No user code runs under this lock.
    stream: Arc<Mutex<Stream>>,
    is_shut: bool,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn new(stream: Stream) -> Self {
        Self {
            stream: Arc::new(Mutex::new(stream)),
            is_shut: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server has sent something that was not read yet, or has closed its end. The runtime may not have noticed.
    fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = match &*self.lock() {
            Stream::Tcp(stream) => SockRef::from(stream).peek(&mut byte),
            Stream::Unix(stream) => SockRef::from(stream).peek(&mut byte),
        };
        !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Ends what the driver has left open, and waits until the server has closed its end.
    pub(super) async fn goodbye(mut self) {
        // A socket that cannot be shut down is closed.
        drop(self.shutdown().await);
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::new(Stream::Tcp(stream))
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::new(Stream::Unix(stream))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self.lock() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self.lock() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.lock() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(match &mut *self.lock() {
                Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
                Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            })?;
            self.is_shut = true;
        }
        poll_end(self, context).map(Ok)
    }
}

/// Reads and drops what comes, up to the end. An error ends the stream as well: the server's process is gone.
fn poll_end(mut stream: Pin<&mut impl AsyncRead>, context: &mut Context<'_>) -> Poll<()> {
    let mut rest = [0; 512];
    loop {
        let mut buffer = ReadBuf::new(&mut rest);
        if ready!(stream.as_mut().poll_read(context, &mut buffer)).is_err()
            || buffer.filled().is_empty()
        {
            return Poll::Ready(());
        }
    }
}

/// A stream whose messages are looked at. A stream under an encrypted one is not.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    watch: Option<Box<Watch>>,
}

/// What looks at the messages of a stream.
#[derive(Debug)]
struct Watch {
    wire: Wire,
    socket: Socket,
    /// What lies between the driver and the server, once the session [is unnamed](super::session::Session::is_unnamed).
    unnamed: Unnamed,
}

impl Watch {
    fn new(wire: Wire, socket: Socket) -> Box<Self> {
        Box::new(Self {
            wire,
            socket,
            unnamed: Unnamed::default(),
        })
    }
}

impl<S> Watched<S> {
    const fn new(stream: S, watch: Box<Watch>) -> Self {
        Self {
            stream,
            watch: Some(watch),
        }
    }

    fn is_unnamed(&self) -> bool {
        let watch = self.watch.as_deref();
        watch.is_some_and(|watch| watch.wire.session().is_unnamed())
    }

    /// A stream for a request to cancel, which has no messages.
    pub(super) const fn unwatched(stream: S) -> Self {
        Self {
            stream,
            watch: None,
        }
    }
}

impl Watched<Socket> {
    pub(super) fn socket(socket: &Socket, wire: Wire) -> Self {
        Self::new(socket.clone(), Watch::new(wire, socket.clone()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    /// Writes what the driver does not know to write.
    fn answer(&mut self, answer: Answer, context: &mut Context<'_>) -> io::Result<()> {
        let Some(Watch { wire, unnamed, .. }) = self.watch.as_deref_mut() else {
            return Ok(());
        };
        let Answer::CopyFail { and_sync } = answer else {
            return Err(io::Error::other("the end of a COPY came too late"));
        };
        let message = if and_sync {
            COPY_FAIL_AND_SYNC
        } else {
            &COPY_FAIL_AND_SYNC[..COPY_FAIL_AND_SYNC.len() - SYNC]
        };
        let is_written = wire.is_between_messages()
            && if wire.session().is_unnamed() {
                unnamed.add(message);
                true
            } else {
                let written = Pin::new(&mut self.stream).poll_write(context, message);
                matches!(written, Poll::Ready(Ok(count)) if count == message.len())
            };
        if !is_written {
            return Err(io::Error::other(
                "the server waits for data of a COPY that nobody sends",
            ));
        }
        wire.sent(message);
        // What cannot be flushed now is flushed with the driver's next message, at the latest by the end of the connection.
        match Pin::new(self).poll_flush(context) {
            Poll::Ready(done) => done,
            Poll::Pending => Ok(()),
        }
    }

    /// Writes what the driver's messages have become.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(Watch { unnamed, .. }) = self.watch.as_deref_mut() {
            while !unnamed.to_write().is_empty() {
                let stream = Pin::new(&mut self.stream);
                match ready!(stream.poll_write(context, unnamed.to_write()))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => unnamed.wrote(count),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what the driver is to read of what the server has sent.
    fn poll_read_unnamed(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [MaybeUninit::uninit(); AT_ONCE];
        loop {
            let Some(Watch { wire, unnamed, .. }) = self.watch.as_deref_mut() else {
                return Poll::Ready(Ok(()));
            };
            let taken = unnamed.take(buffer.remaining(), wire.undecided());
            if !taken.is_empty() {
                buffer.put_slice(&taken);
                return Poll::Ready(Ok(()));
            }
            let mut some = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut some))?;
            if some.filled().is_empty() {
                // The end. The driver may have what has come of a message.
                buffer.put_slice(&unnamed.take(buffer.remaining(), 0));
                return Poll::Ready(Ok(()));
            }
            let answer = wire.received(some.filled());
            unnamed.read(some.filled(), wire.left_out());
            if let Some(answer) = answer {
                self.answer(answer, context)?;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_unnamed() {
            return self.poll_read_unnamed(context, buffer);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Some(Watch { wire, .. }) = self.watch.as_deref_mut()
            && let Some(answer) = wire.received(&buffer.filled()[before..])
        {
            self.answer(answer, context)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(Watch { wire, socket, .. }) = self.watch.as_deref_mut()
            && wire.session().take_rest()
            && socket.has_unread()
        {
            // A server that has ended the connection meanwhile has said so. What is written after that reaches nobody, and nothing
            // would tell it from what the server has begun. So what is there is read first.
            context.waker().wake_by_ref();
            wire.session().rests_again();
            return Poll::Pending;
        }
        let mut bytes = bytes;
        if let Some(Watch { wire, .. }) = self.watch.as_deref_mut()
            && wire.session().was_copied_to()
        {
            match wire.passes(bytes) {
                Passes::Not(count) => return Poll::Ready(Ok(count)),
                Passes::Only(count) => bytes = &bytes[..count],
            }
        }
        if self.is_unnamed() {
            // A server that does not take more holds the driver back.
            ready!(self.poll_drain(context))?;
            if let Some(Watch { wire, unnamed, .. }) = self.watch.as_deref_mut() {
                bytes = &bytes[..bytes.len().min(AT_ONCE)];
                unnamed.write(bytes);
                wire.sent(bytes);
            }
            // What is not written now is written before the next bytes, or by the flush that follows them.
            return match self.poll_drain(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(bytes.len())),
            };
        }
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        if let Some(Watch { wire, .. }) = self.watch.as_deref_mut() {
            wire.sent(&bytes[..count]);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        if self.watch.is_none() {
            // PgBouncer forgets a request to cancel whose sender shuts its end before the server has got the request.
            ready!(poll_end(Pin::new(&mut self.stream), context));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Watched<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// Encrypts a socket, and looks at the messages in the clear.
pub(super) struct Connector(pub(super) <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect);

/// An encrypted socket.
pub(super) type Encrypted = Watched<<MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Connector {
    pub(super) fn new(mut tls: MakeRustlsConnect, host: &str) -> Self {
        let Ok(connect) = MakeTlsConnect::<Socket>::make_tls_connect(&mut tls, host);
        Self(connect)
    }
}

impl TlsConnect<Watched<Socket>> for Connector {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, watched: Watched<Socket>) -> Self::Future {
        let Watched { stream, watch } = watched;
        Box::pin(async move {
            let stream = self.0.connect(stream).await?;
            Ok(match watch {
                None => Watched::unwatched(stream),
                Some(watch) => {
                    let Watch { wire, socket, .. } = *watch;
                    // Messages begin anew within the encrypted stream.
                    let wire = Wire::new(Arc::clone(wire.session()));
                    Watched::new(stream, Watch::new(wire, socket))
                }
            })
        })
    }
}

/// [`CopyFail`](https://www.postgresql.org/docs/current/protocol-message-formats.html) with an empty reason, and `Sync`.
const COPY_FAIL_AND_SYNC: &[u8] = b"f\0\0\0\x05\0S\0\0\0\x04";
const SYNC: usize = 5;
/// How many bytes pass an [`Unnamed`] at once.
const AT_ONCE: usize = 8192;
