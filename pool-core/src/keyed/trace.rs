//! What a keyed pool says through `tracing`: two spans, and a warning of what is not given back.
//!
//! A get that finds an idle resource reaches none of this. A key is shown only by the name that it may have.

use std::time::Duration;

use tracing::{Instrument, Span, debug_span, field::Empty, instrument::Instrumented, warn};

use super::{KeyedManager, inner::Inner};
use crate::{
    moment::Moment,
    observe::LeaseInfo,
    pool::{Error, OpenError},
};

/// The span of a get, from when it first joins the line; until then nothing.
pub(super) struct GetTrace(Option<Begun>);

struct Begun {
    since: Moment,
    span: Span,
}

impl GetTrace {
    #[inline]
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// A get joined the line of `key`.
    pub(super) fn begin<K: Send + Sync + 'static, M: KeyedManager<K>>(
        &mut self,
        inner: &Inner<K, M>,
        label: &'static str,
        key: impl FnOnce() -> K,
    ) {
        // What it was handed before was broken: it is still the same wait.
        if self.0.is_some() {
            return;
        }
        let span = debug_span!(
            target: TARGET,
            "pool.get",
            pool.name = &*inner.name,
            pool.key = Empty,
            label = named(label),
            wait_ms = Empty,
            outcome = Empty,
            phase = Empty,
        );
        if span.is_disabled() {
            return;
        }
        if inner.names_keys() {
            record_key(&span, inner, &key());
        }
        let since = inner.clock.now();
        self.0 = Some(Begun { since, span });
    }

    /// The get has one. Does nothing if it never had to wait.
    #[inline]
    pub(super) fn got<K, M: KeyedManager<K>>(&mut self, inner: &Inner<K, M>) {
        if let Some(begun) = self.0.take() {
            begun.end(inner, "ok");
        }
    }

    /// The get failed.
    pub(super) fn failed<K, M: KeyedManager<K>>(
        &mut self,
        inner: &Inner<K, M>,
        error: &Error<M::Error>,
    ) {
        let Some(begun) = self.0.take() else { return };
        if let Some(phase) = error.phase() {
            begun.span.record("phase", phase.as_str());
        }
        let outcome = if error.is_timeout() {
            "timeout"
        } else if error.is_overloaded() {
            "overloaded"
        } else if error.is_closed() {
            "closed"
        } else if error.is_connect() {
            "connect"
        } else {
            "no_runtime"
        };
        begun.end(inner, outcome);
    }

    /// Its future was dropped.
    pub(super) fn cancelled<K, M: KeyedManager<K>>(&mut self, inner: &Inner<K, M>) {
        if let Some(begun) = self.0.take() {
            begun.end(inner, "cancelled");
        }
    }
}

impl Begun {
    #[cold]
    fn end<K, M: KeyedManager<K>>(self, inner: &Inner<K, M>, outcome: &'static str) {
        let waited = inner.clock.now() - self.since;
        self.span
            .record("wait_ms", ms(waited))
            .record("outcome", outcome);
    }
}

/// The span of one open. It has no parent: an open is the pool's, whoever's wait it may end.
pub(super) struct OpenTrace {
    /// `None` when the outcome is recorded.
    span: Option<Span>,
}

impl OpenTrace {
    /// Runs `create` inside of the span, so that what the manager says is found there.
    pub(super) fn around<K: Send + Sync + 'static, M: KeyedManager<K>, F>(
        inner: &Inner<K, M>,
        key: &K,
        create: F,
    ) -> (Self, Instrumented<F>) {
        let span = debug_span!(
            target: TARGET,
            parent: None,
            "pool.connect",
            pool.name = &*inner.name,
            pool.key = Empty,
            took_ms = Empty,
            outcome = Empty,
        );
        if !span.is_disabled() {
            record_key(&span, inner, key);
        }
        let create = create.instrument(span.clone());
        (Self { span: Some(span) }, create)
    }

    pub(super) fn opened(mut self, took: Duration) {
        self.end("ok", Some(took));
    }

    pub(super) fn failed<E>(mut self, took: Duration, error: &OpenError<E>) {
        let outcome = match error {
            OpenError::Manager(_) => "failed",
            OpenError::TimedOut(_) => "timeout",
            OpenError::Panicked(_) => "panicked",
            OpenError::Gone => "gone",
            OpenError::Limits(_) => "limits",
        };
        self.end(outcome, Some(took));
    }

    fn end(&mut self, outcome: &'static str, took: Option<Duration>) {
        let Some(span) = self.span.take() else { return };
        span.record("outcome", outcome);
        if let Some(took) = took {
            span.record("took_ms", ms(took));
        }
    }
}

impl Drop for OpenTrace {
    /// The pool was closed meanwhile, another key needed the place, or the runtime ended.
    fn drop(&mut self) {
        self.end("abandoned", None);
    }
}

/// A lease of `key` has lasted for too long.
pub(super) fn leaked<K: Send + Sync + 'static, M: KeyedManager<K>>(
    inner: &Inner<K, M>,
    key: &K,
    lease: &LeaseInfo,
) {
    warn!(
        target: TARGET,
        parent: None,
        {
            pool.name = &*inner.name,
            pool.key = inner.key_name(key),
            label = named(lease.label),
            place = display(lease.place),
            held_ms = ms(lease.held_for),
        },
        "not given back"
    );
}

fn record_key<K: Send + Sync + 'static, M: KeyedManager<K>>(
    span: &Span,
    inner: &Inner<K, M>,
    key: &K,
) {
    if let Some(name) = inner.key_name(key) {
        span.record("pool.key", name);
    }
}

/// What all spans and events are found under.
const TARGET: &str = "pool_core";

/// To the microsecond.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

fn named(label: &'static str) -> Option<&'static str> {
    Some(label).filter(|label| !label.is_empty())
}
