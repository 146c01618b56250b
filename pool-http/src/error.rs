//! What went wrong with a request, and whether it may be sent again.

use std::{error::Error as StdError, fmt, time::Duration};

use crate::{dial::DialError, origin::Origin};

/// Why a request failed, or its response's body.
///
/// One opaque type with questions to ask: what happened ([`is_timeout`](Self::is_timeout), [`is_connect`](Self::is_connect), ..),
/// how far it got ([`stage`](Self::stage)), and whether sending it again can do harm ([`is_safe_to_retry`](Self::is_safe_to_retry)).
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    /// Where the request was going, once that was known.
    origin: Option<Origin>,
    safe: bool,
    /// The origin's pool at that moment, where that says something.
    pool: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// How far a request had come: a stage of its way from the client to the last byte of its response.
///
/// A stage is not a [`Phase`](pool_core::observe::Phase) of the pools, which says what a get waits for: all of a get is in the first three
/// of these, and the last two come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// It waited for a connection: all of its origin's were in use.
    Acquire,
    /// It waited for a new connection: name lookup and TCP.
    Connect,
    /// It waited for a new connection's TLS handshake.
    Tls,
    /// It was sent, or being sent, and waited for the head of the response.
    Header,
    /// The head of the response was there, and its body was being read.
    Body,
}

/// What happened; the words of `Display`.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The request cannot be sent as it is: says what is wrong and what it may be.
    Request(String),
    Timeout {
        stage: Stage,
        after: Duration,
    },
    /// The queue of the origin, or the table of origins, is full: says which.
    Overloaded(String),
    Connect(Stage),
    Closed,
    /// The upstream closed or reset the connection.
    Disconnected {
        stage: Stage,
        stale: bool,
        written: bool,
    },
    /// The upstream sent what is not HTTP/1.1, or what this client does not speak.
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
    /// A deadline struck; [`stage`](Self::stage) says during what.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::Timeout { .. })
    }

    /// Too many wait for this origin already (`max_waiters`), or too many origins are in use (`max_origins`): at once,
    /// without waiting.
    pub fn is_overloaded(&self) -> bool {
        matches!(self.0.kind, Kind::Overloaded(_))
    }

    /// No connection could be opened: the name was not found, the connection refused or not made in time, or the TLS
    /// handshake failed.
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

    /// The client was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.0.kind, Kind::Closed)
    }

    /// The upstream closed or reset the connection before its response was whole.
    pub fn is_disconnected(&self) -> bool {
        matches!(self.0.kind, Kind::Disconnected { .. })
    }

    /// A kept-alive connection turned out to be dead before a byte of the response came, and the request could not be sent
    /// again without asking.
    pub fn is_stale(&self) -> bool {
        matches!(self.0.kind, Kind::Disconnected { stale: true, .. })
    }

    /// The upstream sent what is not HTTP/1.1.
    pub fn is_protocol(&self) -> bool {
        matches!(self.0.kind, Kind::Protocol { .. })
    }

    /// The request cannot be sent as it is: its URL, a header, its body.
    pub fn is_request(&self) -> bool {
        matches!(self.0.kind, Kind::Request(_))
    }

    /// The body is larger than its limit.
    pub fn is_too_large(&self) -> bool {
        matches!(self.0.kind, Kind::TooLarge { .. })
    }

    /// The body is no UTF-8, and was asked for as text.
    pub fn is_not_text(&self) -> bool {
        matches!(self.0.kind, Kind::NotText)
    }

    /// How far the request had come, where that says something.
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

    /// Sending the request once more cannot make the upstream do twice what should be done once: no byte of it had left, or
    /// its method is idempotent (RFC 9110, 9.2.2: GET, HEAD, OPTIONS, TRACE, PUT, DELETE).
    ///
    /// False, too, where another try must fail the same way: a request that cannot be sent, a closed client, a body that is
    /// too large or no text.
    pub fn is_safe_to_retry(&self) -> bool {
        self.0.safe
    }

    /// The error that this one came of, if there is one, to look at it and at its sources with `downcast_ref`.
    ///
    /// It is not the [`source`](StdError::source), since the text of this error has the last of its causes.
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

    /// A request that cannot be sent.
    pub(crate) fn request(what: String) -> Self {
        Self::new(Kind::Request(what))
    }

    /// Before a byte of the request left.
    pub(crate) fn unsent(kind: Kind, origin: &Origin) -> Self {
        Self::new(kind).at(origin).safe(true)
    }

    /// A connect that failed.
    pub(crate) fn dial(error: DialError, origin: &Origin) -> Self {
        Self::unsent(dial_kind(&error), origin).caused_by(error)
    }

    /// A get from the origin's pool that failed.
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
            // To the millisecond, as timers are.
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
    /// Where, what, and the first cause: one line to act on.
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
            Self::NotText => f.write_str("the body is no UTF-8"),
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

/// Without a source: the text has the cause.
impl StdError for Error {}

impl Stage {
    /// A short name for metrics and logs: `acquire`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Header => "header",
            Self::Body => "body",
        }
    }

    /// What did not happen in time.
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

/// An error, its cause, the cause of that, and so on.
pub(crate) fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
