//! What a running job can ask.

use crate::{engine::Core, job::Head};

/// What a running job can ask of its pool.
///
/// Each way to run a job has a form that hands it in: [`run_with`](crate::JobBuilder::run_with),
/// [`try_run_with`](crate::JobBuilder::try_run_with), [`enqueue_with`](crate::JobBuilder::enqueue_with),
/// [`for_each_chunk_with`](crate::JobBuilder::for_each_chunk_with), [`WithState::run_with`](crate::WithState::run_with) and so on.
/// Parallel work inside the job can share it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::Error> {
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
/// let job = cpu.job("sum").run_with(|ctx| {
///     let mut total = 0_u64;
///     for n in 0..1000 {
///         if ctx.is_cancelled() {
///             break; // the caller is gone: nobody wants the rest
///         }
///         total += n;
///     }
///     (total, ctx.worker(), ctx.label())
/// });
/// assert_eq!(job.await?, (499_500, 0, "sum"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ctx<'a> {
    core: &'a Core,
    head: &'a Head,
    worker: usize,
}

impl<'a> Ctx<'a> {
    pub(crate) const fn new(core: &'a Core, head: &'a Head, worker: usize) -> Self {
        Self { core, head, worker }
    }

    /// Does nobody want the result any more? True once the future was dropped, the handle has aborted the job, the run budget is
    /// spent, or the pool's shutdown has passed its deadline. A job that was detached hears of the last two. A long job asks now and
    /// then, and returns early.
    pub fn is_cancelled(&self) -> bool {
        self.head.is_cancelled() || self.core.is_abandoned()
    }

    /// Runs `f`, and has the pool's idle workers help with its parallel work (`par_iter`, `join`, `scope` of rayon) from the
    /// first moment on. Without this they notice parallel work by and by: after some milliseconds.
    ///
    /// Workers that are busy with jobs of their own do not leave them, so parallel work never takes more than the pool's share
    /// of the machine. On a [`BlockingPool`](crate::BlockingPool), which computes nothing, this just runs `f`.
    ///
    /// ```
    /// use rayon::prelude::*;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_cpu::Error> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(2).build().expect("two threads");
    /// let sum = cpu
    ///     .job("sum")
    ///     .run_with(|ctx| ctx.parallel(|| (0..1_000_000_u64).into_par_iter().sum::<u64>()))
    ///     .await?;
    /// assert_eq!(sum, 499_999_500_000);
    /// // Without the call: in the pool all the same, only that idle workers notice by and by.
    /// assert_eq!(cpu.run(|| (0..100_u64).into_par_iter().sum::<u64>()).await?, 4950);
    /// # Ok(())
    /// # }
    /// ```
    pub fn parallel<R>(&self, f: impl FnOnce() -> R) -> R {
        let _section = self.core.call_helpers();
        f()
    }

    /// The number of the worker, from 0.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The label that the job was given; empty for none.
    pub fn label(&self) -> &'static str {
        self.head.label
    }

    /// The name of the pool.
    pub fn pool(&self) -> &str {
        self.core.name()
    }
}
