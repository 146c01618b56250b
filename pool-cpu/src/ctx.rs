//! What a running job can ask.

use crate::{engine::Core, job::Head};

/// What a running job can ask of its pool.
///
/// ```
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
/// let sum = cpu.run_sync(|| 1 + 1)?;
/// let halves = cpu.job("sum").run_with(move |ctx| {
///     let mut total = 0_u64;
///     for chunk in 0..1000_u64 {
///         if ctx.is_cancelled() {
///             break; // the caller is gone: nobody wants the rest
///         }
///         total += chunk;
///     }
///     total
/// });
/// # drop(halves);
/// # Ok::<(), pool_cpu::Error>(())
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

    /// Does nobody want the result any more? True once the future was dropped, the run budget is spent, or the pool's
    /// shutdown has passed its deadline. A long job asks now and then, and returns early.
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
    /// # let cpu = pool_cpu::CpuPool::builder().threads(2).build().expect("two threads");
    /// let job = cpu.job("sum").run_with(|ctx| ctx.parallel(|| (0..1_000_000_u64).into_par_iter().map(|n| n ^ 5).sum::<u64>()));
    /// # drop(job);
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
