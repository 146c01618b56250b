//! The caller's span, carried into the job.

use crate::Ctx;

/// Who asked for a job: the span in which that was. Without the feature `tracing` it is nothing.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl Caller {
    /// Whoever is at it now. To be called where the job is asked for: what polls it later may be in another span, or in none.
    pub(crate) fn here() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: tracing::Span::current(),
        }
    }

    /// Wraps `f` so that it runs in the span of whoever asked for it, and in one of its own below that.
    /// Without the feature `tracing` it is `f` itself.
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn carry<T, F>(self, f: F) -> F
    where
        F: FnOnce(&Ctx<'_>) -> T,
    {
        f
    }

    /// Wraps `f` so that it runs in the span of whoever asked for it, and in one of its own below that.
    #[cfg(feature = "tracing")]
    pub(crate) fn carry<T, F>(self, f: F) -> impl FnOnce(&Ctx<'_>) -> T + use<T, F>
    where
        F: FnOnce(&Ctx<'_>) -> T,
    {
        move |ctx: &Ctx<'_>| {
            // Both: where the job's own span is filtered out, its events still belong to the caller.
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
