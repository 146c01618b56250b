//! The errors of requests, and whether a request may be sent again.

use std::{error::Error as StdError, fmt, time::Duration};

use crate::{dial::DialError, origin::Origin};

/// Why a request, or reading the body of its response, failed.
///
/// The type is opaque. Its methods say what happened ([`is_timeout`](Self::is_timeout), [`is_connect`](Self::is_connect) and so
/// on), how far the request got ([`stage`](Self::stage)), and whether it is safe to send the request again
/// ([`is_safe_to_retry`](Self::is_safe_to_retry)).
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    /// The origin of the request, once it was known.
    origin: Option<Origin>,
    safe: bool,
    /// The state of the origin's pool at the time of the error, if it helps to explain the error.
    pool: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// How far a request had got: a stage between the send and the last byte of the response.
///
/// A stage differs from a [`Phase`](pool_core::observe::Phase) of a pool, which says what a get waits for. A get lies within the
/// first three stages. The last two stages come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The request waited for a connection, because all connections of its origin were in use.
    Acquire,
    /// The request waited for the name lookup or the TCP connect of a new connection.
    Connect,
    /// The request waited for the TLS handshake of a new connection.
    Tls,
    /// The request was sent, or was being sent, and waited for the head of the response.
    Header,
    /// The head of the response had arrived, and the body was being read.
    Body,
}

/// What happened. Its `Display` is the text of the error.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The request cannot be sent as it is. The text says what is wrong and what is allowed.
    Request(String),
    Timeout {
        stage: Stage,
        after: Duration,
    },
    /// The queue of the origin, or the table of origins, is full. The text says which.
    Overloaded(String),
    Connect(Stage),
    Closed,
    /// The upstream closed or reset the connection.
    Disconnected {
        stage: Stage,
        stale: bool,
        written: bool,
    },
    /// The upstream sent invalid HTTP/1.1, or something that this client does not support.
    Protocol {
        stage: Stage,
        what: &'static str,
    },
    TooLarge {
        limit: u64,
    },
    NotText,
}

impl Error {
    /// Whether a timeout has passed. [`stage`](Self::stage) says in which stage.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::Timeout { .. })
    }

    /// Whether too many requests already wait for this origin (`max_waiters`), or too many origins are in use (`max_origins`). Such
    /// a request fails at once.
    pub fn is_overloaded(&self) -> bool {
        matches!(self.0.kind, Kind::Overloaded(_))
    }

    /// Whether no connection could be opened: the name lookup failed, the connect was refused or timed out, or the TLS handshake
    /// failed.
    pub fn is_connect(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::Connect(_)
                | Kind::Timeout {
                    stage: Stage::Connect | Stage::Tls,
                    ..
                }
        )
    }

    /// Whether the client was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.0.kind, Kind::Closed)
    }

    /// Whether the upstream closed or reset the connection before its response was complete.
    pub fn is_disconnected(&self) -> bool {
        matches!(self.0.kind, Kind::Disconnected { .. })
    }

    /// Whether a kept-alive connection turned out to be dead before a byte of the response arrived, and the client could not send
    /// the request again on its own.
    pub fn is_stale(&self) -> bool {
        matches!(self.0.kind, Kind::Disconnected { stale: true, .. })
    }

    /// Whether the upstream sent invalid HTTP/1.1, or something that this client does not support.
    pub fn is_protocol(&self) -> bool {
        matches!(self.0.kind, Kind::Protocol { .. })
    }

    /// Whether the request cannot be sent as it is, because its URL, a header or its body is invalid.
    pub fn is_request(&self) -> bool {
        matches!(self.0.kind, Kind::Request(_))
    }

    /// Whether the body is larger than its limit.
    pub fn is_too_large(&self) -> bool {
        matches!(self.0.kind, Kind::TooLarge { .. })
    }

    /// Whether the body was read as text and is not UTF-8.
    pub fn is_not_text(&self) -> bool {
        matches!(self.0.kind, Kind::NotText)
    }

    /// Returns how far the request had got. `None` for a request that cannot be sent and for a closed client.
    pub fn stage(&self) -> Option<Stage> {
        match self.0.kind {
            Kind::Timeout { stage, .. }
            | Kind::Connect(stage)
            | Kind::Disconnected { stage, .. }
            | Kind::Protocol { stage, .. } => Some(stage),
            Kind::Overloaded(_) => Some(Stage::Acquire),
            Kind::TooLarge { .. } | Kind::NotText => Some(Stage::Body),
            Kind::Request(_) | Kind::Closed => None,
        }
    }

    /// Whether sending the request again is safe: either no byte of it was sent, or its method is idempotent (RFC 9110, 9.2.2: GET,
    /// HEAD, OPTIONS, TRACE, PUT, DELETE).
    ///
    /// Also false if a retry must fail in the same way: a request that cannot be sent, a closed client, a body that is too large,
    /// or a body that is not text.
    pub fn is_safe_to_retry(&self) -> bool {
        self.0.safe
    }

    /// Returns the error that caused this error, if there is one. Inspect it and its sources with `downcast_ref`.
    ///
    /// It is not the [`source`](StdError::source), because the text of this error already contains the last cause.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = pool_http::Client::builder().build()?;
    /// # let url = "http://127.0.0.1:1/";
    /// if let Err(error) = client.get(url).send().await {
    ///     let causes = std::iter::successors(error.inner(), |cause| cause.source());
    ///     let os = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).next();
    ///     println!("{error} ({:?})", os.map(|error| error.kind()));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn inner(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }

    /// The error of a request that cannot be sent.
    pub(crate) fn request(what: String) -> Self {
        Self::new(Kind::Request(what))
    }

    /// An error from before a byte of the request was sent.
    pub(crate) fn unsent(kind: Kind, origin: &Origin) -> Self {
        Self::new(kind).at(origin).safe(true)
    }

    /// The error of a failed connect.
    pub(crate) fn dial(error: DialError, origin: &Origin) -> Self {
        Self::unsent(dial_kind(&error), origin).caused_by(error)
    }

    /// The error of a failed get from the origin's pool.
    pub(crate) fn acquire(error: pool_core::Error<DialError>, origin: &Origin) -> Self {
        if error.is_closed() {
            return Self::new(Kind::Closed).at(origin);
        }
        let dial = error.connect_error().cloned();
        let kind = if error.is_overloaded() {
            Kind::Overloaded("too many requests wait for a connection".to_owned())
        } else if error.is_timeout() {
            let stage = match error.phase() {
                Some(pool_core::observe::Phase::Create) => {
                    dial.as_ref().map_or(Stage::Connect, DialError::stage)
                }
                _ => Stage::Acquire,
            };
            // Truncated to milliseconds, the resolution of tokio's timers.
            let waited = u64::try_from(error.waited().as_millis()).unwrap_or(u64::MAX);
            Kind::Timeout {
                stage,
                after: Duration::from_millis(waited),
            }
        } else {
            dial.as_ref()
                .map_or(Kind::Connect(Stage::Connect), dial_kind)
        };
        let pool_core::Status {
            max_size,
            leased,
            idle,
            opening,
            waiting,
            ..
        } = *error.status();
        let mut this = Self::unsent(kind, origin);
        this.0.pool = Some(format!(
            "{leased} of {max_size} in use, {idle} idle, {opening} opening, {waiting} waiting"
        ));
        match dial {
            Some(dial) => this.caused_by(dial),
            None if error.open_error().is_some() || error.is_no_runtime() => this.caused_by(error),
            None => this,
        }
    }

    pub(crate) fn new(kind: Kind) -> Self {
        Self(Box::new(Inner {
            kind,
            origin: None,
            safe: false,
            pool: None,
            source: None,
        }))
    }

    pub(crate) fn at(mut self, origin: &Origin) -> Self {
        self.0.origin = Some(origin.clone());
        self
    }

    pub(crate) fn safe(mut self, safe: bool) -> Self {
        self.0.safe = safe;
        self
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    /// Writes one line: the origin, what happened, the state of the pool, and the last cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.0.origin {
            write!(f, "{origin}: ")?;
        }
        self.0.kind.fmt(f)?;
        if let Some(pool) = &self.0.pool {
            write!(f, " ({pool})")?;
        }
        match self.inner().and_then(|source| chain(source).last()) {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(what) | Self::Overloaded(what) => f.write_str(what),
            Self::Timeout { stage, after } => write!(f, "{} within {after:?}", stage.missed()),
            Self::Connect(Stage::Tls) => f.write_str("the TLS handshake failed"),
            Self::Connect(_) => f.write_str("no connection could be opened"),
            Self::Closed => f.write_str("the client is closed"),
            Self::Disconnected {
                stage: Stage::Body, ..
            } => f.write_str("the upstream closed the connection before the body was whole"),
            Self::Disconnected { stale, written, .. } => write!(
                f,
                "the upstream closed {} connection {}",
                if *stale { "a kept-alive" } else { "the" },
                if *written {
                    "after the request, or a part of it, was sent"
                } else {
                    "before the request was sent"
                },
            ),
            Self::Protocol { what, .. } => f.write_str(what),
            Self::TooLarge { limit } => {
                write!(
                    f,
                    "the body is larger than {limit} bytes: stream it, or raise the bound with `Body::limit`"
                )
            }
            Self::NotText => f.write_str("the body is not valid UTF-8"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("origin", &self.0.origin)
            .field("safe_to_retry", &self.0.safe)
            .field("source", &self.0.source)
            .finish()
    }
}

/// Has no source, because the text contains the cause.
impl StdError for Error {}

impl Stage {
    /// Returns a short name for metrics and logs, such as `acquire`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Header => "header",
            Self::Body => "body",
        }
    }

    /// What did not happen before the timeout.
    const fn missed(self) -> &'static str {
        match self {
            Self::Acquire => "no connection was free",
            Self::Connect => "no connection was made",
            Self::Tls => "the TLS handshake was not done",
            Self::Header => "no response came",
            Self::Body => "no more of the body came",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn dial_kind(error: &DialError) -> Kind {
    match error.timed_out() {
        Some(after) => Kind::Timeout {
            stage: error.stage(),
            after,
        },
        None => Kind::Connect(error.stage()),
    }
}

/// Returns an error and its chain of sources.
pub(crate) fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
