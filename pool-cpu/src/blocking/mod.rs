//! The pool for blocking calls: as many threads as there are jobs, up to a limit.

mod builder;
#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests;

use std::{fmt, ops::Deref};

pub use builder::BlockingBuilder;

use crate::{ConfigError, Workers};

/// A pool for blocking calls: files, blocking drivers, `getaddrinfo`.
///
/// It dereferences to [`Workers`], which has its methods. The pool starts a thread when no thread is idle for a job, up to
/// `max_threads`. Idle threads end after `idle_timeout`. If the system cannot start a thread, the job waits for another thread or
/// for the next attempt, and is never lost.
///
/// ```
/// use pool_cpu::BlockingPool;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let files = BlockingPool::builder().max_threads(16).build()?;
/// let manifest = files.run(|| std::fs::read_to_string("Cargo.toml")).await??;
/// assert!(manifest.contains("[package]"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BlockingPool {
    workers: Workers,
}

impl BlockingPool {
    /// Creates a builder for a pool.
    pub fn builder() -> BlockingBuilder {
        BlockingBuilder::new()
    }

    /// Builds a pool with the settings of [`BlockingConfig`](crate::BlockingConfig) from the environment:
    /// `POOL_BLOCKING_MAX_THREADS`, `POOL_BLOCKING_QUEUE` and so on.
    ///
    /// # Errors
    /// A variable has an invalid value, a variable under the prefix names no setting, or the system cannot start a thread.
    ///
    /// ```
    /// let files = pool_cpu::BlockingPool::from_env()?;
    /// assert_eq!(files.status().workers, 0); // no thread was needed so far
    /// # Ok::<(), pool_cpu::ConfigError>(())
    /// ```
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().env("POOL_BLOCKING")?.build()
    }
}

impl Deref for BlockingPool {
    type Target = Workers;

    fn deref(&self) -> &Workers {
        &self.workers
    }
}

impl fmt::Debug for BlockingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingPool")
            .field("workers", &self.workers)
            .finish()
    }
}
