//! The pool for calls that wait: as many threads as there is work for.

mod builder;
#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests;

use std::{fmt, ops::Deref};

pub use builder::BlockingBuilder;

use crate::{ConfigError, Workers};

/// A pool for calls that wait: files, drivers without async, `getaddrinfo`.
///
/// Everything it does is in [`Workers`]. It starts a thread when a job finds none free, up to
/// `max_threads`; idle ones end after `idle_timeout`. When the system does not start a thread, the
/// job waits for one that is there, or for the next attempt: it is never lost.
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
    /// Settings to build one from.
    pub fn builder() -> BlockingBuilder {
        BlockingBuilder::new()
    }

    /// Builds one as the environment says: `POOL_BLOCKING_MAX_THREADS`, `POOL_BLOCKING_QUEUE` and
    /// so on, as the settings of [`BlockingConfig`](crate::BlockingConfig).
    ///
    /// # Errors
    /// A bad value or an unknown name under the prefix; a thread that the system does not start.
    ///
    /// ```
    /// let files = pool_cpu::BlockingPool::from_env()?;
    /// assert_eq!(files.status().workers, 0); // none has been needed so far
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
