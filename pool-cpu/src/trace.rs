//! Carries the caller's span into the job.

use crate::Ctx;

/// The span in which a job was requested. Empty without the feature `tracing`.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl Caller {
    /// Records the current span. Call this where the job is requested, because the future may be polled in another span or in none.
    pub(crate) fn here() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: tracing::Span::current(),
        }
    }

    /// Wraps `f` so that it runs in the caller's span, and in a span of its own within that. Without the feature `tracing` it
    /// returns `f` unchanged.
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn carry<T, F>(self, f: F) -> F
    where
        F: FnOnce(&Ctx<'_>) -> T,
    {
        f
    }

    /// Wraps `f` so that it runs in the caller's span, and in a span of its own within that.
    #[cfg(feature = "tracing")]
    pub(crate) fn carry<T, F>(self, f: F) -> impl FnOnce(&Ctx<'_>) -> T + use<T, F>
    where
        F: FnOnce(&Ctx<'_>) -> T,
    {
        move |ctx: &Ctx<'_>| {
            // Both spans are entered: if the job's own span is filtered out, its events still belong to the caller.
            let _caller = self.span.enter();
            let job = tracing::debug_span!(
                "pool.job",
                pool.name = ctx.pool(),
                label = ctx.label(),
                worker = ctx.worker()
            );
            let _job = job.enter();
            f(ctx)
        }
    }
}
