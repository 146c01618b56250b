//! A handle that aborts a job while another task awaits it.

use std::fmt;

use crate::{engine::Core, job::Run, sync::Arc};

/// Aborts a job while another task awaits it. [`JobHandle::abort_handle`](crate::JobHandle::abort_handle) and
/// [`Spawned::abort_handle`](crate::Spawned::abort_handle) return it. The handle may be cloned, and may outlive the job. Dropping
/// it has no effect.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
/// let (started, begun) = tokio::sync::oneshot::channel();
/// let search = cpu.job("search").spawn_with(move |ctx| {
///     started.send(()).ok();
///     while !ctx.is_cancelled() {
///         std::thread::yield_now(); // a step of the search
///     }
/// });
/// let stop = search.abort_handle();
/// let answer = tokio::spawn(search);
/// begun.await?;
/// assert!(stop.abort());
/// assert!(answer.await?.unwrap_err().is_cancelled());
/// assert!(!stop.abort()); // the job already has its result
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AbortHandle(Target);

#[derive(Clone)]
enum Target {
    Job(Arc<Core>, Option<Arc<dyn Run>>),
    Other(Option<Arc<dyn Abort>>),
}

/// A job that can be aborted.
pub(crate) trait Abort: Send + Sync {
    /// Aborts the job. Returns `false` if the job already has its result.
    fn abort(&self) -> bool;

    /// Whether the job has its result, or will have none.
    fn is_finished(&self) -> bool;
}

impl AbortHandle {
    pub(crate) fn of_job(core: &Arc<Core>, job: Option<Arc<dyn Run>>) -> Self {
        Self(Target::Job(Arc::clone(core), job))
    }

    pub(crate) fn of(target: Option<Arc<dyn Abort>>) -> Self {
        Self(Target::Other(target))
    }

    /// Aborts the job. A waiting job is dropped without running. In a running job, [`Ctx::is_cancelled`](crate::Ctx::is_cancelled)
    /// returns true. In both cases the result of the job is an error ([`Error::is_cancelled`](crate::Error::is_cancelled)). Returns
    /// `false` if the job already has its result.
    pub fn abort(&self) -> bool {
        match &self.0 {
            Target::Job(core, job) => job.as_ref().is_some_and(|job| job.abort(core)),
            Target::Other(target) => target.as_ref().is_some_and(|target| target.abort()),
        }
    }

    /// Whether the job has its result, or will have none.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Target::Job(_, job) => job.as_ref().is_none_or(|job| job.is_finished()),
            Target::Other(target) => target.as_ref().is_none_or(|target| target.is_finished()),
        }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}
