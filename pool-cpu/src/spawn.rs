//! Free functions that run jobs on default pools. A default pool is built at its first use.

use std::sync::OnceLock;

use crate::{BlockingPool, ConfigError, CpuPool, Error, Spawned, Workers, error::Kind, sync::Arc};

/// The default pools, or the errors of building them.
static CPU: OnceLock<Result<CpuPool, ConfigError>> = OnceLock::new();
static BLOCKING: OnceLock<Result<BlockingPool, ConfigError>> = OnceLock::new();

/// Returns the pool behind [`spawn`]. It is the pool that [`set_default_pool`] has set. If none was set, the first call builds a
/// pool with the settings of the environment.
///
/// # Errors
/// The environment has an invalid value or an unknown name, or the system cannot start a thread. The function does not try again:
/// every later call returns the same error.
///
/// ```
/// let waiting = pool_cpu::default_pool()?.status().queued;
/// assert_eq!(waiting, 0);
/// # Ok::<(), pool_cpu::ConfigError>(())
/// ```
pub fn default_pool() -> Result<&'static CpuPool, ConfigError> {
    default_of(&CPU, CpuPool::from_env)
}

/// Returns the pool behind [`spawn_blocking`], as [`default_pool`] does for [`spawn`].
///
/// # Errors
/// As for [`default_pool`].
///
/// ```
/// assert_eq!(pool_cpu::default_blocking_pool()?.status().workers, 0); // no thread before the first job
/// # Ok::<(), pool_cpu::ConfigError>(())
/// ```
pub fn default_blocking_pool() -> Result<&'static BlockingPool, ConfigError> {
    default_of(&BLOCKING, BlockingPool::from_env)
}

/// Makes `pool` the pool behind [`spawn`]. Call it before the first use of that pool.
///
/// # Errors
/// Returns `pool` if there already is a default pool.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_cpu::CpuPool::builder().name("default").threads(1).build()?;
/// pool_cpu::set_default_pool(pool).expect("nothing was spawned so far");
/// let name = pool_cpu::spawn(|| std::thread::current().name().map(str::to_owned)).await?;
/// assert_eq!(name.as_deref(), Some("default-0"));
/// # Ok(())
/// # }
/// ```
pub fn set_default_pool(pool: CpuPool) -> Result<(), CpuPool> {
    set_default_of(&CPU, pool, CpuPool::from_env)
}

/// Makes `pool` the pool behind [`spawn_blocking`]. Call it before the first use of that pool.
///
/// # Errors
/// Returns `pool` if there already is a default pool.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_cpu::BlockingPool::builder().name("files").max_threads(32).build()?;
/// pool_cpu::set_default_blocking_pool(pool).expect("nothing was spawned so far");
/// let name = pool_cpu::spawn_blocking(|| std::thread::current().name().map(str::to_owned)).await?;
/// assert_eq!(name.as_deref(), Some("files-0"));
/// # Ok(())
/// # }
/// ```
pub fn set_default_blocking_pool(pool: BlockingPool) -> Result<(), BlockingPool> {
    set_default_of(&BLOCKING, pool, BlockingPool::from_env)
}

/// Runs `f`, which computes, on the [default pool](default_pool). It replaces `tokio::task::spawn_blocking`, with bounds.
///
/// As in tokio, the job begins without being awaited, and continues when the handle is dropped. Unlike in tokio, the queue is
/// bounded. While the queue is full, the job waits for a place, awaited or not, for `queue_timeout` at most. If `max_waiters` jobs
/// already wait, the job does not run, and the handle returns an error at once ([`Error::is_overloaded`]). If the service can be
/// changed, prefer [`Workers::run`](crate::Workers::run), which drops a job when its caller stops waiting.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::Error> {
/// let sum = pool_cpu::spawn(|| (1..=100).sum::<u32>()).await?;
/// assert_eq!(sum, 5050);
/// # Ok(())
/// # }
/// ```
pub fn spawn<T, F>(f: F) -> Spawned<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_on(default_pool().map(|pool| &**pool), "cpu", f)
}

/// Runs `f`, which blocks, on the [default pool for blocking calls](default_blocking_pool). It replaces
/// `tokio::task::spawn_blocking`, with bounds.
///
/// Like [`spawn`], on threads that are started and ended as needed, so that blocking calls do not occupy the workers that compute.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = pool_cpu::spawn_blocking(|| std::fs::read_to_string("Cargo.toml")).await??;
/// assert!(text.contains("[package]"));
/// # Ok(())
/// # }
/// ```
pub fn spawn_blocking<T, F>(f: F) -> Spawned<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let pool = default_blocking_pool();
    spawn_on(pool.map(|pool| &**pool), "blocking", f)
}

fn spawn_on<T, F>(pool: Result<&Workers, ConfigError>, name: &str, f: F) -> Spawned<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match pool {
        Ok(pool) => pool.job("").spawn(f),
        Err(error) => {
            let name = Arc::from(name);
            Spawned::refused(&name, Error::new(&name, "", Kind::Invalid(error)))
        }
    }
}

fn default_of<P>(
    slot: &OnceLock<Result<P, ConfigError>>,
    make: impl FnOnce() -> Result<P, ConfigError>,
) -> Result<&P, ConfigError> {
    slot.get_or_init(make).as_ref().map_err(Clone::clone)
}

fn set_default_of<P>(
    slot: &OnceLock<Result<P, ConfigError>>,
    pool: P,
    make: impl FnOnce() -> Result<P, ConfigError>,
) -> Result<(), P> {
    let mut pool = Some(pool);
    slot.get_or_init(|| pool.take().map_or_else(make, Ok))
        .as_ref()
        .ok();
    pool.map_or(Ok(()), Err)
}
