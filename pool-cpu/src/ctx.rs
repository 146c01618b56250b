//! The context of a running job.

use crate::{engine::Core, job::Head};

/// The context of a running job.
///
/// Each way to run a job has a form that passes a `Ctx` to the job: [`run_with`](crate::JobBuilder::run_with),
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
///             break; // the caller no longer waits for the result
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

    /// Whether the job was cancelled. True once the future was dropped, a handle has aborted the job, the budget is spent, or the
    /// deadline of the pool's shutdown has passed. For a detached job, only the last two apply. A long job should check this now
    /// and then, and return early.
    pub fn is_cancelled(&self) -> bool {
        self.head.is_cancelled() || self.core.is_abandoned()
    }

    /// Runs `f`, and wakes the idle workers of the pool at once to help with its parallel work (rayon's `par_iter`, `join` and
    /// `scope`). Without this call, idle workers notice parallel work only after some milliseconds.
    ///
    /// Workers that run other jobs do not help, so parallel work never takes more than the pool's share of the machine. On a
    /// [`BlockingPool`](crate::BlockingPool), which has no parallel workers, this only runs `f`.
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
    /// // Without the call, the work also runs in the pool, but idle workers notice it later.
    /// assert_eq!(cpu.run(|| (0..100_u64).into_par_iter().sum::<u64>()).await?, 4950);
    /// # Ok(())
    /// # }
    /// ```
    pub fn parallel<R>(&self, f: impl FnOnce() -> R) -> R {
        let _section = self.core.call_helpers();
        f()
    }

    /// Returns the number of the worker, from 0.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Returns the label of the job, which is empty if none was set.
    pub fn label(&self) -> &'static str {
        self.head.label
    }

    /// Returns the name of the pool.
    pub fn pool(&self) -> &str {
        self.core.name()
    }
}
