//! The error of an acquire that ended without a permit.

use std::{fmt, sync::Arc, time::Duration};

use super::LimiterStatus;

/// The error of an acquire that ended without a permit. It has the counts of the limiter at that moment.
///
/// The error is one pointer in size, so an acquire that succeeds costs no more for it.
#[derive(Clone)]
pub struct LimitError {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    limiter: Arc<str>,
    kind: Kind,
    asked: u32,
    status: LimiterStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Timeout(Duration),
    Overloaded,
    Closed,
    TooLarge,
    NoRuntime,
}

impl LimitError {
    pub(super) fn new(limiter: &Arc<str>, kind: Kind, asked: u32, status: LimiterStatus) -> Self {
        Self {
            inner: Box::new(Inner {
                limiter: Arc::clone(limiter),
                kind,
                asked,
                status,
            }),
        }
    }

    /// Whether the deadline passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.kind, Kind::Timeout(_))
    }

    /// Whether the queue was full, or became full and the place went to a [key](super::Acquire::key) with fewer waiters. Retry
    /// later, or with another instance.
    pub fn is_overloaded(&self) -> bool {
        self.inner.kind == Kind::Overloaded
    }

    /// Whether the limiter was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.kind == Kind::Closed
    }

    /// Whether the acquire asked for more permits than the limit, which it could never get.
    pub fn is_too_large(&self) -> bool {
        self.inner.kind == Kind::TooLarge
    }

    /// Whether the acquire had a deadline and had to wait, and there was no tokio runtime to keep the time.
    pub fn is_no_runtime(&self) -> bool {
        self.inner.kind == Kind::NoRuntime
    }

    /// How many permits the acquire asked for.
    pub fn asked(&self) -> u32 {
        self.inner.asked
    }

    /// The counts of the limiter when the acquire failed.
    pub fn status(&self) -> &LimiterStatus {
        &self.inner.status
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            limiter,
            kind,
            asked,
            status,
        } = &*self.inner;
        write!(f, "limiter `{limiter}`")?;
        match kind {
            Kind::Timeout(limit) => write!(f, ": no {} within {limit:?}", Permits(*asked))?,
            Kind::Overloaded => f.write_str(": the queue is full")?,
            Kind::Closed => return f.write_str(" is closed"),
            Kind::TooLarge => {
                let asked = Permits(*asked);
                return write!(f, ": {asked} asked for, of a limit of {}", status.limit);
            }
            Kind::NoRuntime => {
                return f.write_str(": a wait that has a deadline must run on a tokio runtime");
            }
        }
        let LimiterStatus {
            limit,
            in_use,
            waiting,
            ..
        } = status;
        write!(f, " ({in_use} of {limit} in use, {waiting} waiting)")
    }
}

impl fmt::Debug for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LimitError({:?}: {self})", self.inner.kind)
    }
}

impl std::error::Error for LimitError {}

/// A number of permits, as text.
struct Permits(u32);

impl fmt::Display for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 permit"),
            count => write!(f, "{count} permits"),
        }
    }
}
