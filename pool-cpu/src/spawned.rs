//! The handle of a job that continues when the handle is dropped.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    AbortHandle, Error, JobHandle,
    abort::Abort,
    errand::Errand,
    error::Kind,
    sync::{Arc, torn_down},
};

/// The handle of a job of [`spawn`](crate::spawn), [`spawn_blocking`](crate::spawn_blocking) or
/// [`JobBuilder::spawn`](crate::JobBuilder::spawn), and the future of its result. The job continues when the handle is dropped,
/// even if it still waits for a place.
///
/// # Cancel safety
/// A poll that is cancelled loses nothing. Dropping the handle loses only the result.
pub struct Spawned<T> {
    pool: Arc<str>,
    stage: Stage<T>,
}

enum Stage<T> {
    InLine(Arc<Errand<T>>),
    Submitted(JobHandle<T>),
    /// The job has no result, or the result was fetched.
    Over(Option<Error>),
}

impl<T> Spawned<T> {
    pub(crate) fn submitted(pool: &Arc<str>, job: JobHandle<T>) -> Self {
        Self::new(pool, Stage::Submitted(job))
    }

    pub(crate) fn in_line(pool: &Arc<str>, errand: Arc<Errand<T>>) -> Self {
        Self::new(pool, Stage::InLine(errand))
    }

    pub(crate) fn refused(pool: &Arc<str>, error: Error) -> Self {
        Self::new(pool, Stage::Over(Some(error)))
    }

    fn new(pool: &Arc<str>, stage: Stage<T>) -> Self {
        let pool = Arc::clone(pool);
        Self { pool, stage }
    }

    /// Aborts the job. A waiting job is dropped without running. In a running job, [`Ctx::is_cancelled`](crate::Ctx::is_cancelled)
    /// returns true (see [`JobBuilder::spawn_with`](crate::JobBuilder::spawn_with)). In both cases the result of the handle is an
    /// error ([`Error::is_cancelled`]). Returns `false` if the job already has its result.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).queue(0).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let busy = cpu.try_run(move || gate.recv().ok())?;
    /// let waits = cpu.job("report").spawn(|| unreachable!());
    /// assert!(waits.abort());
    /// assert!(waits.await.map(|answer: ()| answer).unwrap_err().is_cancelled());
    /// drop(go);
    /// busy.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn abort(&self) -> bool {
        match &self.stage {
            Stage::InLine(errand) => errand.abort(),
            Stage::Submitted(job) => job.abort(),
            Stage::Over(_) => false,
        }
    }

    /// Whether the job has its result, or will have none.
    pub fn is_finished(&self) -> bool {
        match &self.stage {
            Stage::InLine(errand) => errand.is_finished(),
            Stage::Submitted(job) => job.is_finished(),
            Stage::Over(_) => true,
        }
    }
}

impl<T: Send + 'static> Spawned<T> {
    /// Returns a handle that aborts the job from elsewhere, while this handle is awaited.
    pub fn abort_handle(&self) -> AbortHandle {
        match &self.stage {
            Stage::InLine(errand) => AbortHandle::of(Some(Arc::clone(errand) as Arc<dyn Abort>)),
            Stage::Submitted(job) => job.abort_handle(),
            Stage::Over(_) => AbortHandle::of(None),
        }
    }
}

impl<T> Future for Spawned<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.stage {
                Stage::InLine(errand) => match errand.poll(cx) {
                    Poll::Ready(Ok(job)) => this.stage = Stage::Submitted(job),
                    Poll::Ready(Err(error)) => this.stage = Stage::Over(Some(error)),
                    Poll::Pending => return Poll::Pending,
                },
                Stage::Submitted(job) => return Pin::new(job).poll(cx),
                Stage::Over(error) => {
                    let again = || Error::new(&this.pool, "", Kind::Fetched);
                    return Poll::Ready(Err(error.take().unwrap_or_else(again)));
                }
            }
        }
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        if torn_down() {
            return;
        }
        match mem::replace(&mut self.stage, Stage::Over(None)) {
            Stage::InLine(errand) => errand.detach(),
            Stage::Submitted(job) => job.detach(),
            Stage::Over(_) => {}
        }
    }
}

impl<T> fmt::Debug for Spawned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::InLine(_) => "waits for a place",
            Stage::Submitted(_) => "submitted",
            Stage::Over(_) => "over",
        };
        f.debug_struct("Spawned")
            .field("pool", &self.pool)
            .field("stage", &stage)
            .finish()
    }
}
