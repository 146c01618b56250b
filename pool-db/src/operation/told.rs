//! Reports operations.

use std::{
    any::Any,
    borrow::Cow,
    fmt,
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

#[cfg(feature = "metrics")]
use metrics::{Histogram, Label, Unit, describe_histogram, histogram};
use tokio::time::Instant;
#[cfg(feature = "tracing")]
use tracing::{
    Dispatch, Instrument as _, Span, debug_span, dispatcher, field::Empty,
    instrument::Instrumented, span,
};

use super::Verb;
use crate::Error;

/// The operations of one pool. Clones are handles of the same.
#[derive(Clone)]
pub(crate) struct Operations {
    pool: Arc<Reported>,
    is_silent: bool,
}

/// What is the same of all operations of a pool.
struct Reported {
    /// `db.system.name`.
    system: &'static str,
    /// The name of the pool, once it is built.
    name: OnceLock<Arc<str>>,
    #[cfg(feature = "metrics")]
    metric: &'static str,
    /// The durations of those that succeeded. The recorder is asked for them at the first operation of their kind.
    #[cfg(feature = "metrics")]
    took: [OnceLock<Histogram>; Verb::COUNT],
}

/// An operation that runs. If it is dropped before it has ended, it was cancelled.
#[derive(Debug)]
pub(crate) struct Operation {
    /// `None` when it was reported, or if nobody wants to know.
    running: Option<Running>,
}

struct Running {
    #[cfg(feature = "metrics")]
    pool: Arc<Reported>,
    #[cfg(feature = "metrics")]
    verb: Verb,
    began: Instant,
    rows: Option<usize>,
    #[cfg(feature = "tracing")]
    span: Span,
}

/// An operation that another thread begins, and that ends where its caller is.
#[derive(Debug)]
pub(crate) struct Queued {
    /// A leaf lock: nothing is called under it.
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Waits(Caller),
    /// A thread is about to begin it.
    Begins,
    Begun(Operation),
    /// The caller has left, or has taken it.
    Over,
}

/// What the operation begins with.
struct Caller {
    operations: Operations,
    verb: Verb,
    #[cfg(feature = "tracing")]
    span: (Dispatch, Option<span::Id>),
}

impl Operations {
    /// `system` is the `db.system.name`, and `metric` the name of the histogram.
    pub(crate) fn new(system: &'static str, metric: &'static str) -> Self {
        #[cfg(not(feature = "metrics"))]
        let _ = metric;
        Self {
            pool: Arc::new(Reported {
                system,
                name: OnceLock::new(),
                #[cfg(feature = "metrics")]
                metric,
                #[cfg(feature = "metrics")]
                took: [const { OnceLock::new() }; Verb::COUNT],
            }),
            is_silent: false,
        }
    }

    /// They are those of the pool of this name.
    pub(crate) fn are_of(&self, pool: &str) {
        // A name that is set is kept.
        self.pool.name.get_or_init(|| pool.into());
    }

    /// A handle that reports nothing, until it is told to [`report`](Self::report).
    pub(crate) fn silent(&self) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            is_silent: true,
        }
    }

    /// Sets whether what begins from now on is reported. What the pool does for itself is not.
    pub(crate) const fn report(&mut self, on: bool) {
        self.is_silent = !on;
    }

    /// Begins an operation, in the span of the caller.
    pub(crate) fn begin(&self, verb: Verb) -> Operation {
        #[cfg(feature = "tracing")]
        return self.begin_in(verb, || Span::current().id());
        #[cfg(not(feature = "tracing"))]
        self.begin_timed(verb)
    }

    /// An operation of the caller that begins later, maybe on another thread.
    pub(crate) fn queued(&self, verb: Verb) -> Queued {
        let caller = Caller {
            operations: self.clone(),
            verb,
            #[cfg(feature = "tracing")]
            span: (
                dispatcher::get_default(Dispatch::clone),
                Span::current().id(),
            ),
        };
        Queued {
            state: Mutex::new(State::Waits(caller)),
        }
    }

    #[cfg(feature = "tracing")]
    fn begin_in(&self, verb: Verb, parent: impl Fn() -> Option<span::Id>) -> Operation {
        if self.is_silent {
            return Operation { running: None };
        }
        let span = debug_span!(
            target: TARGET,
            parent: parent(),
            "db.query",
            pool.name = self.pool.name(),
            db.system.name = self.pool.system,
            db.operation.name = verb.name(),
            db.response.returned_rows = Empty,
            error.type = Empty,
            took_ms = Empty,
        );
        // Then the clock is not worth its cost.
        if cfg!(not(feature = "metrics")) && span.is_disabled() {
            return Operation { running: None };
        }
        let running = Running {
            #[cfg(feature = "metrics")]
            pool: Arc::clone(&self.pool),
            #[cfg(feature = "metrics")]
            verb,
            began: Instant::now(),
            rows: None,
            span,
        };
        Operation {
            running: Some(running),
        }
    }

    #[cfg(not(feature = "tracing"))]
    fn begin_timed(&self, verb: Verb) -> Operation {
        let running = (!self.is_silent).then(|| Running {
            pool: Arc::clone(&self.pool),
            verb,
            began: Instant::now(),
            rows: None,
        });
        Operation { running }
    }
}

impl Operation {
    /// Runs `work` within the span of the operation.
    #[cfg(feature = "tracing")]
    pub(crate) fn within<F: Future>(&self, work: F) -> Instrumented<F> {
        let span = self.running.as_ref().map(|running| running.span.clone());
        work.instrument(span.unwrap_or_else(Span::none))
    }

    #[cfg(not(feature = "tracing"))]
    #[allow(clippy::unused_self, reason = "the span is a feature")]
    pub(crate) fn within<F: Future>(&self, work: F) -> F {
        work
    }

    /// So many rows have come.
    pub(crate) fn rows(&mut self, more: usize) {
        if let Some(running) = &mut self.running {
            running.rows = Some(running.rows.unwrap_or_default() + more);
        }
    }

    /// It has succeeded.
    pub(crate) fn ended(&mut self) {
        if let Some(running) = self.running.take() {
            running.end(None);
        }
    }

    /// It has failed.
    pub(crate) fn failed(&mut self, error: &Error) {
        if let Some(running) = self.running.take() {
            running.end(Some(error.error_type()));
        }
    }

    /// Its caller has left.
    pub(crate) fn cancelled(&mut self) {
        if let Some(running) = self.running.take() {
            running.end(Some(Cow::Borrowed("cancelled")));
        }
    }

    /// It has failed with an error of a closure.
    pub(crate) fn failed_by<E: 'static>(&mut self, error: &E) {
        if let Some(running) = self.running.take() {
            running.end(Some(type_of(error)));
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.cancelled();
    }
}

impl Queued {
    /// Begins it, unless that has happened before, or the caller has left.
    pub(crate) fn begin(&self) {
        let caller = {
            let mut state = self.state();
            match mem::replace(&mut *state, State::Begins) {
                State::Waits(caller) => caller,
                other => {
                    *state = other;
                    return;
                }
            }
        };
        let operation = caller.begin();
        let mut state = self.state();
        if matches!(*state, State::Begins) {
            *state = State::Begun(operation);
        } else {
            drop(state);
            // The caller has left meanwhile.
            drop(operation);
        }
    }

    /// Takes it, if it has begun. It does not begin any more.
    pub(crate) fn take(&self) -> Option<Operation> {
        match mem::replace(&mut *self.state(), State::Over) {
            State::Begun(operation) => Some(operation),
            State::Waits(_) | State::Begins | State::Over => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    fn begin(&self) -> Operation {
        #[cfg(feature = "tracing")]
        {
            let (dispatch, parent) = &self.span;
            dispatcher::with_default(dispatch, || {
                self.operations.begin_in(self.verb, || parent.clone())
            })
        }
        #[cfg(not(feature = "tracing"))]
        self.operations.begin(self.verb)
    }
}

impl Running {
    fn end(self, error: Option<Cow<'_, str>>) {
        let took = self.began.elapsed();
        #[cfg(feature = "tracing")]
        {
            if let Some(error) = &error {
                self.span.record("error.type", &**error);
            }
            if let Some(rows) = self.rows {
                self.span.record("db.response.returned_rows", rows);
            }
            self.span.record("took_ms", ms(took));
        }
        #[cfg(feature = "metrics")]
        self.pool.record(self.verb, error, took);
    }
}

impl Reported {
    #[cfg(feature = "tracing")]
    fn name(&self) -> &str {
        self.name.get().map_or("", |name| name)
    }

    /// Records a duration. Only that of an operation that failed looks its histogram up.
    #[cfg(feature = "metrics")]
    fn record(&self, verb: Verb, error: Option<Cow<'_, str>>, took: Duration) {
        let told = match error {
            Some(error) => &self.histogram(verb, Some(error.into_owned())),
            None => self.took[verb as usize].get_or_init(|| {
                describe_histogram!(
                    self.metric,
                    Unit::Seconds,
                    "The time that an operation took"
                );
                self.histogram(verb, None)
            }),
        };
        told.record(took.as_secs_f64());
    }

    #[cfg(feature = "metrics")]
    fn histogram(&self, verb: Verb, error: Option<String>) -> Histogram {
        let name = self.name.get().cloned().unwrap_or_default();
        let labels = [
            Some(Label::new("pool.name", name)),
            Some(Label::from_static_parts("db.system.name", self.system)),
            verb.name()
                .map(|name| Label::from_static_parts("db.operation.name", name)),
            error.map(|error| Label::new("error.type", error)),
        ];
        histogram!(
            self.metric,
            labels.into_iter().flatten().collect::<Vec<_>>()
        )
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations")
            .field("pool", &self.pool.name)
            .field("system", &self.pool.system)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("began", &self.began)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("operations", &self.operations)
            .field("verb", &self.verb)
            .finish_non_exhaustive()
    }
}

/// The `error.type` of an error of a closure.
fn type_of<E: 'static>(error: &E) -> Cow<'_, str> {
    let error: &dyn Any = error;
    if let Some(error) = error.downcast_ref::<Error>() {
        return error.error_type();
    }
    #[cfg(feature = "sqlite")]
    if let Some(error) = error.downcast_ref() {
        return crate::sqlite::error::error_type(error);
    }
    Cow::Borrowed("application")
}

/// Milliseconds, precise to the microsecond, as in the other spans of a pool.
#[cfg(feature = "tracing")]
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// The target of all spans of a pool.
#[cfg(feature = "tracing")]
const TARGET: &str = "pool_core";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_application_says_only_that_it_is_one() {
        assert_eq!(type_of(&"password=secret".to_owned()), "application");
        assert_eq!(type_of(&Error::other("password=secret")), "other");
        #[cfg(feature = "sqlite")]
        assert_eq!(type_of(&rusqlite::Error::QueryReturnedNoRows), "no_rows");
    }
}
