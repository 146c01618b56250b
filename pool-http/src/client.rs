//! The client.

use std::{fmt, sync::Arc, time::Duration};

use http::{Method, Request, Response};
use pool_core::{__name_for, ConfigError, Drained};

use crate::{
    body::Body,
    builder::Builder,
    config::Config,
    counters::Counters,
    deadline::Deadline,
    dial::Dialer,
    error::Error,
    exchange::{Exchange, is_idempotent},
    origins::Origins,
    payload::Payload,
    request::{RequestBuilder, prepare},
    status::{ClientStatus, OriginStatus},
};

/// An HTTP/1.1 client with a bounded pool of kept-alive connections for each origin.
///
/// A `Client` is a cheap handle: clones share the same connections and bounds.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    config: Config,
    origins: Origins,
    counters: Arc<Counters>,
}

impl Client {
    /// Creates a builder for a client.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Builds a client with the settings of the environment, named `POOL_HTTP_MAX_PER_ORIGIN` and so on, and defaults for the
    /// others.
    ///
    /// # Errors
    ///
    /// A variable has an invalid value, or a variable under `POOL_HTTP_` names no setting. The error names the variable, its value
    /// and the values that are allowed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().env("POOL_HTTP")?.build()
    }

    pub(crate) fn new(config: Config, dialer: Dialer, counters: Arc<Counters>) -> Self {
        let name = config
            .get_name()
            .map_or_else(|| __name_for("http"), Into::into);
        Self(Arc::new(Inner {
            origins: Origins::new(dialer, config.clone(), Arc::clone(&name)),
            name,
            config,
            counters,
        }))
    }

    /// Begins a GET request.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Begins a HEAD request.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Begins a POST request.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Begins a PUT request.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Begins a PATCH request.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Begins a DELETE request.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Begins a request with any method except CONNECT.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url.as_ref())
    }

    /// Sends a request, and returns when the head of its response has arrived. The body of the response holds the connection until
    /// the body is read or dropped.
    ///
    /// The request waits in order of arrival while all connections of the origin are in use. If a kept-alive connection turns out
    /// to be dead, the client replaces it and sends the request once more. It does so if no byte of the request had been sent. It
    /// also does so if the method is idempotent, the body is not a stream, and no byte of a response had arrived.
    ///
    /// # Errors
    ///
    /// - [`Error::is_request`] when the request cannot be sent as it is.
    /// - [`Error::is_timeout`] when a timeout of the client or of the request has passed; [`stage`](Error::stage) says in which
    ///   stage.
    /// - [`Error::is_overloaded`] when `max_waiters` requests already wait, or `max_origins` origins are in use.
    /// - [`Error::is_connect`] when no connection could be opened.
    /// - [`Error::is_disconnected`] when the upstream closed the connection early, and [`Error::is_protocol`] when it sent invalid
    ///   HTTP/1.1.
    /// - [`Error::is_closed`] after [`close`](Self::close).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue. If the request is already being sent, the client closes its connection,
    /// because HTTP/1.1 cannot cancel a request. The place of that connection goes to the next waiter.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime that has I/O and time enabled.
    pub async fn send<B: Into<Payload>>(
        &self,
        request: Request<B>,
    ) -> Result<Response<Body>, Error> {
        self.exchange(request.map(Into::into), None).await
    }

    pub(crate) async fn exchange(
        &self,
        request: Request<Payload>,
        timeout: Option<Duration>,
    ) -> Result<Response<Body>, Error> {
        let Inner {
            config,
            origins,
            counters,
            ..
        } = &*self.0;
        let deadline = timeout.or(config.timeout).and_then(Deadline::after);
        let (origin, request) = prepare(request)?;
        let room = origins.room(&origin)?;
        let idempotent = is_idempotent(request.method());
        Exchange {
            room: &room,
            config,
            counters,
            origin,
            deadline,
            idempotent,
        }
        .run(request)
        .await
    }

    /// Returns the name of the client, for metrics and spans. A client that was given no name is called `http`, with a number if
    /// there are several.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns a snapshot of the client: the pool of each origin, and totals over all origins.
    pub fn status(&self) -> ClientStatus {
        let origins = self
            .0
            .origins
            .status()
            .into_iter()
            .map(|(origin, pool)| OriginStatus { origin, pool })
            .collect();
        ClientStatus {
            origins,
            totals: self.0.counters.totals(),
        }
    }

    /// Closes the client. Idle connections are closed at once, connections in use when their bodies end. Waiting requests and all
    /// later requests fail with [`Error::is_closed`].
    pub fn close(&self) {
        self.0.origins.close();
    }

    /// Closes the client and waits until its last connection is closed, but no longer than `within`. Returns what was still in use
    /// then. [`Drained::is_complete`] says whether that is nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the wait only; the client stays closed.
    pub async fn drain(&self, within: Duration) -> Drained {
        let end = Deadline::after(within);
        let mut drained = Vec::new();
        // All pools are closed already, so draining them one after another takes no longer than draining them at once.
        for room in self.0.origins.close() {
            let within = end.map_or(within, |end| end.left());
            drained.push(room.pool.drain(within).await);
        }
        drained.into_iter().collect()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.0.name)
            .field("totals", &self.0.counters.totals())
            .finish_non_exhaustive()
    }
}
