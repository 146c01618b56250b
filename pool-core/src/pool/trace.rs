//! What a pool says through `tracing`: two spans, and a warning where somebody has to know.
//!
//! A get that finds an idle resource reaches none of this.

use std::{
    error::Error as StdError,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tracing::{Span, debug, debug_span, field::Empty, info, instrument::Instrumented, warn};

use super::{Manager, error::Kind, failure::OpenError, shared::Shared};
use crate::{
    engine::Holder,
    moment::Moment,
    observe::{LeaseInfo, Phase, Status},
};

/// A pool that has something to say.
pub(crate) trait Traced {
    fn name(&self) -> &str;
    fn slow_get(&self) -> Option<Duration>;
    fn now(&self) -> Moment;
    fn counts(&self) -> Status;
    fn streak(&self) -> &Streak;
}

impl<T: Traced> Traced for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn slow_get(&self) -> Option<Duration> {
        (**self).slow_get()
    }

    fn now(&self) -> Moment {
        (**self).now()
    }

    fn counts(&self) -> Status {
        (**self).counts()
    }

    fn streak(&self) -> &Streak {
        (**self).streak()
    }
}

impl<M: Manager> Traced for Shared<M> {
    fn name(&self) -> &str {
        &self.name
    }

    fn slow_get(&self) -> Option<Duration> {
        self.config.slow_get
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn counts(&self) -> Status {
        self.status()
    }

    fn streak(&self) -> &Streak {
        &self.streak
    }
}

/// The span of a get, from when it first joins the line; until then nothing.
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
    /// Its future was dropped.
    Cancelled,
}

impl GetTrace {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// The get of `holder` joined the line, at `holder.since` or up to a tick later.
    pub(crate) fn begin(&mut self, pool: &impl Traced, holder: Holder) {
        // What it was handed before was broken: it is still the same wait.
        if self.0.is_some() {
            return;
        }
        let span = debug_span!(
            target: TARGET,
            "pool.get",
            pool.name = pool.name(),
            label = named(holder.label),
            wait_ms = Empty,
            outcome = Empty,
            phase = Empty,
        );
        // Only a span that somebody sees is worth the exact time.
        let since = if span.is_disabled() {
            holder.since
        } else {
            pool.now()
        };
        self.0 = Some(Begun { since, span });
    }

    /// The get ended. Does nothing if it never had to wait.
    #[inline]
    pub(crate) fn end(&mut self, pool: &impl Traced, holder: Holder, outcome: Outcome) {
        if let Some(begun) = self.0.take() {
            begun.end(pool, holder, outcome);
        }
    }
}

impl Begun {
    #[cold]
    fn end(self, pool: &impl Traced, holder: Holder, outcome: Outcome) {
        let Self { since, span } = self;
        let now = if span.is_disabled() {
            holder.since
        } else {
            pool.now()
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
        } = pool.counts();
        let Holder { place, label, .. } = holder;
        span.in_scope(|| {
            warn!(
                target: TARGET,
                {
                    pool.name = pool.name(),
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
        }
    }

    /// Says in the span of a get how it ended, after so long. The words for that.
    pub(crate) fn record(
        self,
        span: &Span,
        waited: Duration,
    ) -> (&'static str, Option<&'static str>) {
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

/// The span of one open. It has no parent: an open is the pool's, whoever's wait it may end.
pub(crate) struct OpenTrace {
    /// `None` when the outcome is recorded.
    span: Option<Span>,
}

impl OpenTrace {
    /// Runs `create` inside of the span, so that what the manager says is found there.
    pub(crate) fn around<F>(pool: &str, create: F) -> (Self, Instrumented<F>) {
        use tracing::Instrument;

        let span = debug_span!(
            target: TARGET,
            parent: None,
            "pool.connect",
            pool.name = pool,
            pool.key = Empty,
            took_ms = Empty,
            outcome = Empty,
        );
        let create = create.instrument(span.clone());
        (Self { span: Some(span) }, create)
    }

    /// The span, as long as the open is under way.
    pub(crate) fn span(&self) -> &Span {
        self.span.as_ref().expect("it is under way")
    }

    pub(crate) fn opened(mut self, took: Duration) -> Span {
        self.end("ok", Some(took))
    }

    pub(crate) fn failed<E>(mut self, took: Duration, error: &OpenError<E>) -> Span {
        let outcome = match error {
            OpenError::Manager(_) => "failed",
            OpenError::TimedOut(_) => "timeout",
            OpenError::Panicked(_) => "panicked",
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

/// One was opened: an outage is over, if there was one.
pub(crate) fn opened(pool: &impl Traced, trace: OpenTrace, took: Duration) {
    let span = trace.opened(took);
    let failures = pool.streak().end();
    if failures > 0 {
        let _in = span.entered();
        info!(target: TARGET, { pool.name = pool.name(), failures }, "can open again");
    }
}

/// One could not be opened. An outage is one warning, however long it lasts.
pub(crate) fn failed<E: StdError + 'static>(
    pool: &impl Traced,
    trace: OpenTrace,
    took: Duration,
    error: &OpenError<E>,
) {
    let _in = trace.failed(took, error).entered();
    let took_ms = ms(took);
    let error: &(dyn StdError + 'static) = error;
    if pool.streak().fail() {
        warn!(target: TARGET, { pool.name = pool.name(), took_ms, error }, "cannot open one");
    } else {
        debug!(target: TARGET, { pool.name = pool.name(), took_ms, error }, "still cannot open one");
    }
}

/// Opens that failed since the last one that did not.
#[derive(Default)]
pub(crate) struct Streak(AtomicU32);

impl Streak {
    /// Is this failure the first one?
    fn fail(&self) -> bool {
        // Ordering: a count, and nothing else is published with it.
        self.0.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// One was opened, after so many failures.
    fn end(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// A lease has lasted for too long, of this key if it has one with a name.
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
        "not given back"
    );
}

/// What all spans and events are found under.
pub(crate) const TARGET: &str = "pool_core";

/// To the microsecond.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

pub(crate) fn named(label: &'static str) -> Option<&'static str> {
    Some(label).filter(|label| !label.is_empty())
}

fn place_of(place: &'static Location<'static>) -> impl tracing::Value {
    tracing::field::display(place)
}
