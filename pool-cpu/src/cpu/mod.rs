//! The pool for computing: a fixed number of workers, resident on a private rayon pool.
//!
//! Each rayon thread runs one loop that takes jobs from our queue, for as long as the pool lives. Rayon itself never holds a
//! job: it would run injected ones last, and nest them inside a job that waits in a `join`. What rayon sees is the parallel
//! work inside jobs, and idle workers steal that.

mod builder;

use std::{fmt, ops::Deref};

pub use builder::CpuBuilder;

use crate::{ConfigError, Workers};

/// A pool for computing: as many workers as cores, a bounded queue.
///
/// Everything it does is in [`Workers`]. Parallel iterators inside a job use the pool's own workers.
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
    /// Settings to build one from.
    pub fn builder() -> CpuBuilder {
        CpuBuilder::new()
    }

    /// Builds one as the environment says: `POOL_CPU_THREADS`, `POOL_CPU_QUEUE` and so on, as the settings of [`CpuConfig`](crate::CpuConfig).
    ///
    /// # Errors
    /// A bad value or an unknown name under the prefix; a thread that the system does not start.
    ///
    /// ```
    /// let cpu = pool_cpu::CpuPool::from_env()?; // with nothing set: as many workers as cores
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
