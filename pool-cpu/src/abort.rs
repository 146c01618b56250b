//! Giving up a job from elsewhere than where it is awaited.

use std::fmt;

use crate::{engine::Core, job::Run, sync::Arc};

/// Gives up a job while somebody else awaits it: from [`JobHandle::abort_handle`](crate::JobHandle::abort_handle) and
/// [`Spawned::abort_handle`](crate::Spawned::abort_handle). It may be cloned, and kept for longer than the job; dropping it does nothing.
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
/// assert!(!stop.abort()); // it has its answer
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

/// What can be given up.
pub(crate) trait Abort: Send + Sync {
    /// Gives it up. `false` if it has its answer already.
    fn abort(&self) -> bool;

    /// Is there a result, or will there be none?
    fn is_finished(&self) -> bool;
}

impl AbortHandle {
    pub(crate) fn of_job(core: &Arc<Core>, job: Option<Arc<dyn Run>>) -> Self {
        Self(Target::Job(Arc::clone(core), job))
    }

    pub(crate) fn of(target: Option<Arc<dyn Abort>>) -> Self {
        Self(Target::Other(target))
    }

    /// Gives up the job: if it waits it is dropped unrun, if it runs it is told, and may see that in its
    /// [`Ctx`](crate::Ctx::is_cancelled). Either way its answer is an error ([`Error::is_cancelled`](crate::Error::is_cancelled)).
    /// `false` if it has its answer already.
    pub fn abort(&self) -> bool {
        match &self.0 {
            Target::Job(core, job) => job.as_ref().is_some_and(|job| job.abort(core)),
            Target::Other(target) => target.as_ref().is_some_and(|target| target.abort()),
        }
    }

    /// Is there a result, or will there be none?
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
