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

/// An HTTP/1.1 client that keeps its connections, so many and no more for each origin.
///
/// Cheap to clone: all clones are one client, with the same connections and bounds.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    config: Config,
    origins: Origins,
    counters: Arc<Counters>,
}

impl Client {
    /// Begins to build one.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// One with the settings that the environment holds as `POOL_HTTP_MAX_PER_ORIGIN` and so on, and defaults for the rest.
    ///
    /// # Errors
    ///
    /// A bad value, or a name under `POOL_HTTP_` that no setting has: variable, value, and what it may be.
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

    /// Begins a GET.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Begins a HEAD.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Begins a POST.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Begins a PUT.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Begins a PATCH.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Begins a DELETE.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Begins a request with any method but CONNECT.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url.as_ref())
    }

    /// Sends a request, and returns with the head of its response. The body comes after it, and holds the connection until it
    /// is read or dropped.
    ///
    /// Waits in FIFO order while all of the origin's connections are in use. A kept-alive connection that turns out to be dead
    /// is replaced and the request sent once more, if no byte of it had left, or if its method is idempotent, its body is no
    /// stream and no byte of a response had come.
    ///
    /// # Errors
    ///
    /// [`Error::is_request`] for a request that cannot be sent; [`Error::is_timeout`], with its
    /// [`stage`](Error::stage), when one of the client's bounds or the request's own timeout is exceeded;
    /// [`Error::is_overloaded`] with `max_waiters` waiting already, or `max_origins` in use; [`Error::is_connect`] when no
    /// connection can be opened; [`Error::is_disconnected`] and [`Error::is_protocol`] for what the upstream did;
    /// [`Error::is_closed`] after [`close`](Self::close).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue. Once the request is being sent, its connection is closed, as
    /// HTTP/1.1 has no other way to call it off; its place goes to the next in the queue.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time, as every socket of tokio's does.
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

    /// The name that the client was given, for metrics and spans; of one without it, `http`, with a number if there are several.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What the client is doing: its origins with their pools, and totals over all of them.
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

    /// Closes the client: idle connections now, those in use when their bodies end. Who waits for one, and every later
    /// request, gets [`Error::is_closed`].
    pub fn close(&self) {
        self.0.origins.close();
    }

    /// Closes the client and waits until its last connection is closed, but no longer than `within`. Says what was still in use then:
    /// nothing, when all is done ([`Drained::is_complete`]).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting; the client stays closed.
    pub async fn drain(&self, within: Duration) -> Drained {
        let end = Deadline::after(within);
        let mut drained = Vec::new();
        // All are closed already: so one after the other takes no longer than all at once.
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
