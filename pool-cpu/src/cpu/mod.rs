//! The pool for computing: a fixed number of workers on a private rayon pool.
//!
//! Each rayon thread runs one loop that takes jobs from the pool's own queue, as long as the pool lives. rayon itself never gets a
//! job, because it would run injected jobs last, and would run them nested inside a job that waits in a `join`. rayon only gets the
//! parallel work inside jobs, and idle workers steal that work.

mod builder;

use std::{fmt, ops::Deref};

pub use builder::CpuBuilder;

use crate::{ConfigError, Workers};

/// A pool for computing. It has as many workers as cores, and a bounded queue.
///
/// It dereferences to [`Workers`], which has its methods. Parallel iterators inside a job use the pool's own workers.
///
/// ```
/// use pool_cpu::CpuPool;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cpu = CpuPool::builder().threads(2).queue(64).build()?;
/// let sum = cpu.run(|| (1..=1000_u64).sum::<u64>()).await?;
/// assert_eq!(sum, 500_500);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CpuPool {
    workers: Workers,
}

impl CpuPool {
    /// Creates a builder for a pool.
    pub fn builder() -> CpuBuilder {
        CpuBuilder::new()
    }

    /// Builds a pool with the settings of [`CpuConfig`](crate::CpuConfig) from the environment: `POOL_CPU_THREADS`,
    /// `POOL_CPU_QUEUE` and so on.
    ///
    /// # Errors
    /// A variable has an invalid value, a variable under the prefix names no setting, or the system cannot start a thread.
    ///
    /// ```
    /// let cpu = pool_cpu::CpuPool::from_env()?; // if nothing is set: as many workers as cores
    /// assert!(cpu.status().max_workers >= 1);
    /// # Ok::<(), pool_cpu::ConfigError>(())
    /// ```
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().env("POOL_CPU")?.build()
    }
}

impl Deref for CpuPool {
    type Target = Workers;

    fn deref(&self) -> &Workers {
        &self.workers
    }
}

impl fmt::Debug for CpuPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuPool")
            .field("workers", &self.workers)
            .finish()
    }
}
