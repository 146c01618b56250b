//! Why an acquire ended without a permit.

use std::{fmt, sync::Arc, time::Duration};

use super::LimiterStatus;

/// Why an acquire ended without a permit, and what the limiter looked like at that moment.
///
/// One pointer: an acquire that succeeds pays nothing for it.
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

    /// The deadline came first.
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.kind, Kind::Timeout(_))
    }

    /// The line was full, or came to be full and its place went to a [key](super::Acquire::key) that had less in line. Worth a
    /// retry elsewhere, or later.
    pub fn is_overloaded(&self) -> bool {
        self.inner.kind == Kind::Overloaded
    }

    /// The limiter was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.kind == Kind::Closed
    }

    /// It asked for more than the limit: it would never have got them.
    pub fn is_too_large(&self) -> bool {
        self.inner.kind == Kind::TooLarge
    }

    /// It had a deadline and had to wait, and there was no tokio runtime to keep the time.
    pub fn is_no_runtime(&self) -> bool {
        self.inner.kind == Kind::NoRuntime
    }

    /// How many permits it asked for.
    pub fn asked(&self) -> u32 {
        self.inner.asked
    }

    /// The limiter at that moment.
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

/// So many permits, in words.
struct Permits(u32);

impl fmt::Display for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 permit"),
            count => write!(f, "{count} permits"),
        }
    }
}
