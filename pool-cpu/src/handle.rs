//! The handle of a job that has its place.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    AbortHandle,
    clock::{self, Clock},
    engine::Core,
    error::{Error, Kind},
    job::{Outcome, Run},
    sync::{Arc, torn_down},
    worker,
};

/// The handle of a job that has its place, and the future of its result.
///
/// # Cancel safety
/// Dropping the handle cancels the job, as dropping [`Run`](crate::Run) does. [`detach`](Self::detach) lets the job continue.
#[must_use = "dropping the handle cancels the job; `detach` lets it go on"]
pub struct JobHandle<T> {
    core: Arc<Core>,
    job: Option<Arc<dyn Outcome<T>>>,
    /// Whether the check for a paused clock is done.
    is_seen: bool,
}

impl<T> JobHandle<T> {
    pub(crate) fn new(core: Arc<Core>, job: Arc<dyn Outcome<T>>, is_seen: bool) -> Self {
        Self {
            core,
            job: Some(job),
            is_seen,
        }
    }

    /// Lets the job continue without a caller that waits for it. The job keeps its place until it has run. Its result is dropped,
    /// and a panic in that drop is contained.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let (send, receive) = tokio::sync::oneshot::channel();
    /// cpu.job("audit").enqueue(move || send.send("written")).await?.detach();
    /// assert_eq!(receive.await?, "written");
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(mut self) {
        if let Some(job) = self.job.take() {
            job.detach();
        }
    }

    /// Whether the job has its result. Also true if the result was fetched.
    pub fn is_finished(&self) -> bool {
        self.job.as_ref().is_none_or(|job| job.is_finished())
    }

    /// Aborts the job. A waiting job is dropped without running. In a running job, [`Ctx::is_cancelled`](crate::Ctx::is_cancelled)
    /// returns true (see [`try_run_with`](crate::JobBuilder::try_run_with) and the like). In both cases the result of the handle is
    /// an error ([`Error::is_cancelled`]). Returns `false` if the job already has its result.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let busy = cpu.try_run(move || gate.recv().ok())?;
    /// let waits = cpu.try_run(|| unreachable!())?;
    /// assert!(waits.abort());
    /// assert!(waits.await.map(|answer: ()| answer).unwrap_err().is_cancelled());
    /// drop(go);
    /// busy.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn abort(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.abort(&self.core))
    }

    /// Returns a handle that aborts the job from elsewhere, while this handle is awaited.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle::of_job(&self.core, self.job())
    }

    /// Returns the job, for code that may abort it. `None` if the result was fetched.
    pub(crate) fn job(&self) -> Option<Arc<dyn Run>> {
        self.job.clone().map(|job| job as Arc<dyn Run>)
    }
}

impl<T> Future for JobHandle<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(job) = &this.job else {
            // The handle was polled again after it had returned its result.
            return Poll::Ready(Err(this.core.error("", Kind::Fetched)));
        };
        match job.poll(cx) {
            Poll::Ready(result) => {
                this.job = None;
                Poll::Ready(result)
            }
            Poll::Pending if worker::is_worker_of(&this.core) => {
                let error = this.core.error(job.head().label, Kind::SelfWait);
                job.cancel(&this.core);
                this.job = None;
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                if !mem::replace(&mut this.is_seen, true)
                    && let Clock::Held(hold) = clock::hold()
                {
                    job.hold(hold);
                }
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for JobHandle<T> {
    fn drop(&mut self) {
        if let Some(job) = self.job.take()
            && !torn_down()
        {
            job.cancel(&self.core);
        }
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("pool", self.core.name())
            .field("finished", &self.is_finished())
            .finish()
    }
}
