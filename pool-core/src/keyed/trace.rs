//! What a keyed pool says through `tracing` that names a key: two spans.
//!
//! A get that finds an idle resource reaches none of this. A key is shown only by the name that it may have.

use tracing::{Span, debug_span, field::Empty, instrument::Instrumented};

use super::{KeyedManager, inner::Inner};
use crate::{
    moment::Moment,
    pool::trace::{OpenTrace, Outcome, TARGET, named},
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

    /// The get ended. Does nothing if it never had to wait.
    #[inline]
    pub(super) fn end<K, M: KeyedManager<K>>(&mut self, inner: &Inner<K, M>, outcome: Outcome) {
        if let Some(Begun { since, span }) = self.0.take() {
            outcome.record(&span, inner.clock.now() - since);
        }
    }
}

/// As [`OpenTrace::around`], with the name of the key.
pub(super) fn open<K: Send + Sync + 'static, M: KeyedManager<K>, F>(
    inner: &Inner<K, M>,
    key: &K,
    create: F,
) -> (OpenTrace, Instrumented<F>) {
    let (trace, create) = OpenTrace::around(&inner.name, create);
    if !trace.span().is_disabled() {
        record_key(trace.span(), inner, key);
    }
    (trace, create)
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
