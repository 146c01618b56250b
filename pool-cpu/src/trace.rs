//! The caller's span, carried into the job.

use crate::Ctx;

/// Wraps `f` so that it runs in the span of whoever submits it, and in one of its own below that.
/// Without the feature `tracing` it is `f` itself.
#[cfg(not(feature = "tracing"))]
pub(crate) fn carry<T, F>(f: F) -> F
where
    F: FnOnce(&Ctx<'_>) -> T,
{
    f
}

/// Wraps `f` so that it runs in the span of whoever submits it, and in one of its own below that.
#[cfg(feature = "tracing")]
pub(crate) fn carry<T, F>(f: F) -> impl FnOnce(&Ctx<'_>) -> T + use<T, F>
where
    F: FnOnce(&Ctx<'_>) -> T,
{
    let caller = tracing::Span::current();
    move |ctx: &Ctx<'_>| {
        // Both: where the job's own span is filtered out, its events still belong to the caller.
        let _caller = caller.enter();
        let job = tracing::debug_span!(
            "pool.job",
            pool = ctx.pool(),
            label = ctx.label(),
            worker = ctx.worker()
        );
        let _job = job.enter();
        f(ctx)
    }
}
