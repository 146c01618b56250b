//! What a running job can ask.

use crate::{core::Core, job::Head};

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
