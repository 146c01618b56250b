//! Opens connections: name lookup, TCP, TLS and the HTTP/1.1 handshake.

use std::{error::Error as StdError, fmt, io, sync::Arc, time::Duration};

use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::timeout;
use tower_service::Service;

use crate::{
    config::Config,
    connection::Connection,
    counters::Counters,
    error::{Stage, chain},
    io::{Io, Stream},
    origin::Origin,
    socket::{Look, Socket},
};

/// Opens the connections of all origins of a client.
pub(crate) struct Dialer {
    tcp: HttpConnector,
    #[cfg(feature = "tls")]
    tls: crate::tls::Tls,
    connect_timeout: Duration,
    #[cfg(feature = "tls")]
    tls_timeout: Duration,
    counters: Arc<Counters>,
}

/// Why a connection could not be opened, or not be made ready for the next request.
#[derive(Clone, Debug)]
pub(crate) struct DialError {
    step: Step,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Connect,
    ConnectTimeout(Duration),
    #[cfg(feature = "tls")]
    Tls,
    #[cfg(feature = "tls")]
    TlsTimeout(Duration),
    Http,
    Unread(u64),
}

impl Dialer {
    pub(crate) fn new(
        config: &Config,
        #[cfg(feature = "tls")] tls: crate::tls::Tls,
        counters: Arc<Counters>,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // The connector divides this timeout among the addresses of a name, so an unreachable address leaves time for the others.
        tcp.set_connect_timeout(Some(config.connect_timeout));
        Self {
            tcp,
            #[cfg(feature = "tls")]
            tls,
            connect_timeout: config.connect_timeout,
            #[cfg(feature = "tls")]
            tls_timeout: config.tls_timeout,
            counters,
        }
    }

    /// Opens a connection to `origin`.
    pub(crate) async fn dial(&self, origin: &Origin) -> Result<Connection, DialError> {
        let uri = origin
            .uri()
            .map_err(|error| DialError::caused(Step::Connect, error))?;
        let tcp = match timeout(self.connect_timeout, self.tcp.clone().call(uri)).await {
            Ok(Ok(tcp)) => tcp.into_inner(),
            Ok(Err(error)) if is_timeout(&error) => {
                return Err(DialError::caused(
                    Step::ConnectTimeout(self.connect_timeout),
                    error,
                ));
            }
            Ok(Err(error)) => return Err(DialError::caused(Step::Connect, error)),
            Err(_elapsed) => {
                return Err(DialError {
                    step: Step::ConnectTimeout(self.connect_timeout),
                    source: None,
                });
            }
        };
        let open = self.counters.opened();
        let look = Arc::new(Look::default());
        let stream = self
            .secure(Socket::new(tcp, Arc::clone(&look)), origin)
            .await?;
        Connection::open(Io::new(stream, open), look)
            .await
            .map_err(|error| DialError::caused(Step::Http, error))
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, socket: Socket, origin: &Origin) -> Result<Stream, DialError> {
        if !origin.tls() {
            return Ok(Stream::Plain(socket));
        }
        let stream = timeout(self.tls_timeout, self.tls.handshake(socket, origin.name()))
            .await
            .map_err(|_elapsed| DialError {
                step: Step::TlsTimeout(self.tls_timeout),
                source: None,
            })?
            .map_err(|error| DialError::caused(Step::Tls, error))?;
        if stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
            self.counters.resumed();
        }
        Ok(Stream::Tls(Box::new(stream)))
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with TLS it waits for the handshake")]
    async fn secure(&self, socket: Socket, _: &Origin) -> Result<Stream, DialError> {
        Ok(Stream::Plain(socket))
    }
}

impl DialError {
    /// The stage in which the open failed.
    pub(crate) fn stage(&self) -> Stage {
        match self.step {
            #[cfg(feature = "tls")]
            Step::Tls | Step::TlsTimeout(_) => Stage::Tls,
            _ => Stage::Connect,
        }
    }

    /// The timeout that has passed, if a timeout was the cause.
    pub(crate) fn timed_out(&self) -> Option<Duration> {
        match self.step {
            Step::ConnectTimeout(after) => Some(after),
            #[cfg(feature = "tls")]
            Step::TlsTimeout(after) => Some(after),
            _ => None,
        }
    }

    /// The error when the deadline of the request passed before a timeout of the open.
    pub(crate) const fn late(after: Duration) -> Self {
        Self {
            step: Step::ConnectTimeout(after),
            source: None,
        }
    }

    /// The error of a connection that broke while it was made ready for the next request.
    pub(crate) fn spoilt(error: hyper::Error) -> Self {
        Self::caused(Step::Http, error)
    }

    /// The error when more than `most` bytes of a response were left.
    pub(crate) fn unread(most: u64) -> Self {
        Self {
            step: Step::Unread(most),
            source: None,
        }
    }

    fn caused(step: Step, source: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            step,
            source: Some(Arc::new(source)),
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Step::Connect => f.write_str("name lookup or TCP connect failed"),
            Step::ConnectTimeout(after) => {
                write!(f, "name lookup and TCP connect took longer than {after:?}")
            }
            #[cfg(feature = "tls")]
            Step::Tls => f.write_str("the TLS handshake failed"),
            #[cfg(feature = "tls")]
            Step::TlsTimeout(after) => write!(f, "the TLS handshake took longer than {after:?}"),
            Step::Http => f.write_str("the connection broke"),
            Step::Unread(most) => write!(f, "more than {most} bytes of a response were not read"),
        }
    }
}

impl StdError for DialError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Whether the cause is a timeout of the operating system or of the connector.
fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::TimedOut)
}
