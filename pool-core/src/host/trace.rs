//! What a pool reports through `tracing`: two spans, and warnings.
//!
//! A get that finds an idle resource runs none of this code.

use std::{
    panic::Location,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tracing::{Span, debug, debug_span, field::Empty, info, instrument::Instrumented, warn};

use super::{Hosted, error::Kind, failure::OpenError};
use crate::{
    engine::Holder,
    moment::Moment,
    observe::{LeaseInfo, Phase, Status},
};

/// The span of a get. It begins when the get first joins the queue.
pub(crate) struct GetTrace(Option<Begun>);

struct Begun {
    since: Moment,
    span: Span,
}

/// How a get that had to wait ended.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Got,
    Failed(Kind),
    /// The future was dropped.
    Cancelled,
}

impl GetTrace {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// The get of `holder` joined the queue, at `holder.since` or up to a tick later. `key` returns the name of the key, if it has
    /// one.
    pub(crate) fn begin(
        &mut self,
        pool: &impl Hosted,
        holder: Holder,
        key: impl FnOnce() -> Option<String>,
    ) {
        // The get was handed a broken resource before: it is still the same wait.
        if self.0.is_some() {
            return;
        }
        let span = debug_span!(
            target: TARGET,
            "pool.get",
            pool.name = &*pool.host().name,
            pool.key = Empty,
            label = named(holder.label),
            wait_ms = Empty,
            outcome = Empty,
            phase = Empty,
        );
        if !span.is_disabled()
            && let Some(key) = key()
        {
            span.record("pool.key", key);
        }
        let since = if is_exact(pool, &span) {
            pool.now()
        } else {
            holder.since
        };
        self.0 = Some(Begun { since, span });
    }

    /// The get ended. Does nothing if the get never had to wait.
    #[inline]
    pub(crate) fn end(&mut self, pool: &impl Hosted, holder: Holder, outcome: Outcome) {
        if let Some(begun) = self.0.take() {
            begun.end(pool, holder, outcome);
        }
    }
}

impl Begun {
    #[cold]
    fn end(self, pool: &impl Hosted, holder: Holder, outcome: Outcome) {
        let Self { since, span } = self;
        let now = if is_exact(pool, &span) {
            pool.now()
        } else {
            holder.since
        };
        let waited = now - since;
        let (word, phase) = outcome.record(&span, waited);
        if pool.slow_get().is_none_or(|limit| waited < limit) {
            return;
        }
        let Status {
            max_size,
            leased,
            idle,
            opening,
            waiting,
            ..
        } = pool.counts().0;
        let Holder { place, label, .. } = holder;
        span.in_scope(|| {
            warn!(
                target: TARGET,
                {
                    pool.name = &*pool.host().name,
                    label = named(label),
                    place = place_of(place),
                    wait_ms = ms(waited),
                    outcome = word,
                    phase,
                    max_size,
                    leased,
                    idle,
                    opening,
                    waiting,
                },
                "slow get"
            );
        });
    }
}

/// Whether the exact time is worth its cost: the span is recorded, or the limit of slow gets is so short that a tick matters.
fn is_exact(pool: &impl Hosted, span: &Span) -> bool {
    !span.is_disabled() || pool.slow_get().is_some_and(|limit| limit < ROUGH)
}

/// From this limit on, the length of a tick does not matter.
const ROUGH: Duration = Duration::from_secs(1);

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Got => "ok",
            Self::Cancelled => "cancelled",
            Self::Failed(Kind::Timeout(_)) => "timeout",
            Self::Failed(Kind::Overloaded) => "overloaded",
            Self::Failed(Kind::Shed) => "shed",
            Self::Failed(Kind::Closed) => "closed",
            Self::Failed(Kind::Connect) => "connect",
            Self::Failed(Kind::Busy) => "busy",
            Self::Failed(Kind::NoRuntime) => "no_runtime",
            Self::Failed(Kind::Poisoned) => "poisoned",
            Self::Failed(Kind::TooLarge(_)) => "too_large",
        }
    }

    /// Records in the span of a get how and after how long it ended. Returns the names of the outcome and the phase.
    fn record(self, span: &Span, waited: Duration) -> (&'static str, Option<&'static str>) {
        let (word, phase) = (self.as_str(), self.phase().map(Phase::as_str));
        span.record("wait_ms", ms(waited)).record("outcome", word);
        if let Some(phase) = phase {
            span.record("phase", phase);
        }
        (word, phase)
    }

    const fn phase(self) -> Option<Phase> {
        match self {
            Self::Failed(Kind::Timeout(phase)) => Some(phase),
            _ => None,
        }
    }
}

/// The span of one open. It has no parent, because an open belongs to the pool and not to a single get.
pub(crate) struct OpenTrace {
    /// `None` when the outcome is recorded.
    span: Option<Span>,
}

impl OpenTrace {
    /// Runs `create` inside the span, so that events of the manager are recorded there.
    pub(crate) fn around<P: Hosted, F>(
        pool: &P,
        key: &P::Key,
        create: F,
    ) -> (Self, Instrumented<F>) {
        use tracing::Instrument;

        let span = debug_span!(
            target: TARGET,
            parent: None,
            "pool.connect",
            pool.name = &*pool.host().name,
            pool.key = Empty,
            took_ms = Empty,
            outcome = Empty,
        );
        if !span.is_disabled()
            && let Some(key) = pool.key_name(key)
        {
            span.record("pool.key", key);
        }
        let create = create.instrument(span.clone());
        (Self { span: Some(span) }, create)
    }

    fn opened(mut self, took: Duration) -> Span {
        self.end("ok", Some(took))
    }

    fn failed<E>(mut self, took: Duration, error: &OpenError<E>) -> Span {
        let outcome = match error {
            OpenError::Manager(_) => "failed",
            OpenError::TimedOut(_) => "timeout",
            OpenError::Panicked(_) => "panicked",
            OpenError::Broken => "broken",
            OpenError::Gone => "gone",
            OpenError::Limits(_) => "limits",
        };
        self.end(outcome, Some(took))
    }

    fn end(&mut self, outcome: &'static str, took: Option<Duration>) -> Span {
        let span = self.span.take().unwrap_or_else(Span::none);
        span.record("outcome", outcome);
        if let Some(took) = took {
            span.record("took_ms", ms(took));
        }
        span
    }
}

impl Drop for OpenTrace {
    /// The pool was closed meanwhile, another key needed the place, or the runtime ended.
    fn drop(&mut self) {
        if self.span.is_some() {
            drop(self.end("abandoned", None));
        }
    }
}

/// A resource was opened. If there was an outage, it is over.
pub(crate) fn opened<P: Hosted>(pool: &P, trace: OpenTrace, took: Duration) {
    let span = trace.opened(took);
    // A pool with keys would have to remember the outage of each key.
    if P::HAS_KEYS {
        return;
    }
    let failures = pool.host().outage.end();
    if failures > 0 {
        let _in = span.entered();
        info!(target: TARGET, { pool.name = &*pool.host().name, failures }, "can open again");
    }
}

/// An open failed. An outage causes one warning, however long it lasts.
pub(crate) fn failed<P: Hosted>(
    pool: &P,
    trace: OpenTrace,
    took: Duration,
    error: &OpenError<P::Error>,
) {
    let span = trace.failed(took, error);
    if P::HAS_KEYS {
        return;
    }
    let _in = span.entered();
    let (name, took_ms) = (&*pool.host().name, ms(took));
    if pool.host().outage.fail() {
        warn!(target: TARGET, { pool.name = name, took_ms, error = %error }, "cannot open a resource");
    } else {
        debug!(target: TARGET, { pool.name = name, took_ms, error = %error }, "still cannot open a resource");
    }
}

/// How many opens failed since the last open that succeeded.
#[derive(Default)]
pub(crate) struct Outage(AtomicU32);

impl Outage {
    /// Counts a failure. Returns whether it is the first.
    fn fail(&self) -> bool {
        // Ordering: Relaxed, because it is a count, and nothing else is published with it.
        self.0.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// An open succeeded. Returns how many failed before it.
    fn end(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// The pool does not do what its settings say.
pub(crate) fn warned(pool: &str, message: &str) {
    warn!(target: TARGET, parent: None, { pool.name = pool }, "{message}");
}

/// A lease has lasted too long. `key` is the name of its key, if it has one.
pub(crate) fn leaked(pool: &str, key: Option<&str>, lease: &LeaseInfo) {
    warn!(
        target: TARGET,
        parent: None,
        {
            pool.name = pool,
            pool.key = key,
            label = named(lease.label),
            place = place_of(lease.place),
            held_ms = ms(lease.held_for),
        },
        "lease not returned"
    );
}

/// The target of all spans and events.
const TARGET: &str = "pool_core";

/// Milliseconds, precise to the microsecond.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

fn named(label: &'static str) -> Option<&'static str> {
    Some(label).filter(|label| !label.is_empty())
}

fn place_of(place: &'static Location<'static>) -> impl tracing::Value {
    tracing::field::display(place)
}
